//! Programs over Kafka, on brokers that belong to the test: delivery across kills and stops, and bad input.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]
#![allow(clippy::disallowed_methods, reason = "programs and brokers run in real time")]

mod apache;
mod bad_input;
mod crashes;
mod delivery;
mod limits;
mod offsets;
mod output;
mod program;
mod records;
mod recovery;

use std::slice;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidemill::kafka::{AutoOffsetReset, KafkaParams};
use tidemill::prelude::{Error, Stop, StreamingContext};

use program::Program;

/// How long a test waits for something that is going to happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn params(brokers: &str, group: &str) -> KafkaParams {
    KafkaParams::new(brokers).group_id(group).auto_offset_reset(AutoOffsetReset::Earliest)
}

/// What ends a program.
fn error_of(context: &StreamingContext) -> Error {
    first_error(slice::from_ref(context), || ())
}

/// What ends the first of some programs that fails. Stops the others. Calls `meanwhile` until then.
fn first_error(contexts: &[StreamingContext], mut meanwhile: impl FnMut()) -> Error {
    let begun = Instant::now();
    let look = |context: &StreamingContext| context.await_termination_or_timeout(Duration::from_millis(20)).err();
    loop {
        meanwhile();
        if let Some(error) = contexts.iter().find_map(look) {
            // The others may have failed as well.
            contexts.iter().for_each(|context| drop(context.stop(Stop::Now)));
            return error;
        }
        assert!(begun.elapsed() < PATIENCE, "no program has failed");
    }
}

/// What a group has committed in each partition of a topic; 0 where it has not.
fn committed(brokers: &str, group: &str, topic: &str, partitions: i32) -> Vec<i64> {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", group).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_range(topic, 0, partitions - 1);
    let committed = client.committed_offsets(list, PATIENCE).unwrap();
    committed
        .elements()
        .iter()
        .map(|partition| match partition.offset() {
            Offset::Offset(offset) => offset,
            _ => 0,
        })
        .collect()
}
