//! One error each, which names stream, operator, batch, partition or line; and the context ends.

use std::time::Duration;

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{self, KafkaRecord, Subscription};
use tidemill::prelude::*;

use super::{committed, params};

fn context() -> StreamingContext {
    StreamingContext::builder("bad input").batch_interval(Duration::from_millis(20)).build().unwrap()
}

fn broker_with(values: &[&[u8]]) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("lines", 1).unwrap();
    broker.send("lines", values).unwrap();
    broker
}

/// Runs a program over the topic `lines` until it fails.
fn error_of(brokers: &str, build: impl FnOnce(DStream<KafkaRecord>)) -> Error {
    let context = context();
    build(kafka::direct_stream(&context, params(brokers, "g"), Subscription::topics(["lines"])));
    let error = context.start().err().unwrap_or_else(|| super::error_of(&context));
    assert_eq!(context.state(), State::Stopped);
    error
}

pub(crate) fn assert_names(error: &Error, parts: &[&str]) {
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

#[test]
fn a_topic_that_does_not_exist() {
    let broker = EmbeddedBroker::start(1).unwrap();
    let error = error_of(&broker.bootstrap_servers(), |records| records.count().print());
    assert_names(&error, &["input kafka lines", "bad_input.rs", "topic lines does not exist"]);
}

#[test]
fn a_record_that_cannot_be_decoded() {
    let broker = broker_with(&[b"fine", b"\xff\xfe"]);
    let error = error_of(&broker.bootstrap_servers(), |records| {
        records.try_map(|record| record.value_utf8().map(str::len)).named("lengths").foreach_batch(|lengths, _| {
            lengths.count()?;
            Ok(())
        });
    });
    assert_names(
        &error,
        &["batch ", "output foreach_batch", "operator lengths", "bad_input.rs", "partition 0", "lines/0", "offset 1"],
    );
    assert_eq!(committed(&broker.bootstrap_servers(), "g", "lines", 1), [0], "nothing of the batch is committed");
}

#[test]
fn a_closure_that_panics() {
    let broker = broker_with(&[b"1", b"0"]);
    let error = error_of(&broker.bootstrap_servers(), |records| {
        let numbers = records.try_map(|record| record.value_utf8()?.parse::<u32>().map_err(Error::user));
        numbers.map(|number| 10 / number).reduce(|a, b| a + b).print();
    });
    assert_names(
        &error,
        &["batch ", "output print", "operator map (", "bad_input.rs", "partition 0", "4 attempts", "divide by zero"],
    );
    assert_eq!(committed(&broker.bootstrap_servers(), "g", "lines", 1), [0]);
}

#[test]
fn an_output_that_fails() {
    let broker = broker_with(&[b"1"]);
    let error = error_of(&broker.bootstrap_servers(), |records| {
        records.foreach_batch(|records, _| match records.count()? {
            0 => Ok(()),
            _ => Err(Error::user("the table is full")),
        });
    });
    assert_names(&error, &["batch ", "output foreach_batch (tests/kafka/bad_input.rs:", "the table is full"]);
    assert_eq!(committed(&broker.bootstrap_servers(), "g", "lines", 1), [0]);
}

#[test]
fn a_window_that_is_no_multiple() {
    let broker = broker_with(&[b"1"]);
    let error = error_of(&broker.bootstrap_servers(), |records| {
        records.window(Duration::from_millis(30), Duration::from_millis(20)).count().print();
    });
    assert_names(&error, &["bad_input.rs:", "window duration 30ms", "no multiple of 20ms", "kafka lines"]);
}

#[test]
fn a_group_without_the_right_to_commit() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("lines", 1, 1).unwrap();
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 20];
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &refused);
    let error = error_of(&cluster.bootstrap_servers(), |records| records.count().print());
    assert_names(&error, &["input kafka lines", "bad_input.rs:", "group g cannot commit", "authorization failed"]);
}
