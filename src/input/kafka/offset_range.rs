use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::records::serde_topic;
use super::topic_partition::TopicPartition;
use crate::data::Data;
use crate::dataset::Dataset;
use crate::error::{Error, ErrorKind, Result};

/// The records of one topic partition that belong to one batch: those at offsets `from..until`.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::OffsetRange;
///
/// let range = OffsetRange { topic: "lines".into(), partition: 2, from: 3, until: 9 };
/// assert_eq!(range.count(), 6);
/// assert_eq!(range.to_string(), "lines/2 offsets 3..9");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OffsetRange {
    /// The topic.
    #[serde(with = "serde_topic")]
    pub topic: Arc<str>,
    /// The partition of the topic.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset after the last.
    pub until: i64,
}

impl OffsetRange {
    /// How many offsets there are: as many records, or fewer if the topic is compacted or written in transactions.
    pub fn count(&self) -> u64 {
        u64::try_from(self.until - self.from).unwrap_or(0)
    }

    /// The range in parts of at most this many offsets, of equal size up to one, in order.
    pub(super) fn cut(self, most: Option<u64>) -> Vec<OffsetRange> {
        let parts = most.map_or(1, |most| self.count().div_ceil(most));
        if parts <= 1 {
            return vec![self];
        }
        // In 128 bits, where the product has room.
        let border = |part: u64| {
            let offsets = u128::from(self.count()) * u128::from(part) / u128::from(parts);
            self.from + i64::try_from(offsets).expect("a part of a count of offsets")
        };
        let part = |part| OffsetRange { from: border(part), until: border(part + 1), ..self.clone() };
        (0..parts).map(part).collect()
    }

    /// Whether there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The partition whose records these are.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition { topic: Arc::clone(&self.topic), partition: self.partition }
    }

    /// The offset to store together with the results of this range, in the transaction that has found `stored`: the end
    /// of the range, if `stored` is its start or nothing is stored yet. See
    /// [`TransactionOffsets`](super::TransactionOffsets).
    ///
    /// In SQL, comparing and setting is one statement, and this is for when it has changed no row:
    ///
    /// ```sql
    /// update offsets set next = :until where topic = :topic and partition = :partition and next = :from
    /// ```
    ///
    /// Select what is stored then: nothing, and the offset that this returns is to be inserted, under a primary key of
    /// topic and partition; or the offset of which the error tells.
    ///
    /// # Errors
    ///
    /// Something else is stored: the results of these records are in the table already, or those before them are not.
    /// The transaction has to be rolled back. With a checkpoint the former is no mistake: see
    /// [`is_stored`](OffsetRange::is_stored).
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::kafka::OffsetRange;
    ///
    /// let range = OffsetRange { topic: "lines".into(), partition: 2, from: 3, until: 9 };
    /// assert_eq!(range.advance(None)?, 9);
    /// assert_eq!(range.advance(Some(3))?, 9);
    /// assert_eq!(
    ///     range.advance(Some(9)).unwrap_err().to_string(),
    ///     "lines/2 offsets 3..9: the results go up to offset 9, and not 3: another stream or program writes them too"
    /// );
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn advance(&self, stored: Option<i64>) -> Result<i64> {
        match stored {
            Some(stored) if stored != self.from => {
                let message = format!(
                    "{self}: the results go up to offset {stored}, and not {}: another stream or program writes them too",
                    self.from
                );
                Err(Error::new(ErrorKind::Output, message))
            }
            _ => Ok(self.until),
        }
    }

    /// Whether the results of this range are in the table already, which has `stored`: its end, or one behind it.
    ///
    /// With a checkpoint a batch may come again after a restart whose transaction was committed when the program ended. If
    /// this holds for all of its ranges there is nothing to do. Ask before [`advance`](OffsetRange::advance), which is for
    /// what is not there, and takes such a batch for a mistake.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::kafka::OffsetRange;
    ///
    /// let range = OffsetRange { topic: "lines".into(), partition: 2, from: 3, until: 9 };
    /// assert_eq!([None, Some(3), Some(9), Some(12)].map(|stored| range.is_stored(stored)), [false, false, true, true]);
    /// ```
    pub fn is_stored(&self, stored: Option<i64>) -> bool {
        stored.is_some_and(|stored| stored >= self.until)
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} offsets {}..{}", self.topic, self.partition, self.from, self.until)
    }
}

/// What a batch of a Kafka stream was read from. Implemented for [`Dataset`].
pub trait HasOffsetRanges {
    /// The range of each partition of the dataset, by its number. `None` if the partitions are not those of a Kafka
    /// stream any more, after a shuffle or a union.
    fn offset_ranges(&self) -> Option<Vec<OffsetRange>>;
}

impl<T: Data> HasOffsetRanges for Dataset<T> {
    fn offset_ranges(&self) -> Option<Vec<OffsetRange>> {
        Some(self.source_note::<OffsetRanges>()?.0.to_vec())
    }
}

/// The note on the dataset of a batch.
pub(super) struct OffsetRanges(pub(super) Arc<[OffsetRange]>);

/// What a batch reads, the largest ranges first, for people.
pub(super) fn describe(ranges: &[OffsetRange]) -> String {
    const SHOWN: usize = 8;
    let mut full: Vec<&OffsetRange> = ranges.iter().filter(|range| !range.is_empty()).collect();
    full.sort_by_key(|range| std::cmp::Reverse(range.count()));
    let mut text: Vec<String> = full.iter().take(SHOWN).map(ToString::to_string).collect();
    if full.len() > SHOWN {
        text.push(format!("{} more", full.len() - SHOWN));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(partition: i32, from: i64, until: i64) -> OffsetRange {
        OffsetRange { topic: "lines".into(), partition, from, until }
    }

    #[test]
    fn a_description_starts_with_the_largest_range() {
        let ranges = [range(0, 5, 5), range(1, 0, 2), range(2, 3, 9)];
        assert_eq!(describe(&ranges), "lines/2 offsets 3..9, lines/1 offsets 0..2");
        assert_eq!(describe(&ranges[..1]), "");
        let many: Vec<_> = (0..10).map(|partition| range(partition, 0, 1)).collect();
        assert!(describe(&many).ends_with("lines/7 offsets 0..1, 2 more"));
    }

    #[test]
    fn parts_of_a_range_are_even_and_join() {
        let cut = |until, most: u64| -> Vec<_> {
            range(0, 3, until).cut(Some(most)).iter().map(|r| (r.from, r.until)).collect()
        };
        assert_eq!(range(0, 3, 13).cut(None), [range(0, 3, 13)]);
        assert_eq!(cut(13, 10), [(3, 13)]);
        assert_eq!(cut(13, 9), [(3, 8), (8, 13)]);
        assert_eq!(cut(13, 4), [(3, 6), (6, 9), (9, 13)]);
        assert_eq!(cut(3, 4), [(3, 3)]);
        assert_eq!(cut(6, 1), [(3, 4), (4, 5), (5, 6)]);
        assert_eq!(range(0, 0, i64::MAX).cut(Some(1 << 62)).last().map(|r| r.until), Some(i64::MAX));
    }

    #[test]
    fn a_range_survives_serde() {
        let mut bytes = Vec::new();
        let range = range(1, 2, 3);
        crate::codec::encode_frame(&range, &mut bytes).unwrap();
        assert_eq!(crate::codec::decode_frame::<OffsetRange>(&bytes).unwrap().0, range);
    }
}
