//! Programs over a real Apache Kafka: what no broker inside the process can show.
//!
//! Most share one broker and keep to topics of their own; it ends with the process. Those that kill or stop a broker
//! start one for themselves. Without Java and Maven they are skipped, loudly.

mod harness;

use std::sync::OnceLock;

use tidemill_test_broker::{ApacheKafka, Result, or_skip};

/// Who may come in at the port that authenticates.
const USER: (&str, &str) = ("alice", "wonderland");

/// The broker of all tests that leave it alive.
#[track_caller]
fn shared() -> Option<&'static ApacheKafka> {
    static KAFKA: OnceLock<Result<ApacheKafka>> = OnceLock::new();
    or_skip(KAFKA.get_or_init(|| ApacheKafka::builder().user(USER.0, USER.1).start()).as_ref())
}
