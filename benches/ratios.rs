//! Prints what the crate costs in units of the same work written by hand, in processor time.
//!
//! ```text
//! cargo bench --bench ratios [-- WORD]     only the cases with the word in their name
//! ```
//!
//! Both sides run by turns, hand, crate, hand, crate, and the medians are compared: what else the machine does hits
//! both. "best" is the fastest run of the crate against the fastest by hand, which is steadier on a busy machine.
//! Processor time is that of all threads of the process.

#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

mod common;

use std::time::{Duration, Instant};

use common::measure::{measure, median, quantile};
use common::state::{Checkpointed, POLICIES, RECORDS};
use common::{Case, Size};

/// How often each side runs.
const ROUNDS: usize = 9;

fn main() {
    let size = Size::from_args();
    let wanted = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let [hand, ours, ratio, best, quartiles, target] = ["hand", "crate", "ratio", "best", "quartiles", "target"];
    println!("{:<40} {hand:>8} {ours:>8} {ratio:>7} {best:>7} {quartiles:>13} {target:>7}", "ns per record");
    let cases = [
        common::fusion::CASES,
        common::shuffle::CASES,
        common::joins::CASES,
        common::windows::CASES,
        common::state::CASES,
    ];
    let cases = cases.concat();
    for make in cases {
        // A case makes its data when it is built; ask its name with little of it.
        if make(Size::Test).name.contains(&wanted) {
            report(&make(size), if size == Size::Test { 1 } else { ROUNDS });
        }
    }
    if "checkpointed batch".contains(&wanted) {
        checkpoints(size);
    }
    if "empty batch".contains(&wanted) {
        tick(if size == Size::Test { 100 } else { 20_000 });
    }
}

/// What a checkpoint adds to a batch, and what it takes to recover from one.
fn checkpoints(size: Size) {
    // The second keeps the machine busy for a good part of a second: each key comes ten times.
    for records in [RECORDS, 100 * RECORDS] {
        checkpointed(size, records);
    }
    each_second(size);
}

/// The same with a batch each second by the clock of the machine, which has nothing to do in between. The delay is from
/// the time of a batch until its outputs have ended and its state is ready to be written. One program runs at a time.
fn each_second(size: Size) {
    let (rounds, batches) = if size == Size::Test { (1, 1) } else { (4, 10) };
    let mut measured = POLICIES.map(|(name, sync)| (name, sync, Vec::new(), Vec::new()));
    for _ in 0..rounds {
        for (_, sync, delays, processor) in &mut measured {
            let mut program = Checkpointed::new(size, *sync, RECORDS).each_second();
            let run = program.start();
            program.tick(&run);
            let ((), time) =
                measure(|| (0..batches).for_each(|_| delays.push(program.timed_tick(&run).as_secs_f64() * 1e3)));
            processor.push(time.as_secs_f64() * 1e3 / f64::from(batches));
            program.stop(&run);
        }
    }
    let [without, processor_without] = [median(&measured[0].2), median(&measured[0].3)];
    for (name, _, delays, processor) in measured {
        let [delay, processor] = [median(&delays), median(&processor)];
        let [added, processor_added] =
            [(delay, without), (processor, processor_without)].map(|(with, without)| 100.0 * (with / without - 1.0));
        println!(
            "checkpointed batch each second, {} records, {name}: {delay:.1} ms total delay, {added:+.0} %; {processor:.1} \
             ms processor time, {processor_added:+.0} %",
            size.records(RECORDS)
        );
    }
}

/// Batches of so many records over 1 M keys; programs with and without a checkpoint take turns.
fn checkpointed(size: Size, records: usize) {
    let rounds = if size == Size::Test { 3 } else { 40 * RECORDS / records + 10 };
    let mut programs = POLICIES.map(|(name, sync)| {
        let mut program = Checkpointed::new(size, sync, records);
        let run = program.start();
        (0..3).for_each(|_| program.tick(&run));
        (name, sync, program, run, Vec::new(), Vec::new())
    });
    for _ in 0..rounds {
        for (_, _, program, run, wall, processor) in &mut programs {
            let begin = Instant::now();
            let ((), time) = measure(|| program.tick(run));
            processor.push(time.as_secs_f64() * 1e3);
            wall.push(begin.elapsed().as_secs_f64() * 1e3);
        }
    }
    let without = median(&programs[0].5);
    for (name, sync, mut program, run, wall, processor) in programs {
        program.stop(&run);
        let (wall, processor) = (median(&wall), median(&processor));
        let added = 100.0 * (processor / without - 1.0);
        println!(
            "checkpointed batch, {} records, {name}: {wall:.1} ms, {processor:.1} ms processor time, {added:+.0} %",
            size.records(records)
        );
        if sync.is_some() && records == RECORDS {
            drop(run);
            let begin = Instant::now();
            let run = program.start();
            let millis = begin.elapsed().as_secs_f64() * 1e3;
            program.stop(&run);
            println!("checkpoint, {name}: first batch done {millis:.0} ms after the start; target 1000 ms");
        }
    }
}

fn report(case: &Case, rounds: usize) {
    let (mut hand, mut ours, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up and is not counted.
    for round in 0..=rounds {
        let work = (case.hand)();
        let (by_hand, hand_time) = measure(work);
        let work = (case.ours)();
        let (by_us, our_time) = measure(work);
        assert_eq!(by_hand, by_us, "{}: both sides have the same result", case.name);
        if round > 0 {
            let nanos = |time: Duration| time.as_nanos() as f64 / case.records as f64;
            hand.push(nanos(hand_time));
            ours.push(nanos(our_time));
            ratios.push(nanos(our_time) / nanos(hand_time));
        }
    }
    let best = quantile(&ours, 0.0) / quantile(&hand, 0.0);
    let (hand, ours) = (median(&hand), median(&ours));
    let quartiles = format!("{:.2} - {:.2}", quantile(&ratios, 0.25), quantile(&ratios, 0.75));
    let target = case.target.map_or(String::new(), |target| format!("{target:.2}"));
    println!("{:<40} {hand:>8.2} {ours:>8.2} {:>7.2} {best:>7.2} {quartiles:>13} {target:>7}", case.name, ours / hand);
}

fn tick(ticks: usize) {
    let run = common::scheduling::ten_operators();
    (0..100).for_each(|_| run.tick());
    let mut micros = Vec::with_capacity(ticks);
    let ((), processor) = measure(|| {
        for _ in 0..ticks {
            let begin = Instant::now();
            run.tick();
            micros.push(begin.elapsed().as_nanos() as f64 / 1000.0);
        }
    });
    println!(
        "empty batch through ten operators: {:.0} µs at the median, {:.0} µs at the 99th of 100, {:.0} µs processor \
         time; target 100 µs",
        median(&micros),
        quantile(&micros, 0.99),
        processor.as_micros() as f64 / ticks as f64,
    );
}
