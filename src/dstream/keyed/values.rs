use std::sync::Arc;

use crate::data::{Data, Exchange, Ordered};
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

    /// The `k` pairs of each batch with the largest values, the largest first, in one partition. Of equal values the
    /// first ones win and come first.
    ///
    /// Every partition keeps no more than its own `k` largest, and only these are moved.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::testing::run;
    ///
    /// let visits = [vec![('a', 3), ('b', 7), ('c', 1), ('d', 7)], vec![('a', 1)]];
    /// let top = run(visits, |visits| visits.top_k_by_value(2))?;
    /// assert_eq!(top, [vec![('b', 7), ('d', 7)], vec![('a', 1)]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn top_k_by_value(&self, k: usize) -> DStream<(K, V)>
    where
        K: Exchange,
        V: Exchange + Ordered,
    {
        self.lift("top_k_by_value", move |batch| batch.top_k_by_value(k))
    }
}
