use std::time::Duration;

use super::panes::{Reducer, plain};
use super::window::Span;
use crate::data::{Data, Exchange, Key, Partitions};
use crate::dstream::DStream;

impl<K: Data, V: Data> DStream<(K, V)> {
    /// Merges the values of each key over a window with `f`, which has to be associative and commutative. Keys without
    /// a value in the window do not appear; every other comes once, in no particular order.
    ///
    /// A batch is produced every `slide`, for the window `(t - window, t]`; both durations are multiples of this
    /// stream's slide duration, and the first windows are partial. The batches that enter and leave windows together are
    /// reduced once, to a pane, and a slide costs the panes that come and go, not the window. In memory are, for each
    /// pane of the window, its keys with their reduced values, twice.
    ///
    /// # Errors
    ///
    /// Any other duration is reported by `StreamingContext::start`, with the line of this call.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::testing::run;
    ///
    /// let second = Duration::from_secs(1); // the batch interval of `run`
    /// let visits = [vec![("a".to_string(), 1)], vec![("a".to_string(), 1)], vec![], vec![]];
    /// let counts = run(visits, |pairs| pairs.reduce_by_key_and_window(|a, b| a + b, 2 * second, second))?;
    /// let a = |count| vec![("a".to_string(), count)];
    /// assert_eq!(counts, [a(1), a(2), a(1), vec![]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key_and_window(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.reduce_by_key_and_window_with(f, window, slide, self.runtime().default_partitions())
    }

    /// As [`reduce_by_key_and_window`](DStream::reduce_by_key_and_window), into so many partitions.
    ///
    /// # Errors
    ///
    /// Also a number that is not from 1 to 4096 is reported by `StreamingContext::start`, with the line of this call.
    #[track_caller]
    pub fn reduce_by_key_and_window_with(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
        partitions: Partitions,
    ) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.sliding("reduce_by_key_and_window", None, |pairs| pairs, plain(f), Span { window, slide }, partitions)
    }

    /// As [`reduce_by_key_and_window`](DStream::reduce_by_key_and_window), for functions that can be undone:
    /// `inverse(f(a, b), b)` is `a`. Panes that leave the window are taken off the total of the key.
    ///
    /// Windows are made from one another, so batches have to run in order: `concurrent_jobs` has to be 1.
    ///
    /// As in Spark, a key that was seen once stays, with what `inverse` leaves of it (`0` for a sum), also when its
    /// records have left the window: memory grows with the keys ever seen, unless
    /// [`filter_keys`](DStream::filter_keys) says which of them to forget.
    ///
    /// # Errors
    ///
    /// As [`reduce_by_key_and_window`](DStream::reduce_by_key_and_window).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::testing::run;
    ///
    /// let second = Duration::from_secs(1); // the batch interval of `run`
    /// let visits = [vec![(7, 1)], vec![(7, 1)], vec![], vec![]];
    /// let counts =
    ///     run(visits, |pairs| pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 2 * second, second))?;
    /// assert_eq!(counts, [vec![(7, 1)], vec![(7, 2)], vec![(7, 1)], vec![(7, 0)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key_and_window_inverse(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.reduce_by_key_and_window_inverse_with(f, inverse, window, slide, self.runtime().default_partitions())
    }

    /// As [`reduce_by_key_and_window_inverse`](DStream::reduce_by_key_and_window_inverse), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`reduce_by_key_and_window_with`](DStream::reduce_by_key_and_window_with).
    #[track_caller]
    pub fn reduce_by_key_and_window_inverse_with(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
        partitions: Partitions,
    ) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        let reducer = Reducer { reduce: f, inverse: Some(inverse) };
        let span = Span { window, slide };
        self.sliding("reduce_by_key_and_window_inverse", None, |pairs| pairs, reducer, span, partitions)
    }
}
