use std::sync::Arc;

use super::flat_map::expand_chunks;
use super::narrow_node;
use crate::data::Data;
use crate::dataset::random::Random;
use crate::dataset::{AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Sink};
use crate::error::Result;
use crate::exec::TaskContext;

impl<T: Data> Dataset<T> {
    /// A random part of the records, in their order.
    ///
    /// Without replacement each record is taken with the probability `fraction`; with replacement it is taken as often
    /// as a Poisson distribution with that mean says. How many come out is random too: see
    /// [`take_sample`](Dataset::take_sample) for a fixed number. The same seed on the same partitions takes the same
    /// records.
    ///
    /// # Errors
    ///
    /// Of every action, if `fraction` is no number, negative or infinite, or without replacement more than 1.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let numbers = context.parallelize(0..10_000, 4);
    /// let tenth = numbers.sample(false, 0.1, 7);
    /// assert!((800..1200).contains(&tenth.count()?));
    /// assert_eq!(tenth.collect()?, numbers.sample(false, 0.1, 7).collect()?);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn sample(&self, with_replacement: bool, fraction: f64, seed: u64) -> Dataset<T> {
        let header = Header::new("sample");
        let most = if with_replacement { f64::MAX } else { 1.0 };
        if !(0.0..=most).contains(&fraction) {
            let range = if with_replacement { "0 or more" } else { "from 0 to 1 without replacement" };
            return self.broken(header, format!("the fraction {fraction}: it has to be {range}"));
        }
        let pick = if with_replacement { Pick::Often(fraction) } else { Pick::Between(0.0, fraction) };
        self.derive(Sample { header, parent: Arc::clone(self.lineage()), pick, seed })
    }

    /// Splits the records at random into one dataset for each weight: together they have every record once, and each
    /// about the share that its weight has of all weights. The same seed on the same partitions splits alike.
    ///
    /// Each of the datasets computes this one anew: [persist](Dataset::persist) what is dear.
    ///
    /// # Errors
    ///
    /// Of every action on any of them, if a weight is negative or no number, or all are zero.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let [train, test] = &context.parallelize(0..1000, 2).random_split(&[3.0, 1.0], 42)[..] else { panic!() };
    /// assert_eq!(train.count()? + test.count()?, 1000);
    /// assert!((650..850).contains(&train.count()?));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn random_split(&self, weights: &[f64], seed: u64) -> Vec<Dataset<T>> {
        let total: f64 = weights.iter().sum();
        let are_weights = weights.iter().all(|weight| *weight >= 0.0) && total > 0.0 && total.is_finite();
        let (mut sum, mut from) = (0.0, 0.0);
        let mut split = Vec::with_capacity(weights.len());
        for (index, weight) in weights.iter().enumerate() {
            let header = Header::new("random_split");
            if !are_weights {
                let mistake =
                    format!("the weights {weights:?}: they have to be 0 or more, and one of them more than 0");
                split.push(self.broken(header, mistake));
                continue;
            }
            sum += weight;
            // The last one ends above every draw, also when the sums are not exact.
            let to = if index + 1 == weights.len() { 1.0 } else { sum / total };
            let pick = Pick::Between(from, to);
            split.push(self.derive(Sample { header, parent: Arc::clone(self.lineage()), pick, seed }));
            from = to;
        }
        split
    }
}

struct Sample<T> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    pick: Pick,
    seed: u64,
}

/// How often a record is taken.
enum Pick {
    /// Once, if what is drawn for it lies between the two, from the first to below the second.
    Between(f64, f64),
    /// So often on average.
    Often(f64),
}

impl Pick {
    fn draw(&self, random: &mut Random) -> u64 {
        match *self {
            Pick::Between(from, to) => u64::from((from..to).contains(&random.unit())),
            Pick::Often(mean) => random.poisson(mean),
        }
    }
}

impl<T: Data> Lineage<T> for Sample<T> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        let mut random = Random::of(self.seed, partition);
        expand_chunks(&*self.parent, partition, task, self.header.origin(), sink, |chunk: Chunk<'_, T>, out| {
            for record in chunk.as_slice() {
                (0..self.pick.draw(&mut random)).for_each(|_| out.emit(record.clone()));
            }
        })
    }
}

impl<T: Data> AnyLineage for Sample<T> {
    narrow_node!();

    fn key_partitions(&self) -> Option<usize> {
        self.parent.key_partitions()
    }
}
