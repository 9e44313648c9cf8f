//! Topics and partitions that appear while a program runs.

use std::time::Duration;

use tidemill::kafka::{KafkaParams, Subscription};

use super::super::{committed, params};
use super::Program;
use super::load::{Load, assert_exact};

fn attentive(brokers: &str, group: &str) -> KafkaParams {
    params(brokers, group).discovery_interval(Duration::from_millis(50))
}

#[test]
fn a_topic_grows_from_2_to_8_partitions_under_load() {
    let Some(kafka) = super::shared() else { return };
    let brokers = kafka.bootstrap_servers();
    kafka.create_topic("grown", 2, &[]).unwrap();
    let mut program = Program::start(attentive(brokers, "grown"), ["grown"]).unwrap();
    let load = Load::start(brokers, "grown", 2);
    load.read_on(&mut program);
    kafka.add_partitions("grown", 8).unwrap();
    load.grow(8);
    load.read_on(&mut program);
    let sent = load.end();
    program.read(sent.iter().sum());
    program.stop();
    assert_exact("grown", &[&program], &sent);
    assert!(committed(brokers, "grown", "grown", 8).into_iter().eq(sent.iter().map(|sent| *sent as i64)));
}

/// The program ends soon after the partitions have come, and once more while it is not there: the places of the new
/// ones are kept, and what came to them meanwhile is read from the beginning.
#[test]
fn a_topic_grows_while_programs_come_and_go() {
    let Some(kafka) = super::shared() else { return };
    let brokers = kafka.bootstrap_servers();
    kafka.create_topic("growing", 2, &[]).unwrap();
    let start = || Program::start(attentive(brokers, "growing"), ["growing"]).unwrap();
    let mut first = start();
    let load = Load::start(brokers, "growing", 2);
    load.read_on(&mut first);
    kafka.add_partitions("growing", 5).unwrap();
    load.grow(5);
    first.read_while(|program| program.partitions.len() < 5);
    first.stop();
    let read = |program: &Program, partition| program.partition("growing", partition).records.len() as i64;
    let places: Vec<i64> = (0..5).map(|partition| read(&first, partition)).collect();
    assert_eq!(committed(brokers, "growing", "growing", 5), places);

    kafka.add_partitions("growing", 8).unwrap();
    load.grow(8);
    let mut second = start();
    load.read_on(&mut second);
    let sent = load.end();
    let all: usize = sent.iter().sum();
    second.read(all - first.records());
    second.stop();
    assert_exact("growing", &[&first, &second], &sent);
    assert!(committed(brokers, "growing", "growing", 8).into_iter().eq(sent.iter().map(|sent| *sent as i64)));
}

#[test]
fn a_topic_that_matches_a_pattern_appears() {
    let Some(kafka) = super::shared() else { return };
    let params = attentive(kafka.bootstrap_servers(), "sensors");
    let mut program = Program::subscribe(params, Subscription::pattern("sensor-[a-z]")).unwrap();
    for (number, topic) in ["sensor-a", "sensor-a2", "sensor-b", "a-sensor-c"].into_iter().enumerate() {
        kafka.create_topic(topic, 2, &[]).unwrap();
        kafka.send(topic, 1, [number.to_string()]).unwrap();
        if topic.len() == "sensor-a".len() {
            program.read_while(|program| !program.partitions.contains_key(&(topic.to_string(), 1)));
        }
    }
    program.read(2);
    program.stop();
    let read = program.partitions.iter().map(|((topic, partition), read)| (&**topic, *partition, read.values()));
    let read: Vec<_> = read.collect();
    assert_eq!(
        read,
        [("sensor-a", 0, vec![]), ("sensor-a", 1, vec!["0"]), ("sensor-b", 0, vec![]), ("sensor-b", 1, vec!["2"])]
    );
}
