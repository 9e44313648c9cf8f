use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::native::TopicId;
use super::offset_range::OffsetRange;
use super::topic_partition::TopicPartition;
use crate::codec::{decode_frame, encode_frame};
use crate::error::{Error, ErrorKind, Result};

/// The first byte of every plan: how what follows is written.
const FORMAT: u8 = 1;

/// What a batch reads, as a checkpoint keeps it: the format (1 byte), then a frame of [`codec`](crate::codec).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan(BTreeMap<String, Topic>);

/// What a batch reads of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Topic {
    /// Which of the topics that have had the name, if that was known.
    id: Option<TopicId>,
    /// By partition: the first offset, and the one after the last.
    ranges: BTreeMap<i32, (i64, i64)>,
}

impl Plan {
    /// The plan of these ranges, one for each partition.
    pub(super) fn new<'r>(
        ranges: impl IntoIterator<Item = &'r OffsetRange>,
        id_of: impl Fn(&str) -> Option<TopicId>,
    ) -> Self {
        let mut plan = Plan::default();
        for OffsetRange { topic, partition, from, until } in ranges {
            let new = || Topic { id: id_of(topic), ranges: BTreeMap::new() };
            let topic = plan.0.entry(topic.to_string()).or_insert_with(new);
            topic.ranges.insert(*partition, (*from, *until));
        }
        plan
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![FORMAT];
        encode_frame(self, &mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
        let unreadable = |why: String| {
            let message = format!("what the checkpoint has of a batch of the Kafka stream cannot be read: {why}");
            Error::new(ErrorKind::Codec, message)
        };
        let body = match bytes {
            [] => return Err(unreadable("there are no offsets in it; another source has written it".to_string())),
            [FORMAT, body @ ..] => body,
            [format, ..] => return Err(unreadable(format!("its format is {format}, and this version knows {FORMAT}"))),
        };
        let (plan, rest) = decode_frame::<Plan>(body).map_err(|error| unreadable(error.to_string()))?;
        if !rest.is_empty() {
            return Err(unreadable(format!("{} bytes follow it", rest.len())));
        }
        let is_wrong = |range: &OffsetRange| range.partition < 0 || range.from < 0 || range.from > range.until;
        let wrong = plan.ranges().map(|(range, _)| range).find(is_wrong);
        wrong.map_or(Ok(plan), |range| Err(unreadable(format!("{range} is no range"))))
    }

    /// The ranges, ordered by topic and partition, each with the id that its topic had.
    pub(super) fn ranges(&self) -> impl Iterator<Item = (OffsetRange, Option<TopicId>)> {
        self.0.iter().flat_map(|(name, topic)| {
            topic.ranges.iter().map(move |(&partition, &(from, until))| {
                (OffsetRange { topic: name.as_str().into(), partition, from, until }, topic.id)
            })
        })
    }

    /// The ids of the topics, as far as they were known.
    pub(super) fn ids(&self) -> impl Iterator<Item = (&str, TopicId)> {
        self.0.iter().filter_map(|(name, topic)| Some((name.as_str(), topic.id?)))
    }

    /// The offset at which a partition goes on.
    pub(super) fn until(&self, partition: &TopicPartition) -> Option<i64> {
        self.0.get(&*partition.topic)?.ranges.get(&partition.partition).map(|(_, until)| *until)
    }

    /// The topic was made anew: its partitions go on at their beginning.
    pub(super) fn begin_anew(&mut self, topic: &str) {
        let ranges = self.0.get_mut(topic).into_iter().flat_map(|topic| topic.ranges.values_mut());
        ranges.for_each(|range| *range = (0, 0));
    }

    /// The partition is gone.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        if let Some(topic) = self.0.get_mut(&*partition.topic) {
            topic.ranges.remove(&partition.partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let range = |topic: &str, partition, from, until| OffsetRange { topic: topic.into(), partition, from, until };
        let ranges = [range("b", 0, 0, 0), range("a", 1, 5, 9), range("a", 0, 3, 1 << 40)];
        Plan::new(&ranges, |topic| (topic == "a").then(|| TopicId::for_tests(7, -1)))
    }

    #[test]
    fn a_plan_comes_back_as_it_was_in_order() {
        let decoded = Plan::decode(&plan().encode().unwrap()).unwrap();
        assert_eq!(decoded, plan());
        let ranges: Vec<String> = decoded.ranges().map(|(range, _)| range.to_string()).collect();
        assert_eq!(ranges, ["a/0 offsets 3..1099511627776", "a/1 offsets 5..9", "b/0 offsets 0..0"]);
        assert_eq!(decoded.ids().collect::<Vec<_>>(), [("a", TopicId::for_tests(7, -1))]);
        assert_eq!(decoded.until(&("a", 1).into()), Some(9));
        assert_eq!(decoded.until(&("a", 2).into()), None);
        assert_eq!(decoded.until(&("c", 0).into()), None);
    }

    #[test]
    fn the_bytes_of_a_plan_stay_what_they_are() {
        let range = OffsetRange { topic: "a".into(), partition: 1, from: 5, until: 300 };
        let bytes = Plan::new([&range], |_| Some(TopicId::for_tests(1, 2))).encode().unwrap();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        // Format, length and checksum of the frame; one topic of one letter, its id; one partition and its range.
        assert_eq!(text, "010c0000004347164501016101020401020afb5802");
    }

    #[test]
    fn what_is_damaged_or_from_elsewhere_is_an_error() {
        let bytes = plan().encode().unwrap();
        (0..bytes.len()).for_each(|cut| assert!(Plan::decode(&bytes[..cut]).is_err(), "cut at {cut}"));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Plan::decode(&flipped).is_err(), "bit {bit}");
        }
        let error = |bytes: &[u8]| Plan::decode(bytes).unwrap_err().to_string();
        assert!(error(&[9, 1]).ends_with("its format is 9, and this version knows 1"));
        assert!(error(&[]).ends_with("there are no offsets in it; another source has written it"));
        assert!(error(&[&bytes[..], &[0]].concat()).ends_with("1 bytes follow it"));
        let backwards = OffsetRange { topic: "a".into(), partition: 1, from: 9, until: 5 };
        let backwards = Plan::new([&backwards], |_| None).encode().unwrap();
        assert!(error(&backwards).ends_with("a/1 offsets 9..5 is no range"));
    }
}
