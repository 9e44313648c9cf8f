use std::panic::Location;
use std::sync::Arc;

use crate::data::Data;
use crate::dstream::{DStream, Predicate};

impl<K: Data, V: Data> DStream<(K, V)> {
    /// Keeps the pairs for which `predicate` holds. Partitions and order stay, and keys stay where they are.
    ///
    /// Called right on a window with an inverse function, it also says which keys the window forgets: those that it
    /// rejects, once their records have left the window. Memory then follows the keys of the window and not those ever
    /// seen. Until then a rejected key is hidden and still counted, so it comes back with the right value. Spark's
    /// filter forgets it at once, and then fails or counts wrong.
    ///
    /// The window without the filter is not changed. A program that uses both pays for both: each keeps totals of its
    /// own, and they share the panes. A name that the window was given, and a checkpoint interval, are those of the filtered
    /// one too, unless it is given others; what it keeps is found by `NAME/filter_keys` then.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::testing::run;
    ///
    /// let second = Duration::from_secs(1); // the batch interval of `run`
    /// let visits = [vec![(7, 1)], vec![(7, 1), (8, 1)], vec![], vec![]];
    /// let counts = run(visits, |visits| {
    ///     let counts = visits.reduce_by_key_and_window_inverse(|a, b| a + b, |a, b| a - b, 2 * second, 2 * second);
    ///     counts.filter_keys(|_, count| *count > 0)
    /// })?;
    /// assert_eq!(counts, [vec![(7, 2), (8, 1)], vec![]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn filter_keys(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> DStream<(K, V)> {
        let filter: Predicate<(K, V)> = Arc::new(move |(key, value)| predicate(key, value));
        match self.node.filtered(&filter) {
            Some(operator) => {
                let filtered = DStream::build(&self.graph, operator, Location::caller());
                filtered.node.set_checkpoint_as(&self.node);
                filtered.node.set_named_as(&self.node);
                filtered
            }
            None => self.lift("filter_keys", move |batch| {
                let filter = Arc::clone(&filter);
                batch.filter(move |pair| filter(pair))
            }),
        }
    }
}
