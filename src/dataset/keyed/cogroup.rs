#![expect(clippy::type_complexity, reason = "what comes out of a join is best read where it stands")]

use std::sync::Arc;

use crate::data::{Data, Exchange, Key, Partitions};
use crate::dataset::shuffle::{Buckets, Entry, KeyTable};
use crate::dataset::{AnyLineage, Dataset, Emitter, Flow, Header, Lineage, Sink, resuming};
use crate::error::Result;
use crate::exec::TaskContext;
use crate::id::Origin;

impl<K: Data, V: Data> Dataset<(K, V)> {
    /// Gathers by key the values of this dataset and of `other`: each key that one of them has comes once, with a list
    /// of its values from each, in no particular (but in each run the same) order. `cogroup2` and `cogroup3` take two
    /// and three others.
    ///
    /// Sides are brought together as by [`join`](Dataset::join). The pairs of a partition are in memory at once; the
    /// values of a group come in the order of their partitions.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let ships = context.parallelize([(1, 'a'), (1, 'b')], 1);
    /// let flags = context.parallelize([(1, 'x'), (2, 'y')], 1);
    /// let mut groups = ships.cogroup(&flags).collect()?;
    /// groups.sort();
    /// assert_eq!(groups, [(1, (vec!['a', 'b'], vec!['x'])), (2, (vec![], vec!['y']))]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn cogroup<W: Exchange>(&self, other: &Dataset<(K, W)>) -> Dataset<(K, (Vec<V>, Vec<W>))>
    where
        K: Key,
        V: Exchange,
    {
        let layouts = [other.lineage().key_partitions()];
        self.cogroup_with(other, self.common_layout(&layouts))
    }

    /// As [`cogroup`](Dataset::cogroup), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn cogroup_with<W: Exchange>(
        &self,
        other: &Dataset<(K, W)>,
        partitions: Partitions,
    ) -> Dataset<(K, (Vec<V>, Vec<W>))>
    where
        K: Key,
        V: Exchange,
    {
        let mut cogroup = Cogroup::<K, (Vec<V>, Vec<W>)>::new("cogroup", partitions);
        cogroup.add(self, |groups| &mut groups.0);
        cogroup.add(other, |groups| &mut groups.1);
        self.cogrouped(cogroup)
    }

    /// As [`cogroup`](Dataset::cogroup), with two others.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let side = |value| context.parallelize([(1, value)], 1);
    /// let groups = side('a').cogroup2(&side('b'), &side('c')).collect()?;
    /// assert_eq!(groups, [(1, (vec!['a'], vec!['b'], vec!['c']))]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn cogroup2<W: Exchange, X: Exchange>(
        &self,
        second: &Dataset<(K, W)>,
        third: &Dataset<(K, X)>,
    ) -> Dataset<(K, (Vec<V>, Vec<W>, Vec<X>))>
    where
        K: Key,
        V: Exchange,
    {
        let layouts = [second.lineage().key_partitions(), third.lineage().key_partitions()];
        self.cogroup2_with(second, third, self.common_layout(&layouts))
    }

    /// As [`cogroup2`](Dataset::cogroup2), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn cogroup2_with<W: Exchange, X: Exchange>(
        &self,
        second: &Dataset<(K, W)>,
        third: &Dataset<(K, X)>,
        partitions: Partitions,
    ) -> Dataset<(K, (Vec<V>, Vec<W>, Vec<X>))>
    where
        K: Key,
        V: Exchange,
    {
        let mut cogroup = Cogroup::<K, (Vec<V>, Vec<W>, Vec<X>)>::new("cogroup2", partitions);
        cogroup.add(self, |groups| &mut groups.0);
        cogroup.add(second, |groups| &mut groups.1);
        cogroup.add(third, |groups| &mut groups.2);
        self.cogrouped(cogroup)
    }

    /// As [`cogroup`](Dataset::cogroup), with three others.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let side = |value| context.parallelize([(1, value)], 1);
    /// let groups = side('a').cogroup3(&side('b'), &side('c'), &side('d')).collect()?;
    /// assert_eq!(groups, [(1, (vec!['a'], vec!['b'], vec!['c'], vec!['d']))]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn cogroup3<W: Exchange, X: Exchange, Y: Exchange>(
        &self,
        second: &Dataset<(K, W)>,
        third: &Dataset<(K, X)>,
        fourth: &Dataset<(K, Y)>,
    ) -> Dataset<(K, (Vec<V>, Vec<W>, Vec<X>, Vec<Y>))>
    where
        K: Key,
        V: Exchange,
    {
        let layouts =
            [second.lineage().key_partitions(), third.lineage().key_partitions(), fourth.lineage().key_partitions()];
        self.cogroup3_with(second, third, fourth, self.common_layout(&layouts))
    }

    /// As [`cogroup3`](Dataset::cogroup3), into so many partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    #[track_caller]
    pub fn cogroup3_with<W: Exchange, X: Exchange, Y: Exchange>(
        &self,
        second: &Dataset<(K, W)>,
        third: &Dataset<(K, X)>,
        fourth: &Dataset<(K, Y)>,
        partitions: Partitions,
    ) -> Dataset<(K, (Vec<V>, Vec<W>, Vec<X>, Vec<Y>))>
    where
        K: Key,
        V: Exchange,
    {
        let mut cogroup = Cogroup::<K, (Vec<V>, Vec<W>, Vec<X>, Vec<Y>)>::new("cogroup3", partitions);
        cogroup.add(self, |groups| &mut groups.0);
        cogroup.add(second, |groups| &mut groups.1);
        cogroup.add(third, |groups| &mut groups.2);
        cogroup.add(fourth, |groups| &mut groups.3);
        self.cogrouped(cogroup)
    }
}

impl<T: Data> Dataset<T> {
    fn cogrouped<K: Key, G: Default + Data>(&self, cogroup: Cogroup<K, G>) -> Dataset<(K, G)> {
        match cogroup.partitions.mistake() {
            Some(mistake) => self.broken(cogroup.header, mistake),
            None => self.derive(cogroup),
        }
    }
}

/// Gathers the values of any number of sides in groups: a tuple of lists, one a side.
struct Cogroup<K, G> {
    header: Header,
    partitions: Partitions,
    sides: Vec<Box<dyn Side<K, G>>>,
}

impl<K: Key, G: Default + Data> Cogroup<K, G> {
    #[track_caller]
    fn new(name: &'static str, partitions: Partitions) -> Self {
        Cogroup { header: Header::new(name), partitions, sides: Vec::new() }
    }

    /// Adds a side whose values go into the list that `list` finds in a group.
    #[track_caller]
    fn add<V: Exchange>(&mut self, dataset: &Dataset<(K, V)>, list: fn(&mut G) -> &mut Vec<V>) {
        let dataset = dataset.co_partition(Header::new(self.header.name()), self.partitions);
        self.sides.push(Box::new(Pairs { lineage: Arc::clone(dataset.lineage()), list }));
    }
}

/// A side of a cogroup, whatever its values are.
trait Side<K, G>: Send + Sync {
    fn lineage(&self) -> &dyn AnyLineage;

    /// Computes a partition.
    fn gather<'t>(
        &'t self,
        partition: usize,
        task: &TaskContext<'t>,
        origin: &'t Origin,
    ) -> Result<Box<dyn Gathered<K, G>>>;
}

/// A partition of a side.
trait Gathered<K, G> {
    /// How many buckets it is in.
    fn buckets(&self) -> usize;

    /// Cuts it into `buckets` buckets, unless it is.
    fn cut(&mut self, buckets: usize);

    /// Moves the values of a bucket into the groups of their keys.
    fn pour(&mut self, bucket: usize, groups: &mut KeyTable<K, G>);
}

struct Pairs<K, V, G> {
    lineage: Arc<dyn Lineage<(K, V)>>,
    list: fn(&mut G) -> &mut Vec<V>,
}

impl<K: Key, V: Exchange, G: Default + Data> Side<K, G> for Pairs<K, V, G> {
    fn lineage(&self) -> &dyn AnyLineage {
        self.lineage.any()
    }

    fn gather<'t>(
        &'t self,
        partition: usize,
        task: &TaskContext<'t>,
        origin: &'t Origin,
    ) -> Result<Box<dyn Gathered<K, G>>> {
        let buckets = Buckets::gather(&*self.lineage, partition, task, origin)?;
        Ok(Box::new(Values { buckets, list: self.list }))
    }
}

struct Values<K, V, G> {
    buckets: Buckets<K, V>,
    list: fn(&mut G) -> &mut Vec<V>,
}

impl<K: Key, V: Data, G: Default> Gathered<K, G> for Values<K, V, G> {
    fn buckets(&self) -> usize {
        self.buckets.len()
    }

    fn cut(&mut self, buckets: usize) {
        self.buckets.cut(buckets);
    }

    fn pour(&mut self, bucket: usize, groups: &mut KeyTable<K, G>) {
        let add = |group: &mut G, value| (self.list)(group).push(value);
        let create = |value| {
            let mut group = G::default();
            add(&mut group, value);
            group
        };
        for Entry { hash, key, value } in self.buckets.take(bucket) {
            groups.merge(hash, key, value, create, add);
        }
    }
}

impl<K: Key, G: Default + Data> Lineage<(K, G)> for Cogroup<K, G> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<(K, G)>) -> Result<Flow> {
        let origin = self.header.origin();
        let sides = self.sides.iter().map(|side| side.gather(partition, task, origin));
        let mut sides = sides.collect::<Result<Vec<_>>>()?;
        task.enter(origin);
        // One bucket after the other: the table of one fits into a cache.
        let buckets = sides.iter().map(|side| side.buckets()).max().unwrap_or(0);
        sides.iter_mut().for_each(|side| side.cut(buckets));
        let mut groups = KeyTable::new();
        let mut down = resuming(task, origin, sink);
        let mut out = Emitter::new(&mut down);
        for bucket in 0..buckets {
            sides.iter_mut().for_each(|side| side.pour(bucket, &mut groups));
            out.extend(groups.drain().map(|group| (group.key, group.value)));
            if out.is_done() {
                break;
            }
        }
        out.finish()
    }
}

impl<K: Key, G: Data> AnyLineage for Cogroup<K, G> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.partitions.get()
    }

    fn records(&self) -> Option<u64> {
        self.sides.iter().map(|side| side.lineage().records()).sum()
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        self.sides.iter().for_each(|side| visit(side.lineage()));
    }

    fn key_partitions(&self) -> Option<usize> {
        Some(self.partitions())
    }
}
