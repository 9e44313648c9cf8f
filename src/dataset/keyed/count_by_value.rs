use std::fmt;
use std::hash::Hash;

use super::reduce_by_key::PairEmitter;
use crate::data::{Data, Key, Partitions};
use crate::dataset::{Dataset, Header};

impl<T: Data> Dataset<T> {
    /// How often each record occurs, as a dataset: what [`count_by_value`](Dataset::count_by_value) is on a stream.
    #[track_caller]
    pub(crate) fn counts_of_values(&self, partitions: Partitions) -> Dataset<(T, u64)>
    where
        T: Key,
    {
        let name = "count_by_value";
        let ones = self.map_into(Header::new(name), |record| (record, 1));
        ones.reduce_by_key_into(Header::new(name), |a, b| a + b, partitions)
    }

    /// Counts how often each of the values occurs that `values` finds in the records: words in lines. Values are
    /// borrowed from the record: one is copied when it is first seen in a partition, and not at each of its
    /// occurrences.
    ///
    /// Values are `&str` and come out as `String`, or `&[u8]` and `Vec<u8>`, or whatever else is [`ToOwned`]. Every
    /// value comes once, in no particular (but in each run the same) order. Unlike
    /// [`count_by_value`](Dataset::count_by_value) this is a transformation: it can go on from here.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let lines = context.parallelize(["to be or".to_string(), "not to be".to_string()], 2);
    /// let counts = lines.count_by_value_ref(|line, words| words.extend(line.split(' ')));
    /// let counts = counts.sort_by_key().collect()?;
    /// let expected = [("be", 2), ("not", 1), ("or", 1), ("to", 2)];
    /// assert_eq!(counts, expected.map(|(word, count)| (word.to_string(), count)));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn count_by_value_ref<Q>(
        &self,
        values: impl Fn(&T, &mut ValueEmitter<'_, Q>) + Send + Sync + 'static,
    ) -> Dataset<(Q::Owned, u64)>
    where
        Q: Hash + Eq + ToOwned<Owned: Key> + ?Sized + 'static,
    {
        let ones = move |record: &T, out: &mut PairEmitter<'_, Q, u64>| values(record, &mut ValueEmitter(out.writer()));
        self.reduce_by_key_ref_into(Header::new("count_by_value_ref"), ones, |a, b| a + b)
    }
}

/// Takes borrowed values, one by one with [`emit`](ValueEmitter::emit) or many with `extend`. Given to the closure of
/// [`Dataset::count_by_value_ref`].
pub struct ValueEmitter<'w, Q: ?Sized>(&'w mut dyn FnMut(&Q, u64));

impl<Q: ?Sized> ValueEmitter<'_, Q> {
    /// Counts a value.
    #[inline]
    pub fn emit(&mut self, value: &Q) {
        (self.0)(value, 1);
    }
}

impl<'v, Q: ?Sized + 'v> Extend<&'v Q> for ValueEmitter<'_, Q> {
    #[inline]
    fn extend<I: IntoIterator<Item = &'v Q>>(&mut self, values: I) {
        values.into_iter().for_each(|value| self.emit(value));
    }
}

impl<Q: ?Sized> fmt::Debug for ValueEmitter<'_, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueEmitter").finish_non_exhaustive()
    }
}
