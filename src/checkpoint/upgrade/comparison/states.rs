use super::{Comparer, DifferenceKind};
use crate::checkpoint::entry::{Manifest, Role, SavedOperator, SavedSchema};
use crate::checkpoint::upgrade::Consent;
use crate::checkpoint::upgrade::names::{is_given, short_name};
use crate::id::OperatorId;
use crate::state::shape::differences;

impl Comparer<'_> {
    /// Compares states and returns those that are in both.
    pub(super) fn compare_states<'m>(&mut self, saved: &'m Manifest) -> Vec<(&'m SavedOperator, &'m SavedOperator)>
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
            self.say(DifferenceKind::Fine, format!("{}: the state `{name}` is new", now.site));
        }
        found.kept
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
}

/// The parts of a schema whose shapes have changed, with how.
pub(super) fn parts_changed(was: &SavedSchema, is: &SavedSchema) -> Vec<(String, String)> {
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
