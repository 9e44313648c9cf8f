use tidemill::{Dataset, Result};

#[derive(Clone)]
struct Depth {
    metres: f64,
}

fn mean(depths: &Dataset<Depth>) -> Result<Option<f64>> {
    depths.mean()
}

fn buckets(depths: &Dataset<Depth>) -> Result<(Vec<f64>, Vec<u64>)> {
    depths.histogram(10)
}

fn main() {}
