//! A running sum by key, of which every record emits one.
//!
//! By hand: records are dealt out to shards by the hash of their key, and each shard updates a map in place, partition by
//! partition on two barriers. All keys are there before it is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ahash::{AHashMap, RandomState};
use rayon::prelude::*;
use tempfile::TempDir;
use tidemill::{Checkpoint, DStream, KeyState, ManualClock, QueueSource, StateSpec, SyncPolicy};

use super::data::{parts, scramble, uniform_pairs, zipf_pairs};
use super::windows::Run;
use super::{Case, MakeCase, Side, Size, Work};

pub const CASES: &[MakeCase] = &[
    |size| case("running sum, 1 M keys, uniform", size, 1_000_000, uniform_pairs),
    |size| case("running sum, 1 M keys, Zipf", size, 1_000_000, zipf),
    |size| {
        case("running sum, 10 M keys, uniform over 1 M", size, 10_000_000, |records, _, seed| {
            uniform_pairs(records, 1_000_000, seed)
        })
    },
];

/// How a checkpoint is synced: not at all if there is none.
pub const POLICIES: [(&str, Option<SyncPolicy>); 3] = [
    ("without a checkpoint", None),
    ("synced never", Some(SyncPolicy::Never)),
    ("synced every batch", Some(SyncPolicy::EveryBatch)),
];

const BATCHES: u64 = 40;
const RECORDS: usize = 100_000;

type Pair = (u64, u64);

fn zipf(records: usize, keys: u64, seed: u64) -> Vec<Pair> {
    zipf_pairs(records, keys, seed, scramble)
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn case(name: &'static str, size: Size, keys: usize, pairs: fn(usize, u64, u64) -> Vec<Pair>) -> Case {
    let (keys, records) = (size.records(keys) as u64, size.records(RECORDS));
    let batches = if size == Size::Test { 3 } else { BATCHES };
    let batches: Arc<Vec<Vec<Pair>>> = Arc::new((0..batches).map(|seed| pairs(records, keys, seed)).collect());
    let all = move || (0..keys).map(|key| (scramble(key), 1)).collect();
    Case {
        name,
        records: records * batches.len(),
        target: Some(1.5),
        hand: by_hand(Arc::clone(&batches), all),
        ours: ours(batches, all),
    }
}

fn by_hand(batches: Arc<Vec<Vec<Pair>>>, all: impl Fn() -> Vec<Pair> + 'static) -> Side {
    Box::new(move || {
        let batches: Vec<Vec<Vec<Pair>>> = batches.iter().map(|batch| parts(batch, threads())).collect();
        let mut shards: Vec<AHashMap<u64, u64>> = (0..threads()).map(|_| AHashMap::new()).collect();
        batch(parts(&all(), threads()), &mut shards);
        Box::new(move || batches.into_iter().map(|records| batch(records, &mut shards)).fold(0, u64::wrapping_add))
    })
}

/// Takes a batch in and adds up what every record has made of the sum of its key.
fn batch(records: Vec<Vec<Pair>>, shards: &mut [AHashMap<u64, u64>]) -> u64 {
    let owners = RandomState::with_seeds(1, 2, 3, 4);
    let of = shards.len();
    let dealt: Vec<Vec<Vec<Pair>>> = records
        .into_par_iter()
        .map(|part| {
            let mut lists: Vec<Vec<Pair>> = (0..of).map(|_| Vec::with_capacity(part.len() / of + 1000)).collect();
            part.into_iter().for_each(|pair| lists[(owners.hash_one(pair.0) >> 32) as usize % of].push(pair));
            lists
        })
        .collect();
    let sums = shards.par_iter_mut().enumerate().map(|(shard, states)| {
        let pairs = dealt.iter().flat_map(|lists| &lists[shard]);
        pairs.fold(0u64, |total, (key, value)| {
            let sum = states.entry(*key).or_default();
            *sum += value;
            total.wrapping_add(*sum)
        })
    });
    sums.reduce(|| 0, u64::wrapping_add)
}

fn ours(batches: Arc<Vec<Vec<Pair>>>, all: impl Fn() -> Vec<Pair> + 'static) -> Side {
    Box::new(move || {
        let queue = QueueSource::one_at_a_time().partitions(threads());
        queue.push(all());
        batches.iter().for_each(|batch| queue.push(batch.iter().copied()));
        let sum = Arc::new(AtomicU64::new(0));
        let total = Arc::clone(&sum);
        let run = Run::start(queue, |pairs| add_up(pairs, total));
        run.tick();
        sum.store(0, Ordering::Relaxed);
        let ticks = batches.len();
        let work: Work = Box::new(move || {
            (0..ticks).for_each(|_| run.tick());
            sum.load(Ordering::Relaxed)
        });
        work
    })
}

/// The running sum; every record adds the sum of its key to `total`.
fn add_up(pairs: DStream<Pair>, total: Arc<AtomicU64>) {
    let add = |_: &u64, value: Option<u64>, sum: &mut KeyState<u64>| {
        let total = sum.get().unwrap_or(&0) + value.unwrap_or(0);
        sum.update(total);
        total
    };
    pairs.map_with_state(StateSpec::function(add)).named("sums").foreach_batch(move |sums, _| {
        total.fetch_add(sums.aggregate(0, u64::wrapping_add, u64::wrapping_add)?, Ordering::Relaxed);
        Ok(())
    });
}

/// What a running sum over 1 M keys costs with a checkpoint on the disk, and without.
pub struct Checkpointed {
    hands: ManualClock,
    queue: QueueSource<Pair>,
    directory: TempDir,
    sync: Option<SyncPolicy>,
    total: Arc<AtomicU64>,
    /// How many records a batch has.
    pub records: usize,
    keys: u64,
    batches: u64,
}

impl Checkpointed {
    /// A program that syncs its checkpoint like this; one without a checkpoint, if it does not say.
    pub fn new(size: Size, sync: Option<SyncPolicy>) -> Self {
        Checkpointed {
            hands: ManualClock::new(),
            queue: QueueSource::one_at_a_time().partitions(threads()),
            directory: tempfile::tempdir().unwrap(),
            sync,
            total: Arc::default(),
            records: size.records(RECORDS),
            keys: size.records(1_000_000) as u64,
            batches: 0,
        }
    }

    /// Starts the program, which goes on where it was, and does its next batch.
    pub fn start(&mut self) -> Run {
        self.push();
        let checkpoint = self.sync.map(|sync| Checkpoint::new(self.directory.path()).sync(sync));
        let total = Arc::clone(&self.total);
        let run = Run::start_with(&self.hands, checkpoint, self.queue.clone(), |pairs| add_up(pairs, total));
        run.tick();
        self.check();
        run
    }

    /// Does another batch. Every key comes once with 1 in the first, and a tenth of the keys with 1 in each after it.
    pub fn tick(&mut self, run: &Run) {
        self.push();
        run.tick();
        self.check();
    }

    fn push(&mut self) {
        let (keys, share, number) = (self.keys, self.records as u64, self.batches);
        // Another tenth each time, and all of them after ten.
        let first = if number == 0 { 0..keys } else { (number - 1) * share..number * share };
        self.queue.push(first.map(move |key| (scramble(key % keys), 1)));
        self.batches += 1;
    }

    /// Every record of a round has made the sum of its key one more.
    fn check(&self) {
        let (keys, share, number) = (self.keys, self.records as u64, self.batches - 1);
        let expected =
            if number == 0 { keys } else { (0..share).map(|at| ((number - 1) * share + at) / keys + 2).sum() };
        assert_eq!(self.total.swap(0, Ordering::Relaxed), expected, "the sums of batch {number}");
    }
}
