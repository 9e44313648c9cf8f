use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{self, HasOffsetRanges, Subscription};
use tidemill::prelude::*;

use super::{PATIENCE, committed, params};

fn context() -> StreamingContext {
    StreamingContext::builder("delivery").batch_interval(Duration::from_millis(20)).build().unwrap()
}

fn broker(topic: &str, partitions: usize) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic(topic, partitions).unwrap();
    broker
}

#[test]
fn a_graceful_stop_commits_the_last_batch_and_the_next_run_goes_on_there() {
    let broker = broker("numbers", 3);
    let run = |sent: std::ops::Range<u32>| {
        broker.send("numbers", sent.map(|n| n.to_string())).unwrap();
        let context = context();
        let numbers = kafka::direct_stream(
            &context,
            params(&broker.bootstrap_servers(), "sums"),
            Subscription::topics(["numbers"]),
        );
        let (send, seen) = mpsc::channel();
        numbers
            .try_map(|record| record.value_utf8()?.parse::<u32>().map_err(Error::user))
            .foreach_batch(move |numbers, _| numbers.foreach(|number| send.send(number).map_err(Error::user)));
        context.start().unwrap();
        let first = seen.recv_timeout(PATIENCE).unwrap();
        context.stop(Stop::Gracefully).unwrap();
        let mut all: Vec<u32> = std::iter::once(first).chain(seen.try_iter()).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(run(0..30), (0..30).collect::<Vec<_>>());
    assert_eq!(committed(&broker.bootstrap_servers(), "sums", "numbers", 3), [10, 10, 10]);
    assert_eq!(run(30..33), [30, 31, 32]);
    assert_eq!(committed(&broker.bootstrap_servers(), "sums", "numbers", 3), [11, 11, 11]);
}

#[test]
fn ranges_of_consecutive_batches_join_and_name_every_record() {
    let broker = broker("numbers", 2);
    let context = context();
    let params = params(&broker.bootstrap_servers(), "ranges");
    let records = kafka::direct_stream(&context, params, Subscription::topics(["numbers"]));
    let (send, ranges) = mpsc::channel();
    records.foreach_batch(move |records, _| {
        let ranges = records.offset_ranges().ok_or_else(|| Error::user("no ranges"))?;
        let offsets: Vec<Vec<i64>> = records.map(|record| record.offset).collect_partitions()?;
        send.send((ranges, offsets)).map_err(Error::user)
    });
    context.start().unwrap();
    let mut next = BTreeMap::from([(0, 0), (1, 0)]);
    for part in 0..5 {
        broker.send("numbers", (0..20).map(|n| format!("{part}-{n}"))).unwrap();
        while next.values().any(|next| *next < (part + 1) * 10) {
            let (ranges, offsets) = ranges.recv_timeout(PATIENCE).unwrap();
            assert_eq!(ranges.len(), 2);
            for (range, offsets) in ranges.iter().zip(offsets) {
                assert_eq!(next.insert(range.partition, range.until), Some(range.from), "{range}");
                assert_eq!(offsets, (range.from..range.until).collect::<Vec<_>>(), "{range}");
            }
        }
    }
    context.stop(Stop::Now).unwrap();
}

#[test]
fn windows_and_two_outputs_over_one_stream_read_every_record_once() {
    let broker = broker("numbers", 4);
    broker.send("numbers", (0..1000).map(|n| n.to_string())).unwrap();
    let context = context();
    let params = params(&broker.bootstrap_servers(), "shared");
    let records = kafka::direct_stream(&context, params, Subscription::topics(["numbers"]));
    let (send, totals) = mpsc::channel();
    for name in ["records", "window"] {
        let stream = match name {
            "records" => records.clone(),
            _ => records.window(Duration::from_secs(60), Duration::from_millis(20)),
        };
        let send = send.clone();
        stream.foreach_batch(move |records, _| send.send((name, records.count()?)).map_err(Error::user));
    }
    context.start().unwrap();
    let (mut batches, mut window) = (0, 0);
    while batches < 1000 || window < 1000 {
        match totals.recv_timeout(PATIENCE).unwrap() {
            ("records", count) => batches += count,
            (_, count) => window = count,
        }
        assert!(batches <= 1000 && window <= 1000, "{batches} {window}");
    }
    context.stop(Stop::Gracefully).unwrap();
}
