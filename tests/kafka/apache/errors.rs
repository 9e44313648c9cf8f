//! What goes wrong at a real broker is named: one line, with what it was about and what to do.

use std::time::Duration;

use tidemill::kafka::KafkaParams;
use tidemill::prelude::*;

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
