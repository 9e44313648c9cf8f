use super::each_chunk;
use super::stats::Number;
use crate::data::Data;
use crate::dataset::{Dataset, Flow, Header};
use crate::error::Result;

impl<T: Data> Dataset<T> {
    /// Counts the numbers in `buckets` buckets of the same width between the smallest and the largest of them. Returns
    /// the bounds, one more than there are buckets, and the counts.
    ///
    /// A bucket has its lower bound and not its upper one, but for the last, which has both. If all numbers are the
    /// same there is one bucket. NaN is left out; of no numbers there are no bounds and no counts.
    ///
    /// The dataset is computed twice: [persist](Dataset::persist) what is dear.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect), and if `buckets` is 0 or a number is infinite or nearly so.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let (bounds, counts) = context.parallelize([1, 2, 9, 10, 11], 2).histogram(2)?;
    /// assert_eq!((bounds, counts), (vec![1.0, 6.0, 11.0], vec![2, 3]));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn histogram(&self, buckets: usize) -> Result<(Vec<f64>, Vec<u64>)>
    where
        T: Number,
    {
        let header = Header::new("histogram");
        if buckets == 0 {
            return Err(header.mistake("0 buckets: there has to be one at least"));
        }
        let stats = self.stats()?;
        let (Some(min), Some(max)) = (stats.min(), stats.max()) else { return Ok((Vec::new(), Vec::new())) };
        if min.is_nan() {
            return Ok((Vec::new(), Vec::new()));
        }
        let span = max - min;
        if !(span * buckets as f64).is_finite() {
            return Err(header.mistake(format!("numbers from {min} to {max} cannot be cut into even buckets")));
        }
        let mut bounds = vec![min];
        if min < max {
            bounds.extend((1..buckets).map(|n| min + n as f64 * span / buckets as f64));
        }
        bounds.push(max);
        let counts = self.count_between(&bounds)?;
        Ok((bounds, counts))
    }

    /// Counts the numbers between each two neighbouring bounds.
    ///
    /// A bucket has its lower bound and not its upper one, but for the last, which has both. Numbers outside of all
    /// buckets are left out, and so is NaN.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect), and if there are fewer than two bounds or they do not ascend.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let levels = context.parallelize([-1.0, 0.0, 9.9, 10.0, 50.0, 50.1], 2);
    /// assert_eq!(levels.histogram_with(&[0.0, 10.0, 50.0])?, [2, 2]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn histogram_with(&self, bounds: &[f64]) -> Result<Vec<u64>>
    where
        T: Number,
    {
        if bounds.len() < 2 || !bounds.windows(2).all(|pair| pair[0] < pair[1]) {
            let message = format!("the bounds {bounds:?}: there have to be two at least, in ascending order");
            return Err(Header::new("histogram_with").mistake(message));
        }
        self.count_between(bounds)
    }

    fn count_between(&self, bounds: &[f64]) -> Result<Vec<u64>>
    where
        T: Number,
    {
        let buckets = bounds.len() - 1;
        let parts = self.run(|lineage, partition, task| {
            let mut counts = vec![0; buckets];
            each_chunk(lineage, partition, task, |chunk| {
                chunk.for_each(|number| {
                    let number = number.to_f64();
                    if (bounds[0]..=bounds[buckets]).contains(&number) {
                        let bucket = bounds.partition_point(|bound| *bound <= number) - 1;
                        counts[bucket.min(buckets - 1)] += 1;
                    }
                });
                Flow::Continue(())
            })?;
            Ok(counts)
        })?;
        let mut total = vec![0; buckets];
        parts.iter().for_each(|counts| total.iter_mut().zip(counts).for_each(|(total, count)| *total += count));
        Ok(total)
    }
}
