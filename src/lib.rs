//! x
mod codec;
mod config;
mod context;
mod data;
mod dataset;
mod dstream;
mod error;
mod event_loop;
mod exec;
mod id;
mod input;
mod listener;
pub mod prelude;
mod scheduler;
pub mod testing;
mod time;

pub use context::{StreamingContext, StreamingContextBuilder};
pub use data::{Data, Exchange, Key};
pub use dataset::{Dataset, Emitter, PairEmitter, PartitionIter, ReadPartition};
pub use dstream::{Batch, DStream};
pub use error::{Error, ErrorKind, Result};
pub use id::StreamId;
pub use input::{InputBatch, QueueSource, Source, SourceContext};
pub use listener::{BatchInfo, Event, InputInfo, Listener, OutputInfo};
pub use scheduler::{State, Stop};
pub use time::{Clock, Interval, ManualClock, Time};
