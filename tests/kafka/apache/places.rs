//! Where a program goes on, over a restart of the brokers; and others who use its group.

use std::sync::mpsc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tidemill::kafka::{self, CommitHandle, FileOffsetStore, KafkaParams, Subscription};
use tidemill::prelude::*;
use tidemill_test_broker::ApacheKafka;

use super::super::bad_input::assert_names;
use super::super::{PATIENCE, committed, params};
use super::{Program, context};

const PARTITIONS: i32 = 2;

fn send(kafka: &ApacheKafka, numbers: std::ops::Range<usize>) {
    for partition in 0..PARTITIONS {
        kafka.send("places", partition, numbers.clone().map(|n| n.to_string())).unwrap();
    }
}

fn assert_reads(program: &mut Program, numbers: std::ops::Range<usize>) {
    program.read(numbers.len() * PARTITIONS as usize);
    program.stop();
    for partition in 0..PARTITIONS {
        assert!(program.partition("places", partition).numbers().into_iter().eq(numbers.clone()));
    }
}

/// Three programs keep their places in three ways. The broker is killed after they have stopped, and again while a
/// commit that the program has asked for is waiting.
#[test]
fn places_outlive_the_brokers() {
    let Some(mut kafka) = super::mortal() else { return };
    kafka.create_topic("places", PARTITIONS as usize, &[]).unwrap();
    let brokers = kafka.bootstrap_servers().to_string();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("offsets");
    let in_group = || params(&brokers, "in-group");
    let in_file = || KafkaParams::new(&brokers).offset_store(FileOffsetStore::new(&path).unwrap());
    let commits = CommitHandle::new();
    let by_hand = || params(&brokers, "by-hand").commit_manually(&commits);

    send(&kafka, 0..100);
    let earliest = in_file().auto_offset_reset(kafka::AutoOffsetReset::Earliest);
    for params in [in_group(), earliest, by_hand()] {
        assert_reads(&mut Program::start(params, ["places"]).unwrap(), 0..100);
    }
    kafka.kill();
    kafka.restart().unwrap();
    send(&kafka, 100..200);
    for params in [in_group(), in_file()] {
        assert_reads(&mut Program::start(params, ["places"]).unwrap(), 100..200);
    }
    assert_eq!(committed(&brokers, "in-group", "places", PARTITIONS), [200, 200]);

    // Nothing was committed, so that it comes again; the commit is asked for while no broker is there.
    let mut program = Program::start(by_hand(), ["places"]).unwrap();
    program.read(400);
    kafka.kill();
    let ranges: Vec<_> =
        program.partitions.values().map(|partition| partition.ranges.last().unwrap().clone()).collect();
    let (send, outcome) = mpsc::channel();
    commits.commit_async_with(&ranges, move |_, outcome| send.send(outcome).unwrap()).unwrap();
    assert!(outcome.try_recv().is_err(), "it waits");
    kafka.restart().unwrap();
    outcome.recv_timeout(PATIENCE).unwrap().unwrap();
    program.stop();
    assert_eq!(committed(&brokers, "by-hand", "places", PARTITIONS), [200, 200]);
}

/// Two programs, or two contexts: nobody can keep the second from starting. Both are right to fail, one has to.
#[test]
fn two_programs_with_one_group_are_reported() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("contested", 1, &[]).unwrap();
    let contexts = [context("first"), context("second")];
    for context in &contexts {
        let params = params(kafka.bootstrap_servers(), "contested");
        let records = kafka::direct_stream(context, params, Subscription::topics(["contested"]));
        records.foreach_batch(|records, _| records.foreach(|_| Ok(())));
        context.start().unwrap();
    }
    let error = std::thread::scope(|scope| {
        let (tell, errors) = mpsc::channel();
        for context in &contexts {
            let tell = tell.clone();
            scope.spawn(move || tell.send(context.await_termination()));
        }
        let error = (0..).find_map(|n: u32| {
            kafka.send("contested", 0, [n.to_string()]).unwrap();
            errors.recv_timeout(Duration::from_millis(50)).ok()
        });
        // The other one may have failed as well.
        contexts.iter().for_each(|context| drop(context.stop(Stop::Now)));
        error
    });
    let error = error.unwrap().unwrap_err();
    assert_names(&error, &["another stream or program commits to group contested: in contested/0 "]);
}

/// A consumer that joins the group takes it from everybody who does not.
#[test]
fn a_group_that_somebody_joins_is_named() {
    let Some(kafka) = super::shared() else { return };
    let brokers = kafka.bootstrap_servers();
    kafka.create_topic("joined", 1, &[]).unwrap();
    kafka.send("joined", 0, ["1"]).unwrap();
    let mut program = Program::start(params(brokers, "joined"), ["joined"]).unwrap();
    program.read(1);
    let member: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "joined")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    member.subscribe(&["joined"]).unwrap();
    while member.assignment().unwrap().count() == 0 {
        drop(member.poll(Duration::from_millis(10)));
    }
    kafka.send("joined", 0, ["2"]).unwrap();
    let parts = ["kafka joined", "joined/0: 2", "group joined has members", "a group id of its own"];
    assert_names(&program.error(), &parts);
    // Nor does one start that has to commit where it starts.
    kafka.add_partitions("joined", 2).unwrap();
    let Err(error) = Program::start(params(brokers, "joined"), ["joined"]) else { panic!("the program started") };
    assert_names(&error, &["group joined cannot commit the offsets at which it starts", "has members"]);
}
