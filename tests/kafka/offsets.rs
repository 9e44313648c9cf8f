//! Where a stream keeps its place: in a group, in a file, or in the program's own transactions; and who commits.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{
    self, AutoOffsetReset, CommitHandle, FileOffsetStore, HasOffsetRanges, KafkaParams, OffsetRange, OffsetStore,
    Subscription, TopicPartition, TransactionOffsets,
};
use tidemill::prelude::*;

use super::{PATIENCE, Program, committed, first_error, params};

fn context() -> StreamingContext {
    StreamingContext::builder("offsets").batch_interval(Duration::from_millis(20)).build().unwrap()
}

fn broker(partitions: usize) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("numbers", partitions).unwrap();
    broker
}

fn send(broker: &EmbeddedBroker, numbers: std::ops::Range<u32>) {
    broker.send("numbers", numbers.map(|n| n.to_string())).unwrap();
}

/// Runs a stream until it has seen so many records, then stops it gracefully. Returns the ranges with records.
fn read(params: KafkaParams, records: u64) -> Vec<String> {
    let context = context();
    let (send, ranges) = mpsc::channel();
    kafka::direct_stream(&context, params, Subscription::topics(["numbers"])).foreach_batch(move |records, _| {
        let ranges = records.offset_ranges().ok_or_else(|| Error::user("no ranges"))?;
        ranges.into_iter().filter(|range| !range.is_empty()).try_for_each(|range| send.send(range).map_err(Error::user))
    });
    context.start().unwrap();
    let mut seen: Vec<OffsetRange> = Vec::new();
    while seen.iter().map(OffsetRange::count).sum::<u64>() < records {
        seen.push(ranges.recv_timeout(PATIENCE).unwrap());
    }
    context.stop(Stop::Gracefully).unwrap();
    seen.sort_by_key(|range| (range.partition, range.from));
    seen.iter().map(ToString::to_string).collect()
}

#[test]
fn a_file_keeps_the_place_and_the_group_nothing() {
    let (broker, folder) = (broker(2), tempfile::tempdir().unwrap());
    let path = folder.path().join("numbers.offsets");
    let brokers = broker.bootstrap_servers();
    let params = || params(&brokers, "file").offset_store(FileOffsetStore::new(&path).unwrap());
    send(&broker, 0..4);
    assert_eq!(read(params(), 4), ["numbers/0 offsets 0..2", "numbers/1 offsets 0..2"]);
    send(&broker, 4..6);
    assert_eq!(read(params(), 2), ["numbers/0 offsets 2..3", "numbers/1 offsets 2..3"]);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("tidemill offsets 1\nnumbers 0 3\nnumbers 1 3\ncheck "), "{text}");
    assert_eq!(committed(&brokers, "file", "numbers", 2), [0, 0]);
    // Without a group id, too.
    send(&broker, 6..7);
    let params = KafkaParams::new(&brokers).auto_offset_reset(AutoOffsetReset::None);
    assert_eq!(read(params.offset_store(FileOffsetStore::new(&path).unwrap()), 1), ["numbers/0 offsets 3..4"]);
}

#[test]
fn without_commits_every_start_is_the_same() {
    let broker = broker(1);
    let brokers = broker.bootstrap_servers();
    send(&broker, 0..4);
    for _ in 0..2 {
        assert_eq!(read(params(&brokers, "never").commit_never(), 4), ["numbers/0 offsets 0..4"]);
    }
    assert_eq!(committed(&brokers, "never", "numbers", 1), [0]);
    assert_eq!(read(params(&brokers, "never"), 4), ["numbers/0 offsets 0..4"]);
    send(&broker, 4..5);
    for _ in 0..2 {
        assert_eq!(read(params(&brokers, "never").commit_never(), 1), ["numbers/0 offsets 4..5"]);
    }
}

#[test]
fn what_the_program_commits_is_committed_by_a_graceful_stop_and_nothing_else() {
    let broker = broker(1);
    let brokers = broker.bootstrap_servers();
    let context = context();
    let commits = CommitHandle::new();
    let params = params(&brokers, "manual").commit_manually(&commits);
    let (report, seen) = mpsc::channel();
    let in_batch = commits.clone();
    kafka::direct_stream(&context, params, Subscription::topics(["numbers"])).foreach_batch(move |records, _| {
        let ranges = records.offset_ranges().ok_or_else(|| Error::user("no ranges"))?;
        let [range] = &ranges[..] else { return Err(Error::user("one partition")) };
        if range.is_empty() {
            return Ok(());
        }
        match range.until {
            // Not this one.
            1 => report.send("nothing".to_string()).map_err(Error::user),
            2 => {
                in_batch.commit_sync(&ranges)?;
                report.send("sync".to_string()).map_err(Error::user)
            }
            _ => {
                let report = report.clone();
                in_batch.commit_async_with(&ranges, move |offsets, outcome| {
                    report.send(format!("{} {outcome:?}", offsets[0].1)).unwrap();
                })
            }
        }
    });
    context.start().unwrap();
    for (number, heard, expected) in [(0, "nothing", 0), (1, "sync", 2), (2, "3 Ok(())", 3)] {
        send(&broker, number..number + 1);
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), heard);
        assert_eq!(committed(&brokers, "manual", "numbers", 1), [expected]);
    }
    send(&broker, 3..4);
    context.stop(Stop::Gracefully).unwrap();
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), "4 Ok(())");
    assert_eq!(committed(&brokers, "manual", "numbers", 1), [4]);
    let range = OffsetRange { topic: "numbers".into(), partition: 0, from: 0, until: 1 };
    let error = commits.commit_async(&[range]).unwrap_err();
    assert_eq!(error.to_string(), "kafka numbers: a commit after the stream was stopped");
}

#[test]
fn two_streams_with_one_group_do_not_start() {
    let broker = broker(1);
    let context = context();
    for _ in 0..2 {
        let params = params(&broker.bootstrap_servers(), "shared");
        kafka::direct_stream(&context, params, Subscription::topics(["numbers"])).count().print();
    }
    let error = context.start().unwrap_err().to_string();
    assert!(error.contains("offsets.rs:"), "{error}");
    assert!(error.contains("both want the place in numbers/0 that group shared keeps"), "{error}");
}

/// Two programs, or two contexts: nobody can keep the second from starting. Both are right to fail, one has to.
#[test]
fn two_programs_with_one_group_are_reported() {
    let broker = broker(1);
    let contexts = [context(), context()];
    for context in &contexts {
        let params = params(&broker.bootstrap_servers(), "shared");
        kafka::direct_stream(context, params, Subscription::topics(["numbers"])).foreach_batch(|records, _| {
            records.count()?;
            Ok(())
        });
        context.start().unwrap();
    }
    let error = first_error(&contexts, || send(&broker, 0..1)).to_string();
    assert!(error.contains("another stream or program commits to group shared: in numbers/0 "), "{error}");
    assert!(error.contains(&format!("committed by `tidemill pid {} ", std::process::id())), "{error}");
}

/// The results of a program and the offsets they go up to, in one file: its table, and a transaction is a rename.
#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    offsets: BTreeMap<TopicPartition, i64>,
    records: u64,
    sum: u64,
}

impl Table {
    fn read(path: &Path) -> Result<Self> {
        let mut table = Table::default();
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(table),
            text => text?,
        };
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["results", records, sum] => {
                    table.records = records.parse().map_err(Error::user)?;
                    table.sum = sum.parse().map_err(Error::user)?;
                }
                [topic, partition, offset] => {
                    let partition = TopicPartition::new(topic, partition.parse().map_err(Error::user)?);
                    table.offsets.insert(partition, offset.parse().map_err(Error::user)?);
                }
                _ => return Err(Error::user(format!("{line:?} is no line of the table"))),
            }
        }
        Ok(table)
    }

    /// Replaces the table. `before` is called when all is written and none of it counts yet.
    fn write(&self, path: &Path, before: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut text = format!("results {} {}\n", self.records, self.sum);
        for (TopicPartition { topic, partition }, offset) in &self.offsets {
            text.push_str(&format!("{topic} {partition} {offset}\n"));
        }
        let draft = path.with_extension("draft");
        fs::write(&draft, text)?;
        before()?;
        Ok(fs::rename(draft, path)?)
    }

    /// One transaction: the results of a batch, and where it ends.
    fn add(&mut self, ranges: &[OffsetRange], numbers: &[u64]) -> Result<()> {
        for range in ranges {
            let partition = range.topic_partition();
            let end = range.advance(self.offsets.get(&partition).copied())?;
            self.offsets.insert(partition, end);
        }
        self.records += numbers.len() as u64;
        self.sum += numbers.iter().sum::<u64>();
        Ok(())
    }
}

const BROKERS: &str = "TIDEMILL_TEST_OFFSETS_BROKERS";
const TABLE: &str = "TIDEMILL_TEST_OFFSETS_TABLE";
/// Where the program waits to be killed: `STEP N`, in the N-th batch with records.
const FATAL: &str = "TIDEMILL_TEST_OFFSETS_FATAL";

/// The program under test. It says which steps its batches with records have reached: `STEP N`.
#[test]
fn child() {
    let (Ok(brokers), Ok(table)) = (std::env::var(BROKERS), std::env::var(TABLE)) else { return };
    let fatal = std::env::var(FATAL).unwrap();
    let context = context();
    let to_load = table.clone();
    let offsets = TransactionOffsets::new("the table", move |partitions| {
        let table = Table::read(to_load.as_ref())?;
        Ok(partitions.iter().map(|partition| table.offsets.get(partition).copied()).collect())
    });
    let params = KafkaParams::new(&brokers).auto_offset_reset(AutoOffsetReset::Earliest).offset_store(offsets);
    let numbers = kafka::direct_stream(&context, params, Subscription::topics(["numbers"]))
        .try_map(|record| record.value_utf8()?.parse::<u64>().map_err(Error::user));
    let batches = AtomicU32::new(0);
    numbers.foreach_batch(move |numbers, _| {
        let ranges = numbers.offset_ranges().ok_or_else(|| Error::user("no ranges"))?;
        let numbers = numbers.collect()?;
        let batch = batches.fetch_add(u32::from(!numbers.is_empty()), Ordering::Relaxed) + 1;
        let reached = |step: &str| -> Result<()> {
            if numbers.is_empty() {
                return Ok(());
            }
            let line = format!("{step} {batch}");
            writeln!(std::io::stdout(), "{line}")?;
            std::io::stdout().flush()?;
            if line == fatal {
                loop {
                    std::thread::park();
                }
            }
            Ok(())
        };
        let mut results = Table::read(table.as_ref())?;
        results.add(&ranges, &numbers)?;
        reached("begun")?;
        results.write(table.as_ref(), || reached("written"))?;
        reached("committed")
    });
    // The harness has begun a line of its own.
    println!();
    context.start().unwrap();
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    context.stop(Stop::Gracefully).unwrap();
}

#[test]
fn offsets_in_the_transaction_of_the_results_are_exactly_once_whenever_the_program_is_killed() {
    let (broker, folder) = (broker(3), tempfile::tempdir().unwrap());
    let table = folder.path().join("table");
    let brokers = broker.bootstrap_servers();
    let start = |fatal: &str| {
        let variables = [(BROKERS, &*brokers), (TABLE, table.to_str().unwrap()), (FATAL, fatal)];
        Program::start("offsets::child", &variables)
    };
    let mut sent = 0;
    let mut send_more = |count: u32| {
        send(&broker, sent..sent + count);
        sent += count;
        sent
    };
    for batch in 1..=4 {
        for step in ["begun", "written", "committed"] {
            send_more(101);
            let fatal = format!("{step} {batch}");
            let mut program = start(&fatal);
            loop {
                let line = program.line();
                if line == fatal {
                    break;
                }
                if line.starts_with("committed") {
                    // The next batch has records too.
                    send_more(50);
                }
            }
            program.kill();
        }
    }
    let all = send_more(10);
    let mut program = start("never");
    while Table::read(&table).unwrap().records < u64::from(all) {
        program.line();
    }
    program.end();
    let table = Table::read(&table).unwrap();
    println!("{all} records, 12 kills: {table:?}");
    assert_eq!(table.records, u64::from(all));
    assert_eq!(table.sum, (0..u64::from(all)).sum::<u64>());
    assert_eq!(table.offsets.values().sum::<i64>(), i64::from(all));
}

#[test]
fn a_second_program_over_the_same_table_is_stopped_by_its_transaction() {
    let broker = broker(1);
    let brokers = broker.bootstrap_servers();
    let table = std::sync::Arc::new(std::sync::Mutex::new(Table::default()));
    let start = |context: &StreamingContext| {
        let (to_load, to_write) = (std::sync::Arc::clone(&table), std::sync::Arc::clone(&table));
        let offsets = TransactionOffsets::new("the table", move |partitions| {
            let table = to_load.lock().unwrap();
            Ok(partitions.iter().map(|partition| table.offsets.get(partition).copied()).collect())
        });
        assert_eq!(offsets.name(), "the table");
        let params = KafkaParams::new(&brokers).auto_offset_reset(AutoOffsetReset::Earliest).offset_store(offsets);
        kafka::direct_stream(context, params, Subscription::topics(["numbers"])).foreach_batch(move |records, _| {
            let ranges = records.offset_ranges().ok_or_else(|| Error::user("no ranges"))?;
            let values = records.try_map(|record| record.value_utf8()?.parse().map_err(Error::user)).collect()?;
            let mut table = to_write.lock().unwrap();
            let mut changed = table.clone();
            changed.add(&ranges, &values)?;
            *table = changed;
            Ok(())
        });
        context.start().unwrap();
    };
    let contexts = [context(), context()];
    contexts.iter().for_each(start);
    send(&broker, 0..10);
    // One of them wins the race for the records, and the other says why it ends.
    let error = first_error(&contexts, || ()).to_string();
    assert!(error.contains("numbers/0 offsets 0.."), "{error}");
    assert!(error.ends_with("and not 0: another stream or program writes them too"), "{error}");
    let table = table.lock().unwrap();
    assert_eq!((table.records, table.sum), (10, 45));
}

/// Its output has failed after the transaction was committed.
#[test]
fn a_batch_of_a_checkpoint_that_the_database_has_is_left_alone() {
    let (broker, folder) = (broker(2), tempfile::tempdir().unwrap());
    let brokers = broker.bootstrap_servers();
    let table = std::sync::Arc::new(std::sync::Mutex::new(Table::default()));
    let (send_seen, seen) = mpsc::channel();
    let start = |fails: bool| {
        let builder = StreamingContext::builder("offsets").batch_interval(Duration::from_millis(20));
        let context = builder.checkpoint(folder.path()).build().unwrap();
        let (to_load, to_write) = (std::sync::Arc::clone(&table), std::sync::Arc::clone(&table));
        let offsets = TransactionOffsets::new("the table", move |partitions| {
            let table = to_load.lock().unwrap();
            Ok(partitions.iter().map(|partition| table.offsets.get(partition).copied()).collect())
        });
        let params = KafkaParams::new(&brokers).auto_offset_reset(AutoOffsetReset::Earliest).offset_store(offsets);
        let send = send_seen.clone();
        kafka::direct_stream(&context, params, Subscription::topics(["numbers"])).foreach_batch(move |records, _| {
            let ranges = records.offset_ranges().ok_or_else(|| Error::user("no ranges"))?;
            let values: Vec<u64> =
                records.try_map(|record| record.value_utf8()?.parse().map_err(Error::user)).collect()?;
            let mut table = to_write.lock().unwrap();
            let is_stored = |range: &OffsetRange| range.is_stored(table.offsets.get(&range.topic_partition()).copied());
            let is_again = ranges.iter().all(is_stored);
            if !is_again {
                let mut changed = table.clone();
                changed.add(&ranges, &values)?;
                *table = changed;
            }
            if !values.is_empty() {
                send.send((is_again, values.len())).map_err(Error::user)?;
            }
            if fails && !values.is_empty() { Err(Error::user("the connection was lost")) } else { Ok(()) }
        });
        context.start().unwrap();
        context
    };
    send(&broker, 0..10);
    let error = start(true).await_termination().unwrap_err().to_string();
    assert!(error.contains("the connection was lost"), "{error}");
    let (is_again, count) = seen.recv_timeout(PATIENCE).unwrap();
    assert!(!is_again);
    let context = start(false);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), (true, count));
    send(&broker, 10..15);
    while table.lock().unwrap().records < 15 {
        assert!(!seen.recv_timeout(PATIENCE).unwrap().0);
    }
    context.stop(Stop::Gracefully).unwrap();
    let table = table.lock().unwrap();
    assert_eq!((table.records, table.sum), (15, 105));
}
