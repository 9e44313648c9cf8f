use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use super::offset_store::{CommitError, OffsetStore};
use crate::error::{Error, ErrorKind, Result};
use crate::input::kafka::client::{Committed, Planner};
use crate::input::kafka::topic_partition::TopicPartition;
use crate::time::{Clock, Time};

/// How often, at most, it is looked whether somebody else commits to the group.
const LOOK: Duration = Duration::from_secs(1);

/// The committed offsets of a group that nobody joins.
///
/// Brokers let anybody commit to such a group. So every commit carries a mark of this stream as its metadata, and
/// before a commit it is looked, now and then, whose mark the group has: somebody else's means that two programs
/// overwrite each other's place, and that is an error.
pub(in crate::input::kafka) struct GroupOffsets {
    planner: Arc<Planner>,
    /// For each question and each commit.
    timeout: Duration,
    mark: String,
    clock: Clock,
    seen: Mutex<Seen>,
}

struct Seen {
    /// What the group had when the stream came to a partition.
    before: HashMap<TopicPartition, Option<Committed>>,
    /// What was committed last.
    sent: HashMap<TopicPartition, i64>,
    looked: Time,
}

impl GroupOffsets {
    pub(in crate::input::kafka) fn new(planner: Arc<Planner>, timeout: Duration) -> Self {
        let unique = RandomState::new().build_hasher().finish();
        let mark = format!("tidemill pid {} {unique:016x}", std::process::id());
        let clock = Clock::system();
        let seen = Seen { before: HashMap::new(), sent: HashMap::new(), looked: clock.now() };
        GroupOffsets { planner, timeout, mark, clock, seen: Mutex::new(seen) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if somebody else has committed.
    fn look(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), CommitError> {
        let partitions: Vec<TopicPartition> = offsets.iter().map(|(partition, _)| partition.clone()).collect();
        let found = self.planner.committed(&partitions, self.timeout).map_err(|unanswered| {
            let is_temporary = unanswered.code.is_some_and(is_temporary);
            let error = unanswered.error("it could not be looked who else commits");
            if is_temporary { CommitError::Temporary(error) } else { CommitError::Refused(error) }
        })?;
        let seen = self.seen();
        for (partition, found) in partitions.iter().zip(found) {
            // Nothing at all: it was deleted or has expired, and nobody's place is overwritten.
            let Some(found) = found else { continue };
            let before = seen.before.get(partition).and_then(Option::as_ref);
            if *found.metadata != *self.mark.as_bytes() && before != Some(&found) {
                return Err(CommitError::Refused(self.somebody_else(partition, &found, &seen)));
            }
        }
        Ok(())
    }

    /// The next commit looks, however long ago the last one did.
    #[cfg(test)]
    pub(in crate::input::kafka) fn look_at_once(&self) {
        self.seen().looked = Time::ZERO;
    }

    #[cold]
    fn somebody_else(&self, partition: &TopicPartition, found: &Committed, seen: &Seen) -> Error {
        let before = seen.before.get(partition).and_then(Option::as_ref).map(|before| before.offset);
        let expected = match (seen.sent.get(partition), before) {
            (Some(sent), _) => format!("this stream has committed {sent}"),
            (None, Some(before)) => format!("the stream has found {before} at its start"),
            (None, None) => "the stream has found nothing at its start".to_string(),
        };
        let by = match &*found.metadata {
            [] => String::new(),
            mark => format!(", committed by `{}`", String::from_utf8_lossy(mark)),
        };
        let message = format!(
            "another stream or program commits to group {}: in {partition} {expected}, and the group now has {}{by}; \
             give each of them a group id of its own, and reset offsets only while no stream uses them",
            self.planner.group(),
            found.offset
        );
        Error::new(ErrorKind::Input, message)
    }

    fn error(&self, code: RDKafkaErrorCode) -> CommitError {
        let mut message = code.to_string();
        if let Some(said) = self.planner.take_error() {
            message.push_str(&format!(" ({said})"));
        }
        if is_for_members(code) {
            let group = self.planner.group();
            message.push_str(&format!(
                ": group {group} has members, so another consumer has joined it, which this stream does not; give the \
                 stream a group id of its own"
            ));
        }
        let error = Error::new(ErrorKind::Input, message);
        if is_temporary(code) { CommitError::Temporary(error) } else { CommitError::Refused(error) }
    }
}

impl OffsetStore for GroupOffsets {
    fn name(&self) -> String {
        format!("group {}", self.planner.group())
    }

    fn load(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>> {
        let found = self.planner.ask_until_ready(self.timeout, |timeout| self.planner.committed(partitions, timeout));
        let found = found.map_err(|unanswered| {
            let (group, brokers) = (self.planner.group(), self.planner.brokers());
            unanswered.error(&format!("the committed offsets of group {group} cannot be read (brokers {brokers})"))
        })?;
        let offsets = found.iter().map(|found| found.as_ref().map(|found| found.offset)).collect();
        let mut seen = self.seen();
        seen.looked = self.clock.now();
        seen.before.extend(partitions.iter().cloned().zip(found));
        Ok(offsets)
    }

    fn commit(&self, offsets: &[(TopicPartition, i64)]) -> Result<(), CommitError> {
        let now = self.clock.now();
        // Brokers are asked without the lock, or whoever loads would wait for their answer to somebody else.
        let looked = self.seen().looked;
        if now - looked >= LOOK {
            self.look(offsets)?;
            self.seen().looked = now;
        }
        let each = offsets.iter().map(|(partition, offset)| (partition, *offset));
        let mut commit = self.planner.commit(each, &self.mark).map_err(|code| self.error(code))?;
        let outcome = commit.outcome(self.timeout).unwrap_or(Err(RDKafkaErrorCode::OperationTimedOut));
        outcome.map_err(|code| self.error(code))?;
        self.seen().sent.extend(offsets.iter().cloned());
        Ok(())
    }
}

/// Whether a commit may succeed later.
fn is_temporary(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::LeaderNotAvailable
            | Code::MessageTimedOut
            | Code::NetworkException
            | Code::NotCoordinator
            | Code::NotLeaderForPartition
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::Resolve
            | Code::TimedOutQueue
            | Code::WaitingForCoordinator
    )
}

/// Whether only members of a group are told so, and those who commit to it from outside.
fn is_for_members(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::FencedInstanceId
            | Code::IllegalGeneration
            | Code::RebalanceInProgress
            | Code::StaleMemberEpoch
            | Code::UnknownMemberId
    )
}
