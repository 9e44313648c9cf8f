//! What a program keeps when it is edited between two runs: all, or it is told so before anything runs.

use std::path::Path;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tempfile::{TempDir, tempdir};
use tidemill::{
    Checkpoint, DStream, Error, OutputFailure, QueueSource, Stop, StreamingContextBuilder, SyncPolicy, Upgrade,
};

use crate::harness::{Run, SECOND};

type Pairs = DStream<(i32, i32)>;

/// A checkpoint, and a queue that outlives the runs: the number of the batch for one key.
struct Program {
    directory: TempDir,
    queue: QueueSource<(i32, i32)>,
    out: (Sender<Vec<i32>>, Receiver<Vec<i32>>),
}

impl Program {
    fn new() -> Self {
        let queue = QueueSource::one_at_a_time().partitions(1);
        (1..30).for_each(|n| queue.push([(7, n)]));
        Program { directory: tempdir().expect("a directory"), queue, out: unbounded() }
    }

    fn checkpoint(&self) -> Checkpoint {
        checkpoint(self.directory.path())
    }

    /// Runs a version of the program for some batches behind so many, and returns what came out.
    fn run(&self, seconds: usize, batches: usize, build: impl FnOnce(Pairs) -> Pairs) -> Result<Vec<Vec<i32>>, Error> {
        self.run_with(seconds, batches, |builder| builder.checkpoint(self.checkpoint()), build)
    }

    fn run_with(
        &self,
        seconds: usize,
        batches: usize,
        settings: impl FnOnce(StreamingContextBuilder) -> StreamingContextBuilder,
        build: impl FnOnce(Pairs) -> Pairs,
    ) -> Result<Vec<Vec<i32>>, Error> {
        let run = Run::going_on(self.directory.path(), seconds, settings);
        let out = self.out.0.clone();
        build(run.context.input(self.queue.clone())).foreach_batch(move |pairs, _| {
            let _ = out.send(pairs.collect()?.into_iter().map(|pair| pair.1).collect());
            Ok(())
        });
        run.context.start()?;
        for second in seconds + 1..=seconds + batches {
            run.tick();
            run.has_done(second).expect("no failure");
        }
        run.context.stop(Stop::Now)?;
        Ok(self.out.1.try_iter().collect())
    }
}

fn checkpoint(directory: &Path) -> Checkpoint {
    Checkpoint::new(directory).sync(SyncPolicy::Never)
}

fn sums(pairs: &Pairs) -> Pairs {
    pairs.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 3 * SECOND, SECOND)
}

#[test]
fn a_named_window_may_be_fed_differently() {
    let without_inverse =
        |pairs: &Pairs| pairs.reduce_by_key_and_window(|a, b| a + b, 3 * SECOND, SECOND).named("sums");
    let filtered = |pairs: &Pairs| sums(pairs).named("sums").filter_keys(|_, sum| *sum > 0);
    let twice_filtered = |pairs: &Pairs| {
        let filtered = sums(pairs).named("sums").filter_keys(|_, sum| *sum > 0);
        filtered.filter_keys(|_, sum| *sum < 100)
    };
    let grouped = |pairs: &Pairs| {
        let groups = pairs.group_by_key_and_window(3 * SECOND, SECOND).named("groups");
        groups.map_values(|values| values.iter().sum())
    };
    let reduced = |pairs: &Pairs| {
        let values = pairs.map(|(_, value)| value);
        values.reduce_by_window(|a, b| a + b, 3 * SECOND, SECOND).named("sum").map(|sum| (0, sum))
    };
    let reduced_inverse = |pairs: &Pairs| {
        let values = pairs.map(|(_, value)| value);
        values.reduce_by_window_inverse(|a, b| a + b, |a, b| a - b, 3 * SECOND, SECOND).named("sum").map(|sum| (0, sum))
    };
    let windows: [fn(&Pairs) -> Pairs; 7] = [
        |pairs| sums(pairs).named("sums"),
        without_inverse,
        filtered,
        twice_filtered,
        grouped,
        reduced,
        reduced_inverse,
    ];
    for (number, window) in windows.into_iter().enumerate() {
        let program = Program::new();
        let before = program.run(0, 4, |pairs| window(&pairs)).unwrap();
        assert_eq!(before, [[1], [3], [6], [9]], "window {number}");
        let after = program.run(4, 4, |pairs| window(&pairs.filter(|_| true))).unwrap();
        assert_eq!(after, [[12], [15], [18], [21]], "window {number}");
    }
}

/// Counts of each value, and of all of them: three in a window.
#[test]
fn a_named_count_may_be_fed_differently() {
    let by_value = |pairs: &Pairs| {
        let keys = pairs.map(|(key, _)| key);
        keys.count_by_value_and_window(3 * SECOND, SECOND).named("counts").map_values(|count| count as i32)
    };
    let all = |pairs: &Pairs| pairs.count_by_window(3 * SECOND, SECOND).named("count").map(|count| (0, count as i32));
    for count in [by_value as fn(&Pairs) -> Pairs, all] {
        let program = Program::new();
        assert_eq!(program.run(0, 4, |pairs| count(&pairs)).unwrap(), [[1], [2], [3], [3]]);
        assert_eq!(program.run(4, 2, |pairs| count(&pairs.filter(|_| true))).unwrap(), [[3], [3]]);
    }
}

/// A window with a name and two of its variants, one of which comes later, over panes that all of them share.
#[test]
fn a_window_and_its_variants_share_a_name() {
    let program = Program::new();
    let odd = |sums: &Pairs| sums.filter_keys(|_, sum| sum % 2 == 1);
    let small = |sums: &Pairs| sums.filter_keys(|_, sum| *sum < 13);
    let before = program.run(0, 4, |pairs| odd(&sums(&pairs).named("sums"))).unwrap();
    assert_eq!(before, [vec![1], vec![3], vec![], vec![9]]);
    let edited = |pairs: Pairs| {
        let sums = sums(&pairs.filter(|_| true)).named("sums");
        odd(&sums).union(&small(&sums)).union(&sums)
    };
    let after = program.run(4, 2, edited).unwrap();
    assert_eq!(after, [[12, 12], [15, 15]]);
}

#[test]
fn a_window_that_gets_a_name_keeps_totals_and_panes_or_does_not_start() {
    let program = Program::new();
    program.run(0, 4, |pairs| sums(&pairs)).unwrap();
    let rename = |names: [&str; 2], upgrade: Upgrade| upgrade.rename_state(names[0], names[1]);
    let start = |upgrade: Upgrade| {
        let checkpoint = program.checkpoint().upgrade(upgrade);
        program.run_with(4, 2, |builder| builder.checkpoint(checkpoint), |pairs| sums(&pairs).named("sums"))
    };
    let error = start(Upgrade::new()).unwrap_err().to_string();
    // The names are in the error: of the totals, then of the panes.
    let proposed: Vec<[&str; 2]> = error
        .split("rename_state(\"")
        .skip(1)
        .map(|rest| {
            let mut names = rest.split('"').step_by(2);
            [names.next().unwrap(), names.next().unwrap()]
        })
        .collect();
    assert_eq!(proposed.iter().map(|names| names[1]).collect::<Vec<_>>(), ["sums", "sums/panes"], "{error}");
    let half = start(rename(proposed[0], Upgrade::new())).unwrap_err().to_string();
    assert!(half.contains("the panes that they were made from are not, and could never be taken off"), "{half}");
    let after = start(rename(proposed[1], rename(proposed[0], Upgrade::new()))).unwrap();
    assert_eq!(after, [[12], [15]]);
}

#[test]
fn an_input_that_gets_a_name_goes_on_or_does_not_start() {
    let program = Program::new();
    let states = |pairs: Pairs| {
        let add = |values: Vec<i32>, sum: Option<i32>| Some(sum.unwrap_or(0) + values.iter().sum::<i32>());
        pairs.update_state_by_key(add).named("sums")
    };
    assert_eq!(program.run(0, 3, states).unwrap(), [[1], [3], [6]]);
    let error = program.run(3, 1, |pairs| states(pairs.named("clicks"))).unwrap_err().to_string();
    let old = error.split("rename_input(\"").nth(1).and_then(|rest| rest.split('"').next());
    let old = old.unwrap_or_else(|| panic!("{error}"));
    assert!(error.contains("is gone, and the checkpoint knows where it has come to"), "{error}");
    let checkpoint = program.checkpoint().upgrade(Upgrade::new().rename_input(old, "clicks"));
    let renamed = |pairs: Pairs| states(pairs.named("clicks"));
    let after = program.run_with(3, 2, |builder| builder.checkpoint(checkpoint), renamed).unwrap();
    assert_eq!(after, [[10], [15]]);
    assert_eq!(program.run(5, 1, renamed).unwrap(), [[21]], "without the consent from then on");
}

/// Runs two outputs of one stream of which the second fails, and then without the first.
fn output_removed(upgrade: Upgrade) -> Result<Vec<Vec<i32>>, Error> {
    let program = Program::new();
    let run = Run::going_on(program.directory.path(), 0, |builder| builder.on_output_failure(OutputFailure::Continue));
    let input = run.context.input(program.queue.clone());
    input.foreach_batch(|_, _| Ok(()));
    input.foreach_batch(|_, _| Err(Error::user("away")));
    run.context.start()?;
    run.batches(1);
    run.context.stop(Stop::Now)?;
    let checkpoint = program.checkpoint().upgrade(upgrade);
    program.run_with(1, 1, |builder| builder.checkpoint(checkpoint), |pairs| pairs)
}

#[test]
fn an_output_that_is_owed_a_batch_does_not_take_the_place_of_one_that_is_not() {
    let error = output_removed(Upgrade::new()).unwrap_err().to_string();
    assert!(error.contains("was one of 2 alike and is one of 1, and batch 1000 ms is not done"), "{error}");
    assert_eq!(output_removed(Upgrade::new().run_outputs_again()).unwrap(), [[1], [2]]);
}

/// The first run has a batch each second, the second one each three seconds.
fn another_interval(seconds: usize, build: impl Fn(Pairs) -> Pairs) -> Result<Vec<Vec<i32>>, Error> {
    let program = Program::new();
    program.run(0, seconds, &build)?;
    let run = Run::going_on(program.directory.path(), seconds, |builder| builder.batch_interval(3 * SECOND));
    let out = program.out.0.clone();
    build(run.context.input(program.queue.clone())).foreach_batch(move |pairs, _| {
        let _ = out.send(pairs.collect()?.into_iter().map(|pair| pair.1).collect());
        Ok(())
    });
    run.context.start()?;
    for _ in 0..2 {
        run.clock.advance(3 * SECOND);
        run.completed();
    }
    run.context.stop(Stop::Now)?;
    Ok(program.out.1.try_iter().collect())
}

#[test]
fn records_of_running_windows_are_not_lost_to_another_batch_interval() {
    const SIX: Duration = Duration::from_secs(6);
    let window = |pairs: Pairs| pairs.window(SIX, SIX);
    let panes = |pairs: Pairs| pairs.reduce_by_key_and_window(|a, b| a + b, SIX, SIX);
    let saved = |pairs: Pairs| pairs.map(|pair| pair).checkpoint(SECOND * 6).window(SIX, SIX);
    for build in [&window as &dyn Fn(Pairs) -> Pairs, &panes, &saved] {
        let error = another_interval(8, build).unwrap_err().to_string();
        assert!(error.contains("windows still need the batch at 7000 ms, which is none with this"), "{error}");
    }
    // Between two windows nothing is needed.
    assert_eq!(another_interval(6, window).unwrap(), [vec![7, 8]]);
    assert_eq!(another_interval(6, panes).unwrap(), [[15]]);
    let states =
        |pairs: Pairs| pairs.update_state_by_key(|new: Vec<i32>, old| Some(new.len() as i32 + old.unwrap_or(0)));
    assert_eq!(another_interval(8, states).unwrap(), [[9], [10]]);
}
