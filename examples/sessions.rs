//! How do I tell when a session has ended?
//!
//! Clicks of users come in. A session goes on for as long as its user clicks; after three batches of silence it is over,
//! and its length goes on as a record. The session is the state of its user, the silence its timeout.
//!
//! ```text
//! cargo run --example sessions
//! ```
//!
//! The input is a queue, a batch is 50 ms, and the program ends after nine batches. It prints:
//!
//! ```text
//! batch 1
//! batch 2
//! batch 3
//! batch 4
//! batch 5: bob left after 1 click
//! batch 6
//! batch 7: ada left after 4 clicks
//! batch 8
//! batch 9
//! still there: bob, 2 clicks
//! ```

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use tidemill::prelude::*;

fn main() -> Result<()> {
    let batch = Duration::from_millis(50);
    let context = StreamingContext::builder("sessions").batch_interval(batch).build()?;
    let clicks = QueueSource::one_at_a_time();
    for users in [&["ada", "ada", "bob"][..], &["ada"], &["ada"], &[], &[], &[], &["bob"], &["bob"], &[]] {
        clicks.push(users.iter().map(|user| (user.to_string(), ())));
    }

    let session = |_: Time, user: &String, click: Option<()>, clicks: &mut KeyState<u32>| {
        if click.is_some() {
            clicks.update(clicks.get().unwrap_or(&0) + 1);
            return None;
        }
        // Without a click it is called when the time is up.
        let count = clicks.get().copied().unwrap_or(0);
        Some(format!("{user} left after {count} {}", if count == 1 { "click" } else { "clicks" }))
    };
    let spec = StateSpec::function_with_time(session).timeout(3 * batch);
    let sessions = context.input(clicks).map_with_state(spec);

    let (send, batches) = mpsc::channel();
    let open = sessions.state_snapshots().map(|(user, clicks)| (false, format!("{user}, {clicks} clicks")));
    let lines = sessions.map(|line| (true, line)).union(&open);
    lines.foreach_batch(move |lines, _| send.send(lines.collect()?).map_err(Error::user));

    context.start()?;
    let mut out = std::io::stdout();
    let mut last = Vec::new();
    for (number, lines) in (1..=9).zip(&batches) {
        let (ended, open): (Vec<_>, Vec<_>) = Vec::into_iter(lines).partition(|(has_ended, _)| *has_ended);
        let ended = ended.into_iter().map(|(_, line)| line);
        let line: Vec<String> = std::iter::once(format!("batch {number}")).chain(ended).collect();
        writeln!(out, "{}", line.join(": "))?;
        last = open;
    }
    last.iter().try_for_each(|(_, user)| writeln!(out, "still there: {user}"))?;
    context.stop(Stop::Gracefully)
}
