//! How does a program keep its state when it is killed?
//!
//! Customers pay, and the program keeps the total of each. It is killed over and over, as a crash would, and each time
//! started again: its checkpoint has the totals, and where it was in the topic.
//!
//! ```text
//! cargo run --example running_totals
//! ```
//!
//! This part of the program is the world around: it has the broker, sends payments, reads the totals that the other part
//! prints, and kills it. A total may be printed twice, since the program can be killed before it has noted that it has
//! printed it; but it is always a right one. After some lines on what was killed when, it prints:
//!
//! ```text
//! ann: 5050
//! bob: 10100
//! eve: 15150
//! ```
//!
//! With `--brokers HOST:PORT --checkpoint DIRECTORY` it is only the part that counts, over brokers of yours. A payment is
//! a record like `ann 12` in the topic `payments`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser;
use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{self, AutoOffsetReset, KafkaParams, Subscription};
use tidemill::prelude::*;
use tidemill::{KeyState, StateSpec};

const CUSTOMERS: [&str; 3] = ["ann", "bob", "eve"];

/// Totals that outlive the program.
#[derive(Parser)]
struct Arguments {
    /// Brokers of yours; otherwise the program brings its own, kills itself and shows what comes of it.
    #[arg(long, requires = "checkpoint")]
    brokers: Option<String>,
    /// Where the state is kept.
    #[arg(long, requires = "brokers")]
    checkpoint: Option<PathBuf>,
}

fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments { brokers: Some(brokers), checkpoint: Some(directory) } => count(&brokers, &directory),
        _ => kill_and_start_again(),
    }
}

/// The program itself.
fn count(brokers: &str, directory: &Path) -> Result<()> {
    let builder = StreamingContext::builder("totals").batch_interval(Duration::from_millis(50)).checkpoint(directory);
    let context = StreamingContext::get_or_create(builder, |context| {
        let params = KafkaParams::new(brokers).group_id("totals").auto_offset_reset(AutoOffsetReset::Earliest);
        let payments = kafka::direct_stream(context, params, Subscription::topics(["payments"])).try_map(|record| {
            let text = record.value_utf8()?;
            let (customer, amount) =
                text.split_once(' ').ok_or_else(|| Error::user(format!("no amount in {text:?}")))?;
            Ok((customer.to_string(), amount.parse::<u64>().map_err(Error::user)?))
        });
        let add = |customer: &String, amount: Option<u64>, total: &mut KeyState<'_, u64>| {
            let sum = total.get().unwrap_or(&0) + amount.unwrap_or(0);
            total.update(sum);
            (customer.clone(), sum)
        };
        let totals = payments.map_with_state(StateSpec::function(add)).named("totals");
        // A total of a batch that runs again is the same: whoever reads it as the newest total may read it twice.
        totals.foreach_batch(|totals, _| {
            let mut out = std::io::stdout().lock();
            totals.collect()?.iter().try_for_each(|(customer, total)| writeln!(out, "{customer} {total}"))?;
            Ok(out.flush()?)
        });
        Ok(())
    })?;
    context.start()?;
    context.await_termination()
}

/// The world around it.
fn kill_and_start_again() -> Result<()> {
    let broker = EmbeddedBroker::start(1)?;
    broker.create_topic("payments", 4)?;
    let folder = tempfile::tempdir()?;
    let program = std::env::current_exe()?;
    let mut out = std::io::stdout();
    let mut totals: BTreeMap<String, u64> = BTreeMap::new();
    for run in 1..=5 {
        // In the end each customer has paid 1 + 2 + ... + 100, or a multiple of it.
        for amount in 20 * (run - 1) + 1..=20 * run {
            broker.send(
                "payments",
                (1..).zip(CUSTOMERS).map(|(times, customer)| format!("{customer} {}", times * amount)),
            )?;
        }
        let paid: u64 = 20 * run * (20 * run + 1) / 2;
        let mut running = Command::new(&program)
            .args(["--brokers", &broker.bootstrap_servers(), "--checkpoint"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(running.stdout.take().ok_or_else(|| Error::user("no pipe"))?).lines();
        let mut seen = 0;
        for line in lines {
            let line = line?;
            let (customer, total) = line.split_once(' ').ok_or_else(|| Error::user(format!("no total in {line:?}")))?;
            let total: u64 = total.parse().map_err(Error::user)?;
            // What was printed before may come again. Totals grow.
            let newest = totals.entry(customer.to_string()).or_default();
            *newest = total.max(*newest);
            seen += 1;
            let is_all = (1..).zip(CUSTOMERS).all(|(times, customer)| totals.get(customer) == Some(&(times * paid)));
            // Wherever it is; but the last time it has to come to the end.
            if is_all || (run < 5 && seen == 30) {
                break;
            }
        }
        running.kill()?; // SIGKILL
        running.wait()?;
        writeln!(out, "run {run} was killed after {seen} totals")?;
    }
    totals.iter().try_for_each(|(customer, total)| Ok(writeln!(out, "{customer}: {total}")?))
}
