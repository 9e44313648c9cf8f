use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::input::kafka::client::{Planner, Unanswered};
use crate::input::kafka::subscription::Query;
use crate::input::kafka::topic_partition::TopicPartition;

/// From how many topics on their partitions are asked for in one question, about all topics that there are.
const MANY_TOPICS: usize = 8;

/// What a subscription names at the moment.
#[derive(Debug, Default)]
pub(in crate::input::kafka) struct Found {
    /// In order.
    pub(in crate::input::kafka) partitions: BTreeSet<TopicPartition>,
    /// Topics of which it is not known right now.
    pub(super) uncertain: BTreeSet<String>,
    /// What was named and is not there, with the reason.
    missing: Option<String>,
}

impl Found {
    /// Whether a partition is gone.
    pub(super) fn lacks(&self, partition: &TopicPartition) -> bool {
        !self.partitions.contains(partition) && !self.uncertain.contains(&*partition.topic)
    }
}

/// Looks up what a subscription names.
pub(super) fn look_up(planner: &Planner, query: &Query, timeout: Duration) -> Result<Found, Unanswered> {
    let mut found = Found::default();
    match query {
        Query::Topics(topics) => {
            for (topic, count) in counts(planner, topics.iter().map(String::as_str).collect(), timeout)? {
                match count {
                    Some(count) => found.partitions.extend(all_of(&topic, count)),
                    None => found.missing = found.missing.or(Some(format!("topic {topic} does not exist"))),
                }
            }
        }
        Query::Partitions(partitions) => {
            let topics: BTreeSet<&str> = partitions.iter().map(|partition| &*partition.topic).collect();
            let counts = counts(planner, topics, timeout)?;
            for partition in partitions {
                let count = counts.get(&*partition.topic).copied().flatten();
                if usize::try_from(partition.partition).is_ok_and(|number| number < count.unwrap_or(0)) {
                    found.partitions.insert(TopicPartition::new(&*partition.topic, partition.partition));
                } else {
                    found.missing = found.missing.or_else(|| {
                        Some(match count {
                            Some(count) => format!("{partition} does not exist, the topic has {count} partitions"),
                            None => format!("topic {} does not exist", partition.topic),
                        })
                    });
                }
            }
        }
        Query::Pattern(regex) => {
            for (topic, count) in planner.topics(timeout)? {
                match count {
                    _ if !Query::matches(regex, &topic) => {}
                    Ok(count) => found.partitions.extend(all_of(&topic, count)),
                    Err(_) => drop(found.uncertain.insert(topic)),
                }
            }
        }
    }
    Ok(found)
}

/// Looks up what a subscription names when the stream starts: all of it has to be there.
pub(in crate::input::kafka) fn find(planner: &Planner, query: &Query, timeout: Duration) -> Result<Found> {
    let brokers = planner.brokers();
    let found = planner.ask_until_ready(timeout, |timeout| look_up(planner, query, timeout)).map_err(|unanswered| {
        let what = match query {
            Query::Topics(topics) if topics.len() == 1 => format!("topic {}", topics[0]),
            Query::Topics(_) | Query::Partitions(_) => "the topics".to_string(),
            Query::Pattern(regex) => format!("the topics that match {regex}"),
        };
        unanswered.error(&format!("{what} cannot be looked up at the Kafka brokers {brokers}"))
    })?;
    if let Some(missing) = &found.missing {
        let message = format!("{missing} at the Kafka brokers {brokers}: create it, or correct its name");
        return Err(Error::new(ErrorKind::Input, message));
    }
    if found.partitions.is_empty() {
        tracing::warn!(brokers, ?query, "no topic matches yet");
    }
    Ok(found)
}

/// How many partitions topics have; `None` for those that do not exist.
fn counts(
    planner: &Planner,
    topics: BTreeSet<&str>,
    timeout: Duration,
) -> Result<BTreeMap<String, Option<usize>>, Unanswered> {
    if topics.len() < MANY_TOPICS {
        return topics.into_iter().map(|topic| Ok((topic.to_string(), planner.partitions(topic, timeout)?))).collect();
    }
    let mut all = planner.topics(timeout)?;
    topics.into_iter().map(|topic| Ok((topic.to_string(), all.remove(topic).transpose()?))).collect()
}

/// All partitions of a topic.
fn all_of(topic: &str, count: usize) -> impl Iterator<Item = TopicPartition> {
    let numbers = 0..i32::try_from(count).unwrap_or(i32::MAX);
    // A name of its own for each partition, or their threads would count references in the same place.
    numbers.map(move |partition| TopicPartition { topic: Arc::from(topic), partition })
}
