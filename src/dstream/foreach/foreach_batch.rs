use std::panic::Location;
use std::sync::Arc;

use super::Output;
use crate::data::Data;
use crate::dataset::Dataset;
use crate::dstream::{DStream, Edge, Job};
use crate::error::Result;
use crate::time::Time;

/// The batch that an output operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Batch {
    /// The batch time: the same however often a task of the batch is tried. It is no name for the records: read again
    /// after a restart, they may come in another batch.
    pub time: Time,
    /// The place of the output operation among the outputs of the program, from 0.
    pub output: usize,
}

impl<T: Data> DStream<T> {
    /// Calls `f` with the dataset of every batch: an output operation. Spark's `foreachRDD`.
    ///
    /// `f` runs on a thread of the scheduler, the actions it calls on the pool. The outputs of a batch run in the order
    /// in which the program made them, batch after batch. A batch counts as done, and the offsets of its input are
    /// committed, when `f` has returned `Ok` in all of them: an output sees every record at least once.
    ///
    /// # Errors
    ///
    /// An error or a panic of `f` stops the context, and nothing of the batch is committed. For errors of other crates
    /// there is [`Error::user`](crate::Error::user).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::prelude::*;
    ///
    /// let context = StreamingContext::builder("totals").batch_interval(Duration::from_millis(10)).build()?;
    /// let numbers = QueueSource::one_at_a_time();
    /// numbers.push([1, 2, 3]);
    /// let (send, totals) = std::sync::mpsc::channel();
    /// context.input(numbers).foreach_batch(move |dataset, batch| {
    ///     send.send((batch.time, dataset.reduce(|a, b| a + b)?)).map_err(Error::user)
    /// });
    /// context.start()?;
    /// let (first, total) = totals.recv()?;
    /// assert_eq!((first.as_micros() % 10_000, total), (0, Some(6)));
    /// context.stop(Stop::Now)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "foreachRDD")]
    #[track_caller]
    pub fn foreach_batch(&self, f: impl Fn(Dataset<T>, Batch) -> Result<()> + Send + Sync + 'static) {
        self.output("foreach_batch", f);
    }

    #[track_caller]
    pub(super) fn output(
        &self,
        name: &'static str,
        f: impl Fn(Dataset<T>, Batch) -> Result<()> + Send + Sync + 'static,
    ) {
        let output = ForeachBatch { name, site: Location::caller(), stream: self.clone(), f: Arc::new(f) };
        self.graph.add_output(Arc::new(output));
    }
}

struct ForeachBatch<T, F> {
    name: &'static str,
    site: &'static Location<'static>,
    stream: DStream<T>,
    f: Arc<F>,
}

impl<T: Data, F> Output for ForeachBatch<T, F>
where
    F: Fn(Dataset<T>, Batch) -> Result<()> + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        self.name
    }

    fn site(&self) -> &'static Location<'static> {
        self.site
    }

    fn edge(&self) -> Edge {
        self.stream.edge()
    }

    fn job(&self, number: usize, time: Time) -> Result<Option<Job>> {
        let Some(dataset) = self.stream.at(time)? else { return Ok(None) };
        let f = Arc::clone(&self.f);
        let batch = Batch { time, output: number };
        Ok(Some(Job::new(number, move || f(dataset.clone(), batch))))
    }
}
