//! The cases of Spark's `DirectKafkaStreamSuite`.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tidemill::Event;
use tidemill::kafka::{self, AutoOffsetReset, CommitHandle, HasOffsetRanges, Subscription};
use tidemill::prelude::*;

use super::super::{PATIENCE, committed, params};
use super::{Program, context};

/// "basic stream receiving with multiple topics and smallest starting offset": 16 messages in each of three topics.
#[test]
fn three_topics_from_earliest() {
    let Some(kafka) = super::shared() else { return };
    let topics = ["basic1", "basic2", "basic3"];
    for topic in topics {
        kafka.create_topic(topic, 1, &[]).unwrap();
        kafka.send(topic, 0, [vec!["a"; 7], vec!["b"; 9]].concat()).unwrap();
    }
    let mut program = Program::start(params(kafka.bootstrap_servers(), "basic"), topics).unwrap();
    program.read(48);
    program.stop();
    for topic in topics {
        let read = program.partition(topic, 0);
        assert_eq!(read.values(), [vec!["a"; 7], vec!["b"; 9]].concat());
        // All there was came with the first batch, and its partitions are as large as their ranges.
        assert_eq!((read.ranges.len(), read.ranges[0].count()), (1, 16));
    }
}

/// The same with one explicit offset: 46 of 48 are received.
#[test]
fn one_of_three_topics_from_an_explicit_offset() {
    let Some(kafka) = super::shared() else { return };
    let topics = ["explicit1", "explicit2", "explicit3"];
    for topic in topics {
        kafka.create_topic(topic, 1, &[]).unwrap();
        kafka.send(topic, 0, [vec!["a"; 7], vec!["b"; 9]].concat()).unwrap();
    }
    let subscription = Subscription::topics(topics).starting_at([(("explicit1", 0), 2)]);
    let mut program = Program::subscribe(params(kafka.bootstrap_servers(), "explicit"), subscription).unwrap();
    program.read(46);
    program.stop();
    assert_eq!(program.records(), 46);
    assert_eq!(program.partition("explicit1", 0).values(), [vec!["a"; 5], vec!["b"; 9]].concat());
}

/// "pattern based subscription": three of four topics, of which two start at 3 and 4, so that 41 are received.
#[test]
fn a_pattern_leaves_other_topics_alone() {
    let Some(kafka) = super::shared() else { return };
    for topic in ["pat1", "pat2", "pat3", "anotherpat"] {
        kafka.create_topic(topic, 1, &[]).unwrap();
        kafka.send(topic, 0, [vec!["a"; 7], vec!["b"; 9]].concat()).unwrap();
    }
    let subscription = Subscription::pattern(r"pat\d").starting_at([(("pat2", 0), 3), (("pat3", 0), 4)]);
    let mut program = Program::subscribe(params(kafka.bootstrap_servers(), "patterns"), subscription).unwrap();
    program.read(41);
    program.stop();
    let read = program.partitions.iter().map(|((topic, _), read)| (&**topic, read.records.len()));
    assert_eq!(read.collect::<Vec<_>>(), [("pat1", 16), ("pat2", 13), ("pat3", 12)]);
}

/// "creating stream by offset".
#[test]
fn from_an_offset_of_an_assigned_partition() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("given", 1, &[]).unwrap();
    kafka.send("given", 0, vec!["a"; 10]).unwrap();
    let params = params(kafka.bootstrap_servers(), "given").auto_offset_reset(AutoOffsetReset::None);
    let subscription = Subscription::assign([("given", 0)]).starting_at([(("given", 0), 10)]);
    let mut program = Program::subscribe(params, subscription).unwrap();
    kafka.send("given", 0, vec!["b"; 10]).unwrap();
    program.read(10);
    program.stop();
    let read = program.partition("given", 0);
    assert_eq!((read.values(), read.ranges[0].from), (vec!["b"; 10], 10));
}

/// "receiving from largest starting offset".
#[test]
fn from_latest() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("news", 1, &[]).unwrap();
    kafka.send("news", 0, vec!["old"; 10]).unwrap();
    let params = params(kafka.bootstrap_servers(), "news").auto_offset_reset(AutoOffsetReset::Latest);
    let mut program = Program::start(params, ["news"]).unwrap();
    kafka.send("news", 0, ["b"; 10]).unwrap();
    program.read(10);
    program.stop();
    let read = program.partition("news", 0);
    assert_eq!(read.values(), ["b"; 10]);
    assert_eq!(read.ranges[0].from, 10);
}

/// "offset recovery from kafka": the sum goes on from 55 to 210.
#[test]
fn recovery_from_committed_offsets() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("sums", 1, &[]).unwrap();
    let brokers = kafka.bootstrap_servers();
    let mut sum = 0;
    for (run, numbers) in [1..=10, 11..=20].into_iter().enumerate() {
        kafka.send("sums", 0, numbers.map(|n: u32| n.to_string())).unwrap();
        let mut program = Program::start(params(brokers, "sums"), ["sums"]).unwrap();
        program.read(10);
        program.stop();
        let read = program.partition("sums", 0);
        sum += read.values().iter().map(|value| value.parse::<u32>().unwrap()).sum::<u32>();
        let until = 10 * (run as i64 + 1);
        assert_eq!((sum, read.ranges[0].from), ([55, 210][run], until - 10));
        assert_eq!(committed(brokers, "sums", "sums", 1), [until]);
    }
}

/// "offset recovery from kafka": what the program commits is heard of by its callback, and is where the next one starts.
#[test]
fn recovery_from_offsets_that_the_program_commits() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("called-back", 1, &[]).unwrap();
    let brokers = kafka.bootstrap_servers();
    let mut sum = 0;
    for (numbers, total, until) in [(1..=10, 55, 10), (11..=20, 210, 20)] {
        kafka.send("called-back", 0, numbers.map(|n: u32| n.to_string())).unwrap();
        let context = context("called-back");
        let commits = CommitHandle::new();
        let params = params(brokers, "called-back").commit_manually(&commits);
        let (send, heard) = mpsc::channel();
        let records = kafka::direct_stream(&context, params, Subscription::topics(["called-back"]));
        records.foreach_batch(move |records, _| {
            let ranges = records.offset_ranges().ok_or_else(|| Error::user("no ranges"))?;
            let numbers = records.try_map(|record| record.value_utf8()?.parse::<u32>().map_err(Error::user));
            let sum = numbers.reduce(|a, b| a + b)?;
            let send = send.clone();
            let Some(sum) = sum else { return Ok(()) };
            commits.commit_async_with(&ranges, move |offsets, outcome| {
                outcome.unwrap();
                send.send((sum, offsets[0].1)).unwrap();
            })
        });
        context.start().unwrap();
        let (sum_of_batch, offset) = heard.recv_timeout(PATIENCE).unwrap();
        context.stop(Stop::Gracefully).unwrap();
        sum += sum_of_batch;
        assert_eq!((sum, offset), (total, until));
        assert_eq!(committed(brokers, "called-back", "called-back", 1), [until]);
    }
}

/// "Direct Kafka stream report input information".
#[test]
fn listeners_learn_how_many_records_came() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("report", 2, &[]).unwrap();
    for (partition, count) in [(0, 7), (1, 9)] {
        kafka.send("report", partition, vec!["record"; count]).unwrap();
    }
    let context = context("report");
    let (send, infos) = mpsc::channel();
    context.add_listener(move |event: &Event| {
        if let Event::BatchCompleted(batch) = event {
            let _ = send.send(batch.inputs.clone());
        }
    });
    let params = params(kafka.bootstrap_servers(), "report");
    kafka::direct_stream(&context, params, Subscription::topics(["report"])).count().foreach_batch(|_, _| Ok(()));
    context.start().unwrap();
    let first = infos.recv_timeout(PATIENCE).unwrap();
    assert_eq!((first.len(), &*first[0].name, first[0].records), (1, "kafka report", 16));
    assert_eq!(first[0].description, "report/1 offsets 0..9, report/0 offsets 0..7");
    kafka.send("report", 0, ["late"]).unwrap();
    let mut late = 0;
    while late == 0 {
        late += infos.recv_timeout(PATIENCE).unwrap()[0].records;
    }
    context.stop(Stop::Gracefully).unwrap();
    late += infos.try_iter().map(|inputs| inputs[0].records).sum::<u64>();
    assert_eq!(late, 1);
}

/// A window is made of batches that Kafka reads: the records come once, however long the window is.
#[test]
fn a_window_reads_its_batches_once() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("windowed", 2, &[]).unwrap();
    let context = context("windowed");
    let params = params(kafka.bootstrap_servers(), "windowed");
    let numbers = kafka::direct_stream(&context, params, Subscription::topics(["windowed"]));
    let numbers = numbers.try_map(|record| record.value_utf8()?.parse::<u32>().map_err(Error::user));
    let (send, sums) = mpsc::channel();
    numbers.window(Duration::from_secs(3600), Duration::from_millis(50)).foreach_batch(move |numbers, _| {
        send.send(numbers.reduce(|a, b| a + b)?.unwrap_or_default()).map_err(Error::user)
    });
    context.start().unwrap();
    let mut expected = 0;
    for number in 1..=100 {
        kafka.send("windowed", i32::from(number % 2 == 0), [number.to_string()]).unwrap();
        expected += number;
        if number % 20 == 0 {
            let begun = Instant::now();
            while sums.recv_timeout(PATIENCE).unwrap() != expected {
                assert!(begun.elapsed() < PATIENCE, "no window has the sum {expected}");
            }
        }
    }
    context.stop(Stop::Gracefully).unwrap();
}
