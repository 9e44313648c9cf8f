use super::states::parts_changed;
use super::{Comparer, DifferenceKind, Left};
use crate::checkpoint::entry::{Role, SavedOperator};
use crate::checkpoint::upgrade::Consent;
use crate::checkpoint::upgrade::names::short_name;
use crate::id::{PANES, part_name};

impl Comparer<'_> {
    /// Streams whose batches are saved, and among them the panes of windows, of whose totals `states` has those that are
    /// kept.
    pub(super) fn compare_batches(&mut self, left: &Left<'_>, states: &[(&SavedOperator, &SavedOperator)]) {
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
}
