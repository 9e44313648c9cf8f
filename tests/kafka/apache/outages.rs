//! Brokers go away and come back while records go in and out. In the run of one program every record is read once, in
//! the order of its partition.

use tidemill_test_broker::ApacheKafka;

use super::super::{committed, params};
use super::Program;
use super::load::{Load, assert_exact};

const PARTITIONS: i32 = 4;

/// Runs a program under load, and `disturb` meanwhile; then checks what it has read and committed.
fn check(kafka: &mut ApacheKafka, topic: &'static str, disturb: impl FnOnce(&mut ApacheKafka, &mut Program, &Load)) {
    kafka.create_topic(topic, PARTITIONS as usize, &[]).unwrap();
    let brokers = kafka.bootstrap_servers().to_string();
    let mut program = Program::start(params(&brokers, topic), [topic]).unwrap();
    let load = Load::start(&brokers, topic, PARTITIONS);
    load.read_on(&mut program);
    disturb(kafka, &mut program, &load);
    load.read_on(&mut program);
    let sent = load.end();
    program.read(sent.iter().sum());
    program.stop();
    assert_exact(topic, &[&program], &sent);
    assert!(committed(&brokers, topic, topic, PARTITIONS).into_iter().eq(sent.iter().map(|sent| *sent as i64)));
}

#[test]
fn a_broker_killed_three_times_under_load() {
    let Some(mut kafka) = super::mortal() else { return };
    check(&mut kafka, "killed", |kafka, program, load| {
        for _ in 0..3 {
            kafka.kill();
            kafka.restart().unwrap();
            load.read_on(program);
        }
    });
}

#[test]
fn partitions_whose_leader_is_killed_go_on_with_another() {
    let Some(mut kafka) = ApacheKafka::builder().brokers(2).or_skip() else { return };
    check(&mut kafka, "led", |kafka, program, load| {
        assert!(kafka.leaders("led").unwrap().contains(&2));
        kafka.kill_broker(2);
        load.read_on(program);
        kafka.restart().unwrap();
    });
}
