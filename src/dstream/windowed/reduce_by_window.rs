use std::time::Duration;

use super::panes::{Reducer, plain};
use super::window::Span;
use crate::data::{Data, Exchange, Partitions};
use crate::dataset::Dataset;
use crate::dstream::DStream;

impl<T: Data> DStream<T> {
    /// Merges all records of a window into one with `f`, which has to be associative and commutative. An empty window
    /// gives an empty batch.
    ///
    /// A batch is produced every `slide`, for the window `(t - window, t]`; both durations are multiples of this
    /// stream's slide duration, and the first windows are partial. The batches that enter and leave windows together
    /// are reduced once, to a pane, and a slide costs the panes that come and go, not the window. In memory are two
    /// records for each pane of the window.
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
    /// let most = run([vec![3, 9], vec![4], vec![], vec![]], |n| n.reduce_by_window(i32::max, 2 * second, second))?;
    /// assert_eq!(most, [vec![9], vec![9], vec![4], vec![]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_window(
        &self,
        f: impl Fn(T, T) -> T + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> DStream<T>
    where
        T: Exchange,
    {
        self.total("reduce_by_window", without_key, plain(f), Span { window, slide })
    }

    /// As [`reduce_by_window`](DStream::reduce_by_window), for functions that can be undone: `inverse(f(a, b), b)` is
    /// `a`. What leaves the window is taken off the total.
    ///
    /// Windows are made from one another, so batches have to run in order: `concurrent_jobs` has to be 1. As in Spark,
    /// nothing is emitted before the first record; from then on an empty window gives what `inverse` leaves, `0` for a
    /// sum.
    ///
    /// # Errors
    ///
    /// As [`reduce_by_window`](DStream::reduce_by_window).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::testing::run;
    ///
    /// let second = Duration::from_secs(1); // the batch interval of `run`
    /// let sums = run([vec![], vec![3, 9], vec![4], vec![], vec![]], |numbers| {
    ///     numbers.reduce_by_window_inverse(|a, b| a + b, |a, b| a - b, 2 * second, second)
    /// })?;
    /// assert_eq!(sums, [vec![], vec![12], vec![16], vec![4], vec![0]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_window_inverse(
        &self,
        f: impl Fn(T, T) -> T + Send + Sync + 'static,
        inverse: impl Fn(T, T) -> T + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> DStream<T>
    where
        T: Exchange,
    {
        let reducer = Reducer { reduce: f, inverse: Some(inverse) };
        self.total("reduce_by_window_inverse", without_key, reducer, Span { window, slide })
    }

    /// Counts the records of a window. As in Spark, nothing is emitted before the first record; from then on exactly one
    /// record a window, `0` for an empty one.
    ///
    /// A batch is produced every `slide`, for the window `(t - window, t]`; both durations are multiples of this
    /// stream's slide duration, and the first windows are partial. In memory are counts, not records: they are added
    /// when batches enter the window and taken off when they leave, so batches have to run in order: `concurrent_jobs`
    /// has to be 1. Spark asks for a checkpoint directory here, which is not needed.
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
    /// let batches = [vec![], vec!["a", "b"], vec!["a"], vec![], vec![]];
    /// let counts = run(batches, |words| words.count_by_window(2 * second, second))?;
    /// assert_eq!(counts, [vec![], vec![2], vec![3], vec![1], vec![0]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_window(&self, window: Duration, slide: Duration) -> DStream<u64> {
        let reducer = Reducer { reduce: |a, b| a + b, inverse: Some(|a, b| a - b) };
        let counts = |records: Dataset<T>| {
            let counts = records.fold_partitions(0, |count, _| count + 1);
            // A partition without records is none that the window has seen.
            without_key(counts.filter(|count| *count > 0))
        };
        self.total("count_by_window", counts, reducer, Span { window, slide })
    }

    /// Reduces everything in a window to at most one record, in one partition.
    #[track_caller]
    fn total<V: Exchange, F, I>(
        &self,
        name: &'static str,
        values: impl Fn(Dataset<T>) -> Dataset<((), V)> + Send + Sync + 'static,
        reducer: Reducer<F, I>,
        span: Span,
    ) -> DStream<V>
    where
        F: Fn(V, V) -> V + Send + Sync + 'static,
        I: Fn(V, V) -> V + Send + Sync + 'static,
    {
        let total = self.sliding(name, Some("total"), values, reducer, span, Partitions::new(1));
        total.lift(name, |total| total.map(|((), value)| value))
    }
}

fn without_key<T: Data>(records: Dataset<T>) -> Dataset<((), T)> {
    records.map(|record| ((), record))
}
