use std::sync::OnceLock;

use crate::data::Data;
use crate::dataset::{AnyLineage, Chunk, Dataset, Flow, Header, Lineage, Note, Sink, chunk_len};
use crate::error::Result;
use crate::exec::TaskContext;

impl<T: Data> Dataset<T> {
    /// Numbers the records from 0 on, in the order of the partitions.
    ///
    /// Where a partition begins follows from how many records the earlier ones have: the first action counts all
    /// partitions but the last, which means to compute them. [Persist](Dataset::persist) what is dear, or
    /// use [`zip_with_unique_id`](Dataset::zip_with_unique_id).
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let places = context.parallelize(["gold", "silver", "bronze"], 2).zip_with_index();
    /// assert_eq!(places.collect()?, [("gold", 0), ("silver", 1), ("bronze", 2)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn zip_with_index(&self) -> Dataset<(T, u64)> {
        self.derive(Numbered {
            header: Header::new("zip_with_index"),
            parent: self.clone(),
            numbers: Numbers::Consecutive { firsts: OnceLock::new() },
        })
    }

    /// Gives every record a number of its own, without counting first: record `i` of partition `p` gets `i * n + p`,
    /// where `n` is the number of partitions. There are gaps where partitions differ in length.
    ///
    /// # Examples
    ///
    /// ```
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let tickets = context.parallelize(["a", "b", "c"], 2).zip_with_unique_id();
    /// assert_eq!(tickets.collect()?, [("a", 0), ("b", 1), ("c", 3)]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn zip_with_unique_id(&self) -> Dataset<(T, u64)> {
        let header = Header::new("zip_with_unique_id");
        self.derive(Numbered { header, parent: self.clone(), numbers: Numbers::Interleaved })
    }
}

struct Numbered<T> {
    header: Header,
    parent: Dataset<T>,
    numbers: Numbers,
}

enum Numbers {
    /// One partition goes on where the one before ended. The number that each begins with is known once it is asked
    /// for.
    Consecutive { firsts: OnceLock<Vec<u64>> },
    /// Each partition takes every n-th.
    Interleaved,
}

impl<T: Data> Lineage<(T, u64)> for Numbered<T> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<(T, u64)>) -> Result<Flow> {
        let origin = self.header.origin();
        let (mut number, step) = match &self.numbers {
            Numbers::Consecutive { firsts } => (firsts.get().expect("counted before tasks run")[partition], 1),
            Numbers::Interleaved => (partition as u64, self.parent.num_partitions() as u64),
        };
        let mut out = Vec::with_capacity(chunk_len::<(T, u64)>());
        self.parent.lineage().compute(partition, task, &mut |chunk: Chunk<'_, T>| {
            task.enter(origin);
            out.clear();
            chunk.map_into(&mut out, |record| {
                let numbered = (record, number);
                number += step;
                numbered
            });
            sink.push(Chunk::Owned(&mut out))
        })
    }
}

impl<T: Data> AnyLineage for Numbered<T> {
    fn header(&self) -> &Header {
        &self.header
    }

    fn partitions(&self) -> usize {
        self.parent.num_partitions()
    }

    fn records(&self) -> Option<u64> {
        self.parent.lineage().records()
    }

    fn parents(&self, visit: &mut dyn FnMut(&dyn AnyLineage)) {
        visit(self.parent.lineage().any());
    }

    fn note(&self) -> Option<Note> {
        self.parent.lineage().note()
    }

    fn prepare(&self) -> Result<()> {
        let Numbers::Consecutive { firsts } = &self.numbers else { return Ok(()) };
        if firsts.get().is_none() {
            let counted: Vec<usize> = (0..self.parent.num_partitions().saturating_sub(1)).collect();
            let mut first = 0;
            let mut found = vec![first];
            for count in self.parent.count_on(&counted)? {
                first += count;
                found.push(first);
            }
            firsts.get_or_init(|| found);
        }
        Ok(())
    }
}
