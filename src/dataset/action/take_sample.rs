use std::collections::BinaryHeap;

use super::each_chunk;
use crate::data::Data;
use crate::dataset::random::Random;
use crate::dataset::{Dataset, Flow};
use crate::error::Result;

impl<T: Data> Dataset<T> {
    /// Exactly `n` records drawn at random, in random order; without replacement all of them, if there are no more.
    /// The same seed on the same partitions draws the same.
    ///
    /// Without replacement a task keeps no more than `n` records. With replacement the dataset is computed twice, once
    /// to count its records.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let numbers = context.parallelize(1..=3, 2);
    /// assert_eq!(numbers.take_sample(false, 2, 7)?.len(), 2);
    /// assert_eq!(numbers.take_sample(false, 10, 7)?.len(), 3);
    /// assert_eq!(numbers.take_sample(true, 10, 7)?.len(), 10);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn take_sample(&self, with_replacement: bool, n: usize, seed: u64) -> Result<Vec<T>> {
        if n == 0 {
            return Ok(Vec::new());
        }
        if with_replacement { self.draw_with_replacement(n, seed) } else { self.draw(n, seed) }
    }

    /// Every record draws a number, and those with the smallest are taken.
    fn draw(&self, n: usize, seed: u64) -> Result<Vec<T>> {
        let parts = self.run(|lineage, partition, task| {
            let mut random = Random::of(seed, partition);
            let mut drawn: Vec<(u64, T)> = Vec::new();
            // The numbers of the records in `drawn`, each with its place there.
            let mut places = BinaryHeap::new();
            each_chunk(lineage, partition, task, |chunk| {
                for record in chunk.as_slice() {
                    let number = random.next();
                    if drawn.len() < n {
                        places.push((number, drawn.len()));
                        drawn.push((number, record.clone()));
                    } else if let Some(mut last) = places.peek_mut() {
                        if number < last.0 {
                            last.0 = number;
                            drawn[last.1] = (number, record.clone());
                        }
                    }
                }
                Flow::Continue(())
            })?;
            Ok(drawn)
        })?;
        let mut drawn = parts.into_iter().flatten().collect::<Vec<_>>();
        drawn.sort_by_key(|(number, _)| *number);
        Ok(drawn.into_iter().take(n).map(|(_, record)| record).collect())
    }

    /// Draws places among all records, and takes what lies there.
    fn draw_with_replacement(&self, n: usize, seed: u64) -> Result<Vec<T>> {
        let partitions: Vec<usize> = (0..self.num_partitions()).collect();
        let counts = self.count_on(&partitions)?;
        let total: u64 = counts.iter().sum();
        if total == 0 {
            return Ok(Vec::new());
        }
        let mut random = Random::of(seed, 0);
        // Places among all records, each with the turn in which it was drawn, in order.
        let mut places: Vec<(u64, usize)> = (0..n).map(|turn| (random.below(total), turn)).collect();
        places.sort_unstable();
        let mut first = 0;
        let mut of_partition = Vec::with_capacity(counts.len());
        for count in counts {
            let drawn = &places[places.partition_point(|(place, _)| *place < first)..];
            let drawn = &drawn[..drawn.partition_point(|(place, _)| *place < first + count)];
            of_partition.push((first, drawn));
            first += count;
        }
        let parts = self.run(|lineage, partition, task| {
            let (mut index, mut drawn) = of_partition[partition];
            let mut taken = Vec::with_capacity(drawn.len());
            each_chunk(lineage, partition, task, |chunk| {
                for record in chunk.as_slice() {
                    while let Some((&(place, turn), later)) = drawn.split_first() {
                        if place != index {
                            break;
                        }
                        taken.push((turn, record.clone()));
                        drawn = later;
                    }
                    index += 1;
                }
                if drawn.is_empty() { Flow::Break(()) } else { Flow::Continue(()) }
            })?;
            Ok(taken)
        })?;
        let mut taken = parts.into_iter().flatten().collect::<Vec<_>>();
        taken.sort_by_key(|(turn, _)| *turn);
        Ok(taken.into_iter().map(|(_, record)| record).collect())
    }
}
