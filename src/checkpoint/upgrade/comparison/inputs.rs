use super::{Comparer, DifferenceKind, Left, Matched, batch_list, batches_are};
use crate::checkpoint::entry::{LoggedBatch, Role, SavedOperator};
use crate::checkpoint::upgrade::Consent;
use crate::checkpoint::upgrade::names::{called, is_given, is_named};

impl Comparer<'_> {
    pub(super) fn compare_inputs(&mut self, left: &Left<'_>, pending: &[&LoggedBatch]) {
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
}
