use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::data::Data;
use crate::dataset::Dataset;
use crate::dstream::{DStream, Edge, GraphBuilder, Operator};
use crate::error::Result;
use crate::exec::Runtime;
use crate::time::Time;

impl<T: Data> DStream<T> {
    /// The records of this stream's batch, then those of `other`'s batch at the same time; duplicates stay.
    ///
    /// For more than two there is [`StreamingContext::union`](crate::StreamingContext::union).
    ///
    /// # Errors
    ///
    /// Streams of different slide durations or contexts are reported by `StreamingContext::start`. A batch that one of
    /// them does not have at a time is an error and stops the context.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run2;
    ///
    /// let both = run2([vec![1], vec![2]], [vec![10], vec![]], |left, right| left.union(&right))?;
    /// assert_eq!(both, [vec![1, 10], vec![2]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn union(&self, other: &DStream<T>) -> DStream<T> {
        DStream::union_all(&self.graph, vec![self.clone(), other.clone()], Location::caller())
    }

    /// The union of streams of one graph, in their order.
    pub(crate) fn union_all(
        graph: &Arc<GraphBuilder>,
        streams: Vec<DStream<T>>,
        site: &'static Location<'static>,
    ) -> DStream<T> {
        let members: Vec<_> = streams.iter().map(DStream::member).collect();
        graph.check_together("union", &members, site);
        let slide = streams.first().map_or(graph.batch_interval(), DStream::slide_duration);
        DStream::build(graph, Box::new(Union { streams, slide, runtime: graph.runtime().clone() }), site)
    }
}

struct Union<T> {
    streams: Vec<DStream<T>>,
    slide: Duration,
    runtime: Runtime,
}

impl<T: Data> Operator<T> for Union<T> {
    fn name(&self) -> &str {
        "union"
    }

    fn slide(&self) -> Duration {
        self.slide
    }

    fn parents(&self) -> Vec<Edge> {
        self.streams.iter().map(DStream::edge).collect()
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<T>>> {
        let batches: Vec<_> = self.streams.iter().map(|stream| stream.expect_at(at, "union")).collect::<Result<_>>()?;
        Ok(Some(Dataset::union_all(batches, &self.runtime)))
    }
}
