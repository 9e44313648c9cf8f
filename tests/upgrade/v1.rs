//! The older version of the program that tests/upgrade.rs upgrades.

mod common;

use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::prelude::*;
use tidemill::{Checkpoint, KeyState, StateSpec};

use common::{Click, Lines};

#[derive(Clone, Serialize, Deserialize)]
struct Clicks {
    sum: u64,
}

#[tidemill::pipeline]
fn build(clicks: &DStream<Click>, lines: &Lines) {
    let spec = StateSpec::function(|user: &String, clicks: Option<u64>, state: &mut KeyState<'_, Clicks>| {
        let sum = state.get().map_or(0, |state| state.sum) + clicks.unwrap_or(0);
        state.update(Clicks { sum });
        (user.clone(), sum)
    });
    let clicks_per_user = clicks.map_with_state(spec);
    lines.note("sum", &clicks_per_user);

    let batches_per_user = clicks
        .update_state_by_key(|values: Vec<u64>, batches: Option<u64>| Some(batches.unwrap_or(0) + values.len() as u64));
    lines.note("batches", &batches_per_user);

    let largest =
        clicks.update_state_by_key(|values: Vec<u64>, largest: Option<u64>| values.into_iter().max().max(largest));
    lines.note("largest", &largest);
}

fn main() -> ExitCode {
    let directory = std::env::args().nth(1).expect("the directory of the checkpoint");
    let builder = StreamingContext::builder("upgrade")
        .batch_interval(Duration::from_millis(20))
        .checkpoint(Checkpoint::new(directory));
    common::run(4, builder, build)
}
