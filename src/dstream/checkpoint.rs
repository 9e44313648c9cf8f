use std::panic::Location;
use std::time::Duration;

use super::DStream;
use super::batches::BatchFormat;
use super::node::Checkpoint;
use crate::data::{Data, Exchange};

impl<T: Data> DStream<T> {
    /// Says how often a snapshot of this stream begins, and has the batches saved that somebody may ask for later.
    ///
    /// Of a stream that keeps something from batch to batch (a state, a window with an inverse function) every batch
    /// saves what it has changed, whatever the interval. A snapshot is what lets older parts of the checkpoint go: it is
    /// written along with the batches, a share with each, so a longer interval writes less, and leaves more to be read
    /// at a restart. Without this call the interval is [automatic](DStream::checkpoint_interval), which is what most
    /// programs want.
    ///
    /// Of any other stream the batches are saved that it remembers, each once, so that a restart finds their records
    /// instead of making them again from the input: worth it where that is expensive, and needed where it cannot be
    /// done, as for a window over [`map_with_state`](DStream::map_with_state). A plain window has no batches of its own:
    /// those of the stream that it reads are saved. What is asked for in its own batch only is not saved.
    ///
    /// # Errors
    ///
    /// An interval that is no multiple of the slide duration or zero, a stream that has another interval already, a
    /// context without a checkpoint directory or one that was started is reported by `StreamingContext::start`, or stops
    /// the context.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::prelude::*;
    ///
    /// let second = Duration::from_secs(1);
    /// let context = StreamingContext::builder("tides").batch_interval(second).build()?;
    /// let levels = context.input(QueueSource::<i64>::one_at_a_time()).map(|level| level * 2).checkpoint(5 * second);
    /// assert_eq!(levels.checkpoint_interval(), Some(5 * second));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn checkpoint(&self, interval: Duration) -> DStream<T>
    where
        T: Exchange,
    {
        if let Some(parent) = self.node.keeper() {
            self.check_multiple("checkpoint interval", interval);
            parent.checkpoint(interval);
            return self.clone();
        }
        let site = Location::caller();
        self.check_positive("checkpoint interval", interval);
        self.check_multiple("checkpoint interval", interval);
        let name = self.node.name();
        if self.graph.is_closed() {
            let message = format!("the stream {name} cannot be checkpointed after the context was started");
            self.graph.mistake(site, message);
        } else if let Err(taken) =
            self.node.set_checkpoint(Checkpoint { interval, format: BatchFormat::records(), site })
        {
            if taken != interval {
                let message =
                    format!("the stream {name} cannot be checkpointed each {interval:?}: it is each {taken:?}");
                self.graph.mistake(site, message);
            }
        }
        self.clone()
    }

    /// How often a snapshot of this stream begins: as the program [said](DStream::checkpoint), and if it did not, for a
    /// stream that keeps something from batch to batch, the least multiple of its slide duration that is 10 s or more
    /// (of [`map_with_state`](DStream::map_with_state) ten slide durations): Spark's rules. `None` for other streams,
    /// also for windows that were told: they pass it on to the stream that they read.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::prelude::*;
    ///
    /// let context = StreamingContext::builder("tides").batch_interval(Duration::from_secs(3)).build()?;
    /// let levels = context.input(QueueSource::<(String, i64)>::one_at_a_time());
    /// let sums = levels.reduce_by_key_and_window_inverse(
    ///     |a, b| a + b,
    ///     |a, b| a - b,
    ///     Duration::from_secs(30),
    ///     Duration::from_secs(3),
    /// );
    /// assert_eq!(sums.checkpoint_interval(), Some(Duration::from_secs(12)));
    /// assert_eq!(levels.checkpoint_interval(), None);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn checkpoint_interval(&self) -> Option<Duration> {
        match self.node.keeper() {
            Some(_) => None,
            None => self.node.checkpoint_interval(),
        }
    }
}

/// Spark's automatic interval of a stream that slides by `slide`: the least multiple of it that is 10 s or more.
pub(super) fn automatic_interval(slide: Duration) -> Duration {
    const LEAST: Duration = Duration::from_secs(10);
    let slides = LEAST.as_nanos().div_ceil(slide.as_nanos().max(1));
    // More slides than fit the number are more than any slide of a microsecond makes.
    slide.saturating_mul(u32::try_from(slides).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of section 1.3, as run in Spark.
    #[test]
    fn automatic_intervals() {
        for (slide, interval) in
            [(100, 10_000), (300, 10_200), (3000, 12_000), (4000, 12_000), (7000, 14_000), (15_000, 15_000)]
        {
            assert_eq!(automatic_interval(Duration::from_millis(slide)), Duration::from_millis(interval), "{slide} ms");
        }
    }
}
