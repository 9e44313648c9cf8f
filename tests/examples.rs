//! The examples as a user runs them: as programs, by what they print and how they end.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Cargo builds the examples before it runs the tests, next to them.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.ancestors().nth(2).unwrap().join("examples");
    let program: PathBuf = folder.join(name);
    assert!(program.exists(), "{} is not built: run `cargo build --examples` first", program.display());
    Command::new(program)
}

/// The two totals of `lines produced N, lines counted M`, the last line of the program.
fn totals(stdout: &str) -> (u64, u64) {
    let last = stdout.lines().last().unwrap_or_default();
    let rest = last.strip_prefix("lines produced ").unwrap_or_else(|| panic!("no totals in {last:?}"));
    let (produced, counted) = rest.split_once(", lines counted ").unwrap();
    (produced.parse().unwrap(), counted.parse().unwrap())
}

fn run(arguments: &[&str]) -> Output {
    example("word_count").args(arguments).output().unwrap()
}

#[test]
fn word_count_counts_every_line_that_was_produced() {
    let output = run(&["--interval", "200ms", "--window", "1s", "--batches", "5"]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    assert!(stdout.lines().filter(|line| line.starts_with("batch ")).count() >= 5, "a line a batch: {stdout}");
    assert!(!stdout.contains('\x1b'), "no terminal codes in a pipe");
    let (produced, counted) = totals(&stdout);
    assert!(produced > 0);
    assert_eq!(produced, counted);
}

#[cfg(unix)]
#[test]
fn word_count_ends_gracefully_on_sigterm_and_on_ctrl_c() {
    for signal in ["-TERM", "-INT"] {
        let mut child = example("word_count")
            .args(["--interval", "100ms", "--window", "1s", "--rate", "20000"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let batches = lines.by_ref().filter(|line| line.starts_with("batch ")).take(3).count();
        assert_eq!(batches, 3);
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let rest: Vec<String> = lines.collect();
        assert!(child.wait().unwrap().success(), "{signal}: {rest:?}");
        let (produced, counted) = totals(rest.last().unwrap());
        assert!(produced > 0);
        assert_eq!(produced, counted, "{signal}");
    }
}

/// A full disk: counting goes on, and the end says what could not be written.
#[cfg(target_os = "linux")]
#[test]
fn word_count_tells_that_its_output_cannot_be_written() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut program = example("word_count");
    program.args(["--interval", "100ms", "--window", "1s", "--batches", "3"]);
    let output = program.stdout(full).stderr(Stdio::piped()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("lines produced") && error.contains("No space left"), "{error}");
}

#[test]
fn hourly_files_writes_what_a_batch_job_reads() {
    let folder = tempfile::tempdir().unwrap();
    let expected = "wrote levels-3600000.txt: 120 readings in 2 parts\n\
                    wrote levels-7200000.txt: 120 readings in 2 parts\n\
                    wrote levels-10800000.txt: 120 readings in 2 parts\n\
                    the job read 3 directories: 360 readings; highest mean 97 cm at north, in means-10800000\n";
    // The second run replaces what the first has written.
    for _ in 0..2 {
        let output = example("hourly_files").arg("--folder").arg(folder.path()).output().unwrap();
        assert_eq!((output.status.success(), String::from_utf8(output.stdout).unwrap().as_str()), (true, expected));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 6);
    }
    std::fs::write(folder.path().join("means-3600000/notes"), "").unwrap();
    let output = example("hourly_files").arg("--folder").arg(folder.path()).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("batch 3600000 ms") && error.contains("`notes`"), "{error}");
}

#[test]
fn sessions_end_after_silence() {
    let output = example("sessions").output().unwrap();
    let expected = "batch 1\nbatch 2\nbatch 3\nbatch 4\nbatch 5: bob left after 1 click\nbatch 6\n\
                    batch 7: ada left after 4 clicks\nbatch 8\nbatch 9\nstill there: bob, 2 clicks\n";
    assert_eq!((output.status.success(), String::from_utf8(output.stdout).unwrap().as_str()), (true, expected));
}

#[test]
fn word_count_tells_what_is_wrong_in_one_line() {
    let error = |arguments: &[&str], code: i32| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let unreachable = error(&["--brokers", "127.0.0.1:1"], 1);
    assert_eq!(unreachable.lines().count(), 1, "{unreachable}");
    assert!(unreachable.contains("127.0.0.1:1") && unreachable.contains("Connection refused"), "{unreachable}");
    let no_multiple = error(&["--window", "1500ms"], 1);
    assert_eq!(no_multiple.lines().count(), 1, "{no_multiple}");
    assert!(no_multiple.contains("no multiple"), "{no_multiple}");
    assert!(error(&["--intervall", "1s"], 2).contains("--interval"));
    assert!(error(&["--interval", "5"], 2).contains("no unit"));
}

/// A full disk ends the other examples in an error of one line too.
#[cfg(target_os = "linux")]
#[test]
fn examples_tell_that_their_output_cannot_be_written() {
    for name in ["join_streams", "kafka_to_kafka", "typed_records", "overload"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = example(name).stdout(full).stderr(Stdio::piped()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {error}");
        assert!(error.contains("No space left") && !error.contains("panicked"), "{name}: {error}");
    }
}

/// How fast the machine is, is not asserted: only that both runs end with nothing left, and are drawn.
#[test]
fn overload_is_worked_off() {
    let folder = tempfile::tempdir().unwrap();
    let plot = folder.path().join("overload.svg");
    let mut program = example("overload");
    let output = program.args(["--seconds", "0.5", "--interval", "20ms", "--svg"]).arg(&plot).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "backpressure,seconds,records,scheduling_ms,processing_ms,backlog,resident_mib");
    let records = |run: &str| -> Vec<u64> {
        let batches = lines.iter().filter_map(|line| line.strip_prefix(run)?.strip_prefix(','));
        batches.map(|batch| batch.split(',').nth(1).unwrap().parse().unwrap()).collect()
    };
    let (with, without) = (records("with"), records("without"));
    // What comes in on overload, and more; the first batches have the initial rate.
    assert!(with.iter().sum::<u64>() > 14_000 && without.iter().sum::<u64>() > 14_000, "{stdout}");
    assert!(with.iter().take(2).all(|records| *records <= 200), "{with:?}");
    assert!(lines[lines.len() - 2].starts_with("with back-pressure: "), "{stdout}");
    assert!(lines[lines.len() - 1].starts_with("without back-pressure: "), "{stdout}");
    let wrong = example("overload").args(["--seconds", "nan"]).output().unwrap();
    let error = String::from_utf8(wrong.stderr).unwrap();
    assert!(wrong.status.code() == Some(2) && error.contains("nan is no number of seconds"), "{error}");
    let plot = std::fs::read_to_string(plot).unwrap();
    assert!(plot.starts_with("<svg ") && plot.ends_with("</svg>\n") && !plot.contains("NaN"), "{plot}");
}

/// The programs print what their headers say.
#[test]
fn examples_print_what_their_headers_say() {
    for (name, source) in [
        ("join_streams", include_str!("../examples/join_streams.rs")),
        ("kafka_to_kafka", include_str!("../examples/kafka_to_kafka.rs")),
        ("typed_records", include_str!("../examples/typed_records.rs")),
    ] {
        let output = example(name).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let block = source.split("It prints:\n//!\n//! ```text\n").nth(1).unwrap().split("//! ```").next().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), block.replace("//! ", ""), "{name}");
    }
}

#[test]
fn running_totals_counts_every_payment_once_however_often_it_is_killed() {
    let output = example("running_totals").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(stdout.lines().filter(|line| line.contains(" was killed after ")).count(), 5, "{stdout}");
    assert!(stdout.ends_with("ann: 5050\nbob: 10100\neve: 15150\n"), "{stdout}");
}

#[test]
fn inspect_checkpoint_lists_dumps_and_resets() {
    let directory = tempfile::TempDir::new().unwrap();
    let run = |command: &str, rest: &[&str]| {
        let output = example("inspect_checkpoint").arg(command).arg(directory.path()).args(rest).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    run("run", &[]);
    let list = run("list", &[]);
    assert!(list.contains("program clicks") && list.contains("4 records"), "{list}");
    assert!(list.contains("state clicks_per_user: 2 keys"), "{list}");
    let dump = run("dump", &["clicks_per_user"]);
    let expected =
        [r#"{"key":"ada","state":{"clicks":3,"last":"/cart"}}"#, r#"{"key":"bob","state":{"clicks":1,"last":"/"}}"#];
    assert_eq!(dump.lines().collect::<Vec<_>>(), expected);
    run("reset", &["clicks_per_user"]);
    assert_eq!(run("dump", &["clicks_per_user"]), "");
}

/// A hundred megabytes of state, under a limit of the system that leaves no room for them twice.
#[cfg(target_os = "linux")]
#[test]
fn a_large_state_is_not_doubled_by_its_snapshots_or_by_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let limited = |kib: u32, batches: &str| {
        let program = example("large_state");
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -d {kib}; exec \"$0\" \"$@\"")]).arg(program.get_program());
        shell.args(["--keys", "500000", "--batches", batches, "--directory"]).arg(folder.path()).output().unwrap()
    };
    // What a line says: the phase, keys, megabytes of state, of memory, and of memory at most.
    let lines = |output: &Output| -> Vec<(String, Vec<u64>)> {
        let stdout = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(output.status.success(), "{stdout}\n{}", String::from_utf8_lossy(&output.stderr));
        let line = |line: &str| {
            let (phase, rest) = line.split_once(": ").unwrap();
            let numbers = rest.split(' ').filter_map(|word| word.parse().ok()).collect::<Vec<u64>>();
            assert_eq!(numbers.len(), 4, "{line}");
            (phase.to_string(), numbers)
        };
        stdout.lines().map(line).collect()
    };
    let first = lines(&limited(180_000, "120"));
    let second = lines(&limited(180_000, "120"));
    assert_eq!(first.iter().map(|(phase, _)| phase.as_str()).collect::<Vec<_>>(), ["filled", "120 batches later"]);
    assert_eq!(second.iter().map(|(phase, _)| phase.as_str()).collect::<Vec<_>>(), ["restored", "120 batches later"]);
    let filled = first[0].1[2];
    // Of 128 bytes each.
    assert!(filled >= 64, "{first:?}");
    for (phase, numbers) in first.iter().chain(&second) {
        assert_eq!(numbers[0], 500_000, "{phase}");
        assert!(numbers[3] * 2 < filled * 3, "{phase}: {numbers:?} while {filled} MB were enough to fill it");
    }
    // What does not suffice ends the process. With more it goes on, and would say if a key had come too often.
    let aborted = limited(50_000, "1");
    assert!(!aborted.status.success());
    assert!(String::from_utf8_lossy(&aborted.stderr).contains("memory allocation of"), "{aborted:?}");
    assert_eq!(lines(&limited(180_000, "1"))[0].0, "restored");
}
