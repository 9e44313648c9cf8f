//! Streams of different records that an operator reads together.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::node::Member;
use super::{DStream, Edge, GraphBuilder, Operator};
use crate::data::Data;
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Time;

/// A stream, or a reference to one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no stream",
    label = "neither `DStream<T>` nor `&DStream<T>`",
    note = "streams of the same records come in an array, a `Vec` or an iterator: `context.union([&left, &right])`"
)]
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
/// any records, or an array, a slice or a `Vec` of streams of the same; or of references to streams. The closure gets
/// their datasets in the same form, those of a slice in a `Vec`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no set of streams",
    label = "neither a tuple of two to four streams nor an array, a slice or a `Vec` of streams",
    note = "streams of different records come as `(&numbers, &words)`, those of the same as `[&left, &right]`"
)]
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

impl<D: 'static> Together<D> {
    /// A stream of what `f` makes of the datasets that the streams have at a time, all of which have to be there.
    pub(super) fn lift<U: Data>(
        self,
        name: &'static str,
        graph: &Arc<GraphBuilder>,
        runs_user_code: bool,
        f: impl Fn(D, Time) -> Result<Dataset<U>> + Send + Sync + 'static,
        site: &'static Location<'static>,
    ) -> DStream<U> {
        graph.check_together(name, &self.members, site);
        let slide = self.members.first().map_or(graph.batch_interval(), Member::slide);
        DStream::build(graph, Box::new(LiftAll { name, streams: self, slide, runs_user_code, f }), site)
    }
}

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

impl<S: AsDStream> StreamSet for &[S] {
    type Datasets = Vec<Dataset<S::Record>>;

    fn together(self) -> Together<Self::Datasets> {
        self.iter().collect::<Vec<_>>().together()
    }
}

impl<S: AsDStream> StreamSet for &Vec<S> {
    type Datasets = Vec<Dataset<S::Record>>;

    fn together(self) -> Together<Self::Datasets> {
        self.as_slice().together()
    }
}

impl<S: AsDStream, const N: usize> StreamSet for &[S; N] {
    type Datasets = [Dataset<S::Record>; N];

    fn together(self) -> Together<Self::Datasets> {
        self.each_ref().together()
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

/// An operation on the datasets of several streams.
struct LiftAll<D, F> {
    name: &'static str,
    streams: Together<D>,
    slide: Duration,
    runs_user_code: bool,
    f: F,
}

impl<D, U: Data, F> Operator<U> for LiftAll<D, F>
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
        (self.f)(batches, at).map(Some)
    }

    fn runs_user_code(&self) -> bool {
        self.runs_user_code
    }
}
