mod history;
mod recovery;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ahash::AHashMap;

use self::history::{Needs, needs};
pub(crate) use self::recovery::{Part, PartRole, off_grid};
use super::foreach::Output;
use super::input::{AnyInput, PlannedInput};
use super::job::Job;
use super::node::{AnyNode, Edge, Life, Member};
use super::planning::Planning;
use crate::error::{Error, ErrorKind, OnError, Result};
use crate::exec::Runtime;
use crate::id::{OperatorId, Origin, StreamId, part_name};
use crate::input::ContextOf;
use crate::state::StateChunk;
use crate::time::Time;

/// An input and its leaf in the graph.
type InputNode = (Arc<dyn AnyInput>, Arc<dyn AnyNode>);

/// The graph while the program builds it. Streams hold on to it to add to it.
pub(crate) struct GraphBuilder {
    batch_interval: Duration,
    runtime: Runtime,
    next_stream: AtomicU32,
    planning: Arc<Planning>,
    parts: Mutex<Parts>,
}

/// What the context says of checkpoints.
#[derive(Clone, Copy, Debug)]
struct Checkpoints {
    /// How often snapshots begin where a stream does not say so; `None` for the automatic interval of each.
    interval: Option<Duration>,
}

#[derive(Default)]
struct Parts {
    inputs: Vec<InputNode>,
    outputs: Vec<Arc<dyn Output>>,
    /// Prefix and suffix of what outputs write to files, and the line of each.
    files: BTreeMap<PathBuf, &'static Location<'static>>,
    mistakes: Vec<String>,
    /// Set if the context has a checkpoint.
    checkpoints: Option<Checkpoints>,
    /// Set once the graph runs: whom to tell that somebody still builds.
    closed: Option<OnError>,
}

impl GraphBuilder {
    pub(crate) fn new(batch_interval: Duration, runtime: &Runtime) -> Self {
        GraphBuilder {
            batch_interval,
            runtime: runtime.clone(),
            next_stream: AtomicU32::new(0),
            planning: Arc::new(Planning::new()),
            parts: Mutex::default(),
        }
    }

    pub(crate) fn batch_interval(&self) -> Duration {
        self.batch_interval
    }

    /// What the datasets of the graph run on.
    pub(super) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(super) fn planning(&self) -> &Planning {
        &self.planning
    }

    pub(super) fn next_stream(&self) -> StreamId {
        StreamId(self.next_stream.fetch_add(1, Ordering::Relaxed))
    }

    /// The context has a checkpoint. `interval` says how often snapshots begin where a stream does not; without it that
    /// is automatic.
    pub(crate) fn has_checkpoint(&self, interval: Option<Duration>) {
        self.parts().checkpoints = Some(Checkpoints { interval });
    }

    pub(super) fn add_input(&self, input: Arc<dyn AnyInput>, node: Arc<dyn AnyNode>) {
        self.parts().inputs.push((input, node));
    }

    pub(super) fn add_output(&self, output: Arc<dyn Output>) {
        self.check_open(output.name(), output.site());
        self.parts().outputs.push(output);
    }

    /// Notes a mistake if two outputs write to the same names, however spelled: each would replace what the other has
    /// written. `example` is the name of any one batch.
    pub(super) fn claim_files(&self, prefix: &str, suffix: &str, example: &Path, site: &'static Location<'static>) {
        let example = std::path::absolute(example).unwrap_or_else(|_| example.to_path_buf());
        let taken = self.parts().files.insert(example, site);
        if let Some(other) = taken {
            let other = format!("{}:{}", other.file(), other.line());
            let names = format!("the prefix `{prefix}` and the suffix `{suffix}`");
            self.mistake(site, format!("{names} are those of the output at {other}: it would write the same files"));
        }
    }

    /// Notes a mistake in building the graph, to be reported when it starts.
    pub(super) fn mistake(&self, site: &'static Location<'static>, message: String) {
        let message = format!("{}:{}: {message}", site.file(), site.line());
        let closed = {
            let mut parts = self.parts();
            match &parts.closed {
                Some(closed) => Some(Arc::clone(closed)),
                None => {
                    parts.mistakes.push(message.clone());
                    None
                }
            }
        };
        if let Some(on_error) = closed {
            on_error(Error::new(ErrorKind::Graph, message));
        }
    }

    /// Notes a mistake unless there are streams for an operator to read together, all with one slide duration and all of
    /// this graph.
    pub(super) fn check_together(
        self: &Arc<Self>,
        operator: &str,
        streams: &[Member],
        site: &'static Location<'static>,
    ) {
        let Some(first) = streams.first() else {
            return self.mistake(site, format!("{operator} of no streams"));
        };
        if streams.iter().any(|stream| !Arc::ptr_eq(&stream.graph, self)) {
            self.mistake(site, format!("{operator} of streams that belong to different contexts"));
        }
        if let Some(other) = streams.iter().find(|other| other.slide() != first.slide()) {
            let [first, other] =
                [first, other].map(|stream| format!("{} {:?}", stream.edge.node.name(), stream.slide()));
            self.mistake(site, format!("{operator} of streams with different slide durations: {first}, {other}"));
        }
    }

    /// Whether the graph has been started.
    pub(super) fn is_closed(&self) -> bool {
        self.parts().closed.is_some()
    }

    /// A running graph does not change: whoever adds to it stops the context.
    pub(super) fn check_open(&self, what: &str, site: &'static Location<'static>) {
        if self.is_closed() {
            self.mistake(site, format!("{what} was added after the context was started; it would never run"));
        }
    }

    /// Closes the graph and checks it.
    ///
    /// # Errors
    ///
    /// All mistakes that were noted, each with its line.
    pub(crate) fn finish(&self, concurrent_jobs: usize, on_error: OnError) -> Result<DStreamGraph> {
        let mut parts = self.parts();
        parts.closed = Some(on_error);
        let graph = DStreamGraph::new(
            &parts.inputs,
            &parts.outputs,
            Arc::clone(&self.planning),
            self.runtime.clone(),
            parts.checkpoints,
        );
        parts.mistakes.extend(graph.checkpoint_mistakes());
        if concurrent_jobs > 1 {
            let in_order = graph.nodes.iter().filter(|node| node.needs_order());
            parts.mistakes.extend(in_order.map(|node| {
                let (name, site) = (node.name(), node.site());
                let place = format!("{}:{}", site.file(), site.line());
                format!("{place}: {name} needs batches in order: concurrent_jobs has to be 1 and is {concurrent_jobs}")
            }));
        }
        if parts.outputs.is_empty() {
            parts
                .mistakes
                .push("the program has no output operation: end a stream in foreach_batch or print".to_string());
        }
        match &parts.mistakes[..] {
            [] => {}
            [mistake] => return Err(Error::new(ErrorKind::Graph, mistake.clone())),
            mistakes => {
                let message = format!("the graph has {} mistakes:\n  {}", mistakes.len(), mistakes.join("\n  "));
                return Err(Error::new(ErrorKind::Graph, message));
            }
        }
        parts.outputs.clear();
        parts.inputs.clear();
        Ok(graph)
    }

    /// Lets go of the streams, which hold on to this builder.
    pub(crate) fn close(&self) {
        let mut parts = self.parts();
        let (inputs, outputs) = (std::mem::take(&mut parts.inputs), std::mem::take(&mut parts.outputs));
        drop(parts);
        drop((inputs, outputs));
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Parts> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for GraphBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphBuilder").field("batch_interval", &self.batch_interval).finish_non_exhaustive()
    }
}

/// The graph as it runs: outputs, everything they are made of, and the inputs among it.
pub(crate) struct DStreamGraph {
    outputs: Vec<Arc<dyn Output>>,
    /// Parents before children.
    nodes: Vec<Arc<dyn AnyNode>>,
    /// Where each node is in the list.
    places: AHashMap<usize, usize>,
    /// What each node is found by in a checkpoint.
    ids: Vec<OperatorId>,
    /// The name that makes the id of each node, if one does.
    lasting: Vec<Option<String>>,
    /// As `ids`, of the outputs.
    output_ids: Vec<OperatorId>,
    /// For each output, the id of the first that has its method and its stream.
    output_equals: Vec<OperatorId>,
    /// The inputs that outputs are made of, in the order in which the program made them.
    inputs: Vec<InputNode>,
    /// The nodes that keep something from batch to batch, parents before children.
    durable: Vec<Arc<dyn AnyNode>>,
    /// The nodes that are planned at each of their times, whoever asks for them.
    always: Vec<Arc<dyn AnyNode>>,
    /// The nodes that a batch settles: those that keep something or save their batches, parents before children.
    settled: Arc<[Arc<dyn AnyNode>]>,
    planning: Arc<Planning>,
    runtime: Runtime,
    checkpoints: Option<Checkpoints>,
    zero_time: Time,
    /// For how long every stream remembers its batches at least.
    remember: Duration,
    /// How far back before a batch that is done the plans of inputs are needed.
    history: Duration,
}

/// What a batch consists of.
pub(crate) struct Planned {
    pub(crate) jobs: Vec<Job>,
    pub(crate) inputs: Vec<PlannedInput>,
    /// Comes after all jobs. `None` if no operator keeps anything, and there is no checkpoint.
    pub(crate) settle: Option<Settle>,
}

/// The end of a batch: brings all that operators keep up to it, as far as no output has.
pub(crate) struct Settle {
    time: Time,
    nodes: Arc<[Arc<dyn AnyNode>]>,
    plans_from: Time,
}

impl Settle {
    /// Returns what is to be saved, if `saving` says that something is.
    pub(crate) fn run(&self, saving: bool) -> Result<Vec<StateChunk>> {
        let mut chunks = Vec::new();
        for node in self.nodes.iter() {
            chunks.append(&mut node.settle(self.time, saving)?);
        }
        Ok(chunks)
    }

    /// The first batch whose plan is needed once this one is done, and all before it.
    pub(crate) fn plans_from(&self) -> Time {
        self.plans_from
    }
}

impl DStreamGraph {
    fn new(
        inputs: &[InputNode],
        outputs: &[Arc<dyn Output>],
        planning: Arc<Planning>,
        runtime: Runtime,
        checkpoints: Option<Checkpoints>,
    ) -> Self {
        let mut nodes = Vec::new();
        let mut places = AHashMap::new();
        for output in outputs {
            visit(&output.edge().node, &mut nodes, &mut places);
        }
        let inputs: Vec<InputNode> =
            inputs.iter().filter(|(_, node)| places.contains_key(&address(node))).cloned().collect();
        let durable: Vec<_> = nodes.iter().filter(|node| node.durable().is_some()).cloned().collect();
        let lasting = lasting_names(&nodes, &places);
        let (ids, of_outputs) = identify(&inputs, outputs, &nodes, &places, &lasting);
        let (output_ids, output_equals) = of_outputs.into_iter().unzip();
        DStreamGraph {
            outputs: outputs.to_vec(),
            nodes,
            places,
            ids,
            lasting,
            output_ids,
            output_equals,
            inputs,
            settled: durable.clone().into(),
            always: durable.clone(),
            durable,
            planning,
            runtime,
            checkpoints,
            zero_time: Time::ZERO,
            remember: Duration::ZERO,
            history: Duration::ZERO,
        }
    }

    /// Says when time begins, and lets every stream know what it has to remember.
    pub(crate) fn begin(&mut self, zero_time: Time, remember: Duration) {
        (self.zero_time, self.remember) = (zero_time, remember);
        let needs = needs(self, remember);
        let back = history::back(self, &needs);
        let default_interval = self.checkpoints.and_then(|checkpoints| checkpoints.interval);
        let mut follows_state: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for (((node, &operator), needs), back) in self.nodes.iter().zip(&self.ids).zip(&needs).zip(&back) {
            let parent_follows = |edge: &Edge| follows_state[self.places[&address(&edge.node)]];
            follows_state.push(node.durable().is_some() || node.parents().iter().any(parent_follows));
            node.set_life(Life {
                zero_time,
                remember: needs.remember,
                late: if needs.always { Duration::ZERO } else { needs.late },
                keep: needs.keeps_records(&**node),
                follows_state: follows_state.last().is_some_and(|follows| *follows),
                saves: needs.saves.then_some(*back),
                checkpoint_interval: node
                    .chosen_checkpoint()
                    .map(|(interval, _)| interval)
                    .or(default_interval)
                    .unwrap_or_else(|| node.automatic_checkpoint()),
                origin: Arc::new(Origin { operator, name: node.name().into(), site: node.site() }),
            });
        }
        let is_settled = |(node, needs): &(&Arc<dyn AnyNode>, &Needs)| needs.saves || node.durable().is_some();
        self.settled = self.nodes.iter().zip(&needs).filter(is_settled).map(|(node, _)| Arc::clone(node)).collect();
        let is_always = |(_, needs): &(_, &Needs)| needs.always;
        self.always = self.nodes.iter().zip(&needs).filter(is_always).map(|(node, _)| Arc::clone(node)).collect();
        let is_planned = |place: &usize| self.nodes[*place].parents().is_empty() && !needs[*place].saves;
        self.history = (0..self.nodes.len()).filter(is_planned).map(|place| back[place]).max().unwrap_or_default();
    }

    pub(crate) fn start_inputs(&self, context_of: ContextOf) -> Result<()> {
        self.inputs.iter().try_for_each(|(input, leaf)| input.start(self.id_of(leaf), context_of))
    }

    /// The inputs, each with what its leaf is found by in a checkpoint.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = (OperatorId, &dyn AnyInput)> {
        self.inputs.iter().map(|(input, leaf)| (self.id_of(leaf), &**input))
    }

    /// Operators go on under the ids that a checkpoint has of them. To be called before the graph begins.
    pub(crate) fn go_on_as(&mut self, known_as: &BTreeMap<OperatorId, OperatorId>) {
        for id in self.ids.iter_mut().chain(&mut self.output_ids) {
            if let Some(known) = known_as.get(id) {
                *id = *known;
            }
        }
    }

    fn id_of(&self, node: &Arc<dyn AnyNode>) -> OperatorId {
        self.ids[self.places[&address(node)]]
    }

    /// What an output is found by in a checkpoint.
    pub(crate) fn output_id(&self, output: usize) -> OperatorId {
        self.output_ids[output]
    }

    /// Lets every input go, also after one has failed to, and returns the first error.
    pub(crate) fn stop_inputs(&self, timeout: Duration) -> Result<()> {
        let outcomes: Vec<_> = self.inputs.iter().map(|(input, _)| input.stop(timeout)).collect();
        outcomes.into_iter().collect()
    }

    /// Tells the inputs that a batch and all before it are done.
    pub(crate) fn completed(&self, time: Time) -> Result<()> {
        self.inputs.iter().try_for_each(|(input, _)| input.completed(time))
    }

    /// The batch at which the records of the batch at `time` have gone into every output: the outputs of longer slide
    /// durations see them later.
    pub(crate) fn horizon(&self, time: Time) -> Time {
        let fires = |slide: Duration| {
            let floor = time.floor_from(slide, self.zero_time);
            if floor == time { time } else { floor + slide }
        };
        self.outputs.iter().map(|output| fires(output.edge().node.slide())).max().unwrap_or(time)
    }

    /// Plans the batch at `time`: first every input, so that a window finds the batches between its own times planned
    /// when they were due, then every operator that keeps something from batch to batch, then every output in the order
    /// in which the program made them.
    pub(crate) fn generate(&self, time: Time) -> Result<Planned> {
        let _turn = self.planning.enter();
        self.planning.begin(time);
        self.inputs.iter().try_for_each(|(_, node)| node.plan(time))?;
        self.always.iter().try_for_each(|node| node.plan(time))?;
        let mut jobs = Vec::new();
        for (number, output) in self.outputs.iter().enumerate() {
            jobs.extend(output.job(number, time)?);
        }
        let inputs = self.inputs.iter().flat_map(|(input, _)| input.take_planned()).collect();
        // With a checkpoint every batch is noted there, whatever is kept of it.
        let settle = (!self.settled.is_empty() || self.checkpoints.is_some()).then(|| {
            let (nodes, plans_from) = (Arc::clone(&self.settled), self.plans_from(time));
            Settle { time, nodes, plans_from }
        });
        Ok(Planned { jobs, inputs, settle })
    }

    /// What an output is called in events and errors.
    pub(crate) fn output_name(&self, output: usize) -> String {
        let output = &self.outputs[output];
        format!("{} ({}:{})", output.name(), output.site().file(), output.site().line())
    }

    /// Forgets what nobody asks for once the batch at `done` and all before it are done.
    pub(crate) fn clear(&self, done: Time) {
        self.planning.end(done);
        self.nodes.iter().for_each(|node| node.clear(done));
    }
}

impl fmt::Debug for DStreamGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.nodes.iter().map(|node| node.operator_name())).finish()
    }
}

/// Two handles of one node have the same address; the type of its records does not matter.
fn address(node: &Arc<dyn AnyNode>) -> usize {
    Arc::as_ptr(node).cast::<()>() as usize
}

/// Lists a node after its parents, once.
fn visit(node: &Arc<dyn AnyNode>, nodes: &mut Vec<Arc<dyn AnyNode>>, places: &mut AHashMap<usize, usize>) {
    if places.contains_key(&address(node)) {
        return;
    }
    for edge in node.parents() {
        visit(&edge.node, nodes, places);
    }
    places.insert(address(node), nodes.len());
    nodes.push(Arc::clone(node));
}

/// The names that nodes are found by. A part of another one has the name of that, whatever it is made of: what the two of
/// them keep belongs together. So do variants of a window with a name, whose panes are those of the window.
fn lasting_names(nodes: &[Arc<dyn AnyNode>], places: &AHashMap<usize, usize>) -> Vec<Option<String>> {
    let mut variants: BTreeMap<&str, u32> = BTreeMap::new();
    let mut names: Vec<Option<String>> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(window) = node.names().variant_of() else {
            names.push(node.names().lasting().map(str::to_string));
            continue;
        };
        let number = variants.entry(window).or_default();
        *number += 1;
        names.push(Some(match *number {
            1 => format!("{window}/filter_keys"),
            number => format!("{window}/filter_keys {number}"),
        }));
    }
    // Whoever reads a part comes after it. Of several the first names it: that is the last to do so from behind.
    for (place, node) in nodes.iter().enumerate().rev() {
        let Some(whole) = node.names().variant_of().map(str::to_string).or_else(|| names[place].clone()) else {
            continue;
        };
        for Edge { node, .. } in node.parents() {
            if let Some(part) = node.part() {
                names[places[&address(&node)]] = Some(part_name(&whole, part));
            }
        }
    }
    names
}

/// Derives what nodes and outputs are found by: their name, or what they are and what they read; and their place among
/// equals. The place of an input is that in the program, whatever is made of it. Outputs come with the id of the first of
/// their equals.
fn identify(
    inputs: &[InputNode],
    outputs: &[Arc<dyn Output>],
    nodes: &[Arc<dyn AnyNode>],
    places: &AHashMap<usize, usize>,
    lasting: &[Option<String>],
) -> (Vec<OperatorId>, Vec<(OperatorId, OperatorId)>) {
    let mut equals: BTreeMap<OperatorId, u32> = BTreeMap::new();
    let mut among_equals = |id: &dyn Fn(u32) -> OperatorId| {
        let place = equals.entry(id(0)).or_default();
        *place += 1;
        id(*place - 1)
    };
    let leaves: AHashMap<usize, OperatorId> = inputs
        .iter()
        .filter(|(_, leaf)| leaf.names().lasting().is_none())
        .map(|(_, leaf)| (address(leaf), among_equals(&|place| OperatorId::derive(leaf.kind(), &[], place))))
        .collect();
    let mut ids: Vec<OperatorId> = Vec::with_capacity(nodes.len());
    for (node, name) in nodes.iter().zip(lasting) {
        if let Some(id) = leaves.get(&address(node)) {
            ids.push(*id);
            continue;
        }
        let reads: Vec<_> = node.parents().iter().map(|edge| ids[places[&address(&edge.node)]]).collect();
        ids.push(match name {
            Some(name) => among_equals(&|place| OperatorId::of_name(name, place)),
            None => among_equals(&|place| OperatorId::derive(node.kind(), &reads, place)),
        });
    }
    let of_output = |output: &Arc<dyn Output>| {
        let reads = [ids[places[&address(&output.edge().node)]]];
        let id_at = |place| OperatorId::derive(output.name(), &reads, place);
        (among_equals(&id_at), id_at(0))
    };
    let of_outputs = outputs.iter().map(of_output).collect();
    (ids, of_outputs)
}

#[cfg(test)]
mod tests;
