use std::time::Duration;

use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::Dataset;
use crate::dstream::{BatchFormat, DStream, Edge, Operator};
use crate::error::Result;
use crate::id::PANES;
use crate::time::{Interval, Time, common_step};

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
        let span = Span { window, slide };
        self.check_span(span);
        self.keep_for_window();
        self.attach(Window { parent: self.clone(), span })
    }

    /// The panes of a window: for every stretch of batches that windows take up and leave as a whole, the pairs that `f`
    /// makes of its records, in so many partitions by key.
    #[track_caller]
    pub(super) fn panes<K: Key, V: Exchange>(
        &self,
        name: &'static str,
        span: Span,
        partitions: Partitions,
        f: impl Fn(Dataset<T>) -> Dataset<(K, V)> + Send + Sync + 'static,
    ) -> DStream<(K, V)> {
        self.check_span(span);
        let (length, format) = (common_step(span.window, span.slide), BatchFormat::pairs(partitions));
        self.attach(Panes { name, parent: self.clone(), length, f, format })
    }

    /// Notes what is wrong with the durations of a window over this stream.
    #[track_caller]
    fn check_span(&self, span: Span) {
        self.check_multiple("window duration", span.window);
        self.check_multiple("slide duration", span.slide);
        self.check_positive("slide duration", span.slide);
    }
}

/// The durations of a window.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) window: Duration,
    pub(super) slide: Duration,
}

/// Unions the parent's batches, as Spark Streaming's `WindowedDStream` does.
struct Window<T> {
    parent: DStream<T>,
    span: Span,
}

impl<T: Data> Operator<T> for Window<T> {
    fn name(&self) -> &str {
        "window"
    }

    fn slide(&self) -> Duration {
        self.span.slide
    }

    fn parents(&self) -> Vec<Edge> {
        vec![self.parent.edge_for(self.span.window)]
    }

    fn keeper(&self) -> Option<&DStream<T>> {
        Some(&self.parent)
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<T>>> {
        let batches = self.parent.batches(Interval::ending_at(at, self.span.window))?;
        Ok(Some(Dataset::union_all(batches.into_iter().map(|(_, batch)| batch), self.parent.runtime())))
    }
}

/// Makes one pane of all batches of a stretch. A pane is asked for when its records are in a window for the first time.
struct Panes<T, U, F> {
    name: &'static str,
    parent: DStream<T>,
    length: Duration,
    f: F,
    /// Panes are small, and what they are made from need not be kept for their sake: a checkpoint has them.
    format: BatchFormat<U>,
}

impl<T: Data, U: Data, F: Fn(Dataset<T>) -> Dataset<U> + Send + Sync + 'static> Operator<U> for Panes<T, U, F> {
    fn name(&self) -> &str {
        self.name
    }

    fn part(&self) -> Option<&'static str> {
        Some(PANES)
    }

    fn slide(&self) -> Duration {
        self.length
    }

    fn parents(&self) -> Vec<Edge> {
        vec![self.parent.edge_once(self.length)]
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<U>>> {
        let batches = self.parent.batches(Interval::ending_at(at, self.length))?;
        if batches.is_empty() {
            return Ok(None);
        }
        let batches = batches.into_iter().map(|(_, batch)| batch);
        Ok(Some((self.f)(Dataset::union_all(batches, self.parent.runtime()))))
    }

    fn batch_format(&self) -> Option<&BatchFormat<U>> {
        Some(&self.format)
    }
}
