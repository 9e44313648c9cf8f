//! A backlog that is cut into several tasks for each topic partition.

use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use tidemill::kafka::{self, KafkaParams, Subscription};
use tidemill::prelude::*;
use tidemill_test_broker::ApacheKafka;

use super::super::{PATIENCE, committed, params};
use super::Program;
use super::transactions::Transactions;

const PARTITIONS: i32 = 2;
const TRANSACTIONS: usize = 20;
/// In each transaction and partition.
const RECORDS: usize = 100;
/// So that tasks end in the middle of transactions.
const RECORDS_PER_TASK: u64 = 130;

/// Fills a topic in transactions of which every second is aborted. Returns what those who read it see.
fn fill(kafka: &ApacheKafka, topic: &'static str) -> Vec<String> {
    kafka.create_topic(topic, PARTITIONS as usize, &[]).unwrap();
    let transactions = Transactions::new(kafka.bootstrap_servers(), topic);
    let mut kept = Vec::new();
    for number in 0..TRANSACTIONS {
        transactions.begin();
        let values: Vec<String> = (0..RECORDS).map(|n| format!("{number}-{n}")).collect();
        for partition in 0..PARTITIONS {
            values.iter().for_each(|value| transactions.send(partition, value));
        }
        if number % 2 == 0 {
            transactions.commit();
            kept.extend(values);
        } else {
            transactions.abort();
        }
    }
    kept
}

fn context(name: &str) -> StreamingContext {
    StreamingContext::builder(name).batch_interval(Duration::from_millis(50)).workers(4).build().unwrap()
}

fn cut(brokers: &str, group: &str) -> KafkaParams {
    params(brokers, group).max_records_per_task(RECORDS_PER_TASK)
}

/// Checks what was read, and that it was read by several tasks for each partition.
fn assert_read(kafka: &ApacheKafka, program: &Program, topic: &str, kept: &[String]) {
    let offsets = TRANSACTIONS * (RECORDS + 1);
    let mut tasks = BTreeMap::new();
    for partition in 0..PARTITIONS {
        let read = program.partition(topic, partition);
        assert!(read.values() == kept, "{topic}/{partition}: {} of {} records", read.records.len(), kept.len());
        assert!(read.ranges.iter().all(|range| range.count() <= RECORDS_PER_TASK));
        assert_eq!(read.ranges.len() as u64, (offsets as u64).div_ceil(RECORDS_PER_TASK));
        tasks.insert(partition, read.ranges.len());
    }
    println!(
        "{topic}: {PARTITIONS} partitions of {TRANSACTIONS} transactions with {RECORDS} records, {} records read in \
         tasks {tasks:?}",
        program.records()
    );
    assert_eq!(committed(kafka.bootstrap_servers(), topic, topic, PARTITIONS), [offsets as i64; PARTITIONS as usize]);
}

#[test]
fn a_backlog_of_transactions_is_cut() {
    let Some(kafka) = super::shared() else { return };
    let kept = fill(kafka, "backlog");
    let params = cut(kafka.bootstrap_servers(), "backlog");
    let mut program = Program::run(context("backlog"), params, Subscription::topics(["backlog"])).unwrap();
    program.read(kept.len() * PARTITIONS as usize);
    program.stop();
    assert_read(kafka, &program, "backlog", &kept);
}

/// All tasks that run wait at their first record; then the broker is killed. What was not fetched yet is what librdkafka
/// had no room for.
#[test]
fn a_broker_is_killed_while_a_backlog_is_read() {
    let Some(mut kafka) = super::mortal() else { return };
    let kept = fill(&kafka, "broken-off");
    let context = context("broken-off");
    let params = cut(kafka.bootstrap_servers(), "broken-off")
        .set("fetch.max.bytes", "10000")
        .set("fetch.message.max.bytes", "10000")
        .set("message.max.bytes", "5000")
        .set("queued.max.messages.kbytes", "10");
    let (first, begun) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let records = kafka::direct_stream(&context, params, Subscription::topics(["broken-off"])).map(move |record| {
        let _ = first.send(());
        // Ends when the sender is gone.
        let _ = wait.lock().unwrap().recv();
        record
    });
    let mut program = Program::over(context, &records).unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    kafka.kill();
    drop(go_on);
    kafka.restart().unwrap();
    program.read(kept.len() * PARTITIONS as usize);
    program.stop();
    assert_read(&kafka, &program, "broken-off", &kept);
}
