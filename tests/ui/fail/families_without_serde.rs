use std::time::Duration;

use tidemill::{DStream, Partitions, StorageLevel};

#[derive(Clone)]
struct Cargo {
    tons: u64,
}

const SECOND: Duration = Duration::from_secs(1);

fn groups(ships: &DStream<(u32, Cargo)>) -> DStream<(u32, Vec<Cargo>)> {
    ships.group_by_key_with(Partitions::new(2))
}

fn combined(ships: &DStream<(u32, u64)>) -> DStream<(u32, Cargo)> {
    ships.combine_by_key(|tons| Cargo { tons }, |a, tons| Cargo { tons: a.tons + tons }, |a, _| a)
}

fn windows(ships: &DStream<(u32, Cargo)>) -> DStream<(u32, Vec<Cargo>)> {
    ships.group_by_key_and_window(SECOND, SECOND)
}

fn heaviest(loads: &DStream<Cargo>) -> DStream<Cargo> {
    loads.reduce_by_window(|a, _| a, SECOND, SECOND)
}

fn dealt_out(loads: &DStream<Cargo>) -> DStream<Cargo> {
    loads.repartition(8)
}

fn kept(loads: &DStream<Cargo>) -> DStream<Cargo> {
    loads.persist_with(StorageLevel::DiskOnly)
}

fn written(loads: &DStream<Cargo>) {
    loads.save_as_object_files("loads", "");
}

fn main() {}
