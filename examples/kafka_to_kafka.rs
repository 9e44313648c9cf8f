//! How do I write what I have computed back to Kafka?
//!
//! Gauges send their levels to the topic `readings`. The program writes each level on, under the name of its gauge as
//! the key: high ones to the topic `alarms`, the others to `levels`. A record of `alarms` says in a header what the limit
//! was. All records of a gauge lie in one partition of a topic, in their order.
//!
//! ```text
//! cargo run --example kafka_to_kafka
//! ```
//!
//! The broker is part of the program. The offsets of a batch are committed when Kafka has all that was made of it, so
//! a program that is killed loses no record, and may write some twice. To see what came out, the same program reads
//! both topics. It prints:
//!
//! ```text
//! alarms north: 171 (limit 100)
//! alarms west: 120 (limit 100)
//! levels north: 71
//! levels south: 12
//! levels west: 9
//! ```

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use tidemill::kafka::embedded::EmbeddedBroker;
use tidemill::kafka::{self, AutoOffsetReset, KafkaParams, ProducerParams, ProducerRecord, Subscription};
use tidemill::prelude::*;

const LIMIT: u32 = 100;

fn main() -> Result<()> {
    let broker = EmbeddedBroker::start(1)?;
    for topic in ["readings", "alarms", "levels"] {
        broker.create_topic(topic, 4)?;
    }
    broker.send("readings", ["north 71", "south 12", "north 171", "west 120", "west 9"])?;

    let context = StreamingContext::builder("gauges").batch_interval(Duration::from_millis(50)).build()?;
    let read = |group: &str, topics: &[&str]| {
        let params = KafkaParams::new(broker.bootstrap_servers()).group_id(group);
        let params = params.auto_offset_reset(AutoOffsetReset::Earliest);
        kafka::direct_stream(&context, params, Subscription::topics(topics.iter().copied()))
    };

    let readings = read("gauges", &["readings"]).try_map(|record| {
        let text = record.value_utf8()?;
        let (gauge, level) = text.split_once(' ').ok_or_else(|| Error::user(format!("no level in {text:?}")))?;
        Ok((gauge.to_string(), level.parse::<u32>().map_err(Error::user)?))
    });
    let producer = ProducerParams::new(broker.bootstrap_servers()).set("compression.type", "lz4");
    readings.write_to_kafka(producer, |(gauge, level)| {
        let value = level.to_string();
        if *level > LIMIT {
            ProducerRecord::new("alarms", value).with_key(gauge).with_header("limit", LIMIT.to_string())
        } else {
            ProducerRecord::new("levels", value).with_key(gauge)
        }
    });

    let (send, written) = mpsc::channel();
    let lines = read("shown", &["alarms", "levels"]).try_map(|record| {
        let line = format!("{} {}: {}", record.topic, record.key_utf8()?, record.value_utf8()?);
        Ok(match record.headers.last("limit") {
            Some(limit) => format!("{line} (limit {})", String::from_utf8_lossy(limit)),
            None => line,
        })
    });
    lines.foreach_batch(move |lines, _| lines.foreach(|line| send.send(line).map_err(Error::user)));

    context.start()?;
    let lines: BTreeSet<String> = written.iter().take(5).collect();
    context.stop(Stop::Gracefully)?;
    lines.iter().try_for_each(|line| Ok(writeln!(std::io::stdout(), "{line}")?))
}
