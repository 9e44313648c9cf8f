use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::panes::{Panes, Reducer};
use crate::data::{Data, Exchange, Key};
use crate::dataset::{AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Partition, Sink, chunk_len, gather};
use crate::dstream::{DStream, Edge, Operator};
use crate::error::Result;
use crate::exec::TaskContext;
use crate::time::{Interval, Time};

impl<K: Data, V: Data> DStream<(K, V)> {
    /// Merges the values of each key over a window with `f`, which has to be associative and commutative. Keys without
    /// a value in the window do not appear; every other comes once, in no particular order.
    ///
    /// A batch is produced every `slide`, for the window `(t - window, t]`; both durations are multiples of this
    /// stream's slide duration, and the first windows are partial. Each batch is reduced once to a pane, and a slide
    /// costs the panes that come and go, not the window. In memory are, for each batch of the window, its keys with
    /// their reduced values, twice.
    ///
    /// # Errors
    ///
    /// Any other duration is reported by `StreamingContext::start`, with the line of this call.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::testing::run;
    ///
    /// let second = Duration::from_secs(1); // the batch interval of `run`
    /// let visits = [vec![("a".to_string(), 1)], vec![("a".to_string(), 1)], vec![], vec![]];
    /// let counts = run(visits, |pairs| pairs.reduce_by_key_and_window(|a, b| a + b, 2 * second, second))?;
    /// let a = |count| vec![("a".to_string(), count)];
    /// assert_eq!(counts, [a(1), a(2), a(1), vec![]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key_and_window(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        let no_inverse: Option<fn(V, V) -> V> = None;
        self.sliding("reduce_by_key_and_window", f, no_inverse, window, slide)
    }

    /// As [`reduce_by_key_and_window`](DStream::reduce_by_key_and_window), for functions that can be undone:
    /// `inverse(f(a, b), b)` is `a`. Panes that leave the window are taken off the total of the key.
    ///
    /// Windows are made from one another, so batches have to run in order: `concurrent_jobs` has to be 1.
    ///
    /// As in Spark, a key that was seen once stays, with what `inverse` leaves of it (`0` for a sum), also when its
    /// records have left the window: memory grows with the keys ever seen.
    ///
    /// # Errors
    ///
    /// As [`reduce_by_key_and_window`](DStream::reduce_by_key_and_window).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::testing::run;
    ///
    /// let second = Duration::from_secs(1); // the batch interval of `run`
    /// let visits = [vec![(7, 1)], vec![(7, 1)], vec![], vec![]];
    /// let counts =
    ///     run(visits, |pairs| pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 2 * second, second))?;
    /// assert_eq!(counts, [vec![(7, 1)], vec![(7, 2)], vec![(7, 1)], vec![(7, 0)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key_and_window_inverse(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: impl Fn(V, V) -> V + Send + Sync + 'static,
        window: Duration,
        slide: Duration,
    ) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.sliding("reduce_by_key_and_window_inverse", f, Some(inverse), window, slide)
    }
}

impl<K: Key, V: Exchange> DStream<(K, V)> {
    #[track_caller]
    fn sliding<I: Fn(V, V) -> V + Send + Sync + 'static>(
        &self,
        name: &'static str,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        inverse: Option<I>,
        window: Duration,
        slide: Duration,
    ) -> DStream<(K, V)> {
        self.check_window(window, slide);
        let f = Arc::new(f);
        let reduce = {
            let f = Arc::clone(&f);
            move |a, b| f(a, b)
        };
        let panes = self.lift(name, move |batch| {
            let f = Arc::clone(&f);
            batch.reduce_by_key(move |a, b| f(a, b))
        });
        let shared = Arc::new(Shared { reducer: Reducer { reduce, inverse }, partitions: Mutex::new(Vec::new()) });
        self.attach(Sliding { name, panes, shared, window, slide })
    }
}

struct Sliding<K, V, F, I> {
    name: &'static str,
    /// The parent's batches, reduced.
    panes: DStream<(K, V)>,
    shared: Arc<Shared<K, V, F, I>>,
    window: Duration,
    slide: Duration,
}

/// What is kept from one window to the next.
struct Shared<K, V, F, I> {
    reducer: Reducer<F, I>,
    partitions: Mutex<Partitions<K, V>>,
}

/// What is kept of each partition.
type Partitions<K, V> = Vec<Arc<KeptPartition<K, V>>>;

/// The panes of one partition, and what planning has to know of them while a task holds them.
struct KeptPartition<K, V> {
    kept: Mutex<Kept<K, V>>,
    /// The microseconds of the window that the panes hold; the least number if there is none.
    at: AtomicI64,
    keys: AtomicUsize,
}

impl<K: Key, V: Exchange> KeptPartition<K, V> {
    fn new() -> Self {
        let kept = Mutex::new(Kept { at: None, panes: Panes::new() });
        KeptPartition { kept, at: AtomicI64::new(i64::MIN), keys: AtomicUsize::new(0) }
    }

    fn note(&self, kept: &Kept<K, V>) {
        self.at.store(kept.at.map_or(i64::MIN, Time::as_micros), Ordering::Release);
        self.keys.store(kept.panes.len(), Ordering::Release);
    }
}

/// The panes of one partition.
struct Kept<K, V> {
    /// The window that the panes hold; `None` when an update was broken off and they hold nothing of use. An update
    /// with an inverse function that was broken off is taken up again.
    at: Option<Time>,
    panes: Panes<K, V>,
}

impl<K: Key, V: Exchange, F, I> Operator<(K, V)> for Sliding<K, V, F, I>
where
    F: Fn(V, V) -> V + Send + Sync + 'static,
    I: Fn(V, V) -> V + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        self.name
    }

    fn slide(&self) -> Duration {
        self.slide
    }

    fn parents(&self) -> Vec<Edge> {
        vec![self.panes.edge_for(self.window)]
    }

    /// With an inverse function a window is made from the one before: keys that have left it live only there.
    fn needs_order(&self) -> bool {
        self.shared.reducer.inverse.is_some()
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<(K, V)>>> {
        let panes = self.panes.batches(Interval::ending_at(at, self.window))?;
        let runtime = self.panes.runtime();
        let partitions = panes.first().map_or(runtime.default_partitions().get(), |(_, pane)| pane.num_partitions());
        let mut kept = lock(&self.shared.partitions);
        kept.resize_with(partitions, || Arc::new(KeptPartition::new()));
        let window = Window {
            header: Header::new(self.name),
            at,
            horizon: at - self.window,
            panes,
            shared: Arc::clone(&self.shared),
            kept: kept.clone(),
        };
        Ok(Some(Dataset::new(window, runtime)))
    }
}

/// The window at one time: brings the kept panes up to it and adds them up.
struct Window<K, V, F, I> {
    header: Header,
    at: Time,
    /// The window begins after this.
    horizon: Time,
    /// All panes of the window, for the case that the kept ones are of no use.
    panes: Vec<(Time, Dataset<(K, V)>)>,
    shared: Arc<Shared<K, V, F, I>>,
    kept: Partitions<K, V>,
}

impl<K: Key, V: Exchange, F, I> Window<K, V, F, I>
where
    F: Fn(V, V) -> V + Send + Sync + 'static,
    I: Fn(V, V) -> V + Send + Sync + 'static,
{
    /// The panes that are not in what is kept as of `kept_at`.
    fn new_panes(&self, kept_at: Option<Time>) -> impl Iterator<Item = &(Time, Dataset<(K, V)>)> {
        self.panes.iter().filter(move |(time, _)| kept_at.is_none_or(|at| *time > at))
    }

    /// Brings panes that hold an earlier window up to this one.
    fn advance<'t>(&'t self, kept: &mut Kept<K, V>, partition: usize, task: &TaskContext<'t>) -> Result<()> {
        let reducer = &self.shared.reducer;
        // Whatever can fail outside of the closures is done before anything is changed.
        let entering: Vec<(Time, Partition<(K, V)>)> = self
            .new_panes(kept.at)
            .map(|(time, pane)| Ok((*time, gather(&**pane.lineage(), partition, task)?)))
            .collect::<Result<_>>()?;
        task.enter(self.header.origin());
        if reducer.inverse.is_none() && kept.at.take().is_none() {
            kept.panes = Panes::new();
        }
        // With an inverse function subtract first, then add, as Spark does. Without one, a key that stays is not
        // forgotten in between.
        if reducer.inverse.is_some() {
            kept.panes.pop_until(self.horizon, reducer, false);
        }
        for (time, records) in entering {
            kept.panes.push(time, &records, reducer);
        }
        kept.panes.pop_until(self.horizon, reducer, reducer.inverse.is_none());
        kept.at = Some(self.at);
        Ok(())
    }

    /// The value of every key over the window.
    fn totals(&self, panes: &Panes<K, V>) -> Vec<(K, V)> {
        panes.totals(&self.shared.reducer.reduce).map(|(key, value, _)| (key.clone(), value)).collect()
    }

    /// Brings what is kept up to this window and adds it up. What is kept is held no longer than that: what is done
    /// with the totals may take its time.
    fn current_totals<'t>(&'t self, partition: usize, task: &TaskContext<'t>) -> Result<Vec<(K, V)>> {
        let shared = &self.kept[partition];
        let mut kept = lock(&shared.kept);
        if kept.at.is_some_and(|at| at > self.at) {
            // A later window was computed already, and somebody asks for this one again.
            let mut own = Kept { at: None, panes: Panes::new() };
            drop(kept);
            self.advance(&mut own, partition, task)?;
            return Ok(self.totals(&own.panes));
        }
        if kept.at != Some(self.at) {
            let advanced = self.advance(&mut kept, partition, task);
            shared.note(&kept);
            advanced?;
        }
        Ok(self.totals(&kept.panes))
    }
}

impl<K: Key, V: Exchange, F, I> Lineage<(K, V)> for Window<K, V, F, I>
where
    F: Fn(V, V) -> V + Send + Sync + 'static,
    I: Fn(V, V) -> V + Send + Sync + 'static,
{
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<(K, V)>) -> Result<Flow> {
        task.enter(self.header.origin());
        let mut totals = self.current_totals(partition, task)?.into_iter();
        let mut out = Vec::with_capacity(chunk_len::<(K, V)>());
        loop {
            out.clear();
            out.extend(totals.by_ref().take(chunk_len::<(K, V)>()));
            if out.is_empty() {
                return Ok(Flow::Continue(()));
            }
            if sink.push(Chunk::Owned(&mut out))?.is_break() {
                return Ok(Flow::Break(()));
            }
        }
    }
}

impl<K: Key, V: Exchange, F, I> AnyLineage for Window<K, V, F, I>
where
    F: Fn(V, V) -> V + Send + Sync + 'static,
    I: Fn(V, V) -> V + Send + Sync + 'static,
{
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.kept.len()
    }

    fn records(&self) -> Option<u64> {
        let kept: usize = self.kept.iter().map(|kept| kept.keys.load(Ordering::Acquire)).sum();
        let entering: Option<u64> = self.new_panes(self.oldest()).map(|(_, pane)| pane.lineage().records()).sum();
        Some(kept as u64 + entering?)
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        self.new_panes(self.oldest()).for_each(|(_, pane)| visit(pane.lineage().any()));
    }

    fn key_partitions(&self) -> Option<usize> {
        Some(self.kept.len())
    }
}

impl<K, V, F, I> Window<K, V, F, I> {
    /// Up to which time every partition has its panes; `None` if one of them has nothing, or a later window.
    fn oldest(&self) -> Option<Time> {
        let kept_at = |kept: &Arc<KeptPartition<K, V>>| match kept.at.load(Ordering::Acquire) {
            i64::MIN => None,
            micros => Some(Time::from_micros(micros)).filter(|at| *at <= self.at),
        };
        self.kept.iter().map(kept_at).min().flatten()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
