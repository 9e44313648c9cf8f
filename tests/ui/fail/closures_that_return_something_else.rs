use tidemill::{DStream, Dataset};

fn sorted(depths: &DStream<u64>) -> DStream<u64> {
    depths.transform(|batch: Dataset<u64>, _| batch.sort_by(|depth| *depth))
}

fn shown(depths: &DStream<u64>) {
    depths.foreach_batch(|batch, _| {
        println!("{:?}", batch.collect());
    });
}

fn pairs(depths: &DStream<u64>) -> DStream<u64> {
    depths.flat_map(|depth| depth + 1)
}

fn main() {}
