//! A program with state and a checkpoint is killed with SIGKILL wherever it happens to be, 200 times: in the end every
//! record has gone into its sum once, every batch has written what it would have written in an unbroken run, and no batch
//! has ever written anything else. A program that is only stopped, and overtaken, ends when it goes on.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{self, Subscription};
use tidemill::prelude::*;
use tidemill::{Checkpoint, KeyState, OutputFailure, StateSpec};

use super::{PATIENCE, Program, committed, params};

const KILLS: u64 = 200;
const PARTITIONS: usize = 3;
const INTERVAL: Duration = Duration::from_millis(20);

const BROKERS: &str = "TIDEMILL_TEST_CRASH_BROKERS";
const FOLDER: &str = "TIDEMILL_TEST_CRASH_FOLDER";
/// The number of the run, which is in the names of the files that it writes.
const RUN: &str = "TIDEMILL_TEST_CRASH_RUN";
/// How many outputs there are.
const OUTPUTS: &str = "TIDEMILL_TEST_CRASH_OUTPUTS";
/// What follows when the second output fails, as it does now and then: `stop` or `continue`. Otherwise it does not fail.
const FAILING: &str = "TIDEMILL_TEST_CRASH_FAILING";
/// The lease, if the program is to wait for its predecessor to go.
const LEASE: &str = "TIDEMILL_TEST_CRASH_LEASE";

/// The program under test: this test binary, started once more with the variables set.
///
/// It adds up numbers by key, and each output writes what a batch brings to a file of its own under the time of the
/// batch: a line `PARTITION OFFSET KEY SUM` for each record. It prints `started`, and `begin TIME` and `out TIME` around
/// every output of a batch with records.
#[test]
fn child() {
    let Ok(brokers) = env::var(BROKERS) else { return };
    let context = Arc::new(program(&brokers).unwrap());
    // The harness has begun a line of its own.
    println!();
    if let Err(error) = context.start() {
        return println!("failed: {error}");
    }
    println!("started");
    let stopped = Arc::clone(&context);
    std::thread::spawn(move || {
        // The parent lets go of standard input to end the program gracefully.
        std::io::stdin().lock().read_line(&mut String::new()).unwrap();
        // The error is the one that the other thread waits for.
        let _ = stopped.stop(Stop::Gracefully);
    });
    match context.await_termination() {
        Ok(()) => println!("ended"),
        Err(error) => println!("failed: {error}"),
    }
}

fn program(brokers: &str) -> Result<StreamingContext> {
    let folder = PathBuf::from(env::var(FOLDER).unwrap());
    let run: u64 = env::var(RUN).unwrap().parse().unwrap();
    let outputs: usize = env::var(OUTPUTS).unwrap().parse().unwrap();
    let failing = env::var(FAILING).unwrap_or_default();
    let mut checkpoint = Checkpoint::new(folder.join("checkpoint"));
    if let Ok(lease) = env::var(LEASE) {
        checkpoint = checkpoint.standby(Duration::from_millis(lease.parse().unwrap()));
    }
    let then = if failing == "continue" { OutputFailure::Continue } else { OutputFailure::Stop };
    let builder = StreamingContext::builder("sums").batch_interval(INTERVAL).workers(2).on_output_failure(then);
    StreamingContext::get_or_create(builder.checkpoint(checkpoint), |context| {
        let records = kafka::direct_stream(context, params(brokers, "sums"), Subscription::topics(["numbers"]));
        let numbers = records.try_map(|record| {
            let (key, number) = record.value_utf8()?.split_once(' ').ok_or_else(|| Error::user("no key"))?;
            let place = (record.partition, record.offset);
            Ok((key.parse::<u64>().map_err(Error::user)?, (place, number.parse::<u64>().map_err(Error::user)?)))
        });
        let add = |key: &u64, number: Option<((i32, i64), u64)>, sum: &mut KeyState<'_, u64>| {
            let ((partition, offset), number) = number.unwrap_or_default();
            let total = sum.get().unwrap_or(&0) + number;
            sum.update(total);
            format!("{partition} {offset} {key} {total}\n")
        };
        let sums = numbers.map_with_state(StateSpec::function(add)).mapped();
        for output in 0..outputs {
            let (folder, fails) = (folder.join(output.to_string()), output == 1 && !failing.is_empty());
            fs::create_dir_all(&folder)?;
            sums.foreach_batch(move |sums, batch| {
                let mut lines = sums.collect()?;
                if lines.is_empty() {
                    return Ok(());
                }
                let time = batch.time.as_micros();
                println!("begin {time}");
                // It fails before it has written anything, or after.
                let luck = (time as u64 / 20_000).wrapping_mul(31).wrapping_add(run * 17) % 13;
                if fails && luck == 0 {
                    return Err(Error::user("no luck"));
                }
                lines.sort();
                let name = folder.join(format!("{time}.{run}"));
                let draft = name.with_extension(format!("{run}.draft"));
                fs::write(&draft, lines.concat())?;
                fs::rename(&draft, &name)?;
                if fails && luck == 1 {
                    return Err(Error::user("no luck"));
                }
                println!("out {time}");
                Ok(())
            });
        }
        Ok(())
    })
}

/// What the program is to read, and where it lives.
struct Stage {
    broker: EmbeddedBroker,
    folder: tempfile::TempDir,
    outputs: usize,
    runs: u64,
    luck: u64,
    sums: BTreeMap<u64, u64>,
    sent: usize,
    /// What is expected of each record, by partition and offset.
    expected: BTreeMap<(usize, usize), String>,
}

impl Stage {
    fn new(outputs: usize) -> Self {
        let broker = EmbeddedBroker::start(1).unwrap();
        broker.create_topic("numbers", PARTITIONS).unwrap();
        let seed = env::var("TIDEMILL_TEST_SEED").map_or_else(
            |_| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
            |seed| seed.parse().unwrap(),
        );
        println!("TIDEMILL_TEST_SEED={seed}");
        let folder = tempfile::tempdir().unwrap();
        let (sums, expected) = (BTreeMap::new(), BTreeMap::new());
        Stage { broker, folder, outputs, runs: 0, luck: seed | 1, sums, sent: 0, expected }
    }

    /// A number below `limit`.
    fn random(&mut self, limit: u64) -> u64 {
        self.luck ^= self.luck << 13;
        self.luck ^= self.luck >> 7;
        self.luck ^= self.luck << 17;
        self.luck % limit
    }

    /// Sends records. All of a key are in one partition, so that its sums have one order.
    fn send(&mut self, count: u64) {
        let mut values = Vec::new();
        for _ in 0..count {
            let (partition, offset) = (self.sent % PARTITIONS, self.sent / PARTITIONS);
            let (key, number) = (self.random(10) * PARTITIONS as u64 + partition as u64, self.random(1000));
            let sum = self.sums.entry(key).or_default();
            *sum += number;
            self.expected.insert((partition, offset), format!("{partition} {offset} {key} {sum}"));
            values.push(format!("{key} {number}"));
            self.sent += 1;
        }
        self.broker.send("numbers", values).unwrap();
    }

    fn start(&mut self, variables: &[(&str, &str)]) -> Program {
        self.runs += 1;
        let (brokers, folder) = (self.broker.bootstrap_servers(), self.folder.path().display().to_string());
        let (run, outputs) = (self.runs.to_string(), self.outputs.to_string());
        let always = [(BROKERS, &*brokers), (FOLDER, &*folder), (RUN, &*run), (OUTPUTS, &*outputs)];
        Program::start("crashes::child", &[&always, variables].concat())
    }

    /// What an output has written, by batch time, and how often. No batch has written two different things.
    fn written(&self, output: usize) -> BTreeMap<i64, (String, u32)> {
        let mut written: BTreeMap<i64, (String, u32)> = BTreeMap::new();
        for file in fs::read_dir(self.folder.path().join(output.to_string())).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.ends_with(".draft") {
                continue;
            }
            let (time, _) = name.split_once('.').unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let (first, times) = written.entry(time.parse().unwrap()).or_insert_with(|| (text.clone(), 0));
            assert_eq!(*first, text, "the batch at {time} µs has written two things");
            *times += 1;
        }
        written
    }

    /// What an output has written of each record; none twice.
    fn lines(written: &BTreeMap<i64, (String, u32)>) -> BTreeMap<(usize, usize), String> {
        let mut lines = BTreeMap::new();
        for (time, (text, _)) in written {
            for line in text.lines() {
                let words: Vec<usize> = line.split(' ').map(|word| word.parse().unwrap()).collect();
                let twice = lines.insert((words[0], words[1]), line.to_string());
                assert_eq!(twice, None, "in another batch and in that at {time} µs");
            }
        }
        lines
    }

    /// Nothing is committed that has not gone out.
    fn check_commits(&self) -> Vec<i64> {
        let committed = committed(&self.broker.bootstrap_servers(), "sums", "numbers", PARTITIONS as i32);
        let lines = Stage::lines(&self.written(0));
        for (partition, committed) in committed.iter().enumerate() {
            let missing = (0..*committed as usize).find(|offset| !lines.contains_key(&(partition, *offset)));
            assert_eq!(missing, None, "partition {partition}: {committed} is committed");
        }
        committed
    }

    /// Lets the program end what is left, and compares all that was written with what was to be.
    fn end(mut self) {
        let mut program = self.start(&[]);
        self.send(10);
        let begun = Instant::now();
        let all_of = |stage: &Stage, output| Stage::lines(&stage.written(output)).len() == stage.sent;
        while !(0..self.outputs).all(|output| all_of(&self, output)) {
            assert!(begun.elapsed() < PATIENCE, "something is missing");
            let line = program.line();
            assert!(!line.starts_with("failed"), "{line}");
        }
        let rest = program.end();
        assert!(rest.iter().any(|line| line == "ended"), "{rest:?}");
        for output in 0..self.outputs {
            assert_eq!(Stage::lines(&self.written(output)), self.expected, "output {output}");
        }
        assert_eq!(self.check_commits().iter().sum::<i64>(), self.sent as i64, "a graceful stop commits everything");
    }
}

/// Waits until the program prints a line that begins so, or has failed.
fn wait_for(program: &mut Program, start: &str) {
    loop {
        let line = program.line();
        if line.starts_with(start) || line.starts_with("failed") {
            break;
        }
    }
}

/// Kills the program at any moment: while it starts, recovers, runs a batch or waits for one.
fn kill_over_and_over(stage: &mut Stage, variables: &[(&str, &str)]) {
    for kill in 0..KILLS {
        let count = stage.random(60);
        stage.send(count);
        let mut program = stage.start(variables);
        // Every fourth time it may not even have started, and every tenth it has done something, however busy the machine.
        if kill % 4 != 0 {
            wait_for(&mut program, "started");
        }
        if kill % 10 == 9 {
            stage.send(1);
            wait_for(&mut program, "out");
        }
        let (count, first, second) = (stage.random(60), stage.random(60), stage.random(60));
        program.read_for(Duration::from_millis(first));
        stage.send(count);
        program.read_for(Duration::from_millis(second));
        let last = program.kill();
        assert!(!last.iter().any(|line| line.contains("panicked")), "{last:?}");
    }
}

#[test]
fn killed_anywhere_sums_are_exact_and_no_batch_changes() {
    let mut stage = Stage::new(1);
    kill_over_and_over(&mut stage, &[]);
    stage.check_commits();
    let written = stage.written(0);
    let again = written.values().filter(|(_, times)| *times > 1).count();
    println!("{} batches, {again} of them more than once", written.len());
    assert!(written.len() as u64 >= KILLS / 20, "the program has hardly run");
    stage.end();
}

/// A batch may be killed between its outputs: what one has done is not done again for the other.
#[test]
fn killed_anywhere_two_outputs_get_every_batch() {
    let mut stage = Stage::new(2);
    kill_over_and_over(&mut stage, &[]);
    stage.check_commits();
    let batches = [0, 1].map(|output| stage.written(output).len() as u64);
    assert!(batches.iter().all(|batches| *batches >= KILLS / 20), "the program has hardly run: {batches:?}");
    stage.end();
}

#[test]
fn killed_anywhere_an_output_that_ends_the_program_now_and_then_gets_every_batch() {
    killed_with_an_output_that_fails("stop");
}

#[test]
fn killed_anywhere_an_output_that_is_gone_on_without_gets_every_batch_later() {
    killed_with_an_output_that_fails("continue");
}

fn killed_with_an_output_that_fails(failing: &str) {
    let mut stage = Stage::new(2);
    for _ in 0..20 {
        let mut program = stage.start(&[(FAILING, failing)]);
        wait_for(&mut program, "started");
        for _ in 0..20 {
            let (count, length) = (stage.random(20), stage.random(60));
            stage.send(count);
            program.read_for(Duration::from_millis(length));
        }
        program.kill();
    }
    for output in [0, 1] {
        let written = stage.written(output);
        let again = written.values().filter(|(_, times)| *times > 1).count();
        println!("{failing}: output {output} has written {} batches, {again} of them more than once", written.len());
        // Now and then it fails after it has written: those batches came again.
        assert!(again > 0 || output == 0, "nothing ran again");
    }
    stage.end();
}

fn signal(program: &Program, signal: &str) {
    let sent = Command::new("kill").args([signal, &program.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The name of the file that a batch has written in a run.
fn has_written(folder: &Path, time: &str, run: u64) -> bool {
    folder.join("0").join(format!("{time}.{run}")).exists()
}

#[test]
fn a_program_that_was_stalled_and_overtaken_ends_when_it_goes_on() {
    let mut stage = Stage::new(1);
    let mut first = stage.start(&[]);
    stage.send(30);
    while !first.line().starts_with("out") {}
    // Not in the middle of an output: what has begun cannot be called back.
    loop {
        signal(&first, "-STOP");
        let lines = first.read_for(Duration::from_millis(50));
        if lines.last().is_none_or(|line| !line.starts_with("begin")) {
            break;
        }
        signal(&first, "-CONT");
        while !first.line().starts_with("out") {}
    }
    // Work for the first, should it go on.
    stage.send(30);
    let mut second = stage.start(&[(LEASE, "2000")]);
    let out = loop {
        let line = second.line();
        if let Some(time) = line.strip_prefix("out ") {
            break time.to_string();
        }
    };
    assert!(has_written(stage.folder.path(), &out, 2));
    stage.send(30);
    signal(&first, "-CONT");
    let rest = first.rest();
    assert!(!rest.iter().any(|line| line.starts_with("begin") || line.starts_with("out")), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("failed: ") && line.contains("fenced by ")), "{rest:?}");
    second.end();
    stage.end();
}

#[test]
fn a_second_program_is_refused_while_the_first_lives() {
    let mut stage = Stage::new(1);
    let mut first = stage.start(&[]);
    while first.line() != "started" {}
    let mut second = stage.start(&[]);
    let rest = second.rest();
    let refused = |line: &String| line.starts_with("failed: ") && line.contains("which still runs");
    assert!(rest.iter().any(refused) && !rest.iter().any(|line| line == "started"), "{rest:?}");
    stage.send(10);
    while !first.line().starts_with("out") {}
    first.end();
    stage.end();
}
