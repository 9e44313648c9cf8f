//! The source against the embedded broker, driven as the scheduler drives it.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::BaseRecord;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::client::Planner;
use super::committer::Progress;
use super::embedded::EmbeddedBroker;
use super::group_offsets::GroupOffsets;
use super::place::Place;
use super::reader::{Reader, Slot};
use super::*;
use crate::data::Partitions;
use crate::exec::{MemoryStore, PoolExecutor, Runtime};
use crate::id::StreamId;
use crate::listener::Event;
use crate::time::Clock;

/// A started source and the context around it.
struct Stream {
    source: DirectSource<Copied>,
    errors: Receiver<Error>,
    now: i64,
}

fn broker(topics: &[(&str, usize)]) -> EmbeddedBroker {
    let broker = EmbeddedBroker::start(1).unwrap();
    topics.iter().for_each(|(topic, partitions)| broker.create_topic(topic, *partitions).unwrap());
    broker
}

fn params(broker: &EmbeddedBroker) -> KafkaParams {
    KafkaParams::new(broker.bootstrap_servers())
        .group_id("g")
        .auto_offset_reset(AutoOffsetReset::Earliest)
        .set("fetch.wait.max.ms", "10")
}

fn context_of(attempts: u32) -> (SourceContext, Receiver<Error>) {
    let executor = Box::new(PoolExecutor::new(2, || {}).unwrap());
    let runtime = Runtime::new(executor, Arc::new(MemoryStore::default()), attempts, Partitions::new(2));
    let (failed, errors) = unbounded();
    let on_error = Arc::new(move |error| failed.send(error).unwrap());
    (SourceContext::new(&runtime, &Clock::system(), Duration::from_secs(1), on_error, Arc::new(|_| ())), errors)
}

fn direct_source(subscription: Subscription, params: KafkaParams) -> DirectSource<Copied> {
    let headers = params.headers;
    DirectSource::new(subscription, params, Copied { headers })
}

fn try_start(topics: &[&str], params: KafkaParams) -> Result<Stream> {
    subscribe(Subscription::topics(topics.iter().copied()), params)
}

fn subscribe(subscription: Subscription, params: KafkaParams) -> Result<Stream> {
    let mut source = direct_source(subscription, params);
    let (context, errors) = context_of(1);
    source.start(&context)?;
    Ok(Stream { source, errors, now: 0 })
}

fn start(topics: &[&str], params: KafkaParams) -> Stream {
    try_start(topics, params).unwrap()
}

impl Stream {
    fn batch(&mut self) -> InputBatch<KafkaRecord> {
        self.now += 1000;
        self.source.batch(Time::from_millis(self.now)).unwrap().unwrap()
    }

    /// Says that all batches up to the last one are done.
    fn completed(&mut self) {
        self.source.completed(Time::from_millis(self.now)).unwrap();
    }

    fn stop(mut self) {
        self.source.stop(Duration::from_secs(10)).unwrap();
        assert!(self.errors.try_recv().is_err());
    }
}

/// The offsets of the group, as another program has them.
fn group_offsets(params: &KafkaParams) -> GroupOffsets {
    let planner = Planner::new(params, &params.client_config(Duration::from_secs(1)).unwrap()).unwrap();
    GroupOffsets::new(Arc::new(planner), Duration::from_secs(10))
}

fn values(batch: &InputBatch<KafkaRecord>) -> Vec<Vec<String>> {
    texts(&batch.dataset)
}

fn texts(dataset: &crate::dataset::Dataset<KafkaRecord>) -> Vec<Vec<String>> {
    let partitions = dataset.collect_partitions().unwrap();
    partitions.iter().map(|part| part.iter().map(|r| r.value_utf8().unwrap().to_string()).collect()).collect()
}

fn ranges(batch: &InputBatch<KafkaRecord>) -> Vec<String> {
    batch.dataset.offset_ranges().unwrap().iter().map(ToString::to_string).collect()
}

fn numbers(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| n.to_string())
}

#[test]
fn batches_are_exact_ranges_of_all_topic_partitions() {
    let broker = broker(&[("b", 1), ("a", 3)]);
    broker.send("a", numbers(0..5)).unwrap();
    let mut stream = start(&["b", "a"], params(&broker));
    assert_eq!(stream.source.name(), "kafka a,b");

    let first = stream.batch();
    assert_eq!(ranges(&first), ["a/0 offsets 0..2", "a/1 offsets 0..2", "a/2 offsets 0..1", "b/0 offsets 0..0"]);
    assert_eq!(first.records, 5);
    assert_eq!(first.description, "a/0 offsets 0..2, a/1 offsets 0..2, a/2 offsets 0..1");
    // What arrives after the plan belongs to the next batch, also when it is there before the batch is read.
    broker.send("a", ["5"]).unwrap();
    broker.send("b", ["x", "y"]).unwrap();
    assert_eq!(values(&first), [vec!["0", "3"], vec!["1", "4"], vec!["2"], vec![]]);

    let second = stream.batch();
    assert_eq!(second.description, "b/0 offsets 0..2, a/2 offsets 1..2");
    assert_eq!(values(&second), [vec![], vec![], vec!["5"], vec!["x", "y"]]);

    let third = stream.batch();
    assert_eq!((third.records, &*third.description), (0, ""));
    assert_eq!(values(&third), vec![vec![""; 0]; 4]);
    stream.stop();
}

#[test]
fn a_range_can_be_read_again_and_batches_in_any_order() {
    let broker = broker(&[("a", 2)]);
    let mut stream = start(&["a"], params(&broker));
    broker.send("a", numbers(0..2000)).unwrap();
    let first = stream.batch();
    broker.send("a", numbers(2000..2010)).unwrap();
    let second = stream.batch();
    let later = values(&second);
    assert_eq!(later[0], ["2000", "2002", "2004", "2006", "2008"]);
    let earlier = values(&first);
    assert_eq!(earlier[1].len(), 1000);
    assert_eq!(values(&first), earlier);
    assert_eq!(values(&second), later);
    // Two outputs at a time.
    let (one, two) = rayon::join(|| values(&first), || values(&first));
    assert_eq!((one, two), (earlier.clone(), earlier));
    // An operator that wants no more than a few.
    assert_eq!(first.dataset.take(3).unwrap().len(), 3);
    assert_eq!(values(&second), later);
    stream.stop();
}

#[test]
fn a_task_that_fails_reads_the_same_records_again() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..700)).unwrap();
    let mut source = direct_source(Subscription::topics(["a"]), params(&broker));
    let (context, _errors) = context_of(3);
    source.start(&context).unwrap();
    let batch = source.batch(Time::from_millis(1)).unwrap().unwrap();
    let failures = std::sync::atomic::AtomicU32::new(0);
    let numbers = batch.dataset.map(move |record| {
        let panic = record.offset == 600 && failures.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2;
        assert!(!panic, "no luck");
        record.offset
    });
    assert_eq!(numbers.collect().unwrap(), Vec::from_iter(0..700));
    source.stop(Duration::from_secs(10)).unwrap();
}

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
fn a_second_stream_goes_on_where_the_first_was_done() {
    let broker = broker(&[("a", 2)]);
    broker.send("a", numbers(0..4)).unwrap();
    let mut first = start(&["a"], params(&broker));
    first.batch();
    first.completed();
    broker.send("a", numbers(4..8)).unwrap();
    // Planned, and never completed.
    assert_eq!(first.batch().records, 4);
    first.stop();

    let mut second = start(&["a"], params(&broker));
    let batch = second.batch();
    assert_eq!(ranges(&batch), ["a/0 offsets 2..4", "a/1 offsets 2..4"]);
    assert_eq!(values(&batch), [["4", "6"], ["5", "7"]]);
    second.completed();
    second.stop();
    assert_eq!(start(&["a"], params(&broker)).batch().records, 0);
}

#[test]
fn completing_a_batch_completes_those_before_it() {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    for n in 0..50 {
        broker.send("a", [n.to_string()]).unwrap();
        stream.batch();
    }
    stream.source.completed(Time::from_millis(stream.now - 1000)).unwrap();
    stream.stop();
    assert_eq!(ranges(&start(&["a"], params(&broker)).batch()), ["a/0 offsets 49..50"]);
}

#[test]
fn without_committed_offsets_the_params_say_where_to_start() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..3)).unwrap();
    let params = |group: &str, reset| params(&broker).group_id(group).auto_offset_reset(reset);

    let mut earliest = start(&["a"], params("earliest", AutoOffsetReset::Earliest));
    assert_eq!(ranges(&earliest.batch()), ["a/0 offsets 0..3"]);
    let mut latest = start(&["a"], params("latest", AutoOffsetReset::Latest));
    assert_eq!(ranges(&latest.batch()), ["a/0 offsets 3..3"]);
    let error = try_start(&["a"], params("none", AutoOffsetReset::None)).map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a/0: group none has no offset, and `AutoOffsetReset::None` says not to start without one"
    );
    // Where a stream started is committed: what arrived while it was away is not skipped by the next one.
    latest.stop();
    broker.send("a", ["3"]).unwrap();
    assert_eq!(ranges(&start(&["a"], params("latest", AutoOffsetReset::None)).batch()), ["a/0 offsets 3..4"]);
}

/// The first program on a fresh cluster asks for its group while the group's coordinator is still being made.
#[test]
fn a_coordinator_that_is_not_ready_is_waited_for() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", ["x"]).unwrap();
    let not_yet = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
    broker.cluster().request_errors(RDKafkaApiKey::OffsetFetch, &[not_yet; 3]);
    let mut stream = start(&["a"], params(&broker));
    assert_eq!(stream.source.batch(Time::from_millis(1)).unwrap().unwrap().records, 1);

    broker.cluster().request_errors(RDKafkaApiKey::OffsetFetch, &[not_yet; 1000]);
    let error = try_start(&["a"], params(&broker).start_timeout(Duration::from_millis(300))).map(|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("the committed offsets of group g cannot be read"), "{error}");
}

#[test]
fn a_topic_that_does_not_exist_is_named() {
    let broker = broker(&[("a", 1)]);
    let error = try_start(&["a", "nowhere"], params(&broker)).map(|_| ()).unwrap_err();
    let brokers = broker.bootstrap_servers();
    assert_eq!(
        error.to_string(),
        format!("topic nowhere does not exist at the Kafka brokers {brokers}: create it, or correct its name")
    );
}

#[test]
fn brokers_that_are_not_there_are_named() {
    let params = KafkaParams::new("127.0.0.1:1").group_id("g").start_timeout(Duration::from_millis(300));
    let error = try_start(&["a"], params).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    let text = error.to_string();
    assert!(text.starts_with("topic a cannot be looked up at the Kafka brokers 127.0.0.1:1: "), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
}

#[test]
fn settings_that_librdkafka_does_not_know_are_named() {
    let broker = broker(&[]);
    let error = try_start(&["a"], params(&broker).set("fetch.wait", "1")).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().starts_with("the Kafka setting fetch.wait is not accepted: "), "{error}");
    let error = try_start(&[], params(&broker)).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "a Kafka stream needs at least one topic");
}

#[test]
fn a_refused_commit_stops_the_context() {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    broker.send("a", numbers(0..3)).unwrap();
    stream.batch();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    broker.cluster().request_errors(RDKafkaApiKey::OffsetCommit, &[refused; 10]);
    stream.completed();
    let error = stream.errors.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert_eq!(
        error.to_string(),
        "kafka a: group g could not commit its offsets a/0: 3: GroupAuthorizationFailed (Broker: Group \
         authorization failed); after a restart what follows the last commit is read again"
    );
    assert_eq!(stream.source.stop(Duration::from_secs(10)).unwrap_err().to_string(), error.to_string());
}

#[test]
fn a_commit_that_may_succeed_later_is_tried_again() {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    broker.send("a", numbers(0..3)).unwrap();
    stream.batch();
    let loading = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    broker.cluster().request_errors(RDKafkaApiKey::OffsetCommit, &[loading; 3]);
    stream.completed();
    stream.stop();
    assert_eq!(start(&["a"], params(&broker)).batch().records, 0);
}

#[test]
fn a_commit_refused_at_the_start_keeps_the_stream_from_starting() {
    let broker = broker(&[("a", 1)]);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    broker.cluster().request_errors(RDKafkaApiKey::OffsetCommit, &[refused; 10]);
    let error = try_start(&["a"], params(&broker)).map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "group g cannot commit the offsets at which it starts: GroupAuthorizationFailed (Broker: Group \
         authorization failed)"
    );
}

#[test]
fn stopping_does_not_wait_for_a_commit_longer_than_it_may() {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    broker.send("a", ["x"]).unwrap();
    stream.batch();
    broker.cluster().broker_down(1).unwrap();
    stream.completed();
    let clock = Clock::system();
    let before = clock.now();
    let error = stream.source.stop(Duration::from_millis(200)).unwrap_err();
    assert!(clock.now() - before < Duration::from_secs(2));
    assert!(error.to_string().starts_with("kafka a: group g could not commit its offsets a/0: 1: "), "{error}");
}

#[test]
fn brokers_that_come_back_deliver_what_they_owe() {
    let broker = broker(&[("a", 2)]);
    let mut stream = start(&["a"], params(&broker).planning_timeout(Duration::from_millis(50)));
    broker.send("a", ["0"]).unwrap();
    assert_eq!(values(&stream.batch())[0], ["0"]);
    broker.send("a", ["1", "2"]).unwrap();
    broker.cluster().broker_down(1).unwrap();
    let away = stream.batch();
    assert_eq!(ranges(&away), ["a/0 offsets 1..1", "a/1 offsets 0..0"]);
    assert_eq!(values(&away), [[""; 0]; 2]);
    broker.cluster().broker_up(1).unwrap();
    let mut batches = std::iter::repeat_with(|| stream.batch());
    let back = batches.find(|batch| batch.records > 0).unwrap();
    assert_eq!(values(&back), [["2"], ["1"]]);
    stream.completed();
    stream.stop();
    assert_eq!(start(&["a"], params(&broker)).batch().records, 0);
}

#[test]
fn brokers_that_stay_away_fail_the_stream() {
    let broker = broker(&[("a", 1)]);
    let limits = params(&broker).planning_timeout(Duration::from_millis(50)).max_outage(Duration::from_millis(120));
    let mut stream = start(&["a"], limits);
    broker.send("a", ["x"]).unwrap();
    let unread = stream.batch();
    broker.cluster().broker_down(1).unwrap();
    let failed = (1..).find_map(|n| stream.source.batch(Time::from_millis(stream.now + n)).err()).unwrap();
    let text = failed.to_string();
    let brokers = broker.bootstrap_servers();
    assert!(text.starts_with(&format!("the Kafka brokers at {brokers} have not told the ends of all ")), "{text}");
    // The record may have come before the broker went.
    if let Err(error) = unread.dataset.collect() {
        let text = error.to_string();
        assert!(text.contains("a/0 offsets 0..1: no record came for 120ms, offset 0 was reached: "), "{text}");
    }
}

/// Three thousand records of which the embedded broker, which compresses them, keeps fewer.
fn incompressible(from: u64) -> impl Iterator<Item = Vec<u8>> {
    (from..from + 3000).map(|n| {
        let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        std::iter::repeat_with(next).take(128).flatten().collect()
    })
}

#[test]
fn records_that_are_deleted_before_they_are_read_are_named() {
    let broker = broker(&[("a", 1)]);
    // A group that has seen nothing.
    start(&["a"], params(&broker)).stop();
    // Nothing is fetched ahead, so that the broker can forget it.
    let slow = params(&broker).group_id("slow").set("queued.min.messages", "1").set("queued.max.messages.kbytes", "1");
    let slow = slow.set("fetch.message.max.bytes", "1000").set("fetch.max.bytes", "1048576");
    let mut stream = start(&["a"], slow.set("message.max.bytes", "1000000"));
    broker.send("a", incompressible(0)).unwrap();
    let batch = stream.batch();
    (1..5).for_each(|n| broker.send("a", incompressible(n * 3000)).unwrap());
    let error = batch.dataset.collect().unwrap_err();
    let text = error.to_string();
    assert!(text.contains("a/0 offsets 0..3000: offsets 0..3000 are gone, the log now starts at "), "{text}");
    assert!(text.ends_with("the topic keeps its records for less time than the stream needs to read them"), "{text}");
    // The next batch holds what is still there, and the partition is read again.
    let again = batch.dataset.collect().unwrap_err();
    assert!(again.to_string().contains("are gone"), "{again}");

    let error = try_start(&["a"], params(&broker)).map(|_| ()).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("a/0: group g has read up to offset 0, and the log now starts at "), "{text}");
    assert!(text.ends_with(
        "are lost; to go on without them, set `fail_on_data_loss(false)`, or keep the place under another name"
    ));
}

#[test]
fn a_stream_that_was_stopped_says_so() {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    broker.send("a", ["x"]).unwrap();
    let batch = stream.batch();
    stream.stop();
    let error = batch.dataset.collect().unwrap_err();
    assert!(error.to_string().contains("the Kafka stream was stopped"), "{error}");
    assert!(direct_source(Subscription::topics(["a"]), params(&broker)).batch(Time::ZERO).is_err());
}

#[test]
fn offset_ranges_are_found_behind_narrow_operations_only() {
    let broker = broker(&[("a", 2)]);
    let mut stream = start(&["a"], params(&broker));
    let dataset = stream.batch().dataset;
    assert_eq!(dataset.map(|record| record.offset).filter(|_| true).offset_ranges().unwrap().len(), 2);
    let counted = dataset.map(|record| (record.offset, 1)).reduce_by_key(|a, b| a + b);
    assert_eq!(counted.offset_ranges(), None);
    stream.stop();
}

#[test]
fn partitions_that_were_added_are_read_from_their_beginning() {
    let broker = broker(&[("a", 2), ("b", 1)]);
    broker.send("a", numbers(0..2)).unwrap();
    broker.send("b", numbers(0..2)).unwrap();
    let params = params(&broker).auto_offset_reset(AutoOffsetReset::Latest);
    // As if there had been no partition 1 when the group committed.
    group_offsets(&params).commit(&[(TopicPartition::new("a", 0), 1)]).unwrap();
    let mut stream = start(&["a", "b"], params);
    assert_eq!(ranges(&stream.batch()), ["a/0 offsets 1..1", "a/1 offsets 0..1", "b/0 offsets 2..2"]);
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

#[test]
fn an_operator_may_read_the_batch_that_it_is_computed_from() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..1000)).unwrap();
    let mut stream = start(&["a"], params(&broker));
    let dataset = stream.batch().dataset;
    let same = dataset.clone();
    let first =
        dataset.map(move |record| (record.offset, if record.offset % 400 == 0 { same.count().unwrap() } else { 0 }));
    let counts: Vec<_> = first.collect().unwrap().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counts, [(0, 1000), (400, 1000), (800, 1000)]);
    stream.stop();
}

#[test]
fn nothing_is_lost_or_doubled_while_records_arrive() {
    const RECORDS: u32 = 20_000;
    let broker = broker(&[("a", 5)]);
    let mut stream = start(&["a"], params(&broker));
    let mut read: Vec<Vec<u32>> = vec![Vec::new(); 5];
    let mut expected = [0; 5];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for start in (0..RECORDS).step_by(500) {
                broker.send("a", numbers(start..start + 500)).unwrap();
            }
        });
        while read.iter().map(Vec::len).sum::<usize>() < RECORDS as usize {
            let batch = stream.batch();
            for (n, range) in batch.dataset.offset_ranges().unwrap().iter().enumerate() {
                assert_eq!(range.from, expected[n]);
                expected[n] = range.until;
            }
            for (all, part) in read.iter_mut().zip(values(&batch)) {
                all.extend(part.iter().map(|value| value.parse::<u32>().unwrap()));
            }
            stream.completed();
        }
    });
    for (n, part) in (0..).zip(&read) {
        assert_eq!(*part, Vec::from_iter((n..RECORDS).step_by(5)));
    }
    stream.stop();
    assert_eq!(start(&["a"], params(&broker)).batch().records, 0);
}

/// A reader of the one partition of topic `a`, from its beginning.
fn reader(params: &KafkaParams) -> (Arc<Planner>, Arc<Reader>, Arc<Slot>) {
    let config = params.client_config(Duration::from_secs(1)).unwrap();
    let planner = Arc::new(Planner::new(params, &config).unwrap());
    let only = (TopicPartition::new("a", 0), 0);
    let reader = Arc::new(Reader::new(&config, 1, Arc::clone(&planner), params, &context_of(1).0).unwrap());
    let slot = reader.add(&[only]).unwrap().remove(0);
    (planner, reader, slot)
}

fn range(reader: &Arc<Reader>, slot: &Arc<Slot>, from: i64, until: i64) -> crate::dataset::Dataset<KafkaRecord> {
    part(reader, slot, from, until, None)
}

/// A part of a larger range, if `whole` is one.
fn part(
    reader: &Arc<Reader>,
    slot: &Arc<Slot>,
    from: i64,
    until: i64,
    whole: Option<std::ops::Range<i64>>,
) -> crate::dataset::Dataset<KafkaRecord> {
    let range = OffsetRange { topic: "a".into(), partition: 0, from, until };
    let (context, _) = context_of(1);
    let (reader, slot) = (Arc::clone(reader), Arc::clone(slot));
    context.read(vec![KafkaPartition { reader, slot, range, whole, decoder: Arc::new(Copied { headers: true }) }], ())
}

#[test]
fn a_backlog_is_cut_into_tasks_that_read_it_once_in_order() {
    let broker = broker(&[("a", 2)]);
    broker.send("a", numbers(0..1000)).unwrap();
    let mut stream = start(&["a"], params(&broker).max_records_per_task(100));
    let batch = stream.batch();
    let ranges = ranges(&batch);
    assert_eq!((ranges.len(), &*ranges[1]), (10, "a/0 offsets 100..200"));
    let expected: Vec<String> = numbers(0..1000).step_by(2).chain(numbers(0..1000).skip(1).step_by(2)).collect();
    for _ in 0..3 {
        assert_eq!(values(&batch).concat(), expected);
    }
    broker.send("a", numbers(1000..1010)).unwrap();
    assert_eq!(
        values(&stream.batch()),
        [["1000", "1002", "1004", "1006", "1008"], ["1001", "1003", "1005", "1007", "1009"]]
    );
    stream.stop();
}

#[test]
fn parts_of_a_range_may_come_in_any_order_without_a_seek() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..40)).unwrap();
    let (_planner, reader, slot) = reader(&params(&broker));
    let read = |from, until| texts(&part(&reader, &slot, from, until, Some(0..40))).remove(0);
    let expected = |from: u32, until: u32| numbers(from..until).collect::<Vec<_>>();
    assert_eq!(read(20, 30), expected(20, 30));
    assert_eq!(read(10, 20), expected(10, 20));
    assert_eq!(read(30, 40), expected(30, 40));
    assert_eq!(slot.set_aside(), [(0, 10)]);
    assert_eq!(read(0, 10), expected(0, 10));
    assert_eq!(slot.set_aside(), []);
    // A task that is tried again, and parts of a range that nobody asked for when the next one comes.
    assert_eq!(read(10, 20), expected(10, 20));
    assert_eq!(read(30, 40), expected(30, 40));
    broker.send("a", numbers(40..50)).unwrap();
    assert_eq!(texts(&part(&reader, &slot, 45, 50, Some(40..50))), [expected(45, 50)]);
    assert_eq!(slot.set_aside(), [(40, 45)]);
}

#[test]
fn a_range_that_does_not_come_is_given_up_with_the_offset_it_reached() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..5)).unwrap();
    let (_planner, reader, slot) = reader(&params(&broker).max_outage(Duration::from_secs(1)));
    let error = range(&reader, &slot, 0, 100).collect().unwrap_err().to_string();
    let brokers = broker.bootstrap_servers();
    let expected = format!(
        "a/0 offsets 0..100: no record came for 1s, offset 5 was reached: the brokers at {brokers} answer, but without \
         these records"
    );
    assert!(error.ends_with(&expected), "{error}");
    assert_eq!(texts(&range(&reader, &slot, 3, 5)), [["3", "4"]]);
    assert_eq!(texts(&range(&reader, &slot, 4, 5)), [["4"]]);
}

#[test]
fn records_after_the_end_of_a_range_are_kept_for_the_next() {
    // With gaps in the log librdkafka hands out records after the end; here they are asked for.
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..10)).unwrap();
    let (_planner, reader, slot) = reader(&params(&broker));
    slot.read_too_far(&reader, 4, 7);
    assert_eq!(texts(&range(&reader, &slot, 4, 6)), [["4", "5"]]);
    assert_eq!(texts(&range(&reader, &slot, 6, 9)), [["6", "7", "8"]]);
    assert_eq!(texts(&range(&reader, &slot, 4, 9)), [["4", "5", "6", "7", "8"]]);
}

#[test]
fn a_question_that_is_refused_makes_the_batch_empty() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", ["x"]).unwrap();
    let mut stream = start(&["a"], params(&broker));
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.cluster().request_errors(RDKafkaApiKey::ListOffsets, &[refused; 10]);
    assert_eq!(stream.batch().records, 0);
    broker.cluster().clear_request_errors(RDKafkaApiKey::ListOffsets);
    let mut batches = std::iter::repeat_with(|| stream.batch().records);
    assert_eq!(batches.find(|records| *records > 0), Some(1));
    stream.stop();
}

#[test]
fn two_streams_of_a_context_cannot_share_a_place() {
    let broker = broker(&[("a", 1), ("b", 1)]);
    let (context, _errors) = context_of(1);
    let start = |topics: &[&str], params: KafkaParams| {
        let mut source = direct_source(Subscription::topics(topics.iter().copied()), params);
        source.start(&context).map(|()| source)
    };
    let mut first = start(&["a", "b"], params(&broker)).unwrap();
    let error = start(&["b"], params(&broker)).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    let said = "kafka a,b and kafka b both want the place in b/0 that group g keeps at cluster mockCluster";
    assert!(text.starts_with(said), "{text}");
    assert!(text.ends_with(": give each stream a group id, or an offset store, of its own"), "{text}");
    // The same brokers, by another name.
    let port = broker.bootstrap_servers().replace("127.0.0.1", "localhost");
    assert!(start(&["b"], KafkaParams::new(port).group_id("g")).is_err());
    start(&["b"], params(&broker).group_id("other")).unwrap().stop(Duration::from_secs(10)).unwrap();
    start(&["b"], params(&broker).commit_never()).unwrap().stop(Duration::from_secs(10)).unwrap();
    first.stop(Duration::from_secs(10)).unwrap();
    start(&["b"], params(&broker)).unwrap().stop(Duration::from_secs(10)).unwrap();
}

#[test]
fn streams_of_two_clusters_may_share_a_group() {
    let (one, two) = (broker(&[("a", 1)]), broker(&[("a", 1)]));
    let (context, _errors) = context_of(1);
    let mut sources = [&one, &two].map(|broker| direct_source(Subscription::topics(["a"]), params(broker)));
    sources.iter_mut().for_each(|source| source.start(&context).unwrap());
    sources.iter_mut().for_each(|source| source.stop(Duration::from_secs(10)).unwrap());
}

/// Another program commits to the group of a stream, as often as the stream does. Returns what the stream says.
fn error_of_two_who_commit(mark: &str) -> String {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    let config = params(&broker).client_config(Duration::from_secs(1)).unwrap();
    let planner = Planner::new(&params(&broker), &config).unwrap();
    let place = TopicPartition::new("a", 0);
    let clock = Clock::system();
    let patience = clock.now() + Duration::from_secs(60);
    loop {
        let mut commit = planner.commit([(&place, 1_000_000)].into_iter(), mark).unwrap();
        assert_eq!(commit.outcome(Duration::from_secs(10)), Some(Ok(())));
        broker.send("a", ["x"]).unwrap();
        stream.batch();
        stream.completed();
        // It looks once a second.
        if let Ok(error) = stream.errors.recv_timeout(Duration::from_millis(20)) {
            return error.to_string();
        }
        assert!(clock.now() < patience);
    }
}

#[test]
fn somebody_else_who_commits_to_the_group_is_noticed() {
    let error = error_of_two_who_commit("tidemill pid 1 x");
    assert!(error.starts_with("kafka a: group g could not commit its offsets a/0: "), "{error}");
    let what = "another stream or program commits to group g: in a/0 this stream has committed ";
    assert!(error.contains(what), "{error}");
    let found = ", and the group now has 1000000, committed by `tidemill pid 1 x`; give each of them a group id of \
                 its own, and reset offsets only while no stream uses them; after a restart";
    assert!(error.contains(found), "{error}");
}

#[test]
fn a_tool_that_resets_the_group_is_noticed() {
    let error = error_of_two_who_commit("");
    assert!(error.contains(", and the group now has 1000000; give each of them a group id"), "{error}");
}

#[test]
fn what_the_group_had_before_is_nobody_elses() {
    let broker = broker(&[("a", 2)]);
    let partitions = [TopicPartition::new("a", 0), TopicPartition::new("a", 1)];
    let before = group_offsets(&params(&broker));
    before.load(&partitions).unwrap();
    before.commit(&[(partitions[0].clone(), 5), (partitions[1].clone(), 6)]).unwrap();
    let now = group_offsets(&params(&broker));
    assert_eq!(now.load(&partitions).unwrap(), [Some(5), Some(6)]);
    now.look_at_once();
    now.commit(&[(partitions[0].clone(), 7)]).unwrap();
    now.look_at_once();
    now.commit(&[(partitions[0].clone(), 8), (partitions[1].clone(), 8)]).unwrap();
    before.look_at_once();
    let error = before.commit(&[(partitions[1].clone(), 9)]).unwrap_err();
    assert!(matches!(&error, CommitError::Refused(error) if error.to_string().contains("has committed 6, and")));
}

#[test]
fn a_group_with_members_is_said_to_have_some() {
    let broker = broker(&[("a", 1)]);
    for code in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    ] {
        broker.cluster().request_errors(RDKafkaApiKey::OffsetCommit, &[code; 20]);
        let error = try_start(&["a"], params(&broker)).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("group g cannot commit the offsets at which it starts: "), "{error}");
        let said = ": group g has members, so another consumer has joined it, which this stream does not; give the \
                    stream a group id of its own";
        assert!(error.ends_with(said), "{error}");
        broker.cluster().clear_request_errors(RDKafkaApiKey::OffsetCommit);
    }
}

#[test]
fn partitions_that_appear_while_the_stream_runs_have_their_place_too() {
    let broker = broker(&[("a", 1), ("b", 2)]);
    let (context, _errors) = context_of(1);
    let handle = CommitHandle::new();
    let place = |group: &str| {
        let mut params = params(&broker).group_id(group).commit_manually(&handle);
        let planner = Planner::new(&params, &params.client_config(Duration::from_secs(1)).unwrap()).unwrap();
        Place::new("kafka a", &mut params, &Arc::new(planner), &context)
    };
    let [first, later] = [TopicPartition::new("a", 0), TopicPartition::new("b", 1)];
    let range = OffsetRange { topic: "b".into(), partition: 1, from: 0, until: 4 };
    let mut one = place("g");
    assert_eq!(one.load(std::slice::from_ref(&first)).unwrap(), [None]);
    one.join(&[(first.clone(), 3)], &[None]).unwrap();
    assert!(handle.commit_sync(std::slice::from_ref(&range)).is_err(), "the stream does not read it yet");
    // Asked again after a failure, say.
    for _ in 0..2 {
        assert_eq!(one.load(std::slice::from_ref(&later)).unwrap(), [None]);
    }
    one.join(&[(later.clone(), 0)], &[None]).unwrap();
    handle.commit_sync(std::slice::from_ref(&range)).unwrap();
    let mut two = place("g");
    let error = two.load(std::slice::from_ref(&later)).unwrap_err().to_string();
    assert!(error.starts_with("kafka a and kafka a both want the place in b/1 that group g keeps at "), "{error}");
    // A handle is connected with one stream, and the second that wants it leaves it alone.
    let mut three = place("h");
    let error = three.join(&[(first.clone(), 0)], &[None]).unwrap_err().to_string();
    assert!(error.starts_with("the commit handle of kafka a belongs to kafka a, which runs: "), "{error}");
    drop(three);
    handle.commit_sync(std::slice::from_ref(&range)).unwrap();
    one.stop(Duration::from_secs(10)).unwrap();
    assert_eq!(two.load(&[first, later]).unwrap(), [Some(3), Some(4)]);
}

#[test]
fn topics_that_appear_join_a_pattern_while_it_runs() {
    let broker = broker(&[("clicks-de", 1), ("views", 1)]);
    broker.send("clicks-de", numbers(0..3)).unwrap();
    let latest = params(&broker).auto_offset_reset(AutoOffsetReset::Latest).discovery_interval(Duration::ZERO);
    let mut stream = subscribe(Subscription::pattern("clicks-.*"), latest.clone()).unwrap();
    assert_eq!(stream.source.name(), "kafka /clicks-.*/");
    assert_eq!(ranges(&stream.batch()), ["clicks-de/0 offsets 3..3"]);
    // What is in a topic that was not there at the start has come since.
    broker.create_topic("clicks-at", 2).unwrap();
    broker.send("clicks-at", ["x", "y"]).unwrap();
    broker.send("clicks-de", ["3"]).unwrap();
    let mut seen: Vec<String> = Vec::new();
    while seen.len() < 3 {
        seen.extend(values(&stream.batch()).concat());
    }
    seen.sort();
    assert_eq!(seen, ["3", "x", "y"]);
    stream.completed();
    stream.stop();
    // Its place is kept as that of the others.
    let mut stream = subscribe(Subscription::pattern("clicks-.*"), latest.clone()).unwrap();
    assert_eq!(
        ranges(&stream.batch()),
        ["clicks-at/0 offsets 1..1", "clicks-at/1 offsets 1..1", "clicks-de/0 offsets 4..4"]
    );
    stream.stop();
    // Nothing matches yet.
    let mut stream = subscribe(Subscription::pattern("views-.+"), latest.group_id("views")).unwrap();
    assert_eq!(stream.batch().dataset.count().unwrap(), 0);
    broker.create_topic("views-de", 1).unwrap();
    while stream.batch().dataset.offset_ranges().unwrap().is_empty() {}
    stream.stop();
}

#[test]
fn explicit_offsets_come_before_committed_ones() {
    let broker = broker(&[("a", 3)]);
    broker.send("a", numbers(0..30)).unwrap();
    let from = |subscription: Subscription| -> Result<Vec<i64>> {
        let mut stream = subscribe(subscription, params(&broker))?;
        let batch = stream.batch();
        stream.completed();
        stream.stop();
        Ok(batch.dataset.offset_ranges().unwrap().iter().map(|range| range.from).collect())
    };
    let topic = || Subscription::topics(["a"]);
    assert_eq!(from(topic().starting_at([(("a", 1), 4)])).unwrap(), [0, 4, 0]);
    assert_eq!(from(topic()).unwrap(), [10, 10, 10]);
    assert_eq!(from(topic().starting_at([(("a", 1), 4), (("a", 0), 10)])).unwrap(), [10, 4, 10]);
    assert_eq!(from(Subscription::assign([("a", 2), ("a", 1)]).starting_at([(("a", 2), 0)])).unwrap(), [10, 0]);
    let error = |subscription| from(subscription).unwrap_err().to_string();
    assert_eq!(
        error(topic().starting_at([(("a", 1), 11)])),
        "a/1 is to start at offset 11, and the log has 0..10: correct it in `Subscription::starting_at`"
    );
    assert_eq!(
        error(topic().starting_at([(("a", 3), 0)])),
        "a/3 has an offset to start at, and the stream does not read it"
    );
    let missing = error(Subscription::assign([("a", 3)]));
    assert!(missing.starts_with("a/3 does not exist, the topic has 3 partitions at the Kafka brokers "), "{missing}");
}

#[test]
fn a_start_behind_what_the_broker_has_deleted_goes_on_if_it_is_told_to() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", ["first"]).unwrap();
    let mut stream = start(&["a"], params(&broker));
    stream.batch();
    stream.completed();
    stream.stop();
    (0..5).for_each(|n| broker.send("a", incompressible(n * 3000)).unwrap());
    let error = try_start(&["a"], params(&broker)).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("a/0: group g has read up to offset 1, and the log now starts at "), "{error}");
    let mut source = direct_source(Subscription::topics(["a"]), params(&broker).fail_on_data_loss(false));
    let (context, _errors) = context_of(1);
    let (send, events) = unbounded();
    source.start(&context.of_input(StreamId(7), "kafka a").reporting_to(send)).unwrap();
    let batch = source.batch(Time::from_millis(1000)).unwrap().unwrap();
    let range = batch.dataset.offset_ranges().unwrap().remove(0);
    assert!(range.from > 1 && range.until == 15_001, "{range}");
    assert_eq!(batch.dataset.count().unwrap(), range.count());
    let Ok(Event::DataLost { stream, input, what }) = events.try_recv() else { panic!("nothing was reported") };
    assert_eq!((stream, &*input), (StreamId(7), "kafka a"));
    assert!(what.ends_with(&format!("records 1..{} are lost", range.from)), "{what}");
    source.stop(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_stream_that_was_told_to_start_elsewhere_moves_its_place() {
    let broker = broker(&[("a", 3)]);
    let (context, _errors) = context_of(1);
    let partitions: Arc<[_]> = (0..3).map(|partition| TopicPartition::new("a", partition)).collect();
    let group = group_offsets(&params(&broker));
    group.commit(&[(partitions[0].clone(), 5), (partitions[1].clone(), 5)]).unwrap();
    let mut params = params(&broker);
    let planner = Planner::new(&params, &params.client_config(Duration::from_secs(1)).unwrap()).unwrap();
    let mut place = Place::new("kafka a", &mut params, &Arc::new(planner), &context);
    let kept = place.load(&partitions).unwrap();
    assert_eq!(kept, [Some(5), Some(5), None]);
    let starts = [2, 5, 7];
    let joining: Vec<_> = partitions.iter().cloned().zip(starts).collect();
    place.join(&joining, &kept).unwrap();
    assert_eq!(group.load(&partitions).unwrap(), [Some(5), Some(5), Some(7)], "nothing is done yet");
    place.done(Progress { partitions: Arc::clone(&partitions), positions: Arc::new(starts) });
    place.stop(Duration::from_secs(10)).unwrap();
    assert_eq!(group.load(&partitions).unwrap(), [Some(2), Some(5), Some(7)]);
}

fn dataset_of(
    broker: &EmbeddedBroker,
    params: KafkaParams,
    ranges: &[(i32, i64, i64)],
) -> Result<Dataset<KafkaRecord>> {
    let range = |&(partition, from, until)| OffsetRange { topic: "a".into(), partition, from, until };
    let ranges: Vec<_> = ranges.iter().map(range).collect();
    let params = KafkaParams { brokers: broker.bootstrap_servers(), ..params };
    range_records(&context_of(1).0, params, &ranges)
}

#[test]
fn explicit_ranges_can_be_read_as_often_as_wanted() {
    let broker = broker(&[("a", 2)]);
    broker.send("a", numbers(0..20)).unwrap();
    let params = KafkaParams::new("").set("fetch.wait.max.ms", "10");
    let ranges = [(0, 4, 8), (1, 0, 2), (0, 2, 6), (0, 3, 3)];
    let dataset = dataset_of(&broker, params.clone(), &ranges).unwrap();
    let expected = [vec!["8", "10", "12", "14"], vec!["1", "3"], vec!["4", "6", "8", "10"], vec![]];
    for _ in 0..3 {
        assert_eq!(texts(&dataset), expected);
    }
    // What comes later changes nothing.
    broker.send("a", numbers(20..40)).unwrap();
    assert_eq!(texts(&dataset), expected);
    assert_eq!(dataset.offset_ranges().unwrap().len(), 4);
    let cut = dataset_of(&broker, params.clone().max_records_per_task(3), &[(0, 2, 9)]).unwrap();
    for _ in 0..3 {
        assert_eq!(texts(&cut), [vec!["4", "6"], vec!["8", "10"], vec!["12", "14", "16"]]);
    }
    assert!(texts(&dataset_of(&broker, params, &[]).unwrap()).is_empty());
}

#[test]
fn ranges_that_the_log_does_not_have_are_refused() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..4)).unwrap();
    let error = |ranges: &[(i32, i64, i64)]| {
        dataset_of(&broker, KafkaParams::new(""), ranges).map(drop).unwrap_err().to_string()
    };
    assert_eq!(error(&[(0, 0, 2), (0, 1, 5)]), "a/0 cannot be read from 0 to 5: the log has 0..4");
    let backwards = "a/0 offsets 3..1 is no range: it has to start at 0 or later, and not behind its end";
    assert_eq!(error(&[(0, 3, 1)]), backwards);
    let brokers = broker.bootstrap_servers();
    assert_eq!(
        error(&[(7, 0, 0)]),
        format!(
            "a/7 does not exist, the topic has 1 partitions at the Kafka brokers {brokers}: create it, or correct its name"
        )
    );
}

#[test]
fn what_is_deleted_before_it_is_read_is_left_out_if_it_may_be() {
    let broker = broker(&[("a", 1)]);
    let slow = params(&broker).set("queued.min.messages", "1").set("queued.max.messages.kbytes", "1");
    let slow = slow.set("fetch.message.max.bytes", "1000").set("fetch.max.bytes", "1048576");
    let mut source =
        direct_source(Subscription::topics(["a"]), slow.set("message.max.bytes", "1000000").fail_on_data_loss(false));
    let (send, events) = unbounded();
    source.start(&context_of(1).0.of_input(StreamId(0), "kafka a").reporting_to(send)).unwrap();
    broker.send("a", incompressible(0)).unwrap();
    let first = source.batch(Time::from_millis(1000)).unwrap().unwrap().dataset;
    (1..5).for_each(|n| broker.send("a", incompressible(n * 3000)).unwrap());
    let second = source.batch(Time::from_millis(2000)).unwrap().unwrap().dataset;
    // All of the first batch is gone, and the beginning of the second.
    assert_eq!(first.count().unwrap(), 0);
    let records = second.collect().unwrap();
    let left = records[0].offset..15_000;
    assert!(left.start > 3000);
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), left.clone().collect::<Vec<_>>());
    let lost: Vec<String> = events
        .try_iter()
        .map(|event| match event {
            Event::DataLost { what, .. } => what,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert!(lost[0].starts_with("a/0: offsets 0..3000 are gone, the log now starts at "), "{lost:?}");
    assert!(lost[1].starts_with(&format!("a/0: offsets 3000..{} are gone", left.start)), "{lost:?}");
    source.stop(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_batch_has_no_more_than_the_rates_allow() {
    let broker = broker(&[("a", 2)]);
    broker.send("a", numbers(0..1000)).unwrap();
    let mut stream = start(&["a"], params(&broker).max_rate_per_partition(30.0));
    // A batch a second.
    assert_eq!(ranges(&stream.batch()), ["a/0 offsets 0..30", "a/1 offsets 0..30"]);
    assert_eq!(ranges(&stream.batch()), ["a/0 offsets 30..60", "a/1 offsets 30..60"]);
    stream.stop();
    let error = try_start(&["a"], params(&broker).max_rate_per_partition(0.0)).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("a/0: the maximum rate per partition is 0 records per second"), "{error}");
}
