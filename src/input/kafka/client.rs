use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};

use super::native::{self, Commit, TopicId, TopicIds};
use super::params::KafkaParams;
use super::topic_partition::TopicPartition;
use crate::brokers::{not_accepted, text};
use crate::error::{Error, ErrorKind, Result};
use crate::time::{Clock, Time};

pub(super) use crate::brokers::Events;

impl ConsumerContext for Events {}

/// Creates a client. No connection is made yet.
pub(super) fn create(config: &ClientConfig) -> Result<Arc<BaseConsumer<Events>>> {
    config.create_with_context(Events::default()).map(Arc::new).map_err(not_accepted)
}

/// Lets librdkafka tell a client what it has to, without waiting. Returns the place of a record that came with it, and
/// is lost: those of partitions come by queues of their own.
pub(super) fn serve(consumer: &BaseConsumer<Events>) -> Option<String> {
    // Each call takes one event and does not say if there was one.
    const EVENTS: usize = 16;
    let mut stray = None;
    for _ in 0..EVENTS {
        if let Some(Ok(record)) = consumer.poll(Duration::ZERO) {
            stray
                .get_or_insert_with(|| format!("{}/{} offset {}", record.topic(), record.partition(), record.offset()));
        }
    }
    stray
}

/// The last thing that went wrong with the connections of a client, since it was last asked.
pub(super) fn take_error(consumer: &BaseConsumer<Events>) -> Option<String> {
    // A failed connection is logged many times before it is reported.
    const ROUNDS: usize = 32;
    (0..ROUNDS).for_each(|_| drop(serve(consumer)));
    consumer.context().take_error()
}

/// A question that the brokers did not answer, or not in full.
#[derive(Debug)]
pub(super) struct Unanswered {
    what: String,
    /// What librdkafka has said of the connections.
    said: Option<String>,
    pub(super) code: Option<RDKafkaErrorCode>,
    /// On the heap, so that an answer is not as large as this.
    cause: Option<Box<KafkaError>>,
}

impl Unanswered {
    fn new(what: String, code: Option<RDKafkaErrorCode>) -> Self {
        Unanswered { what, said: None, code, cause: None }
    }

    /// One line, without the question.
    pub(super) fn why(&self) -> String {
        match &self.said {
            Some(said) => format!("{} ({said})", self.what),
            None => self.what.clone(),
        }
    }

    /// Whether the brokers are only not ready yet: a coordinator that is being found, a topic that was just made.
    fn is_passing(&self) -> bool {
        use RDKafkaErrorCode::{
            CoordinatorLoadInProgress, CoordinatorNotAvailable, LeaderNotAvailable, NotCoordinator,
            NotLeaderForPartition, WaitingForCoordinator,
        };
        matches!(
            self.code,
            Some(
                CoordinatorLoadInProgress
                    | CoordinatorNotAvailable
                    | LeaderNotAvailable
                    | NotCoordinator
                    | NotLeaderForPartition
                    | WaitingForCoordinator
            )
        )
    }

    /// Whether no broker has been heard of in time.
    fn is_silence(&self) -> bool {
        use RDKafkaErrorCode::{BrokerTransportFailure, OperationTimedOut, RequestTimedOut};
        matches!(self.code, Some(BrokerTransportFailure | OperationTimedOut | RequestTimedOut))
    }

    /// The error for people: what was asked, and what to do.
    pub(super) fn error(self, what: &str) -> Error {
        let error = Error::new(ErrorKind::Input, format!("{what}: {}", self.why()));
        match self.cause {
            Some(cause) => error.caused_by(*cause),
            None => error,
        }
    }
}

/// Asks the brokers for everything but records. It fetches nothing, so that no question waits behind a fetch.
pub(super) struct Planner {
    consumer: Arc<BaseConsumer<Events>>,
    brokers: String,
    group: String,
}

impl Planner {
    pub(super) fn new(params: &KafkaParams, config: &ClientConfig) -> Result<Self> {
        let consumer = create(config)?;
        Ok(Planner { consumer, brokers: params.brokers.clone(), group: params.group()?.to_string() })
    }

    pub(super) fn brokers(&self) -> &str {
        &self.brokers
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Lets librdkafka tell what it has to, without waiting.
    pub(super) fn serve(&self) {
        // It fetches nothing.
        let _ = serve(&self.consumer);
    }

    /// Asks again while the brokers are not ready, for `timeout` in all. `ask` is told how long it may wait: at first
    /// shortly, then longer, so that brokers which do not let us in are noticed at once and slow ones have their time.
    pub(super) fn ask_until_ready<A>(
        &self,
        timeout: Duration,
        mut ask: impl FnMut(Duration) -> Result<A, Unanswered>,
    ) -> Result<A, Unanswered> {
        const PAUSE: Duration = Duration::from_millis(100);
        const FIRST: Duration = Duration::from_millis(500);
        let clock = Clock::system();
        let deadline = clock.now() + timeout;
        let (mut patience, mut said) = (FIRST, None);
        loop {
            let left = deadline - clock.now();
            // The last question has at least half of the time.
            let mut unanswered = match ask(if left < 3 * patience { left } else { patience }) {
                Ok(answer) => {
                    self.serve();
                    self.consumer.context().forget();
                    return Ok(answer);
                }
                Err(unanswered) => unanswered,
            };
            // librdkafka says it once.
            said = unanswered.said.take().or(said);
            let is_silence = unanswered.is_silence();
            if is_silence {
                if let Some(refusal) = self.consumer.context().refusal() {
                    unanswered.said = Some(refusal);
                    return Err(unanswered);
                }
                patience *= 2;
            }
            if !(is_silence || unanswered.is_passing()) || clock.now() + PAUSE >= deadline {
                unanswered.said = said;
                return Err(unanswered);
            }
            // An alarm of the system clock always rings.
            let _ = clock.alarm(clock.now() + PAUSE).recv();
        }
    }

    /// How many partitions a topic has; `None` if there is no such topic.
    pub(super) fn partitions(&self, topic: &str, timeout: Duration) -> Result<Option<usize>, Unanswered> {
        let metadata = self.consumer.fetch_metadata(Some(topic), timeout).map_err(|error| self.unanswered(error))?;
        let Some(topic) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => Ok(Some(topic.partitions().len()).filter(|count| *count > 0)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(code) => Err(Unanswered::new(code.to_string(), Some(code))),
        }
    }

    /// All topics with the number of their partitions, or why that is not known right now.
    pub(super) fn topics(&self, timeout: Duration) -> Result<BTreeMap<String, Result<usize, Unanswered>>, Unanswered> {
        let metadata = self.consumer.fetch_metadata(None, timeout).map_err(|error| self.unanswered(error))?;
        let counts = metadata.topics().iter().map(|topic| {
            let count = match topic.error().map(RDKafkaErrorCode::from) {
                None => Ok(topic.partitions().len()),
                Some(code) => Err(Unanswered::new(code.to_string(), Some(code))),
            };
            (topic.name().to_string(), count)
        });
        Ok(counts.collect())
    }

    /// Asks for the ids of topics, and waits for nothing. `None` if librdkafka does not take the question.
    pub(super) fn ask_for_topic_ids<'t>(
        &self,
        topics: impl Iterator<Item = &'t str>,
        patience: Duration,
    ) -> Option<TopicIds> {
        TopicIds::ask(&self.consumer, topics, patience).ok()
    }

    /// The ids of those of the topics that exist. Waits for them.
    pub(super) fn topic_ids(&self, topics: &[String], timeout: Duration) -> Result<BTreeMap<String, TopicId>> {
        let answer = match TopicIds::ask(&self.consumer, topics.iter().map(String::as_str), timeout) {
            // librdkafka answers by then; the rest is for a machine that is busy.
            Ok(asked) => asked.wait(timeout + Duration::from_secs(1)),
            Err(code) => Some(Err(code)),
        };
        answer.unwrap_or(Err(RDKafkaErrorCode::OperationTimedOut)).map_err(|code| {
            let message = format!("the ids of the topics cannot be read (brokers {}): {code}", self.brokers);
            Error::new(ErrorKind::Input, message)
        })
    }

    /// The offset after the last record of each partition, in one round trip. `None` for a partition whose leader did
    /// not answer, with the reason of the first of them.
    pub(super) fn ends(&self, of: &[TopicPartition], timeout: Duration) -> Result<Offsets, Unanswered> {
        self.offsets(of, Offset::End, timeout)
    }

    /// The offset of the first record that each partition still has; otherwise as `ends`.
    pub(super) fn beginnings(&self, of: &[TopicPartition], timeout: Duration) -> Result<Offsets, Unanswered> {
        self.offsets(of, Offset::Beginning, timeout)
    }

    /// The offset of the first record of each partition that is as young as a time; `None` if there is none. Otherwise
    /// as `ends`.
    pub(super) fn at_times(&self, of: &[(TopicPartition, Time)], timeout: Duration) -> Result<Offsets, Unanswered> {
        let (of, times): (Vec<_>, Vec<_>) = of.iter().cloned().unzip();
        // The next whole millisecond; before 1970 numbers have other meanings.
        let millis = |time: Time| time.as_micros().saturating_add(999).div_euclid(1000).max(0);
        let millis = times.into_iter().map(|time| Offset::Offset(millis(time)));
        self.offsets_for(&of, list(of.iter().zip(millis)), timeout)
    }

    fn offsets(&self, of: &[TopicPartition], which: Offset, timeout: Duration) -> Result<Offsets, Unanswered> {
        self.offsets_for(of, list(of.iter().map(|partition| (partition, which))), timeout)
    }

    fn offsets_for(
        &self,
        of: &[TopicPartition],
        times: TopicPartitionList,
        timeout: Duration,
    ) -> Result<Offsets, Unanswered> {
        let found = self.consumer.offsets_for_times(times, timeout).map_err(|error| self.unanswered(error))?;
        Ok(read(of, &found))
    }

    /// What is committed for each partition, `None` where there is nothing.
    pub(super) fn committed(
        &self,
        of: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Vec<Option<Committed>>, Unanswered> {
        let partitions = list(of.iter().map(|partition| (partition, Offset::Invalid)));
        let found = self.consumer.committed_offsets(partitions, timeout).map_err(|error| {
            let unanswered = self.unanswered(error);
            if self.consumer.context().is_group_denied() {
                let denied = RDKafkaErrorCode::GroupAuthorizationFailed;
                return Unanswered::new(denied.to_string(), Some(denied));
            }
            unanswered
        })?;
        let Offsets { offsets, problem } = read(of, &found);
        if let Some(why) = problem {
            return Err(Unanswered::new(why, None));
        }
        let with_metadata = of.iter().zip(offsets).map(|(partition, offset)| {
            let metadata = native::metadata(&found, &partition.topic, partition.partition).unwrap_or_default().into();
            Some(Committed { offset: offset?, metadata })
        });
        Ok(with_metadata.collect())
    }

    /// Sends a commit, with something to recognise it by.
    pub(super) fn commit<'p>(
        &self,
        offsets: impl Iterator<Item = (&'p TopicPartition, i64)>,
        metadata: &str,
    ) -> Result<Commit, RDKafkaErrorCode> {
        let offsets = list(offsets.map(|(partition, offset)| (partition, Offset::Offset(offset))));
        offsets.elements().iter_mut().for_each(|element| element.set_metadata(metadata));
        Commit::send(&self.consumer, &offsets)
    }

    /// What tells one cluster from another: its id, or the addresses if it has told none.
    pub(super) fn cluster(&self, timeout: Duration) -> String {
        match self.consumer.client().fetch_cluster_id(timeout) {
            Some(id) => format!("cluster {id}"),
            None => self.brokers.clone(),
        }
    }

    /// The last thing that went wrong with the connections, since it was last asked.
    pub(super) fn take_error(&self) -> Option<String> {
        take_error(&self.consumer)
    }

    /// The offsets that the log of each partition has, asked for as `ask_until_ready` does.
    pub(super) fn logs(&self, of: &[TopicPartition], timeout: Duration) -> Result<Vec<Range<i64>>> {
        let beginnings = |timeout| self.beginnings(of, timeout);
        let beginnings = self.ask_for_all("the first offsets cannot be read", timeout, beginnings)?;
        let ends = self.ask_for_all("the last offsets cannot be read", timeout, |timeout| self.ends(of, timeout))?;
        let logs = of.iter().zip(beginnings.into_iter().zip(ends)).map(|(partition, bounds)| match bounds {
            (Some(beginning), Some(end)) => Ok(beginning..end),
            _ => {
                let message = format!("the brokers {} do not know {partition}", self.brokers);
                Err(Error::new(ErrorKind::Input, message))
            }
        });
        logs.collect()
    }

    /// Asks for an offset of each partition, as `ask_until_ready` does; all of them have to answer.
    pub(super) fn ask_for_all(
        &self,
        what: &str,
        timeout: Duration,
        ask: impl FnMut(Duration) -> Result<Offsets, Unanswered>,
    ) -> Result<Vec<Option<i64>>> {
        let what = format!("{what} (brokers {})", self.brokers);
        let Offsets { offsets, problem } =
            self.ask_until_ready(timeout, ask).map_err(|unanswered| unanswered.error(&what))?;
        match problem {
            None => Ok(offsets),
            Some(why) => Err(Error::new(ErrorKind::Input, format!("{what}: {why}"))),
        }
    }

    fn unanswered(&self, error: KafkaError) -> Unanswered {
        let said = self.take_error();
        Unanswered { what: text(&error), said, code: error.rdkafka_error_code(), cause: Some(Box::new(error)) }
    }
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) offset: i64,
    /// What the committer has put beside it.
    pub(super) metadata: Box<[u8]>,
}

/// An answer with an offset for each partition that was asked about.
#[derive(Debug)]
pub(super) struct Offsets {
    pub(super) offsets: Vec<Option<i64>>,
    /// Why the first of those that are missing is missing, if there is a reason.
    pub(super) problem: Option<String>,
}

pub(super) fn list<'p>(partitions: impl Iterator<Item = (&'p TopicPartition, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.size_hint().0);
    for (partition, offset) in partitions {
        list.add_partition_offset(&partition.topic, partition.partition, offset)
            .expect("offsets of partitions are not negative");
    }
    list
}

/// Reads an answer in the order of the question. librdkafka keeps that order, and we rely on nothing.
fn read(of: &[TopicPartition], answer: &TopicPartitionList) -> Offsets {
    let elements = answer.elements();
    let mut problem = None;
    let offsets = of.iter().enumerate().map(|(n, partition)| {
        let is_it = |topic: &str, number| *topic == *partition.topic && number == partition.partition;
        let element = match elements.get(n) {
            Some(element) if is_it(element.topic(), element.partition()) => element,
            _ => elements.iter().find(|element| is_it(element.topic(), element.partition()))?,
        };
        if let Err(error) = element.error() {
            problem.get_or_insert_with(|| format!("{partition}: {}", text(&error)));
            return None;
        }
        match element.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    });
    let offsets = offsets.collect();
    Offsets { offsets, problem }
}
