use std::time::Duration;

use crate::id::StreamId;
use crate::time::Time;

/// Something that happened in a context.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The context has started; its first batch comes one batch interval after `zero_time`.
    StreamingStarted {
        /// The instant before the first batch.
        zero_time: Time,
    },
    /// The context goes on from a checkpoint. Comes after `StreamingStarted`, before the first batch.
    Recovered {
        /// The batch after which it goes on: it and all before it are done, and state is as it left it.
        done_up_to: Time,
        /// How many batches were planned by an earlier run, and run now with the records of then: those that were not
        /// done, and those from the first on that an output failed for.
        pending: usize,
        /// How many batches come that were due while the program did not run.
        missed: u64,
        /// How many more were due, and never come: see
        /// [`max_missed_batches`](crate::StreamingContextBuilder::max_missed_batches). No record is lost by it.
        not_made_up: u64,
        /// What of the checkpoint was damaged or is lost, and what was done about it. Empty if all is well.
        reports: Vec<String>,
    },
    /// A batch was planned and its jobs wait to run.
    BatchSubmitted(BatchInfo),
    /// The first job of a batch began.
    BatchStarted(BatchInfo),
    /// The last job of a batch ended, well or not, or the batch had none. A batch that a stop has dropped has no such
    /// end.
    BatchCompleted(BatchInfo),
    /// An output operation of a batch began.
    OutputStarted(OutputInfo),
    /// An output operation of a batch ended, well or not.
    OutputCompleted(OutputInfo),
    /// Batches come faster than they are processed: this many wait.
    FallingBehind {
        /// The batch that had to wait before it was planned.
        batch: Time,
        /// How many batches wait before it.
        waiting: usize,
    },
    /// Records that no batch will have, and the program goes on without them, as it was told to: see
    /// `KafkaParams::fail_on_data_loss`.
    DataLost {
        /// The input.
        stream: StreamId,
        /// What the input is called: `kafka lines`.
        input: String,
        /// Which records, and why.
        what: String,
    },
    /// An error that ends the context.
    Failed {
        /// What it said.
        error: String,
    },
}

/// A batch, as far as it has come. Spark's `BatchInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchInfo {
    /// The batch.
    pub time: Time,
    /// What each input planned for it.
    pub inputs: Vec<InputInfo>,
    /// When its planning began: at its time, or later if too many batches waited.
    pub planned: Time,
    /// When its jobs were handed to the scheduler.
    pub submitted: Time,
    /// When its first job began.
    pub started: Option<Time>,
    /// When its last job ended.
    pub ended: Option<Time>,
    /// Its output operations, in the order in which the program made them.
    pub outputs: Vec<OutputInfo>,
}

impl BatchInfo {
    pub(crate) fn new(
        time: Time,
        inputs: Vec<InputInfo>,
        planned: Time,
        submitted: Time,
        outputs: Vec<OutputInfo>,
    ) -> Self {
        BatchInfo { time, inputs, planned, submitted, started: None, ended: None, outputs }
    }

    /// How many records the inputs delivered.
    pub fn records(&self) -> u64 {
        self.inputs.iter().map(|input| input.records).sum()
    }

    /// How long the batch waited: from its time until it was planned, and then until it was run.
    pub fn scheduling_delay(&self) -> Option<Duration> {
        Some((self.planned - self.time) + (self.started? - self.submitted))
    }

    /// How long its jobs took.
    pub fn processing_delay(&self) -> Option<Duration> {
        Some(self.ended? - self.started?)
    }

    /// How long it waited and how long its jobs took.
    pub fn total_delay(&self) -> Option<Duration> {
        Some(self.scheduling_delay()? + self.processing_delay()?)
    }
}

/// What one input planned for one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputInfo {
    /// The input.
    pub stream: StreamId,
    /// What the input is called: `kafka lines`.
    pub name: String,
    /// How many records it planned.
    pub records: u64,
    /// What they are: offset ranges, file names.
    pub description: String,
}

impl InputInfo {
    pub(crate) fn new(stream: StreamId, name: String, records: u64, description: String) -> Self {
        InputInfo { stream, name, records, description }
    }
}

/// One output operation of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutputInfo {
    /// The batch.
    pub batch: Time,
    /// The place of the operation among the outputs of the program, from 0.
    pub output: usize,
    /// The operation and the line of the program that made it.
    pub name: String,
    /// When it began.
    pub started: Option<Time>,
    /// When it ended.
    pub ended: Option<Time>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
}

impl OutputInfo {
    pub(crate) fn new(batch: Time, output: usize, name: String) -> Self {
        OutputInfo { batch, output, name, started: None, ended: None, failure: None }
    }

    /// How long it took.
    pub fn duration(&self) -> Option<Duration> {
        Some(self.ended? - self.started?)
    }
}
