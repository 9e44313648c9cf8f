use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;

use crate::brokers::{check_brokers, check_settings};
use crate::error::{Error, ErrorKind, Result, guarded};

/// How records are written to Kafka.
///
/// Unless settings say otherwise a producer is idempotent (a record is there once, however often it is sent again on
/// its way, and each partition keeps the order in which records were sent), a record counts as delivered when all
/// in-sync replicas have it, and a key goes to the partition to which the clients in Java send it.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::kafka::ProducerParams;
///
/// let params = ProducerParams::new("localhost:9092")
///     .delivery_timeout(Duration::from_secs(30))
///     .set("compression.type", "lz4")
///     .set("client.id", "counts-eu");
/// ```
#[derive(Clone)]
pub struct ProducerParams {
    pub(super) brokers: String,
    pub(super) settings: BTreeMap<String, String>,
    pub(super) delivery_timeout: Duration,
    pub(super) partitioner: Option<Partitioner>,
}

/// Settings of a producer, unless the program says otherwise.
const DEFAULTS: [(&str, &str); 6] = [
    ("enable.idempotence", "true"),
    // Short: a batch waits for its last records.
    ("linger.ms", "1"),
    // As the clients in Java do.
    ("partitioner", "murmur2_random"),
    ("reconnect.backoff.max.ms", "200"),
    // Delayed acknowledgements would show as 40 ms.
    ("socket.nagle.disable", "true"),
    // How long a topic may be unknown: one that was just made shows within that.
    ("topic.metadata.propagation.max.ms", "5000"),
];

/// What librdkafka takes under two names, of the settings that a producer has without being asked.
const ALIASES: [(&str, &str); 2] =
    [("max.in.flight.requests.per.connection", "max.in.flight"), ("queue.buffering.max.ms", "linger.ms")];

const IN_SYNC: &str = "a record counts as delivered when all in-sync replicas have it";
const REPORTS: &str = "the output waits for the report of every record";
const TIMEOUT: &str = "it is set with `ProducerParams::delivery_timeout`";

/// Settings that would break what is promised, and why they are not accepted.
const REFUSED: [(&str, &str); 11] = [
    ("acks", IN_SYNC),
    ("bootstrap.servers", "it is set with `ProducerParams::new`"),
    ("delivery.report.only.error", REPORTS),
    ("delivery.timeout.ms", TIMEOUT),
    ("message.timeout.ms", TIMEOUT),
    ("metadata.broker.list", "it is set with `ProducerParams::new`"),
    ("queuing.strategy", "records of a partition go out in their order"),
    ("request.required.acks", IN_SYNC),
    ("test.mock.num.brokers", "it replaces the brokers; use `kafka::embedded::EmbeddedBroker`"),
    ("transaction.timeout.ms", "the output has no transactions"),
    ("transactional.id", "the output has no transactions"),
];

impl ProducerParams {
    /// The brokers to ask first: `host:port`, several with commas between them.
    pub fn new(brokers: impl Into<String>) -> Self {
        ProducerParams {
            brokers: brokers.into(),
            settings: BTreeMap::new(),
            delivery_timeout: Duration::from_secs(120),
            partitioner: None,
        }
    }

    /// Any other setting of librdkafka, by its own name: `.set("compression.type", "zstd")`.
    ///
    /// Names and values are checked when the producer is made. Those which would break what an output promises, like
    /// `acks`, are refused. `enable.idempotence` may be turned off, for brokers or rights that do not have it: then one
    /// request at a time is under way (`max.in.flight`), or a retry could change the order.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.insert(key.into(), value.into());
        self
    }

    /// How long a record may take from when it is sent to when the brokers have it, brokers that go away meanwhile
    /// included. 2 min unless set, as in Java; at least a millisecond.
    #[must_use]
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// Chooses the partition of every record that does not ask for one: `f` is told the topic, the key and how many
    /// partitions the topic has, and returns one of `0..partitions`.
    ///
    /// `f` is called on threads of librdkafka too, and has to be quick. A partition that does not exist, and a panic,
    /// are errors of the record. For partitioners that librdkafka knows set `partitioner`: `murmur2_random` (as in
    /// Java, the default), `consistent_random` (as in other clients made of librdkafka), `fnv1a_random`, `random`.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::kafka::ProducerParams;
    ///
    /// // All records of one city together: the key is "city/street".
    /// let params = ProducerParams::new("localhost:9092").partitioner(|_topic, key, partitions| {
    ///     let city = key.and_then(|key| key.split(|byte| *byte == b'/').next()).unwrap_or_default();
    ///     city.iter().map(|byte| i32::from(*byte)).sum::<i32>() % partitions
    /// });
    /// ```
    #[must_use]
    pub fn partitioner(mut self, f: impl Fn(&str, Option<&[u8]>, i32) -> i32 + Send + Sync + 'static) -> Self {
        self.partitioner = Some(Partitioner::new(f));
        self
    }

    /// The configuration of a client.
    pub(super) fn client_config(&self) -> Result<ClientConfig> {
        check_settings(&self.settings, &REFUSED)?;
        check_brokers(&self.brokers, "ProducerParams::new")?;
        if self.delivery_timeout < Duration::from_millis(1) {
            let message = format!("the delivery timeout {:?} is shorter than a millisecond", self.delivery_timeout);
            return Err(Error::new(ErrorKind::Config, message));
        }
        let mut config = ClientConfig::new();
        for (key, value) in DEFAULTS {
            config.set(key, value);
        }
        let is_true = |value: &String| ["true", "t", "1"].iter().any(|word| word.eq_ignore_ascii_case(value));
        if !self.settings.get("enable.idempotence").is_none_or(is_true) {
            config.set("max.in.flight", "1");
        }
        if self.partitioner.is_some() {
            if self.settings.contains_key("partitioner") {
                let message = "the Kafka setting partitioner and `ProducerParams::partitioner` exclude each other";
                return Err(Error::new(ErrorKind::Config, message));
            }
            // Otherwise librdkafka chooses for records without a key.
            config.set("sticky.partitioning.linger.ms", "0");
        }
        for (key, value) in &self.settings {
            let name = ALIASES.iter().find(|(alias, _)| alias == key).map_or(key.as_str(), |(_, name)| name);
            config.set(name, value);
        }
        let millis = i32::try_from(self.delivery_timeout.as_millis()).unwrap_or(i32::MAX);
        config.set("bootstrap.servers", &self.brokers).set("message.timeout.ms", millis.to_string());
        config.set("acks", "all");
        Ok(config)
    }
}

impl fmt::Debug for ProducerParams {
    /// Without the values of the settings: passwords are among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerParams")
            .field("brokers", &self.brokers)
            .field("settings", &self.settings.keys())
            .field("delivery_timeout", &self.delivery_timeout)
            .finish_non_exhaustive()
    }
}

/// Topic, key and number of partitions, to a partition.
type Choose = dyn Fn(&str, Option<&[u8]>, i32) -> i32 + Send + Sync;

/// A partitioner of the program.
#[derive(Clone)]
pub(super) struct Partitioner {
    f: Arc<Choose>,
    /// What was wrong with the first answer that was.
    fault: Arc<Mutex<Option<String>>>,
}

impl Partitioner {
    fn new(f: impl Fn(&str, Option<&[u8]>, i32) -> i32 + Send + Sync + 'static) -> Self {
        Partitioner { f: Arc::new(f), fault: Arc::default() }
    }

    /// The partition. If the program has none, one that the topic does not have, which is how librdkafka is told.
    pub(super) fn choose(&self, topic: &str, key: Option<&[u8]>, partitions: i32) -> i32 {
        let chosen = guarded(
            || match (self.f)(topic, key, partitions) {
                partition if (0..partitions).contains(&partition) => Ok(partition),
                partition => {
                    let message = format!("the partitioner chose {partition}, and there are {partitions} partitions");
                    Err(Error::new(ErrorKind::Output, message))
                }
            },
            |said| Error::new(ErrorKind::Output, format!("the partitioner panicked: {said}")),
        );
        chosen.unwrap_or_else(|error| {
            self.fault().get_or_insert_with(|| error.to_string());
            partitions
        })
    }

    /// What was wrong with the first answer that was.
    pub(super) fn fault(&self) -> MutexGuard<'_, Option<String>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> ProducerParams {
        ProducerParams::new("localhost:9092")
    }

    #[test]
    fn settings_that_break_a_promise_are_refused() {
        for (key, _) in REFUSED {
            let error = params().set(key, "true").client_config().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().starts_with(&format!("the Kafka setting {key} cannot be changed: ")), "{error}");
        }
        let error = params().set("acks", "1").client_config().unwrap_err();
        assert_eq!(
            error.to_string(),
            "the Kafka setting acks cannot be changed: a record counts as delivered when all in-sync replicas have it"
        );
    }

    #[test]
    fn brokers_are_needed() {
        let error = ProducerParams::new("").client_config().unwrap_err();
        assert_eq!(error.to_string(), "no Kafka brokers are given: name them in `ProducerParams::new`, as `host:port`");
    }

    #[test]
    fn a_producer_is_idempotent_unless_told_otherwise() {
        let config = params().client_config().unwrap();
        assert_eq!((config.get("enable.idempotence"), config.get("acks")), (Some("true"), Some("all")));
        assert_eq!((config.get("message.timeout.ms"), config.get("max.in.flight")), (Some("120000"), None));
        assert_eq!(config.get("partitioner"), Some("murmur2_random"));
        let config = params().set("enable.idempotence", "false").set("linger.ms", "50").client_config().unwrap();
        assert_eq!((config.get("max.in.flight"), config.get("linger.ms")), (Some("1"), Some("50")));
        let config = params().delivery_timeout(Duration::from_millis(1500)).client_config().unwrap();
        assert_eq!(config.get("message.timeout.ms"), Some("1500"));
        let error = params().delivery_timeout(Duration::ZERO).client_config().unwrap_err();
        assert_eq!(error.to_string(), "the delivery timeout 0ns is shorter than a millisecond");
    }

    /// librdkafka takes some settings under two names, and false in other words than "false".
    #[test]
    fn settings_count_by_whatever_name_and_word() {
        for word in ["false", "False", "f", "0"] {
            let config = params().set("enable.idempotence", word).client_config().unwrap();
            assert_eq!(config.get("max.in.flight"), Some("1"), "{word}");
        }
        for word in ["true", "TRUE", "t", "1"] {
            let config = params().set("enable.idempotence", word).client_config().unwrap();
            assert_eq!(config.get("max.in.flight"), None, "{word}");
        }
        let own = params().set("queue.buffering.max.ms", "50").set("enable.idempotence", "0");
        let config = own.set("max.in.flight.requests.per.connection", "2").client_config().unwrap();
        let both = |name, alias| (config.get(name), config.get(alias));
        assert_eq!(both("linger.ms", "queue.buffering.max.ms"), (Some("50"), None));
        assert_eq!(both("max.in.flight", "max.in.flight.requests.per.connection"), (Some("2"), None));
    }

    #[test]
    fn there_is_one_partitioner() {
        let own = params().partitioner(|_, _, _| 0);
        assert_eq!(own.client_config().unwrap().get("sticky.partitioning.linger.ms"), Some("0"));
        let error = own.set("partitioner", "random").client_config().unwrap_err();
        assert!(error.to_string().contains("exclude each other"), "{error}");
    }

    #[test]
    fn a_wrong_partition_and_a_panic_are_told() {
        let said = |f: fn(&str, Option<&[u8]>, i32) -> i32| {
            let partitioner = Partitioner::new(f);
            assert_eq!(partitioner.choose("t", None, 4), 4, "there is no partition 4");
            let fault = partitioner.fault().take();
            fault.unwrap()
        };
        assert_eq!(said(|_, _, partitions| partitions), "the partitioner chose 4, and there are 4 partitions");
        assert_eq!(said(|_, _, _| -1), "the partitioner chose -1, and there are 4 partitions");
        assert_eq!(said(|_, _, _| panic!("no key")), "the partitioner panicked: no key");
        assert_eq!(Partitioner::new(|_, _, n| n - 1).choose("t", None, 4), 3);
    }

    #[test]
    fn debug_does_not_show_passwords() {
        let shown = format!("{:?}", params().set("sasl.password", "secret"));
        assert!(shown.contains("sasl.password") && !shown.contains("secret"), "{shown}");
    }
}
