use std::panic::Location;
use std::sync::Arc;

use crate::data::Data;
use crate::dataset::Dataset;
use crate::dstream::together::{StreamSet, Together};
use crate::dstream::{DStream, GraphBuilder};
use crate::error::{Error, ErrorKind, Result, guarded};
use crate::time::Time;

impl<T: Data> DStream<T> {
    /// Replaces the dataset of every batch by what `f` makes of it: the way to use any operation of [`Dataset`] on a
    /// stream, and to look at the batch time.
    ///
    /// `f` runs once a batch, on the thread that plans batches, and builds a recipe; actions inside it hold up the
    /// planning of later batches.
    ///
    /// # Errors
    ///
    /// A batch that the stream does not have is an error, and so is one of `f`; both stop the context.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let stamped = run([vec!["a"], vec!["b"]], |words| {
    ///     words.transform(|dataset, time| Ok(dataset.map(move |word| format!("{word}@{time}"))))
    /// })?;
    /// assert_eq!(stamped, [vec!["a@1000 ms"], vec!["b@2000 ms"]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn transform<U: Data>(
        &self,
        f: impl Fn(Dataset<T>, Time) -> Result<Dataset<U>> + Send + Sync + 'static,
    ) -> DStream<U> {
        let f = move |[batch]: [Dataset<T>; 1], time| f(batch, time);
        DStream::transform_all("transform", &self.graph, [self].together(), f, Location::caller())
    }

    /// As [`transform`](DStream::transform), of this stream and `other`: `f` gets their datasets of the same time.
    ///
    /// For more than two there is [`StreamingContext::transform`](crate::StreamingContext::transform).
    ///
    /// # Errors
    ///
    /// As [`transform`](DStream::transform) and [`union`](DStream::union).
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run2;
    ///
    /// // Spark's join of each batch with what another stream has at the same time, here just both in one.
    /// let both = run2([vec![1, 2]], [vec![20, 30]], |left, right| {
    ///     left.transform_with(&right, |left, right, _| Ok(left.union(&right.map(|n| n / 10))))
    /// })?;
    /// assert_eq!(both, [vec![1, 2, 2, 3]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn transform_with<U: Data, V: Data>(
        &self,
        other: &DStream<U>,
        f: impl Fn(Dataset<T>, Dataset<U>, Time) -> Result<Dataset<V>> + Send + Sync + 'static,
    ) -> DStream<V> {
        let f = move |(left, right): (Dataset<T>, Dataset<U>), time| f(left, right, time);
        DStream::transform_all("transform_with", &self.graph, (self, other).together(), f, Location::caller())
    }

    /// A stream of what `f`, which is the program's, makes of the datasets that `streams` have at a time.
    pub(crate) fn transform_all<D: 'static>(
        name: &'static str,
        graph: &Arc<GraphBuilder>,
        streams: Together<D>,
        f: impl Fn(D, Time) -> Result<Dataset<T>> + Send + Sync + 'static,
        site: &'static Location<'static>,
    ) -> DStream<T> {
        let panicked = move |said: &str| Error::new(ErrorKind::User, format!("{name} panicked: {said}"));
        let f = move |batches, at| guarded(|| f(batches, at), panicked);
        streams.lift(name, graph, true, f, site)
    }
}
