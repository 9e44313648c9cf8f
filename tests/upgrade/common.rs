//! What both versions of the program have in common: their input, and how they run.

use std::fmt::Debug;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill::prelude::*;
use tidemill::{Error, ErrorKind, InputBatch, Source, SourceContext, StreamingContextBuilder, Time};

/// Who, and how many clicks.
pub type Click = (String, u64);

/// The n-th batch of all there ever are.
fn batch(n: u64) -> Vec<Click> {
    (0..5).map(|user| (format!("user {user}"), n * 10 + user)).collect()
}

/// Numbered batches: whoever goes on from a plan goes on with the next number.
struct Numbered {
    context: Option<SourceContext>,
    next: u64,
    last: u64,
}

impl Numbered {
    fn number(&self, number: u64) -> Result<InputBatch<Click>> {
        let context = self.context.as_ref().ok_or_else(|| Error::new(ErrorKind::Input, "not started"))?;
        let records = batch(number);
        Ok(InputBatch {
            records: records.len() as u64,
            dataset: context.dataset(vec![records]),
            description: format!("batch number {number}"),
            plan: number.to_le_bytes().to_vec(),
        })
    }
}

fn number_of(plan: &[u8]) -> Result<u64> {
    plan.try_into().map(u64::from_le_bytes).map_err(|_| Error::new(ErrorKind::Input, "no number"))
}

impl Source<Click> for Numbered {
    fn name(&self) -> String {
        "numbered".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        self.next = context.last_plan().map(number_of).transpose()?.map_or(1, |last| last + 1);
        self.context = Some(context.clone());
        Ok(())
    }

    fn batch(&mut self, _: Time) -> Result<Option<InputBatch<Click>>> {
        if self.next > self.last {
            return Ok(None);
        }
        self.next += 1;
        self.number(self.next - 1).map(Some)
    }

    fn can_restore(&self) -> bool {
        true
    }

    fn restore(&mut self, _: Time, plan: &[u8]) -> Result<InputBatch<Click>> {
        self.number(number_of(plan)?)
    }
}

/// What outputs have got.
#[derive(Clone)]
pub struct Lines(Arc<Mutex<Sender<String>>>);

impl Lines {
    /// Notes every record of a stream, behind a word.
    pub fn note<T: Data + Debug>(&self, word: &'static str, stream: &DStream<T>) {
        let lines = Arc::clone(&self.0);
        stream.foreach_batch(move |batch, _| {
            for record in batch.collect()? {
                let _ = lines.lock().expect("nobody panics with it").send(format!("{word} {record:?}"));
            }
            Ok(())
        });
    }
}

/// Runs a version of the program up to a batch, and prints what its outputs have got.
pub fn run(last: u64, builder: StreamingContextBuilder, build: impl Fn(&DStream<Click>, &Lines) + 'static) -> ExitCode {
    let (send, receive) = channel();
    match run_up_to(last, builder, build, &Lines(Arc::new(Mutex::new(send))), &receive) {
        Ok(mut lines) => {
            lines.sort();
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run_up_to(
    last: u64,
    builder: StreamingContextBuilder,
    build: impl Fn(&DStream<Click>, &Lines) + 'static,
    lines: &Lines,
    receive: &Receiver<String>,
) -> Result<Vec<String>> {
    let context = StreamingContext::get_or_create(builder, |context| {
        let clicks = context.input(Numbered { context: None, next: 1, last }).named("clicks");
        build(&clicks, lines);
        // The last output, with one job at a time: all others have got the batch before.
        let end = clicks.filter(move |(_, clicks)| *clicks == last * 10 + 4);
        lines.note("end", &end);
        Ok(())
    })?;
    context.start()?;
    let mut seen = Vec::new();
    loop {
        match receive.recv_timeout(Duration::from_millis(100)) {
            Ok(line) if line.starts_with("end") => break,
            Ok(line) => seen.push(line),
            Err(RecvTimeoutError::Timeout) if context.state() == State::Active => {}
            Err(_) => return context.await_termination().map(|()| seen),
        }
    }
    context.stop(Stop::Gracefully)?;
    seen.extend(receive.try_iter().filter(|line| !line.starts_with("end")));
    Ok(seen)
}
