//! A program is killed with SIGKILL in the middle of a batch and started again, over and over, while records come in:
//! in the end every record went out at least once, and never had the group committed what had not gone out.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, Write};
use std::time::Duration;

use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{self, HasOffsetRanges, Subscription};
use tidemill::prelude::*;

use super::{PATIENCE, Program, committed, params};

const PARTITIONS: usize = 3;
const BROKERS: &str = "TIDEMILL_TEST_BROKERS";
/// The number of the batch with records in which the child waits to be killed.
const FATAL_BATCH: &str = "TIDEMILL_TEST_FATAL_BATCH";

/// The program under test: this test binary, started once more with the variables set.
///
/// It tells on standard output what each of its batches did: `begin` in the middle of the output, `out P O VALUE` for a
/// record that has gone out, `done P UNTIL` for a range whose output is about to return.
#[test]
fn child() {
    let Ok(brokers) = env::var(BROKERS) else { return };
    let fatal_batch: u64 = env::var(FATAL_BATCH).unwrap().parse().unwrap();
    let context = StreamingContext::builder("child").batch_interval(Duration::from_millis(20)).build().unwrap();
    let records = kafka::direct_stream(&context, params(&brokers, "killed"), Subscription::topics(["numbers"]));
    let batches = std::sync::atomic::AtomicU64::new(0);
    records.foreach_batch(move |records, _| {
        let ranges = records.offset_ranges().ok_or_else(|| Error::user("no ranges"))?;
        let parts = records.try_map(|record| Ok((record.offset, record.value_utf8()?.to_string())));
        let parts = parts.collect_partitions()?;
        if ranges.iter().all(|range| range.is_empty()) {
            return Ok(());
        }
        let mut text = String::new();
        for (range, records) in ranges.iter().zip(&parts) {
            for (offset, value) in records {
                text.push_str(&format!("out {} {offset} {value}\n", range.partition));
            }
        }
        // One half of the output goes out before the program dies.
        let half = text.lines().count() / 2;
        let (first, second): (Vec<_>, Vec<_>) = text.lines().enumerate().partition(|(n, _)| *n < half);
        let mut out = std::io::stdout().lock();
        let mut write = |lines: &[(usize, &str)]| lines.iter().try_for_each(|(_, line)| writeln!(out, "{line}"));
        write(&first)?;
        if batches.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 == fatal_batch {
            writeln!(out, "begin")?;
            out.flush()?;
            loop {
                std::thread::park();
            }
        }
        write(&second)?;
        for range in &ranges {
            writeln!(out, "done {} {}", range.partition, range.until)?;
        }
        Ok(out.flush()?)
    });
    // The harness has begun a line of its own.
    println!();
    context.start().unwrap();
    // The parent lets go of standard input to end the program gracefully.
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    context.stop(Stop::Gracefully).unwrap();
}

/// What all runs of the program have told.
#[derive(Default)]
struct Books {
    went_out: BTreeSet<String>,
    times: usize,
    /// Up to where the outputs of each partition have returned.
    done: [i64; PARTITIONS],
}

impl Books {
    /// Takes note of a line; `true` if the program waits to be killed.
    fn note(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["out", _, _, value] => {
                self.went_out.insert(value.to_string());
                self.times += 1;
            }
            ["done", partition, until] => {
                let done = &mut self.done[partition.parse::<usize>().unwrap()];
                *done = until.parse::<i64>().unwrap().max(*done);
            }
            ["begin"] => return true,
            _ => {}
        }
        false
    }

    fn check_commits(&self, brokers: &str) -> Vec<i64> {
        let committed = committed(brokers, "killed", "numbers", PARTITIONS as i32);
        for (partition, (committed, done)) in committed.iter().zip(self.done).enumerate() {
            assert!(*committed <= done, "partition {partition}: committed {committed}, done {done}");
        }
        committed
    }
}

#[test]
fn killed_in_the_middle_of_a_batch_nothing_is_lost() {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("numbers", PARTITIONS).unwrap();
    let brokers = broker.bootstrap_servers();
    let start = |fatal_batch: u64| {
        Program::start("recovery::child", &[(BROKERS, &brokers), (FATAL_BATCH, &fatal_batch.to_string())])
    };
    let mut books = Books::default();
    let mut sent = 0;
    let mut send = |count: usize| {
        broker.send("numbers", (sent..sent + count).map(|n| n.to_string())).unwrap();
        sent += count;
        sent
    };
    for fatal_batch in 1..=5 {
        send(101);
        let mut program = start(fatal_batch);
        loop {
            let line = program.line();
            if books.note(&line) {
                break;
            }
            if line.starts_with("done 0") {
                // The next batch has records too.
                send(50);
            }
        }
        for line in program.kill() {
            books.note(&line);
        }
        books.check_commits(&brokers);
    }

    let all = send(10);
    let mut program = start(u64::MAX);
    let started = std::time::SystemTime::now();
    while books.went_out.len() < all {
        books.note(&program.line());
        assert!(started.elapsed().unwrap() < PATIENCE, "{} of {all} records went out", books.went_out.len());
    }
    for line in program.end() {
        books.note(&line);
    }

    assert_eq!(books.went_out, (0..all).map(|n| n.to_string()).collect());
    let committed = books.check_commits(&brokers);
    assert_eq!(committed.iter().sum::<i64>(), all as i64, "a graceful stop commits everything");
    // The kills were in the middle of batches: parts of them have gone out twice.
    assert!(books.times > all, "{} records went out {} times", all, books.times);
}
