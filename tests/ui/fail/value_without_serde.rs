use std::time::Duration;

use tidemill::DStream;

#[derive(Clone)]
struct Cargo {
    tons: f64,
}

fn cargo_by_harbour(ships: &DStream<(String, Cargo)>) -> DStream<(String, Cargo)> {
    let heavier = |a: Cargo, b: Cargo| if a.tons > b.tons { a } else { b };
    ships.reduce_by_key_and_window(heavier, Duration::from_secs(60), Duration::from_secs(10))
}

fn main() {}
