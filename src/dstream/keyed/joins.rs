#![expect(clippy::type_complexity, reason = "what comes out of a join is best read where it stands")]

use crate::data::{Data, Exchange, Key, Partitions};
use crate::dstream::DStream;

impl<K: Data, V: Data> DStream<(K, V)> {
    /// Joins this stream with `other`, batch by batch: each pair of a batch with each pair of the other's batch at the
    /// same time that has the same key. To join what is further apart in time, [`window`](DStream::window) both sides
    /// first.
    ///
    /// Both sides are brought into the same partitions. What lies there already, as after
    /// [`reduce_by_key`](DStream::reduce_by_key), is not moved. A task keeps its partition of `other` in memory, and
    /// this stream flows by: let the smaller one be `other`.
    ///
    /// # Errors
    ///
    /// Streams of different slide durations or contexts are reported by `StreamingContext::start`. A batch that one of
    /// them does not have at a time is an error and stops the context.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run2;
    ///
    /// let depths = [vec![(1, 4.5), (2, 0.5)], vec![(1, 5.5)]];
    /// let names = [vec![(1, "Hull".to_string())], vec![]];
    /// let named = run2(depths, names, |depths, names| depths.join(&names))?;
    /// assert_eq!(named, [vec![(1, (4.5, "Hull".to_string()))], vec![]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn join<W: Exchange>(&self, other: &DStream<(K, W)>) -> DStream<(K, (V, W))>
    where
        K: Key,
        V: Exchange,
    {
        self.lift_all("join", (self, other), |(left, right)| left.join(&right))
    }

    /// As [`join`](DStream::join), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`join`](DStream::join), and a number that is not from 1 to 4096.
    #[track_caller]
    pub fn join_with<W: Exchange>(&self, other: &DStream<(K, W)>, partitions: Partitions) -> DStream<(K, (V, W))>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        self.lift_all("join", (self, other), move |(left, right)| left.join_with(&right, partitions))
    }

    /// As [`join`](DStream::join), and a pair of this stream whose key `other` does not have comes with `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run2;
    ///
    /// let ships = [vec![(1, 'a')], vec![(2, 'b')]];
    /// let flagged = run2(ships, [vec![(1, 'x')], vec![]], |ships, flags| ships.left_outer_join(&flags))?;
    /// assert_eq!(flagged, [vec![(1, ('a', Some('x')))], vec![(2, ('b', None))]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn left_outer_join<W: Exchange>(&self, other: &DStream<(K, W)>) -> DStream<(K, (V, Option<W>))>
    where
        K: Key,
        V: Exchange,
    {
        self.lift_all("left_outer_join", (self, other), |(left, right)| left.left_outer_join(&right))
    }

    /// As [`left_outer_join`](DStream::left_outer_join), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`join`](DStream::join), and a number that is not from 1 to 4096.
    #[track_caller]
    pub fn left_outer_join_with<W: Exchange>(
        &self,
        other: &DStream<(K, W)>,
        partitions: Partitions,
    ) -> DStream<(K, (V, Option<W>))>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        self.lift_all("left_outer_join", (self, other), move |(left, right)| {
            left.left_outer_join_with(&right, partitions)
        })
    }

    /// As [`join`](DStream::join), and a pair of `other` whose key this stream does not have comes with `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run2;
    ///
    /// let flags = [vec![(1, 'x')], vec![(2, 'y')]];
    /// let flagged = run2([vec![(1, 'a')], vec![]], flags, |ships, flags| ships.right_outer_join(&flags))?;
    /// assert_eq!(flagged, [vec![(1, (Some('a'), 'x'))], vec![(2, (None, 'y'))]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn right_outer_join<W: Exchange>(&self, other: &DStream<(K, W)>) -> DStream<(K, (Option<V>, W))>
    where
        K: Key,
        V: Exchange,
    {
        self.lift_all("right_outer_join", (self, other), |(left, right)| left.right_outer_join(&right))
    }

    /// As [`right_outer_join`](DStream::right_outer_join), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`join`](DStream::join), and a number that is not from 1 to 4096.
    #[track_caller]
    pub fn right_outer_join_with<W: Exchange>(
        &self,
        other: &DStream<(K, W)>,
        partitions: Partitions,
    ) -> DStream<(K, (Option<V>, W))>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        self.lift_all("right_outer_join", (self, other), move |(left, right)| {
            left.right_outer_join_with(&right, partitions)
        })
    }

    /// As [`join`](DStream::join), and a pair whose key the other side does not have comes with `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run2;
    ///
    /// let flags = [vec![], vec![(2, 'y')]];
    /// let flagged = run2([vec![(1, 'a')], vec![]], flags, |ships, flags| ships.full_outer_join(&flags))?;
    /// assert_eq!(flagged, [vec![(1, (Some('a'), None))], vec![(2, (None, Some('y')))]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn full_outer_join<W: Exchange>(&self, other: &DStream<(K, W)>) -> DStream<(K, (Option<V>, Option<W>))>
    where
        K: Key,
        V: Exchange,
    {
        self.lift_all("full_outer_join", (self, other), |(left, right)| left.full_outer_join(&right))
    }

    /// As [`full_outer_join`](DStream::full_outer_join), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`join`](DStream::join), and a number that is not from 1 to 4096.
    #[track_caller]
    pub fn full_outer_join_with<W: Exchange>(
        &self,
        other: &DStream<(K, W)>,
        partitions: Partitions,
    ) -> DStream<(K, (Option<V>, Option<W>))>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        self.lift_all("full_outer_join", (self, other), move |(left, right)| {
            left.full_outer_join_with(&right, partitions)
        })
    }

    /// The pairs of each batch whose keys `other`'s batch at the same time does not have; duplicates stay. Of `other`
    /// only the keys are moved and kept. Otherwise as [`join`](DStream::join).
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run2;
    ///
    /// let ships = [vec![(1, 'a'), (2, 'b')], vec![(1, 'a')]];
    /// let arrived = [vec![(1, "today".to_string())], vec![]];
    /// let late = run2(ships, arrived, |ships, arrived| ships.subtract_by_key(&arrived))?;
    /// assert_eq!(late, [vec![(2, 'b')], vec![(1, 'a')]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn subtract_by_key<W: Exchange>(&self, other: &DStream<(K, W)>) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.lift_all("subtract_by_key", (self, other), |(left, right)| left.subtract_by_key(&right))
    }

    /// As [`subtract_by_key`](DStream::subtract_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`join`](DStream::join), and a number that is not from 1 to 4096.
    #[track_caller]
    pub fn subtract_by_key_with<W: Exchange>(&self, other: &DStream<(K, W)>, partitions: Partitions) -> DStream<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        self.lift_all("subtract_by_key", (self, other), move |(left, right)| {
            left.subtract_by_key_with(&right, partitions)
        })
    }

    /// Gathers by key the values of each batch and of `other`'s batch at the same time: each key that one of them has
    /// comes once, with a list of its values from each. `cogroup2` and `cogroup3` take two and three others.
    ///
    /// The groups of a partition are in memory at once. Otherwise as [`join`](DStream::join).
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run2;
    ///
    /// let ships = [vec![(1, 'a'), (1, 'b')], vec![]];
    /// let groups = run2(ships, [vec![(1, 'x')], vec![(2, 'y')]], |ships, flags| ships.cogroup(&flags))?;
    /// assert_eq!(groups, [vec![(1, (vec!['a', 'b'], vec!['x']))], vec![(2, (vec![], vec!['y']))]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn cogroup<W: Exchange>(&self, other: &DStream<(K, W)>) -> DStream<(K, (Vec<V>, Vec<W>))>
    where
        K: Key,
        V: Exchange,
    {
        self.lift_all("cogroup", (self, other), |(left, right)| left.cogroup(&right))
    }

    /// As [`cogroup`](DStream::cogroup), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`join`](DStream::join), and a number that is not from 1 to 4096.
    #[track_caller]
    pub fn cogroup_with<W: Exchange>(
        &self,
        other: &DStream<(K, W)>,
        partitions: Partitions,
    ) -> DStream<(K, (Vec<V>, Vec<W>))>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        self.lift_all("cogroup", (self, other), move |(left, right)| left.cogroup_with(&right, partitions))
    }

    /// As [`cogroup`](DStream::cogroup), with two others.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let groups = run([vec![(1, 'a')]], |pairs| {
    ///     let side = |value| pairs.map_values(move |_| value);
    ///     pairs.cogroup2(&side('b'), &side('c'))
    /// })?;
    /// assert_eq!(groups, [vec![(1, (vec!['a'], vec!['b'], vec!['c']))]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn cogroup2<W: Exchange, X: Exchange>(
        &self,
        second: &DStream<(K, W)>,
        third: &DStream<(K, X)>,
    ) -> DStream<(K, (Vec<V>, Vec<W>, Vec<X>))>
    where
        K: Key,
        V: Exchange,
    {
        self.lift_all("cogroup2", (self, second, third), |(a, b, c)| a.cogroup2(&b, &c))
    }

    /// As [`cogroup2`](DStream::cogroup2), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`join`](DStream::join), and a number that is not from 1 to 4096.
    #[track_caller]
    pub fn cogroup2_with<W: Exchange, X: Exchange>(
        &self,
        second: &DStream<(K, W)>,
        third: &DStream<(K, X)>,
        partitions: Partitions,
    ) -> DStream<(K, (Vec<V>, Vec<W>, Vec<X>))>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        self.lift_all("cogroup2", (self, second, third), move |(a, b, c)| a.cogroup2_with(&b, &c, partitions))
    }

    /// As [`cogroup`](DStream::cogroup), with three others.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let groups = run([vec![(1, 'a')]], |pairs| {
    ///     let side = |value| pairs.map_values(move |_| value);
    ///     pairs.cogroup3(&side('b'), &side('c'), &side('d'))
    /// })?;
    /// assert_eq!(groups, [vec![(1, (vec!['a'], vec!['b'], vec!['c'], vec!['d']))]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn cogroup3<W: Exchange, X: Exchange, Y: Exchange>(
        &self,
        second: &DStream<(K, W)>,
        third: &DStream<(K, X)>,
        fourth: &DStream<(K, Y)>,
    ) -> DStream<(K, (Vec<V>, Vec<W>, Vec<X>, Vec<Y>))>
    where
        K: Key,
        V: Exchange,
    {
        self.lift_all("cogroup3", (self, second, third, fourth), |(a, b, c, d)| a.cogroup3(&b, &c, &d))
    }

    /// As [`cogroup3`](DStream::cogroup3), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`join`](DStream::join), and a number that is not from 1 to 4096.
    #[track_caller]
    pub fn cogroup3_with<W: Exchange, X: Exchange, Y: Exchange>(
        &self,
        second: &DStream<(K, W)>,
        third: &DStream<(K, X)>,
        fourth: &DStream<(K, Y)>,
        partitions: Partitions,
    ) -> DStream<(K, (Vec<V>, Vec<W>, Vec<X>, Vec<Y>))>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        self.lift_all("cogroup3", (self, second, third, fourth), move |(a, b, c, d)| {
            a.cogroup3_with(&b, &c, &d, partitions)
        })
    }
}
