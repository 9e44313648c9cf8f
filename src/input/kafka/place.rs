mod commit_handle;
mod committer;
mod file_offsets;
mod group_offsets;
mod offset_store;
mod transaction_offsets;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use self::committer::Committer;
use super::client::Planner;
use super::params::{Commits, KafkaParams};
use super::topic_partition::TopicPartition;
use crate::error::{Error, ErrorKind, OnError, Result};
use crate::input::{Claim, SourceContext};

pub use commit_handle::CommitHandle;
pub(super) use committer::{NOWHERE, Positions, Progress};
pub use file_offsets::FileOffsetStore;
pub(super) use group_offsets::GroupOffsets;
pub use offset_store::{CommitError, OffsetStore};
pub use transaction_offsets::TransactionOffsets;

/// Where a stream keeps its place, and who moves it: nobody, its committer, or the program through the committer.
pub(super) struct Place {
    stream: String,
    store: Arc<dyn OffsetStore>,
    /// In which Kafka cluster the store is, if it is there.
    cluster: String,
    commits: Commits,
    start_timeout: Duration,
    max_outage: Duration,
    context: SourceContext,
    /// That no other stream of the context commits for the same partitions.
    claims: BTreeMap<TopicPartition, Claim>,
    committer: Option<Committer>,
}

impl Place {
    /// The place of a stream that starts. Takes the store of the parameters, so that it goes with the stream.
    pub(super) fn new(stream: &str, params: &mut KafkaParams, planner: &Arc<Planner>, context: &SourceContext) -> Self {
        let (store, cluster): (Arc<dyn OffsetStore>, _) = match params.store.take() {
            Some(store) => (store, String::new()),
            None => {
                let store = GroupOffsets::new(Arc::clone(planner), params.start_timeout);
                (Arc::new(store), format!(" at {}", planner.cluster(params.start_timeout)))
            }
        };
        Place {
            stream: stream.to_string(),
            store,
            cluster,
            commits: params.commits.clone(),
            start_timeout: params.start_timeout,
            max_outage: params.max_outage,
            context: context.clone(),
            claims: BTreeMap::new(),
            committer: None,
        }
    }

    /// What the store is called in errors.
    pub(super) fn name(&self) -> String {
        self.store.name()
    }

    /// What is kept for partitions that the stream begins to read. Before the stream starts, and for those that appear
    /// later.
    pub(super) fn load(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>> {
        self.claim(partitions)?;
        let offsets = self.store.load(partitions)?;
        if offsets.len() != partitions.len() {
            let message = format!(
                "{}: {} was asked for the offsets of {} partitions and has answered {}",
                self.stream,
                self.store.name(),
                partitions.len(),
                offsets.len()
            );
            return Err(Error::new(ErrorKind::Input, message));
        }
        Ok(offsets)
    }

    fn claim(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        if matches!(self.commits, Commits::Never) {
            return Ok(());
        }
        let store = self.store.name();
        for partition in partitions {
            let Entry::Vacant(new) = self.claims.entry(partition.clone()) else { continue };
            let what = format!("the place in {partition} that {store} keeps{}", self.cluster);
            new.insert(self.context.claim(what, &self.stream).map_err(|taken| {
                let message = format!("{taken}: give each stream a group id, or an offset store, of its own");
                Error::new(ErrorKind::Config, message)
            })?);
        }
        Ok(())
    }

    /// Begins to commit for partitions, each with its start, of which `kept` was loaded. Where nothing was kept, that is
    /// where the stream starts: a program that fails before its first batch is done then starts again at the same
    /// records. It also shows early if the stream may not commit.
    pub(super) fn join(&mut self, joining: &[(TopicPartition, i64)], kept: &[Option<i64>]) -> Result<()> {
        if matches!(self.commits, Commits::Never) {
            return Ok(());
        }
        let new: Vec<_> =
            joining.iter().zip(kept).filter(|(_, kept)| kept.is_none()).map(|(new, _)| new.clone()).collect();
        if !new.is_empty() {
            committer::commit_now(&*self.store, &new, self.start_timeout)?;
        }
        if self.committer.is_none() {
            // A stream that was told to start elsewhere moves its place with its first batch, be it backwards.
            let is_committed =
                |(start, kept): &(&(TopicPartition, i64), &Option<i64>)| kept.is_none_or(|kept| kept == start.1);
            self.begin(joining.iter().zip(kept).filter(is_committed).map(|(start, _)| start.clone()).collect())?;
        }
        if let Commits::Manually(handle) = &self.commits {
            handle.add(joining.iter().map(|(partition, _)| partition));
        }
        Ok(())
    }

    /// Starts the committer, with what is committed.
    fn begin(&mut self, committed: BTreeMap<TopicPartition, i64>) -> Result<()> {
        let failing = self.context.clone();
        let fail: OnError = Arc::new(move |error| failing.fail(error));
        let committer = Committer::start(&self.stream, Arc::clone(&self.store), committed, self.max_outage, &fail)?;
        if let Commits::Manually(handle) = &self.commits {
            handle.connect(&self.stream, committer.requests(), committer.thread(), self.max_outage)?;
        }
        self.committer = Some(committer);
        Ok(())
    }

    /// All outputs are done with what precedes these positions.
    pub(super) fn done(&self, progress: Progress) {
        if let (Commits::AfterOutputs, Some(committer)) = (&self.commits, &self.committer) {
            committer.done(progress);
        }
    }

    /// Commits what was asked for, and lets go of the store.
    pub(super) fn stop(mut self, timeout: Duration) -> Result<()> {
        self.disconnect();
        let committer = self.committer.take();
        // The committer's thread is the last that uses the store, and may have to leave it behind.
        drop(self);
        committer.map_or(Ok(()), |committer| committer.stop(timeout))
    }

    fn disconnect(&self) {
        if let (Commits::Manually(handle), Some(_)) = (&self.commits, &self.committer) {
            handle.disconnect();
        }
    }
}

impl Drop for Place {
    /// For a stream that has failed to start.
    fn drop(&mut self) {
        self.disconnect();
    }
}
