//! How do I write each batch to files that a batch job can pick up?
//!
//! Readings of two gauges come in; a stream writes each batch as text and, reduced to a mean for each gauge, as objects.
//! Then a job of its own finds the directories and reads them. "Hours" pass as fast as the program can work:
//!
//! ```text
//! cargo run --example hourly_files
//! cargo run --example hourly_files -- --folder out --hours 24
//! ```
//!
//! Without `--folder` it writes to a temporary folder and removes it. It ends by itself, and prints what it wrote and
//! what the job read:
//!
//! ```text
//! wrote levels-3600000.txt: 120 readings in 2 parts
//! wrote levels-7200000.txt: 120 readings in 2 parts
//! wrote levels-10800000.txt: 120 readings in 2 parts
//! the job read 3 directories: 360 readings; highest mean 97 cm at north, in means-10800000
//! ```
//!
//! A directory has its name only when all of it is on the disk, so the job may run at any time, also while the program
//! writes or after it was killed. It leaves alone what begins with a dot.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;
use tidemill::{Clock, Event, ManualClock};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A reading of a gauge: its place, and the level in centimetres.
type Reading = (String, i64);

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hourly_files: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    // Lives to the end, if the program is to clear up.
    let temporary = tempfile::tempdir()?;
    let folder = options.folder.clone().unwrap_or_else(|| temporary.path().to_path_buf());

    // On a clock by hand an hour passes when it is told to. A program that is to run for hours leaves it out.
    let hands = ManualClock::new();
    let clock = Clock::manual(&hands);
    let context = StreamingContext::builder("hourly files").batch_interval(HOUR).clock(clock).build()?;
    let queue = QueueSource::one_at_a_time().partitions(2);
    (0..options.hours).for_each(|hour| queue.push(readings(hour)));
    write_files(&context.input(queue), &folder);

    let (done, batches) = mpsc::channel();
    context.add_listener(move |event: &Event| {
        if let Event::BatchCompleted(_) | Event::Failed { .. } = event {
            let _ = done.send(());
        }
    });
    context.start()?;
    for _ in 0..options.hours {
        hands.advance(HOUR);
        batches.recv().map_err(Error::user)?;
        if context.state() != State::Active {
            // An error has ended it, which `stop` returns.
            break;
        }
    }
    context.stop(Stop::Now)?;

    let mut out = std::io::stdout();
    for path in directories(&folder, "levels-")? {
        let lines = context.text_file(&path);
        writeln!(out, "wrote {}: {} readings in {} parts", name(&path), lines.count()?, lines.num_partitions())?;
    }
    writeln!(out, "{}", batch_job(&folder)?)?;
    Ok(())
}

/// The program proper: every batch as text for people and as means for programs.
fn write_files(readings: &DStream<Reading>, folder: &Path) {
    let prefix = |name: &str| folder.join(name).display().to_string();
    readings.map(|(place, level)| format!("{place}\t{level}")).save_as_text_files(prefix("levels"), "txt");
    let means = readings
        .map_values(|level| (level, 1))
        .reduce_by_key(|(levels, count), (more, others)| (levels + more, count + others))
        .map_values(|(levels, count)| levels / count);
    means.save_as_object_files(prefix("means"), "");
}

/// Another program, another day: it knows the folder and the types, and nothing of streams. Says what it found.
fn batch_job(folder: &Path) -> Result<String> {
    let context = StreamingContext::builder("job").build()?;
    let text = directories(folder, "levels-")?;
    let mut readings = 0;
    for path in &text {
        readings += context.text_file(path).count()?;
    }
    let mut highest: Option<(i64, String, PathBuf)> = None;
    for path in directories(folder, "means-")? {
        for (place, mean) in context.object_file::<Reading>(&path).collect()? {
            highest = highest.max(Some((mean, place, path.clone())));
        }
    }
    let read = format!("the job read {} directories: {readings} readings", text.len());
    Ok(match highest {
        Some((mean, place, path)) => format!("{read}; highest mean {mean} cm at {place}, in {}", name(&path)),
        None => read,
    })
}

/// What a stream has written under a prefix, in the order of batch times.
fn directories(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if name(&path).starts_with(prefix) {
            found.push(path);
        }
    }
    // A longer number is a later time.
    found.sort_by_key(|path| (name(path).len(), path.clone()));
    Ok(found)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A reading a minute of each gauge. The tide rises by ten centimetres an hour, and higher in the north.
fn readings(hour: u32) -> Vec<Reading> {
    let minute = |minute: i64| {
        let level = i64::from(hour) * 10 + minute % 20;
        [("north".to_string(), level + 68), ("south".to_string(), level)]
    };
    (0..60).flat_map(minute).collect()
}

/// Writes each batch of a stream to files, and reads them as a batch job would.
#[derive(Parser)]
struct Options {
    /// Where to write; a temporary folder if it is not given
    #[arg(long)]
    folder: Option<PathBuf>,
    /// How many hours to let pass
    #[arg(long, default_value_t = 3)]
    hours: u32,
}
