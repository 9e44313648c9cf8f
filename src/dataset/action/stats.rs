use std::iter;
use std::mem::take;

use serde::{Deserialize, Serialize};

use super::each_chunk;
use crate::data::Data;
use crate::dataset::{Dataset, Flow};
use crate::error::Result;

/// A number that statistics can be made of: every integer and float of the language.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no number",
    label = "statistics are made of the integers and floats of the language",
    note = "map the records to their number first: `readings.map(|reading| reading.level).stats()`"
)]
pub trait Number: Data {
    /// The number as a float; integers beyond 2^53 are rounded.
    fn to_f64(self) -> f64;
}

macro_rules! numbers {
    ($($number:ty)*) => {
        $(impl Number for $number {
            #[inline]
            fn to_f64(self) -> f64 {
                self as f64
            }
        })*
    };
}
numbers!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize f32 f64);

/// Count, sum, mean, extremes and variances of numbers. Where there are too few numbers for one of them, it is `None`.
///
/// Numbers go in one by one or come together by [`merge`](Stats::merge), as in Spark's `StatCounter`; so it can be a
/// value of a reduction too. A NaN makes sum, mean and variances NaN; the extremes leave it out.
///
/// # Examples
///
/// ```
/// use tidemill::Stats;
///
/// let stats: Stats = [2.0, 4.0, 6.0].into_iter().collect();
/// assert_eq!((stats.count(), stats.sum(), stats.mean()), (3, 12.0, Some(4.0)));
/// assert_eq!((stats.min(), stats.max()), (Some(2.0), Some(6.0)));
/// assert_eq!(stats.sample_variance(), Some(4.0));
/// assert_eq!(Stats::default().mean(), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    count: u64,
    sum: f64,
    mean: f64,
    /// The sum of the squared differences from the mean.
    squares: f64,
    extremes: Option<(f64, f64)>,
}

impl Stats {
    /// Takes a number in.
    pub fn push(&mut self, number: f64) {
        *self =
            self.merge(Stats { count: 1, sum: number, mean: number, squares: 0.0, extremes: Some((number, number)) });
    }

    /// The statistics of the numbers of both (Chan, Golub, LeVeque: Updating formulae and a pairwise algorithm for
    /// computing sample variances, 1979).
    #[must_use]
    pub fn merge(self, other: Stats) -> Stats {
        if self.count == 0 || other.count == 0 {
            return if self.count == 0 { other } else { self };
        }
        let (here, there) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        let extremes = match (self.extremes, other.extremes) {
            (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
            (a, b) => a.or(b),
        };
        Stats {
            count: self.count + other.count,
            sum: self.sum + other.sum,
            mean: self.mean + delta * (there / (here + there)),
            squares: self.squares + other.squares + delta * delta * (here * there / (here + there)),
            extremes,
        }
    }

    /// How many numbers there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Their mean.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize([1, 2, 3, 6], 2).mean()?, Some(3.0));
    /// assert_eq!(context.parallelize(Vec::<i32>::new(), 2).mean()?, None);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The smallest.
    pub fn min(&self) -> Option<f64> {
        self.extremes.map(|(min, _)| min)
    }

    /// The largest.
    pub fn max(&self) -> Option<f64> {
        self.extremes.map(|(_, max)| max)
    }

    /// The variance of the numbers as a population: the mean square of their differences from the mean.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize([2, 4, 6, 8], 2).variance()?, Some(5.0));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn variance(&self) -> Option<f64> {
        (self.count > 0).then(|| self.squares / self.count as f64)
    }

    /// The standard deviation of the numbers as a population.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize([1, 5], 2).stdev()?, Some(2.0));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn stdev(&self) -> Option<f64> {
        self.variance().map(f64::sqrt)
    }

    /// The variance that the numbers, as a sample, tell of what they were drawn from. `None` of fewer than two.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize([1, 5], 2).sample_variance()?, Some(8.0));
    /// assert_eq!(context.parallelize([1], 2).sample_variance()?, None);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn sample_variance(&self) -> Option<f64> {
        (self.count > 1).then(|| self.squares / (self.count - 1) as f64)
    }

    /// The standard deviation that the numbers, as a sample, tell of what they were drawn from. `None` of fewer than two.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// assert_eq!(context.parallelize([1, 2, 3], 2).sample_stdev()?, Some(1.0));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn sample_stdev(&self) -> Option<f64> {
        self.sample_variance().map(f64::sqrt)
    }
}

impl Extend<f64> for Stats {
    fn extend<I: IntoIterator<Item = f64>>(&mut self, numbers: I) {
        numbers.into_iter().for_each(|number| self.push(number));
    }
}

impl FromIterator<f64> for Stats {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        let mut stats = Stats::default();
        stats.extend(numbers);
        stats
    }
}

impl<T: Data> Dataset<T> {
    /// The sum of all records, of whatever type the standard library sums them to: exact for integers.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let sum: i32 = context.parallelize([1, 2, 3], 2).sum()?;
    /// assert_eq!(sum, 6);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn sum<S: iter::Sum<T> + iter::Sum<S> + Send>(&self) -> Result<S> {
        let sums = self.run(|lineage, partition, task| {
            let mut sum: Option<S> = None;
            each_chunk(lineage, partition, task, |chunk| {
                // Record by record: the sum of floats may not depend on where a chunk ends.
                let start = take(&mut sum).unwrap_or_else(|| iter::empty::<S>().sum());
                sum = Some(chunk.fold(start, |sum, record| [sum, iter::once(record).sum()].into_iter().sum()));
                Flow::Continue(())
            })?;
            Ok(sum)
        })?;
        Ok(sums.into_iter().flatten().sum())
    }

    /// Count, sum, mean, extremes and variances of the numbers, in one go.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let stats = context.parallelize([2, 4, 4, 4, 5, 5, 7, 9], 3).stats()?;
    /// assert_eq!((stats.count(), stats.mean(), stats.stdev()), (8, Some(5.0), Some(2.0)));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn stats(&self) -> Result<Stats>
    where
        T: Number,
    {
        let parts = self.run(|lineage, partition, task| {
            let mut stats = Stats::default();
            each_chunk(lineage, partition, task, |chunk| {
                chunk.for_each(|number| stats.push(number.to_f64()));
                Flow::Continue(())
            })?;
            Ok(stats)
        })?;
        Ok(parts.into_iter().fold(Stats::default(), Stats::merge))
    }

    /// The mean, if there is a record.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    pub fn mean(&self) -> Result<Option<f64>>
    where
        T: Number,
    {
        Ok(self.stats()?.mean())
    }

    /// The variance of the numbers as a population, if there is a record.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    pub fn variance(&self) -> Result<Option<f64>>
    where
        T: Number,
    {
        Ok(self.stats()?.variance())
    }

    /// The standard deviation of the numbers as a population, if there is a record.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    pub fn stdev(&self) -> Result<Option<f64>>
    where
        T: Number,
    {
        Ok(self.stats()?.stdev())
    }

    /// The variance that the numbers, as a sample, tell of what they were drawn from, if there are two.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    pub fn sample_variance(&self) -> Result<Option<f64>>
    where
        T: Number,
    {
        Ok(self.stats()?.sample_variance())
    }

    /// The standard deviation that the numbers, as a sample, tell of what they were drawn from, if there are two.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    pub fn sample_stdev(&self) -> Result<Option<f64>>
    where
        T: Number,
    {
        Ok(self.stats()?.sample_stdev())
    }
}
