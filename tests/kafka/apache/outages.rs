//! Brokers go away and come back while records go in and out. In the run of one program every record is read once, in
//! the order of its partition.

use tidemill_test_broker::ApacheKafka;

use super::super::{committed, params};
use super::Program;
use super::load::{Load, assert_exact};

const TOPIC: &str = "numbers";
const PARTITIONS: i32 = 4;

/// Runs a program under load, and `disturb` meanwhile; then checks what it has read and committed.
fn check(mut kafka: ApacheKafka, group: &str, disturb: impl FnOnce(&mut ApacheKafka, &mut Program, &Load)) {
    kafka.create_topic(TOPIC, PARTITIONS as usize, &[]).unwrap();
    let brokers = kafka.bootstrap_servers().to_string();
    let mut program = Program::start(params(&brokers, group), [TOPIC]).unwrap();
    let load = Load::start(&brokers, TOPIC, PARTITIONS);
    load.read_on(&mut program);
    disturb(&mut kafka, &mut program, &load);
    load.read_on(&mut program);
    let sent = load.end();
    program.read(sent.iter().sum());
    program.stop();
    assert_exact(group, TOPIC, &[&program], &sent);
    assert!(committed(&brokers, group, TOPIC, PARTITIONS).into_iter().eq(sent.iter().map(|sent| *sent as i64)));
}

#[test]
fn a_broker_killed_three_times_under_load() {
    let Some(kafka) = ApacheKafka::builder().or_skip() else { return };
    check(kafka, "killed", |kafka, program, load| {
        for _ in 0..3 {
            kafka.kill();
            kafka.restart().unwrap();
            load.read_on(program);
        }
    });
}

#[test]
fn partitions_whose_leader_is_killed_go_on_with_another() {
    let Some(kafka) = ApacheKafka::builder().brokers(2).or_skip() else { return };
    check(kafka, "led", |kafka, program, load| {
        assert!(kafka.leaders(TOPIC).unwrap().contains(&2));
        kafka.kill_broker(2);
        load.read_on(program);
        kafka.restart().unwrap();
    });
}
