//! Spark Streaming's DStream model as an embedded library: typed micro-batches, from Kafka to an output of yours.
//!
//! Records gather for one batch interval and are then worked on as one batch, again and again. A program makes streams
//! from streams, ends some of them in outputs, and starts the context; each batch then flows through the graph on a pool
//! of threads, and counts as done when all of its outputs have returned `Ok`.
//!
//! ```
//! use std::time::Duration;
//! use tidemill::prelude::*;
//!
//! let context = StreamingContext::builder("word count").batch_interval(Duration::from_millis(20)).build()?;
//! let queue = QueueSource::one_at_a_time(); // or `kafka::direct_stream`
//! queue.push(["to be or", "not to be"]);
//!
//! let words = context.input(queue).flat_map(|line: &str| line.split(' ')).map(|word| (word.to_string(), 1));
//! let counts = words.reduce_by_key_and_window(|a, b| a + b, Duration::from_secs(10), Duration::from_millis(20));
//!
//! let (send, tops) = std::sync::mpsc::channel();
//! counts.foreach_batch(move |counts, batch| {
//!     let mut counts = counts.collect()?;
//!     counts.sort_by_key(|(word, count)| (-count, word.clone()));
//!     send.send((batch.time, counts)).map_err(Error::user)
//! });
//! context.start()?;
//! let (time, top) = tops.recv()?;
//! println!("{time}: {top:?}");
//! assert_eq!(top[0], ("be".to_string(), 2));
//! context.stop(Stop::Gracefully)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! | | |
//! |---|---|
//! | [`StreamingContext`] | settings, inputs, start and stop |
//! | [`DStream`] | a stream of batches and everything that can be made of it; outputs: [`foreach_batch`](DStream::foreach_batch), [`print`](DStream::print), [files](DStream::save_as_text_files) |
//! | [`StateSpec`], [`UpdateSpec`], [`KeyState`] | a state for each key |
//! | [`Dataset`] | one batch: lazy, in partitions, with actions |
//! | [`StorageLevel`] | how persisted records are kept |
//! | [`Data`], [`Exchange`], [`Key`], [`Ordered`] | what records and keys have to be |
//! | [`kafka`] | the direct stream, its settings and records, messages as types of yours, a broker for demos and tests |
//! | [`Source`], [`QueueSource`] | inputs of your own, records at hand |
//! | [`testing`] | graphs on a manual clock: batches in, batches out |
//! | [`Backpressure`], [`RateEstimator`] | inputs kept to what the program can process |
//! | [`Checkpoint`], [`SyncPolicy`], [`Upgrade`], [`Inspection`] | where a program keeps what outlives it, how that goes on with another version, and what is in there; [`Storage`] for other places |
//! | [`Listener`], [`Event`] | what happens, batch by batch |
//! | [`Accumulator`], [`Broadcast`] | totals that all tasks add to, values that all of them read |
//! | [`Error`], [`ErrorKind`] | what failed, where and why |
//! | [`Time`], [`Interval`], [`Clock`] | batch times |
//!
//! [`prelude`] has what most programs need. Durations are [`std::time::Duration`]; names are Spark's in snake case.
//!
//! # Delivery
//!
//! A Kafka record reaches every output at least once: offsets are committed after the outputs of their batch are done.
//! With a [checkpoint](StreamingContextBuilder::checkpoint) the batches themselves outlive the program, what operators
//! keep from one to the next, and which outputs are done; without one nothing does but these offsets, and after a restart
//! windows and states begin empty.
//!
//! # Features
//!
//! - `kafka` (default): the Kafka input. Compiles librdkafka, which takes gcc, g++ and make.
mod backpressure;
#[cfg(feature = "kafka")]
mod brokers;
#[allow(dead_code, unused_imports, reason = "the scheduler will use it")]
mod checkpoint;
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
#[cfg(feature = "kafka")]
pub mod kafka;
mod listener;
#[cfg(feature = "kafka")]
mod output;
pub mod prelude;
mod scheduler;
mod state;
mod storage;
pub mod testing;
mod time;

pub use backpressure::{Backpressure, BatchLoad, PidRateEstimator, PidSettings, RateEstimator, RateLimit, RatedInput};
pub use checkpoint::{
    Checkpoint, InspectedBatch, InspectedInput, InspectedOwner, InspectedState, Inspection, SyncPolicy, Upgrade,
};
pub use context::{StreamingContext, StreamingContextBuilder};
pub use data::{Data, Exchange, Key, Ordered, Partitions, TotalOrder};
pub use dataset::{
    Dataset, Emitter, LocalIterator, Number, PairEmitter, PartitionIter, ReadPartition, SortOrder, Stats, StorageLevel,
    ValueEmitter,
};
pub use dstream::{AsDStream, Batch, DStream, MapWithState, StateSpec, StreamSet, UpdateSpec};
pub use error::{Error, ErrorKind, Result};
pub use exec::{Accumulator, Broadcast};
pub use id::StreamId;
pub use input::{Claim, InputBatch, QueueSource, Source, SourceContext};
pub use listener::{BatchInfo, Event, InputInfo, Listener, OutputInfo};
pub use scheduler::{OutputFailure, State, Stop};
pub use state::{KeyState, StateInfo};
pub use storage::{Storage, StorageClaim};
pub use tidemill_macros::pipeline;
pub use time::{Clock, Interval, ManualClock, Time};

/// What macros expand to. Not for programs: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::dstream::Together;
    pub use crate::dstream::binding::{Mark, Probe, mark, name_binding, name_stateful_binding, probe, stateful_probe};
    #[cfg(feature = "kafka")]
    pub use crate::input::kafka::fields as kafka;
}

/// The programs in the guide and the README are tests.
#[cfg(all(doctest, feature = "kafka"))]
mod guide {
    macro_rules! chapters {
        ($($chapter:ident: $file:literal,)*) => {
            $(#[doc = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $file))] struct $chapter;)*
        };
    }

    chapters! {
        Readme: "README.md",
        Introduction: "guide/src/introduction.md",
        GettingStarted: "guide/src/getting-started.md",
        ProgrammingModel: "guide/src/programming-model.md",
        Operators: "guide/src/operators.md",
        Windows: "guide/src/windows.md",
        Joins: "guide/src/joins.md",
        StateByKey: "guide/src/state.md",
        Kafka: "guide/src/kafka.md",
        KafkaRecords: "guide/src/kafka-records.md",
        Backpressure: "guide/src/backpressure.md",
        Outputs: "guide/src/outputs.md",
        Recovery: "guide/src/recovery.md",
        Upgrades: "guide/src/upgrades.md",
        Testing: "guide/src/testing.md",
        CheckpointFormat: "guide/src/checkpoint-format.md",
        ComingFromSpark: "guide/src/coming-from-spark.md",
    }
}
