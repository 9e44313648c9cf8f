use std::panic::Location;

use super::DStream;
use crate::data::{Data, Exchange};
use crate::dataset::{Keeping, StorageLevel};

impl<T: Data> DStream<T> {
    /// Keeps the records of every batch when they are first computed, until the stream forgets the batch: in memory, as
    /// they are.
    ///
    /// There is seldom a need to say so. A stream that several others or a window read keeps its records by itself, at
    /// this level; [`persist_with`](DStream::persist_with) gives it another one. The call changes this stream and
    /// returns it. A window has no records of its own: what it is told goes to the stream that it reads.
    ///
    /// # Errors
    ///
    /// A stream that has another level already, or a context that was started, is reported by
    /// `StreamingContext::start`, or stops the context.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let squares = run([vec![1, 2], vec![3]], |numbers| numbers.map(|n| n * n).persist())?;
    /// assert_eq!(squares, [vec![1, 4], vec![9]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn persist(&self) -> DStream<T> {
        self.keep_by(Keeping::records())
    }

    /// As [`persist`](DStream::persist), under Spark's other name.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::{StorageLevel, testing::run};
    ///
    /// let squares = run([vec![1, 2]], |numbers| {
    ///     let squares = numbers.map(|n| n * n).cache();
    ///     assert_eq!(squares.storage_level(), Some(StorageLevel::MemoryOnly));
    ///     squares
    /// })?;
    /// assert_eq!(squares, [[1, 4]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn cache(&self) -> DStream<T> {
        self.persist()
    }

    /// As [`persist`](DStream::persist), at a level: in memory as records or as bytes, or on disk.
    ///
    /// As bytes, a long window takes a fraction of the room, or hardly any, and more time: its records are decoded at
    /// each slide. Bytes that cannot be written or read fail the task, with the operator and the partition. Writing is
    /// tried again, from the records; once a batch is kept as a whole, nothing is left to make it from again.
    ///
    /// # Errors
    ///
    /// As [`persist`](DStream::persist).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::{StorageLevel, testing::run};
    ///
    /// let second = Duration::from_secs(1); // the batch interval of `run`
    /// let windows = run([vec![1], vec![2], vec![3]], |numbers| {
    ///     let window = numbers.window(2 * second, second).persist_with(StorageLevel::MemoryOnlySer);
    ///     assert_eq!(numbers.storage_level(), Some(StorageLevel::MemoryOnlySer));
    ///     window
    /// })?;
    /// assert_eq!(windows, [vec![1], vec![1, 2], vec![2, 3]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn persist_with(&self, level: StorageLevel) -> DStream<T>
    where
        T: Exchange,
    {
        self.keep_by(Keeping::at(level))
    }

    /// How the records of this stream are kept: as the program said, in memory if it did not and a window reads them,
    /// and `None` otherwise, which goes for windows too.
    pub fn storage_level(&self) -> Option<StorageLevel> {
        match self.node.keeper() {
            Some(_) => None,
            None => self.node.storage_level(),
        }
    }

    /// Has the records of this stream kept for a window, unless the program says how.
    pub(super) fn keep_for_window(&self) {
        match self.node.keeper() {
            Some(parent) => parent.keep_for_window(),
            None => self.node.set_in_window(),
        }
    }

    #[track_caller]
    fn keep_by(&self, keeping: Keeping<T>) -> DStream<T> {
        if let Some(parent) = self.node.keeper() {
            parent.keep_by(keeping);
            return self.clone();
        }
        let (name, level) = (self.node.name(), keeping.level());
        if self.graph.is_closed() {
            let message = format!("the stream {name} cannot be persisted after the context was started");
            self.graph.mistake(Location::caller(), message);
        } else if let Err(taken) = self.node.set_keeping(keeping) {
            let message = format!("the stream {name} cannot be persisted as {level:?}: it is as {taken:?} already");
            self.graph.mistake(Location::caller(), message);
        }
        self.clone()
    }
}
