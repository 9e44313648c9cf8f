//! Records come as they were sent.

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;

use super::*;

#[test]
fn a_record_keeps_key_value_headers_and_time() {
    let broker = broker(&[("a", 1)]);
    let headers = OwnedHeaders::new()
        .insert(Header { key: "h", value: Some("v") })
        .insert(Header { key: "null", value: None::<&str> });
    broker.enqueue(BaseRecord::to("a").key("k").payload(&b"v"[..]).timestamp(1234).headers(headers)).unwrap();
    broker.enqueue(BaseRecord::<str, [u8]>::to("a").key("").timestamp(5)).unwrap();
    broker.enqueue(BaseRecord::<str, [u8]>::to("a").payload(&[0xff][..])).unwrap();
    broker.flush("a").unwrap();
    let mut stream = start(&["a"], params(&broker));
    let records = stream.batch().dataset.collect().unwrap();

    let mut expected =
        KafkaRecord::new("a", 0, 0).with_key("k").with_value("v").with_timestamp(Time::from_millis(1234));
    expected.headers = [("h", Some("v")), ("null", None)].into_iter().collect();
    assert_eq!(records[0], expected);
    assert_eq!(records[1], KafkaRecord::new("a", 0, 1).with_key("").with_timestamp(Time::from_millis(5)));
    assert_eq!(records[1].value_utf8().unwrap_err().to_string(), "a/0 offset 1: the value is null");
    let error = records[2].value_utf8().unwrap_err();
    assert_eq!(error.to_string(), "a/0 offset 2: the value of 1 bytes is not UTF-8 from byte 0 on");
    assert_eq!(records[2].key, None);
    stream.stop();
}

#[test]
fn large_records_and_many_of_them_come_whole() {
    let broker = broker(&[("a", 1)]);
    let large = |n: usize| format!("{n}-").repeat(1 + n * 3000);
    broker.send("a", (0..40).map(large)).unwrap();
    let mut stream = start(&["a"], params(&broker));
    assert_eq!(values(&stream.batch()), [Vec::from_iter((0..40).map(large))]);
    stream.stop();
}

#[test]
fn headers_can_be_left_out() {
    let broker = broker(&[("a", 1)]);
    let headers = OwnedHeaders::new().insert(Header { key: "h", value: Some("v") });
    broker.enqueue(BaseRecord::<(), _>::to("a").payload(&b"v"[..]).headers(headers)).unwrap();
    broker.flush("a").unwrap();
    let mut stream = start(&["a"], params(&broker).without_headers());
    let record = stream.batch().dataset.first().unwrap().unwrap();
    assert!(record.headers.is_empty());
    assert_eq!(record.value_utf8().unwrap(), "v");
    stream.stop();
}
