//! What every client of Kafka brokers has in common: what librdkafka tells it beside records, what its errors mean, and
//! settings that a program must not change. Knows nothing of reading or writing.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::{Error, ErrorKind, Result};

/// When librdkafka says no more than how many brokers are down, which it does not count well.
const CLOSED: &str =
    "the brokers close connections without a word: they were stopped, or expect another `security.protocol`";

/// What librdkafka tells a client beside records.
#[derive(Default)]
pub(crate) struct Events(Mutex<Told>);

#[derive(Default)]
struct Told {
    last_error: Option<String>,
    /// Why the brokers are away, as far as anything but that was told.
    reason: Option<String>,
    /// Why a broker does not let the client in.
    refusal: Option<String>,
    /// No broker is connected.
    all_down: bool,
    /// The client may not use its group. It is told once, and goes on to ask for its coordinator.
    group_denied: bool,
}

impl Events {
    /// The last thing that went wrong with the connections, since it was last asked.
    pub(crate) fn take_error(&self) -> Option<String> {
        self.told().last_error.take()
    }

    /// Why the brokers do not let the client in, and will not: its password is wrong, or its certificate. `None` if one
    /// of them has.
    pub(crate) fn refusal(&self) -> Option<String> {
        let told = self.told();
        told.refusal.clone().filter(|_| told.all_down)
    }

    /// Whether the client may not use its group.
    pub(crate) fn is_group_denied(&self) -> bool {
        self.told().group_denied
    }

    /// The brokers have answered: what was told of connections is over.
    pub(crate) fn forget(&self) {
        let mut told = self.told();
        *told = Told { group_denied: told.group_denied, ..Told::default() };
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{message}");
            }
            // A broker that goes away is said here many times over; the stream says it once.
            _ => tracing::debug!(target: "librdkafka", facility, ?level, "{message}"),
        }
    }

    fn stats_raw(&self, statistics: &[u8]) {
        tracing::debug!(target: "librdkafka", "{}", String::from_utf8_lossy(statistics));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, "{reason}");
        let mut told = self.told();
        match error.rdkafka_error_code() {
            // It follows the reason why and says less, again and again.
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                told.all_down = true;
                let why = told.reason.clone().unwrap_or_else(|| CLOSED.to_string());
                told.last_error = Some(why);
                return;
            }
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                told.group_denied = true;
                return;
            }
            Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) => told.refusal = Some(reason.to_string()),
            _ => {}
        }
        let reason = if is_closed(reason) { format!("{CLOSED}: {reason}") } else { reason.to_string() };
        told.reason = Some(reason.clone());
        told.last_error = Some(reason);
    }
}

/// Whether it says that a broker has taken the connection and then closed it, which it tells in one of several ways.
fn is_closed(reason: &str) -> bool {
    ["Broken pipe", "reset by peer", "Disconnected"].iter().any(|said| reason.contains(said))
}

/// Says what librdkafka's error means, without its wrapping.
pub(crate) fn text(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

/// The error for people when librdkafka makes no client of the settings.
pub(crate) fn not_accepted(error: KafkaError) -> Error {
    // What a librdkafka without OpenSSL says of TLS, and of all SASL mechanisms but PLAIN.
    let needs_openssl = |why: &str| why.contains("OpenSSL not available") || why.contains("or openssl support");
    let advice = |why: &str| match needs_openssl(why) {
        true => "; name `rdkafka` with the feature `ssl` in your Cargo.toml, see the guide's chapter on Kafka",
        false => "",
    };
    match error {
        // Without the value: it can be a password.
        KafkaError::ClientConfig(_, why, key, _) => {
            let message = format!("the Kafka setting {key} is not accepted: {why}{}", advice(&why));
            Error::new(ErrorKind::Config, message)
        }
        error => {
            let why = error.to_string();
            let message = format!("no Kafka client with these settings: {why}{}", advice(&why));
            Error::new(ErrorKind::Config, message).caused_by(error)
        }
    }
}

/// Checks that there are brokers to ask.
pub(crate) fn check_brokers(brokers: &str, named_in: &str) -> Result<()> {
    if brokers.split(',').any(|broker| !broker.trim().is_empty()) {
        return Ok(());
    }
    let message = format!("no Kafka brokers are given: name them in `{named_in}`, as `host:port`");
    Err(Error::new(ErrorKind::Config, message))
}

/// Checks that a program has changed no setting that would break what it is promised. `refused` tells why of each.
pub(crate) fn check_settings(settings: &BTreeMap<String, String>, refused: &[(&str, &str)]) -> Result<()> {
    match refused.iter().find(|(key, _)| settings.contains_key(*key)) {
        Some((key, why)) => {
            Err(Error::new(ErrorKind::Config, format!("the Kafka setting {key} cannot be changed: {why}")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(codes: &[RDKafkaErrorCode]) -> Events {
        let events = Events::default();
        codes.iter().for_each(|code| events.error(KafkaError::Global(*code), &format!("{code:?}")));
        events
    }

    #[test]
    fn one_broker_that_is_connected_is_enough() {
        use RDKafkaErrorCode::{AllBrokersDown, Authentication, BrokerTransportFailure, SSL};
        let refusal = |codes: &[RDKafkaErrorCode]| told(codes).refusal();
        assert_eq!(refusal(&[Authentication, AllBrokersDown]), Some("Authentication".to_string()));
        assert_eq!(refusal(&[BrokerTransportFailure, SSL, AllBrokersDown]), Some("SSL".to_string()));
        assert_eq!(refusal(&[Authentication, BrokerTransportFailure]), None);
        assert_eq!(refusal(&[BrokerTransportFailure, AllBrokersDown]), None);
        let events = told(&[Authentication, AllBrokersDown]);
        events.forget();
        assert_eq!((events.refusal(), events.take_error()), (None, None));
    }

    #[test]
    fn the_reason_why_says_more_than_that_all_are_down() {
        use RDKafkaErrorCode::{AllBrokersDown, GroupAuthorizationFailed, Resolve};
        let error = |codes: &[RDKafkaErrorCode]| told(codes).take_error();
        assert_eq!(error(&[Resolve, AllBrokersDown]), Some("Resolve".to_string()));
        assert_eq!(error(&[AllBrokersDown]), Some(CLOSED.to_string()));
        // Only those who use the group care.
        let events = told(&[GroupAuthorizationFailed]);
        events.forget();
        assert_eq!((events.take_error(), events.is_group_denied()), (None, true));
    }

    #[test]
    fn what_takes_openssl_says_how_to_have_it() {
        let tls = KafkaError::ClientConfig(
            rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
            "Unsupported value \"ssl\": OpenSSL not available at build time".to_string(),
            "security.protocol".to_string(),
            "ssl".to_string(),
        );
        assert_eq!(
            not_accepted(tls).to_string(),
            "the Kafka setting security.protocol is not accepted: Unsupported value \"ssl\": OpenSSL not available at \
             build time; name `rdkafka` with the feature `ssl` in your Cargo.toml, see the guide's chapter on Kafka"
        );
        let scram = "recompile librdkafka with libsasl2 or openssl support".to_string();
        let error = not_accepted(KafkaError::ClientCreation(scram)).to_string();
        assert!(error.contains("the feature `ssl`"), "{error}");
        let other = not_accepted(KafkaError::ClientCreation("no memory".to_string())).to_string();
        assert!(!other.contains("ssl"), "{other}");
    }

    #[test]
    fn that_no_broker_is_there_does_not_hide_why() {
        let events = Events::default();
        let down = || events.error(KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        down();
        assert_eq!(events.take_error().as_deref(), Some(CLOSED));
        events.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), "Connection refused");
        down();
        assert_eq!(events.take_error().as_deref(), Some("Connection refused"));
        down();
        assert_eq!(events.take_error().as_deref(), Some("Connection refused"), "it is told once, and asked for again");
        assert_eq!(events.take_error(), None);
        events.forget();
        down();
        assert_eq!(events.take_error().as_deref(), Some(CLOSED));
    }

    /// On a machine that is busy the broker may have closed the connection before the first request is sent. What was
    /// said then was "Broken pipe", and nothing of what to do.
    #[test]
    fn a_connection_that_is_closed_in_the_middle_of_a_request_says_what_to_look_at() {
        let events = Events::default();
        let sent = "127.0.0.1:9092/bootstrap: Send failed: Broken pipe (after 0ms in state UP)";
        events.error(KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure), sent);
        let error = events.take_error().unwrap();
        assert_eq!(error, format!("{CLOSED}: {sent}"));
        assert!(error.contains("`security.protocol`"));
    }
}
