use tidemill::{DStream, Dataset, Result};

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Depth {
    metres: f64,
}

fn deepest(harbours: &DStream<(u32, f64)>) -> DStream<(u32, f64)> {
    harbours.top_k_by_value(10)
}

fn sorted(depths: &Dataset<Depth>) -> Dataset<Depth> {
    depths.sort_by(|depth| depth.metres)
}

fn top(depths: &Dataset<Depth>) -> Result<Vec<Depth>> {
    depths.top(3)
}

fn main() {}
