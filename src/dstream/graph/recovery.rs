//! What a graph has to do with a checkpoint: what is in it, and how it comes back.

use std::collections::BTreeMap;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::history::needs;
use super::{DStreamGraph, address};
use crate::dstream::AnyNode;
use crate::error::{Error, ErrorKind, Result};
use crate::id::OperatorId;
use crate::listener::InputInfo;
use crate::state::{Chunk, ChunkKind, Durable};
use crate::time::Time;

/// Takes a chunk back.
pub(crate) type TakeBack<'t> = &'t (dyn Fn(ChunkKind, &Chunk<'_>) -> Result<()> + Sync);

/// What a checkpoint has to know of a part of the graph.
pub(crate) struct Part {
    pub(crate) id: OperatorId,
    /// No other has this name, unless the program gave it to two.
    pub(crate) name: String,
    pub(crate) site: &'static Location<'static>,
    pub(crate) role: PartRole,
}

/// Why a checkpoint has to know of it.
pub(crate) enum PartRole {
    /// It plans batches, and is of this kind.
    Input(String),
    /// It keeps something from batch to batch; some of it as batches of the part with this id.
    State(Arc<dyn Durable>, Option<OperatorId>),
    /// Its batches are saved, and have records of this shape.
    Batches(String),
    /// It is done with batches one by one. Outputs of this method that read the same stream have this id in common.
    Output(String, OperatorId),
}

impl DStreamGraph {
    /// What a checkpoint has to know of this graph, in the order of the program, if every stream remembers its batches for
    /// so long at least.
    pub(crate) fn parts(&self, remember: Duration) -> Vec<Part> {
        let mut parts = Vec::new();
        let of_node = |node: &Arc<dyn AnyNode>, role| {
            let id = self.id_of(node);
            let name = self.lasting[self.places[&address(node)]].clone();
            let name = name.unwrap_or_else(|| unnamed(node.kind(), id));
            Part { id, name, site: node.site(), role }
        };
        parts.extend(self.inputs.iter().map(|(_, leaf)| of_node(leaf, PartRole::Input(leaf.kind().to_string()))));
        for (node, needs) in self.nodes.iter().zip(needs(self, remember)) {
            let batches = || node.saved_shape().filter(|_| needs.saves).map(PartRole::Batches);
            let made_of =
                || node.parents().iter().find(|edge| edge.node.part().is_some()).map(|edge| self.id_of(&edge.node));
            let state = node.durable().map(|durable| PartRole::State(durable, made_of()));
            parts.extend(state.or_else(batches).map(|role| of_node(node, role)));
        }
        for (number, output) in self.outputs.iter().enumerate() {
            let id = self.output_id(number);
            let name = unnamed(output.name(), id);
            let role = PartRole::Output(output.name().to_string(), self.output_equals[number]);
            parts.push(Part { id, name, site: output.site(), role });
        }
        parts
    }

    /// Checks that all inputs can make their batches again.
    pub(crate) fn check_recoverable(&self) -> Result<()> {
        match self.inputs().find(|(_, input)| !input.can_restore()) {
            None => Ok(()),
            Some((_, input)) => {
                let message = "its batches cannot be made again after a restart, and the context has a checkpoint";
                Err(Error::new(ErrorKind::Graph, message).within(format!("input {}", input.place())))
            }
        }
    }

    /// From here on all that operators keep is saved after every batch.
    pub(crate) fn record(&self) {
        self.durable.iter().filter_map(|node| node.durable()).for_each(|durable| durable.record());
    }

    /// Has operators take back what they kept, as of the batch at `done`. `read` hands over the chunks of an operator. It
    /// is an error to leave a batch out that comes after the time in `needed` for its stream.
    pub(crate) fn restore(
        &self,
        done: Time,
        needed: &BTreeMap<OperatorId, Time>,
        read: &dyn Fn(OperatorId, TakeBack<'_>) -> Result<()>,
    ) -> Result<()> {
        for node in self.settled.iter() {
            let needed_after = needed.get(&self.id_of(node));
            let durable = node.durable();
            // One that the checkpoint does not know begins as in a new program: with its initial state, say.
            let is_known = AtomicBool::new(false);
            let take_back = |kind, chunk: &Chunk<'_>| match (kind, &durable) {
                (ChunkKind::Batch(time), _) => match node.restore_batch(time, chunk)? {
                    false if needed_after.is_some_and(|after| time > *after && time <= done) => Err(off_grid(time)),
                    _ => Ok(()),
                },
                (ChunkKind::State, Some(durable)) => {
                    is_known.store(true, Ordering::Relaxed);
                    durable.restore(chunk)
                }
                // It keeps nothing any more, and was reset.
                (ChunkKind::State, None) => Ok(()),
            };
            let restored = read(self.id_of(node), &take_back).and_then(|()| match &durable {
                Some(durable) if is_known.load(Ordering::Relaxed) => durable.restored(done),
                _ => Ok(()),
            });
            let place = || format!("operator {} ({}:{})", node.name(), node.site().file(), node.site().line());
            restored.map_err(|error| error.within_operator(place))?;
        }
        Ok(())
    }

    /// Restores the batch of every input at a time, and returns what was planned. `plan_of` tells how; an input of which
    /// it has nothing is new, and its batch is empty.
    pub(crate) fn restore_inputs<'p>(
        &self,
        time: Time,
        plan_of: &dyn Fn(OperatorId) -> Option<&'p [u8]>,
    ) -> Result<Vec<InputInfo>> {
        let restored = self.inputs().map(|(operator, input)| match plan_of(operator) {
            Some(plan) => input.restore(time, plan),
            None => {
                input.restore_empty(time);
                Ok(None)
            }
        });
        restored.filter_map(Result::transpose).collect()
    }
}

/// The error of a program whose windows need a batch that cannot be, with the intervals that it has.
pub(crate) fn off_grid(time: Time) -> Error {
    let message = format!(
        "windows still need the batch at {time}, which is none with this batch interval: go on with the one before, or with \
         one that divides it and is the slide duration of no stream that is saved"
    );
    Error::new(ErrorKind::Checkpoint, message)
}

/// What an operator without a name is called: its method, and what tells it from others of its method.
pub(super) fn unnamed(method: &str, id: OperatorId) -> String {
    format!("{method}#{}", &id.to_string()[..8])
}
