mod batches;
mod inputs;
mod outputs;
mod states;

use std::collections::{BTreeMap, BTreeSet};

use super::names::{called, is_given, is_named, of_role, short_name};
use super::{Consent, Upgrade};
use crate::checkpoint::entry::{LoggedBatch, Manifest, Role, SavedOperator, SavedSchema};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{OperatorId, PANES, part_name};
use crate::state::shape::differences;
use crate::time::Time;

/// The program that starts.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// What it would write to a checkpoint.
    pub(crate) manifest: Manifest,
    /// Of operators that read older states: which versions, and of which shapes.
    pub(crate) migrations: BTreeMap<OperatorId, Vec<(u32, String)>>,
    /// Of operators that keep a part of what they keep as the batches of another: that other.
    pub(crate) panes: BTreeMap<OperatorId, OperatorId>,
}

/// What a program has left in a checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Left<'l> {
    pub(crate) manifest: &'l Manifest,
    pub(crate) batches: &'l [LoggedBatch],
    /// The operators that it has saved batches of.
    pub(crate) saved: BTreeSet<OperatorId>,
    /// The inputs that have had a batch: the checkpoint knows where they go on.
    pub(crate) placed: BTreeSet<OperatorId>,
}

/// A way in which a program differs from the one that wrote a checkpoint, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) kind: DifferenceKind,
    pub(crate) line: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DifferenceKind {
    /// It does not differ.
    Kept,
    /// It does, and that is fine.
    Fine,
    /// It does, and that is fine, but loses something, or may one day.
    Warned,
    /// The program has to say what to do.
    Refused,
}

/// A program compared with a checkpoint.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) differences: Vec<Difference>,
    /// The ids under which the checkpoint has operators of the program, where they are others.
    pub(crate) known_as: BTreeMap<OperatorId, OperatorId>,
    /// Operators of the checkpoint whose state is not to be restored.
    pub(crate) forgotten: BTreeSet<OperatorId>,
    /// Outputs that run again for batches that are not done.
    pub(crate) again: BTreeSet<OperatorId>,
}

impl Comparison {
    /// Logs the differences.
    ///
    /// # Errors
    ///
    /// All those that are refused, in one error.
    pub(crate) fn check(&self) -> Result<()> {
        let mut refused = Vec::new();
        for Difference { kind, line } in &self.differences {
            match kind {
                DifferenceKind::Kept => tracing::debug!("{line}"),
                DifferenceKind::Fine => tracing::info!("{line}"),
                DifferenceKind::Warned => tracing::warn!("{line}"),
                DifferenceKind::Refused => refused.push(line.as_str()),
            }
        }
        match refused[..] {
            [] => Ok(()),
            [line] => {
                Err(Error::new(ErrorKind::Checkpoint, format!("the checkpoint does not fit the program: {line}")))
            }
            _ => {
                let (number, lines) = (refused.len(), refused.join("\n  "));
                let message = format!("the checkpoint does not fit the program in {number} ways:\n  {lines}");
                Err(Error::new(ErrorKind::Checkpoint, message))
            }
        }
    }
}

/// Compares a program with the one that wrote a checkpoint, if there is one, and with the batches that it left.
pub(crate) fn compare(left: Option<Left<'_>>, program: &Program, upgrade: &Upgrade) -> Comparison {
    let mut comparer = Comparer { program, upgrade, used: BTreeSet::new(), found: Comparison::default() };
    comparer.check_names();
    if let Some(left) = left {
        let saved = left.manifest;
        let pending: Vec<&LoggedBatch> = left.batches.iter().filter(|batch| !batch.done).collect();
        comparer.compare_programs(saved, &pending);
        comparer.compare_inputs(&left, &pending);
        let states = comparer.compare_states(saved);
        comparer.compare_batches(&left, &states);
        comparer.compare_outputs(saved, &pending);
        comparer.compare_equal_outputs(saved, &pending);
    }
    comparer.report_unused();
    comparer.found
}

/// Operators in both a checkpoint and a program, in the checkpoint only, and in the program only.
struct Matched<'m> {
    kept: Vec<(&'m SavedOperator, &'m SavedOperator)>,
    gone: Vec<&'m SavedOperator>,
    new: Vec<&'m SavedOperator>,
}

impl<'m> Matched<'m> {
    /// What was taken for gone is there as what was taken for new.
    fn keep(&mut self, old: &'m SavedOperator, now: &'m SavedOperator) {
        self.gone.retain(|operator| operator.id != old.id);
        self.new.retain(|operator| operator.id != now.id);
        self.kept.push((old, now));
    }
}

struct Comparer<'c> {
    program: &'c Program,
    upgrade: &'c Upgrade,
    used: BTreeSet<Consent>,
    found: Comparison,
}

impl Comparer<'_> {
    fn say(&mut self, kind: DifferenceKind, line: String) {
        self.found.differences.push(Difference { kind, line });
    }

    /// Whether the program consents to something. It has done its part then.
    fn consents(&mut self, to: impl Fn(&Consent) -> bool) -> Option<Consent> {
        let consent = self.upgrade.consents.iter().find(|consent| to(consent))?;
        self.used.insert(consent.clone());
        Some(consent.clone())
    }

    /// Two operators may not keep state under one name: which of them had what would depend on their order.
    fn check_names(&mut self) {
        let mut first: BTreeMap<&str, &SavedOperator> = BTreeMap::new();
        for operator in of_role(&self.program.manifest, Role::State) {
            if let Some(other) = first.insert(&operator.name, operator) {
                let line = format!(
                    "{}: an operator keeps state under the name `{}`, and so does the one at {}: give each a name of its \
                     own with `.named(..)`",
                    operator.site, operator.name, other.site
                );
                self.say(DifferenceKind::Refused, line);
            }
        }
    }

    fn compare_programs(&mut self, saved: &Manifest, pending: &[&LoggedBatch]) {
        let now = &self.program.manifest;
        if saved.app != now.app {
            let (old, new) = (&saved.app, &now.app);
            if self.consents(|consent| *consent == Consent::FromApp(old.clone())).is_some() {
                self.say(DifferenceKind::Fine, format!("the program `{new}` goes on from the checkpoint of `{old}`"));
            } else {
                let line = format!(
                    "the checkpoint is of the program `{old}`, and this one is called `{new}`: give it a directory of its \
                     own, or take this one over with `Upgrade::new().from_app({old:?})`"
                );
                self.say(DifferenceKind::Refused, line);
            }
        }
        if saved.key_groups != now.key_groups {
            let line = format!(
                "the checkpoint has {} groups of keys, and this version of the library {}",
                saved.key_groups, now.key_groups
            );
            self.say(DifferenceKind::Refused, line);
        }
        let (old, new) = (saved.batch_interval, now.batch_interval);
        match pending {
            _ if old == new => {}
            [] => self.say(DifferenceKind::Fine, format!("the batch interval was {old:?} and is {new:?}")),
            pending => {
                let line = format!(
                    "the batch interval was {old:?} and is {new:?}, and {} not done: start once with \
                     `batch_interval({old:?})`, and stop gracefully",
                    batches_are(pending)
                );
                self.say(DifferenceKind::Refused, line);
            }
        }
    }

    /// An operator goes on under the id that the checkpoint has of it.
    fn keep_id(&mut self, old: &SavedOperator, now: &SavedOperator) {
        if old.id != now.id {
            self.found.known_as.insert(now.id, old.id);
        }
    }

    /// Takes together what the program says is the same under another name.
    fn rename<'m>(
        &mut self,
        found: &mut Matched<'m>,
        names: impl Fn(&'m Consent, &[&'m SavedOperator]) -> Option<(&'m String, &'m String)>,
    ) where
        Self: 'm,
    {
        let upgrade = self.upgrade;
        for consent in &upgrade.consents {
            let Some((from, to)) = names(consent, &found.new) else { continue };
            let (Some(old), Some(now)) = (called(&found.gone, from), called(&found.new, to)) else { continue };
            self.used.insert(consent.clone());
            found.keep(old, now);
        }
    }

    /// Tells operators that are in both by their ids, and by their names.
    fn matched<'m>(&self, saved: &'m Manifest, role: Role) -> Matched<'m>
    where
        Self: 'm,
    {
        let mut gone: Vec<&SavedOperator> = of_role(saved, role).collect();
        let mut new: Vec<&SavedOperator> = of_role(&self.program.manifest, role).collect();
        let mut kept = Vec::new();
        // By id; then by name, what the checkpoint has under the id that it had before it was renamed.
        for is_same in [(|old, now| old.id == now.id) as fn(&SavedOperator, &SavedOperator) -> bool, |old, now| {
            old.name == now.name && is_named(now)
        }] {
            new.retain(|now| {
                let Some(place) = gone.iter().position(|old| is_same(old, now)) else { return true };
                kept.push((gone.remove(place), *now));
                false
            });
        }
        Matched { kept, gone, new }
    }

    /// A consent that is left from an older upgrade must not be forgotten, or it counts one day.
    fn report_unused(&mut self) {
        for consent in &self.upgrade.consents {
            if !self.used.contains(consent) {
                let consent = consent.in_words();
                let line = format!("`Upgrade::{consent}` is not needed: remove it before it fits something else");
                self.found.differences.push(Difference { kind: DifferenceKind::Warned, line });
            }
        }
    }
}

fn batch_list(batches: &[&LoggedBatch]) -> String {
    let times: Vec<Time> = batches.iter().map(|batch| batch.time).collect();
    match times[..] {
        [] => "no batch".to_string(),
        [time] => format!("batch {time}"),
        [first, .., last] => format!("{} batches from {first} to {last}", times.len()),
    }
}

fn batches_are(batches: &[&LoggedBatch]) -> String {
    format!("{} {}", batch_list(batches), if batches.len() == 1 { "is" } else { "are" })
}

#[cfg(test)]
mod tests;
