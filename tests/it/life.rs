//! The life of data: how records are kept, for how long, and that nothing of them is left.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tidemill::testing::TestRun;
use tidemill::{DStream, Error, ErrorKind, StorageLevel, StreamingContext};

use crate::harness::{Call, Run, SECOND, Scripted, check_list, check_set, every_run, line, next, numbers};

const LEVELS: [StorageLevel; 3] = [StorageLevel::MemoryOnly, StorageLevel::MemoryOnlySer, StorageLevel::DiskOnly];

/// The vector "Persistence": a window has the records of its parent kept, and none of its own. Where Spark keeps bytes
/// in memory by itself, the records stay as they are: readers share them, and nothing has to be encoded.
#[test]
fn persistence() {
    let run = Run::new();
    let (numbers, _) = run.source(numbers());
    let mapped = numbers.map(|n| n);
    assert_eq!(mapped.storage_level(), None);
    let window = mapped.window(2 * SECOND, SECOND);
    assert_eq!((window.storage_level(), mapped.storage_level()), (None, Some(StorageLevel::MemoryOnly)));
    let told = window.persist_with(StorageLevel::MemoryOnly);
    assert_eq!((told.storage_level(), mapped.storage_level()), (None, Some(StorageLevel::MemoryOnly)));
    // What a window of windows is told goes all the way.
    let mapped = numbers.map(|n| n);
    let outer = mapped.window(2 * SECOND, SECOND).window(4 * SECOND, 2 * SECOND);
    outer.persist_with(StorageLevel::DiskOnly);
    assert_eq!((outer.storage_level(), mapped.storage_level()), (None, Some(StorageLevel::DiskOnly)));
    assert_eq!(numbers.storage_level(), None);
}

#[test]
fn another_level_or_too_late_is_a_mistake() {
    let run = Run::new();
    let (numbers, _) = run.source(numbers());
    let levels = numbers.named("levels").persist().cache().persist_with(StorageLevel::MemoryOnly);
    levels.window(2 * SECOND, SECOND).persist_with(StorageLevel::DiskOnly).print();
    let place = line(-1);
    let error = run.context.start().unwrap_err();
    let what = "the stream levels cannot be persisted as DiskOnly: it is as MemoryOnly already";
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Graph, format!("{place}: {what}")));

    let run = Run::new();
    let (numbers, _) = run.source(crate::harness::numbers());
    numbers.foreach_batch(|_, _| Ok(()));
    run.context.start().unwrap();
    numbers.persist();
    let place = line(-1);
    let error = run.ended().unwrap_err().to_string();
    assert_eq!(error, format!("{place}: the stream scripted cannot be persisted after the context was started"));
}

/// How records are kept changes nothing of what comes out.
#[test]
fn every_level_gives_the_same() {
    let words = |n: i64| (0..n).map(|i| format!("word {}", i * n % 7)).collect::<Vec<_>>();
    let batches = [words(40), words(1), vec![], words(13), words(1000), words(2)];
    let window = |level: Option<StorageLevel>| {
        move |words: DStream<String>| {
            let long = words.filter(|word| !word.ends_with('3'));
            if let Some(level) = level {
                long.persist_with(level);
            }
            long.window(3 * SECOND, 2 * SECOND)
        }
    };
    let counts = |level: Option<StorageLevel>| {
        move |words: DStream<String>| {
            let pairs = words.map(|word| (word, 1u64));
            let sums = pairs.reduce_by_key(|a, b| a + b);
            if let Some(level) = level {
                pairs.persist_with(level);
                sums.persist_with(level);
            }
            let counts = sums.reduce_by_key_and_window(|a, b| a + b, 4 * SECOND, SECOND);
            let counts = match level {
                Some(level) => counts.persist_with(level),
                None => counts,
            };
            counts.union(&sums.map_values(|count| count * 1000)).union(&pairs)
        }
    };
    let plain = TestRun::new().run(batches.clone(), window(None)).unwrap().into_batches();
    let plain_counts = TestRun::new().run(batches.clone(), counts(None)).unwrap().into_batches();
    for level in LEVELS {
        let id = format!("{level:?}");
        check_list(&id, &batches, window(Some(level)), &plain);
        check_set(&id, &batches, counts(Some(level)), &plain_counts);
    }
}

/// Counts calls.
fn counted() -> (Arc<AtomicU32>, impl Fn(i32) -> i32 + Clone + Send + Sync + 'static) {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    (calls, move |n| {
        count.fetch_add(1, Ordering::Relaxed);
        n
    })
}

/// Three diamonds on top of each other, each of a stream, a window over it, and both together: whatever the way, a
/// record goes through each of the three streams once for each time it is in their batch.
#[test]
fn diamonds_of_windows_compute_each_stream_once() {
    for level in [None].into_iter().chain(LEVELS.map(Some)) {
        for run in every_run() {
            let counters = [(); 3].map(|()| counted());
            let closures = counters.each_ref().map(|(_, count)| count.clone());
            let build = |numbers: DStream<i32>| {
                closures.into_iter().fold(numbers, |below, count| {
                    let shared = below.map(count);
                    if let Some(level) = level {
                        shared.persist_with(level);
                    }
                    shared.union(&shared.window(2 * SECOND, SECOND))
                })
            };
            let out = run.run((1..=4).map(|n| vec![n]), build).unwrap();
            // Batch n of each diamond is that of the stream below twice, and the one before it once.
            let sizes: Vec<_> = out.batches().iter().map(Vec::len).collect();
            assert_eq!(sizes, [8, 20, 26, 27], "{level:?} by {run:?}");
            let calls = counters.map(|(calls, _)| calls.load(Ordering::Relaxed));
            assert_eq!(calls, [4, 2 + 3 + 3 + 3, 4 + 8 + 9 + 9], "{level:?} by {run:?}");
        }
    }
}

static LIVE: AtomicI64 = AtomicI64::new(0);

/// A record that counts itself for as long as it is in memory. As bytes it is none.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Live(i64);

impl Live {
    fn new(n: i64) -> Self {
        LIVE.fetch_add(1, Ordering::Relaxed);
        Live(n)
    }
}

impl Clone for Live {
    fn clone(&self) -> Self {
        Live::new(self.0)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Serialize for Live {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Live {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer).map(Live::new)
    }
}

/// Numbers of batches, and how many records are in memory after them, a hundred batches of ten records and then twenty
/// empty ones.
fn live_after_batches<T: tidemill::Data>(build: impl Fn(DStream<Live>) -> DStream<T>) -> Vec<(i64, i64)> {
    let run = Run::new();
    let (source, calls) = run.source(Scripted::new(|call| {
        let Call::Batch(time) = call else { return Ok(None) };
        let records = if time <= 100_000 { 10 } else { 0 };
        Ok(Some((0..records).map(Live::new).collect()))
    }));
    let stream = build(source);
    stream.foreach_batch(|dataset, _| dataset.foreach(|_| Ok(())));
    run.context.start().unwrap();
    let slide = stream.slide_duration().as_secs() as usize;
    let batch = |n: i64| {
        run.batches(slide);
        // The inputs are told when the output has seen the records, after the streams have forgotten.
        while next(&calls) != Call::Completed(n * 1000) {}
        (n, LIVE.load(Ordering::Relaxed))
    };
    let live = (1..=120).filter(|n| n % slide as i64 == 0).map(batch).collect();
    drop(run);
    live
}

/// Memory holds what the windows imply, batch after batch, and falls back when nothing comes.
#[test]
fn memory_falls_back_when_a_window_passes() {
    // How many of the last `batches` up to the n-th had records.
    let full = |n: i64, batches: i64| (n.min(100) - (n - batches).max(0)).max(0);
    for level in LEVELS {
        // Of records that are kept as bytes, none is in memory.
        let kept = if level == StorageLevel::MemoryOnly { 10 } else { 0 };
        let check = |what: &str, live: Vec<(i64, i64)>, expected: &dyn Fn(i64) -> i64| {
            for (n, live) in live {
                assert_eq!(live, expected(n), "{what} at {level:?} after batch {n}");
            }
        };
        // The input remembers its last batch.
        let live = live_after_batches(|records| records.map(|record| record));
        check("one reader", live, &|n| 10 * full(n, 1));
        let live = live_after_batches(|records| records.map(|record| record).persist_with(level));
        check("one reader of what is kept", live, &|n| (10 + kept) * full(n, 1));
        let live = live_after_batches(|records| {
            let shared = records.map(|record| record).persist_with(level);
            shared.map(|record| record).union(&shared.filter(|_| true))
        });
        check("a diamond", live, &|n| (10 + kept) * full(n, 1));
        // A window of 3 s that slides by 1 s: Spark's rule has 4 s remembered.
        let live =
            live_after_batches(|records| records.map(|record| record).window(3 * SECOND, SECOND).persist_with(level));
        check("a window", live, &|n| 10 * full(n, 1) + kept * full(n, 4));
        // Of 4 s and 2 s: 6 s, and the input remembers what is asked for every second batch.
        let live = live_after_batches(|records| {
            records.map(|record| record).persist_with(level).window(4 * SECOND, 2 * SECOND)
        });
        check("a long slide", live, &|n| 10 * full(n, 2) + kept * full(n, 6));
        // The windows of two ways over one stream share what they hold.
        let live = live_after_batches(|records| {
            let shared = records.map(|record| record).persist_with(level);
            shared.window(3 * SECOND, SECOND).union(&shared.window(2 * SECOND, SECOND))
        });
        check("windows that come together", live, &|n| 10 * full(n, 1) + kept * full(n, 4));
        // Reduced, the batches of the window and what it remembers, and the window twice over.
        let live = live_after_batches(|records| {
            let pairs = records.map(|record| (record.0, record)).persist_with(level);
            pairs.reduce_by_key_and_window(|a, _| a, 3 * SECOND, SECOND)
        });
        for (n, live) in live {
            let least = (10 + kept) * full(n, 1) + 10 * full(n, 4);
            assert!((least..=least + 20 * full(n, 3)).contains(&live), "{live} live at {level:?} after batch {n}");
        }
        assert_eq!(LIVE.load(Ordering::Relaxed), 0, "nothing is kept after the end");
    }
}

/// What a batch of a stream has kept goes with the stream's memory of it, whatever its output does.
#[test]
fn an_output_cannot_unpersist_what_belongs_to_a_stream() {
    let (calls, count) = counted();
    let build = |numbers: DStream<i32>| {
        let counted = numbers.map(count.clone()).persist_with(StorageLevel::MemoryOnlySer);
        counted.transform(|dataset, _| {
            assert_eq!(dataset.storage_level(), Some(StorageLevel::MemoryOnlySer));
            dataset.unpersist();
            assert_eq!(dataset.storage_level(), Some(StorageLevel::MemoryOnlySer));
            Ok(dataset.union(&dataset))
        })
    };
    let out = TestRun::new().run([vec![1], vec![2]], build).unwrap();
    assert_eq!((out.batches(), calls.load(Ordering::Relaxed)), (&[vec![1, 1], vec![2, 2]][..], 2));
}

const CHILD: &str = "TIDEMILL_TEST_LIFE";

/// Runs the named test in a process of its own that has `directory` for its temporary files.
fn child(test: &str, directory: &Path) -> std::process::Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    child.env(CHILD, "1").env("TMPDIR", directory).output().unwrap()
}

fn scratch(name: &str) -> std::path::PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn on_disk() -> Result<u64, Error> {
    let context = StreamingContext::builder("disk").workers(2).build()?;
    let kept = context.parallelize(0..10_000, 2).persist_with(StorageLevel::DiskOnly);
    assert_eq!(kept.count()?, 10_000);
    // While the records are there.
    let names = std::fs::read_dir(std::env::temp_dir())?.count();
    assert_eq!(names, 0, "files have no names");
    std::mem::forget(kept.clone());
    kept.count()
}

/// A process that is killed leaves no file behind.
#[test]
fn files_are_gone_with_the_process() {
    if std::env::var_os(CHILD).is_some() {
        println!("on disk: {:?}", on_disk());
        std::process::abort();
    }
    let directory = scratch("gone");
    let output = child("life::files_are_gone_with_the_process", &directory);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && text.contains("on disk: Ok(10000)"), "{text}");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    std::fs::remove_dir(directory).unwrap();
}

/// However long a window is, it takes one open file a partition.
#[test]
#[cfg(target_os = "linux")]
fn a_long_window_on_disk_takes_few_files() {
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    crate::harness::alone("life::a_long_window_on_disk_takes_few_files", || {
        let (most, before) = (Arc::new(AtomicI64::new(0)), open_files());
        let seen = Arc::clone(&most);
        let build = |numbers: DStream<i64>| {
            let sums = numbers.map(|n| n).window(200 * SECOND, SECOND).persist_with(StorageLevel::DiskOnly);
            sums.transform(move |dataset, _| {
                seen.fetch_max(open_files() as i64, Ordering::Relaxed);
                Ok(dataset)
            })
            .reduce(|a, b| a + b)
        };
        let out = TestRun::new().partitions(3).run((1..=300).map(|n| vec![n; 9]), build).unwrap();
        assert_eq!(out.batches()[299], [(101..=300).sum::<i64>() * 9]);
        let files = most.load(Ordering::Relaxed) - before as i64;
        assert!((3..20).contains(&files), "{files} files");
    });
}

/// Where nothing can be written, the error says what, where and why; and no records are made up.
#[test]
fn a_disk_that_cannot_be_written() {
    if std::env::var_os(CHILD).is_some() {
        let error = on_disk().unwrap_err();
        println!("{error}");
        return;
    }
    let directory = scratch("full").join("missing");
    let output = child("life::a_disk_that_cannot_be_written", &directory);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        "task failed in 4 attempts: operator persist (tests/it/life.rs:",
        "partition ",
        "the records cannot be kept in a temporary file in ",
        "/missing: No such file or directory",
    ] {
        assert!(text.contains(part), "{text}");
    }
    std::fs::remove_dir(directory.parent().unwrap()).unwrap();
}
