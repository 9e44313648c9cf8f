//! Transactions: records of those that were aborted or are not decided yet stay out of sight, unless a program asks to
//! see them. The marker at the end of a transaction has an offset and is no record, so that ranges end in markers.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::super::{PATIENCE, committed, params};
use super::Program;

pub(super) struct Transactions {
    producer: BaseProducer,
    topic: &'static str,
}

impl Transactions {
    pub(super) fn new(brokers: &str, topic: &'static str) -> Self {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("transactional.id", topic)
            .set("linger.ms", "0")
            .create()
            .unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        Transactions { producer, topic }
    }

    pub(super) fn begin(&self) {
        self.producer.begin_transaction().unwrap();
    }

    pub(super) fn send(&self, partition: i32, value: &str) {
        let record = BaseRecord::<(), str>::to(self.topic).partition(partition).payload(value);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    /// Waits until the broker has what was sent.
    fn settle(&self) {
        while self.producer.in_flight_count() > 0 {
            self.producer.poll(Duration::from_millis(1));
        }
    }

    pub(super) fn commit(&self) {
        self.settle();
        self.producer.commit_transaction(PATIENCE).unwrap();
    }

    pub(super) fn abort(&self) {
        self.settle();
        self.producer.abort_transaction(PATIENCE).unwrap();
    }
}

#[test]
fn half_of_the_transactions_are_aborted() {
    const PARTITIONS: i32 = 2;
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("payments", 2, &[]).unwrap();
    let brokers = kafka.bootstrap_servers();
    let start = |group, isolation| {
        let params = params(brokers, group).set("isolation.level", isolation);
        Program::start(params, ["payments"]).unwrap()
    };
    let mut committed_only = start("payments-committed", "read_committed");
    let mut all = start("payments-all", "read_uncommitted");
    let transactions = Transactions::new(brokers, "payments");
    let (mut kept, mut sent) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for number in 0..40 {
        transactions.begin();
        // Two of four are aborted, and both programs read between any two.
        let is_kept = number % 4 < 2;
        for part in 0..10 {
            let (partition, value) = (part % PARTITIONS, format!("{number}-{part}"));
            transactions.send(partition, &value);
            if is_kept {
                kept[partition as usize].push(value.clone());
            }
            sent[partition as usize].push(value);
        }
        if is_kept {
            transactions.commit()
        } else {
            transactions.abort()
        }
        if number % 8 == 7 {
            let records = |values: &[Vec<String>; 2]| values.iter().map(Vec::len).sum();
            committed_only.read(records(&kept));
            all.read(records(&sent));
        }
    }
    committed_only.stop();
    all.stop();
    for partition in 0..PARTITIONS {
        let (kept, sent) = (&kept[partition as usize], &sent[partition as usize]);
        assert_eq!(committed_only.partition("payments", partition).values(), *kept);
        assert_eq!(all.partition("payments", partition).values(), *sent);
    }
    // Every transaction has a marker in each partition, the last as well: the ranges end behind it.
    let ends = [sent[0].len() as i64 + 40, sent[1].len() as i64 + 40];
    for group in ["payments-committed", "payments-all"] {
        assert_eq!(committed(brokers, group, "payments", PARTITIONS), ends);
    }
}

#[test]
fn an_open_transaction_is_hidden_with_what_follows_it_until_it_is_decided() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("orders", 1, &[]).unwrap();
    let brokers = kafka.bootstrap_servers();
    let mut decided = Program::start(params(brokers, "orders-decided"), ["orders"]).unwrap();
    let all = params(brokers, "orders-all").set("isolation.level", "read_uncommitted");
    let mut all = Program::start(all, ["orders"]).unwrap();
    kafka.send("orders", 0, ["before"]).unwrap();
    let transactions = Transactions::new(brokers, "orders");
    transactions.begin();
    transactions.send(0, "open");
    transactions.settle();
    kafka.send("orders", 0, ["after"]).unwrap();
    all.read(3);
    decided.read(1);
    assert_eq!(decided.partition("orders", 0).values(), ["before"], "the transaction is open");
    transactions.commit();
    decided.read(3);
    decided.stop();
    all.stop();
    for program in [&decided, &all] {
        assert_eq!(program.partition("orders", 0).values(), ["before", "open", "after"]);
    }
}

#[test]
fn a_range_with_nothing_but_an_aborted_transaction_is_an_empty_batch() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("refunds", 1, &[]).unwrap();
    let brokers = kafka.bootstrap_servers();
    let transactions = Transactions::new(brokers, "refunds");
    let mut program = Program::start(params(brokers, "refunds"), ["refunds"]).unwrap();
    for _ in 0..3 {
        let ranges = |program: &Program| program.partitions.values().map(|part| part.ranges.len()).sum::<usize>();
        let before = ranges(&program);
        transactions.begin();
        transactions.send(0, "aborted");
        transactions.abort();
        program.read_while(|program| ranges(program) == before);
    }
    program.stop();
    let read = program.partition("refunds", 0);
    assert_eq!(read.values(), [""; 0]);
    // Three records and three markers.
    assert_eq!(read.ranges.last().unwrap().until, 6);
    assert_eq!(committed(brokers, "refunds", "refunds", 1), [6]);
}
