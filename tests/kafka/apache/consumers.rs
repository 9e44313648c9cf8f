//! The cases of Spark's `KafkaDataConsumerSuite`, where consumers of a partition are shared by tasks: here a partition
//! has one reader, and whoever reads it gets the records of its range.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use tidemill::kafka::{self, KafkaRecord, Subscription};
use tidemill::prelude::*;

use super::super::{PATIENCE, committed, params};
use super::context;

/// Runs `f` on the first batch that has records, which are the numbers from 0 on in each of `partitions`.
fn on_a_batch<A: Send + Sync + 'static>(
    topic: &str,
    partitions: i32,
    f: impl Fn(&Dataset<KafkaRecord>) -> Result<A> + Send + Sync + 'static,
) -> Option<A> {
    let kafka = super::shared()?;
    kafka.create_topic(topic, partitions as usize, &[]).unwrap();
    for partition in 0..partitions {
        kafka.send(topic, partition, (0..1000).map(|n| n.to_string())).unwrap();
    }
    let context = context(topic);
    // How long each reader waits behind the fetch of the one before.
    let params = params(kafka.bootstrap_servers(), topic).set("fetch.wait.max.ms", "5");
    let records = kafka::direct_stream(&context, params, Subscription::topics([topic]));
    let (send, answers) = mpsc::channel();
    records.foreach_batch(move |records, _| {
        if records.count()? == 0 {
            return Ok(());
        }
        send.send(f(&records)?).map_err(Error::user)
    });
    context.start().unwrap();
    let answer = answers.recv_timeout(PATIENCE).unwrap();
    context.stop(Stop::Gracefully).unwrap();
    assert_eq!(committed(kafka.bootstrap_servers(), topic, topic, partitions), vec![1000; partitions as usize]);
    Some(answer)
}

fn numbers(records: &[KafkaRecord]) -> Vec<usize> {
    records.iter().map(|record| record.value_utf8().unwrap().parse().unwrap()).collect()
}

/// "concurrent use of KafkaDataConsumer": 100 threads read the same partition at once, each several times.
#[test]
fn many_threads_read_the_same_partition() {
    const THREADS: usize = 100;
    const USES: usize = 5;
    let expected: Vec<usize> = (0..1000).collect();
    let right = on_a_batch("shared-partition", 1, move |records| {
        thread::scope(|scope| {
            let read = || (0..USES).all(|_| records.collect().is_ok_and(|records| numbers(&records) == expected));
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(read)).collect();
            Ok(threads.into_iter().map(|thread| thread.join().unwrap()).filter(|right| *right).count())
        })
    });
    assert!(right.is_none_or(|right| right == THREADS), "{right:?} of {THREADS} threads read the right records");
}

/// "KafkaDataConsumer reuse in case of same groupId and TopicPartition": a dataset may be read again.
#[test]
fn a_batch_is_read_again_by_each_action() {
    let sums = on_a_batch("again", 3, |records| {
        let numbers = records.map(|record| numbers(&[record])[0]);
        Ok([numbers.reduce(|a, b| a + b)?, numbers.filter(|n| n % 2 == 0).reduce(|a, b| a + b)?])
    });
    let Some(sums) = sums else { return };
    assert_eq!(sums, [Some(3 * 499_500), Some(3 * 249_500)]);
}

/// "new KafkaDataConsumer instance in case of Task retry": a task that failed half-way is tried again, and the second
/// attempt reads the partition from the start of its range.
#[test]
fn a_task_that_is_tried_again_reads_again() {
    let failures = Arc::new(AtomicUsize::new(0));
    let parts = on_a_batch("retried", 2, move |records| {
        let failures = Arc::clone(&failures);
        let records = records.try_map(move |record| {
            if record.partition == 1 && record.offset == 700 && failures.fetch_add(1, Ordering::Relaxed) < 2 {
                return Err(Error::user("not yet"));
            }
            Ok(record)
        });
        records.collect_partitions()
    });
    let Some(parts) = parts else { return };
    assert_eq!(parts.len(), 2);
    for part in parts {
        assert!(numbers(&part).into_iter().eq(0..1000), "{} records", part.len());
    }
}
