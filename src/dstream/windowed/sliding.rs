use std::iter::successors;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use super::kept::{Kept, State};
use super::panes::{Panes, Reducer};
use super::window::Span;
use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::{AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Partition, Sink, chunk_len, gather};
use crate::dstream::{BatchFormat, DStream, Edge, Operator, Predicate};
use crate::error::Result;
use crate::exec::TaskContext;
use crate::state::Durable;
use crate::time::{Interval, Time};

impl<T: Data> DStream<T> {
    /// What is behind every reduced window: the pairs that `pairs` makes of this stream, reduced to panes, and windows
    /// that are added up from panes. `part` says which part of the operator that reads them they are, if they are one.
    #[track_caller]
    pub(super) fn sliding<K: Key, V: Exchange, F, I>(
        &self,
        name: &'static str,
        part: Option<&'static str>,
        pairs: impl Fn(Dataset<T>) -> Dataset<(K, V)> + Send + Sync + 'static,
        reducer: Reducer<F, I>,
        span: Span,
        partitions: Partitions,
    ) -> DStream<(K, V)>
    where
        F: Fn(V, V) -> V + Send + Sync + 'static,
        I: Fn(V, V) -> V + Send + Sync + 'static,
    {
        self.check_partitions(partitions);
        let reducer = Arc::new(reducer);
        let reduce = Arc::clone(&reducer);
        let panes = self.panes(name, span, partitions, move |records| {
            let reducer = Arc::clone(&reduce);
            pairs(records).reduce_by_key_into(Header::new(name), move |a, b| (reducer.reduce)(a, b), partitions)
        });
        self.attach(Sliding {
            name: name.to_string(),
            method: name,
            part,
            panes,
            reducer,
            filter: None,
            span,
            partitions,
            format: BatchFormat::pairs(partitions),
            kept: OnceLock::new(),
            newest: Mutex::default(),
        })
    }
}

struct Sliding<K, V, F, I> {
    name: String,
    method: &'static str,
    part: Option<&'static str>,
    panes: DStream<(K, V)>,
    reducer: Arc<Reducer<F, I>>,
    filter: Option<Predicate<(K, V)>>,
    span: Span,
    partitions: Partitions,
    format: BatchFormat<(K, V)>,
    kept: OnceLock<Arc<Kept<K, V>>>,
    /// The window that was planned last.
    newest: Mutex<Weak<Window<K, V, F, I>>>,
}

impl<K: Key, V: Exchange, F, I> Sliding<K, V, F, I> {
    fn kept(&self) -> &Arc<Kept<K, V>> {
        self.kept.get_or_init(|| Arc::new(Kept::new(self.method, self.span, self.partitions.get())))
    }
}

impl<K: Key, V: Exchange, F, I> Operator<(K, V)> for Sliding<K, V, F, I>
where
    F: Fn(V, V) -> V + Send + Sync + 'static,
    I: Fn(V, V) -> V + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn part(&self) -> Option<&'static str> {
        self.part
    }

    fn slide(&self) -> Duration {
        self.span.slide
    }

    fn parents(&self) -> Vec<Edge> {
        vec![self.panes.edge_for(self.span.window)]
    }

    /// With an inverse function a window is made from the one before: keys that have left it live only there.
    fn needs_order(&self) -> bool {
        self.reducer.inverse.is_some()
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<(K, V)>>> {
        let kept = self.kept();
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_newest = newest.upgrade().is_none_or(|newest| newest.at < at);
        let horizon = at - self.span.window;
        // Totals from a checkpoint have yet to get the panes that they were made from, of which some may leave now.
        let mut panes = match kept.bare_at().filter(|bare| *bare < at) {
            Some(bare) => {
                let until = bare.min(horizon);
                self.panes.batches(Interval::new(until.min(bare - self.span.window), until))?
            }
            None => Vec::new(),
        };
        panes.append(&mut self.panes.batches(Interval::new(horizon, at))?);
        let window = Arc::new(Window {
            header: Header::new(self.method),
            at,
            horizon,
            panes,
            reducer: Arc::clone(&self.reducer),
            filter: self.filter.clone(),
            kept: Arc::clone(kept),
            before: if is_newest && self.needs_order() { Weak::clone(&newest) } else { Weak::new() },
            served: (0..kept.partitions.len()).map(|_| OnceLock::new()).collect(),
        });
        if is_newest {
            *newest = Arc::downgrade(&window);
        }
        Ok(Some(Dataset::shared(window, self.panes.runtime())))
    }

    /// Without an inverse function what is kept follows from the panes.
    fn durable(&self) -> Option<Arc<dyn Durable>> {
        // A number of partitions that is a mistake may be one that no memory holds.
        let is_kept = self.reducer.inverse.is_some() && self.partitions.mistake().is_none();
        is_kept.then(|| Arc::clone(self.kept()) as Arc<dyn Durable>)
    }

    fn batch_format(&self) -> Option<&BatchFormat<(K, V)>> {
        self.reducer.inverse.is_some().then_some(&self.format)
    }

    /// With an inverse function a filter also says which keys to forget. The other window shares the panes, and keeps
    /// totals of its own.
    fn filtered(&self, name: &str, filter: &Predicate<(K, V)>) -> Option<Box<dyn Operator<(K, V)>>> {
        self.reducer.inverse.as_ref()?;
        let filter: Predicate<(K, V)> = match self.filter.clone() {
            Some(first) => {
                let second = Arc::clone(filter);
                Arc::new(move |pair| first(pair) && second(pair))
            }
            None => Arc::clone(filter),
        };
        Some(Box::new(Sliding {
            name: name.to_string(),
            method: self.method,
            part: None,
            panes: self.panes.clone(),
            reducer: Arc::clone(&self.reducer),
            filter: Some(filter),
            span: self.span,
            partitions: self.partitions,
            format: BatchFormat::pairs(self.partitions),
            kept: OnceLock::new(),
            newest: Mutex::default(),
        }))
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
    reducer: Arc<Reducer<F, I>>,
    filter: Option<Predicate<(K, V)>>,
    kept: Arc<Kept<K, V>>,
    /// With an inverse function, the window planned before this one, as long as somebody can ask for it.
    before: Weak<Window<K, V, F, I>>,
    /// For each partition, that it was computed; with the totals if a later window was asked for first.
    served: Vec<OnceLock<Option<Totals<K, V>>>>,
}

/// The value of every key over a window, but for those that the filter hides.
type Totals<K, V> = Vec<(K, V)>;

impl<K: Key, V: Exchange, F, I> Window<K, V, F, I>
where
    F: Fn(V, V) -> V + Send + Sync + 'static,
    I: Fn(V, V) -> V + Send + Sync + 'static,
{
    /// The panes that are not in what is kept as of `kept_at`.
    fn new_panes(&self, kept_at: Option<Time>) -> impl Iterator<Item = &(Time, Dataset<(K, V)>)> {
        let known = kept_at.map_or(0, |at| self.panes.partition_point(|(time, _)| *time <= at));
        self.panes[known..].iter()
    }

    /// Gives totals that came from a checkpoint the panes that they were made from.
    fn link<'t>(&'t self, kept: &mut State<K, V>, partition: usize, task: &TaskContext<'t>) -> Result<()> {
        let begin = kept.at.map(|at| at - (self.at - self.horizon));
        let linked = self.panes.iter().filter(|(time, _)| begin < Some(*time) && Some(*time) <= kept.at);
        let panes: Vec<(Time, Partition<(K, V)>)> = linked
            .map(|(time, pane)| Ok((*time, gather(&**pane.lineage(), partition, task)?)))
            .collect::<Result<_>>()?;
        panes.iter().try_for_each(|(time, records)| kept.panes.link(*time, records))?;
        kept.is_bare = false;
        Ok(())
    }

    /// Brings panes that hold an earlier window up to this one.
    fn advance<'t>(&'t self, kept: &mut State<K, V>, partition: usize, task: &TaskContext<'t>) -> Result<()> {
        let reducer = &*self.reducer;
        if kept.is_bare {
            self.link(kept, partition, task)?;
        }
        // Whatever can fail outside of the closures is done before anything is changed.
        let entering: Vec<(Time, Partition<(K, V)>)> = self
            .new_panes(kept.at)
            .map(|(time, pane)| Ok((*time, gather(&**pane.lineage(), partition, task)?)))
            .collect::<Result<_>>()?;
        task.enter(self.header.origin());
        if reducer.inverse.is_none() && kept.at.take().is_none() {
            kept.panes = Panes::new();
        }
        // With an inverse function subtract first, then add, as Spark does. Without one, add first: panes are turned
        // over together with the newest.
        if reducer.inverse.is_some() {
            kept.panes.pop_until(self.horizon, reducer);
        }
        for (time, records) in entering {
            kept.panes.push(time, &records, reducer);
        }
        kept.panes.pop_until(self.horizon, reducer);
        kept.panes.settle(|key, total| match &self.filter {
            Some(filter) => filter(&(key.clone(), total.clone())),
            None => true,
        });
        kept.at = Some(self.at);
        Ok(())
    }

    fn totals(&self, panes: &Panes<K, V>) -> Totals<K, V> {
        let pairs = panes.totals(&self.reducer.reduce).map(|(key, total)| (key.clone(), total));
        match &self.filter {
            Some(filter) => pairs.filter(|pair| filter(pair)).collect(),
            None => pairs.collect(),
        }
    }

    /// Brings what is kept up to this window and adds it up.
    fn serve<'t>(&'t self, kept: &mut State<K, V>, partition: usize, task: &TaskContext<'t>) -> Result<Totals<K, V>> {
        if kept.at != Some(self.at) {
            let advanced = self.advance(kept, partition, task);
            self.kept.partitions[partition].note(kept);
            advanced?;
        }
        Ok(self.totals(&kept.panes))
    }

    /// The totals of a partition. What is kept is held no longer than it takes to add it up: what is done with the
    /// totals may take its time.
    fn current_totals<'t>(&'t self, partition: usize, task: &TaskContext<'t>) -> Result<Totals<K, V>> {
        let mut kept = self.kept.partitions[partition].lock();
        if kept.at.is_some_and(|at| at > self.at) {
            // A later window was computed already, and somebody asks for this one, again or for the first time.
            drop(kept);
            if let Some(Some(totals)) = self.served[partition].get() {
                return Ok(totals.clone());
            }
            let mut own = State::new();
            self.advance(&mut own, partition, task)?;
            return Ok(self.totals(&own.panes));
        }
        for window in self.unserved(partition, kept.at) {
            let part = task.part();
            let totals = part.run(|| window.serve(&mut kept, partition, &part))?;
            let _ = window.served[partition].set(Some(totals));
        }
        let totals = self.serve(&mut kept, partition, task)?;
        let _ = self.served[partition].set(None);
        Ok(totals)
    }

    /// The windows before this one that no task has computed, though somebody may still ask for them, oldest first:
    /// several windows are computed in one batch if a window is made from them.
    fn unserved(&self, partition: usize, kept_at: Option<Time>) -> Vec<Arc<Self>> {
        let is_due = |window: &Self| kept_at.is_none_or(|at| window.at >= at);
        let open = |window: &Arc<Self>| is_due(window) && window.served[partition].get().is_none();
        let mut windows: Vec<Arc<Self>> =
            successors(self.before.upgrade().filter(open), |window| window.before.upgrade().filter(open)).collect();
        windows.reverse();
        windows
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
        self.kept.partitions.len()
    }

    fn records(&self) -> Option<u64> {
        let kept: usize = self.kept.partitions.iter().map(|kept| kept.keys()).sum();
        let entering: Option<u64> = self.new_panes(self.oldest()).map(|(_, pane)| pane.lineage().records()).sum();
        Some(kept as u64 + entering?)
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        let oldest = self.oldest();
        let mut visit_panes =
            |window: &Self| window.new_panes(oldest).for_each(|(_, pane)| visit(pane.lineage().any()));
        let is_due = |window: &Arc<Self>| oldest.is_none_or(|at| window.at > at);
        let before = self.before.upgrade().filter(is_due);
        successors(before, |window| window.before.upgrade().filter(is_due)).for_each(|window| visit_panes(&window));
        visit_panes(self);
    }

    fn key_partitions(&self) -> Option<usize> {
        Some(self.kept.partitions.len())
    }
}

impl<K, V, F, I> Window<K, V, F, I> {
    /// Up to which time every partition has its panes; `None` if one of them has nothing, or a later window.
    fn oldest(&self) -> Option<Time> {
        self.kept.partitions.iter().map(|kept| kept.at().filter(|at| *at <= self.at)).min().flatten()
    }
}
