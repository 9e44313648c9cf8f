use std::sync::{Arc, MutexGuard};

use super::transfer::{ShuffleBlock, ShuffleMap, Transfer};
use crate::codec;
use crate::data::{Data, Exchange, Key, Partitions, hash_key, part_of};
use crate::dataset::narrow::push_shared;
use crate::dataset::{AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Sink};
use crate::error::Result;
use crate::exec::{ShuffleId, TaskContext};

/// Says where each record of a dataset goes. The same record goes to the same place however often it is asked.
pub(in crate::dataset) trait Place<T>: Send + Sync + 'static {
    /// Gets ready, on the thread of the action, before the first record is placed.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    /// The partition, of as many as the shuffle has, that a record goes to: the one at `index` of the parent's
    /// partition `from`.
    fn place(&self, from: usize, index: usize, record: &T) -> usize;

    /// Whether records are pairs that are placed by the hash of their key.
    fn is_by_key(&self) -> bool {
        false
    }
}

impl<T: Data> Dataset<T> {
    /// The shuffle that moves every record to its place and leaves it as it is. Records of a partition come in the
    /// order of the partitions they come from.
    pub(in crate::dataset) fn scatter_with(
        &self,
        header: Header,
        place: impl Place<T>,
        partitions: Partitions,
    ) -> Dataset<T>
    where
        T: Exchange,
    {
        if let Some(mistake) = partitions.mistake() {
            return self.broken(header, mistake);
        }
        let transfer = Transfer::new(self.runtime(), self.num_partitions(), partitions.get());
        self.derive(Scattered { header, parent: Arc::clone(self.lineage()), place, transfer })
    }

    /// Deals the records out to `partitions` partitions of the same size, give or take one for each partition that
    /// there was: more for more parallel work, fewer for fewer and larger files. Every record crosses a shuffle.
    ///
    /// Spark begins to deal at random; here the records of partition `n` are dealt from partition `n` on, so that a batch
    /// that is computed again has the same partitions.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let four = context.parallelize(1..=8, 2).repartition(4);
    /// assert_eq!(four.collect_partitions()?, [[1, 8], [2, 5], [3, 6], [4, 7]]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn repartition(&self, partitions: usize) -> Dataset<T>
    where
        T: Exchange,
    {
        self.scatter_with(Header::new("repartition"), RoundRobin(partitions), Partitions::new(partitions))
    }
}

impl<K: Data, V: Data> Dataset<(K, V)> {
    /// Moves every pair to the partition that the hash of its key says. What then works on the keys in as many
    /// partitions (a reduction, a join) finds the pairs where they have to be and moves none.
    ///
    /// A dataset that is so partitioned already comes back as it is. Within a partition pairs keep their order.
    ///
    /// # Errors
    ///
    /// Of every action, if the number is not from 1 to 4096.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// use tidemill::Partitions;
    ///
    /// let visits = context.parallelize([(7, 'a'), (8, 'b'), (7, 'c')], 3).partition_by(Partitions::new(2));
    /// let of_seven = |part: &Vec<(i32, char)>| part.iter().filter(|(key, _)| *key == 7).count();
    /// assert!(visits.collect_partitions()?.iter().map(of_seven).all(|pairs| pairs == 0 || pairs == 2));
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn partition_by(&self, partitions: Partitions) -> Dataset<(K, V)>
    where
        K: Key,
        V: Exchange,
    {
        self.co_partition(Header::new("partition_by"), partitions)
    }
}

impl<K: Key, V: Exchange> Dataset<(K, V)> {
    /// See [`partition_by`](Dataset::partition_by).
    pub(in crate::dataset) fn co_partition(&self, header: Header, partitions: Partitions) -> Dataset<(K, V)> {
        if self.lineage().key_partitions() == Some(partitions.get()) {
            return self.clone();
        }
        self.scatter_with(header, ByKey(partitions.get()), partitions)
    }

    /// The partitions to bring this dataset and others of these layouts together in: those that all of them lie in; else
    /// the most that one of them lies in, if that is not less than the default.
    pub(in crate::dataset) fn common_layout(&self, others: &[Option<usize>]) -> Partitions {
        let own = self.lineage().key_partitions();
        let default = self.runtime().default_partitions();
        let most = others.iter().copied().fold(own, Option::max).map(Partitions::new);
        let lie_alike = others.iter().all(|other| *other == own);
        most.filter(|most| lie_alike || most.get() >= default.get()).unwrap_or(default)
    }
}

struct RoundRobin(usize);

impl<T> Place<T> for RoundRobin {
    fn place(&self, from: usize, index: usize, _: &T) -> usize {
        (from + index) % self.0
    }
}

struct ByKey(usize);

impl<K: Key, V> Place<(K, V)> for ByKey {
    fn place(&self, _: usize, _: usize, (key, _): &(K, V)) -> usize {
        part_of(hash_key(key), self.0)
    }

    fn is_by_key(&self) -> bool {
        true
    }
}

/// Records as they came, for one partition.
struct Records<T>(Vec<T>);

impl<T: Exchange> ShuffleBlock for Records<T> {
    fn records(&self) -> usize {
        self.0.len()
    }

    fn encode(self) -> Result<Arc<[u8]>> {
        let mut bytes = Vec::new();
        codec::encode_frame(&self.0, &mut bytes)?;
        Ok(bytes.into())
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        codec::decode_frame(bytes).map(|(records, _)| Records(records))
    }
}

struct Scattered<T, P> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    place: P,
    transfer: Transfer,
}

impl<T: Exchange, P: Place<T>> ShuffleMap for Scattered<T, P> {
    fn id(&self) -> ShuffleId {
        self.transfer.id()
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.transfer.turn()
    }

    fn map_tasks(&self) -> usize {
        self.parent.partitions()
    }

    fn map_records(&self) -> Option<u64> {
        self.parent.records()
    }

    fn has_run(&self, map: usize) -> bool {
        self.transfer.has_run(map)
    }

    fn run_map_task<'t>(&'t self, partition: usize, task: &TaskContext<'t>) -> Result<()> {
        let origin = self.header.origin();
        let mut lists: Vec<Vec<T>> = (0..self.transfer.partitions()).map(|_| Vec::new()).collect();
        let mut index = 0;
        let _ = self.parent.compute(partition, task, &mut |chunk: Chunk<'_, T>| {
            task.enter(origin);
            chunk.for_each(|record| {
                lists[self.place.place(partition, index, &record)].push(record);
                index += 1;
            });
            Ok(Flow::Continue(()))
        })?;
        task.enter(origin);
        self.transfer.put(partition, lists.into_iter().map(Records).collect())
    }
}

impl<T: Exchange, P: Place<T>> Lineage<T> for Scattered<T, P> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<T>) -> Result<Flow> {
        task.enter(self.header.origin());
        let blocks: Vec<Arc<Records<T>>> = self.transfer.blocks(self, partition, task)?;
        for block in blocks {
            if push_shared(&block.0, sink)?.is_break() {
                return Ok(Flow::Break(()));
            }
            task.enter(self.header.origin());
        }
        Ok(Flow::Continue(()))
    }
}

impl<T: Exchange, P: Place<T>> AnyLineage for Scattered<T, P> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.transfer.partitions()
    }

    fn records(&self) -> Option<u64> {
        Some(self.transfer.records())
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        visit(self.parent.any());
    }

    fn shuffle(&self) -> Option<&dyn ShuffleMap> {
        Some(self)
    }

    fn prepare(&self) -> Result<()> {
        self.place.prepare()
    }

    fn key_partitions(&self) -> Option<usize> {
        self.place.is_by_key().then(|| self.transfer.partitions())
    }
}
