use std::hash::Hash;
use std::sync::Arc;

use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::PairEmitter;
use crate::dstream::DStream;

impl<K: Data, V: Data> DStream<(K, V)> {
    /// Merges the values of each key of a batch with `f`, which has to be associative and commutative. Every key comes
    /// once, in no particular order; an empty batch stays empty.
    ///
    /// Values are combined before the shuffle where keys repeat. The keys of a partition are in memory at once, each
    /// with one value. To merge over more than one batch, use
    /// [`reduce_by_key_and_window`](DStream::reduce_by_key_and_window).
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

    /// Combines the values of each key of a batch into something of another type. In each partition `create` makes a
    /// combiner of the first value of a key and `merge_value` adds the others; `merge_combiners` then merges those of
    /// the partitions, in their order. Every key comes once, in no particular order.
    ///
    /// Values are combined before the shuffle where keys repeat, which never shows in the result: Spark's
    /// `mapSideCombine` need not be said.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let tides = [vec![("high", 4.5), ("low", 0.5), ("high", 5.5)], vec![]];
    /// let means = run(tides, |tides| {
    ///     let tides = tides.map(|(name, metres)| (name.len(), metres));
    ///     let sums = tides.combine_by_key(
    ///         |metres| (metres, 1),
    ///         |(sum, count), metres| (sum + metres, count + 1),
    ///         |(sum, count), (metres, more)| (sum + metres, count + more),
    ///     );
    ///     sums.map_values(|(sum, count)| sum / f64::from(count)).filter(|(letters, _)| *letters == 4)
    /// })?;
    /// assert_eq!(means, [vec![(4, 5.0)], vec![]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn combine_by_key<C: Exchange>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
    ) -> DStream<(K, C)>
    where
        K: Key,
        V: Exchange,
    {
        self.combine_by_key_with(create, merge_value, merge_combiners, self.runtime().default_partitions())
    }

    /// As [`combine_by_key`](DStream::combine_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`reduce_by_key_with`](DStream::reduce_by_key_with).
    #[track_caller]
    pub fn combine_by_key_with<C: Exchange>(
        &self,
        create: impl Fn(V) -> C + Send + Sync + 'static,
        merge_value: impl Fn(C, V) -> C + Send + Sync + 'static,
        merge_combiners: impl Fn(C, C) -> C + Send + Sync + 'static,
        partitions: Partitions,
    ) -> DStream<(K, C)>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        let functions = Arc::new((create, merge_value, merge_combiners));
        self.lift("combine_by_key", move |batch| {
            let [create, value, combiners] = [(); 3].map(|()| Arc::clone(&functions));
            let create = move |v| (create.0)(v);
            batch.combine_by_key_with(create, move |c, v| (value.1)(c, v), move |c, o| (combiners.2)(c, o), partitions)
        })
    }

    /// Folds the values of each key of a batch into `zero`. In each partition `seq` folds the values of a key into a
    /// copy of `zero`; `comb` then merges the results of a key, in the order of the partitions. Every key comes once,
    /// in no particular order.
    ///
    /// `zero` enters once for each key and partition of the batch that has the key, as in Spark: it should change
    /// nothing, as 0 does in a sum.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let ships = [vec![(7, "Swift"), (7, "Tern")], vec![(7, "Gull")]];
    /// let letters = run(ships, |ships| ships.map_values(String::from).aggregate_by_key(
    ///     0,
    ///     |letters, ship| letters + ship.len(),
    ///     |a, b| a + b,
    /// ))?;
    /// assert_eq!(letters, [vec![(7, 9)], vec![(7, 4)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn aggregate_by_key<U: Exchange>(
        &self,
        zero: U,
        seq: impl Fn(U, V) -> U + Send + Sync + 'static,
        comb: impl Fn(U, U) -> U + Send + Sync + 'static,
    ) -> DStream<(K, U)>
    where
        K: Key,
        V: Exchange,
    {
        self.aggregate_by_key_with(zero, seq, comb, self.runtime().default_partitions())
    }

    /// As [`aggregate_by_key`](DStream::aggregate_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`reduce_by_key_with`](DStream::reduce_by_key_with).
    #[track_caller]
    pub fn aggregate_by_key_with<U: Exchange>(
        &self,
        zero: U,
        seq: impl Fn(U, V) -> U + Send + Sync + 'static,
        comb: impl Fn(U, U) -> U + Send + Sync + 'static,
        partitions: Partitions,
    ) -> DStream<(K, U)>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        let (seq, comb) = (Arc::new(seq), Arc::new(comb));
        self.lift("aggregate_by_key", move |batch| {
            let (seq, comb) = (Arc::clone(&seq), Arc::clone(&comb));
            batch.aggregate_by_key_with(zero.clone(), move |u, v| seq(u, v), move |a, b| comb(a, b), partitions)
        })
    }

    /// Folds the values of each key of a batch into `zero` with `f`, which has to be associative and commutative.
    /// [`aggregate_by_key`](DStream::aggregate_by_key) with one function for both.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let factors = [vec![(6, 2), (6, 3)], vec![]];
    /// assert_eq!(run(factors, |pairs| pairs.fold_by_key(1, |a, b| a * b))?, [vec![(6, 6)], vec![]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn fold_by_key(&self, zero: V, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.fold_by_key_with(zero, f, self.runtime().default_partitions())
    }

    /// As [`fold_by_key`](DStream::fold_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`reduce_by_key_with`](DStream::reduce_by_key_with).
    #[track_caller]
    pub fn fold_by_key_with(
        &self,
        zero: V,
        f: impl Fn(V, V) -> V + Send + Sync + 'static,
        partitions: Partitions,
    ) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        let f = Arc::new(f);
        self.lift("fold_by_key", move |batch| {
            let f = Arc::clone(&f);
            batch.fold_by_key_with(zero.clone(), move |a, b| f(a, b), partitions)
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
