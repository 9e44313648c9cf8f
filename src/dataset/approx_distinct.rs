//! Counts different values without keeping them.

use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::{Aggregate, Chunk, Dataset, Flow, Header};
use crate::data::{Data, Key, Partitions, hash_key};
use crate::error::Result;

impl<T: Data> Dataset<T> {
    /// About how many different records there are, in memory that does not grow with them.
    ///
    /// `relative_sd` is the standard deviation of the error: of `0.05` two of three counts are within 5 % of the truth,
    /// and nearly all within 15 %. A task needs about `1.1 / relative_sd²` bytes. Small counts are exact.
    ///
    /// HyperLogLog, with Ertl's estimator.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect), and if `relative_sd` is not from 0.0021 to below 1.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let visitors = context.parallelize((0..100_000).map(|n| n % 10_000), 4);
    /// assert!((8_500..11_500).contains(&visitors.count_approx_distinct(0.05)?));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn count_approx_distinct(&self, relative_sd: f64) -> Result<u64>
    where
        T: Hash,
    {
        let header = Header::new("count_approx_distinct");
        let precision = precision(relative_sd).map_err(|mistake| header.mistake(mistake))?;
        let sketches = self.run(|lineage, partition, task| {
            let mut sketch = Sketch::new(precision);
            let _ = lineage.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
                chunk.as_slice().iter().for_each(|record| sketch.insert(hash_key(record)));
                Ok(Flow::Continue(()))
            })?;
            Ok(sketch)
        })?;
        let mut all = Sketch::new(precision);
        sketches.into_iter().for_each(|sketch| all.merge(sketch));
        Ok(all.count())
    }
}

impl<K: Data, V: Data> Dataset<(K, V)> {
    /// About how many different values each key has; see [`count_approx_distinct`](Dataset::count_approx_distinct).
    /// Every key comes once, in no particular order.
    ///
    /// A key with few values needs memory for their hashes only.
    ///
    /// # Errors
    ///
    /// Of every action, if `relative_sd` is not from 0.0021 to below 1.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let visits = context.parallelize([("Brest".to_string(), 7), ("Brest".to_string(), 8), ("Brest".to_string(), 7)], 2);
    /// assert_eq!(visits.count_approx_distinct_by_key(0.05).collect()?, [("Brest".to_string(), 2)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn count_approx_distinct_by_key(&self, relative_sd: f64) -> Dataset<(K, u64)>
    where
        K: Key,
        V: Hash,
    {
        self.count_approx_distinct_by_key_with(relative_sd, self.runtime().default_partitions())
    }

    /// As [`count_approx_distinct_by_key`](Dataset::count_approx_distinct_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// As there, and if the number is not from 1 to 4096.
    #[track_caller]
    pub fn count_approx_distinct_by_key_with(&self, relative_sd: f64, partitions: Partitions) -> Dataset<(K, u64)>
    where
        K: Key,
        V: Hash,
    {
        let header = Header::new("count_approx_distinct_by_key");
        match precision(relative_sd) {
            Err(mistake) => self.broken(header, mistake),
            Ok(precision) => self
                .map_into(Header::new("count_approx_distinct_by_key"), |(key, value)| (key, hash_key(&value)))
                .with_keys_of(self)
                .aggregate_with(header, ApproxDistinct { precision }, partitions),
        }
    }
}

/// Counts the different hashes of a key.
struct ApproxDistinct {
    precision: u8,
}

impl Aggregate for ApproxDistinct {
    type Value = u64;
    type Combiner = Sketch;
    type Output = u64;
    const COMBINES: bool = true;

    fn create(&self, hash: u64) -> Sketch {
        let mut sketch = Sketch::new(self.precision);
        sketch.insert(hash);
        sketch
    }

    fn merge_value(&self, sketch: &mut Sketch, hash: u64) {
        sketch.insert(hash);
    }

    fn merge_combiners(&self, sketch: &mut Sketch, other: Sketch) {
        sketch.merge(other);
    }

    fn finish(&self, sketch: Sketch) -> u64 {
        sketch.count()
    }
}

/// The standard deviation of the error of a sketch with one register; it shrinks with the root of their number.
const DEVIATION_OF_ONE: f64 = 1.04;

/// A sketch has 2 to the power of its precision registers, of a byte each.
const PRECISIONS: std::ops::RangeInclusive<u8> = 4..=18;

/// The least precision whose error has this standard deviation or a smaller one.
fn precision(relative_sd: f64) -> Result<u8, String> {
    let allows = |precision: &u8| DEVIATION_OF_ONE / f64::from(1u32 << precision).sqrt() <= relative_sd;
    let found = if relative_sd < 1.0 { PRECISIONS.into_iter().find(allows) } else { None };
    found.ok_or_else(|| format!("the relative standard deviation {relative_sd}: it has to be from 0.0021 to below 1"))
}

/// How many different hashes have been seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Sketch {
    precision: u8,
    seen: Seen,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Seen {
    /// All of them, in ascending order, as long as they need less room than registers.
    Few(Vec<u64>),
    /// For each start of a hash the highest rank of those with that start: one more than the zeros that follow it.
    Many(Vec<u8>),
}

impl Sketch {
    fn new(precision: u8) -> Self {
        Sketch { precision, seen: Seen::Few(Vec::new()) }
    }

    fn insert(&mut self, hash: u64) {
        let precision = self.precision;
        match &mut self.seen {
            Seen::Many(registers) => note(registers, precision, hash),
            Seen::Few(hashes) => {
                let Err(place) = hashes.binary_search(&hash) else { return };
                if hashes.len() < Sketch::most_hashes(precision) {
                    hashes.insert(place, hash);
                } else {
                    note(self.registers(), precision, hash);
                }
            }
        }
    }

    fn merge(&mut self, other: Sketch) {
        match other.seen {
            Seen::Few(hashes) => hashes.into_iter().for_each(|hash| self.insert(hash)),
            Seen::Many(other) => {
                self.registers().iter_mut().zip(other).for_each(|(rank, other)| *rank = other.max(*rank));
            }
        }
    }

    /// As many as have the size of the registers, and so few that keeping them in order costs little.
    fn most_hashes(precision: u8) -> usize {
        ((1 << precision) / size_of::<u64>()).min(256)
    }

    /// The registers, from here on in place of the hashes.
    fn registers(&mut self) -> &mut Vec<u8> {
        if let Seen::Few(hashes) = &self.seen {
            let mut registers = vec![0; 1 << self.precision];
            hashes.iter().for_each(|hash| note(&mut registers, self.precision, *hash));
            self.seen = Seen::Many(registers);
        }
        match &mut self.seen {
            Seen::Many(registers) => registers,
            Seen::Few(_) => unreachable!("the hashes have become registers"),
        }
    }

    /// Ertl: New cardinality estimation algorithms for HyperLogLog sketches (2017), algorithm 6. It needs no table of
    /// what the estimates of small counts are wrong by, as HyperLogLog++ does.
    fn count(&self) -> u64 {
        let registers = match &self.seen {
            Seen::Few(hashes) => return hashes.len() as u64,
            Seen::Many(registers) => registers,
        };
        let bits = usize::from(64 - self.precision);
        let mut with_rank = vec![0u32; bits + 2];
        registers.iter().for_each(|rank| with_rank[usize::from(*rank)] += 1);
        let of_all = |count: u32| f64::from(count) / registers.len() as f64;
        let mut sum = tau(1.0 - of_all(with_rank[bits + 1]));
        for rank in (1..=bits).rev() {
            sum = (sum + of_all(with_rank[rank])) / 2.0;
        }
        sum += sigma(of_all(with_rank[0]));
        let estimate = registers.len() as f64 / (2.0 * std::f64::consts::LN_2 * sum);
        estimate.round() as u64
    }
}

fn note(registers: &mut [u8], precision: u8, hash: u64) {
    let register = &mut registers[(hash >> (64 - precision)) as usize];
    // A one behind the last bit ends the zeros.
    let rank = ((hash << precision) | (1 << (precision - 1))).leading_zeros() as u8 + 1;
    *register = rank.max(*register);
}

/// `x + x² + 2 x⁴ + 4 x⁸ + ...`: what the registers at zero stand for.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut sum, mut factor) = (x, 1.0);
    loop {
        x *= x;
        let before = sum;
        sum += x * factor;
        factor *= 2.0;
        if sum == before {
            return sum;
        }
    }
}

/// What the registers that are full stand for.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut sum, mut factor) = (1.0 - x, 1.0);
    loop {
        x = x.sqrt();
        let before = sum;
        factor /= 2.0;
        sum -= (1.0 - x).powi(2) * factor;
        if sum == before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sketch(precision: u8, values: std::ops::Range<u64>) -> Sketch {
        let mut sketch = Sketch::new(precision);
        values.for_each(|value| sketch.insert(hash_key(&value)));
        sketch
    }

    #[test]
    fn precision_follows_from_the_deviation() {
        for (relative_sd, expected) in [(0.05, 9), (0.26, 4), (0.9, 4), (0.01, 14), (0.0021, 18)] {
            assert_eq!(precision(relative_sd), Ok(expected), "{relative_sd}");
        }
        for wrong in [0.0, -1.0, 1.0, 0.002, f64::NAN, f64::INFINITY] {
            assert!(precision(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ranks_count_the_zeros_behind_the_register() {
        for (hash, register, rank) in [
            (0xf000_0000_0000_0000, 15, 61),
            (0xf000_0000_0000_0001, 15, 60),
            (0x0800_0000_0000_0000, 0, 1),
            (0x1400_0000_0000_0000, 1, 2),
        ] {
            let mut registers = [0; 16];
            note(&mut registers, 4, hash);
            assert_eq!(registers[register], rank, "{hash:x}");
            assert_eq!(registers.iter().filter(|rank| **rank > 0).count(), 1);
        }
    }

    /// Whatever the order and the grouping, a sketch is that of the different values.
    #[test]
    fn merging_equals_inserting() {
        for (here, there) in [(0..0, 0..0), (0..10, 5..20), (0..10, 0..5000), (0..5000, 0..10), (0..5000, 2500..9000)] {
            let whole = sketch(9, here.start..there.end.max(here.end));
            let mut merged = sketch(9, here.clone());
            merged.merge(sketch(9, there.clone()));
            assert_eq!(merged, whole, "{here:?} and {there:?}");
            let mut other = sketch(9, there.clone());
            other.merge(sketch(9, here.clone()));
            assert_eq!(other, whole, "{there:?} and {here:?}");
        }
    }

    #[test]
    fn small_counts_are_exact_and_others_close() {
        for precision in [4, 9, 12] {
            let deviation = DEVIATION_OF_ONE / f64::from(1u32 << precision).sqrt();
            for count in [0, 1, 2, 60, 100, 1000, 5000, 100_000] {
                let found = sketch(precision, 0..count).count();
                let error = found.abs_diff(count) as f64;
                let is_exact = count as usize <= Sketch::most_hashes(precision);
                let most = if is_exact { 0.0 } else { 3.0 * deviation * count as f64 };
                assert!(error <= most, "{count} with precision {precision}: {found}");
            }
        }
    }

    /// The mean error of many sketches is small: the estimator has no bias.
    #[test]
    fn errors_even_out() {
        const SKETCHES: u64 = 200;
        for count in [100, 700, 3000] {
            let counts = (0..SKETCHES).map(|n| sketch(7, n * count..(n + 1) * count).count());
            let mean = counts.sum::<u64>() as f64 / SKETCHES as f64;
            let deviation = DEVIATION_OF_ONE / 128f64.sqrt() / (SKETCHES as f64).sqrt(); // of the mean
            assert!((mean / count as f64 - 1.0).abs() < 4.0 * deviation, "{count}: {mean}");
        }
    }
}
