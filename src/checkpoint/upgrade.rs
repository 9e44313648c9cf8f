use std::collections::{BTreeMap, BTreeSet};

use super::entry::{LoggedBatch, Manifest, Role, SavedOperator, SavedSchema};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{OperatorId, part_name};
use crate::state::shape::differences;
use crate::time::Time;

/// What a program may do to the checkpoint of an older one that would otherwise be refused.
///
/// When a program starts, it is compared with the one that wrote the checkpoint. What is kept and what is new needs no
/// consent. State that is gone or of another type is refused, with a line for each, and these consents take the refusal
/// back.
///
/// A consent counts only for what would be refused. So it may stay in the program while that is started again, and does
/// nothing then; the log warns of it, since it would count again for what you write tomorrow. Remove it when the upgrade
/// is done.
///
/// # Examples
///
/// ```
/// use tidemill::{Checkpoint, Upgrade};
///
/// let upgrade = Upgrade::new().drop_state("clicks_per_user").rename_state("totals", "totals_per_page");
/// let checkpoint = Checkpoint::new("/var/lib/clicks").upgrade(upgrade);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Upgrade {
    consents: Vec<Consent>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Consent {
    DropState(String),
    ResetState(String),
    RenameState { from: String, to: String },
    DropInput(String),
    RenameInput { from: String, to: String },
    RunOutputsAgain,
    FromApp(String),
}

impl Upgrade {
    /// Consents to nothing.
    pub fn new() -> Self {
        Upgrade::default()
    }

    /// Lets go of the state of an operator that the program has no more, or of the saved batches of a stream.
    #[must_use]
    pub fn drop_state(self, name: impl Into<String>) -> Self {
        self.consent(Consent::DropState(name.into()))
    }

    /// Lets the state of an operator begin empty if it is of another type than it was.
    #[must_use]
    pub fn reset_state(self, name: impl Into<String>) -> Self {
        self.consent(Consent::ResetState(name.into()))
    }

    /// Gives the state of an operator that the program has no more to one that it did not have before; or the saved
    /// batches of a stream to another.
    #[must_use]
    pub fn rename_state(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.consent(Consent::RenameState { from: from.into(), to: to.into() })
    }

    /// Lets go of an input that the program has no more: of how far it has come, and of its records in batches that are
    /// not done.
    #[must_use]
    pub fn drop_input(self, name: impl Into<String>) -> Self {
        self.consent(Consent::DropInput(name.into()))
    }

    /// Has an input that the program did not have before go on where one that it has no more has come to. The new one
    /// has a name.
    #[must_use]
    pub fn rename_input(self, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.consent(Consent::RenameInput { from: from.into(), to: to.into() })
    }

    /// Has outputs run again for batches that are not done, where it cannot be told any more which of them are done.
    #[must_use]
    pub fn run_outputs_again(self) -> Self {
        self.consent(Consent::RunOutputsAgain)
    }

    /// Takes over the checkpoint of a program that has another name.
    #[must_use]
    pub fn from_app(self, name: impl Into<String>) -> Self {
        self.consent(Consent::FromApp(name.into()))
    }

    fn consent(mut self, consent: Consent) -> Self {
        self.consents.push(consent);
        self
    }
}

impl Consent {
    /// As it is written in the program.
    fn in_words(&self) -> String {
        match self {
            Consent::DropState(name) => format!("drop_state({name:?})"),
            Consent::ResetState(name) => format!("reset_state({name:?})"),
            Consent::RenameState { from, to } => format!("rename_state({from:?}, {to:?})"),
            Consent::DropInput(name) => format!("drop_input({name:?})"),
            Consent::RenameInput { from, to } => format!("rename_input({from:?}, {to:?})"),
            Consent::RunOutputsAgain => "run_outputs_again()".to_string(),
            Consent::FromApp(name) => format!("from_app({name:?})"),
        }
    }
}

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

    fn compare_inputs(&mut self, left: &Left<'_>, pending: &[&LoggedBatch]) {
        let mut found = self.matched(left.manifest, Role::Input);
        self.rename(&mut found, |consent, new| match consent {
            // Under a name it is found again at the next start.
            Consent::RenameInput { from, to } => called(new, to).filter(|now| is_named(now)).map(|_| (from, to)),
            _ => None,
        });
        for (old, now) in &found.kept {
            self.keep_id(old, now);
            self.say(DifferenceKind::Kept, format!("{}: the input `{}` goes on", now.site, old.name));
        }
        for old in &found.gone {
            self.report_gone_input(old, &found, left, pending);
        }
        for now in found.new {
            self.say(DifferenceKind::Fine, format!("{}: the input `{}` is new", now.site, now.name));
        }
    }

    fn report_gone_input(
        &mut self,
        old: &SavedOperator,
        found: &Matched<'_>,
        left: &Left<'_>,
        pending: &[&LoggedBatch],
    ) {
        let (name, site) = (&old.name, &old.site);
        if !left.placed.contains(&old.id) {
            return self.say(DifferenceKind::Fine, format!("the input `{name}`, built at {site}, is gone"));
        }
        let has_records =
            |batch: &&&LoggedBatch| batch.inputs.iter().any(|input| input.operator == old.id && input.records > 0);
        let with_records: Vec<&LoggedBatch> = pending.iter().filter(has_records).copied().collect();
        if self.consents(|consent| *consent == Consent::DropInput(name.clone())).is_some() {
            let records = match with_records[..] {
                [] => "where it has come to".to_string(),
                _ => format!("records of {}", batch_list(&with_records)),
            };
            return self.say(DifferenceKind::Warned, format!("the input `{name}` is gone, and with it {records}"));
        }
        let records = match with_records[..] {
            [] => "the checkpoint knows where it has come to".to_string(),
            _ => format!("{} not done and have records of it", batches_are(&with_records)),
        };
        let again = match with_records[..] {
            [] => "",
            _ => "start the older program once and stop it gracefully, or ",
        };
        let name_it = if is_given(old) { format!("call that `.named({name:?})`, or ") } else { String::new() };
        let goes_on = match (&found.gone[..], &found.new[..]) {
            ([_], [now]) if old.schema == now.schema => {
                let to = if is_named(now) { &now.name } else { "a name that you give it" };
                format!(
                    "if it is the one at {} now, {name_it}say `Upgrade::new().rename_input({name:?}, {to:?})`; ",
                    now.site
                )
            }
            (_, []) => String::new(),
            _ => format!(
                "if one of the new inputs is this one, {name_it}give that a name and say \
                 `Upgrade::new().rename_input({name:?}, \"that name\")`; "
            ),
        };
        let line = format!(
            "the input `{name}`, built at {site}, is gone, and {records}: {goes_on}{again}let go of it with \
             `Upgrade::new().drop_input({name:?})`"
        );
        self.say(DifferenceKind::Refused, line);
    }

    fn compare_outputs(&mut self, saved: &Manifest, pending: &[&LoggedBatch]) {
        let Matched { gone, new, .. } = self.matched(saved, Role::Output);
        for old in gone {
            let left: Vec<&LoggedBatch> =
                pending.iter().filter(|batch| !batch.outputs.contains(&(old.id, None))).copied().collect();
            let (name, site) = (&old.name, &old.site);
            if left.is_empty() {
                self.say(DifferenceKind::Fine, format!("the output `{name}`, built at {site}, is gone"));
            } else {
                let line =
                    format!("the output `{name}`, built at {site}, is gone, and does not get {}", batch_list(&left));
                self.say(DifferenceKind::Warned, line);
            }
        }
        for now in new {
            self.say(DifferenceKind::Fine, format!("{}: the output `{}` is new", now.site, now.name));
        }
    }

    /// Outputs of one method that read one stream are told apart by their order. If there are more or fewer of them now,
    /// it cannot be told which of them are done with a batch.
    fn compare_equal_outputs(&mut self, saved: &Manifest, pending: &[&LoggedBatch]) {
        let (mut old, now): (Vec<_>, Vec<_>) =
            (of_role(saved, Role::Output).collect(), of_role(&self.program.manifest, Role::Output).collect());
        old.sort_by_key(|output| output.schema.as_ref().map(|schema| schema.parts.clone()));
        for equals in old.chunk_by(|a, b| a.schema.is_some() && a.schema == b.schema) {
            let first = equals[0];
            let is_equal = |operator: &&&SavedOperator| operator.schema.is_some() && operator.schema == first.schema;
            let (were, are) = (equals.len(), now.iter().filter(is_equal).count());
            let is_unclear = |batch: &&&LoggedBatch| {
                let done = equals.iter().filter(|output| batch.outputs.contains(&(output.id, None))).count();
                done > 0 && (done < were || are > were)
            };
            let unclear: Vec<&LoggedBatch> = pending.iter().filter(is_unclear).copied().collect();
            if unclear.is_empty() || are == 0 || are == were {
                continue;
            }
            let what = format!(
                "the output at {} was one of {were} alike and is one of {are}, and {} not done and ran some of them",
                first.site,
                batches_are(&unclear)
            );
            if self.consents(|consent| *consent == Consent::RunOutputsAgain).is_some() {
                self.found.again.extend(equals.iter().map(|output| output.id));
                self.say(DifferenceKind::Warned, format!("{what}: all run, as the program says"));
            } else {
                let line = format!(
                    "{what}, and which, cannot be told: start the older program once and stop it gracefully, or have all run, \
                     also once more, with `Upgrade::new().run_outputs_again()`"
                );
                self.say(DifferenceKind::Refused, line);
            }
        }
    }

    /// Compares states and returns those that are in both.
    fn compare_states<'m>(&mut self, saved: &'m Manifest) -> Vec<(&'m SavedOperator, &'m SavedOperator)>
    where
        Self: 'm,
    {
        let mut found = self.matched(saved, Role::State);
        self.rename(&mut found, |consent, _| match consent {
            Consent::RenameState { from, to } => Some((from, to)),
            _ => None,
        });
        for (old, now) in &found.kept {
            self.keep_id(old, now);
            self.compare_state(saved, old, now);
        }
        for old in &found.gone {
            self.report_gone(saved, old, &found.new);
        }
        for now in found.new {
            let name = short_name(&self.program.manifest, now);
            self.say(DifferenceKind::Fine, format!("{}: the state `{name}` is new and starts empty", now.site));
        }
        found.kept
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

    fn compare_state(&mut self, saved: &Manifest, old: &SavedOperator, now: &SavedOperator) {
        let name = short_name(saved, old);
        let place = format!("{}: the state `{name}`", now.site);
        let (Some(was), Some(is)) = (&old.schema, &now.schema) else { return };
        let renamed = if old.name == now.name { String::new() } else { format!(", which is `{}` now,", now.name) };
        let refusal = match self.schema_change(now.id, was, is) {
            Ok(None) => {
                return self.say(DifferenceKind::Kept, format!("{place}{renamed} is kept"));
            }
            Ok(Some(change)) => return self.say(DifferenceKind::Fine, format!("{place}{renamed} {change}")),
            Err(refusal) => refusal,
        };
        let resets = |consent: &Consent| match consent {
            Consent::ResetState(reset) => *reset == name || *reset == old.name || *reset == now.name,
            _ => false,
        };
        if self.consents(resets).is_some() {
            self.found.forgotten.insert(old.id);
            self.say(DifferenceKind::Warned, format!("{place}{renamed} starts empty, as the program says: {refusal}"));
        } else {
            let line = format!(
                "{place}{renamed} has changed: {refusal}; or let it start empty with `Upgrade::new().reset_state({name:?})`"
            );
            self.say(DifferenceKind::Refused, line);
        }
    }

    /// Streams whose batches are saved, and among them the panes of windows, of whose totals `states` has those that are
    /// kept.
    fn compare_batches(&mut self, left: &Left<'_>, states: &[(&SavedOperator, &SavedOperator)]) {
        let mut found = self.matched(left.manifest, Role::Batches);
        for (old, now) in states {
            // The panes of a window that was renamed.
            let panes = self.program.panes.get(&now.id);
            let panes = panes.and_then(|panes| found.new.iter().find(|operator| operator.id == *panes).copied());
            let name = part_name(&old.name);
            if let (Some(old), Some(now)) = (found.gone.iter().find(|operator| operator.name == name).copied(), panes) {
                found.keep(old, now);
            }
        }
        self.rename(&mut found, |consent, _| match consent {
            Consent::RenameState { from, to } => Some((from, to)),
            _ => None,
        });
        self.compare_kept_batches(&found.kept);
        for old in found.gone.iter().filter(|old| left.saved.contains(&old.id)) {
            self.report_gone_batches(old, &found.new);
        }
        for (old, now) in states.iter().filter(|(old, _)| !self.found.forgotten.contains(&old.id)).collect::<Vec<_>>() {
            let Some(panes) = self.program.panes.get(&now.id) else { continue };
            let is_there = |(old, now): &(&SavedOperator, &SavedOperator)| {
                now.id == *panes && !self.found.forgotten.contains(&old.id)
            };
            if !found.kept.iter().any(is_there) {
                let name = short_name(left.manifest, old);
                let what = format!(
                    "{}: the totals of the window `{name}` are in the checkpoint, and the panes that they were made from are not",
                    now.site
                );
                if self.consents(|consent| *consent == Consent::ResetState(name.clone())).is_some() {
                    self.found.forgotten.insert(old.id);
                    self.say(DifferenceKind::Warned, format!("{what}: it starts empty, as the program says"));
                } else {
                    let line = format!(
                        "{what}, and could never be taken off: feed the window as before, or let it start empty with \
                         `Upgrade::new().reset_state({name:?})`"
                    );
                    self.say(DifferenceKind::Refused, line);
                }
            }
        }
    }

    /// What is gone nobody asks for, unless it is there under another id.
    fn report_gone_batches(&mut self, old: &SavedOperator, new: &[&SavedOperator]) {
        let name = &old.name;
        let Some(now) = new.iter().find(|now| old.schema.is_some() && old.schema == now.schema) else { return };
        let gone = format!("the saved batches of `{name}`, built at {}, are gone", old.site);
        if self.consents(|consent| *consent == Consent::DropState(name.clone())).is_some() {
            self.found.forgotten.insert(old.id);
            return self.say(DifferenceKind::Warned, format!("{gone}, and are let go of as the program says"));
        }
        let line = format!(
            "{gone}: if they are those of the one at {} now, say `Upgrade::new().rename_state({name:?}, {:?})`; let go of \
             them with `Upgrade::new().drop_state({name:?})`",
            now.site, now.name
        );
        self.say(DifferenceKind::Refused, line);
    }

    fn compare_kept_batches(&mut self, kept: &[(&SavedOperator, &SavedOperator)]) {
        for (old, now) in kept {
            self.keep_id(old, now);
            let (Some(was), Some(is)) = (&old.schema, &now.schema) else { continue };
            let changes = parts_changed(was, is);
            let name = &old.name;
            if changes.is_empty() {
                self.say(DifferenceKind::Kept, format!("{}: the saved batches of `{name}` are kept", now.site));
                continue;
            }
            let changes: Vec<String> = changes.into_iter().map(|(_, line)| line).collect();
            let what =
                format!("{}: the saved batches of `{name}` are of another type: {}", now.site, changes.join(", "));
            let resets = |consent: &Consent| matches!(consent, Consent::ResetState(reset) if reset == name);
            if self.consents(resets).is_some() {
                self.found.forgotten.insert(old.id);
                self.say(DifferenceKind::Warned, format!("{what}; windows do without them, as the program says"));
            } else {
                let line = format!(
                    "{what}; give the stream another name, or do without them in windows with \
                     `Upgrade::new().reset_state({name:?})`"
                );
                self.say(DifferenceKind::Refused, line);
            }
        }
    }

    /// What becomes of a state; or why it cannot be taken over, and what to do about that.
    fn schema_change(
        &self,
        id: OperatorId,
        was: &SavedSchema,
        is: &SavedSchema,
    ) -> std::result::Result<Option<String>, String> {
        if was.method != is.method {
            return Err(format!("it was kept by {} and is kept by {}; move it to a new name", was.method, is.method));
        }
        let changes = parts_changed(was, is);
        let [state, others] = [true, false].map(|state| {
            let lines = changes.iter().filter(|(part, _)| (part == "state") == state).map(|(_, line)| line.clone());
            lines.collect::<Vec<String>>().join(", ")
        });
        if was.version > is.version {
            return Err(format!(
                "it has version {}, and the program version {}: start a program that is as new as the checkpoint",
                was.version, is.version
            ));
        }
        if !others.is_empty() {
            return Err(format!("{others}, which no migration can change; move it to a new name"));
        }
        if was.version == is.version {
            return if state.is_empty() {
                Ok(None)
            } else {
                let (version, next) = (was.version, was.version + 1);
                Err(format!("{state}; say how, with `.version({next}).migrate_from({version}, |old: Old| ..)`"))
            };
        }
        let versions = format!("from version {} to version {}", was.version, is.version);
        let migrations = self.program.migrations.get(&id).map_or(&[][..], Vec::as_slice);
        let Some((_, reads)) = migrations.iter().find(|(version, _)| *version == was.version) else {
            let what = if state.is_empty() { String::new() } else { format!(" ({state})") };
            return Err(format!(
                "it goes {versions}{what}, and the program does not say how: `.migrate_from({}, |old: Old| ..)`",
                was.version
            ));
        };
        let saved_state = was.parts.iter().find(|(part, _)| part == "state");
        let misread = saved_state.map_or_else(Vec::new, |(_, shape)| differences(shape, reads));
        if misread.is_empty() {
            Ok(Some(format!("is migrated {versions} as it is read")))
        } else {
            Err(format!("`migrate_from({}, ..)` takes another type than there is: {}", was.version, misread.join(", ")))
        }
    }

    fn report_gone(&mut self, saved: &Manifest, old: &SavedOperator, new: &[&SavedOperator]) {
        let name = short_name(saved, old);
        let drops = |consent: &Consent| match consent {
            Consent::DropState(dropped) => *dropped == name || *dropped == old.name,
            _ => false,
        };
        let gone = format!("the state `{name}`, kept by the operator at {}, is gone", old.site);
        if self.consents(drops).is_some() {
            self.found.forgotten.insert(old.id);
            return self.say(DifferenceKind::Warned, format!("{gone}, and is let go of as the program says"));
        }
        let alike = new.iter().find(|now| match (&old.schema, &now.schema) {
            (Some(was), Some(is)) => was.method == is.method && parts_changed(was, is).is_empty(),
            _ => false,
        });
        let renamed = alike.map_or(String::new(), |now| {
            let to = short_name(&self.program.manifest, now);
            let back = if is_given(old) { format!("call that `.named({:?})`, or ", old.name) } else { String::new() };
            format!("if it is the one at {} now, {back}say `Upgrade::new().rename_state({name:?}, {to:?})`; ", now.site)
        });
        let line = format!("{gone}: {renamed}let go of it with `Upgrade::new().drop_state({name:?})`");
        self.say(DifferenceKind::Refused, line);
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

pub(super) fn of_role(manifest: &Manifest, role: Role) -> impl Iterator<Item = &SavedOperator> {
    manifest.operators.iter().filter(move |operator| operator.role == role)
}

/// Whether an operator has a name, of its own or of a variable.
fn is_named(operator: &SavedOperator) -> bool {
    operator.id == OperatorId::of_name(&operator.name, 0)
}

/// Whether `named` has given the name.
fn is_given(operator: &SavedOperator) -> bool {
    is_named(operator) && !operator.name.contains('/')
}

/// The operator of this name, or the one whose variable has this name.
pub(super) fn called<'o>(operators: &[&'o SavedOperator], name: &str) -> Option<&'o SavedOperator> {
    let exactly = operators.iter().find(|operator| operator.name == name);
    let mut of_variable = operators.iter().filter(|operator| variable(&operator.name) == Some(name));
    match (exactly, of_variable.next(), of_variable.next()) {
        (Some(operator), ..) | (None, Some(operator), None) => Some(operator),
        _ => None,
    }
}

/// The variable that an operator is named after.
fn variable(name: &str) -> Option<&str> {
    name.split_once('/').map(|(variable, _)| variable)
}

/// The name of the variable, if that is enough to tell a state from the others.
pub(super) fn short_name(manifest: &Manifest, operator: &SavedOperator) -> String {
    let states: Vec<&SavedOperator> = of_role(manifest, Role::State).collect();
    match variable(&operator.name) {
        Some(variable) if called(&states, variable).is_some_and(|found| found.id == operator.id) => {
            variable.to_string()
        }
        _ => operator.name.clone(),
    }
}

/// The parts of a schema whose shapes have changed, with how.
fn parts_changed(was: &SavedSchema, is: &SavedSchema) -> Vec<(String, String)> {
    let mut changed = Vec::new();
    for (part, shape) in &was.parts {
        match is.parts.iter().find(|(other, _)| other == part) {
            Some((_, now)) => {
                let lines = differences(shape, now).into_iter();
                changed.extend(lines.map(|line| (part.clone(), format!("of its {part}, {line}"))));
            }
            None => changed.push((part.clone(), format!("its {part} {shape} is gone"))),
        }
    }
    for (part, shape) in &is.parts {
        if !was.parts.iter().any(|(other, _)| other == part) {
            changed.push((part.clone(), format!("its {part} {shape} is new")));
        }
    }
    changed
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
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::entry::LoggedInput;
    use super::*;

    fn operator(name: &str, role: Role, schema: Option<SavedSchema>) -> SavedOperator {
        SavedOperator {
            id: OperatorId::of_name(name, 0),
            name: name.to_string(),
            site: format!("{name}.rs:1"),
            role,
            schema,
        }
    }

    fn state(name: &str, version: u32, shape: &str) -> SavedOperator {
        let parts = vec![("key".to_string(), "str".to_string()), ("state".to_string(), shape.to_string())];
        operator(name, Role::State, Some(SavedSchema { method: "map_with_state".to_string(), version, parts }))
    }

    fn manifest(operators: &[SavedOperator]) -> Manifest {
        Manifest {
            app: "clicks".to_string(),
            batch_interval: Duration::from_secs(1),
            zero_time: Time::ZERO,
            key_groups: 4096,
            operators: operators.to_vec(),
        }
    }

    fn batch(second: i64, of: &str) -> LoggedBatch {
        let input = LoggedInput {
            operator: OperatorId::of_name(of, 0),
            plan: Arc::from([]),
            records: 3,
            description: String::new(),
        };
        LoggedBatch { time: Time::from_millis(1000 * second), inputs: vec![input], outputs: Vec::new(), done: false }
    }

    struct Case<'c> {
        saved: &'c [SavedOperator],
        pending: &'c [LoggedBatch],
        now: &'c [SavedOperator],
        migrations: &'c [(&'c str, u32, &'c str)],
        panes: &'c [(&'c str, &'c str)],
        upgrade: Upgrade,
        change: fn(&mut Manifest),
    }

    impl Default for Case<'_> {
        fn default() -> Self {
            Case {
                saved: &[],
                pending: &[],
                now: &[],
                migrations: &[],
                panes: &[],
                upgrade: Upgrade::new(),
                change: |_| (),
            }
        }
    }

    impl Case<'_> {
        fn compare(&self) -> Comparison {
            let mut now = manifest(self.now);
            (self.change)(&mut now);
            let mut migrations: BTreeMap<OperatorId, Vec<(u32, String)>> = BTreeMap::new();
            for (name, version, shape) in self.migrations {
                migrations.entry(OperatorId::of_name(name, 0)).or_default().push((*version, (*shape).to_string()));
            }
            let panes =
                self.panes.iter().map(|(of, panes)| (OperatorId::of_name(of, 0), OperatorId::of_name(panes, 0)));
            let program = Program { manifest: now, migrations, panes: panes.collect() };
            let saved = self.saved.iter().filter(|operator| operator.role == Role::Batches);
            let saved = saved.map(|operator| operator.id).collect();
            let placed = self.pending.iter().flat_map(|batch| &batch.inputs).map(|input| input.operator).collect();
            let left = Left { manifest: &manifest(self.saved), batches: self.pending, saved, placed };
            compare(Some(left), &program, &self.upgrade)
        }

        /// How the case is decided, and the lines.
        fn check(&self, kind: DifferenceKind, lines: &[&str]) {
            let found = self.compare();
            let found_lines: Vec<&str> = found.differences.iter().map(|difference| difference.line.as_str()).collect();
            assert_eq!(found_lines, lines);
            assert_eq!(found.differences.iter().map(|difference| difference.kind).max(), Some(kind), "{lines:?}");
            assert_eq!(found.check().is_err(), kind == DifferenceKind::Refused);
        }
    }

    use DifferenceKind::{Fine, Kept, Refused, Warned};

    #[test]
    fn states_are_kept_new_or_gone() {
        let (one, other) = ([state("totals", 1, "u64")], [state("sums/map_with_state", 1, "u64")]);
        let different = [state("sums/map_with_state", 1, "i64")];
        let case = Case { saved: &one, now: &one, ..Case::default() };
        case.check(Kept, &["totals.rs:1: the state `totals` is kept"]);
        let case = Case { now: &other, ..Case::default() };
        case.check(Fine, &["sums/map_with_state.rs:1: the state `sums` is new and starts empty"]);

        let gone = "the state `totals`, kept by the operator at totals.rs:1, is gone";
        let new = "sums/map_with_state.rs:1: the state `sums` is new and starts empty";
        let line = format!("{gone}: let go of it with `Upgrade::new().drop_state(\"totals\")`");
        Case { saved: &one, now: &different, ..Case::default() }.check(Refused, &[&line, new]);
        let line = format!(
            "{gone}: if it is the one at sums/map_with_state.rs:1 now, call that `.named(\"totals\")`, or say \
             `Upgrade::new().rename_state(\"totals\", \"sums\")`; let go of it with `Upgrade::new().drop_state(\"totals\")`"
        );
        Case { saved: &one, now: &other, ..Case::default() }.check(Refused, &[&line, new]);

        let dropped = Case { saved: &one, upgrade: Upgrade::new().drop_state("totals"), ..Case::default() };
        dropped.check(Warned, &[&format!("{gone}, and is let go of as the program says")]);
        assert_eq!(dropped.compare().forgotten, BTreeSet::from([one[0].id]));
        let by_variable = Case { saved: &other, upgrade: Upgrade::new().drop_state("sums"), ..Case::default() };
        assert_eq!(by_variable.compare().forgotten, BTreeSet::from([other[0].id]));
    }

    #[test]
    fn a_renamed_state_keeps_the_id_it_had() {
        let (one, other) = ([state("totals", 1, "u64")], [state("sums/map_with_state", 1, "u64")]);
        let upgrade = Upgrade::new().rename_state("totals", "sums");
        let case = Case { saved: &one, now: &other, upgrade: upgrade.clone(), ..Case::default() };
        let line = "sums/map_with_state.rs:1: the state `totals`, which is `sums/map_with_state` now, is kept";
        case.check(Kept, &[line]);
        let known_as = BTreeMap::from([(other[0].id, one[0].id)]);
        assert_eq!(case.compare().known_as, known_as);

        // From then on the checkpoint has it under its new name and its old id.
        let saved = [SavedOperator { id: one[0].id, ..other[0].clone() }];
        let case = Case { saved: &saved, now: &other, ..Case::default() };
        case.check(Kept, &["sums/map_with_state.rs:1: the state `sums` is kept"]);
        assert_eq!(case.compare().known_as, known_as);
        let unused =
            "`Upgrade::rename_state(\"totals\", \"sums\")` is not needed: remove it before it fits something else";
        Case { saved: &saved, now: &other, upgrade, ..Case::default() }
            .check(Warned, &["sums/map_with_state.rs:1: the state `sums` is kept", unused]);
    }

    #[test]
    fn a_changed_state_takes_a_version_and_a_migration() {
        let (was, is) = ("A {n: u64}", "A {n: u64, tags: [str]}");
        let new = "of its state, the field `tags: [str]` is new";
        let or_reset = "; or let it start empty with `Upgrade::new().reset_state(\"a\")`";
        let check = |old: (u32, &str), now: (u32, &str), migrations: &[(&str, u32, &str)], kind, line: &str| {
            let (saved, now) = ([state("a", old.0, old.1)], [state("a", now.0, now.1)]);
            let case = Case { saved: &saved, now: &now, migrations, ..Case::default() };
            let end = if kind == Refused { or_reset } else { "" };
            case.check(kind, &[&format!("a.rs:1: the state `a` {line}{end}")]);
        };
        let line = format!("has changed: {new}; say how, with `.version(2).migrate_from(1, |old: Old| ..)`");
        check((1, was), (1, is), &[], Refused, &line);
        let line = format!(
            "has changed: it goes from version 1 to version 2 ({new}), and the program does not say how: \
             `.migrate_from(1, |old: Old| ..)`"
        );
        check((1, was), (2, is), &[], Refused, &line);
        check((1, was), (2, is), &[("a", 1, was)], Fine, "is migrated from version 1 to version 2 as it is read");
        check(
            (1, was),
            (3, is),
            &[("a", 2, was), ("a", 1, was)],
            Fine,
            "is migrated from version 1 to version 3 as it is read",
        );
        check(
            (2, was),
            (3, is),
            &[("a", 1, was)],
            Refused,
            &format!(
                "has changed: it goes from version 2 to version 3 ({new}), and the program does not say how: \
             `.migrate_from(2, |old: Old| ..)`"
            ),
        );
        check(
            (1, was),
            (2, is),
            &[("a", 1, "A {n: u32}")],
            Refused,
            "has changed: `migrate_from(1, ..)` takes another type than there is: the field `n` was u64 and is u32",
        );
        check(
            (2, is),
            (1, was),
            &[],
            Refused,
            "has changed: it has version 2, and the program version 1: start a program that is as new as the checkpoint",
        );
    }

    #[test]
    fn keys_and_methods_do_not_change() {
        let saved = [state("a", 1, "u64")];
        let schema = |method: &str, key: &str| {
            let parts = vec![("key".to_string(), key.to_string()), ("state".to_string(), "u64".to_string())];
            [operator("a", Role::State, Some(SavedSchema { method: method.to_string(), version: 2, parts }))]
        };
        let or_reset = "or let it start empty with `Upgrade::new().reset_state(\"a\")`";
        let key = format!(
            "a.rs:1: the state `a` has changed: of its key, it was str and is u64, which no migration can change; move it to a \
             new name; {or_reset}"
        );
        Case {
            saved: &saved,
            now: &schema("map_with_state", "u64"),
            migrations: &[("a", 1, "u64")],
            ..Case::default()
        }
        .check(Refused, &[&key]);
        let method = format!(
            "a.rs:1: the state `a` has changed: it was kept by map_with_state and is kept by update_state_by_key; move it to a \
             new name; {or_reset}"
        );
        let now = schema("update_state_by_key", "str");
        Case { saved: &saved, now: &now, ..Case::default() }.check(Refused, &[&method]);
        let reset = Case { saved: &saved, now: &now, upgrade: Upgrade::new().reset_state("a"), ..Case::default() };
        assert_eq!(reset.compare().forgotten, BTreeSet::from([saved[0].id]));
        assert!(reset.compare().check().is_ok());
        // Not what is as it was: the consent may be left from the last upgrade.
        let kept = Case { saved: &saved, now: &saved, upgrade: Upgrade::new().reset_state("a"), ..Case::default() };
        let unused = "`Upgrade::reset_state(\"a\")` is not needed: remove it before it fits something else";
        kept.check(Warned, &["a.rs:1: the state `a` is kept", unused]);
        assert!(kept.compare().forgotten.is_empty());
    }

    #[test]
    fn what_batches_that_are_not_done_need_is_refused() {
        let lines = [operator("lines", Role::Input, None)];
        Case { saved: &lines, now: &lines, ..Case::default() }.check(Kept, &["lines.rs:1: the input `lines` goes on"]);
        Case { now: &lines, ..Case::default() }.check(Fine, &["lines.rs:1: the input `lines` is new"]);
        Case { saved: &lines, ..Case::default() }.check(Fine, &["the input `lines`, built at lines.rs:1, is gone"]);
        let pending = [batch(1, "lines"), batch(2, "lines")];
        let refused = "the input `lines`, built at lines.rs:1, is gone, and 2 batches from 1000 ms to 2000 ms are not done and \
                       have records of it: start the older program once and stop it gracefully, or let go of it with \
                       `Upgrade::new().drop_input(\"lines\")`";
        Case { saved: &lines, pending: &pending, ..Case::default() }.check(Refused, &[refused]);
        let upgrade = Upgrade::new().drop_input("lines");
        Case { saved: &lines, pending: &pending, upgrade, ..Case::default() }
            .check(Warned, &["the input `lines` is gone, and with it records of 2 batches from 1000 ms to 2000 ms"]);

        let done = [LoggedBatch { done: true, ..batch(1, "lines") }];
        let clicks = [operator("clicks", Role::Input, None)];
        let refused = "the input `lines`, built at lines.rs:1, is gone, and the checkpoint knows where it has come to: if it is \
                       the one at clicks.rs:1 now, call that `.named(\"lines\")`, or say \
                       `Upgrade::new().rename_input(\"lines\", \"clicks\")`; let go of it with \
                       `Upgrade::new().drop_input(\"lines\")`";
        let case = Case { saved: &lines, pending: &done, now: &clicks, ..Case::default() };
        case.check(Refused, &[refused, "clicks.rs:1: the input `clicks` is new"]);
        let upgrade = Upgrade::new().rename_input("lines", "clicks");
        let case = Case { saved: &lines, pending: &done, now: &clicks, upgrade, ..Case::default() };
        case.check(Kept, &["clicks.rs:1: the input `lines` goes on"]);
        assert_eq!(case.compare().known_as, BTreeMap::from([(clicks[0].id, lines[0].id)]));
        // From then on under its new name and its old id.
        let saved = [SavedOperator { id: lines[0].id, ..clicks[0].clone() }];
        let case = Case { saved: &saved, pending: &done, now: &clicks, ..Case::default() };
        case.check(Kept, &["clicks.rs:1: the input `clicks` goes on"]);
        assert_eq!(case.compare().known_as, BTreeMap::from([(clicks[0].id, lines[0].id)]));

        let print = [operator("print", Role::Output, None)];
        Case { now: &print, ..Case::default() }.check(Fine, &["print.rs:1: the output `print` is new"]);
        Case { saved: &print, ..Case::default() }.check(Fine, &["the output `print`, built at print.rs:1, is gone"]);
        Case { saved: &print, pending: &pending[..1], ..Case::default() }
            .check(Warned, &["the output `print`, built at print.rs:1, is gone, and does not get batch 1000 ms"]);

        let change = |manifest: &mut Manifest| manifest.batch_interval = Duration::from_secs(2);
        Case { change, ..Case::default() }.check(Fine, &["the batch interval was 1s and is 2s"]);
        let refused = "the batch interval was 1s and is 2s, and batch 1000 ms is not done: start once with \
                       `batch_interval(1s)`, and stop gracefully";
        Case { change, pending: &pending[..1], ..Case::default() }.check(Refused, &[refused]);
    }

    fn batches(name: &str) -> SavedOperator {
        let parts = vec![("records".to_string(), "u64".to_string())];
        let schema = SavedSchema { method: "checkpoint".to_string(), version: 1, parts };
        operator(name, Role::Batches, Some(schema))
    }

    #[test]
    fn totals_do_not_go_on_without_their_panes() {
        let [old, new] = ["totals", "sums"].map(|name| [state(name, 1, "u64"), batches(&format!("{name}/panes"))]);
        let (of_old, of_new) = ([("totals", "totals/panes")], [("sums", "sums/panes")]);
        let kept = [
            "totals.rs:1: the state `totals` is kept",
            "totals/panes.rs:1: the saved batches of `totals/panes` are kept",
        ];
        Case { saved: &old, now: &old, panes: &of_old, ..Case::default() }.check(Kept, &kept);
        let upgrade = Upgrade::new().rename_state("totals", "sums");
        let case = Case { saved: &old, now: &new, panes: &of_new, upgrade, ..Case::default() };
        assert!(case.compare().check().is_ok(), "panes go with the name of their window");
        assert_eq!(case.compare().known_as, BTreeMap::from([(new[0].id, old[0].id), (new[1].id, old[1].id)]));

        let (saved, now) = ([old[0].clone(), batches("a")], [old[0].clone(), batches("b")]);
        let panes = [("totals", "b")];
        let totals = "totals.rs:1: the totals of the window `totals` are in the checkpoint, and the panes that they were made \
                      from are not";
        let refused = [
            kept[0],
            "the saved batches of `a`, built at a.rs:1, are gone: if they are those of the one at b.rs:1 now, say \
             `Upgrade::new().rename_state(\"a\", \"b\")`; let go of them with `Upgrade::new().drop_state(\"a\")`",
            &format!(
                "{totals}, and could never be taken off: feed the window as before, or let it start empty with \
                 `Upgrade::new().reset_state(\"totals\")`"
            ),
        ];
        Case { saved: &saved, now: &now, panes: &panes, ..Case::default() }.check(Refused, &refused);
        let upgrade = Upgrade::new().rename_state("a", "b");
        let case = Case { saved: &saved, now: &now, panes: &panes, upgrade, ..Case::default() };
        case.check(Kept, &[kept[0], "b.rs:1: the saved batches of `a` are kept"]);
        let upgrade = Upgrade::new().drop_state("a").reset_state("totals");
        let case = Case { saved: &saved, now: &now, panes: &panes, upgrade, ..Case::default() };
        let let_go = "the saved batches of `a`, built at a.rs:1, are gone, and are let go of as the program says";
        case.check(Warned, &[kept[0], let_go, &format!("{totals}: it starts empty, as the program says")]);
        assert_eq!(case.compare().forgotten, BTreeSet::from([saved[0].id, saved[1].id]));
    }

    #[test]
    fn equal_outputs_are_told_apart_by_their_order() {
        let output = |name: &str| {
            let parts = vec![("equals".to_string(), "one".to_string())];
            operator(name, Role::Output, Some(SavedSchema { method: "print".to_string(), version: 1, parts }))
        };
        let [one, two] = ["one", "two"].map(output);
        let both = [one.clone(), two.clone()];
        let check = |saved: &[SavedOperator], now: &[SavedOperator], done: &[&SavedOperator], is_refused: bool| {
            let outputs = done.iter().map(|output| (output.id, None)).collect();
            let pending = [LoggedBatch { outputs, inputs: Vec::new(), ..batch(1, "") }];
            let case = Case { saved, pending: &pending, now, ..Case::default() };
            assert_eq!(case.compare().check().is_err(), is_refused, "{:?}", case.compare().differences);
            let upgrade = Upgrade::new().run_outputs_again();
            let case = Case { saved, pending: &pending, now, upgrade, ..Case::default() }.compare();
            assert!(case.check().is_ok());
            assert_eq!(case.again.is_empty(), !is_refused);
        };
        check(&both, &both, &[&one], false);
        check(&both, &both[..1], &[&one], true);
        check(&both, &both[..1], &[], false);
        check(&both, &both[..1], &[&one, &two], false);
        check(&both, &[], &[&one], false);
        check(&both[..1], &both, &[&one], true);
        check(&both[..1], &both, &[], false);
    }

    #[test]
    fn a_checkpoint_is_of_one_program() {
        let change = |manifest: &mut Manifest| manifest.app = "views".to_string();
        let refused = "the checkpoint is of the program `clicks`, and this one is called `views`: give it a directory of its \
                       own, or take this one over with `Upgrade::new().from_app(\"clicks\")`";
        Case { change, ..Case::default() }.check(Refused, &[refused]);
        let upgrade = Upgrade::new().from_app("clicks");
        Case { change, upgrade, ..Case::default() }
            .check(Fine, &["the program `views` goes on from the checkpoint of `clicks`"]);
    }

    #[test]
    fn two_states_of_one_name_are_refused_also_without_a_checkpoint() {
        let second =
            SavedOperator { id: OperatorId::of_name("a", 1), site: "b.rs:2".to_string(), ..state("a", 1, "u64") };
        let manifest = manifest(&[state("a", 1, "u64"), second]);
        let program = Program { manifest, migrations: BTreeMap::new(), panes: BTreeMap::new() };
        let found = compare(None, &program, &Upgrade::new());
        let error = found.check().unwrap_err().to_string();
        let expected = "the checkpoint does not fit the program: b.rs:2: an operator keeps state under the name `a`, and so does \
                        the one at a.rs:1: give each a name of its own with `.named(..)`";
        assert_eq!(error, expected);
    }

    #[test]
    fn all_refusals_are_in_one_error() {
        let (a, b) = (state("a", 1, "u64"), state("b", 1, "u64"));
        let error = Case { saved: &[a, b], ..Case::default() }.compare().check().unwrap_err().to_string();
        let lines: Vec<&str> = error.lines().collect();
        assert_eq!(lines.len(), 3, "{error}");
        assert_eq!(lines[0], "the checkpoint does not fit the program in 2 ways:");
        assert!(lines[1].starts_with("  the state `a`") && lines[2].starts_with("  the state `b`"), "{error}");
    }
}
