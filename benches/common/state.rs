//! A running sum by key, of which every record emits one.
//!
//! By hand: records are dealt out to shards by the hash of their key, and each shard updates a map in place, partition by
//! partition on two barriers. All keys are there before it is measured.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use rayon::prelude::*;
use tempfile::TempDir;
use tidemill::{
    Checkpoint, DStream, InputBatch, KeyState, ManualClock, QueueSource, Result, Source, SourceContext, StateSpec,
    SyncPolicy, Time,
};

use super::data::{Random, parts, scramble, uniform_pairs, zipf_pairs};
use super::windows::{INTERVAL, Run};
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

/// The records of a batch.
pub const RECORDS: usize = 100_000;

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
    hands: Option<ManualClock>,
    source: Draws,
    directory: TempDir,
    sync: Option<SyncPolicy>,
    total: Arc<AtomicU64>,
    batches: u64,
}

impl Checkpointed {
    /// A program that syncs its checkpoint like this; one without a checkpoint, if it does not say. A batch has so many
    /// records.
    pub fn new(size: Size, sync: Option<SyncPolicy>, records: usize) -> Self {
        Checkpointed {
            hands: Some(ManualClock::new()),
            source: Draws::new(size.records(1_000_000) as u64, size.records(records)),
            directory: tempfile::tempdir().unwrap(),
            sync,
            total: Arc::default(),
            batches: 0,
        }
    }

    /// On the clock of the machine, with a batch each second.
    pub fn each_second(self) -> Self {
        Checkpointed { hands: None, ..self }
    }

    /// Starts the program, which goes on where it was, and does its next batch.
    pub fn start(&mut self) -> Run {
        let checkpoint = self.sync.map(|sync| Checkpoint::new(self.directory.path()).sync(sync));
        let total = Arc::clone(&self.total);
        let run = Run::start_with(self.hands.as_ref(), checkpoint, self.source.clone(), |pairs| add_up(pairs, total));
        self.tick(&run);
        run
    }

    /// Does another batch.
    pub fn tick(&mut self, run: &Run) {
        self.timed_tick(run);
    }

    /// As [`tick`](Checkpointed::tick); returns how long the batch took by the clock.
    pub fn timed_tick(&mut self, run: &Run) -> Duration {
        self.batches += 1;
        run.timed_tick()
    }

    /// Ends the program, and looks at what has come of all its batches.
    pub fn stop(&self, run: &Run) {
        run.stop();
        let expected = self.source.sums(self.batches);
        assert_eq!(self.total.load(Ordering::Relaxed), expected, "the sums of {} batches", self.batches);
    }
}

/// Keys, each with 1: all of them in the first batch, and then so many drawn ones in each. A batch follows from its time,
/// as with a topic: nothing has to be kept for a restart.
#[derive(Clone)]
struct Draws {
    keys: u64,
    share: usize,
    /// The numbers of the keys of several batches, and the records. They come by turns.
    drawn: Arc<Vec<u32>>,
    records: Arc<Vec<Pair>>,
    /// The time of the first batch of all.
    begin: Arc<OnceLock<Time>>,
    context: Option<SourceContext>,
}

impl Draws {
    fn new(keys: u64, share: usize) -> Self {
        let (mut random, batches) = (Random::new(7), (40 * RECORDS).div_ceil(share));
        let drawn: Vec<u32> = (0..batches * share).map(|_| random.below(keys) as u32).collect();
        let records = drawn.iter().map(|key| (scramble(u64::from(*key)), 1)).collect();
        Draws { keys, share, drawn: Arc::new(drawn), records: Arc::new(records), begin: Arc::default(), context: None }
    }

    /// Where the records of a batch are, but for the first.
    fn of(&self, batch: u64) -> Range<usize> {
        let begin = (batch - 1) as usize * self.share % self.records.len();
        begin..begin + self.share
    }

    /// What the sums come to that so many batches emit.
    fn sums(&self, batches: u64) -> u64 {
        let (mut sums, mut total) = (vec![1u64; self.keys as usize], self.keys);
        for key in (1..batches).flat_map(|batch| &self.drawn[self.of(batch)]) {
            let sum = &mut sums[*key as usize];
            *sum += 1;
            total += *sum;
        }
        total
    }
}

impl Source<Pair> for Draws {
    fn name(&self) -> String {
        "draws".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        self.context = Some(context.clone());
        Ok(())
    }

    fn batch(&mut self, time: Time) -> Result<Option<InputBatch<Pair>>> {
        let context = self.context.as_ref().expect("a source is started first");
        let begin = *self.begin.get_or_init(|| time);
        let batch = ((time - begin).as_micros() / INTERVAL.as_micros()) as u64;
        let all: Vec<Pair>;
        let records = if batch == 0 {
            all = (0..self.keys).map(|key| (scramble(key), 1)).collect();
            &all[..]
        } else {
            &self.records[self.of(batch)]
        };
        Ok(Some(InputBatch {
            dataset: context.dataset(parts(records, threads())),
            records: records.len() as u64,
            description: format!("{} records", records.len()),
            plan: Vec::new(),
        }))
    }

    fn can_restore(&self) -> bool {
        true
    }

    fn restore(&mut self, time: Time, _: &[u8]) -> Result<InputBatch<Pair>> {
        Ok(self.batch(time)?.expect("there is a batch at all times"))
    }
}
