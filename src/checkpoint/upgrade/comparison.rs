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
            let name = part_name(&old.name, PANES);
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
mod tests;
