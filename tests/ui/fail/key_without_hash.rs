use tidemill::DStream;

#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Harbour {
    name: String,
}

fn arrivals(ships: &DStream<(Harbour, u64)>) -> DStream<(Harbour, u64)> {
    ships.reduce_by_key(|a, b| a + b)
}

fn main() {}
