//! What happens when more comes in than can be processed?
//!
//! For a while an input delivers three times what a slow closure can process, then a fifth of it. The program runs
//! twice, with back-pressure and without, and shows for each batch how many records it had, how long it waited and
//! took, how many records wait at the input, and how much memory the process has:
//!
//! ```text
//! cargo run --release --example overload
//! cargo run --release --example overload -- --seconds 20 --svg overload.svg
//! cargo run --release --example overload -- --seconds 2 --interval 20ms
//! cargo run --release --example overload -- --kafka
//! ```
//!
//! With `--kafka` the input is a topic of an Apache Kafka, which the program starts beside itself: that takes Java and
//! Maven. Without it the input stands for such a topic: what waits there takes no memory of this process, and a batch
//! reads its records when it runs. A record takes 100 µs and 1 KiB. Standard output has a line of CSV for each batch,
//! and ends in a summary of two lines, here with `--kafka`:
//!
//! ```text
//! with back-pressure: 216767 records waited at most, worked off after 38.4 s; batches on overload took 99 ms of 100 ms
//! (nine of ten 103 ms or less) and waited 70 ms at most; memory 7 MiB before, 54 MiB at most, 26 MiB after
//! without back-pressure: 203726 records waited at most, worked off after 37.4 s; batches on overload took 325 ms of
//! 100 ms (nine of ten 998 ms or less) and waited 32617 ms at most; memory 23 MiB before, 92 MiB at most, 92 MiB after
//! ```

mod plot;
mod topic;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;
use tidemill::{
    Backpressure, BatchInfo, Clock, Emitter, Event, InputBatch, RateLimit, ReadPartition, Source, SourceContext,
};
use tidemill_test_broker::ApacheKafka;

/// How long the closure takes for a record.
const WORK: Duration = Duration::from_micros(100);

/// As many records of work are waited for at once: shorter waits would not be exact.
const PIECE: usize = 50;

/// Bytes of a record.
const RECORD: usize = 1024;

/// Records per second that come in on overload, and after it.
const RATES: [f64; 2] = [30_000.0, 2_000.0];

/// The rate of the first batches: as many as can be processed, for a start.
const INITIAL_RATE: f64 = 10_000.0;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::ERROR)
        .with_writer(std::io::stderr)
        .init();
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("overload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let kafka = options.kafka.then(|| ApacheKafka::builder().start()).transpose().map_err(Error::user)?;
    let kafka = kafka.as_ref();
    let mut out = std::io::stdout();
    writeln!(out, "backpressure,seconds,records,scheduling_ms,processing_ms,backlog,resident_mib")?;
    let with = overload(options, kafka, Some(Backpressure::pid().initial_rate(INITIAL_RATE)))?;
    let without = overload(options, kafka, None)?;
    write!(out, "{}{}", with.summary(options), without.summary(options))?;
    if let Some(path) = &options.svg {
        let interval = options.interval.as_secs_f64() * 1000.0; // milliseconds
        let plot = plot::svg(&with.samples, &without.samples, interval);
        std::fs::write(path, plot).map_err(|error| Error::user(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

/// One run of the program.
struct Run {
    name: &'static str,
    resident_before: f64, // MiB
    samples: Vec<Sample>,
}

/// What is known after a batch.
struct Sample {
    /// Since the start of the program.
    seconds: f64,
    records: u64,
    scheduling: f64, // milliseconds
    processing: f64, // milliseconds
    /// Records that have come in and are not processed.
    backlog: u64,
    resident: f64, // MiB
}

/// Runs the program until the input has fallen and nothing waits any more.
fn overload(options: &Options, kafka: Option<&ApacheKafka>, backpressure: Option<Backpressure>) -> Result<Run> {
    let (name, resident_before) = (if backpressure.is_some() { "with" } else { "without" }, resident());
    let clock = Clock::system();
    let builder = StreamingContext::builder("overload").batch_interval(options.interval).clock(clock.clone());
    let builder = match backpressure {
        Some(backpressure) => builder.backpressure(backpressure),
        None => builder,
    };
    let context = builder.build()?;
    let log = Log { started: clock.now(), high: options.seconds };
    let (input, writer) = match kafka {
        Some(kafka) => topic::read_and_write(&context, kafka, name, &clock, log)?,
        None => (context.input(Tail { log, taken: 0, context: None }), None),
    };
    let worked = clock.clone();
    input.foreach_batch(move |records, _| {
        for piece in records.collect()?.chunks(PIECE) {
            // The slow closure: a call to a service, say.
            let _ = worked.alarm(worked.now() + WORK * piece.len() as u32).recv();
        }
        Ok(())
    });
    let (send, batches) = mpsc::channel();
    context.add_listener(move |event: &Event| match event {
        Event::BatchCompleted(batch) => drop(send.send(Some(batch.clone()))),
        Event::Failed { .. } => drop(send.send(None)),
        _ => {}
    });
    context.start()?;
    let (mut samples, mut done) = (Vec::new(), 0);
    while let Some(batch) = batches.recv().ok().flatten() {
        done += batch.records();
        let sample = Sample::of(&batch, &log, done, clock.now());
        writeln!(std::io::stdout(), "{name},{sample}")?;
        // What comes in in two intervals is what always waits.
        let settled = (2.0 * RATES[1] * options.interval.as_secs_f64()) as u64;
        let is_over = sample.seconds > options.seconds && sample.backlog <= settled && sample.scheduling < 10.0;
        samples.push(sample);
        if is_over {
            context.stop(Stop::Now)?;
            writer.map_or(Ok(()), topic::Writer::end)?;
            return Ok(Run { name, resident_before, samples });
        }
    }
    context.stop(Stop::Now)?;
    Err(Error::new(ErrorKind::State, "the context has ended by itself"))
}

impl Sample {
    fn of(batch: &BatchInfo, log: &Log, done: u64, now: Time) -> Self {
        let millis = |delay: Option<Duration>| delay.unwrap_or_default().as_secs_f64() * 1000.0;
        Sample {
            seconds: (now - log.started).as_secs_f64(),
            records: batch.records(),
            scheduling: millis(batch.scheduling_delay()),
            processing: millis(batch.processing_delay()),
            backlog: log.end(now).saturating_sub(done),
            resident: resident(),
        }
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Sample { seconds, records, scheduling, processing, backlog, resident } = self;
        write!(f, "{seconds:.3},{records},{scheduling:.1},{processing:.1},{backlog},{resident:.1}")
    }
}

impl Run {
    fn summary(&self, options: &Options) -> String {
        // The first second is what the estimates need to settle.
        let settled = self.samples.iter().filter(|sample| (1.0..options.seconds).contains(&sample.seconds));
        let mut processing: Vec<f64> = settled.map(|sample| sample.processing).collect();
        processing.sort_by(f64::total_cmp);
        let part = |part: f64| processing.get((processing.len() as f64 * part) as usize).copied().unwrap_or_default();
        let most = |of: fn(&Sample) -> f64| self.samples.iter().map(of).fold(0.0, f64::max);
        let (end, last) = self.samples.last().map_or((0.0, 0.0), |last| (last.seconds, last.resident));
        format!(
            "{} back-pressure: {} records waited at most, worked off after {end:.1} s; batches on overload took {:.0} ms of \
             {:.0} ms (nine of ten {:.0} ms or less) and waited {:.0} ms at most; memory {:.0} MiB before, {:.0} MiB at \
             most, {last:.0} MiB after\n",
            self.name,
            most(|sample| sample.backlog as f64),
            part(0.5),
            options.interval.as_secs_f64() * 1000.0,
            part(0.9),
            most(|sample| sample.scheduling),
            self.resident_before,
            most(|sample| sample.resident),
        )
    }
}

/// A log of records that somebody else writes, as a topic in Kafka is.
#[derive(Clone, Copy)]
struct Log {
    started: Time,
    /// For how many seconds the rate is high.
    high: f64,
}

impl Log {
    /// How many records it has.
    fn end(&self, now: Time) -> u64 {
        let seconds = (now - self.started).as_secs_f64();
        let high = seconds.min(self.high);
        (RATES[0] * high + RATES[1] * (seconds - high)) as u64
    }
}

/// Reads the log from its beginning.
struct Tail {
    log: Log,
    /// How many records have been taken into batches.
    taken: u64,
    context: Option<(SourceContext, RateLimit)>,
}

impl Source<Vec<u8>> for Tail {
    fn name(&self) -> String {
        "log".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        self.context = Some((context.clone(), context.rate_limit()));
        Ok(())
    }

    fn batch(&mut self, _: Time) -> Result<Option<InputBatch<Vec<u8>>>> {
        let Some((context, limit)) = &mut self.context else { return Ok(None) };
        let from = self.taken;
        let waiting = self.log.end(context.clock().now()) - from;
        let records = waiting.min(limit.next_batch().unwrap_or(u64::MAX));
        self.taken += records;
        let description = format!("records {from}..{}", from + records);
        let dataset = context.read(vec![Records { from, count: records }], ());
        Ok(Some(InputBatch { dataset, records, description, plan: Vec::new() }))
    }
}

/// Records that are read when the batch runs.
struct Records {
    from: u64,
    count: u64,
}

impl ReadPartition<Vec<u8>> for Records {
    fn records(&self) -> Option<u64> {
        Some(self.count)
    }

    fn describe(&self) -> String {
        format!("records {}..{}", self.from, self.from + self.count)
    }

    fn read(&self, out: &mut Emitter<'_, Vec<u8>>) -> Result<()> {
        (self.from..self.from + self.count).for_each(|number| out.emit(vec![number as u8; RECORD]));
        Ok(())
    }
}

/// MiB of memory that the process has; 0 where that cannot be read.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// Delivers three times what can be processed, with back-pressure and without.
#[derive(Parser)]
struct Options {
    /// For how many seconds more comes in than can be processed
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    seconds: f64,
    /// Time between two batches, such as 100ms
    #[arg(long, default_value = "100ms", value_parser = millis)]
    interval: Duration,
    /// Read from an Apache Kafka
    #[arg(long)]
    kafka: bool,
    /// Draw the two runs to this file
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    seconds.ok_or_else(|| format!("{text} is no number of seconds: write 10"))
}

fn millis(text: &str) -> std::result::Result<Duration, String> {
    let millis = text.strip_suffix("ms").and_then(|number| number.parse().ok()).map(Duration::from_millis);
    millis.filter(|interval| !interval.is_zero()).ok_or_else(|| format!("{text} is no interval: write 100ms"))
}
