use crate::error::{Error, Result};
use crate::input::kafka::topic_partition::TopicPartition;

/// Where a stream keeps its place: the offset after the last record that is done, for each topic partition.
///
/// Unless [`KafkaParams::offset_store`](crate::kafka::KafkaParams::offset_store) names another, these are the committed
/// offsets of the stream's group. [`FileOffsetStore`](crate::kafka::FileOffsetStore) keeps them in a file, and
/// [`TransactionOffsets`](crate::kafka::TransactionOffsets) leaves it to the program to write them together with its
/// results.
///
/// The stream loads when it starts, before anything is read, and again for partitions that appear later. From then on
/// it commits, on a thread of its own that no batch waits for, one commit at a time and of several that pile up only
/// the newest. Where it starts in partitions for which nothing is kept is committed at once, before they are read: when
/// the stream starts, and, beside that thread and while the next batch waits, for partitions that appear later.
///
/// # Examples
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
/// use tidemill::kafka::{CommitError, OffsetStore, TopicPartition};
///
/// /// For tests: forgets everything with the program.
/// #[derive(Clone, Debug, Default)]
/// struct InMemory(Arc<Mutex<BTreeMap<TopicPartition, i64>>>);
///
/// impl OffsetStore for InMemory {
///     fn name(&self) -> String {
///         "the map".to_string()
///     }
///
///     fn load(&self, partitions: &[TopicPartition]) -> tidemill::Result<Vec<Option<i64>>> {
///         let offsets = self.0.lock().unwrap();
///         Ok(partitions.iter().map(|partition| offsets.get(partition).copied()).collect())
///     }
///
///     fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), CommitError> {
///         self.0.lock().unwrap().extend(offsets.iter().cloned());
///         Ok(())
///     }
/// }
///
/// let store = InMemory::default();
/// let partition = TopicPartition::new("lines", 0);
/// store.commit(&[(partition.clone(), 7)]).unwrap();
/// assert_eq!(store.load(&[partition])?, [Some(7)]);
/// # Ok::<(), tidemill::Error>(())
/// ```
pub trait OffsetStore: Send + Sync + 'static {
    /// What the store is called in errors: `group clicks`, `the file /var/lib/clicks.offsets`. Streams of a context
    /// whose stores have the same name must not read the same partitions.
    fn name(&self) -> String;

    /// The offset at which each partition goes on, in the order of the question; `None` where nothing is kept.
    ///
    /// # Errors
    ///
    /// Keep the context from starting, or stop it if it runs already.
    fn load(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>>;

    /// Keeps these offsets; those of other partitions stay. When this has returned, they outlive a crash. It may take
    /// its time: nobody waits but the stop of the stream, and partitions that are new.
    ///
    /// # Errors
    ///
    /// After [`CommitError::Temporary`] the stream tries again, with newer offsets if there are any, until
    /// [`KafkaParams::max_outage`](crate::kafka::KafkaParams::max_outage) is over. [`CommitError::Refused`] is final.
    fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), CommitError>;
}

/// Why offsets were not committed.
#[derive(Clone, Debug)]
pub enum CommitError {
    /// It may succeed later: the disk is full, the database is away.
    Temporary(Error),
    /// It will not succeed. What `?` makes of an [`Error`].
    Refused(Error),
}

impl CommitError {
    /// What happened.
    pub fn into_error(self) -> Error {
        match self {
            CommitError::Temporary(error) | CommitError::Refused(error) => error,
        }
    }
}

impl From<Error> for CommitError {
    fn from(error: Error) -> Self {
        CommitError::Refused(error)
    }
}
