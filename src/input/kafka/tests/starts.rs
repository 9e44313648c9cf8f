//! What a stream reads, and where it starts.

use super::*;

#[test]
fn without_committed_offsets_the_params_say_where_to_start() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..3)).unwrap();
    let params = |group: &str, reset| params(&broker).group_id(group).auto_offset_reset(reset);

    let mut earliest = start(&["a"], params("earliest", AutoOffsetReset::Earliest));
    assert_eq!(ranges(&earliest.batch()), ["a/0 offsets 0..3"]);
    let mut latest = start(&["a"], params("latest", AutoOffsetReset::Latest));
    assert_eq!(ranges(&latest.batch()), ["a/0 offsets 3..3"]);
    let error = try_start(&["a"], params("none", AutoOffsetReset::None)).map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a/0: group none has no offset, and `AutoOffsetReset::None` says not to start without one"
    );
    // Where a stream started is committed: what arrived while it was away is not skipped by the next one.
    latest.stop();
    broker.send("a", ["3"]).unwrap();
    assert_eq!(ranges(&start(&["a"], params("latest", AutoOffsetReset::None)).batch()), ["a/0 offsets 3..4"]);
}

#[test]
fn a_topic_that_does_not_exist_is_named() {
    let broker = broker(&[("a", 1)]);
    let error = try_start(&["a", "nowhere"], params(&broker)).map(|_| ()).unwrap_err();
    let brokers = broker.bootstrap_servers();
    assert_eq!(
        error.to_string(),
        format!("topic nowhere does not exist at the Kafka brokers {brokers}: create it, or correct its name")
    );
}

#[test]
fn settings_that_librdkafka_does_not_know_are_named() {
    let broker = broker(&[]);
    let error = try_start(&["a"], params(&broker).set("fetch.wait", "1")).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().starts_with("the Kafka setting fetch.wait is not accepted: "), "{error}");
    let error = try_start(&[], params(&broker)).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "a Kafka stream needs at least one topic");
}

#[test]
fn partitions_that_were_added_are_read_from_their_beginning() {
    let broker = broker(&[("a", 2), ("b", 1)]);
    broker.send("a", numbers(0..2)).unwrap();
    broker.send("b", numbers(0..2)).unwrap();
    let params = params(&broker).auto_offset_reset(AutoOffsetReset::Latest);
    // As if there had been no partition 1 when the group committed.
    group_offsets(&params).commit(&[(TopicPartition::new("a", 0), 1)]).unwrap();
    let mut stream = start(&["a", "b"], params);
    assert_eq!(ranges(&stream.batch()), ["a/0 offsets 1..1", "a/1 offsets 0..1", "b/0 offsets 2..2"]);
    stream.stop();
}

#[test]
fn topics_that_appear_join_a_pattern_while_it_runs() {
    let broker = broker(&[("clicks-de", 1), ("views", 1)]);
    broker.send("clicks-de", numbers(0..3)).unwrap();
    let latest = params(&broker).auto_offset_reset(AutoOffsetReset::Latest).discovery_interval(Duration::ZERO);
    let mut stream = subscribe(Subscription::pattern("clicks-.*"), latest.clone()).unwrap();
    assert_eq!(stream.source.name(), "kafka /clicks-.*/");
    assert_eq!(ranges(&stream.batch()), ["clicks-de/0 offsets 3..3"]);
    // What is in a topic that was not there at the start has come since.
    broker.create_topic("clicks-at", 2).unwrap();
    broker.send("clicks-at", ["x", "y"]).unwrap();
    broker.send("clicks-de", ["3"]).unwrap();
    let mut seen: Vec<String> = Vec::new();
    while seen.len() < 3 {
        seen.extend(values(&stream.batch()).concat());
    }
    seen.sort();
    assert_eq!(seen, ["3", "x", "y"]);
    stream.completed();
    stream.stop();
    // Its place is kept as that of the others.
    let mut stream = subscribe(Subscription::pattern("clicks-.*"), latest.clone()).unwrap();
    assert_eq!(
        ranges(&stream.batch()),
        ["clicks-at/0 offsets 1..1", "clicks-at/1 offsets 1..1", "clicks-de/0 offsets 4..4"]
    );
    stream.stop();
    // Nothing matches yet.
    let mut stream = subscribe(Subscription::pattern("views-.+"), latest.group_id("views")).unwrap();
    assert_eq!(stream.batch().dataset.count().unwrap(), 0);
    broker.create_topic("views-de", 1).unwrap();
    while stream.batch().dataset.offset_ranges().unwrap().is_empty() {}
    stream.stop();
}

#[test]
fn explicit_offsets_come_before_committed_ones() {
    let broker = broker(&[("a", 3)]);
    broker.send("a", numbers(0..30)).unwrap();
    let from = |subscription: Subscription| -> Result<Vec<i64>> {
        let mut stream = subscribe(subscription, params(&broker))?;
        let batch = stream.batch();
        stream.completed();
        stream.stop();
        Ok(batch.dataset.offset_ranges().unwrap().iter().map(|range| range.from).collect())
    };
    let topic = || Subscription::topics(["a"]);
    assert_eq!(from(topic().starting_at([(("a", 1), 4)])).unwrap(), [0, 4, 0]);
    assert_eq!(from(topic()).unwrap(), [10, 10, 10]);
    assert_eq!(from(topic().starting_at([(("a", 1), 4), (("a", 0), 10)])).unwrap(), [10, 4, 10]);
    assert_eq!(from(Subscription::assign([("a", 2), ("a", 1)]).starting_at([(("a", 2), 0)])).unwrap(), [10, 0]);
    let error = |subscription| from(subscription).unwrap_err().to_string();
    assert_eq!(
        error(topic().starting_at([(("a", 1), 11)])),
        "a/1 is to start at offset 11, and the log has 0..10: correct it in `Subscription::starting_at`"
    );
    assert_eq!(
        error(topic().starting_at([(("a", 3), 0)])),
        "a/3 has an offset to start at, and the stream does not read it"
    );
    let missing = error(Subscription::assign([("a", 3)]));
    assert!(missing.starts_with("a/3 does not exist, the topic has 3 partitions at the Kafka brokers "), "{missing}");
}
