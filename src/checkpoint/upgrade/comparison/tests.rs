use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::checkpoint::entry::LoggedInput;

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
        let panes = self.panes.iter().map(|(of, panes)| (OperatorId::of_name(of, 0), OperatorId::of_name(panes, 0)));
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
    case.check(Fine, &["sums/map_with_state.rs:1: the state `sums` is new"]);

    let gone = "the state `totals`, kept by the operator at totals.rs:1, is gone";
    let new = "sums/map_with_state.rs:1: the state `sums` is new";
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
    let unused = "`Upgrade::rename_state(\"totals\", \"sums\")` is not needed: remove it before it fits something else";
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
    Case { saved: &saved, now: &schema("map_with_state", "u64"), migrations: &[("a", 1, "u64")], ..Case::default() }
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
    let kept =
        ["totals.rs:1: the state `totals` is kept", "totals/panes.rs:1: the saved batches of `totals/panes` are kept"];
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
    let second = SavedOperator { id: OperatorId::of_name("a", 1), site: "b.rs:2".to_string(), ..state("a", 1, "u64") };
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
