//! The newer version of the program that tests/upgrade.rs upgrades: an operator added, one moved, one removed, a state
//! with a new field, another batch interval and other partitions.

mod common;

use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidemill::prelude::*;
use tidemill::{Checkpoint, KeyState, Partitions, StateSpec, Upgrade};

use common::{Click, Lines};

/// What version 1 has written.
mod old {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    pub(crate) struct Clicks {
        pub(crate) sum: u64,
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Clicks {
    sum: u64,
    since_upgrade: u64,
}

#[tidemill::pipeline]
fn build(clicks: &DStream<Click>, lines: &Lines, migrates: bool) {
    // Moved: it is built first now, and behind another operator.
    let batches_per_user = clicks
        .filter(|_| true)
        .update_state_by_key(|values: Vec<u64>, batches: Option<u64>| Some(batches.unwrap_or(0) + values.len() as u64));
    lines.note("batches", &batches_per_user);

    let spec = StateSpec::function(|user: &String, clicks: Option<u64>, state: &mut KeyState<'_, Clicks>| {
        let clicks = clicks.unwrap_or(0);
        let (sum, since) = state.get().map_or((0, 0), |state| (state.sum, state.since_upgrade));
        let next = Clicks { sum: sum + clicks, since_upgrade: since + clicks };
        state.update(next.clone());
        (user.clone(), next.sum, next.since_upgrade)
    });
    let spec = spec.partitions(Partitions::new(7));
    let spec = if migrates {
        spec.version(2).migrate_from(1, |old: old::Clicks| Clicks { sum: old.sum, since_upgrade: 0 })
    } else {
        spec
    };
    let clicks_per_user = clicks.map_with_state(spec);
    lines.note("sum", &clicks_per_user);

    let smallest =
        clicks.update_state_by_key(|values: Vec<u64>, smallest: Option<u64>| values.into_iter().chain(smallest).min());
    lines.note("smallest", &smallest);
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().expect("the directory of the checkpoint");
    let consents = arguments.next().as_deref() == Some("consent");
    let checkpoint = Checkpoint::new(directory);
    let checkpoint = if consents { checkpoint.upgrade(Upgrade::new().drop_state("largest")) } else { checkpoint };
    let builder = StreamingContext::builder("upgrade").batch_interval(Duration::from_millis(30)).checkpoint(checkpoint);
    common::run(8, builder, move |clicks, lines| build(clicks, lines, consents))
}
