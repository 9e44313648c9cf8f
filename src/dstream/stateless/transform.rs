use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::data::Data;
use crate::dataset::Dataset;
use crate::dstream::node::Member;
use crate::dstream::{DStream, Edge, GraphBuilder, Operator};
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

    /// A stream of what `f` makes of the datasets that `streams` have at a time.
    pub(crate) fn transform_all<D: 'static>(
        name: &'static str,
        graph: &Arc<GraphBuilder>,
        streams: Together<D>,
        f: impl Fn(D, Time) -> Result<Dataset<T>> + Send + Sync + 'static,
        site: &'static Location<'static>,
    ) -> DStream<T> {
        graph.check_together(name, &streams.members, site);
        let slide = streams.members.first().map_or(graph.batch_interval(), Member::slide);
        DStream::build(graph, Transform { name, streams, slide, f }, site)
    }
}

/// A stream, or a reference to one.
pub trait AsDStream {
    /// What the stream consists of.
    type Record: Data;

    /// A handle of the stream.
    fn to_dstream(&self) -> DStream<Self::Record>;
}

impl<T: Data> AsDStream for DStream<T> {
    type Record = T;

    fn to_dstream(&self) -> DStream<T> {
        self.clone()
    }
}

impl<S: AsDStream> AsDStream for &S {
    type Record = S::Record;

    fn to_dstream(&self) -> DStream<S::Record> {
        S::to_dstream(self)
    }
}

/// Streams that [`StreamingContext::transform`](crate::StreamingContext::transform) takes: a tuple of two to four of
/// any records, or an array or a `Vec` of streams of the same; or of references to streams. The closure gets their
/// datasets in the same form.
pub trait StreamSet {
    /// The datasets of the streams at one time.
    type Datasets: 'static;

    #[doc(hidden)]
    fn together(self) -> Together<Self::Datasets>;
}

/// What the graph holds of streams that are transformed together.
#[doc(hidden)]
pub struct Together<D> {
    members: Vec<Member>,
    expect_at: ExpectAt<D>,
}

/// The datasets of streams at a time, for the operator of a name.
type ExpectAt<D> = Box<dyn Fn(Time, &str) -> Result<D> + Send + Sync>;

impl<D> fmt::Debug for Together<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together").finish_non_exhaustive()
    }
}

impl<S: AsDStream> StreamSet for Vec<S> {
    type Datasets = Vec<Dataset<S::Record>>;

    fn together(self) -> Together<Self::Datasets> {
        let streams: Vec<_> = self.iter().map(S::to_dstream).collect();
        let members = streams.iter().map(DStream::member).collect();
        let expect_at = move |at, by: &str| streams.iter().map(|stream| stream.expect_at(at, by)).collect();
        Together { members, expect_at: Box::new(expect_at) }
    }
}

impl<S: AsDStream, const N: usize> StreamSet for [S; N] {
    type Datasets = [Dataset<S::Record>; N];

    fn together(self) -> Together<Self::Datasets> {
        let Together { members, expect_at } = Vec::from(self).together();
        let expect_at = move |at, by: &str| {
            let batches = expect_at(at, by)?;
            batches.try_into().map_err(|_| Error::new(ErrorKind::Internal, "not as many datasets as streams"))
        };
        Together { members, expect_at: Box::new(expect_at) }
    }
}

macro_rules! stream_tuples {
    ($(($($stream:ident $place:tt),+))+) => {$(
        impl<$($stream: AsDStream),+> StreamSet for ($($stream,)+) {
            type Datasets = ($(Dataset<$stream::Record>,)+);

            fn together(self) -> Together<Self::Datasets> {
                let streams = ($(self.$place.to_dstream(),)+);
                let members = vec![$(streams.$place.member()),+];
                let expect_at = move |at, by: &str| Ok(($(streams.$place.expect_at(at, by)?,)+));
                Together { members, expect_at: Box::new(expect_at) }
            }
        }
    )+};
}

stream_tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}

struct Transform<D, F> {
    name: &'static str,
    streams: Together<D>,
    slide: Duration,
    f: F,
}

impl<D, U: Data, F> Operator<U> for Transform<D, F>
where
    D: 'static,
    F: Fn(D, Time) -> Result<Dataset<U>> + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        self.name
    }

    fn slide(&self) -> Duration {
        self.slide
    }

    fn parents(&self) -> Vec<Edge> {
        self.streams.members.iter().map(|member| member.edge.clone()).collect()
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<U>>> {
        let batches = (self.streams.expect_at)(at, self.name)?;
        let panicked = |said: &str| Error::new(ErrorKind::User, format!("{} panicked: {said}", self.name));
        guarded(|| (self.f)(batches, at), panicked).map(Some)
    }

    fn runs_user_code(&self) -> bool {
        true
    }
}
