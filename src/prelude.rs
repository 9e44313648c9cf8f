//! All that a program needs: `use tidemill::prelude::*;`.

pub use crate::checkpoint::Checkpoint;
pub use crate::context::StreamingContext;
pub use crate::data::{Data, Exchange, Key, Partitions, TotalOrder};
pub use crate::dataset::{Dataset, SortOrder, StorageLevel};
pub use crate::dstream::{Batch, DStream, StateSpec, UpdateSpec};
pub use crate::error::{Error, ErrorKind, Result};
pub use crate::exec::{Accumulator, Broadcast};
pub use crate::input::QueueSource;
pub use crate::scheduler::{State, Stop};
pub use crate::state::KeyState;
pub use crate::time::{Interval, Time};
pub use tidemill_macros::pipeline;
