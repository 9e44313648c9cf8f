//! Sliding sums by key over a window of ten slides; and a sliding count.
//!
//! By hand: the records of a slide are reduced once to a pane, partition by partition on two barriers. With an inverse
//! the pane is added to a live table and the oldest one is taken off; without, the ten panes are merged anew.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ahash::{AHashMap, RandomState};
use rayon::prelude::*;
use tidemill::{
    Checkpoint, Clock, DStream, Data, Event, Key, ManualClock, QueueSource, Source, Stop, StreamingContext,
};

use super::data::{Random, parts, scramble, word, zipf_pairs};
use super::{Case, MakeCase, Side, Size, Work, side};

pub const CASES: &[MakeCase] = &[
    |size| case("sliding sum, inverse, u64 keys", size, true, ONE_BATCH, scramble),
    |size| case("sliding sum, no inverse, u64 keys", size, false, ONE_BATCH, scramble),
    |size| case("sliding sum, inverse, String keys", size, true, ONE_BATCH, word),
    |size| case("sliding sum, no inverse, String keys", size, false, ONE_BATCH, word),
    |size| case("sliding sum, inverse, 10 batches a slide", size, true, TEN_BATCHES, scramble),
    |size| case("sliding sum, no inverse, 10 batches a slide", size, false, TEN_BATCHES, scramble),
    sliding_count,
];

/// The batches of a slide, and the records of a batch.
const ONE_BATCH: (usize, usize) = (1, 100_000);
const TEN_BATCHES: (usize, usize) = (10, 20_000);

const PANES: usize = 10;
/// How many slides a run has.
const SLIDES: usize = 40;
const KEYS: u64 = 50_000;
pub const INTERVAL: Duration = Duration::from_secs(1);

type Batch<K> = Vec<(K, u64)>;

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn case<K: Key>(
    name: &'static str,
    size: Size,
    inverse: bool,
    (per_slide, records): (usize, usize),
    key: fn(u64) -> K,
) -> Case {
    let slides = if size == Size::Test { PANES + 2 } else { SLIDES };
    let records = size.records(records);
    let batches = (0..(slides * per_slide) as u64).map(|number| zipf_pairs(records, KEYS, 100 + number, key));
    let batches: Arc<Vec<Batch<K>>> = Arc::new(batches.collect());
    Case {
        name,
        records: records * batches.len(),
        target: Some(1.3),
        hand: by_hand(Arc::clone(&batches), inverse, per_slide),
        ours: ours(batches, inverse, per_slide as u32 * INTERVAL),
    }
}

fn checksum<K>(sum: u64, (_, total): (K, u64)) -> u64 {
    // A key whose records have left the window is 0 with an inverse and gone without.
    sum.wrapping_add(total.wrapping_mul(total))
}

fn by_hand<K: Key>(batches: Arc<Vec<Batch<K>>>, inverse: bool, per_slide: usize) -> Side {
    Box::new(move || {
        let slides: Vec<Vec<Batch<K>>> =
            batches.chunks(per_slide).map(|slide| parts(&slide.concat(), threads())).collect();
        Box::new(move || {
            let mut shards: Vec<Shard<K>> = (0..threads()).map(|_| Shard::default()).collect();
            let slides = slides.into_iter().map(|records| slide(records, &mut shards, inverse));
            slides.fold(0, u64::wrapping_add)
        })
    })
}

/// What a thread keeps of the keys that are its own.
struct Shard<K> {
    panes: VecDeque<AHashMap<K, u64>>,
    totals: AHashMap<K, u64>,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Shard { panes: VecDeque::new(), totals: AHashMap::new() }
    }
}

/// Takes the records of a slide in and folds the window, as owned records, like the crate.
fn slide<K: Key>(records: Vec<Batch<K>>, shards: &mut [Shard<K>], inverse: bool) -> u64 {
    let owners = RandomState::with_seeds(1, 2, 3, 4);
    let of = shards.len();
    let expected = shards[0].panes.back().map_or(0, |pane| pane.len());
    let reduced: Vec<Vec<AHashMap<K, u64>>> = records
        .into_par_iter()
        .map(|part| {
            let mut tables: Vec<AHashMap<K, u64>> = (0..of).map(|_| AHashMap::with_capacity(expected)).collect();
            for (key, value) in part {
                let owner = (owners.hash_one(&key) >> 32) as usize % of;
                *tables[owner].entry(key).or_default() += value;
            }
            tables
        })
        .collect();
    let mut by_shard: Vec<Vec<AHashMap<K, u64>>> = (0..of).map(|_| Vec::new()).collect();
    for tables in reduced {
        tables.into_iter().enumerate().for_each(|(shard, table)| by_shard[shard].push(table));
    }
    let shards = shards.par_iter_mut().zip(by_shard);
    shards.map(|(shard, tables)| shard.slide(tables, inverse)).reduce(|| 0, u64::wrapping_add)
}

impl<K: Key> Shard<K> {
    fn slide(&mut self, tables: Vec<AHashMap<K, u64>>, inverse: bool) -> u64 {
        let mut tables = tables.into_iter();
        let mut pane = tables.next().unwrap_or_default();
        tables.flatten().for_each(|(key, value)| *pane.entry(key).or_default() += value);
        if inverse {
            for (key, value) in &pane {
                match self.totals.get_mut(key) {
                    Some(total) => *total += value,
                    None => {
                        self.totals.insert(key.clone(), *value);
                    }
                }
            }
        }
        self.panes.push_back(pane);
        let gone = if self.panes.len() > PANES { self.panes.pop_front() } else { None };
        if inverse {
            for (key, value) in gone.into_iter().flatten() {
                *self.totals.get_mut(&key).expect("a key of a pane has a total") -= value;
            }
        } else {
            self.totals = AHashMap::with_capacity(self.totals.len());
            for (key, value) in self.panes.iter().flatten() {
                match self.totals.get_mut(key) {
                    Some(total) => *total += value,
                    None => {
                        self.totals.insert(key.clone(), *value);
                    }
                }
            }
        }
        self.totals.iter().map(|(key, total)| (key.clone(), *total)).fold(0, checksum)
    }
}

fn ours<K: Key>(batches: Arc<Vec<Batch<K>>>, inverse: bool, slide: Duration) -> Side {
    run_side(batches, checksum, move |pairs| {
        let window = PANES as u32 * slide;
        if inverse {
            pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, window, slide)
        } else {
            pairs.reduce_by_key_and_window(|a, b| a + b, window, slide)
        }
    })
}

/// Runs the batches through a graph and folds what comes out.
fn run_side<T: Data, U: Data>(
    batches: Arc<Vec<Vec<T>>>,
    fold: fn(u64, U) -> u64,
    build: impl Fn(&DStream<T>) -> DStream<U> + 'static,
) -> Side {
    Box::new(move || {
        let queue = QueueSource::one_at_a_time().partitions(threads());
        batches.iter().for_each(|batch| queue.push(batch.iter().cloned()));
        let sum = Arc::new(AtomicU64::new(0));
        let total = Arc::clone(&sum);
        let run = Run::start(queue, |records: DStream<T>| {
            build(&records).foreach_batch(move |window, _| {
                total.fetch_add(window.aggregate(0, fold, u64::wrapping_add)?, Ordering::Relaxed);
                Ok(())
            });
        });
        let ticks = batches.len();
        let work: Work = Box::new(move || {
            (0..ticks).for_each(|_| run.tick());
            sum.load(Ordering::Relaxed)
        });
        work
    })
}

/// Counts the numbers of ten batches that are wanted, again with every batch.
fn sliding_count(size: Size) -> Case {
    fn wanted(number: &u64) -> bool {
        number % 3 != 0
    }
    let mut random = Random::new(5);
    let records = size.records(1_000_000);
    let batches: Arc<Vec<Vec<u64>>> =
        Arc::new((0..SLIDES).map(|_| (0..records).map(|_| random.next()).collect()).collect());
    let by_hand = Arc::new(batches.iter().map(|batch| parts(batch, threads())).collect::<Vec<_>>());
    Case {
        name: "sliding count of a filter",
        records: records * SLIDES,
        target: None,
        hand: side(move || {
            let (mut counts, mut total, mut sum) = (VecDeque::new(), 0u64, 0u64);
            for batch in &*by_hand {
                let count: u64 = batch.par_iter().map(|part| part.iter().filter(|n| wanted(n)).count() as u64).sum();
                total += count;
                counts.push_back(count);
                if counts.len() > PANES {
                    total -= counts.pop_front().unwrap_or_default();
                }
                sum = sum.wrapping_add(total);
            }
            sum
        }),
        ours: run_side(batches, u64::wrapping_add, |numbers| {
            numbers.filter(wanted).count_by_window(PANES as u32 * INTERVAL, INTERVAL)
        }),
    }
}

/// A graph that runs on a clock which is advanced by hand.
pub struct Run {
    context: StreamingContext,
    /// The clock, if it does not go by itself.
    hands: Option<ManualClock>,
    /// How long each batch took, from its time until all of it was done.
    done: Mutex<std::sync::mpsc::Receiver<Duration>>,
}

impl Run {
    pub fn start<T: tidemill::Data>(queue: QueueSource<T>, build: impl FnOnce(DStream<T>)) -> Run {
        Run::start_with(Some(&ManualClock::new()), None, queue, build)
    }

    /// With a checkpoint, on a clock that outlives the run: another one of the same program can go on from there. Without
    /// hands it is that of the machine.
    pub fn start_with<T: tidemill::Data>(
        hands: Option<&ManualClock>,
        checkpoint: Option<Checkpoint>,
        source: impl Source<T>,
        build: impl FnOnce(DStream<T>),
    ) -> Run {
        let builder = StreamingContext::builder("run")
            .batch_interval(INTERVAL)
            .clock(hands.map_or_else(Clock::system, Clock::manual));
        let context = match checkpoint {
            Some(checkpoint) => builder.checkpoint(checkpoint).build().unwrap(),
            None => builder.build().unwrap(),
        };
        build(context.input(source));
        let (tell, done) = std::sync::mpsc::channel();
        context.add_listener(move |event: &Event| {
            let took = match event {
                Event::BatchCompleted(info) => info.total_delay().unwrap_or_default(),
                Event::Failed { .. } => Duration::MAX,
                _ => return,
            };
            // Nobody listens once the run is dropped.
            let _ = tell.send(took);
        });
        context.start().unwrap();
        Run { context, hands: hands.cloned(), done: Mutex::new(done) }
    }

    /// Lets the next batch be due and waits until it is done.
    pub fn tick(&self) {
        self.timed_tick();
    }

    /// As [`tick`](Run::tick); returns how long the batch took by the clock.
    pub fn timed_tick(&self) -> Duration {
        self.hands.iter().for_each(|hands| hands.advance(INTERVAL));
        let took = self.done.lock().unwrap().recv().unwrap();
        assert_eq!(self.context.state(), tidemill::State::Active);
        took
    }

    /// Ends the run without another batch.
    pub fn stop(&self) {
        self.context.stop(Stop::Now).unwrap();
    }
}
