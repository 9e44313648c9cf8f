use std::time::Duration;

use super::window::Span;
use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::{Dataset, Header};
use crate::dstream::{DStream, Edge, Operator};
use crate::error::Result;
use crate::time::{Interval, Time};

const NAME: &str = "group_by_key_and_window";

impl<K: Data, V: Data> DStream<(K, V)> {
    /// Gathers the values of each key over a window: in the order of the batches, and within a batch in that of its
    /// partitions. Every key comes once, in no particular order; keys without a value in the window do not appear.
    ///
    /// A batch is produced every `slide`, for the window `(t - window, t]`; both durations are multiples of this
    /// stream's slide duration, and the first windows are partial. Records are moved and grouped once, and windows put
    /// groups together where they are. All values of the window are in memory, and every window copies them. To fold
    /// them, use [`reduce_by_key_and_window`](DStream::reduce_by_key_and_window).
    ///
    /// # Errors
    ///
    /// Any other duration is reported by `StreamingContext::start`, with the line of this call.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::testing::run;
    ///
    /// let second = Duration::from_secs(1); // the batch interval of `run`
    /// let visits = [vec![(7, 1)], vec![(7, 2), (7, 3)], vec![(7, 4)]];
    /// let groups = run(visits, |visits| visits.group_by_key_and_window(2 * second, second))?;
    /// assert_eq!(groups, [vec![(7, vec![1])], vec![(7, vec![1, 2, 3])], vec![(7, vec![2, 3, 4])]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn group_by_key_and_window(&self, window: Duration, slide: Duration) -> DStream<(K, Vec<V>)>
    where
        K: Key,
        V: Exchange,
    {
        self.group_by_key_and_window_with(window, slide, self.runtime().default_partitions())
    }

    /// As [`group_by_key_and_window`](DStream::group_by_key_and_window), into so many partitions.
    ///
    /// # Errors
    ///
    /// As [`reduce_by_key_and_window_with`](DStream::reduce_by_key_and_window_with).
    #[track_caller]
    pub fn group_by_key_and_window_with(
        &self,
        window: Duration,
        slide: Duration,
        partitions: Partitions,
    ) -> DStream<(K, Vec<V>)>
    where
        K: Key,
        V: Exchange,
    {
        self.check_partitions(partitions);
        let span = Span { window, slide };
        let panes = self.panes(NAME, span, partitions, move |pairs| pairs.group_by_key_with(partitions));
        panes.keep_for_window();
        self.attach(Grouped { panes, span, partitions })
    }
}

/// Puts the groups of the panes of a window together.
struct Grouped<K, V> {
    panes: DStream<(K, Vec<V>)>,
    span: Span,
    partitions: Partitions,
}

impl<K: Key, V: Exchange> Operator<(K, Vec<V>)> for Grouped<K, V> {
    fn name(&self) -> &str {
        NAME
    }

    fn slide(&self) -> Duration {
        self.span.slide
    }

    fn parents(&self) -> Vec<Edge> {
        vec![self.panes.edge_for(self.span.window)]
    }

    fn compute(&self, at: Time) -> Result<Option<Dataset<(K, Vec<V>)>>> {
        let panes = self.panes.batches(Interval::ending_at(at, self.span.window))?;
        let groups = Dataset::union_all(panes.into_iter().map(|(_, pane)| pane), self.panes.runtime());
        let append = |mut all: Vec<V>, more| {
            all.extend(more);
            all
        };
        // Panes have their keys in the same partitions, and so has their union: nothing is moved.
        Ok(Some(groups.reduce_by_key_into(Header::new(NAME), append, self.partitions)))
    }
}
