//! Prints how fast Kafka is read, against librdkafka alone on the same topic, and how late a record comes.
//!
//! ```text
//! cargo bench --bench kafka [-- WORD...]     only these parts: mock, apache; read, write, latency
//! ```
//!
//! The brokers are librdkafka's mock cluster, and an Apache Kafka where Java and Maven are.
//!
//! **Reading.** A topic of records of 100 bytes is counted from its first record to its last: by a loop over
//! `BaseConsumer::poll`, by a loop over `rd_kafka_consume_batch_queue`, and by direct streams. All of them have the same
//! settings, run by turns there and back, and include their start; the medians are shown. Processor time is that of all
//! threads of the process, without the brokers, which are other processes.
//!
//! **Writing.** The same for `write_to_kafka` and a loop over `BaseProducer::send`.
//!
//! **Latency.** 10,000 records a second, a batch interval of 10 ms: the time from when a record is handed to a producer
//! without linger to the end of the output that saw it.

#![allow(clippy::disallowed_methods, reason = "benches measure real time")]
#![allow(clippy::unwrap_used, reason = "a bench fails where it unwraps")]

mod common;

use std::any::Any;
use std::ffi::CStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rdkafka::bindings as c;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{self, AutoOffsetReset, KafkaParams, Producer, ProducerParams, ProducerRecord, Subscription};
use tidemill::prelude::*;
use tidemill_test_broker::ApacheKafka;

use common::Size;
use common::measure::{measure, median, quantile};

/// How often each side runs.
const ROUNDS: usize = 4;
const VALUE_BYTES: usize = 100;
const PATIENCE: Duration = Duration::from_secs(100);

/// Brokers to measure against, and what they can hold.
struct Brokers {
    name: &'static str,
    addresses: String,
    partitions: usize,
    records: usize,
    create: Box<CreateTopic>,
    /// Ends the brokers.
    _life: Box<dyn Any>,
}

fn main() {
    if std::env::var_os(MOCK).is_some() {
        return be_mock();
    }
    let size = Size::from_args();
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted_of = |all: &[&str], part: &str| {
        let named: Vec<_> = wanted.iter().filter(|word| all.contains(&word.as_str())).collect();
        named.is_empty() || named.iter().any(|word| *word == part)
    };
    let is_wanted = |part: &str| is_wanted_of(&["read", "write", "latency"], part);
    let all: [(&str, Start); 2] = [("mock", start_mock), ("apache", start_apache)];
    for (_, start) in all.into_iter().filter(|(name, _)| is_wanted_of(&["mock", "apache"], name)) {
        let Some(brokers) = start(size) else { continue };
        if is_wanted("read") {
            read(&brokers, size);
        }
        if is_wanted("write") {
            write(&brokers, size);
        }
        if is_wanted("latency") {
            latency(&brokers, size);
        }
    }
}

type CreateTopic = dyn Fn(&str, usize);

type Start = fn(Size) -> Option<Brokers>;

/// Set in the process that is the mock cluster: its processor time is not that of the bench.
const MOCK: &str = "TIDEMILL_BENCH_MOCK";

fn be_mock() {
    let broker = EmbeddedBroker::start(1).unwrap();
    println!("{}", broker.bootstrap_servers());
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let (topic, partitions) = line.split_once(' ').unwrap();
        broker.create_topic(topic, partitions.parse().unwrap()).unwrap();
        println!("made");
    }
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_mock(size: Size) -> Option<Brokers> {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program).env(MOCK, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let orders = child.stdin.take().unwrap();
    let addresses = answers.next().unwrap();
    let line = std::sync::Mutex::new((orders, answers));
    let create = move |topic: &str, partitions: usize| {
        let mut line = line.lock().unwrap();
        writeln!(line.0, "{topic} {partitions}").unwrap();
        assert_eq!(line.1.next().as_deref(), Some("made"));
    };
    Some(Brokers {
        name: "mock",
        addresses,
        // A partition keeps 5 MiB.
        partitions: 32,
        records: size.records(2_000_000),
        create: Box::new(create),
        _life: Box::new(Process(child)),
    })
}

/// A real Apache Kafka, where there is Java to run it.
fn start_apache(size: Size) -> Option<Brokers> {
    let kafka = ApacheKafka::builder().java_option("-XX:TieredStopAtLevel=4").or_skip()?;
    let kafka = Arc::new(kafka);
    let made_by = Arc::clone(&kafka);
    Some(Brokers {
        name: "apache",
        addresses: kafka.bootstrap_servers().to_string(),
        partitions: 8,
        records: size.records(4_000_000),
        create: Box::new(move |topic, partitions| made_by.create_topic(topic, partitions, &[]).unwrap()),
        _life: Box::new(kafka),
    })
}

/// Values that lz4 makes a third of, as it does with text.
fn value(n: usize) -> [u8; VALUE_BYTES] {
    let mut value = [b'.'; VALUE_BYTES];
    let digits = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    write!(&mut value[..], "{n:010} user-{digits:016x}").unwrap();
    value
}

fn native_producer(brokers: &Brokers) -> BaseProducer {
    ClientConfig::new()
        .set("bootstrap.servers", &brokers.addresses)
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("enable.idempotence", "true")
        .create()
        .unwrap()
}

/// Sends what a bare loop sends.
fn produce(producer: &BaseProducer, topic: &str, records: usize) {
    for n in 0..records {
        let value = value(n);
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).payload(&value);
        while let Err((error, back)) = producer.send(record) {
            assert!(matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)), "{error}");
            record = back;
            producer.poll(Duration::from_millis(1));
        }
        if n % 256 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
}

/// One side of a comparison: its name, and how it does the work.
type Way<'w> = (&'static str, Box<dyn Fn() + 'w>);

/// Runs all ways by turns, there and back, and prints the medians, with the rate in units of that of the first.
fn compare(what: &str, brokers: &Brokers, size: Size, ways: &[Way<'_>]) {
    let mut seconds = vec![Vec::new(); ways.len()];
    let mut processor = seconds.clone();
    let (there, back) = ((0..ways.len()), (0..ways.len()).rev());
    let turns: Vec<usize> = there.chain(back).collect();
    let rounds = if size == Size::Test { 1 } else { ROUNDS.div_ceil(2) };
    for round in 0..=rounds {
        for &way in &turns {
            let begun = Instant::now();
            let ((), processor_time) = measure(|| (ways[way].1)());
            // The first round warms up.
            if round > 0 || size == Size::Test {
                seconds[way].push(begun.elapsed().as_secs_f64());
                processor[way].push(processor_time.as_secs_f64());
            }
        }
    }
    let millions = brokers.records as f64 / 1e6;
    println!(
        "{what} {} records of {VALUE_BYTES} bytes, {} partitions, {}",
        brokers.records, brokers.partitions, brokers.name
    );
    let [rate, best, ratio, cpu] = ["M records/s", "best", "of the first", "CPU s per M"];
    println!("{:<44} {rate:>12} {best:>6} {ratio:>13} {cpu:>12}", "");
    for (way, (name, _)) in ways.iter().enumerate() {
        println!(
            "{name:<44} {:>12.2} {:>6.2} {:>13.2} {:>12.2}",
            millions / median(&seconds[way]),
            millions / quantile(&seconds[way], 0.0),
            median(&seconds[0]) / median(&seconds[way]),
            median(&processor[way]) / millions,
        );
    }
    println!();
}

fn read(brokers: &Brokers, size: Size) {
    let topic = "read";
    (brokers.create)(topic, brokers.partitions);
    produce(&native_producer(brokers), topic, brokers.records);
    let group = AtomicU64::new(0);
    let group = || format!("bench-{}", group.fetch_add(1, Ordering::Relaxed));
    compare(
        "reading",
        brokers,
        size,
        &[
            ("BaseConsumer::poll", Box::new(|| poll_loop(brokers, topic))),
            ("rd_kafka_consume_batch_queue", Box::new(|| batch_loop(brokers, topic))),
            ("direct_stream", Box::new(|| count(brokers, topic, params(brokers, group()), Decode::Records))),
            (
                "direct_stream, without headers",
                Box::new(|| count(brokers, topic, params(brokers, group()).without_headers(), Decode::Records)),
            ),
            ("direct_stream_with", Box::new(|| count(brokers, topic, params(brokers, group()), Decode::Lengths))),
        ],
    );
}

/// A consumer that is to read all of a topic, with the settings of a direct stream.
fn consumer(brokers: &Brokers, topic: &str) -> BaseConsumer {
    let kbytes = (128 * 1024 / brokers.partitions).max(4 * 1024).to_string();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers.addresses)
        .set("group.id", "bare")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", "25")
        .set("queued.min.messages", "1000000")
        .set("queued.max.messages.kbytes", kbytes)
        .create()
        .unwrap();
    let mut all = TopicPartitionList::new();
    for partition in 0..brokers.partitions {
        all.add_partition_offset(topic, partition as i32, Offset::Beginning).unwrap();
    }
    consumer.assign(&all).unwrap();
    consumer
}

fn poll_loop(brokers: &Brokers, topic: &str) {
    let consumer = consumer(brokers, topic);
    let (mut records, mut bytes) = (0, 0);
    while records < brokers.records {
        if let Some(message) = consumer.poll(PATIENCE) {
            bytes += message.unwrap().payload_len();
            records += 1;
        }
    }
    assert_eq!(bytes, records * VALUE_BYTES);
}

#[expect(unsafe_code, reason = "the yardstick is librdkafka's own interface")]
fn batch_loop(brokers: &Brokers, topic: &str) {
    const AT_MOST: usize = 1000;
    let consumer = consumer(brokers, topic);
    // SAFETY: the client is alive until the end of this function, and the queue is given back before.
    let queue = unsafe { c::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
    let mut messages = [std::ptr::null_mut::<c::rd_kafka_message_t>(); AT_MOST];
    let (mut records, mut bytes) = (0, 0);
    while records < brokers.records {
        // SAFETY: the queue is alive, and there is room for as many messages.
        let taken = unsafe { c::rd_kafka_consume_batch_queue(queue, 100, messages.as_mut_ptr(), AT_MOST) };
        for message in &messages[..usize::try_from(taken).unwrap()] {
            // SAFETY: librdkafka has just given it to us; it is destroyed once and not used after.
            unsafe {
                let error = (**message).err;
                assert_eq!(
                    error,
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
                    "{:?}",
                    CStr::from_ptr(c::rd_kafka_err2str(error))
                );
                bytes += (**message).len;
                c::rd_kafka_message_destroy(*message);
            }
            records += 1;
        }
    }
    // SAFETY: given back once.
    unsafe { c::rd_kafka_queue_destroy(queue) };
    assert_eq!(bytes, records * VALUE_BYTES);
}

fn params(brokers: &Brokers, group: String) -> KafkaParams {
    KafkaParams::new(&brokers.addresses).group_id(group).auto_offset_reset(AutoOffsetReset::Earliest)
}

enum Decode {
    Records,
    Lengths,
}

/// Counts a topic with a direct stream.
fn count(brokers: &Brokers, topic: &str, params: KafkaParams, decode: Decode) {
    let context = StreamingContext::builder("count").batch_interval(Duration::from_millis(50)).build().unwrap();
    let topics = Subscription::topics([topic]);
    let (send, counts) = mpsc::channel();
    match decode {
        Decode::Records => kafka::direct_stream(&context, params, topics)
            .foreach_batch(move |records, _| send.send(records.count()?).map_err(Error::user)),
        Decode::Lengths => {
            let length = |message: &kafka::KafkaMessage<'_>| Ok(message.value().map_or(0, <[u8]>::len));
            kafka::direct_stream_with(&context, params, topics, length)
                .foreach_batch(move |lengths, _| send.send(lengths.count()?).map_err(Error::user));
        }
    }
    context.start().unwrap();
    let mut records = 0;
    while records < brokers.records as u64 {
        records += counts.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(records, brokers.records as u64);
    context.stop(Stop::Now).unwrap();
}

fn write(brokers: &Brokers, size: Size) {
    let topic = AtomicU64::new(0);
    let topic = || {
        let name = format!("write-{}", topic.fetch_add(1, Ordering::Relaxed));
        (brokers.create)(&name, brokers.partitions);
        name
    };
    let context = StreamingContext::builder("write").build().unwrap();
    let numbers = context.parallelize(0..brokers.records, brokers.partitions);
    let ours = |linger: &str| {
        let params = ProducerParams::new(&brokers.addresses).set("compression.type", "lz4").set("linger.ms", linger);
        let (producer, topic) = (Producer::new(params).unwrap(), topic());
        numbers.write_to_kafka(&producer, |n| ProducerRecord::new(topic.clone(), value(*n))).unwrap();
    };
    compare(
        "writing",
        brokers,
        size,
        &[
            ("BaseProducer::send", Box::new(|| produce(&native_producer(brokers), &topic(), brokers.records))),
            ("write_to_kafka", Box::new(|| ours("1"))),
            ("write_to_kafka, linger.ms=0", Box::new(|| ours("0"))),
            ("write_to_kafka, linger.ms=5", Box::new(|| ours("5"))),
        ],
    );
}

fn latency(brokers: &Brokers, size: Size) {
    const INTERVAL: Duration = Duration::from_millis(10);
    const PER_SECOND: u64 = 10_000;
    let seconds = if size == Size::Test { 1 } else { 20 };
    let topic = "latency";
    (brokers.create)(topic, 8);
    let context = StreamingContext::builder("latency").batch_interval(INTERVAL).build().unwrap();
    let zero = Instant::now();
    let sent_at = |message: &kafka::KafkaMessage<'_>| {
        let value = message.value().and_then(|value| value.first_chunk());
        value.map(|nanos| u64::from_le_bytes(*nanos)).ok_or_else(|| Error::user("no time in the value"))
    };
    let topics = Subscription::topics([topic]);
    let times = kafka::direct_stream_with(&context, params(brokers, "latency".to_string()), topics, sent_at);
    let (send, batches) = mpsc::channel();
    times.foreach_batch(move |times, _| {
        let times = times.collect()?;
        send.send((times, zero.elapsed().as_nanos() as u64)).map_err(Error::user)
    });
    context.start().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let client: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &brokers.addresses)
        .set("linger.ms", "1")
        .set("socket.nagle.disable", "true")
        .create()
        .unwrap();
    let ended = Arc::clone(&done);
    let producing = std::thread::spawn(move || {
        let begun = Instant::now();
        let mut sent = 0;
        while sent < PER_SECOND * seconds {
            // A millisecond's worth at a time.
            while sent < PER_SECOND * begun.elapsed().as_millis() as u64 / 1000 {
                let mut value = [0; VALUE_BYTES];
                value[..8].copy_from_slice(&(zero.elapsed().as_nanos() as u64).to_le_bytes());
                client.send(BaseRecord::<[u8], [u8]>::to("latency").payload(&value)).map_err(|(e, _)| e).unwrap();
                sent += 1;
            }
            client.poll(Duration::from_micros(500));
            std::thread::sleep(Duration::from_micros(300));
        }
        ended.store(true, Ordering::Release);
        while client.in_flight_count() > 0 {
            client.poll(Duration::from_millis(1));
        }
        sent
    });
    // The first second warms up.
    let mut millis = Vec::new();
    let mut seen = 0;
    while seen < PER_SECOND * seconds {
        let Ok((times, at)) = batches.recv_timeout(PATIENCE) else {
            panic!("{seen} records came, and no more: {:?}", context.await_termination_or_timeout(Duration::ZERO));
        };
        seen += times.len() as u64;
        if seen > PER_SECOND || size == Size::Test {
            millis.extend(times.iter().map(|sent| (at - sent) as f64 / 1e6));
        }
    }
    assert_eq!(producing.join().unwrap(), seen);
    context.stop(Stop::Now).unwrap();
    println!(
        "latency at {PER_SECOND} records/s, batch interval {INTERVAL:?}, {}: {:.1} ms at the median, {:.1} ms at the \
         99th of 100, {:.1} ms at most\n",
        brokers.name,
        median(&millis),
        quantile(&millis, 0.99),
        quantile(&millis, 1.0),
    );
}
