use std::time::Duration;

use crate::data::Data;
use crate::dataset::Dataset;
use crate::dstream::{DStream, Edge, Operator};
use crate::error::Result;
use crate::time::Time;

impl<T: Data> DStream<T> {
    /// The records of this stream's batch, then those of `other`'s batch at the same time; duplicates stay.
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
        self.check_same_slide(other);
        self.attach(Union { streams: [self.clone(), other.clone()] })
    }
}

struct Union<T> {
    streams: [DStream<T>; 2],
}

impl<T: Data> Operator<T> for Union<T> {
    fn name(&self) -> &str {
        "union"
    }

    fn slide(&self) -> Duration {
        self.streams[0].slide()
    }

    fn parents(&self) -> Vec<Edge> {
        self.streams.iter().map(DStream::edge).collect()
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<T>>> {
        let [first, second] = &self.streams;
        let (first, second) = (first.expect_at(at, "union")?, second.expect_at(at, "union")?);
        Ok(Some(first.union(&second)))
    }
}
