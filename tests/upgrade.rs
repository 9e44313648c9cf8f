//! A program is replaced by a newer version of itself, and its state goes on: two programs, `tests/upgrade/v1.rs` and
//! `v2.rs`, on one checkpoint.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Cargo builds both versions before it runs the tests, as examples.
fn run(version: &str, directory: &Path, arguments: &[&str]) -> Output {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples").join(format!("upgrade_{version}"));
    assert!(program.exists(), "{} is not built: run `cargo build --examples` first", program.display());
    Command::new(program).arg(directory).args(arguments).output().unwrap()
}

/// What a run that went well has printed.
fn lines(output: &Output) -> BTreeSet<String> {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_string).collect()
}

/// The clicks of a user in some batches.
fn clicks(user: u64, batches: std::ops::RangeInclusive<u64>) -> u64 {
    batches.map(|batch| batch * 10 + user).sum()
}

#[test]
fn state_goes_on_in_a_newer_version_of_the_program() {
    let directory = TempDir::new().unwrap();
    let first = lines(&run("v1", directory.path(), &[]));
    for user in 0..5 {
        let name = format!("\"user {user}\"");
        assert!(first.contains(&format!("sum ({name}, {})", clicks(user, 1..=4))), "{first:?}");
        assert!(first.contains(&format!("batches ({name}, 4)")), "{first:?}");
    }

    // Refused as it is, with all that there is to say, and nothing was changed.
    let refused = run("v2", directory.path(), &[]);
    assert!(!refused.status.success());
    let error = String::from_utf8_lossy(&refused.stderr);
    for expected in [
        "does not fit the program in 2 ways",
        "the state `clicks_per_user` has changed: of its state, the field `since_upgrade: u64` is new",
        "`.version(2).migrate_from(1, |old: Old| ..)`",
        "the state `largest`, kept by the operator at tests/upgrade/v1.rs:",
        "Upgrade::new().drop_state(\"largest\")",
    ] {
        assert!(error.contains(expected), "{expected} in {error}");
    }

    let second = lines(&run("v2", directory.path(), &["consent"]));
    for user in 0..5 {
        let name = format!("\"user {user}\"");
        for batch in 5..=8 {
            let (sum, since) = (clicks(user, 1..=batch), clicks(user, 5..=batch));
            assert!(second.contains(&format!("sum ({name}, {sum}, {since})")), "{second:?}");
            assert!(second.contains(&format!("batches ({name}, {batch})")), "{second:?}");
        }
        assert!(second.contains(&format!("smallest ({name}, {})", 50 + user)), "{second:?}");
        assert!(!second.contains(&format!("smallest ({name}, {})", 10 + user)), "new, and so empty: {second:?}");
    }
    assert!(!second.iter().any(|line| line.starts_with("largest")));
}
