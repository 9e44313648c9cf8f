use super::{Comparer, DifferenceKind, Matched, batch_list, batches_are};
use crate::checkpoint::entry::{LoggedBatch, Manifest, Role, SavedOperator};
use crate::checkpoint::upgrade::Consent;
use crate::checkpoint::upgrade::names::of_role;

impl Comparer<'_> {
    pub(super) fn compare_outputs(&mut self, saved: &Manifest, pending: &[&LoggedBatch]) {
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
    pub(super) fn compare_equal_outputs(&mut self, saved: &Manifest, pending: &[&LoggedBatch]) {
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
}
