use tidemill::{DStream, StreamingContext};

fn joined(depths: &DStream<(u32, u64)>, ships: &DStream<(u64, u64)>) -> DStream<(u32, (u64, u64))> {
    depths.join(ships)
}

fn all(context: &StreamingContext, numbers: Vec<u64>) -> DStream<u64> {
    context.union(numbers)
}

fn alone(context: &StreamingContext, depths: &DStream<u64>) -> DStream<u64> {
    context.transform(depths, |depths, _| Ok(depths))
}

fn main() {}
