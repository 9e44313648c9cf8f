//! Files that streams write: names, what is in them, and that a directory is complete or not there, whoever is killed
//! when.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_channel::unbounded;
use tempfile::{TempDir, tempdir};
use tidemill::prelude::*;

use crate::harness::{Call, Run, SECOND, at, line, next, numbers};

fn prefix(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// The names in a folder, sorted.
fn names(path: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let names: BTreeSet<String> = fs::read_dir(path).unwrap().map(name).collect();
    names.into_iter().collect()
}

/// A queue that gives one of `batches` at each tick, cut into so many partitions.
fn queue<T: Data>(batches: impl IntoIterator<Item = Vec<T>>, partitions: usize) -> QueueSource<T> {
    let queue = QueueSource::one_at_a_time().partitions(partitions);
    batches.into_iter().for_each(|batch| queue.push(batch));
    queue
}

#[test]
fn every_batch_has_a_directory_an_empty_one_too() {
    let folder = tempdir().unwrap();
    for partitions in [1, 2, 5] {
        let run = Run::new();
        let name = format!("p{partitions}");
        let tides = run.context.input(queue([vec!["ebb", "flood", "slack"], vec![], vec!["ebb"]], partitions));
        tides.save_as_text_files(prefix(&folder, &name), "txt");
        run.context.start().unwrap();
        run.batches(3);
        run.context.stop(Stop::Now).unwrap();
        let lines = |millis: i64| {
            let path = folder.path().join(format!("{name}-{millis}.txt"));
            let parts = (0..partitions).map(|part| format!("part-{part:05}"));
            let expected: Vec<_> = ["_SUCCESS".to_string()].into_iter().chain(parts).collect();
            assert_eq!(names(&path), expected);
            run.context.text_file(path).collect().unwrap()
        };
        assert_eq!(lines(1000), ["ebb", "flood", "slack"]);
        assert_eq!(lines(2000), [""; 0]);
        assert_eq!(lines(3000), ["ebb"]);
    }
    assert_eq!(names(folder.path()).len(), 9, "nothing else is left");
}

#[test]
fn objects_are_read_back_by_a_batch_job() {
    let folder = tempdir().unwrap();
    let run = Run::new();
    let visits = run.context.input(queue([vec![("home", 1), ("shop", 1), ("home", 1)]], 2));
    let counts = visits.map(|(page, n)| (page.to_string(), n)).reduce_by_key(|a, b| a + b);
    counts.save_as_object_files(prefix(&folder, "counts"), "");
    run.context.start().unwrap();
    run.batches(1);
    let read = run.context.object_file::<(String, i32)>(folder.path().join("counts-1000"));
    let mut counts = read.filter(|(_, n)| *n > 1).collect().unwrap();
    counts.sort();
    assert_eq!(counts, [("home".to_string(), 2)]);
}

#[test]
fn several_outputs_run_in_order_and_each_sees_every_batch() {
    let folder = tempdir().unwrap();
    let run = Run::new();
    let (numbers, _) = run.source(numbers());
    let (send, seen) = unbounded();
    let first = send.clone();
    numbers.foreach_batch(move |dataset, batch| {
        first.send((batch.time, batch.output, dataset.collect()?)).map_err(Error::user)
    });
    numbers.save_as_text_files(prefix(&folder, "all"), "txt");
    numbers.map(|n| n * 10).save_as_object_files(prefix(&folder, "all"), "tens");
    numbers.window(2 * SECOND, 2 * SECOND).save_as_text_files(prefix(&folder, "pairs"), "");
    let path = folder.path().to_path_buf();
    numbers.foreach_batch(move |dataset, batch| {
        // What earlier outputs of the batch have written is there.
        let millis = batch.time.as_millis();
        assert!(path.join(format!("all-{millis}.txt")).exists() && path.join(format!("all-{millis}.tens")).exists());
        send.send((batch.time, batch.output, dataset.collect()?)).map_err(Error::user)
    });
    run.context.start().unwrap();
    let batches = run.batches(4);
    assert!(batches.iter().enumerate().all(|(n, batch)| batch.outputs.len() == if n % 2 == 1 { 5 } else { 4 }));
    for n in 1..=4 {
        assert_eq!(next(&seen), (at(n * 1000), 0, vec![n]));
        assert_eq!(next(&seen), (at(n * 1000), 4, vec![n]));
        let tens = run.context.object_file::<i64>(folder.path().join(format!("all-{}.tens", n * 1000)));
        assert_eq!(tens.collect().unwrap(), [n * 10]);
    }
    assert_eq!(run.context.text_file(folder.path().join("pairs-4000")).collect().unwrap(), ["3", "4"]);
    assert_eq!(names(folder.path()).len(), 4 + 4 + 2);
}

#[test]
fn a_run_again_replaces_what_is_there_and_leaves_no_stale_part() {
    let folder = tempdir().unwrap();
    for (partitions, records) in [(5, vec![1, 2, 3, 4, 5]), (2, vec![6, 7])] {
        let run = Run::new();
        run.context.input(queue([records.clone()], partitions)).save_as_text_files(prefix(&folder, "n"), "");
        run.context.start().unwrap();
        run.batches(1);
        let lines = run.context.text_file(folder.path().join("n-1000"));
        assert_eq!(lines.num_partitions(), partitions);
        let expected: Vec<_> = records.iter().map(ToString::to_string).collect();
        assert_eq!(lines.collect().unwrap(), expected);
    }
    assert_eq!(names(folder.path()), ["n-1000"]);
}

#[test]
fn a_task_that_is_tried_again_writes_its_file_anew() {
    let folder = tempdir().unwrap();
    let run = Run::new();
    let tries = Arc::new(AtomicU32::new(0));
    let tried = Arc::clone(&tries);
    // More than a buffer is written before the first attempt fails.
    let lines = run.context.input(queue([(0..50_000).collect()], 2)).map(move |n: u32| {
        assert!(n != 49_999 || tried.fetch_add(1, Ordering::Relaxed) > 1, "not yet");
        n
    });
    lines.save_as_text_files(prefix(&folder, "n"), "");
    run.context.start().unwrap();
    run.batches(1);
    assert_eq!(tries.load(Ordering::Relaxed), 3);
    let lines = run.context.text_file(folder.path().join("n-1000")).collect().unwrap();
    assert!(lines.iter().enumerate().all(|(n, line)| *line == n.to_string()) && lines.len() == 50_000);
}

#[test]
fn an_output_that_cannot_be_written_stops_the_context_and_nothing_is_done() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("n-2000"), "in the way").unwrap();
    let run = Run::new();
    let (numbers, calls) = run.source(numbers());
    numbers.save_as_text_files(prefix(&folder, "n"), "");
    let output = line(-1);
    run.context.start().unwrap();
    run.tick();
    run.completed();
    run.tick();
    let error = run.ended().unwrap_err();
    let path = folder.path().join("n-2000");
    let expected = format!(
        "batch 2000 ms: output save_as_text_files ({output}): {}: a file is in the way: there has to be a directory or \
         nothing",
        path.display()
    );
    assert_eq!((error.to_string(), error.kind()), (expected, ErrorKind::Output));
    let done: Vec<_> = calls.try_iter().filter(|call| matches!(call, Call::Completed(_))).collect();
    assert_eq!(done, [Call::Completed(1000)]);
    assert_eq!(names(folder.path()), ["n-1000", "n-2000"]);
}

/// An error in the middle of a batch names partition, path and cause, and leaves nothing of the batch.
#[test]
fn a_part_that_cannot_be_written_is_named() {
    let folder = tempdir().unwrap();
    let run = Run::with(|builder| builder.max_task_attempts(2).workers(1));
    let (numbers, _) = run.source(numbers());
    let drafts = folder.path().to_path_buf();
    // The folder of the draft goes away under the first task, and the second one finds none.
    let numbers = numbers.map_partitions(move |numbers| {
        let _ = fs::remove_dir_all(drafts.join(".n-1000.tmp"));
        numbers
    });
    numbers.union(&numbers).named("doubled").save_as_text_files(prefix(&folder, "n"), "");
    run.context.start().unwrap();
    run.tick();
    let error = run.ended().unwrap_err().to_string();
    assert!(error.starts_with("batch 1000 ms: output save_as_text_files ("), "{error}");
    assert!(error.contains("partition 1: cannot create ") && error.contains("/.n-1000.tmp/"), "{error}");
    assert!(error.ends_with("No such file or directory (os error 2)"), "{error}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_cannot_be_written_to_is_named() {
    let run = Run::new();
    let error = run.context.parallelize([1], 1).save_as_text_file("/proc/tidemill/out").unwrap_err();
    assert!(error.to_string().starts_with("cannot create /proc/tidemill: "), "{error}");
}

#[test]
fn two_outputs_of_the_same_names_are_a_mistake() {
    let run = Run::new();
    let (numbers, _) = run.source(numbers());
    numbers.save_as_text_files("a", "txt");
    let first = line(-1);
    numbers.save_as_object_files("a", "txt");
    let second = line(-1);
    numbers.save_as_text_files("a", "");
    let error = run.context.start().unwrap_err();
    let expected = format!(
        "{second}: the prefix `a` and the suffix `txt` are those of the output at {first}: it would write the same \
         files"
    );
    assert_eq!(error.to_string(), expected);
}

/// One folder has many spellings. Only the text of prefixes used to be compared, and of two outputs to `a` and `./a` the
/// second replaced every batch of the first.
#[test]
fn two_outputs_of_the_same_names_spelled_differently_are_a_mistake() {
    let here = std::env::current_dir().unwrap();
    let same =
        [format!("{}/out/a", here.display()), "./out/a".to_string(), "out//a".to_string(), "out/./a".to_string()];
    for other in same {
        let run = Run::new();
        let (numbers, _) = run.source(numbers());
        numbers.save_as_text_files("out/a", "");
        numbers.save_as_text_files(other.clone(), "");
        let error = run.context.start().unwrap_err().to_string();
        assert!(
            error.contains(&format!("the prefix `{other}` and the suffix `` are those of the output at")),
            "{error}"
        );
    }
}

const FOLDER: &str = "TIDEMILL_TEST_OUTPUT_FOLDER";
/// The number of the run, which stands in every record.
const RUN: &str = "TIDEMILL_TEST_OUTPUT_RUN";
const BATCHES: i64 = 6;
const PARTITIONS: usize = 3;
/// Of each partition: enough for its file to take several writes.
const RECORDS: usize = 8_000;

/// The program under test: this test binary, started once more with the variables set. It writes the same batches in
/// every run, and tells on standard output which one it begins.
#[test]
fn child() {
    let (Ok(folder), Ok(number)) = (env::var(FOLDER), env::var(RUN)) else { return };
    println!();
    let run = Run::new();
    let (ticks, _) = run.source(numbers());
    ticks.foreach_batch(|_, batch| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "begin {}", batch.time.as_millis())?;
        Ok(out.flush()?)
    });
    let parts = ticks.flat_map(|tick| (0..PARTITIONS).map(move |part| (tick, part))).repartition(PARTITIONS);
    let records = parts.flat_map(move |(tick, part)| {
        let number = number.clone();
        (part * RECORDS..(part + 1) * RECORDS).map(move |n| format!("{number} {tick} {n}"))
    });
    let prefix = |name| Path::new(&folder).join(name).display().to_string();
    records.save_as_text_files(prefix("text"), "");
    records.save_as_object_files(prefix("objects"), "");
    run.context.start().unwrap();
    run.batches(BATCHES as usize);
    run.context.stop(Stop::Now).unwrap();
}

fn start(folder: &Path, run: usize) -> Child {
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "outputs::child", "--nocapture", "--test-threads=1"]);
    child.env(FOLDER, folder).env(RUN, run.to_string()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Every directory that has its name has all records of one run, in the right files. Returns the run by name.
fn check(context: &StreamingContext, folder: &Path) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for name in names(folder).into_iter().filter(|name| !name.starts_with('.')) {
        let path = folder.join(&name);
        let (kind, millis) = name.split_once('-').unwrap();
        let mut expected = vec!["_SUCCESS".to_string()];
        expected.extend((0..PARTITIONS).map(|part| format!("part-{part:05}")));
        assert_eq!(names(&path), expected, "{name}");
        let lines = if kind == "text" { context.text_file(&path) } else { context.object_file(&path) };
        let lines = lines.collect().unwrap();
        let run: usize = lines[0].split_once(' ').unwrap().0.parse().unwrap();
        let tick = millis.parse::<i64>().unwrap() / 1000;
        let expected = (0..PARTITIONS * RECORDS).map(|n| format!("{run} {tick} {n}"));
        assert!(lines.iter().eq(expected.collect::<Vec<_>>().iter()), "{name} has not all of run {run}");
        found.push((name, run));
    }
    found
}

/// A program is killed with SIGKILL again and again while it writes and replaces directories, at moments that what it
/// does to the folder decides: when a draft is there, when one of its parts is, when an old directory is moved away.
#[test]
fn killed_while_it_writes_a_directory_is_complete_or_not_there() {
    let folder = tempdir().unwrap();
    let context = StreamingContext::builder("reader").workers(1).build().unwrap();
    let mut killed_with_remains = 0;
    for number in 0..24 {
        let mut child = start(folder.path(), number);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let batch = format!("{}", 1000 * (1 + number as i64 % BATCHES));
        assert!(lines.any(|line| line == format!("begin {batch}")), "the child gets to its batch {batch}");
        let kind = if number % 2 == 0 { "text" } else { "objects" };
        let draft = folder.path().join(format!(".{kind}-{batch}.tmp"));
        let old = folder.path().join(format!(".{kind}-{batch}.old"));
        let has_part = |name: &str| {
            let drafts = fs::read_dir(&draft).into_iter().flatten().flatten();
            drafts.into_iter().any(|draft| draft.path().join(name).exists())
        };
        // Past the moment if it is missed: the kill then comes when it comes.
        let mut moment: Box<dyn FnMut() -> bool> = match number % 5 {
            0 => Box::new(|| draft.exists()),
            1 => Box::new(|| has_part("part-00001")),
            2 => Box::new(|| has_part("_SUCCESS")),
            3 => Box::new(|| old.exists()),
            _ => Box::new(|| true),
        };
        while !moment() && child.try_wait().unwrap().is_none() {}
        drop(moment);
        child.kill().unwrap();
        child.wait().unwrap();
        check(&context, folder.path());
        killed_with_remains += usize::from(names(folder.path()).iter().any(|name| name.starts_with('.')));
    }
    assert!(killed_with_remains > 0, "no kill came while something was written");

    // The next run to its end replaces all and clears all remains.
    let mut child = start(folder.path(), 99);
    assert!(child.wait().unwrap().success());
    let mut expected: Vec<_> = (1..=BATCHES)
        .flat_map(|tick| ["objects", "text"].map(|kind| (format!("{kind}-{}", tick * 1000), 99)))
        .collect();
    expected.sort();
    assert_eq!(check(&context, folder.path()), expected);
    assert_eq!(names(folder.path()).len(), expected.len(), "{:?}", names(folder.path()));
}
