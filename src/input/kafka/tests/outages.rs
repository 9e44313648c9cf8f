//! Brokers that are away, not ready, or refuse.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;

/// The first program on a fresh cluster asks for its group while the group's coordinator is still being made.
#[test]
fn a_coordinator_that_is_not_ready_is_waited_for() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", ["x"]).unwrap();
    let not_yet = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    broker.cluster().request_errors(RDKafkaApiKey::OffsetFetch, &[not_yet; 3]);
    let mut stream = start(&["a"], params(&broker));
    assert_eq!(stream.source.batch(Time::from_millis(1)).unwrap().unwrap().records, 1);

    broker.cluster().request_errors(RDKafkaApiKey::OffsetFetch, &[not_yet; 1000]);
    let error = try_start(&["a"], params(&broker).start_timeout(Duration::from_millis(300))).map(|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("the committed offsets of group g cannot be read"), "{error}");
}

#[test]
fn brokers_that_are_not_there_are_named() {
    let params = KafkaParams::new("127.0.0.1:1").group_id("g").start_timeout(Duration::from_millis(300));
    let error = try_start(&["a"], params).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    let text = error.to_string();
    assert!(text.starts_with("topic a cannot be looked up at the Kafka brokers 127.0.0.1:1: "), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
}

#[test]
fn brokers_that_come_back_deliver_what_they_owe() {
    let broker = broker(&[("a", 2)]);
    let mut stream = start(&["a"], params(&broker).planning_timeout(Duration::from_millis(50)));
    broker.send("a", ["0"]).unwrap();
    assert_eq!(values(&stream.next_with_records())[0], ["0"]);
    broker.send("a", ["1", "2"]).unwrap();
    broker.cluster().broker_down(1).unwrap();
    let away = stream.batch();
    assert_eq!(ranges(&away), ["a/0 offsets 1..1", "a/1 offsets 0..0"]);
    assert_eq!(values(&away), [[""; 0]; 2]);
    broker.cluster().broker_up(1).unwrap();
    assert_eq!(values(&stream.next_with_records()), [["2"], ["1"]]);
    stream.completed();
    stream.stop();
    assert_eq!(start(&["a"], params(&broker)).batch().records, 0);
}

/// One that answers later than batches wait for it: they are empty, and what they left comes with those after.
#[test]
fn a_slow_broker_makes_records_late_and_loses_none() {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker).planning_timeout(Duration::from_millis(50)));
    let round_trip = |time| broker.cluster().broker_round_trip_time(1, time).unwrap();
    broker.send("a", ["0"]).unwrap();
    assert_eq!(values(&stream.next_with_records())[0], ["0"]);
    round_trip(Duration::from_millis(400));
    broker.send("a", ["1", "2"]).unwrap();
    assert_eq!(ranges(&stream.batch()), ["a/0 offsets 1..1"]);
    round_trip(Duration::ZERO);
    assert_eq!(values(&stream.next_with_records()), [["1", "2"]]);
    stream.completed();
    stream.stop();

    // Slow, and in time: each question and each fetch takes its round trip.
    round_trip(Duration::from_millis(100));
    broker.send("a", ["3"]).unwrap();
    let mut stream = start(&["a"], params(&broker).planning_timeout(Duration::from_secs(20)));
    assert_eq!(values(&stream.batch()), [["3"]]);
    stream.stop();
}

#[test]
fn brokers_that_stay_away_fail_the_stream() {
    let broker = broker(&[("a", 1)]);
    let limits = params(&broker).planning_timeout(Duration::from_millis(50)).max_outage(Duration::from_millis(120));
    let mut stream = start(&["a"], limits);
    broker.send("a", ["x"]).unwrap();
    let unread = stream.batch();
    broker.cluster().broker_down(1).unwrap();
    let deadline = Clock::system().now() + PATIENCE;
    let failed = (1..).find_map(|n| {
        assert!(Clock::system().now() < deadline, "the stream goes on");
        stream.source.batch(Time::from_millis(stream.now + n)).err()
    });
    let text = failed.unwrap().to_string();
    let brokers = broker.bootstrap_servers();
    assert!(text.starts_with(&format!("the Kafka brokers at {brokers} have not told the ends of all ")), "{text}");
    // The record may have come before the broker went.
    if let Err(error) = unread.dataset.collect() {
        let text = error.to_string();
        assert!(text.contains("a/0 offsets 0..1: no record came for 120ms, offset 0 was reached: "), "{text}");
    }
}

#[test]
fn a_question_that_is_refused_makes_the_batch_empty() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", ["x"]).unwrap();
    let mut stream = start(&["a"], params(&broker));
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.cluster().request_errors(RDKafkaApiKey::ListOffsets, &[refused; 10]);
    assert_eq!(stream.batch().records, 0);
    broker.cluster().clear_request_errors(RDKafkaApiKey::ListOffsets);
    assert_eq!(stream.next_with_records().records, 1);
    stream.stop();
}
