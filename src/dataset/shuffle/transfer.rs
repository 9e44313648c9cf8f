use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Adds, Block, Runtime, ShuffleId, TaskContext};

/// What one map task writes for one reduce partition.
pub(super) trait ShuffleBlock: Send + Sync + Sized + 'static {
    fn records(&self) -> usize;
    fn encode(self) -> Result<Arc<[u8]>>;
    fn decode(bytes: &[u8]) -> Result<Self>;
}

/// A stage that writes the blocks of a shuffle.
pub(crate) trait ShuffleMap: Send + Sync {
    fn id(&self) -> ShuffleId;

    /// Held by whoever runs the map tasks: jobs and slices may ask for one shuffle at the same time, and its tasks run
    /// once.
    fn turn(&self) -> MutexGuard<'_, ()>;

    fn map_tasks(&self) -> usize;

    /// How many records the map tasks will look at, when that is known.
    fn map_records(&self) -> Option<u64>;

    /// Whether a map task has succeeded before: running it again, since its blocks were lost, adds nothing to
    /// accumulators.
    fn has_run(&self, map: usize) -> bool;

    fn run_map_task<'t>(&'t self, partition: usize, task: &TaskContext<'t>) -> Result<()>;
}

/// One shuffle in the store: map tasks put their blocks in, the reduce side takes them out. Dropping it frees them.
pub(super) struct Transfer {
    id: ShuffleId,
    runtime: Runtime,
    partitions: usize,
    turn: Mutex<()>,
    /// How many records each map task wrote.
    written: Vec<OnceLock<u64>>,
}

impl Transfer {
    pub(super) fn new(runtime: &Runtime, map_tasks: usize, partitions: usize) -> Self {
        let written = (0..map_tasks).map(|_| OnceLock::new()).collect();
        Transfer { id: runtime.next_shuffle(), runtime: runtime.clone(), partitions, turn: Mutex::new(()), written }
    }

    pub(super) fn id(&self) -> ShuffleId {
        self.id
    }

    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn partitions(&self) -> usize {
        self.partitions
    }

    /// How many records the map tasks have written.
    pub(super) fn records(&self) -> u64 {
        self.written.iter().filter_map(OnceLock::get).sum()
    }

    /// Whether a map task has written its blocks, and be it that they were lost since.
    pub(super) fn has_run(&self, map: usize) -> bool {
        self.written[map].get().is_some()
    }

    /// Takes what a map task wrote: one block for each partition, in order.
    pub(super) fn put(&self, map: usize, blocks: Vec<impl ShuffleBlock>) -> Result<()> {
        let records: usize = blocks.iter().map(ShuffleBlock::records).sum();
        let store = self.runtime.shuffles();
        let blocks = if store.wants_bytes() {
            blocks.into_iter().map(|block| block.encode().map(Block::Encoded)).collect::<Result<_>>()?
        } else {
            blocks.into_iter().map(|block| Block::Typed(Arc::new(block))).collect()
        };
        store.put(self.id, map, blocks);
        self.written[map].get_or_init(|| records as u64);
        Ok(())
    }

    /// What the map tasks of `shuffle`, which this transfer belongs to, wrote for a partition, in their order. What the
    /// store has lost since is written again.
    pub(super) fn blocks<'t, B: ShuffleBlock>(
        &self,
        shuffle: &'t dyn ShuffleMap,
        partition: usize,
        task: &TaskContext<'t>,
    ) -> Result<Vec<Arc<B>>> {
        let get = || self.runtime.shuffles().get(self.id, shuffle.map_tasks(), partition);
        let mut blocks = get();
        let lost: Vec<usize> = (0..blocks.len()).filter(|&map| blocks[map].is_none()).collect();
        if !lost.is_empty() {
            tracing::warn!(shuffle = ?self.id, ?lost, "blocks of a shuffle were lost and are computed again");
            let _uncounted = Adds::keep_apart();
            lost.into_iter().try_for_each(|map| shuffle.run_map_task(map, task))?;
            blocks = get();
        }
        blocks.into_iter().enumerate().map(|(map, block)| open(map, block)).collect()
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.runtime.shuffles().remove(self.id);
    }
}

fn open<B: ShuffleBlock>(map: usize, block: Option<Block>) -> Result<Arc<B>> {
    let wrong = |what: &str| Error::new(ErrorKind::Internal, format!("the block of map task {map} {what}"));
    match block {
        None => Err(wrong("is not in the shuffle store")),
        Some(Block::Typed(any)) => any.downcast().map_err(|_| wrong("has another type")),
        Some(Block::Encoded(bytes)) => {
            B::decode(&bytes).map(Arc::new).map_err(|e| wrong("cannot be read").caused_by(e))
        }
    }
}
