use std::fmt;
use std::sync::Arc;

/// One partition of one topic.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::TopicPartition;
///
/// let second = TopicPartition::new("lines", 1);
/// assert_eq!(second.to_string(), "lines/1");
/// assert!(TopicPartition::new("lines", 0) < second);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition of the topic.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition with this number.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl<T: Into<Arc<str>>> From<(T, i32)> for TopicPartition {
    fn from((topic, partition): (T, i32)) -> Self {
        TopicPartition::new(topic, partition)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}
