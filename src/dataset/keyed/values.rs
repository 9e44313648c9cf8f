use crate::data::Data;
use crate::dataset::{Dataset, Header};

impl<K: Data, V: Data> Dataset<(K, V)> {
    /// The keys, one for each pair. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let pairs = context.parallelize([("a", 1), ("b", 2), ("a", 3)], 2);
    /// assert_eq!(pairs.keys().collect()?, ["a", "b", "a"]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn keys(&self) -> Dataset<K> {
        self.map_into(Header::new("keys"), |(key, _)| key)
    }

    /// The values, one for each pair. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let pairs = context.parallelize([("a", 1), ("b", 2), ("a", 3)], 2);
    /// assert_eq!(pairs.values().collect()?, [1, 2, 3]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn values(&self) -> Dataset<V> {
        self.map_into(Header::new("values"), |(_, value)| value)
    }

    /// Puts every value through `f` and leaves the keys. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let plus_ten = context.parallelize([("a", 1), ("b", 2)], 1).map_values(|n| n + 10);
    /// assert_eq!(plus_ten.collect()?, [("a", 11), ("b", 12)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn map_values<W: Data>(&self, f: impl Fn(V) -> W + Send + Sync + 'static) -> Dataset<(K, W)> {
        self.map_into(Header::new("map_values"), move |(key, value)| (key, f(value))).with_keys_of(self)
    }

    /// Replaces every value by the values that `f` makes of it, each with the key. Partitions and order stay.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let both = context.parallelize([("a", 1)], 1).flat_map_values(|n| [n, n + 10]);
    /// assert_eq!(both.collect()?, [("a", 1), ("a", 11)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn flat_map_values<W: Data, I: IntoIterator<Item = W>>(
        &self,
        f: impl Fn(V) -> I + Send + Sync + 'static,
    ) -> Dataset<(K, W)> {
        let pairs = move |(key, value): (K, V)| f(value).into_iter().map(move |value| (key.clone(), value));
        self.flat_map_into(Header::new("flat_map_values"), pairs).with_keys_of(self)
    }
}
