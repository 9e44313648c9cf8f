//! Records that are gone before they are read, with both policies: the program fails and names them, or goes on with
//! what there is and reports them.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill::Event;
use tidemill::kafka::{self, KafkaParams, Subscription};
use tidemill::prelude::*;

use super::super::bad_input::assert_names;
use super::super::{PATIENCE, committed, error_of, params};
use super::{Program, context};

/// Looks often whether partitions are gone.
fn attentive(brokers: &str, group: &str) -> KafkaParams {
    params(brokers, group).discovery_interval(Duration::from_millis(20))
}

fn reported(program: &Program, parts: &[&str]) {
    let lost = program.lost.recv_timeout(PATIENCE).unwrap();
    assert!(parts.iter().all(|part| lost.contains(part)), "{lost}");
}

#[test]
fn a_topic_that_is_deleted_fails_the_program() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("gone", 1, &[]).unwrap();
    kafka.send("gone", 0, (0..10).map(|n| n.to_string())).unwrap();
    let mut program = Program::start(attentive(kafka.bootstrap_servers(), "gone"), ["gone"]).unwrap();
    program.read(10);
    kafka.delete_topic("gone").unwrap();
    let parts = ["kafka gone", "gone/0 does not exist any more", "from offset 10 on", "`fail_on_data_loss(false)`"];
    assert_names(&program.error(), &parts);
}

#[test]
fn a_topic_that_is_deleted_leaves_the_others_alone() {
    let Some(kafka) = super::shared() else { return };
    let brokers = kafka.bootstrap_servers();
    for topic in ["stays", "goes"] {
        kafka.create_topic(topic, 2, &[]).unwrap();
        kafka.send(topic, 0, (0..10).map(|n| n.to_string())).unwrap();
    }
    let params = attentive(brokers, "stays").fail_on_data_loss(false);
    let mut program = Program::start(params, ["stays", "goes"]).unwrap();
    program.read(20);
    kafka.delete_topic("goes").unwrap();
    reported(&program, &["goes/0 does not exist any more", "from offset 10 on is lost"]);
    reported(&program, &["goes/1 does not exist any more", "from offset 0 on is lost"]);
    for partition in 0..2 {
        kafka.send("stays", partition, (10..20).map(|n| n.to_string())).unwrap();
    }
    program.read(40);
    program.stop();
    assert_eq!(program.lost.try_recv().ok(), None);
    assert!(program.partition("stays", 0).numbers().into_iter().eq(0..20));
    assert!(program.partition("stays", 1).numbers().into_iter().eq(10..20));
    assert_eq!(committed(brokers, "stays", "stays", 2), [20, 10]);
}

/// A topic with the name of one that was deleted has other records. The program has been told where the old one ended.
#[test]
fn a_topic_that_is_made_anew_is_another_one() {
    let Some(kafka) = super::shared() else { return };
    let brokers = kafka.bootstrap_servers();
    // The new one is shorter, and longer, than the place of the stream in the old one.
    for (topic, fails, sent) in [("anew-shorter", true, 10), ("anew-longer", true, 150), ("anew-and-on", false, 10)] {
        kafka.create_topic(topic, 1, &[]).unwrap();
        kafka.send(topic, 0, (0..100).map(|n| n.to_string())).unwrap();
        // Not so often that it sees the moment in between.
        let params = params(brokers, topic).discovery_interval(Duration::from_millis(500)).fail_on_data_loss(fails);
        let mut program = Program::start(params, [topic]).unwrap();
        program.may_lose = true;
        program.read(100);
        kafka.delete_topic(topic).unwrap();
        kafka.create_topic(topic, 1, &[]).unwrap();
        kafka.send(topic, 0, std::iter::repeat_n("new", sent)).unwrap();
        let lost = [&*format!("topic {topic} was deleted and made anew"), &*format!("({topic}/0: "), "is lost"];
        if fails {
            assert_names(&program.error(), &lost);
            continue;
        }
        reported(&program, &lost);
        // It has other offsets, all of which are read.
        kafka.send(topic, 0, ["newer"; 10]).unwrap();
        program.read(120);
        program.stop();
        let read = program.partition(topic, 0);
        assert_eq!(&read.values()[100..], [["new"; 10], ["newer"; 10]].concat());
        assert_eq!(read.ranges.last().unwrap().until, 20);
        assert_eq!(committed(brokers, topic, topic, 1), [20]);
    }
}

/// A slow program: its first batch waits at its first record until it is told to go on.
struct Slow {
    context: StreamingContext,
    go_on: Sender<()>,
    /// Of the records, in the order in which they are read.
    offsets: Receiver<i64>,
    lost: Receiver<String>,
}

const RECORDS: i64 = 800;

impl Slow {
    /// Fills a topic and begins to read it, so that most of it is not fetched yet.
    fn start(topic: &str, params: KafkaParams) -> Option<Self> {
        let kafka = super::shared()?;
        kafka.create_topic(topic, 1, &[]).unwrap();
        kafka.send(topic, 0, (0..RECORDS).map(|_| vec![b'x'; 10_000])).unwrap();
        let context = context(topic);
        let (first, begun) = mpsc::channel();
        let (go_on, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let (report, lost) = mpsc::channel();
        context.add_listener(move |event: &Event| {
            if let Event::DataLost { what, .. } = event {
                let _ = report.send(what.clone());
            }
        });
        let (send, offsets) = mpsc::channel();
        let records = kafka::direct_stream(&context, params, Subscription::topics([topic]));
        records.foreach_batch(move |records, _| {
            let send = send.clone();
            let wait = Arc::new(&wait);
            records.map(|record| record.offset).foreach(|offset| {
                if offset == 0 {
                    let _ = first.send(());
                    // Only once: the sender is gone when the task is tried again.
                    let _ = wait.lock().unwrap().recv();
                }
                send.send(offset).map_err(Error::user)
            })
        });
        context.start().unwrap();
        begun.recv_timeout(PATIENCE).unwrap();
        Some(Slow { context, go_on, offsets, lost })
    }
}

/// librdkafka fetches little ahead.
fn short_of_memory(topic: &str) -> Option<KafkaParams> {
    let params = params(super::shared()?.bootstrap_servers(), topic)
        .set("fetch.max.bytes", "100000")
        .set("fetch.message.max.bytes", "100000")
        .set("message.max.bytes", "50000")
        .set("queued.max.messages.kbytes", "100");
    Some(params)
}

#[test]
fn records_that_are_deleted_before_they_are_read_fail_the_batch() {
    let Some(params) = short_of_memory("short") else { return };
    let Some(Slow { context, go_on, .. }) = Slow::start("short", params.clone()) else { return };
    let Some(kafka) = super::shared() else { return };
    kafka.delete_records("short", 0, RECORDS).unwrap();
    drop(go_on);
    let error = error_of(&context);
    assert_names(&error, &["batch ", "loss.rs", "short/0", "are gone, the log now starts at 800"]);
    assert_eq!(committed(kafka.bootstrap_servers(), "short", "short", 1), [0]);

    let Err(error) = Program::start(params, ["short"]) else { panic!("the program started") };
    assert_names(&error, &["short/0", "group short", "records 0..800 are lost", "`fail_on_data_loss(false)`"]);
}

#[test]
fn records_that_are_deleted_before_they_are_read_are_left_out() {
    let Some(params) = short_of_memory("shorter") else { return };
    let Some(slow) = Slow::start("shorter", params.fail_on_data_loss(false)) else { return };
    let Some(kafka) = super::shared() else { return };
    const LEFT: i64 = 600;
    kafka.delete_records("shorter", 0, LEFT).unwrap();
    drop(slow.go_on);
    let lost = slow.lost.recv_timeout(PATIENCE).unwrap();
    assert!(
        lost.contains("shorter/0: offsets ") && lost.contains("..600 are gone, the log now starts at 600"),
        "{lost}"
    );
    let mut offsets: Vec<i64> = Vec::new();
    while offsets.last() != Some(&(RECORDS - 1)) {
        offsets.push(slow.offsets.recv_timeout(PATIENCE).unwrap());
    }
    slow.context.stop(Stop::Gracefully).unwrap();
    let fetched = offsets.len() as i64 - (RECORDS - LEFT);
    println!("{lost}: {fetched} of them were read");
    assert!(lost.contains(&format!("offsets {fetched}..")), "{lost}, and {fetched} were read");
    assert!(offsets.into_iter().eq((0..fetched).chain(LEFT..RECORDS)));
    assert_eq!(slow.lost.try_recv().ok(), None, "it is said once");
    assert_eq!(committed(kafka.bootstrap_servers(), "shorter", "shorter", 1), [RECORDS]);
}
