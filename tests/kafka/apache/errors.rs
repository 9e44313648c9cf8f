//! What goes wrong at a real broker is named: one line, with what it was about and what to do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tidemill::kafka::KafkaParams;
use tidemill::prelude::*;
use tidemill_test_broker::ApacheKafka;

use super::super::bad_input::assert_names;
use super::super::params;
use super::{Program, USER};

/// How the program ends before it has begun.
fn refused(params: KafkaParams, topic: &str) -> Error {
    match Program::start(params, [topic]) {
        Ok(_) => panic!("the program started"),
        Err(error) => error,
    }
}

fn login(params: KafkaParams, user: &str, password: &str) -> KafkaParams {
    let params = params.set("security.protocol", "sasl_plaintext").set("sasl.mechanisms", "PLAIN");
    params.set("sasl.username", user).set("sasl.password", password)
}

#[test]
fn a_topic_that_does_not_exist() {
    let Some(kafka) = super::shared() else { return };
    let error = refused(params(kafka.bootstrap_servers(), "nobody"), "nowhere");
    assert_names(&error, &["input kafka nowhere", "apache.rs", "topic nowhere does not exist", "create it"]);
}

/// A broker that hears what it does not understand closes the connection.
#[test]
fn no_password_where_one_is_asked_for() {
    let Some(kafka) = super::shared() else { return };
    let brokers = kafka.sasl_bootstrap_servers();
    let error = refused(params(&brokers, "nobody").start_timeout(Duration::from_secs(1)), "anything");
    assert_names(&error, &["input kafka anything", &brokers, "close connections", "another `security.protocol`"]);
}

#[test]
fn a_wrong_password() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("secrets", 1, &[]).unwrap();
    kafka.send("secrets", 0, ["open sesame"]).unwrap();
    let brokers = kafka.sasl_bootstrap_servers();
    // It does not take the time that brokers have to answer.
    let patient = params(&brokers, "secrets").start_timeout(Duration::from_secs(3600));
    let error = refused(login(patient, USER.0, "guessed"), "secrets");
    assert_names(&error, &["input kafka secrets", &brokers, "Authentication failed"]);
    assert!(!error.to_string().contains("guessed"), "{error}");
    let mut program = Program::start(login(params(&brokers, "secrets"), USER.0, USER.1), ["secrets"]).unwrap();
    program.read(1);
    program.stop();
    assert_eq!(program.partition("secrets", 0).values(), ["open sesame"]);
}

/// Kafka's numbers for kinds of resources.
const TOPIC: u8 = 2;
const GROUP: u8 = 3;

/// Allows somebody else to use a topic or a group, and with that nobody who is not named. No client of ours can ask for
/// that: a request `CreateAcls`, version 1.
fn reserve(kafka: &ApacheKafka, resource: u8, name: &str) {
    const LITERAL: u8 = 3;
    const ALL: u8 = 2;
    const ALLOW: u8 = 3;
    let string = |text: &str| [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat();
    let header = [30_i16.to_be_bytes(), 1_i16.to_be_bytes(), [0, 0], [0, 7]].concat();
    let (client, one) = (string("test"), 1_i32.to_be_bytes());
    let parts = [string(name), vec![LITERAL], string("User:bob"), string("*"), vec![ALL, ALLOW]].concat();
    let request = [header, client, one.to_vec(), vec![resource], parts].concat();
    let mut broker = TcpStream::connect(kafka.bootstrap_servers()).unwrap();
    broker.write_all(&[&(request.len() as i32).to_be_bytes()[..], &request].concat()).unwrap();
    let mut length = [0; 4];
    broker.read_exact(&mut length).unwrap();
    let mut answer = vec![0; i32::from_be_bytes(length) as usize];
    broker.read_exact(&mut answer).unwrap();
    // The number of the request, the time to wait, one outcome: no error.
    assert_eq!(answer[..14], [0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn a_topic_or_a_group_that_one_may_not_use() {
    let Some(kafka) = super::shared() else { return };
    let brokers = kafka.sasl_bootstrap_servers();
    for topic in ["reserved", "free"] {
        kafka.create_topic(topic, 1, &[]).unwrap();
    }
    reserve(kafka, TOPIC, "reserved");
    reserve(kafka, GROUP, "guarded");
    let error = |group, topic| {
        let start = || {
            Program::start(
                login(params(&brokers, group), USER.0, USER.1).start_timeout(Duration::from_secs(3600)),
                [topic],
            )
        };
        // The rules reach the broker a moment later.
        let begun = std::time::Instant::now();
        loop {
            match start() {
                Ok(mut program) => program.stop(),
                Err(error) => return error,
            }
            assert!(begun.elapsed() < super::super::PATIENCE, "the program starts");
        }
    };
    assert_names(
        &error("free", "reserved"),
        &["input kafka reserved", "topic reserved", &brokers, "Topic authorization failed"],
    );
    assert_names(
        &error("guarded", "free"),
        &["input kafka free", "group guarded", &brokers, "Group authorization failed"],
    );
}
