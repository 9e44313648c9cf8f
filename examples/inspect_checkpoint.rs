//! Looks into the checkpoint of a program: what it holds, the states as JSON lines, and a reset of one operator.
//!
//! ```text
//! cargo run --example inspect_checkpoint -- run /tmp/clicks
//! cargo run --example inspect_checkpoint -- list /tmp/clicks
//! cargo run --example inspect_checkpoint -- dump /tmp/clicks clicks_per_user
//! cargo run --example inspect_checkpoint -- reset /tmp/clicks clicks_per_user
//! ```
//!
//! `run` is a small program that leaves a checkpoint; `list` and `reset` work on any, `dump` where the types are known.
//!
//! ```text
//! {"key":"ada","state":{"clicks":3,"last":"/cart"}}
//! {"key":"bob","state":{"clicks":1,"last":"/"}}
//! ```

use std::time::Duration;

use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
use tidemill::prelude::*;
use tidemill::{Checkpoint, Error, Inspection};

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run { directory } => run(Checkpoint::new(directory)),
        Command::List { directory } => list(&Checkpoint::new(directory)),
        Command::Dump { directory, state } => dump(&Checkpoint::new(directory), &state),
        Command::Reset { directory, state } => Checkpoint::new(directory).reset_state(&state),
    }
}

/// What is in the checkpoint, a line each.
fn list(checkpoint: &Checkpoint) -> Result<()> {
    let found = Inspection::open(checkpoint.clone())?;
    println!("program {}, a batch every {:?}", found.app(), found.batch_interval());
    for batch in found.batches() {
        println!("batch {}, {}", batch.time, if batch.done { "done" } else { "not done" });
        for input in &batch.inputs {
            println!("  input {}: {} records, {}", input.name, input.records, input.description);
        }
        for (output, failure) in &batch.outputs {
            println!("  output {output}: {}", failure.as_deref().unwrap_or("done"));
        }
    }
    for state in found.states() {
        let (name, keys, bytes) = (&state.name, state.keys, state.bytes);
        println!("state {name}: {keys} keys, {bytes} bytes, version {}, {:?}", state.version, state.types);
    }
    Ok(())
}

/// The states, a line of JSON each. That takes the types of key and state.
fn dump(checkpoint: &Checkpoint, state: &str) -> Result<()> {
    #[derive(Serialize)]
    struct Line {
        key: String,
        state: Clicks,
    }
    let mut lines: Vec<Line> = checkpoint.read_state(state)?.map(|(key, state)| Line { key, state }).collect();
    lines.sort_by(|a, b| a.key.cmp(&b.key));
    for line in lines {
        println!("{}", serde_json::to_string(&line).map_err(Error::user)?);
    }
    Ok(())
}

#[derive(Clone, Serialize, Deserialize)]
struct Clicks {
    clicks: u64,
    last: String,
}

/// Counts the clicks of users.
fn run(checkpoint: Checkpoint) -> Result<()> {
    let builder = StreamingContext::builder("clicks").batch_interval(Duration::from_millis(50)).checkpoint(checkpoint);
    let context = StreamingContext::get_or_create(builder, build)?;
    context.start()?;
    context.stop(Stop::Gracefully)
}

#[tidemill::pipeline]
fn build(context: &StreamingContext) -> Result<()> {
    let queue = QueueSource::all_at_once();
    for (user, page) in [("ada", "/"), ("bob", "/"), ("ada", "/tea"), ("ada", "/cart")] {
        queue.push([(user.to_string(), page.to_string())]);
    }
    let clicks = context.input(queue);
    let count = |user: &String, page: Option<String>, state: &mut KeyState<'_, Clicks>| {
        let clicks = state.get().map_or(0, |state| state.clicks) + 1;
        state.update(Clicks { clicks, last: page.unwrap_or_default() });
        (user.clone(), clicks)
    };
    let clicks_per_user = clicks.map_with_state(StateSpec::function(count));
    clicks_per_user.print();
    Ok(())
}

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a program that leaves a checkpoint.
    Run { directory: String },
    /// Lists batches and states.
    List { directory: String },
    /// Prints the states of an operator as JSON lines.
    Dump { directory: String, state: String },
    /// Has the state of an operator begin empty.
    Reset { directory: String, state: String },
}
