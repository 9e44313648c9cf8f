//! How far back batches are needed: while the graph runs, and of a checkpoint when it goes on after it has stopped.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{DStreamGraph, address};
use crate::dstream::node::{AnyNode, Edge};
use crate::error::Result;
use crate::id::OperatorId;
use crate::time::Time;

/// What is found out about a node from those that read it.
#[derive(Clone, Default)]
pub(super) struct Needs {
    pub(super) readers: usize,
    pub(super) in_window: bool,
    pub(super) remember: Duration,
    /// How long after its time a batch can be asked for the first time: a window asks for those since it was last asked.
    pub(super) late: Duration,
    /// How far apart the times are that batches are asked for: not each of them, if those who read it slide further.
    gap: Duration,
    /// How far back batches can be asked for after a restart: of those up to the last batch that was done, the ones less
    /// old than this.
    after_restart: Duration,
    /// The place of a node that asks so far back.
    asked_by: Option<usize>,
    /// Whether remembered batches are saved with the checkpoint.
    pub(super) saves: bool,
    /// Whether a batch is planned at each time, whoever asks for it: it depends on what is kept from batch to batch and
    /// is gone with the next.
    pub(super) always: bool,
    /// Whether batches that were done can be planned again after a restart.
    again: bool,
}

impl Needs {
    /// Whether datasets keep their records: somebody reads them more than once, or after what they come from has changed.
    pub(super) fn keeps_records(&self, node: &dyn AnyNode) -> bool {
        let is_read_late = || !self.late.is_zero() && node.durable().is_some();
        self.readers > 1 || self.in_window || self.saves || is_read_late()
    }

    /// Whether remembered batches are there again after a restart.
    #[cfg(test)]
    pub(super) fn is_there_after_restart(&self) -> bool {
        self.again || self.saves
    }
}

/// Goes from the outputs to the inputs and adds up for how long each batch is needed, and at least `remember`.
///
/// A stream that a window reads is remembered for the window, and for as long as the window itself: Spark's rule. Any
/// other stream, and one from which panes are made, is asked for a batch once by each of its readers, and is remembered
/// until the last of them can have asked. Spark remembers it as long as its readers are, and with it all that they were made from.
pub(super) fn needs(graph: &DStreamGraph, remember: Duration) -> Vec<Needs> {
    let DStreamGraph { outputs, nodes, places, .. } = graph;
    let mut needs: Vec<Needs> = nodes.iter().map(|_| Needs::default()).collect();
    for output in outputs {
        needs[places[&address(&output.edge().node)]].readers += 1;
    }
    let changing = changing(graph);
    // Children come after their parents in the list: from the back, each is complete before its parents are told.
    for place in (0..nodes.len()).rev() {
        let (node, slide) = (&nodes[place], nodes[place].slide());
        needs[place].remember = needs[place].remember.max(slide).max(remember);
        needs[place].saves = graph.checkpoints.is_some() && is_worth_saving(&**node, &needs[place]);
        needs[place].always = node.durable().is_some() || needs[place].saves && changing[place];
        needs[place].gap = if needs[place].always { slide } else { needs[place].gap.max(slide) };
        let Needs { remember: own, late, gap, saves, always, .. } = needs[place];
        // What is saved, and what an operator keeps, is not made again: its parents are asked for what was not planned.
        let again = match (always, saves) {
            (true, _) => Duration::ZERO,
            (false, true) => needs[place].after_restart.min(late),
            (false, false) => needs[place].after_restart,
        };
        // A window that goes on from the one before takes the panes off that were in it.
        let before = if node.durable().is_some() { slide } else { Duration::ZERO };
        for Edge { node, window, once } in nodes[place].parents() {
            let parent = &mut needs[places[&address(&node)]];
            parent.readers += 1;
            parent.in_window |= !once;
            parent.remember = parent.remember.max(if once { late + slide } else { own + window });
            parent.late = parent.late.max(late + gap.min(window).saturating_sub(node.slide()));
            parent.gap = parent.gap.max(if window.is_zero() { gap } else { gap.saturating_sub(window) + node.slide() });
            let before = if window.is_zero() { Duration::ZERO } else { window + before };
            let asked = again + before.saturating_sub(node.slide());
            if asked > parent.after_restart {
                (parent.after_restart, parent.asked_by) = (asked, Some(place));
            }
        }
    }
    // Parents come first: a batch can be made again of those that can, and of those that are saved.
    for place in 0..nodes.len() {
        let parents = nodes[place].parents();
        let is_there = |edge: &Edge| {
            let parent = &needs[places[&address(&edge.node)]];
            parent.again || parent.saves
        };
        needs[place].again = nodes[place].durable().is_none() && parents.iter().all(is_there);
    }
    needs
}

/// Which nodes keep something from batch to batch, or are made of it: they cannot be computed as of an earlier time.
fn changing(graph: &DStreamGraph) -> Vec<bool> {
    let mut changing: Vec<bool> = Vec::with_capacity(graph.nodes.len());
    for node in &graph.nodes {
        let is_made_of_it = node.parents().iter().any(|edge| changing[graph.places[&address(&edge.node)]]);
        changing.push(is_made_of_it || node.durable().is_some());
    }
    changing
}

/// What nobody asks for after a restart need not be saved, unless the program asks for it and remembers it.
fn is_worth_saving(node: &dyn AnyNode, needs: &Needs) -> bool {
    let is_remembered = || node.chosen_checkpoint().is_some() && needs.remember > node.slide();
    node.can_save() && (!needs.after_restart.is_zero() || is_remembered())
}

/// For how long batches of each node are needed after a restart: what it remembers, and what others that plan theirs
/// again make them from.
pub(super) fn back(graph: &DStreamGraph, needs: &[Needs]) -> Vec<Duration> {
    let DStreamGraph { nodes, places, .. } = graph;
    let mut back: Vec<Duration> = needs.iter().map(|needs| needs.remember).collect();
    for place in (0..nodes.len()).rev() {
        if !needs[place].again || needs[place].saves {
            continue;
        }
        let own = back[place];
        for Edge { node, window, .. } in nodes[place].parents() {
            let parent = &mut back[places[&address(&node)]];
            *parent = (*parent).max(own + window);
        }
    }
    back
}

impl DStreamGraph {
    /// The mistakes of a program in what it wants of checkpoints.
    pub(super) fn checkpoint_mistakes(&self) -> Vec<String> {
        if self.checkpoints.is_none() {
            let chosen = self.nodes.iter().filter_map(|node| Some((node.name(), node.chosen_checkpoint()?.1)));
            let mistake = |(name, site): (&str, &std::panic::Location<'_>)| {
                let place = format!("{}:{}", site.file(), site.line());
                format!("{place}: the stream {name} has a checkpoint interval, and the context no checkpoint directory")
            };
            return chosen.map(mistake).collect();
        }
        let needs = needs(self, Duration::ZERO);
        let is_lost = |place: &usize| {
            let needs = &needs[*place];
            self.nodes[*place].durable().is_some() && !needs.saves && !needs.after_restart.is_zero()
        };
        let place_of = |node: &dyn AnyNode| format!("{}:{}", node.site().file(), node.site().line());
        let mistake = |place: usize| {
            let node = &*self.nodes[place];
            let reader = &*self.nodes[self.looks_back(place, &needs)];
            format!(
                "{}: {} ({}) looks back at batches of {} that a restart can neither make again nor find: have them saved \
                 with `.checkpoint(interval)` on the stream that it reads",
                place_of(node),
                reader.name(),
                place_of(reader),
                node.name(),
            )
        };
        (0..self.nodes.len()).filter(is_lost).map(mistake).collect()
    }

    /// The operator for which batches of the stream at `place` are needed after a restart.
    fn looks_back(&self, place: usize, needs: &[Needs]) -> usize {
        let Some(reader) = needs[place].asked_by else { return place };
        let node = address(&self.nodes[place]);
        let is_window = |edge: &Edge| address(&edge.node) == node && !edge.window.is_zero();
        if self.nodes[reader].parents().iter().any(is_window) { reader } else { self.looks_back(reader, needs) }
    }

    /// The first batch whose plan is needed, if the batch at `done` and all before it are done: for what inputs
    /// remember, and for all that is made again of it after a restart.
    pub(crate) fn plans_from(&self, done: Time) -> Time {
        (done - self.history + Duration::from_micros(1)).max(self.zero_time)
    }

    /// After which time batches up to the one at `done` are still needed, of inputs and of streams whose batches are saved:
    /// as far back as the next windows reach.
    pub(crate) fn needed_after(&self, done: Time) -> BTreeMap<OperatorId, Time> {
        let needs = needs(self, Duration::ZERO);
        let mut after = vec![done; self.nodes.len()];
        let mut found = BTreeMap::new();
        for place in (0..self.nodes.len()).rev() {
            let (node, Needs { saves, always, late, .. }) = (&self.nodes[place], &needs[place]);
            if *saves || node.parents().is_empty() {
                found.insert(self.ids[place], after[place]);
            }
            // What is planned already is not made anew.
            let planned = match (always, saves) {
                (true, _) => done,
                (false, true) => after[place].max(done - *late),
                (false, false) => after[place],
            };
            let next = planned.floor_from(node.slide(), self.zero_time) + node.slide();
            // Totals need the panes of the window before.
            let before = if node.durable().is_some() { node.slide() } else { Duration::ZERO };
            for Edge { node, window, .. } in node.parents() {
                let parent = &mut after[self.places[&address(&node)]];
                *parent = (*parent).min(if window.is_zero() { planned } else { next - (window + before) });
            }
        }
        found
    }

    /// For how long some stream remembers its batches: until then, what has come in may still come out.
    pub(crate) fn longest_memory(&self) -> Duration {
        needs(self, self.remember).iter().map(|needs| needs.remember).max().unwrap_or_default()
    }

    /// Goes on after the batch at `done`: every stream remembers what it would if it had not stopped. Inputs have their
    /// batches already; nothing runs.
    pub(crate) fn resume(&self, done: Time) -> Result<()> {
        let _turn = self.planning.enter();
        self.planning.begin(done);
        self.inputs.iter().for_each(|(input, _)| input.go_on_behind(done));
        let needs = needs(self, self.remember);
        for (node, needs) in self.nodes.iter().zip(needs) {
            node.resume(done, needs.again, &self.runtime)?;
        }
        // On the way, batches were planned that only others were made from.
        self.clear(done);
        Ok(())
    }
}
