use std::collections::BTreeMap;
use std::fmt;

use regex_lite::Regex;

use super::topic_partition::TopicPartition;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Time;

/// Which records a stream reads: of which partitions, and from where on. Spark's `ConsumerStrategies`.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::Subscription;
///
/// let clicks_and_views = Subscription::topics(["clicks", "views"]);
/// let all_countries = Subscription::pattern("clicks-[a-z]{2}");
/// let one_partition = Subscription::assign([("clicks", 3)]).starting_at([(("clicks", 3), 5_000)]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    which: Which,
    /// Where partitions start, whatever the group has committed.
    offsets: BTreeMap<TopicPartition, i64>,
    /// Where the others start, whatever the group has committed.
    time: Option<Time>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    /// In order, each once.
    Topics(Vec<String>),
    Pattern(String),
    /// In order, each once.
    Partitions(Vec<TopicPartition>),
}

impl Subscription {
    /// All partitions of these topics, which have to exist when the context starts. Partitions that are added to them
    /// later join the stream while it runs.
    #[doc(alias = "Subscribe")]
    pub fn topics<S: Into<String>>(topics: impl IntoIterator<Item = S>) -> Self {
        let mut topics: Vec<String> = topics.into_iter().map(Into::into).collect();
        topics.sort();
        topics.dedup();
        Subscription::of(Which::Topics(topics))
    }

    /// All partitions of the topics whose whole name matches a regular expression. Topics that are made later join the
    /// stream while it runs; at the start there need not be any. Kafka's own topics, whose names begin with two
    /// underscores, never belong to it.
    ///
    /// The syntax is that of the `regex` crate. A pattern that is none is an error of the start.
    #[doc(alias = "SubscribePattern")]
    pub fn pattern(pattern: impl Into<String>) -> Self {
        Subscription::of(Which::Pattern(pattern.into()))
    }

    /// These partitions and no others. They have to exist when the context starts.
    #[doc(alias = "Assign")]
    pub fn assign<P: Into<TopicPartition>>(partitions: impl IntoIterator<Item = P>) -> Self {
        let mut partitions: Vec<TopicPartition> = partitions.into_iter().map(Into::into).collect();
        partitions.sort();
        partitions.dedup();
        Subscription::of(Which::Partitions(partitions))
    }

    fn of(which: Which) -> Self {
        Subscription { which, offsets: BTreeMap::new(), time: None }
    }

    /// Starts in these partitions at these offsets, **also after a restart**: what the group has committed does not
    /// count. A checkpoint comes first: a partition that it knows goes on behind its last batch. In the others the stream starts as it would otherwise. An offset that the log does not have, and a
    /// partition that the stream does not read, are errors of the start.
    #[must_use]
    pub fn starting_at<P: Into<TopicPartition>>(mut self, offsets: impl IntoIterator<Item = (P, i64)>) -> Self {
        self.offsets.extend(offsets.into_iter().map(|(partition, offset)| (partition.into(), offset)));
        self
    }

    /// Starts in each partition at the first record whose timestamp is `time` or later, or at the end if there is none,
    /// **also after a restart**: what the group has committed does not count; a checkpoint does. To start like this only where the group
    /// has committed nothing, see [`AutoOffsetReset::AtTime`](crate::kafka::AutoOffsetReset::AtTime).
    #[must_use]
    pub fn starting_at_time(mut self, time: Time) -> Self {
        self.time = Some(time);
        self
    }

    /// Where a partition starts, whatever the group has committed.
    pub(super) fn start_of(&self, partition: &TopicPartition) -> Option<Start> {
        let offset = self.offsets.get(partition).map(|offset| Start::Offset(*offset));
        offset.or(self.time.map(Start::Time))
    }

    /// The partitions that have an offset to start at.
    pub(super) fn with_offsets(&self) -> impl Iterator<Item = &TopicPartition> {
        self.offsets.keys()
    }

    /// What can be looked up at the brokers.
    pub(super) fn query(&self) -> Result<Query> {
        let nothing = |what| Err(Error::new(ErrorKind::Config, format!("a Kafka stream needs at least one {what}")));
        match &self.which {
            Which::Topics(topics) if topics.is_empty() => nothing("topic"),
            Which::Partitions(partitions) if partitions.is_empty() => nothing("partition"),
            Which::Topics(topics) => Ok(Query::Topics(topics.clone())),
            Which::Partitions(partitions) => Ok(Query::Partitions(partitions.clone())),
            Which::Pattern(pattern) => match Regex::new(&format!("^(?:{pattern})$")) {
                Ok(regex) => Ok(Query::Pattern(regex)),
                Err(error) => {
                    let message = format!("the topic pattern {pattern:?} is no regular expression: {error}");
                    Err(Error::new(ErrorKind::Config, message).caused_by(error))
                }
            },
        }
    }
}

impl fmt::Display for Subscription {
    /// The topics, for the name of the stream.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Topics(topics) => f.write_str(&topics.join(",")),
            Which::Pattern(pattern) => write!(f, "/{pattern}/"),
            Which::Partitions(partitions) => {
                let names: Vec<String> = partitions.iter().map(ToString::to_string).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

/// Where a partition starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Offset(i64),
    /// At the first record that is as young.
    Time(Time),
}

/// A subscription as it is looked up.
#[derive(Clone, Debug)]
pub(super) enum Query {
    Topics(Vec<String>),
    Pattern(Regex),
    Partitions(Vec<TopicPartition>),
}

impl Query {
    /// Whether a partition belongs to the subscription, if it exists.
    pub(super) fn names(&self, partition: &TopicPartition) -> bool {
        match self {
            Query::Topics(topics) => topics.iter().any(|topic| **topic == *partition.topic),
            Query::Pattern(regex) => Query::matches(regex, &partition.topic),
            Query::Partitions(partitions) => partitions.contains(partition),
        }
    }

    /// Whether a topic belongs to the pattern.
    pub(super) fn matches(regex: &Regex, topic: &str) -> bool {
        !topic.starts_with("__") && regex.is_match(topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_in_order_and_once() {
        assert_eq!(Subscription::topics(["b", "a", "b"]), Subscription::topics(["a", "b"]));
        assert_eq!(Subscription::topics(["b", "a"]).to_string(), "a,b");
        assert_eq!(Subscription::assign([("b", 0), ("a", 1), ("b", 0)]).to_string(), "a/1,b/0");
    }

    #[test]
    fn a_pattern_is_for_the_whole_name() {
        let Ok(Query::Pattern(regex)) = Subscription::pattern("a|b-.*").query() else { panic!("no pattern") };
        let matching: Vec<_> =
            ["a", "b-1", "b", "xa", "ab-1", "__a"].into_iter().filter(|topic| Query::matches(&regex, topic)).collect();
        assert_eq!(matching, ["a", "b-1"]);
        let Ok(Query::Pattern(all)) = Subscription::pattern(".*").query() else { panic!("no pattern") };
        assert!(!Query::matches(&all, "__consumer_offsets"));
    }

    #[test]
    fn what_names_nothing_is_an_error() {
        let error = |subscription: Subscription| subscription.query().unwrap_err().to_string();
        assert_eq!(error(Subscription::topics([""; 0])), "a Kafka stream needs at least one topic");
        assert_eq!(error(Subscription::assign([("", 0); 0])), "a Kafka stream needs at least one partition");
        let error = error(Subscription::pattern("a(b"));
        assert!(error.starts_with("the topic pattern \"a(b\" is no regular expression: "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn an_offset_comes_before_a_time() {
        let time = Time::from_millis(5);
        let both = Subscription::topics(["a"]).starting_at([(("a", 1), 7)]).starting_at_time(time);
        assert_eq!(both.start_of(&("a", 1).into()), Some(Start::Offset(7)));
        assert_eq!(both.start_of(&("a", 0).into()), Some(Start::Time(time)));
        assert_eq!(Subscription::topics(["a"]).start_of(&("a", 0).into()), None);
    }
}
