//! Typed records: what the derive makes of messages, as a user writes it, and what is done with messages of which
//! nothing can be made.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{
    self, DeadLetters, Decode, FromKafka, Json, KafkaHeaders, KafkaMessage, KafkaParams, KafkaRecord, OffsetRange,
    Producer as Writer, ProducerParams, Subscription, Undecodable,
};
use tidemill::prelude::*;

use super::{PATIENCE, committed, params};

#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
struct Cart {
    cents: u64,
    items: Vec<String>,
}

/// Every part of a message, and every way to decode one.
#[derive(Clone, Debug, PartialEq, FromKafka)]
struct Order {
    #[kafka(key = utf8)]
    customer: u32,
    #[kafka(value = json)]
    cart: Cart,
    #[kafka(value = bytes)]
    raw: bytes_of_a_crate::Bytes,
    #[kafka(header = "trace")]
    trace: Option<String>,
    #[kafka(header = "retries", utf8)]
    retries: Option<u8>,
    #[kafka(header = "version")]
    version: i32,
    #[kafka(headers)]
    headers: KafkaHeaders,
    #[kafka(headers)]
    by_name: HashMap<String, Option<Vec<u8>>>,
    #[kafka(topic)]
    topic: Arc<str>,
    #[kafka(partition)]
    partition: i32,
    #[kafka(offset)]
    r#offset: i64,
    #[kafka(timestamp)]
    at: Time,
    #[kafka(timestamp)]
    maybe_at: Option<Time>,
}

/// A crate of the program whose bytes the library does not know.
mod bytes_of_a_crate {
    #[derive(Clone, Debug, PartialEq)]
    pub(super) struct Bytes(pub(super) Vec<u8>);

    impl From<Vec<u8>> for Bytes {
        fn from(bytes: Vec<u8>) -> Self {
            Bytes(bytes)
        }
    }
}

fn order() -> KafkaRecord {
    let mut record = KafkaRecord::new("orders", 2, 7)
        .with_key("17")
        .with_value(r#"{"cents": 1250, "items": ["tea"]}"#)
        .with_timestamp(Time::from_millis(5000));
    record.headers = headers(&[("trace", Some(b"a1")), ("trace", Some(b"b2")), ("version", Some(&[0, 0, 0, 3]))]);
    record
}

fn headers(all: &[(&'static str, Option<&'static [u8]>)]) -> KafkaHeaders {
    all.iter().copied().collect()
}

#[test]
fn a_record_is_built_from_all_parts_of_a_message() {
    let order = order();
    let expected = Order {
        customer: 17,
        cart: Cart { cents: 1250, items: vec!["tea".to_string()] },
        raw: bytes_of_a_crate::Bytes(order.value.clone().unwrap().to_vec()),
        trace: Some("b2".to_string()),
        retries: None,
        version: 3,
        headers: order.headers.clone(),
        by_name: [("trace", b"b2".to_vec()), ("version", vec![0, 0, 0, 3])]
            .map(|(name, value)| (name.to_string(), Some(value)))
            .into(),
        topic: "orders".into(),
        partition: 2,
        offset: 7,
        at: Time::from_millis(5000),
        maybe_at: Some(Time::from_millis(5000)),
    };
    assert_eq!(order.decode::<Order>().unwrap(), expected);
}

/// The record of which an order cannot be made, and the error without its place.
#[test]
fn an_error_names_the_field_and_what_is_wrong_with_it() {
    let check = |change: fn(&mut KafkaRecord), expected: &str| {
        let mut record = order();
        change(&mut record);
        let error = record.decode::<Order>().unwrap_err();
        assert_eq!(error.to_string(), format!("orders/2 offset 7: field {expected}"));
        assert_eq!(error.kind(), ErrorKind::Codec);
    };
    check(|record| record.key = None, "customer: the key is null");
    check(
        |record| record.key = Some("x".into()),
        "customer: the key cannot be decoded: the text is not as it should be: invalid digit found in string",
    );
    check(|record| record.value = None, "cart: the value is null");
    check(
        |record| record.value = Some("{".into()),
        "cart: the value cannot be decoded: not JSON: EOF while parsing an object at line 1 column 1",
    );
    check(
        |record| record.value = Some("{}".into()),
        "cart: the value cannot be decoded: the JSON is not as it should be: missing field `cents` at line 1 column 2",
    );
    check(|record| record.headers = KafkaHeaders::default(), "version: the header version is null or not there");
    check(
        |record| record.headers = headers(&[("version", Some(b"3"))]),
        "version: the header version cannot be decoded: 1 bytes, where an i32 has 4",
    );
    // What is there and cannot be decoded is an error, also where it may be missing.
    check(
        |record| record.headers = headers(&[("trace", Some(b"\xff"))]),
        "trace: the header trace cannot be decoded: not UTF-8 from byte 0 of 1 on",
    );
    check(
        |record| record.headers = headers(&[("retries", Some(b"256"))]),
        "retries: the header retries cannot be decoded: the text is not as it should be: number too large to fit in \
         target type",
    );
    check(|record| record.timestamp = None, "at: the message has no timestamp");
}

#[test]
fn a_null_header_is_a_missing_one() {
    let mut record = order();
    record.headers = headers(&[("version", Some(&[0, 0, 0, 3])), ("trace", None), ("retries", None)]);
    let order = record.decode::<Order>().unwrap();
    assert_eq!((order.trace, order.retries, order.by_name["trace"].clone()), (None, None, None));
}

/// A record of a compacted topic, whatever its value is made of.
#[derive(Clone, Debug, PartialEq, FromKafka)]
struct Change<K, V: Clone>(#[kafka(key)] K, #[kafka(value = json)] Option<V>)
where
    K: Clone;

/// Bytes of the program's own.
#[derive(Clone, Debug, PartialEq)]
struct Celsius(f64);

impl Decode for Celsius {
    fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [tenths] => Ok(Celsius(f64::from(*tenths) / 10.0)),
            _ => Err(Error::user("a temperature is one byte")),
        }
    }
}

#[test]
fn a_struct_may_be_generic_and_a_tuple() {
    let record = KafkaRecord::new("carts", 0, 1).with_key(vec![205]).with_value("[1, 2]");
    let change: Change<Celsius, Vec<u8>> = record.decode().unwrap();
    assert_eq!(change, Change(Celsius(20.5), Some(vec![1, 2])));
    let gone: Change<Option<Celsius>, Cart> = KafkaRecord::new("carts", 0, 2).decode().unwrap();
    assert_eq!(gone, Change(None, None));
    let error = record.with_key("20.5").decode::<Change<Celsius, Vec<u8>>>().unwrap_err();
    assert_eq!(error.to_string(), "carts/0 offset 1: field 0: the key cannot be decoded: a temperature is one byte");
    assert_eq!(error.kind(), ErrorKind::User);
}

/// The expansion is as silent as what it expands, under every lint a program may ask for, and needs nothing in scope.
mod silent {
    #![deny(warnings, unused, unused_qualifications, trivial_casts, trivial_numeric_casts, unreachable_pub)]
    #![deny(single_use_lifetimes, let_underscore_drop, missing_docs, unused_results)]
    #![deny(clippy::pedantic)]
    #![no_implicit_prelude]

    /// Modules of the same name do not confuse it.
    mod tidemill {}

    /// Neither do fields called like its variables, nor those made by a macro.
    macro_rules! record {
        ($name:ident, $of:ty) => {
            #[derive(::tidemill::kafka::FromKafka)]
            pub(super) struct $name {
                #[kafka(key = utf8)]
                pub(super) message: $of,
                #[kafka(value)]
                pub(super) r#type: ::std::string::String,
            }
        };
    }

    record!(Message, ::std::option::Option<u8>);
}

#[test]
fn the_expansion_depends_on_nothing_around_it() {
    let record = KafkaRecord::new("a", 0, 0).with_value("v");
    let silent::Message { message, r#type } = record.decode().unwrap();
    assert_eq!((message, &*r#type), (None, "v"));
}

/// What a topic has: key and value of each message of its one partition, and a header.
type Sent<'s> = (Option<&'s [u8]>, Option<&'s [u8]>);

fn broker_with(messages: &[Sent<'_>]) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start(1).unwrap();
    broker.create_topic("orders", 1).unwrap();
    send(&broker.bootstrap_servers(), messages);
    broker
}

fn send(brokers: &str, messages: &[Sent<'_>]) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    for (key, value) in messages {
        let headers = OwnedHeaders::new()
            .insert(Header { key: "trace", value: Some("a1") })
            .insert(Header { key: "empty", value: None::<&[u8]> });
        let mut record = BaseRecord::<[u8], [u8]>::to("orders").partition(0).timestamp(5000).headers(headers);
        (record.key, record.payload) = (*key, *value);
        producer.send(record).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn context() -> StreamingContext {
    StreamingContext::builder("records").batch_interval(Duration::from_millis(20)).build().unwrap()
}

/// Sends on the records of all batches that have some.
fn records_of<T: Data + std::fmt::Debug>(stream: &DStream<T>) -> Receiver<Vec<T>> {
    let (send, received) = channel();
    stream.foreach_batch(move |records, _| match records.collect()? {
        records if records.is_empty() => Ok(()),
        records => send.send(records).map_err(|_| Error::user("nobody listens")),
    });
    received
}

fn orders() -> Subscription {
    Subscription::topics(["orders"])
}

#[test]
fn messages_become_records_where_they_lie() {
    let broker = broker_with(&[(Some(b"ann"), Some(br#"{"cents": 5, "items": []}"#)), (Some(b"bob"), None)]);
    let brokers = broker.bootstrap_servers();
    let context = context();

    #[derive(Clone, Debug, PartialEq, FromKafka)]
    struct Placed {
        #[kafka(key)]
        customer: String,
        #[kafka(value = json)]
        cart: Option<Cart>,
        #[kafka(header = "trace")]
        trace: String,
        #[kafka(header = "empty", utf8)]
        empty: Option<u32>,
        #[kafka(topic)]
        topic: String,
        #[kafka(timestamp)]
        at: Time,
        #[kafka(offset)]
        offset: i64,
    }
    let placed = kafka::direct_stream_as::<Placed>(&context, params(&brokers, "placed"), orders());
    let pairs = kafka::direct_stream_as::<(String, Option<Json<Cart>>)>(&context, params(&brokers, "pairs"), orders());
    let keys = |message: &KafkaMessage<'_>| Ok(message.key().map_or(0, <[u8]>::len));
    let lengths = kafka::direct_stream_with(&context, params(&brokers, "lengths"), orders(), keys);
    let whole = kafka::direct_stream_as::<KafkaRecord>(&context, params(&brokers, "whole"), orders());
    let (placed, pairs, lengths, whole) =
        (records_of(&placed), records_of(&pairs), records_of(&lengths), records_of(&whole));
    context.start().unwrap();

    let cart = Cart { cents: 5, items: Vec::new() };
    let expected = |customer: &str, cart, offset| Placed {
        customer: customer.to_string(),
        cart,
        trace: "a1".to_string(),
        empty: None,
        topic: "orders".to_string(),
        at: Time::from_millis(5000),
        offset,
    };
    let two = [expected("ann", Some(cart.clone()), 0), expected("bob", None, 1)];
    assert_eq!(placed.recv_timeout(PATIENCE).unwrap(), two);
    let two = [("ann".to_string(), Some(Json(cart))), ("bob".to_string(), None)];
    assert_eq!(pairs.recv_timeout(PATIENCE).unwrap(), two);
    assert_eq!(lengths.recv_timeout(PATIENCE).unwrap(), [3, 3]);
    let whole = whole.recv_timeout(PATIENCE).unwrap();
    assert_eq!(whole[0].decode::<Placed>().unwrap(), expected("ann", Some(Cart { cents: 5, items: Vec::new() }), 0));
    context.stop(Stop::Gracefully).unwrap();
}

/// Runs a stream of numbers until it fails.
fn error_of(params: KafkaParams, decode: fn(&KafkaMessage<'_>) -> Result<i64>) -> Error {
    let context = context();
    kafka::direct_stream_with(&context, params, orders(), decode).foreach_batch(|numbers, _| numbers.count().map(drop));
    let ended = context.start().and_then(|()| context.await_termination_or_timeout(PATIENCE));
    ended.expect_err("the stream has not failed")
}

const SEVEN: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 7];

#[test]
fn an_undecodable_message_fails_the_batch() {
    let broker = broker_with(&[(None, Some(SEVEN)), (None, Some(b"seven"))]);
    let error = error_of(params(&broker.bootstrap_servers(), "g"), i64::from_kafka).to_string();
    for part in ["batch ", "kafka orders", "records.rs", "orders/0", "offset 1: the value cannot be decoded: 5 bytes"] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    assert!(!error.contains('\n'), "one line: {error}");
    assert_eq!(committed(&broker.bootstrap_servers(), "g", "orders", 1), [0], "nothing of the batch is committed");
}

#[test]
fn a_panic_of_a_decoder_fails_the_batch_whatever_is_done_with_errors() {
    let broker = broker_with(&[(None, Some(b"7"))]);
    let skip = Undecodable::Skip(context().accumulator("skipped"));
    let error = error_of(params(&broker.bootstrap_servers(), "g").undecodable(skip), |_| panic!("no such schema"));
    let error = error.to_string();
    assert!(error.contains("kafka orders") && error.contains("panicked: no such schema"), "{error}");
}

#[test]
fn undecodable_messages_are_left_out_and_counted() {
    let broker = broker_with(&[(None, Some(SEVEN)), (None, Some(b"seven")), (None, None), (None, Some(SEVEN))]);
    let context = context();
    let skipped = context.accumulator::<u64>("skipped");
    let params = params(&broker.bootstrap_servers(), "g").undecodable(Undecodable::Skip(skipped.clone()));
    let numbers = kafka::direct_stream_as::<i64>(&context, params, orders());
    // A task that is tried again does not count twice; nor does a second output.
    let first = std::sync::atomic::AtomicBool::new(true);
    let tried_again = numbers.try_map(move |number| match first.swap(false, std::sync::atomic::Ordering::Relaxed) {
        true => Err(Error::user("not yet")),
        false => Ok(number),
    });
    let received = records_of(&tried_again);
    let also = records_of(&numbers);
    context.start().unwrap();
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), [7, 7]);
    assert_eq!(also.recv_timeout(PATIENCE).unwrap(), [7, 7]);
    assert_eq!(skipped.value(), 2);
    send(&broker.bootstrap_servers(), &[(None, Some(b"eight")), (None, Some(SEVEN))]);
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), [7]);
    context.stop(Stop::Gracefully).unwrap();
    assert_eq!(skipped.value(), 3);
    assert_eq!(committed(&broker.bootstrap_servers(), "g", "orders", 1), [6], "what is left out is done with");
}

#[test]
fn datasets_of_ranges_leave_out_what_streams_do() {
    let broker = broker_with(&[(None, Some(SEVEN)), (None, Some(b"seven")), (None, None), (None, Some(SEVEN))]);
    let context = context();
    let range = OffsetRange { topic: "orders".into(), partition: 0, from: 0, until: 3 };
    let read = |params| kafka::create_dataset_as::<i64>(&context, params, std::slice::from_ref(&range));
    let params = params(&broker.bootstrap_servers(), "g");
    let error = read(params.clone()).and_then(|numbers| numbers.collect()).unwrap_err().to_string();
    assert!(error.contains("orders/0 offset 1: the value cannot be decoded: 5 bytes"), "{error}");
    let skipped = context.accumulator::<u64>("skipped");
    let numbers = read(params.undecodable(Undecodable::Skip(skipped.clone()))).unwrap();
    assert_eq!((numbers.collect().unwrap(), skipped.value()), (vec![7], 2));
    assert_eq!((numbers.count().unwrap(), skipped.value()), (1, 4), "what is computed twice counts twice");
}

/// A stream of numbers whose other messages go to the topic `orders.dead`.
fn with_dead_letters(broker: &EmbeddedBroker) -> KafkaParams {
    let producer = Writer::new(ProducerParams::new(broker.bootstrap_servers())).unwrap();
    let letters = DeadLetters::new(&producer, "orders.dead");
    params(&broker.bootstrap_servers(), "g").undecodable(Undecodable::DeadLetters(letters))
}

/// What is in the topic of dead letters, up to the first batch that has some.
fn dead_letters(broker: &EmbeddedBroker) -> Vec<KafkaRecord> {
    let context = context();
    let topic = Subscription::topics(["orders.dead"]);
    let letters = kafka::direct_stream(&context, params(&broker.bootstrap_servers(), "dead"), topic);
    let received = records_of(&letters);
    context.start().unwrap();
    let letters = received.recv_timeout(PATIENCE).unwrap();
    context.stop(Stop::Gracefully).unwrap();
    letters
}

#[test]
fn undecodable_messages_become_dead_letters() {
    let broker = broker_with(&[(None, Some(SEVEN)), (Some(b"ann"), Some(b"seven")), (None, Some(SEVEN)), (None, None)]);
    broker.create_topic("orders.dead", 1).unwrap();
    let context = context();
    let numbers = kafka::direct_stream_as::<i64>(&context, with_dead_letters(&broker), orders());
    let received = records_of(&numbers);
    context.start().unwrap();
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), [7, 7]);
    context.stop(Stop::Gracefully).unwrap();
    assert_eq!(committed(&broker.bootstrap_servers(), "g", "orders", 1), [4]);

    let letters = dead_letters(&broker);
    let bytes =
        |letter: &KafkaRecord| (letter.key.as_deref().map(<[u8]>::to_vec), letter.value.as_deref().map(<[u8]>::to_vec));
    assert_eq!(
        letters.iter().map(bytes).collect::<Vec<_>>(),
        [(Some(b"ann".to_vec()), Some(b"seven".to_vec())), (None, None)]
    );
    let told = |letter: &KafkaRecord| {
        let headers = letter.headers.iter();
        let text = |value: Option<&[u8]>| value.map(|value| String::from_utf8(value.to_vec()).unwrap());
        headers.map(|(name, value)| (name.to_string(), text(value))).collect::<Vec<_>>()
    };
    let expected = |offset: &str, reason: &str| {
        let headers = [
            ("trace", Some("a1")),
            ("empty", None),
            (DeadLetters::TOPIC, Some("orders")),
            (DeadLetters::PARTITION, Some("0")),
            (DeadLetters::OFFSET, Some(offset)),
            (DeadLetters::REASON, Some(reason)),
        ];
        headers.map(|(name, value)| (name.to_string(), value.map(String::from))).to_vec()
    };
    assert_eq!(told(&letters[0]), expected("1", "the value cannot be decoded: 5 bytes, where an i64 has 8"));
    assert_eq!(told(&letters[1]), expected("3", "the value is null"));
}

/// The error of a stream whose dead letters do not arrive.
fn undelivered(brokers: &str, producer: ProducerParams) -> String {
    let letters = Undecodable::DeadLetters(DeadLetters::new(&Writer::new(producer).unwrap(), "orders.dead"));
    let error = error_of(params(brokers, "g").undecodable(letters), i64::from_kafka).to_string();
    for part in ["kafka orders", "orders/0", "no dead letter either", "orders.dead", "not delivered"] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    assert_eq!(committed(brokers, "g", "orders", 1), [0]);
    error
}

#[test]
fn a_dead_letter_that_cannot_be_sent_fails_the_batch() {
    let broker = broker_with(&[(None, Some(&[b'7'; 2000]))]);
    broker.create_topic("orders.dead", 1).unwrap();
    let brokers = broker.bootstrap_servers();
    let error = undelivered(&brokers, ProducerParams::new(&brokers).set("message.max.bytes", "1000"));
    assert!(error.contains("orders/0 offset 0") && error.contains("larger"), "{error}");
}

/// The task is not done before its dead letters are delivered.
#[test]
fn a_dead_letter_that_does_not_arrive_fails_the_batch() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["orders", "orders.dead"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let brokers = cluster.bootstrap_servers();
    send(&brokers, &[(None, Some(b"seven")), (None, Some(SEVEN))]);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 20];
    cluster.request_errors(RDKafkaApiKey::Produce, &refused);
    let error = undelivered(&brokers, ProducerParams::new(&brokers));
    assert!(error.contains("authorization failed"), "{error}");
}

/// What a failed attempt has sent is there, and is there once more: a consumer knows it by its offset.
#[test]
fn dead_letters_are_written_at_least_once() {
    let broker = broker_with(&[(None, Some(b"seven")), (None, Some(SEVEN))]);
    broker.create_topic("orders.dead", 1).unwrap();
    let context = context();
    let first = std::sync::atomic::AtomicBool::new(true);
    let numbers = kafka::direct_stream_as::<i64>(&context, with_dead_letters(&broker), orders());
    let received =
        records_of(&numbers.try_map(move |number| match first.swap(false, std::sync::atomic::Ordering::Relaxed) {
            true => Err(Error::user("not yet")),
            false => Ok(number),
        }));
    context.start().unwrap();
    assert_eq!(received.recv_timeout(PATIENCE).unwrap(), [7]);
    context.stop(Stop::Gracefully).unwrap();
    let letters = dead_letters(&broker);
    assert!(!letters.is_empty());
    for letter in letters {
        assert_eq!(letter.value.as_deref(), Some(&b"seven"[..]));
        assert_eq!(letter.headers.last(DeadLetters::OFFSET), Some(&b"0"[..]));
    }
}
