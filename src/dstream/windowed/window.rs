use std::time::Duration;

use crate::data::Data;
use crate::dataset::Dataset;
use crate::dstream::{DStream, Edge, Operator};
use crate::error::Result;
use crate::time::{Interval, Time};

impl<T: Data> DStream<T> {
    /// Returns a stream whose batch at time `t` holds the records of `(t - window, t]`.
    ///
    /// A batch is produced every `slide`, at multiples of it after the zero time. Both durations are multiples of this
    /// stream's own slide duration. The first windows are partial: they hold the batches that exist. This stream
    /// remembers its batches for `window`, so memory grows with it; windows share them and copy nothing.
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
    /// let windows = run([vec![1], vec![2], vec![3]], |numbers| numbers.window(2 * second, second))?;
    /// assert_eq!(windows, [vec![1], vec![1, 2], vec![2, 3]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn window(&self, window: Duration, slide: Duration) -> DStream<T> {
        self.check_window(window, slide);
        self.keep_for_window();
        self.attach(Window { parent: self.clone(), window, slide })
    }

    /// Notes what is wrong with the durations of a window over this stream.
    #[track_caller]
    pub(super) fn check_window(&self, window: Duration, slide: Duration) {
        self.check_multiple("window duration", window);
        self.check_multiple("slide duration", slide);
        self.check_positive("slide duration", slide);
    }
}

/// Unions the parent's batches, as Spark Streaming's `WindowedDStream` does.
struct Window<T> {
    parent: DStream<T>,
    window: Duration,
    slide: Duration,
}

impl<T: Data> Operator<T> for Window<T> {
    fn name(&self) -> &str {
        "window"
    }

    fn slide(&self) -> Duration {
        self.slide
    }

    fn parents(&self) -> Vec<Edge> {
        vec![self.parent.edge_for(self.window)]
    }

    fn keeper(&self) -> Option<&DStream<T>> {
        Some(&self.parent)
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<T>>> {
        let batches = self.parent.batches(Interval::ending_at(at, self.window))?;
        Ok(Some(Dataset::union_all(batches.into_iter().map(|(_, batch)| batch), self.parent.runtime())))
    }
}
