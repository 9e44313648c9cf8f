use std::time::Duration;

use tidemill::DStream;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Harbour {
    name: String,
}

const SECOND: Duration = Duration::from_secs(1);

fn counts(harbours: &DStream<Harbour>) -> DStream<(Harbour, u64)> {
    harbours.count_by_value()
}

fn windows(depths: &DStream<f64>) -> DStream<(f64, u64)> {
    depths.count_by_value_and_window(SECOND, SECOND)
}

fn different(harbours: &DStream<Harbour>) -> DStream<Harbour> {
    harbours.distinct()
}

fn main() {}
