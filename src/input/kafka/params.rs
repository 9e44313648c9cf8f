use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;

use super::place::{CommitHandle, OffsetStore};
use super::records::Undecodable;
use super::running::{PartitionRates, PerPartitionConfig};
use crate::brokers::{check_brokers, check_settings};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Time;

/// Where a stream starts in a partition for which its group has committed no offset: Kafka's `auto.offset.reset`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AutoOffsetReset {
    /// At the oldest record that the broker still has.
    Earliest,
    /// At the records that arrive from now on. The default, as it is Kafka's.
    #[default]
    Latest,
    /// At the first record whose timestamp is this or later, or at the end if there is none. As Kafka's `by_duration`
    /// (KIP-1106), with a time instead of an age.
    AtTime(Time),
    /// Nowhere: the stream does not start.
    None,
}

/// How to reach Kafka, and under which name.
///
/// A stream keeps its place as the committed offsets of its group, which is why a group id is needed, unless there is an
/// [`offset_store`](Self::offset_store). It does not join the group: it reads all partitions itself, so that nothing
/// rebalances, and two streams with the same topics need two group ids.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::{AutoOffsetReset, KafkaParams};
///
/// let params = KafkaParams::new("localhost:9092")
///     .group_id("clicks-per-user")
///     .auto_offset_reset(AutoOffsetReset::Earliest)
///     .set("client.id", "clicks-eu");
/// ```
#[derive(Clone)]
pub struct KafkaParams {
    pub(super) brokers: String,
    pub(super) group: Option<String>,
    pub(super) reset: AutoOffsetReset,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) start_timeout: Duration,
    pub(super) planning_timeout: Duration,
    pub(super) max_outage: Duration,
    pub(super) discovery_interval: Duration,
    pub(super) fail_on_data_loss: bool,
    pub(super) headers: bool,
    pub(super) max_records_per_task: Option<u64>,
    pub(super) rates: PartitionRates,
    /// `None` for the committed offsets of the group.
    pub(super) store: Option<Arc<dyn OffsetStore>>,
    pub(super) commits: Commits,
    pub(super) undecodable: Undecodable,
}

/// Who says that offsets are to be committed.
#[derive(Clone)]
pub(super) enum Commits {
    /// The stream, when all outputs of a batch are done.
    AfterOutputs,
    /// The program.
    Manually(CommitHandle),
    /// Nobody.
    Never,
}

/// Settings of both clients, unless the program says otherwise.
const DEFAULTS: [(&str, &str); 8] = [
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // A batch ends where it was planned to end, not where the log does.
    ("enable.partition.eof", "false"),
    // Once a queue is full the next fetch waits this long; the default of a second stalls a batch of 100 ms.
    ("fetch.queue.backoff.ms", "10"),
    ("fetch.error.backoff.ms", "100"),
    ("queued.min.messages", "1000000"),
    ("reconnect.backoff.max.ms", "200"),
    // Nobody joins the group: this only bounds how long librdkafka keeps a commit that finds no coordinator.
    ("session.timeout.ms", "6000"),
];

/// The group of a client that commits nothing to one: librdkafka does not assign partitions without a name.
pub(super) const NO_GROUP: &str = "tidemill";

const WE_COMMIT: &str = "the stream commits the offsets of a batch itself, when all outputs of the batch are done";
const NO_MEMBER: &str = "the stream does not join its group, it reads all partitions itself";

/// Settings that would change what a batch is, and why they are not accepted.
const REFUSED: [(&str, &str); 13] = [
    ("auto.commit.enable", WE_COMMIT),
    ("auto.offset.reset", "it is set with `KafkaParams::auto_offset_reset`"),
    ("bootstrap.servers", "it is set with `KafkaParams::new`"),
    ("enable.auto.commit", WE_COMMIT),
    ("enable.auto.offset.store", WE_COMMIT),
    ("enable.partition.eof", "a batch ends at its planned offset, whether or not the log ends there"),
    ("group.id", "it is set with `KafkaParams::group_id`"),
    ("group.instance.id", NO_MEMBER),
    ("group.protocol", NO_MEMBER),
    ("metadata.broker.list", "it is set with `KafkaParams::new`"),
    ("offset.store.method", WE_COMMIT),
    ("partition.assignment.strategy", NO_MEMBER),
    ("test.mock.num.brokers", "it replaces the brokers; use `kafka::embedded::EmbeddedBroker`"),
];

impl KafkaParams {
    /// The brokers to ask first: `host:port`, several with commas between them.
    pub fn new(brokers: impl Into<String>) -> Self {
        KafkaParams {
            brokers: brokers.into(),
            group: None,
            reset: AutoOffsetReset::default(),
            settings: BTreeMap::new(),
            start_timeout: Duration::from_secs(10),
            planning_timeout: Duration::from_secs(1),
            max_outage: Duration::from_secs(120),
            discovery_interval: Duration::from_secs(5),
            fail_on_data_loss: true,
            headers: true,
            max_records_per_task: None,
            store: None,
            commits: Commits::AfterOutputs,
            undecodable: Undecodable::Fail,
            rates: PartitionRates::default(),
        }
    }

    /// The name under which the stream keeps its place. Has to be given, unless there is an
    /// [`offset_store`](Self::offset_store).
    #[must_use]
    pub fn group_id(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Where to start when the group has committed no offset. [`AutoOffsetReset::Latest`] unless set.
    ///
    /// It is not used when the committed offset no longer exists: that is an error, since records were lost. And
    /// `Latest` does not skip what is in partitions that were added to a topic of which the group has read others.
    #[must_use]
    pub fn auto_offset_reset(mut self, reset: AutoOffsetReset) -> Self {
        self.reset = reset;
        self
    }

    /// Any other setting of librdkafka, by its own name: `.set("isolation.level", "read_uncommitted")`.
    ///
    /// Names and values are checked when the context starts. Those which would change what a batch is, like
    /// `enable.auto.commit`, are refused.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(key.into(), value.into());
        self
    }

    /// How long each question to the brokers may take while the context starts. 10 s unless set. Brokers that do not let
    /// the program in, for its password or a certificate, end the start at once.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// How long a batch may wait to learn where the partitions end. 1 s unless set.
    ///
    /// A batch that does not learn it in time is empty; its records come with the next one.
    #[must_use]
    pub fn planning_timeout(mut self, timeout: Duration) -> Self {
        self.planning_timeout = timeout;
        self
    }

    /// How long brokers may be away, in all, before the stream fails. 2 min unless set.
    ///
    /// Bounds planning, committing, and one attempt of a task to read, each from its first failure.
    #[must_use]
    pub fn max_outage(mut self, limit: Duration) -> Self {
        self.max_outage = limit;
        self
    }

    /// How often the stream looks for new topics and partitions, and for those that are gone. 5 s unless set. A look
    /// takes a round trip to a broker, before a batch is planned.
    #[must_use]
    pub fn discovery_interval(mut self, interval: Duration) -> Self {
        self.discovery_interval = interval;
        self
    }

    /// Whether records that are lost before they were read fail the stream: those that retention deletes, those of a
    /// log that was truncated, a topic that is deleted. True unless set, as in Spark's structured streams.
    ///
    /// If false, the stream goes on with what there is: after a deletion with the oldest record, after a truncation at
    /// the end of the log, without a partition that is gone, also if it is made anew later, and at the beginning of a
    /// topic that was made anew between two looks. What was lost is reported as
    /// [`Event::DataLost`](crate::Event::DataLost) and in the log.
    ///
    /// A topic that was made anew is known by its id, which brokers have from 2.8 on. **While the program does not run
    /// it is noticed only if it ends before the committed offsets**: delete them together with a topic. A checkpoint
    /// keeps the ids beside the offsets, and notices at the next start.
    #[must_use]
    pub fn fail_on_data_loss(mut self, fail: bool) -> Self {
        self.fail_on_data_loss = fail;
        self
    }

    /// Leaves the headers of records unread. Saves about 100 ns of CPU for each record, also for those without any.
    #[must_use]
    pub fn without_headers(mut self) -> Self {
        self.headers = false;
        self
    }

    /// Cuts what a batch reads of a topic partition into several partitions of its dataset, of at most this many
    /// offsets each, so that a backlog is worked off by more than one task. Not cut unless set.
    ///
    /// The partition is still fetched in order by one connection; each task takes its part out of it and then decodes
    /// and processes it beside the others. So as many parts as there are workers are in memory at a time.
    #[must_use]
    pub fn max_records_per_task(mut self, records: u64) -> Self {
        self.max_records_per_task = Some(records);
        self
    }

    /// Keeps the place of the stream there instead of in the committed offsets of its group.
    ///
    /// The stream drops the store when it stops. To share one, implement [`OffsetStore`] for a handle to it.
    #[must_use]
    pub fn offset_store(mut self, store: impl OffsetStore) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// Leaves it to the program to commit, with this handle, which belongs to one stream at a time. Otherwise offsets
    /// are committed when all outputs of their batch are done.
    ///
    /// Where nothing is kept for a partition, the stream still commits where it starts: a program that ends before its
    /// first commit then starts again at the same records.
    #[must_use]
    pub fn commit_manually(mut self, handle: &CommitHandle) -> Self {
        self.commits = Commits::Manually(handle.clone());
        self
    }

    /// Commits nothing, also not where the stream starts. Every start begins at what is kept, if somebody else commits,
    /// or where [`auto_offset_reset`](Self::auto_offset_reset) says.
    #[must_use]
    pub fn commit_never(mut self) -> Self {
        self.commits = Commits::Never;
        self
    }

    /// What the stream does with messages that it cannot decode. It fails unless set.
    #[must_use]
    pub fn undecodable(mut self, undecodable: Undecodable) -> Self {
        self.undecodable = undecodable;
        self
    }

    /// How many records of each partition a second of batches has at most, with and without back-pressure; above 0. No
    /// maximum unless set.
    ///
    /// What is left of a record goes to the next batch: a record per second is one in every hundredth batch of 10 ms.
    #[must_use]
    pub fn max_rate_per_partition(mut self, records_per_second: f64) -> Self {
        self.rates.all = self.rates.all.max_rate(records_per_second);
        self
    }

    /// How many records of each partition a second of batches may have at least, whatever share of the stream's rate it
    /// has: partitions with little to read are not starved by those with much. At least 0 and no more than the maximum.
    /// 1.0 unless set, or the maximum where that is lower.
    ///
    /// In Spark it is a number of records per batch, which is the same at batches of one second.
    #[must_use]
    pub fn min_rate_per_partition(mut self, records_per_second: f64) -> Self {
        self.rates.all = self.rates.all.min_rate(records_per_second);
        self
    }

    /// Limits by topic and partition, in place of those that the two methods above set for all of them.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::kafka::{KafkaParams, PerPartitionConfig};
    ///
    /// let params = KafkaParams::new("localhost:9092")
    ///     .group_id("clicks-per-user")
    ///     .max_rate_per_partition(10_000.0)
    ///     .per_partition_config(|topic, _| match topic {
    ///         "clicks-replayed" => PerPartitionConfig::default().max_rate(500.0),
    ///         _ => PerPartitionConfig::default(),
    ///     });
    /// ```
    #[must_use]
    pub fn per_partition_config(
        mut self,
        config: impl Fn(&str, i32) -> PerPartitionConfig + Send + Sync + 'static,
    ) -> Self {
        self.rates.each = Some(Arc::new(config));
        self
    }

    /// The group id.
    pub(super) fn group(&self) -> Result<&str> {
        match self.group.as_deref() {
            Some(group) if !group.is_empty() => Ok(group),
            None if self.store.is_some() => Ok(NO_GROUP),
            _ => {
                let message = "a Kafka stream needs a group id to keep its place under: `KafkaParams::group_id`";
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    }

    /// The configuration of a client of a stream with this batch interval.
    pub(super) fn client_config(&self, batch_interval: Duration) -> Result<ClientConfig> {
        check_settings(&self.settings, &REFUSED)?;
        check_brokers(&self.brokers, "KafkaParams::new")?;
        if self.max_records_per_task == Some(0) {
            return Err(Error::new(ErrorKind::Config, "max_records_per_task is 0, the least is 1"));
        }
        let mut config = ClientConfig::new();
        for (key, value) in DEFAULTS {
            config.set(key, value);
        }
        // Bounds how long a seek waits behind a fetch that found nothing, and on the embedded broker every record: a
        // batch must not wait longer than the next one takes to come.
        config.set("fetch.wait.max.ms", (batch_interval / 2).as_millis().clamp(1, 50).to_string());
        for (key, value) in &self.settings {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.brokers).set("group.id", self.group()?);
        Ok(config)
    }
}

impl std::fmt::Debug for KafkaParams {
    /// Without the values of the settings: passwords are among them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaParams")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("reset", &self.reset)
            .field("settings", &self.settings.keys())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_change_what_a_batch_is_are_refused() {
        let params = KafkaParams::new("localhost:9092").group_id("g");
        for (key, _) in REFUSED {
            let error = params.clone().set(key, "true").client_config(Duration::from_secs(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().starts_with(&format!("the Kafka setting {key} cannot be changed: ")), "{error}");
        }
        let error = params.set("enable.auto.commit", "true").client_config(Duration::from_secs(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the Kafka setting enable.auto.commit cannot be changed: the stream commits the offsets of a batch itself, \
             when all outputs of the batch are done"
        );
    }

    #[test]
    fn a_group_is_needed_and_settings_pass() {
        let error = KafkaParams::new("localhost:9092").client_config(Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("KafkaParams::group_id"), "{error}");
        let config = KafkaParams::new("b:1")
            .group_id("g")
            .set("fetch.wait.max.ms", "7")
            .client_config(Duration::from_secs(1))
            .unwrap();
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        let fast = KafkaParams::new("b:1").group_id("g").client_config(Duration::from_millis(5)).unwrap();
        assert_eq!(fast.get("fetch.wait.max.ms"), Some("2"));
        assert_eq!(config.get("fetch.queue.backoff.ms"), Some("10"));
        assert_eq!(config.get("group.id"), Some("g"));
    }

    #[test]
    fn brokers_are_needed() {
        for brokers in ["", " , "] {
            let error = KafkaParams::new(brokers).group_id("g").client_config(Duration::from_secs(1)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "no Kafka brokers are given: name them in `KafkaParams::new`, as `host:port`"
            );
        }
    }

    #[test]
    fn a_task_has_to_read_something() {
        let params = KafkaParams::new("b:1").group_id("g").max_records_per_task(0);
        let error = params.client_config(Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "max_records_per_task is 0, the least is 1");
    }

    #[test]
    fn debug_does_not_show_passwords() {
        let shown = format!("{:?}", KafkaParams::new("b:1").set("sasl.password", "secret"));
        assert!(shown.contains("sasl.password") && !shown.contains("secret"), "{shown}");
    }
}
