//! x
#![allow(dead_code, missing_docs, unreachable_pub, unnameable_types)]
mod codec;
mod data;
mod dataset;
mod error;
mod event_loop;
mod exec;
mod id;
mod input;
mod listener;
mod time;

pub use data::{Data, Exchange, Key};
pub use dataset::{Dataset, Emitter, PartitionIter, ReadPartition};
pub use error::{Error, ErrorKind, Result};
pub use id::{OperatorId, Origin, StreamId};
#[cfg(feature = "kafka")]
pub use input::kafka;
pub use input::{InputBatch, QueueSource, Source, SourceContext};
pub use listener::{BatchInfo, Event, InputInfo, Listener, OutputInfo};
pub use time::{Clock, Interval, ManualClock, Time};
