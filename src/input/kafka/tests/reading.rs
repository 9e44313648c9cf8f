//! The reader by itself: ranges and parts of them, in any order.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::input::kafka::reader::{Reader, Slot};

/// A reader of the one partition of topic `a`, from its beginning.
fn reader(params: &KafkaParams) -> (Arc<Planner>, Arc<Reader>, Arc<Slot>) {
    let config = params.client_config(Duration::from_secs(1)).unwrap();
    let planner = Arc::new(Planner::new(params, &config).unwrap());
    let only = (TopicPartition::new("a", 0), 0);
    let reader = Arc::new(Reader::new(&config, 1, Arc::clone(&planner), params, &context_of(1).0).unwrap());
    let slot = reader.add(&[only]).unwrap().remove(0);
    (planner, reader, slot)
}

fn range(reader: &Arc<Reader>, slot: &Arc<Slot>, from: i64, until: i64) -> Dataset<KafkaRecord> {
    part(reader, slot, from, until, None)
}

/// A part of a larger range, if `whole` is one.
fn part(
    reader: &Arc<Reader>,
    slot: &Arc<Slot>,
    from: i64,
    until: i64,
    whole: Option<Range<i64>>,
) -> Dataset<KafkaRecord> {
    let range = OffsetRange { topic: "a".into(), partition: 0, from, until };
    let (context, _) = context_of(1);
    let (reader, slot) = (Arc::clone(reader), Arc::clone(slot));
    context.read(vec![KafkaPartition { reader, slot, range, whole, decoder: Arc::new(Copied { headers: true }) }], ())
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
    // Nor is anything kept when the next range is whole.
    assert_eq!(texts(&range(&reader, &slot, 48, 50)), [expected(48, 50)]);
    assert_eq!(slot.set_aside(), []);
}

/// Ranges, parts of ranges and reads that end early, on several threads at once, against what lies in the log.
#[test]
fn reads_in_any_order_give_what_lies_in_the_log() {
    const RECORDS: i64 = 3000;
    const READS: usize = 25;
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..RECORDS as u32)).unwrap();
    let (_planner, reader, slot) = reader(&params(&broker));
    let read = |seed: u64| {
        let (context, _) = context_of(1);
        let mut state = seed;
        let mut below = |limit: i64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % limit as u64) as i64
        };
        let mut last = 0;
        for _ in 0..READS {
            // One in two goes on where the last one ended, as batches do.
            let from = if below(2) == 0 { last } else { below(RECORDS) };
            let until = (from + if below(4) == 0 { below(900) } else { below(40) }).min(RECORDS);
            last = if until == RECORDS { 0 } else { until };
            let range = OffsetRange { topic: "a".into(), partition: 0, from, until };
            let most = (below(2) == 0).then(|| 1 + below(30) as u64);
            let mut parts =
                KafkaPartition::parts(&reader, &slot, range, most, &Arc::new(Copied { headers: below(2) == 0 }));
            // Tasks do not come in order, and some come twice.
            (1..parts.len()).for_each(|n| parts.swap(n, below(n as i64 + 1) as usize));
            let ranges: Vec<_> = parts.iter().map(|part| part.range.from..part.range.until).collect();
            let dataset = context.read(parts, ());
            let expected: Vec<i64> = ranges.into_iter().flatten().collect();
            let offset_of = |record: KafkaRecord| {
                assert_eq!(record.value_utf8().unwrap(), record.offset.to_string());
                record.offset
            };
            if below(4) == 0 {
                let some = below(20) as usize;
                let taken: Vec<i64> = dataset.take(some).unwrap().into_iter().map(offset_of).collect();
                assert_eq!(taken, expected[..some.min(expected.len())]);
            }
            for _ in 0..1 + below(2) {
                let all: Vec<i64> = dataset.collect().unwrap().into_iter().map(offset_of).collect();
                assert_eq!(all, expected, "seed {seed}");
            }
        }
    };
    let read = &read;
    std::thread::scope(|scope| (1..4).for_each(|seed| drop(scope.spawn(move || read(seed * 0x9e37_79b9)))));
}

/// To seek would have librdkafka take the partition up again.
#[test]
fn a_partition_that_is_gone_is_not_taken_up_again() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..5)).unwrap();
    let (_planner, reader, slot) = reader(&params(&broker));
    assert_eq!(texts(&range(&reader, &slot, 0, 3)), [["0", "1", "2"]]);
    reader.give_up(&slot);
    let error = range(&reader, &slot, 1, 3).collect().unwrap_err().to_string();
    assert!(error.ends_with("offsets 1..3 are gone with the partition"), "{error}");
}

/// Brokers that have just come back say for a while that they know no topic, and then do not answer at once.
#[test]
fn what_the_brokers_do_not_know_for_a_moment_is_not_lost() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..5)).unwrap();
    let (_planner, reader, slot) = reader(&params(&broker));
    assert_eq!(slot.goes_on_when_unknown(&reader, 2..5).unwrap(), Some(2), "it is there after all");
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    broker.cluster().request_errors(RDKafkaApiKey::ListOffsets, &[refused; 10]);
    assert_eq!(slot.goes_on_when_unknown(&reader, 2..5).unwrap(), Some(2), "nobody says that it is not there");
    broker.cluster().topic_error("a", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let error = slot.goes_on_when_unknown(&reader, 2..5).unwrap_err().to_string();
    assert!(error.starts_with("offsets 2..5 do not exist any more"), "{error}");
}

/// librdkafka forgets a partition that is unknown while nobody reads it, and makes it anew, with another queue.
#[test]
fn a_partition_that_was_unknown_for_a_while_is_read_again() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..5)).unwrap();
    let params = params(&broker).set("topic.metadata.propagation.max.ms", "0").max_outage(Duration::from_secs(5));
    let config = params.client_config(Duration::from_secs(1)).unwrap();
    let planner = Arc::new(Planner::new(&params, &config).unwrap());
    let reader = Arc::new(Reader::new(&config, 1, planner, &params, &context_of(1).0).unwrap());
    let slot = reader.add_up_to(TopicPartition::new("a", 0), 5).unwrap();
    for error in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
    ] {
        broker.cluster().topic_error("a", error).unwrap();
        reader.look_up("a");
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            assert_eq!(texts(&range(&reader, &slot, 0, 5)), [["0", "1", "2", "3", "4"]]);
        }
    }
}

#[test]
fn a_record_that_comes_by_another_queue_is_no_secret() {
    let broker = broker(&[("a", 2)]);
    broker.send("a", numbers(0..4)).unwrap();
    let (_planner, reader, slot) = reader(&params(&broker));
    assert_eq!(texts(&range(&reader, &slot, 0, 1)), [["0"]]);
    reader.fetch_apart(&TopicPartition::new("a", 1));
    let deadline = Clock::system().now() + PATIENCE;
    let error = std::iter::repeat_with(|| reader.serve()).find_map(|served| {
        assert!(Clock::system().now() < deadline, "the record is not noticed");
        served.err()
    });
    let error = error.unwrap().to_string();
    assert_eq!(error, "librdkafka has delivered a/1 offset 0 by the queue of all partitions: it is lost");
    assert!(reader.serve().is_err(), "not to be forgotten");
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
    let missing = error(&[(7, 0, 0)]);
    assert!(missing.starts_with("a/7 does not exist, the topic has 1 partitions at the Kafka brokers "), "{missing}");
}
