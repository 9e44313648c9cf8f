//! How much memory does a program with a large state take, and is it more while the state is saved?
//!
//! The program gives every one of many keys a state, and then goes round the keys again and again, a hundredth of them a
//! batch. All of it goes into a checkpoint: each batch saves what it has changed, and some of the rest, so that a snapshot
//! goes round the keys too. Started again with the same directory, the program goes on where it was.
//!
//! ```text
//! cargo run --release --example large_state -- --keys 1000000 --directory /tmp/large-state
//! ```
//!
//! It prints how much there is when all keys have a state, and when so many batches more are done (on Linux: elsewhere
//! nothing is known of the memory); the second time first what there is after the restart. The first time:
//!
//! ```text
//! filled: 1000000 keys, 155 MB of state; 167 MB resident, at most 167 MB so far
//! 250 batches later: 1000000 keys, 155 MB of state; 169 MB resident, at most 171 MB so far
//! ```
//!
//! Under a limit of the system (`ulimit -d`, in KiB) it runs as well as without, as long as the limit suffices. If it does
//! not, the process is aborted; with a higher limit it goes on, and no key was counted twice or left out: the program
//! looks at every state that it changes, and ends in an error if one is not what it has to be.

use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use clap::Parser;
use tidemill::prelude::*;
use tidemill::{InputBatch, KeyState, Source, SourceContext, StateSpec};

/// A state larger than most, in a checkpoint.
#[derive(Parser)]
struct Arguments {
    /// How many keys get a state, of 128 bytes each.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// How many batches follow when all have one. A hundred go round all keys.
    #[arg(long, default_value_t = 250)]
    batches: u64,
    /// Where the checkpoint lies.
    #[arg(long)]
    directory: PathBuf,
}

/// The numbers from 0 on, so many a batch: an input that can be read again.
struct Numbers {
    a_batch: u64,
    next: u64,
    context: Option<SourceContext>,
}

impl Numbers {
    fn batch_from(&mut self, first: u64) -> Result<InputBatch<u64>> {
        let context = self.context.as_ref().ok_or_else(|| Error::user("not started"))?;
        self.next = first + self.a_batch;
        let (middle, end) = (first + self.a_batch / 2, self.next);
        Ok(InputBatch {
            dataset: context.dataset(vec![(first..middle).collect(), (middle..end).collect()]),
            records: self.a_batch,
            description: format!("{first} to {}", end - 1),
            plan: first.to_le_bytes().to_vec(),
        })
    }
}

/// Where the batch of a plan begins.
fn first_of(plan: &[u8]) -> Result<u64> {
    Ok(u64::from_le_bytes(plan.try_into().map_err(Error::user)?))
}

impl Source<u64> for Numbers {
    fn name(&self) -> String {
        "numbers".to_string()
    }

    fn start(&mut self, context: &SourceContext) -> Result<()> {
        if let Some(plan) = context.last_plan() {
            self.next = first_of(plan)? + self.a_batch;
        }
        self.context = Some(context.clone());
        Ok(())
    }

    fn batch(&mut self, _: Time) -> Result<Option<InputBatch<u64>>> {
        self.batch_from(self.next).map(Some)
    }

    fn can_restore(&self) -> bool {
        true
    }

    fn restore(&mut self, _: Time, plan: &[u8]) -> Result<InputBatch<u64>> {
        self.batch_from(first_of(plan)?)
    }
}

/// How often the key has come, and something that differs from key to key.
type State = [u64; 16];

fn main() -> Result<()> {
    let Arguments { keys, batches, directory } = Arguments::parse();
    let a_batch = keys.div_ceil(100);
    let (send, ends) = channel();
    let mut states = None;
    let builder = StreamingContext::builder("large state").batch_interval(Duration::from_millis(10));
    let context = StreamingContext::get_or_create(builder.max_missed_batches(0).checkpoint(directory), |context| {
        let numbers = context.input(Numbers { a_batch, next: 0, context: None });
        // How often it has to have come is known: the numbers go round the keys.
        let count = move |key: &u64, number: Option<u64>, state: &mut KeyState<'_, State>| {
            let count = state.get().map_or(0, |state| state[0]) + 1;
            let mut new =
                std::array::from_fn(|place| key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(place as u32));
            new[0] = count;
            state.update(new);
            number.is_some_and(|number| number / keys + 1 == count)
        };
        let spec = StateSpec::function(count);
        let counts = numbers.map(move |number| (number % keys, number)).map_with_state(spec).named("counts");
        let wrong = counts.filter(|is_right| !is_right);
        wrong.foreach_batch(move |wrong, _| match wrong.count()? {
            0 => send.send(()).map_err(Error::user),
            wrong => Err(Error::user(format!("{wrong} keys have come more or less often than they should have"))),
        });
        states = Some(counts);
        Ok(())
    })?;
    let states = states.ok_or_else(|| Error::user("no states"))?;
    let mut out = std::io::stdout();
    let mut say = |phase: &str| {
        let info = states.state_info().unwrap_or_default();
        writeln!(out, "{phase}: {} keys, {} MB of state{}", info.keys, info.bytes / 1_000_000, memory())
    };
    let kept = || states.state_info().unwrap_or_default().keys;

    context.start()?;
    if kept() > 0 {
        say("restored")?;
    }
    if kept() < keys {
        while kept() < keys {
            wait_for_batch(&context, &ends)?;
        }
        say("filled")?;
    }
    for _ in 0..batches {
        wait_for_batch(&context, &ends)?;
    }
    say(&format!("{batches} batches later"))?;
    // What is not done is done after the next start.
    context.stop(Stop::Now)
}

/// Waits for the end of a batch, or for the error that ends them all.
fn wait_for_batch(context: &StreamingContext, ends: &Receiver<()>) -> Result<()> {
    while ends.recv_timeout(Duration::from_millis(100)).is_err() {
        if context.await_termination_or_timeout(Duration::ZERO)? {
            return Err(Error::user("the context was stopped"));
        }
    }
    Ok(())
}

/// What Linux says of the memory of this process.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mb = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024 / 1_000_000)
    };
    match (mb("VmRSS:"), mb("VmHWM:")) {
        (Some(resident), Some(peak)) => format!("; {resident} MB resident, at most {peak} MB so far"),
        _ => String::new(),
    }
}
