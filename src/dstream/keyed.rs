//! Operators that look at one batch of pairs at a time.

use std::hash::Hash;
use std::sync::Arc;

use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::PairEmitter;
use crate::dstream::DStream;

impl<K: Data, V: Data> DStream<(K, V)> {
    /// Puts every value through `f` and leaves the keys. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let plus_ten = run([vec![("a", 1)], vec![("b", 2)]], |pairs| pairs.map_values(|n| n + 10))?;
    /// assert_eq!(plus_ten, [vec![("a", 11)], vec![("b", 12)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn map_values<W: Data>(&self, f: impl Fn(V) -> W + Send + Sync + 'static) -> DStream<(K, W)> {
        let f = Arc::new(f);
        self.lift("map_values", move |batch| {
            let f = Arc::clone(&f);
            batch.map_values(move |value| f(value))
        })
    }

    /// Replaces every value by the values that `f` makes of it, each with the key. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let both = run([vec![("a", 1)]], |pairs| pairs.flat_map_values(|n| [n, n + 10]))?;
    /// assert_eq!(both, [vec![("a", 1), ("a", 11)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map_values<W: Data, I: IntoIterator<Item = W>>(
        &self,
        f: impl Fn(V) -> I + Send + Sync + 'static,
    ) -> DStream<(K, W)> {
        let f = Arc::new(f);
        self.lift("flat_map_values", move |batch| {
            let f = Arc::clone(&f);
            batch.flat_map_values(move |value| f(value))
        })
    }
}

impl<T: Data> DStream<T> {
    /// Like [`flat_map_ref`](DStream::flat_map_ref) to pairs and [`reduce_by_key`](DStream::reduce_by_key) in one, with
    /// keys that are borrowed from the record: a key is copied when it is first seen in a partition, and not at each
    /// of its occurrences.
    ///
    /// Keys are `&str` and come out as `String`, or `&[u8]` and `Vec<u8>`, or whatever else is [`ToOwned`]. Every key
    /// of a batch comes once, in no particular order.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let lines = [vec!["to be".to_string(), "to".to_string()], vec![]];
    /// let longest = run(lines, |lines| {
    ///     lines.reduce_by_key_ref(|line, out| out.emit(&line[..2], line.len()), |a, b| a.max(b))
    /// })?;
    /// assert_eq!(longest, [vec![("to".to_string(), 5)], vec![]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key_ref<Q, V: Exchange>(
        &self,
        pairs: impl Fn(&T, &mut PairEmitter<'_, Q, V>) + Send + Sync + 'static,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
    ) -> DStream<(Q::Owned, V)>
    where
        Q: Hash + Eq + ToOwned<Owned: Key> + ?Sized + 'static,
    {
        let (pairs, f) = (Arc::new(pairs), Arc::new(f));
        self.lift("reduce_by_key_ref", move |batch| {
            let (pairs, f) = (Arc::clone(&pairs), Arc::clone(&f));
            batch.reduce_by_key_ref(move |record, out| pairs(record, out), move |a, b| f(a, b))
        })
    }
}

// Here and wherever a method asks for a key: bounds of the method, and not of the block, are those of which the
// compiler says what `data` has to say.
impl<K: Data, V: Data> DStream<(K, V)> {
    /// Merges the values of each key of a batch with `f`, which has to be associative and commutative. Every key comes
    /// once, in no particular order.
    ///
    /// Values are combined before the shuffle where keys repeat.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let visits = [vec![(7, 1), (7, 1)], vec![], vec![(8, 1)]];
    /// let counts = run(visits, |pairs| pairs.reduce_by_key(|a, b| a + b))?;
    /// assert_eq!(counts, [vec![(7, 2)], vec![], vec![(8, 1)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn reduce_by_key(&self, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        let f = Arc::new(f);
        self.lift("reduce_by_key", move |batch| {
            let f = Arc::clone(&f);
            batch.reduce_by_key(move |a, b| f(a, b))
        })
    }

    /// As [`reduce_by_key`](DStream::reduce_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// A number that is not from 1 to 4096 is reported by `StreamingContext::start`, with the line of this call.
    #[track_caller]
    pub fn reduce_by_key_with(
        &self,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitions: Partitions,
    ) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        let f = Arc::new(f);
        self.lift("reduce_by_key", move |batch| {
            let f = Arc::clone(&f);
            batch.reduce_by_key_with(move |a, b| f(a, b), partitions)
        })
    }

    /// Gathers the values of each key of a batch, in the order of their partitions. Every key comes once, in no
    /// particular order.
    ///
    /// All values of a key are in memory at once. To fold them, use [`reduce_by_key`](DStream::reduce_by_key).
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let visits = [vec![(7, "in".to_string()), (7, "out".to_string())], vec![]];
    /// let groups = run(visits, |pairs| pairs.group_by_key())?;
    /// assert_eq!(groups, [vec![(7, vec!["in".to_string(), "out".to_string()])], vec![]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn group_by_key(&self) -> DStream<(K, Vec<V>)>
    where
        K: Key,
        V: Exchange,
    {
        self.lift("group_by_key", |batch| batch.group_by_key())
    }

    /// As [`group_by_key`](DStream::group_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`reduce_by_key_with`](DStream::reduce_by_key_with).
    #[track_caller]
    pub fn group_by_key_with(&self, partitions: Partitions) -> DStream<(K, Vec<V>)>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        self.lift("group_by_key", move |batch| batch.group_by_key_with(partitions))
    }
}
