//! Records that the broker has deleted, and partitions.

use rdkafka::types::RDKafkaRespErr;

use super::*;
use crate::id::StreamId;
use crate::listener::Event;

/// Three thousand records of which the embedded broker, which compresses them, keeps fewer.
fn incompressible(from: u64) -> impl Iterator<Item = Vec<u8>> {
    (from..from + 3000).map(|n| {
        let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        std::iter::repeat_with(next).take(128).flatten().collect()
    })
}

#[test]
fn records_that_are_deleted_before_they_are_read_are_named() {
    let broker = broker(&[("a", 1)]);
    // A group that has seen nothing.
    start(&["a"], params(&broker)).stop();
    // Nothing is fetched ahead, so that the broker can forget it.
    let slow = params(&broker).group_id("slow").set("queued.min.messages", "1").set("queued.max.messages.kbytes", "1");
    let slow = slow.set("fetch.message.max.bytes", "1000").set("fetch.max.bytes", "1048576");
    let mut stream = start(&["a"], slow.set("message.max.bytes", "1000000"));
    broker.send("a", incompressible(0)).unwrap();
    let batch = stream.batch();
    (1..5).for_each(|n| broker.send("a", incompressible(n * 3000)).unwrap());
    let error = batch.dataset.collect().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("a/0 offsets 0..3000: offsets 0..3000 are gone, the log now starts at "), "{text}");
    assert!(text.ends_with("the topic keeps its records for less time than the stream needs to read them"), "{text}");
    // The next batch holds what is still there, and the partition is read again.
    let again = batch.dataset.collect().unwrap_err();
    assert!(again.to_string().contains("are gone"), "{again}");

    let error = try_start(&["a"], params(&broker)).map(|_| ()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("a/0: group g has read up to offset 0, and the log now starts at "), "{text}");
    assert!(text.ends_with(
        "are lost; to go on without them, set `fail_on_data_loss(false)`, or keep the place under another name"
    ));
}

#[test]
fn a_start_behind_what_the_broker_has_deleted_goes_on_if_it_is_told_to() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", ["first"]).unwrap();
    let mut stream = start(&["a"], params(&broker));
    stream.batch();
    stream.completed();
    stream.stop();
    (0..5).for_each(|n| broker.send("a", incompressible(n * 3000)).unwrap());
    let error = try_start(&["a"], params(&broker)).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("a/0: group g has read up to offset 1, and the log now starts at "), "{error}");
    let mut source = direct_source(Subscription::topics(["a"]), params(&broker).fail_on_data_loss(false));
    let (context, _errors) = context_of(1);
    let (send, events) = unbounded();
    source.start(&context.of_input(StreamId(7), "kafka a").reporting_to(send)).unwrap();
    let batch = source.batch(Time::from_millis(1000)).unwrap().unwrap();
    let range = batch.dataset.offset_ranges().unwrap().remove(0);
    assert!(range.from > 1 && range.until == 15_001, "{range}");
    assert_eq!(batch.dataset.count().unwrap(), range.count());
    let Ok(Event::DataLost { stream, input, what }) = events.try_recv() else { panic!("nothing was reported") };
    assert_eq!((stream, &*input), (StreamId(7), "kafka a"));
    assert!(what.ends_with(&format!("records 1..{} are lost", range.from)), "{what}");
    source.stop(Duration::from_secs(10)).unwrap();
}

#[test]
fn what_is_deleted_before_it_is_read_is_left_out_if_it_may_be() {
    let broker = broker(&[("a", 1)]);
    let slow = params(&broker).set("queued.min.messages", "1").set("queued.max.messages.kbytes", "1");
    let slow = slow.set("fetch.message.max.bytes", "1000").set("fetch.max.bytes", "1048576");
    let mut source =
        direct_source(Subscription::topics(["a"]), slow.set("message.max.bytes", "1000000").fail_on_data_loss(false));
    let (send, events) = unbounded();
    source.start(&context_of(1).0.of_input(StreamId(0), "kafka a").reporting_to(send)).unwrap();
    broker.send("a", incompressible(0)).unwrap();
    let first = source.batch(Time::from_millis(1000)).unwrap().unwrap().dataset;
    (1..5).for_each(|n| broker.send("a", incompressible(n * 3000)).unwrap());
    let second = source.batch(Time::from_millis(2000)).unwrap().unwrap().dataset;
    // All of the first batch is gone, and the beginning of the second.
    assert_eq!(first.count().unwrap(), 0);
    let records = second.collect().unwrap();
    let left = records[0].offset..15_000;
    assert!(left.start > 3000);
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), left.clone().collect::<Vec<_>>());
    let lost: Vec<String> = events
        .try_iter()
        .map(|event| match event {
            Event::DataLost { what, .. } => what,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert!(lost[0].starts_with("a/0: offsets 0..3000 are gone, the log now starts at "), "{lost:?}");
    assert!(lost[1].starts_with(&format!("a/0: offsets 3000..{} are gone", left.start)), "{lost:?}");
    source.stop(Duration::from_secs(10)).unwrap();
}

/// Which of its records the stream would have had is not to be told, so that it goes on without them; it says so.
#[test]
fn a_partition_that_was_gone_and_is_made_anew_is_no_secret() {
    let broker = broker(&[("a", 1), ("b", 1)]);
    let params = params(&broker).discovery_interval(Duration::ZERO).fail_on_data_loss(false);
    let mut source = direct_source(Subscription::topics(["a", "b"]), params);
    let (send, events) = unbounded();
    source.start(&context_of(1).0.of_input(StreamId(0), "kafka a,b").reporting_to(send)).unwrap();
    broker.cluster().topic_error("a", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let mut now = 0;
    let mut told = || {
        for _ in 0..100 {
            now += 1000;
            source.batch(Time::from_millis(now)).unwrap();
            if let Ok(Event::DataLost { what, .. }) = events.try_recv() {
                return Some(what);
            }
        }
        None
    };
    assert_eq!(told().unwrap(), "a/0 does not exist any more: what it had from offset 0 on is lost");
    assert_eq!(told(), None);
    broker.cluster().topic_error("a", RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    assert_eq!(told().unwrap(), "a/0 was made anew: the stream goes on without it until it is started again");
    assert_eq!(told(), None, "once");
    source.stop(Duration::from_secs(10)).unwrap();
}
