use std::sync::Arc;

use crate::data::Data;
use crate::dataset::Emitter;
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

    /// Makes pairs of the records: each with the key that `f` says. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let by_length = run([vec!["ebb"], vec!["flood"]], |tides| tides.key_by(|tide| tide.len()))?;
    /// assert_eq!(by_length, [[(3, "ebb")], [(5, "flood")]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn key_by<K: Data>(&self, f: impl Fn(&T) -> K + Send + Sync + 'static) -> DStream<(K, T)> {
        let f = Arc::new(f);
        self.lift("key_by", move |batch| {
            let f = Arc::clone(&f);
            batch.key_by(move |record| f(record))
        })
    }

    /// Lets `f` look at every record and passes the records on as they are: for logs and counters. Partitions and order
    /// stay.
    ///
    /// `f` sees a record once for each time it is computed: again when a task is tried again, and not at all where
    /// nobody asks for it.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicU32, Ordering}};
    /// use tidemill::testing::run;
    ///
    /// let seen = Arc::new(AtomicU32::new(0));
    /// let count = Arc::clone(&seen);
    /// let out = run([vec![1, 2], vec![3]], move |numbers| {
    ///     let watched = numbers.inspect(move |_| {
    ///         count.fetch_add(1, Ordering::Relaxed);
    ///     });
    ///     watched.filter(|n| n % 2 == 1)
    /// })?;
    /// assert_eq!((out, seen.load(Ordering::Relaxed)), (vec![vec![1], vec![3]], 3));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn inspect(&self, f: impl Fn(&T) + Send + Sync + 'static) -> DStream<T> {
        let f = Arc::new(f);
        self.lift("inspect", move |batch| {
            let f = Arc::clone(&f);
            batch.inspect(move |record| f(record))
        })
    }
}
