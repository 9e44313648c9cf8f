//! What a program can set, with what it is when it does not.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use crate::backpressure::Backpressure;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::scheduler::{OutputFailure, OutputPolicy};
use crate::time::Clock;

/// A year: a longer interval is a mistake.
const LONGEST_INTERVAL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// As many threads run jobs at most.
const MOST_JOBS: usize = 1024;

/// The settings of a context. Made with [`StreamingContext::builder`](crate::StreamingContext::builder).
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) app_name: String,
    pub(crate) batch_interval: Duration,
    pub(crate) workers: usize,
    pub(crate) partitions: Option<usize>,
    pub(crate) max_task_attempts: u32,
    pub(crate) concurrent_jobs: usize,
    pub(crate) max_queued_batches: usize,
    pub(crate) outputs: OutputPolicy,
    pub(crate) stop_timeout: Option<Duration>,
    pub(crate) remember: Duration,
    pub(crate) backpressure: Option<Backpressure>,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// How many batches there are between two snapshots, for tests.
    pub(crate) checkpoint_every: Option<u32>,
    pub(crate) max_missed_batches: u64,
    pub(crate) clock: Clock,
    /// Whether blocks of a shuffle are encoded even within the process: for tests.
    pub(crate) encoded_shuffle: bool,
}

impl Config {
    pub(crate) fn new(app_name: String) -> Self {
        Config {
            app_name,
            batch_interval: Duration::from_secs(1),
            workers: available_parallelism().map_or(1, NonZeroUsize::get),
            partitions: None,
            max_task_attempts: 4,
            concurrent_jobs: 1,
            max_queued_batches: 8,
            outputs: OutputPolicy {
                attempts: 1,
                backoff: (Duration::from_millis(100), Duration::from_secs(10)),
                on_failure: OutputFailure::Stop,
            },
            stop_timeout: None,
            remember: Duration::ZERO,
            backpressure: None,
            checkpoint: None,
            checkpoint_every: None,
            max_missed_batches: 10_000,
            clock: Clock::system(),
            encoded_shuffle: false,
        }
    }

    /// Names every setting that cannot be used.
    pub(crate) fn check(&self) -> Result<()> {
        let mut wrong = Vec::new();
        if self.batch_interval < Duration::from_millis(1) {
            wrong.push(format!("batch_interval is {:?}, the shortest is 1 ms", self.batch_interval));
        }
        if self.batch_interval > LONGEST_INTERVAL {
            wrong.push(format!("batch_interval is {:?}, the longest is {LONGEST_INTERVAL:?}", self.batch_interval));
        }
        if self.concurrent_jobs > MOST_JOBS {
            wrong.push(format!("concurrent_jobs is {}, the most is {MOST_JOBS}", self.concurrent_jobs));
        }
        for (name, value) in [
            ("workers", self.workers),
            ("partitions", self.partitions.unwrap_or(1)),
            ("max_task_attempts", self.max_task_attempts as usize),
            ("output_attempts", self.outputs.attempts as usize),
            ("concurrent_jobs", self.concurrent_jobs),
            ("max_queued_batches", self.max_queued_batches),
        ] {
            if value == 0 {
                wrong.push(format!("{name} is 0, the least is 1"));
            }
        }
        let (first, most) = self.outputs.backoff;
        if first > most {
            wrong.push(format!("output_backoff begins with {first:?}, which is more than {most:?}, its longest"));
        }
        wrong.extend(self.backpressure.iter().flat_map(Backpressure::mistakes));
        if wrong.is_empty() { Ok(()) } else { Err(Error::new(ErrorKind::Config, wrong.join("; "))) }
    }

    /// How long a stop may take: ten batch intervals and at least half a minute, if nothing else is said.
    pub(crate) fn stop_timeout(&self) -> Duration {
        self.stop_timeout.unwrap_or((self.batch_interval * 10).max(Duration::from_secs(30)))
    }
}
