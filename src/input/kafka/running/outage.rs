use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::time::{Clock, Time};

/// How long brokers have been away. It is counted on the machine's clock, whatever clock the batches follow.
pub(super) struct Outage {
    /// What fails: `have not told the ends of all partitions`.
    what: &'static str,
    clock: Clock,
    limit: Duration,
    /// Since when, and how often in a row they were asked in vain.
    failing: Option<(Time, u32)>,
    /// Until when they are not asked again.
    quiet_until: Time,
}

impl Outage {
    pub(super) fn new(limit: Duration, what: &'static str) -> Self {
        Outage { what, clock: Clock::system(), limit, failing: None, quiet_until: Time::ZERO }
    }

    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    /// Whether brokers that are away were asked a moment ago. For as long as they were waited for in vain they are not
    /// asked again, so that batches which have become late meanwhile do not wait one after the other.
    pub(super) fn is_quiet(&self) -> bool {
        self.failing.is_some() && self.clock.now() < self.quiet_until
    }

    /// An answer has come.
    pub(super) fn end(&mut self, stream: &str) {
        if let Some((since, failures)) = self.failing.take() {
            let away = self.clock.now() - since;
            tracing::info!(stream, failures, ?away, "the Kafka brokers answer again");
        }
    }

    /// Notes an answer that did not come, to a question that was asked at `asked`.
    ///
    /// # Errors
    ///
    /// None has come for too long.
    pub(super) fn go_on(&mut self, stream: &str, brokers: &str, why: &str, asked: Time) -> Result<()> {
        let now = self.clock.now();
        let (since, failures) = self.failing.get_or_insert((now, 0));
        *failures += 1;
        self.quiet_until = now + (now - asked);
        let (away, failures) = (now - *since, *failures);
        if away >= self.limit && failures > 1 {
            let message =
                format!("the Kafka brokers at {brokers} {} for {away:?}, in {failures} attempts: {why}", self.what);
            return Err(Error::new(ErrorKind::Input, message));
        }
        if failures == 1 {
            tracing::warn!(stream, brokers, why, "the Kafka brokers {}; what is missing comes later", self.what);
        } else {
            tracing::debug!(stream, brokers, why, failures, "the Kafka brokers {}", self.what);
        }
        Ok(())
    }
}
