//! Joins by key: both sides are brought into the same partitions, and each task indexes its partition of the right one
//! and lets the left one flow by. The five joins are one node; they differ in what they keep of the sides.

#![expect(clippy::type_complexity, reason = "what comes out of a join is best read where it stands")]

mod index;

use std::sync::Arc;

use index::Index;

use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::{AnyLineage, Chunk, Dataset, Emitter, Flow, Header, Lineage, Sink, chunk_len, resuming, stage};
use crate::error::Result;
use crate::exec::TaskContext;

impl<K: Data, V: Data> Dataset<(K, V)> {
    /// Joins two datasets by key: each pair of this one with each pair of `other` that has the same key.
    ///
    /// Both sides are brought into the same partitions. A side that lies there already, as after
    /// [`reduce_by_key`](Dataset::reduce_by_key) or [`partition_by`](Dataset::partition_by), is not moved: two reduced
    /// datasets are joined without a shuffle. There are as many partitions as the sides lie in, if they lie alike, else
    /// as many as the one side that lies in the most, unless the default of the context is more.
    ///
    /// A task keeps its partition of `other` in memory, and this dataset flows by: let the smaller one be `other`. The
    /// pairs of a partition come in the order of this dataset, for each of its records in that of `other`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let depths = context.parallelize([(1, 4.5), (2, 0.5), (1, 5.5)], 2);
    /// let harbours = context.parallelize([(1, "Hull"), (3, "Kiel")], 2).map_values(String::from);
    /// let mut named = depths.join(&harbours).collect()?;
    /// named.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    /// assert_eq!(named, [(1, (4.5, "Hull".to_string())), (1, (5.5, "Hull".to_string()))]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn join<W: Exchange>(&self, other: &Dataset<(K, W)>) -> Dataset<(K, (V, W))>
    where
        K: Key,
        V: Exchange,
    {
        self.join_with(other, self.common_layout(&[other.lineage().key_partitions()]))
    }

    /// As [`join`](Dataset::join), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn join_with<W: Exchange>(&self, other: &Dataset<(K, W)>, partitions: Partitions) -> Dataset<(K, (V, W))>
    where
        K: Key,
        V: Exchange,
    {
        self.join_by("join", other, partitions, KEEP_MATCHES, |v, w| Some((v?, w?)))
    }

    /// As [`join`](Dataset::join), and a pair of this dataset whose key `other` does not have comes with `None`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let ships = context.parallelize([(1, 'a'), (2, 'b')], 1);
    /// let flags = context.parallelize([(1, 'x')], 1);
    /// let mut flagged = ships.left_outer_join(&flags).collect()?;
    /// flagged.sort();
    /// assert_eq!(flagged, [(1, ('a', Some('x'))), (2, ('b', None))]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn left_outer_join<W: Exchange>(&self, other: &Dataset<(K, W)>) -> Dataset<(K, (V, Option<W>))>
    where
        K: Key,
        V: Exchange,
    {
        self.left_outer_join_with(other, self.common_layout(&[other.lineage().key_partitions()]))
    }

    /// As [`left_outer_join`](Dataset::left_outer_join), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn left_outer_join_with<W: Exchange>(
        &self,
        other: &Dataset<(K, W)>,
        partitions: Partitions,
    ) -> Dataset<(K, (V, Option<W>))>
    where
        K: Key,
        V: Exchange,
    {
        self.join_by("left_outer_join", other, partitions, Keep { left: true, ..KEEP_MATCHES }, |v, w| Some((v?, w)))
    }

    /// As [`join`](Dataset::join), and a pair of `other` whose key this dataset does not have comes with `None`. These
    /// are the last ones of their partition, in the order of `other`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let ships = context.parallelize([(1, 'a')], 1);
    /// let flags = context.parallelize([(1, 'x'), (2, 'y')], 1);
    /// let mut flagged = ships.right_outer_join(&flags).collect()?;
    /// flagged.sort();
    /// assert_eq!(flagged, [(1, (Some('a'), 'x')), (2, (None, 'y'))]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn right_outer_join<W: Exchange>(&self, other: &Dataset<(K, W)>) -> Dataset<(K, (Option<V>, W))>
    where
        K: Key,
        V: Exchange,
    {
        self.right_outer_join_with(other, self.common_layout(&[other.lineage().key_partitions()]))
    }

    /// As [`right_outer_join`](Dataset::right_outer_join), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn right_outer_join_with<W: Exchange>(
        &self,
        other: &Dataset<(K, W)>,
        partitions: Partitions,
    ) -> Dataset<(K, (Option<V>, W))>
    where
        K: Key,
        V: Exchange,
    {
        self.join_by("right_outer_join", other, partitions, Keep { right: true, ..KEEP_MATCHES }, |v, w| Some((v, w?)))
    }

    /// As [`join`](Dataset::join), and a pair whose key the other side does not have comes with `None`. Those of
    /// `other` are the last ones of their partition, in the order of `other`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let ships = context.parallelize([(1, 'a'), (2, 'b')], 1);
    /// let flags = context.parallelize([(1, 'x'), (3, 'z')], 1);
    /// let mut flagged = ships.full_outer_join(&flags).collect()?;
    /// flagged.sort();
    /// assert_eq!(flagged, [(1, (Some('a'), Some('x'))), (2, (Some('b'), None)), (3, (None, Some('z')))]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn full_outer_join<W: Exchange>(&self, other: &Dataset<(K, W)>) -> Dataset<(K, (Option<V>, Option<W>))>
    where
        K: Key,
        V: Exchange,
    {
        self.full_outer_join_with(other, self.common_layout(&[other.lineage().key_partitions()]))
    }

    /// As [`full_outer_join`](Dataset::full_outer_join), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn full_outer_join_with<W: Exchange>(
        &self,
        other: &Dataset<(K, W)>,
        partitions: Partitions,
    ) -> Dataset<(K, (Option<V>, Option<W>))>
    where
        K: Key,
        V: Exchange,
    {
        self.join_by("full_outer_join", other, partitions, Keep { left: true, right: true, ..KEEP_MATCHES }, |v, w| {
            Some((v, w))
        })
    }

    /// The pairs whose keys `other` does not have; duplicates stay. Of `other` only the keys are moved and kept.
    ///
    /// Sides are brought together as by [`join`](Dataset::join); pairs keep their order in a partition.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let ships = context.parallelize([(1, 'a'), (2, 'b'), (2, 'b')], 1);
    /// let arrived = context.parallelize([(1, "today".to_string())], 1);
    /// assert_eq!(ships.subtract_by_key(&arrived).collect()?, [(2, 'b'), (2, 'b')]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn subtract_by_key<W: Exchange>(&self, other: &Dataset<(K, W)>) -> Dataset<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.subtract_by_key_with(other, self.common_layout(&[other.lineage().key_partitions()]))
    }

    /// As [`subtract_by_key`](Dataset::subtract_by_key), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn subtract_by_key_with<W: Exchange>(&self, other: &Dataset<(K, W)>, partitions: Partitions) -> Dataset<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        let keys = other.flat_map_ref(|(key, _), out| out.emit((key.clone(), ()))).with_keys_of(other);
        self.without_keys_of("subtract_by_key", &keys, partitions)
    }
}

impl<K: Key, V: Exchange> Dataset<(K, V)> {
    /// The pairs whose keys `keys` does not have, under the name of the operation that wants them.
    #[track_caller]
    pub(in crate::dataset) fn without_keys_of(
        &self,
        name: &'static str,
        keys: &Dataset<(K, ())>,
        partitions: Partitions,
    ) -> Dataset<(K, V)> {
        self.join_by(name, keys, partitions, Keep { matches: false, left: true, right: false }, |v, _| v)
    }

    #[track_caller]
    fn join_by<W: Exchange, O: Data>(
        &self,
        name: &'static str,
        other: &Dataset<(K, W)>,
        partitions: Partitions,
        keep: Keep,
        pair: impl Fn(Option<V>, Option<W>) -> Option<O> + Send + Sync + 'static,
    ) -> Dataset<(K, O)> {
        let header = Header::new(name);
        if let Some(mistake) = partitions.mistake() {
            return self.broken(header, mistake);
        }
        let left = self.co_partition(Header::new(name), partitions);
        let right = other.co_partition(Header::new(name), partitions);
        let (left, right) = (Arc::clone(left.lineage()), Arc::clone(right.lineage()));
        self.derive(Join { header, left, right, keep, pair })
    }
}

/// Which records come out of a join.
#[derive(Clone, Copy)]
struct Keep {
    /// Those with a partner, with each of their partners.
    matches: bool,
    /// Those of the left side without one.
    left: bool,
    /// Those of the right side without one.
    right: bool,
}

const KEEP_MATCHES: Keep = Keep { matches: true, left: false, right: false };

impl Keep {
    /// Whether a record of the left side comes out that has this first partner.
    fn wants(self, partner: Option<u32>) -> bool {
        if partner.is_some() { self.matches } else { self.left }
    }
}

struct Join<K, V, W, F> {
    header: Header,
    left: Arc<dyn Lineage<(K, V)>>,
    right: Arc<dyn Lineage<(K, W)>>,
    keep: Keep,
    /// Makes the value of what is kept: the sides of a match, or one of them.
    pair: F,
}

impl<K: Key, V: Data, W: Data, O: Data, F> Lineage<(K, O)> for Join<K, V, W, F>
where
    F: Fn(Option<V>, Option<W>) -> Option<O> + Send + Sync,
{
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<(K, O)>) -> Result<Flow> {
        let origin = self.header.origin();
        let right = stage::gather(&*self.right, partition, task)?;
        if right.is_empty() && !self.keep.left {
            return Ok(Flow::Continue(()));
        }
        task.enter(origin);
        let index = Index::new(right)?;
        let mut has_partner = vec![false; if self.keep.right { index.len() } else { 0 }];
        let mut down = resuming(task, origin, sink);
        let mut out = Emitter::new(&mut down);
        let mut found = Vec::with_capacity(chunk_len::<(K, V)>());
        let _ = self.left.compute(partition, task, &mut |chunk: Chunk<'_, (K, V)>| {
            task.enter(origin);
            // All questions to the index first: they then wait for memory together.
            found.clear();
            found.extend(chunk.as_slice().iter().map(|(key, _)| index.first(key)));
            if self.keep.right {
                found.iter().flatten().for_each(|partner| index.mark(*partner, &mut has_partner));
            }
            let found = found.iter().copied();
            match chunk {
                Chunk::Owned(records) => {
                    let wanted = records.drain(..).zip(found).filter(|(_, partner)| self.keep.wants(*partner));
                    self.emit_left(wanted, &index, &mut out);
                }
                Chunk::Shared(records) => {
                    let wanted = records.iter().zip(found).filter(|(_, partner)| self.keep.wants(*partner));
                    self.emit_left(wanted.map(|(record, partner)| (record.clone(), partner)), &index, &mut out);
                }
            }
            Ok(if out.is_done() { Flow::Break(()) } else { Flow::Continue(()) })
        })?;
        task.enter(origin);
        if self.keep.right {
            let alone = index.into_records().zip(has_partner).filter(|(_, has_partner)| !has_partner);
            out.extend(alone.filter_map(|((key, value), _)| Some((key, (self.pair)(None, Some(value))?))));
        }
        out.finish()
    }
}

impl<K: Key, V: Data, W: Data, O: Data, F> Join<K, V, W, F>
where
    F: Fn(Option<V>, Option<W>) -> Option<O> + Send + Sync,
{
    /// Emits records of the left side, each of which comes with its first partner, with all of their partners.
    fn emit_left(
        &self,
        records: impl Iterator<Item = ((K, V), Option<u32>)>,
        index: &Index<K, W>,
        out: &mut Emitter<'_, (K, O)>,
    ) {
        for ((key, value), mut partner) in records {
            let value_of = |place| index.value(place).clone();
            while let Some(next) = partner.and_then(|place| index.after(place)) {
                self.emit(key.clone(), Some(value.clone()), partner.map(value_of), out);
                if out.is_done() {
                    return;
                }
                partner = Some(next);
            }
            self.emit(key, Some(value), partner.map(value_of), out);
            if out.is_done() {
                return;
            }
        }
    }

    #[inline]
    fn emit(&self, key: K, left: Option<V>, right: Option<W>, out: &mut Emitter<'_, (K, O)>) {
        if let Some(value) = (self.pair)(left, right) {
            out.emit((key, value));
        }
    }
}

impl<K: Key, V: Data, W: Data, F: Send + Sync> AnyLineage for Join<K, V, W, F> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.left.partitions()
    }

    fn records(&self) -> Option<u64> {
        Some(self.left.records()? + self.right.records()?)
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        visit(self.left.any());
        visit(self.right.any());
    }

    fn key_partitions(&self) -> Option<usize> {
        Some(self.partitions())
    }
}
