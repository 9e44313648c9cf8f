use std::sync::Arc;

use crate::data::{Data, Exchange, Partitions};
use crate::dataset::{Emitter, PartitionIter};
use crate::dstream::DStream;
use crate::error::Result;

impl<T: Data> DStream<T> {
    /// Puts every record through `f`. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let texts = run([vec![1, 2], vec![], vec![3]], |numbers| numbers.map(|n| n.to_string()))?;
    /// assert_eq!(texts, [vec!["1", "2"], vec![], vec!["3"]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn map<U: Data>(&self, f: impl Fn(T) -> U + Send + Sync + 'static) -> DStream<U> {
        let f = Arc::new(f);
        self.lift("map", move |batch| {
            let f = Arc::clone(&f);
            batch.map(move |record| f(record))
        })
    }

    /// As [`map`](DStream::map), with an `f` that may fail: for records that have to be decoded.
    ///
    /// # Errors
    ///
    /// An error of `f` fails the task, and after the last attempt the batch, with the operator's line; the context
    /// stops and nothing of the batch is committed.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::{Error, testing::run};
    ///
    /// let parse = |text: &str| text.parse::<i32>().map_err(Error::user);
    /// assert_eq!(run([vec!["1", "2"]], move |texts| texts.try_map(parse))?, [vec![1, 2]]);
    /// assert!(run([vec!["x7"]], move |texts| texts.try_map(parse)).is_err());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn try_map<U: Data>(&self, f: impl Fn(T) -> Result<U> + Send + Sync + 'static) -> DStream<U> {
        let f = Arc::new(f);
        self.lift("try_map", move |batch| {
            let f = Arc::clone(&f);
            batch.try_map(move |record| f(record))
        })
    }

    /// Keeps the records for which `predicate` holds. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let even = run([vec![1, 2, 3, 4], vec![5, 6]], |numbers| numbers.filter(|n| n % 2 == 0))?;
    /// assert_eq!(even, [vec![2, 4], vec![6]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn filter(&self, predicate: impl Fn(&T) -> bool + Send + Sync + 'static) -> DStream<T> {
        let predicate = Arc::new(predicate);
        self.lift("filter", move |batch| {
            let predicate = Arc::clone(&predicate);
            batch.filter(move |record| predicate(record))
        })
    }

    /// Replaces every record by what `f` makes of it: none, one or many. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let words = run([vec!["to be", "or"], vec!["not"]], |lines| lines.flat_map(|line| line.split(' ')))?;
    /// assert_eq!(words, [vec!["to", "be", "or"], vec!["not"]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> DStream<U> {
        let f = Arc::new(f);
        self.lift("flat_map", move |batch| {
            let f = Arc::clone(&f);
            batch.flat_map(move |record| f(record))
        })
    }

    /// Like [`flat_map`](DStream::flat_map), but `f` looks at the record and emits: nothing is cloned and no collection
    /// is built per record.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let lines = [vec!["to be".to_string(), "or".to_string()], vec!["not".to_string()]];
    /// let words = run(lines, |lines| {
    ///     lines.flat_map_ref(|line, out| line.split(' ').for_each(|word| out.emit(word.to_uppercase())))
    /// })?;
    /// assert_eq!(words, [vec!["TO", "BE", "OR"], vec!["NOT"]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map_ref<U: Data>(&self, f: impl Fn(&T, &mut Emitter<'_, U>) + Send + Sync + 'static) -> DStream<U> {
        let f = Arc::new(f);
        self.lift("flat_map_ref", move |batch| {
            let f = Arc::clone(&f);
            batch.flat_map_ref(move |record, out| f(record, out))
        })
    }

    /// Replaces every partition by what `f` makes of its records. `f` is called for empty partitions too.
    ///
    /// The records of a partition are gathered before `f` is called, so they have to fit into memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// // Tests cut every batch into two partitions.
    /// let sums = run([vec![1, 2, 3, 4], vec![5]], |numbers| numbers.map_partitions(|part| [part.sum::<i32>()]))?;
    /// assert_eq!(sums, [vec![3, 7], vec![0, 5]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn map_partitions<U: Data, I: IntoIterator<Item = U>>(
        &self,
        f: impl Fn(PartitionIter<T>) -> I + Send + Sync + 'static,
    ) -> DStream<U> {
        let f = Arc::new(f);
        self.lift("map_partitions", move |batch| {
            let f = Arc::clone(&f);
            batch.map_partitions(move |records| f(records))
        })
    }

    /// Deals the records of every batch out to `partitions` partitions of about the same size: more of them for more
    /// parallel work. Every record crosses a shuffle.
    ///
    /// # Errors
    ///
    /// A number that is not from 1 to 4096 is reported by `StreamingContext::start`. A batch that the stream does not
    /// have at all is an error and stops the context, as for every operator that Spark builds on `transform`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// // Tests cut every batch into two partitions.
    /// let lengths = run([vec![1, 2, 3, 4, 5, 6]], |numbers| {
    ///     numbers.repartition(3).map_partitions(|part| [part.count()])
    /// })?;
    /// assert_eq!(lengths, [vec![2, 2, 2]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn repartition(&self, partitions: usize) -> DStream<T>
    where
        T: Exchange,
    {
        self.check_partitions(Partitions::new(partitions));
        self.lift_required("repartition", move |batch| batch.repartition(partitions))
    }
}
