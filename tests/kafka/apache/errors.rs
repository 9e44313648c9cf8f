//! What goes wrong at a real broker is named: one line, with what it was about and what to do.

use std::sync::mpsc;
use std::time::Duration;

use tidemill::kafka::{self, KafkaParams, Subscription};
use tidemill::prelude::*;

use super::super::bad_input::assert_names;
use super::super::{PATIENCE, committed, params};
use super::{Program, USER, context};

/// How the program ends before it has begun.
fn refused(params: KafkaParams, topic: &str) -> Error {
    match Program::start(params, [topic]) {
        Ok(_) => panic!("the program started"),
        Err(error) => error,
    }
}

fn login(params: KafkaParams, user: &str, password: &str) -> KafkaParams {
    let params = params.set("security.protocol", "sasl_plaintext").set("sasl.mechanisms", "PLAIN");
    params.set("sasl.username", user).set("sasl.password", password).start_timeout(Duration::from_secs(5))
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
    let error = refused(login(params(&brokers, "secrets"), USER.0, "guessed"), "secrets");
    assert_names(&error, &["input kafka secrets", &brokers, "Authentication failed"]);
    assert!(!error.to_string().contains("guessed"), "{error}");
    let mut program = Program::start(login(params(&brokers, "secrets"), USER.0, USER.1), ["secrets"]).unwrap();
    program.read(1);
    program.stop();
    assert_eq!(program.partition("secrets", 0).values(), ["open sesame"]);
}

/// The program is slow, and retention overtakes it in the middle of a batch: what librdkafka had not fetched ahead is
/// gone.
#[test]
fn records_that_are_deleted_before_they_are_read() {
    const RECORDS: i64 = 800;
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("short", 1, &[]).unwrap();
    kafka.send("short", 0, (0..RECORDS).map(|_| vec![b'x'; 10_000])).unwrap();
    let params = params(kafka.bootstrap_servers(), "short")
        .set("fetch.max.bytes", "100000")
        .set("fetch.message.max.bytes", "100000")
        .set("message.max.bytes", "50000")
        .set("queued.max.messages.kbytes", "100");
    let context = context("overtaken");
    let (first, begun) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let records = kafka::direct_stream(&context, params.clone(), Subscription::topics(["short"]));
    records.foreach_batch(move |records, _| {
        records.foreach(|record| {
            if record.offset == 0 {
                let _ = first.send(());
                // Only once: the sender is gone when the task is tried again.
                let _ = wait.lock().unwrap().recv();
            }
            Ok(())
        })
    });
    context.start().unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    kafka.delete_records("short", 0, RECORDS).unwrap();
    drop(go_on);
    let error = context.await_termination().unwrap_err();
    assert_names(&error, &["batch ", "errors.rs", "short/0", "are gone, the log now starts at 800"]);
    assert_eq!(committed(kafka.bootstrap_servers(), "short", "short", 1), [0]);

    let error = refused(params, "short");
    assert_names(&error, &["short/0", "group short", "records 0..800 are lost"]);
}
