//! The cases of Spark's `KafkaRDDSuite`: explicit ranges, read as a dataset. Its fourth, how executors are sorted, has
//! nothing here that it could be about.

use tidemill::kafka::{self, KafkaRecord, OffsetRange};
use tidemill::prelude::*;
use tidemill_test_broker::ApacheKafka;

use super::super::bad_input::assert_names;
use super::super::params;
use super::compaction::{compacted, visible};
use super::context;

fn range(topic: &str, from: i64, until: i64) -> OffsetRange {
    OffsetRange { topic: topic.into(), partition: 0, from, until }
}

fn read(kafka: &ApacheKafka, ranges: &[OffsetRange]) -> Result<Dataset<KafkaRecord>> {
    // Nothing is committed, whatever the group is.
    kafka::create_dataset(&context("datasets"), params(kafka.bootstrap_servers(), "datasets"), ranges)
}

fn values(records: &[KafkaRecord]) -> Vec<&str> {
    records.iter().map(|record| record.value_utf8().unwrap()).collect()
}

/// "basic usage": a topic of four messages, and a range of five of it.
#[test]
fn basic_usage() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("four", 1, &[]).unwrap();
    kafka.send("four", 0, ["the", "quick", "brown", "fox"]).unwrap();
    let records = read(kafka, &[range("four", 0, 4)]).unwrap();
    assert_eq!(values(&records.collect().unwrap()), ["the", "quick", "brown", "fox"]);
    assert_eq!((records.count().unwrap(), records.is_empty().unwrap()), (4, false));
    for take in 0..=5 {
        let taken = records.take(take).unwrap();
        assert_eq!(values(&taken), ["the", "quick", "brown", "fox"][..take.min(4)]);
    }
    let empty = read(kafka, &[range("four", 2, 2)]).unwrap();
    assert_eq!((empty.count().unwrap(), empty.is_empty().unwrap()), (0, true));

    let Err(error) = read(kafka, &[range("four", 0, 5)]) else { panic!("there are no five") };
    assert_names(&error, &["four/0", "from 0 to 5", "the log has 0..4"]);
    let Err(error) = read(kafka, &[range("five", 0, 5)]) else { panic!("there is no such topic") };
    assert_names(&error, &["topic five does not exist", kafka.bootstrap_servers()]);
    let elsewhere = OffsetRange { partition: 3, ..range("four", 0, 1) };
    let Err(error) = read(kafka, &[elsewhere]) else { panic!("there is no such partition") };
    assert_names(&error, &["four/3 does not exist, the topic has 1 partitions"]);
}

/// "compacted topic": a range may hold fewer records than offsets.
#[test]
fn a_compacted_topic() {
    let Some(kafka) = super::shared() else { return };
    let pairs = [("a", "1"), ("a", "2"), ("b", "1"), ("c", "1"), ("c", "2"), ("b", "2"), ("b", "3")];
    compacted(kafka, "compacted", &pairs);
    let records = read(kafka, &[range("compacted", 0, 7)]).unwrap().collect().unwrap();
    let pairs: Vec<_> =
        records.iter().map(|record| (record.key_utf8().unwrap(), record.value_utf8().unwrap())).collect();
    assert_eq!(pairs, [("a", "2"), ("c", "2"), ("b", "3")]);
    // A range that ends in a gap has the records before it, and one that lies in a gap has none.
    let offsets = |from, until| -> Vec<i64> {
        let records = read(kafka, &[range("compacted", from, until)]).unwrap().collect().unwrap();
        records.iter().map(|record| record.offset).collect()
    };
    assert_eq!((offsets(0, 4), offsets(2, 4), offsets(5, 7)), (vec![1], vec![], vec![6]));
    let end = visible(kafka, "compacted", 8).last().unwrap() + 1;
    let Err(error) = read(kafka, &[range("compacted", 0, end + 1)]) else { panic!("there is no such record") };
    assert_names(&error, &["compacted/0", "from 0 to 9", "the log has 0..8"]);
}

/// "iterator boundary conditions": what is sent while a dataset is made and read belongs to the next range.
#[test]
fn boundaries_with_records_that_are_sent_meanwhile() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("bounds", 1, &[]).unwrap();
    kafka.send("bounds", 0, ["a", "b"]).unwrap();
    let first = read(kafka, &[range("bounds", 0, 2)]).unwrap();
    kafka.send("bounds", 0, ["c"]).unwrap();
    let second = read(kafka, &[range("bounds", 2, 3)]).unwrap();
    kafka.send("bounds", 0, ["d"]).unwrap();
    for _ in 0..2 {
        assert_eq!(values(&first.collect().unwrap()), ["a", "b"]);
        assert_eq!(values(&second.collect().unwrap()), ["c"]);
    }
    // Overlapping ranges of one partition, against the order of the log.
    let both = read(kafka, &[range("bounds", 1, 4), range("bounds", 0, 3)]).unwrap().collect_partitions().unwrap();
    assert_eq!(both.iter().map(|part| values(part)).collect::<Vec<_>>(), [vec!["b", "c", "d"], vec!["a", "b", "c"]]);
}
