//! Which words came most often in the last ten seconds?
//!
//! Counts the words of a Kafka topic over a sliding window and shows the top ten after every batch. Without `--brokers`
//! it starts a broker inside the process and a producer that writes lines of text to it:
//!
//! ```text
//! cargo run --release --example word_count
//! cargo run --release --example word_count -- --batches 5
//! cargo run --release --example word_count -- --interval 5ms --window 1s --rate 20000 --batches 2000
//! cargo run --release --example word_count -- --brokers localhost:9092 --topic lines --group counts
//! ```
//!
//! On a terminal the table is redrawn in place; elsewhere each batch is one line. Ctrl-C, SIGTERM or `--batches` end
//! it gracefully: everything that was produced is counted, and the last line says so:
//!
//! ```text
//! lines produced 25000, lines counted 25000
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{self, AutoOffsetReset, KafkaParams, Subscription};
use tidemill::prelude::*;
use tidemill::{BatchInfo, Clock, Event};

fn main() -> ExitCode {
    // What the engine and librdkafka have to warn of goes to standard error.
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("word_count: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let (events, inbox) = mpsc::channel();
    stop_on_signals(events.clone())?;
    // Lives to the end: the last batch still asks it for records, and commits.
    let mut embedded = None;
    let mut producer = None;
    let brokers = match &options.brokers {
        Some(brokers) => brokers.clone(),
        None => {
            let broker = embedded.insert(EmbeddedBroker::start(1)?);
            broker.create_topic(&options.topic, options.partitions)?;
            producer = Some(Producer::start(broker, options)?);
            broker.bootstrap_servers()
        }
    };

    let context = StreamingContext::builder("word count").batch_interval(options.interval).build()?;
    let params = KafkaParams::new(brokers).group_id(&options.group).auto_offset_reset(AutoOffsetReset::Earliest);
    let records = kafka::direct_stream(&context, params, Subscription::topics([&options.topic]));
    let lines = records.try_map(|record| record.value_utf8().map(String::from)).named("lines");

    // The program proper: words of the last `window`, counted after every batch.
    let counts = lines
        .count_by_value_ref(|line, words| words.extend(line.split_whitespace()))
        .reduce_by_key_and_window(|a, b| a + b, options.window, options.interval);

    let screen = Arc::new(Mutex::new(Screen::new(options)));
    let top_of_batch = Arc::clone(&screen);
    counts.foreach_batch(move |counts, batch| {
        let top = top(counts.collect()?, 10);
        lock(&top_of_batch).tops.insert(batch.time, top);
        Ok(())
    });
    let counted = Arc::new(AtomicU64::new(0));
    let lines_counted = Arc::clone(&counted);
    lines.count().foreach_batch(move |counts, _| {
        lines_counted.fetch_add(counts.collect()?.iter().sum(), Ordering::Relaxed);
        Ok(())
    });

    let batch_ended = events;
    let screen_of_events = Arc::clone(&screen);
    context.add_listener(move |event: &Event| match event {
        Event::BatchCompleted(batch) => {
            lock(&screen_of_events).show(batch);
            // Nobody counts batches any more once the program stops.
            let _ = batch_ended.send(Wake::BatchEnded);
        }
        Event::Failed { .. } => {
            let _ = batch_ended.send(Wake::Failed);
        }
        _ => {}
    });
    context.start()?;
    let asked_to_stop = wait(&inbox, options.batches);

    // Stop the producer first: what it has sent is then part of the last batch.
    let produced = producer.map(Producer::stop);
    if asked_to_stop {
        exit_at_once_on_a_second_signal(inbox);
    }
    context.stop(Stop::Gracefully)?;
    let counted = counted.load(Ordering::Relaxed);
    lock(&screen).finish();
    let totals = match produced {
        Some(produced) => format!("lines produced {}, lines counted {counted}", produced?),
        None => format!("lines counted {counted}"),
    };
    // Not `println!`, which panics where nothing can be written.
    writeln!(std::io::stdout(), "{totals}")
        .map_err(|e| Error::new(ErrorKind::Output, format!("the totals ({totals}) cannot be written: {e}")))?;
    Ok(())
}

/// What the main thread waits for.
enum Wake {
    BatchEnded,
    Failed,
    Signal,
}

/// Waits for the last batch, an error or a signal, and returns whether it was a signal.
fn wait(inbox: &Receiver<Wake>, batches: Option<u64>) -> bool {
    let mut ended = 0;
    for wake in inbox {
        match wake {
            Wake::BatchEnded => ended += 1,
            Wake::Failed => return false,
            Wake::Signal => return true,
        }
        if batches.is_some_and(|batches| ended >= batches) {
            return false;
        }
    }
    false
}

fn stop_on_signals(wake: Sender<Wake>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    spawn("signals", move || {
        for _ in signals.forever() {
            if wake.send(Wake::Signal).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Whoever presses Ctrl-C twice does not want to wait. Kafka delivers again what was not committed.
fn exit_at_once_on_a_second_signal(inbox: Receiver<Wake>) {
    let watch = move || {
        if inbox.iter().any(|wake| matches!(wake, Wake::Signal)) {
            eprintln!("word_count: stopped in the middle of a batch");
            std::process::exit(130);
        }
    };
    // Without the thread the program still stops gracefully.
    drop(spawn("second-signal", watch));
}

fn spawn<R: Send + 'static>(name: &str, body: impl FnOnce() -> R + Send + 'static) -> Result<JoinHandle<R>> {
    Ok(std::thread::Builder::new().name(name.to_string()).spawn(body)?)
}

/// The most frequent words first; words of the same count in alphabetical order.
fn top(mut counts: Vec<(String, u64)>, n: usize) -> Vec<(String, u64)> {
    counts.sort_unstable_by(|(a_word, a), (b_word, b)| b.cmp(a).then_with(|| a_word.cmp(b_word)));
    counts.truncate(n);
    counts
}

/// A thread that writes lines of text to the topic.
struct Producer {
    stop: Sender<()>,
    thread: JoinHandle<Result<u64>>,
}

impl Producer {
    fn start(broker: &EmbeddedBroker, options: &Options) -> Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let (broker, topic, rate) = (broker.clone(), options.topic.clone(), options.rate);
        let thread = spawn("producer", move || produce(&broker, &topic, rate, &stopped))?;
        Ok(Producer { stop, thread })
    }

    /// Ends the thread and returns how many lines it has produced.
    fn stop(self) -> Result<u64> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| Err(Error::new(ErrorKind::User, "the producer panicked")))
    }
}

/// Writes `rate` lines a second, in a slice every few milliseconds, until told to stop.
fn produce(broker: &EmbeddedBroker, topic: &str, rate: u64, stopped: &Receiver<()>) -> Result<u64> {
    const SLICE: Duration = Duration::from_millis(5);
    let clock = Clock::system();
    let started = clock.now();
    let mut text = Text::new();
    let mut produced = 0;
    loop {
        let due = (clock.now() - started).as_micros() as u64 * rate / 1_000_000;
        broker.send(topic, (produced..due).map(|_| text.line()))?;
        produced = due.max(produced);
        match stopped.recv_timeout(SLICE) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(produced),
        }
    }
}

/// An endless text in which some words are more frequent than others.
struct Text {
    state: u64,
}

impl Text {
    const WORDS: &str = "the tide mill water gate wheel turns grinds corn and waits for the sea to come in and go out \
                         again with every moon a batch of grain gathers behind stone flour sack miller sluice harbour \
                         ebb flood spring neap current pond dam oak iron shaft gear hopper ledger count record stream";

    fn new() -> Self {
        Text { state: 0x9e37_79b9_7f4a_7c15 }
    }

    fn next(&mut self) -> u64 {
        // xorshift64: plenty for a text.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn line(&mut self) -> String {
        let words: Vec<&str> = Self::WORDS.split_whitespace().collect();
        let length = 4 + self.next() % 8;
        let word = |text: &mut Self| {
            // The smaller of two places: words at the front come more often.
            let (a, b) = (text.next(), text.next());
            words[(a % words.len() as u64).min(b % words.len() as u64) as usize]
        };
        (0..length).map(|_| word(self)).collect::<Vec<_>>().join(" ")
    }
}

/// Shows what the batches came to.
struct Screen {
    interval: Duration,
    window: Duration,
    redraws: bool,
    /// How many lines of the terminal the last table took.
    lines: usize,
    tops: BTreeMap<Time, Vec<(String, u64)>>,
}

impl Screen {
    fn new(options: &Options) -> Self {
        let redraws = std::io::stdout().is_terminal();
        Screen { interval: options.interval, window: options.window, redraws, lines: 0, tops: BTreeMap::new() }
    }

    fn show(&mut self, batch: &BatchInfo) {
        let Some(top) = self.tops.remove(&batch.time) else { return };
        let per_second = batch.records() as f64 / self.interval.as_secs_f64();
        let delays = format!(
            "{per_second:.0} records/s, scheduling delay {}, processing time {}",
            millis(batch.scheduling_delay()),
            millis(batch.processing_delay()),
        );
        let text = if self.redraws { self.table(&top, &delays) } else { line(batch.time, &top, &delays) };
        // A closed pipe is no reason to stop counting.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn table(&mut self, top: &[(String, u64)], delays: &str) -> String {
        let mut text = String::new();
        if self.lines > 0 {
            // To the start of the last table, and away with it.
            let _ = write!(text, "\x1b[{}F\x1b[J", self.lines);
        }
        let most = top.first().map_or(1, |(_, count)| *count).max(1);
        let _ = writeln!(text, "words of the last {:?}    {delays}", self.window);
        for (word, count) in top {
            let bar = "█".repeat((count * 40 / most) as usize);
            let _ = writeln!(text, "{word:>12} {count:>9} {bar}");
        }
        self.lines = top.len() + 1;
        text
    }

    fn finish(&mut self) {
        self.lines = 0;
    }
}

fn line(time: Time, top: &[(String, u64)], delays: &str) -> String {
    let words: Vec<_> = top.iter().map(|(word, count)| format!("{word} {count}")).collect();
    format!("batch {time}: {delays}: {}\n", words.join(", "))
}

fn millis(delay: Option<Duration>) -> String {
    delay.map_or_else(|| "-".to_string(), |delay| format!("{:.1} ms", delay.as_secs_f64() * 1000.0))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts the words of a Kafka topic over a sliding window.
#[derive(Parser)]
struct Options {
    /// Brokers of a Kafka cluster, HOST:PORT[,HOST:PORT...]; without it, a broker inside the process with lines to count
    #[arg(long)]
    brokers: Option<String>,
    /// Topic with lines of UTF-8 text
    #[arg(long, default_value = "lines")]
    topic: String,
    /// Consumer group, under which offsets are committed
    #[arg(long, default_value = "word-count")]
    group: String,
    /// Time between two batches, such as 1s or 5ms
    #[arg(long, default_value = "1s", value_parser = duration)]
    interval: Duration,
    /// Length of the window, a multiple of the interval
    #[arg(long, default_value = "10s", value_parser = duration)]
    window: Duration,
    /// Stop after this many batches
    #[arg(long, value_name = "N")]
    batches: Option<u64>,
    /// Lines a second that the producer writes (without --brokers)
    #[arg(long, default_value_t = 5000, conflicts_with = "brokers")]
    rate: u64,
    /// Partitions of the topic (without --brokers)
    #[arg(long, default_value_t = 4, conflicts_with = "brokers", value_parser = partitions)]
    partitions: usize,
}

fn duration(text: &str) -> std::result::Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let number: f64 = number.parse().map_err(|_| format!("{text} is no duration: write 1s, 250ms or 2m"))?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(format!("{text} has no unit: write 1s, 250ms or 2m")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|e| format!("{text}: {e}"))
}

fn partitions(text: &str) -> std::result::Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text} is no number of partitions: at least 1")),
        Ok(partitions) => Ok(partitions),
    }
}
