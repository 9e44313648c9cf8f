use std::time::Duration;

use super::panes::Reducer;
use super::window::Span;
use crate::data::{Data, Key, Partitions};
use crate::dataset::Dataset;
use crate::dstream::DStream;

impl<T: Data> DStream<T> {
    /// Counts how often each record occurs in a window. Every record comes once, in no particular order.
    ///
    /// A batch is produced every `slide`, for the window `(t - window, t]`; both durations are multiples of this
    /// stream's slide duration, and the first windows are partial. Counts that enter the window are added and those
    /// that leave it are taken off, so a slide costs what comes and goes, and windows are made from one another:
    /// `concurrent_jobs` has to be 1. In memory are, for each batch of the window, its different records.
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
    /// let counts = run([vec![7], vec![7, 7], vec![]], |n| n.count_by_value_and_window(2 * second, second))?;
    /// assert_eq!(counts, [vec![(7, 1)], vec![(7, 3)], vec![(7, 2)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_value_and_window(&self, window: Duration, slide: Duration) -> DStream<(T, u64)>
    where
        T: Key,
    {
        self.count_by_value_and_window_with(window, slide, self.runtime().default_partitions())
    }

    /// As [`count_by_value_and_window`](DStream::count_by_value_and_window), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`reduce_by_key_and_window_with`](DStream::reduce_by_key_and_window_with).
    #[track_caller]
    pub fn count_by_value_and_window_with(
        &self,
        window: Duration,
        slide: Duration,
        partitions: Partitions,
    ) -> DStream<(T, u64)>
    where
        T: Key,
    {
        let reducer = Reducer { reduce: |a, b| a + b, inverse: Some(|a, b| a - b) };
        let pairs = |records: Dataset<T>| records.map(|record| (record, 1));
        let counts =
            self.sliding("count_by_value_and_window", None, pairs, reducer, Span { window, slide }, partitions);
        counts.filter_keys(|_, count| *count > 0)
    }
}
