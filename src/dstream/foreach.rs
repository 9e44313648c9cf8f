//! Output operations: what makes a graph run.

mod foreach_batch;
mod print;
mod save_as_files;
#[cfg(feature = "kafka")]
mod write_to_kafka;

use std::panic::Location;

use super::job::Job;
use super::node::Edge;
use crate::error::Result;
use crate::time::Time;

pub use foreach_batch::Batch;

/// A root of the graph.
pub(crate) trait Output: Send + Sync {
    fn name(&self) -> &str;

    /// The line of the program that made it.
    fn site(&self) -> &'static Location<'static>;

    /// The stream it reads.
    fn edge(&self) -> Edge;

    /// The job of the batch at `time`; none if the stream has no batch there.
    fn job(&self, number: usize, time: Time) -> Result<Option<Job>>;
}
