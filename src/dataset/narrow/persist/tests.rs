use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::*;
use crate::context::StreamingContext;
use crate::error::ErrorKind;

const LEVELS: [StorageLevel; 3] = [StorageLevel::MemoryOnly, StorageLevel::MemoryOnlySer, StorageLevel::DiskOnly];

fn context(partitions: usize) -> StreamingContext {
    StreamingContext::builder("persist").workers(2).partitions(partitions).max_task_attempts(1).build().unwrap()
}

/// A dataset that counts how often its records are computed.
fn counted<T: Exchange>(context: &StreamingContext, records: &[T], partitions: usize) -> (Dataset<T>, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let dataset = context.parallelize(records.to_vec(), partitions).map(move |record| {
        count.fetch_add(1, Ordering::Relaxed);
        record
    });
    (dataset, calls)
}

fn check<T: Exchange + PartialEq + Debug>(records: &[T]) {
    for level in LEVELS {
        for partitions in [1, 3] {
            let context = context(partitions);
            let (dataset, calls) = counted(&context, records, partitions);
            let kept = dataset.persist_with(level);
            assert_eq!((dataset.storage_level(), kept.storage_level()), (None, Some(level)));
            for _ in 0..2 {
                assert_eq!(kept.collect().unwrap(), records, "{level:?}");
                assert_eq!(kept.count().unwrap(), records.len() as u64, "{level:?}");
                assert_eq!(kept.first().unwrap().as_ref(), records.first(), "{level:?}");
                assert_eq!(kept.lineage().records(), Some(records.len() as u64), "{level:?}");
            }
            assert_eq!(calls.load(Ordering::Relaxed), records.len() as u32, "{level:?}");
        }
    }
}

#[test]
fn every_level_gives_the_records_that_were_put_in() {
    check::<u64>(&[]);
    check(&[7u8]);
    check(&(0..100_000u64).collect::<Vec<_>>());
    check(&(0..20_000).map(|n| (n.to_string(), Some(n))).collect::<Vec<_>>());
    // Records that take no bytes, more room in memory than bytes, more bytes than a block.
    check(&[(); 3000]);
    check(&vec![None::<[u64; 32]>; 3000]);
    check(&(0..5u8).map(|n| vec![n; 100_000]).collect::<Vec<_>>());
}

#[test]
fn blocks_are_small() {
    let context = context(1);
    let pairs: Vec<(u32, String)> = (0..30_000).map(|n| (n, n.to_string())).collect();
    for place in [StorageLevel::MemoryOnlySer, StorageLevel::DiskOnly] {
        let mut kept = persisted(&context, pairs.clone(), place);
        run(&kept).unwrap();
        let blocks = kept.slots.blocks(0);
        assert!((5..50).contains(&blocks.len()), "{} blocks", blocks.len());
        assert_eq!(blocks.records(), 30_000);
    }
}

/// A node that a test can look into, over one partition.
fn persisted<T: Exchange>(context: &StreamingContext, records: Vec<T>, level: StorageLevel) -> Persist<T> {
    let parent = Arc::clone(context.parallelize(records, 1).lineage());
    Persist { header: Header::new("persist"), parent, slots: Slots::new(1, Keeping::at(level)) }
}

fn run<T: Data>(node: &Persist<T>) -> Result<Vec<T>> {
    let task = TaskContext::new(0);
    task.run(|| crate::dataset::gather(node, 0, &task).map(|records| records.to_vec()))
}

/// A memory cell or a disk that fails is noticed, whichever byte it is, and the next attempt makes the records again.
#[test]
fn a_flipped_byte_in_a_kept_block_is_an_error_and_then_computed_again() {
    let context = context(1);
    let words: Vec<String> = (0..20).map(|n| format!("word {n}")).collect();
    for level in [StorageLevel::MemoryOnlySer, StorageLevel::DiskOnly] {
        let mut node = persisted(&context, words.clone(), level);
        assert_eq!(run(&node).unwrap(), words);
        let length = node.slots.blocks(0).bytes(0);
        for at in 0..length {
            node.slots.blocks(0).flip(0, at);
            let error = run(&node).unwrap_err().to_string();
            let place = format!("operator persist ({}:", file!());
            assert!(error.starts_with(&place), "{error}");
            assert!(error.contains("partition 0: block 0 of the 1 that were kept cannot be read: "), "{error}");
            assert!(!node.slots.is_full());
            assert_eq!(run(&node).unwrap(), words, "byte {at}");
        }
        if level == StorageLevel::DiskOnly {
            node.slots.blocks(0).lose(0);
            let error = run(&node).unwrap_err().to_string();
            assert!(
                error.ends_with("block 0 of the 1 that were kept cannot be read: failed to fill whole buffer"),
                "{error}"
            );
            assert_eq!(run(&node).unwrap(), words);
        }
    }
}

/// What a stream has kept has nothing left to be made from: every attempt says what is wrong, and none invents records.
#[test]
fn a_flipped_byte_of_a_stream_is_an_error_for_good() {
    let context = context(1);
    let parent = context.parallelize([1, 2, 3], 1);
    let mut node = keep::Keep::over(&parent, Some(Keeping::at(StorageLevel::DiskOnly)));
    let read = |node: &keep::Keep<i32>| {
        let task = TaskContext::new(0);
        task.run(|| crate::dataset::gather(node, 0, &task).map(|records| records.to_vec()))
    };
    assert_eq!(read(&node).unwrap(), [1, 2, 3]);
    node.slots().blocks(0).flip(0, 9);
    for _ in 0..3 {
        let error = read(&node).unwrap_err().to_string();
        assert!(error.ends_with("the checksum of its frame does not match"), "{error}");
    }
}

/// A task that panics half-way leaves nothing behind: the next one computes the partition from its start.
#[test]
fn a_panic_while_persisting_leaves_nothing_half_kept() {
    for level in LEVELS {
        let context = context(2);
        let calls = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&calls);
        let dataset = context.parallelize(0..4000, 2).map(move |n| {
            assert!(n != 3000 || count.fetch_add(1, Ordering::Relaxed) > 0, "the first time is too much");
            n
        });
        let kept = dataset.persist_with(level);
        let error = kept.collect().unwrap_err().to_string();
        assert!(error.contains("operator map ("), "{error}");
        assert!(error.ends_with("partition 1: panicked: the first time is too much"), "{error}");
        for _ in 0..2 {
            assert_eq!(kept.collect().unwrap(), (0..4000).collect::<Vec<_>>(), "{level:?}");
        }
        assert_eq!(calls.load(Ordering::Relaxed), 2, "{level:?}");
    }
}

/// Tasks that want the same partition at the same time wait for the one that computes it.
#[test]
fn two_tasks_that_want_the_same_partition_compute_it_once() {
    for level in LEVELS {
        let context = StreamingContext::builder("persist").workers(4).build().unwrap();
        let records: Vec<u64> = (0..5000).collect();
        let (dataset, calls) = counted(&context, &records, 1);
        let kept = dataset.persist_with(level);
        let all = (0..7).fold(kept.clone(), |all, _| all.union(&kept));
        assert_eq!(all.count().unwrap(), 8 * 5000);
        assert_eq!(calls.load(Ordering::Relaxed), 5000, "{level:?}");
    }
}

#[test]
fn unpersisted_records_are_gone_and_computed_again() {
    for level in LEVELS {
        let context = context(2);
        let (dataset, calls) = counted(&context, &[1, 2, 3], 2);
        let kept = dataset.persist_with(level);
        let doubled = kept.map(|n| 2 * n);
        assert_eq!(doubled.collect().unwrap(), [2, 4, 6]);
        kept.unpersist();
        assert_eq!((kept.storage_level(), calls.load(Ordering::Relaxed)), (None, 3));
        for round in 2..4 {
            assert_eq!(doubled.collect().unwrap(), [2, 4, 6]);
            assert_eq!(calls.load(Ordering::Relaxed), 3 * round, "{level:?}");
        }
        let again = kept.persist();
        assert_eq!((again.sum_of(), again.sum_of(), calls.load(Ordering::Relaxed)), (6, 6, 12), "{level:?}");
        dataset.unpersist();
    }
}

impl Dataset<i32> {
    fn sum_of(&self) -> i32 {
        self.reduce(|a, b| a + b).unwrap().unwrap()
    }
}

/// The records themselves are freed, not only hidden.
#[test]
fn unpersist_frees_records() {
    let context = context(1);
    let held = Arc::new(());
    let record = Arc::clone(&held);
    let kept = context.parallelize([()], 1).map(move |()| Arc::clone(&record)).persist();
    kept.count().unwrap();
    assert_eq!(Arc::strong_count(&held), 3, "here, in the closure, and kept");
    kept.unpersist();
    assert_eq!(Arc::strong_count(&held), 2);
}

#[test]
fn another_level_is_a_mistake() {
    let context = context(1);
    let kept = context.parallelize([1], 1).persist();
    assert_eq!(kept.persist().cache().persist_with(StorageLevel::MemoryOnly).collect().unwrap(), [1]);
    let error = kept.persist_with(StorageLevel::DiskOnly).collect().unwrap_err();
    let place = format!("operator persist ({}:{})", file!(), line!() - 1);
    let what = "the dataset cannot be persisted as DiskOnly: it is as MemoryOnly already";
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Graph, format!("{place}: {what}")));
}

/// A record that serde cannot write.
#[derive(Clone, Deserialize)]
struct Unwritable(u8);

impl Serialize for Unwritable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        if self.0 == 3 { Err(serde::ser::Error::custom("no threes")) } else { serializer.serialize_u8(self.0) }
    }
}

#[test]
fn records_that_cannot_be_written_are_an_error_of_their_partition() {
    let context = context(2);
    let kept = context.parallelize([Unwritable(1), Unwritable(3)], 2).persist_with(StorageLevel::MemoryOnlySer);
    let line = line!() - 1;
    let error = kept.count().unwrap_err();
    let name = std::any::type_name::<Unwritable>();
    let place = format!("operator persist ({}:{line}): partition 1", file!());
    assert!(error.to_string().ends_with(&format!("{place}: a {name} cannot be written")), "{error}");
    assert!(format!("{error:?}").contains("no threes"), "{error:?}");
}

/// The keys stay where they are, so that no second shuffle is needed.
#[test]
fn what_is_known_of_the_keys_stays_known() {
    for level in LEVELS {
        let context = context(3);
        let pairs: Vec<(u32, u32)> = (0..100).map(|n| (n % 10, n)).collect();
        let sums = context.parallelize(pairs, 2).reduce_by_key(|a, b| a + b).persist_with(level);
        assert_eq!(sums.lineage().key_partitions(), Some(3));
        let again = sums.reduce_by_key(|a, b| a + b);
        let (mut sums, mut again) = (sums.collect().unwrap(), again.collect().unwrap());
        sums.sort_unstable();
        again.sort_unstable();
        assert_eq!((sums.len(), &again), (10, &sums), "{level:?}");
    }
}
