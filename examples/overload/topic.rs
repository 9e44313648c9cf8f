//! The log as a topic of Kafka, and who writes it.

use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tidemill::Clock;
use tidemill::kafka::{self, AutoOffsetReset, KafkaParams, Subscription};
use tidemill::prelude::*;
use tidemill_test_broker::ApacheKafka;

use crate::{Log, RECORD};

/// Writes records to a topic as they come in. It ends when it is told to.
pub(crate) struct Writer {
    end: std::sync::mpsc::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

/// A stream of a new topic, and its writer.
pub(crate) fn read_and_write(
    context: &StreamingContext,
    kafka: &ApacheKafka,
    topic: &'static str,
    clock: &Clock,
    log: Log,
) -> Result<(DStream<Vec<u8>>, Option<Writer>)> {
    kafka.create_topic(topic, 4, &[]).map_err(Error::user)?;
    let brokers = kafka.bootstrap_servers();
    let params = KafkaParams::new(brokers).group_id(topic).auto_offset_reset(AutoOffsetReset::Earliest);
    // KiB that are fetched ahead in each partition: half of what they are by default, to show less of it.
    let params = params.set("queued.max.messages.kbytes", "4096");
    let records = kafka::direct_stream(context, params, Subscription::topics([topic]));
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("linger.ms", "5").set("queue.buffering.max.kbytes", "4096");
    let producer: BaseProducer = config.create().map_err(Error::user)?;
    let (end, ended) = std::sync::mpsc::channel();
    let clock = clock.clone();
    let thread = std::thread::Builder::new().name("writer".to_string()).spawn(move || {
        let mut written = 0;
        while ended.try_recv().is_err() {
            while written < log.end(clock.now()) {
                let record = BaseRecord::<(), [u8]>::to(topic).payload(&[0; RECORD]);
                match producer.send(record) {
                    Ok(()) => written += 1,
                    Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => break,
                    Err((error, _)) => return Err(Error::user(error)),
                }
            }
            producer.poll(Duration::from_millis(5));
        }
        producer.flush(Duration::from_secs(10)).map_err(Error::user)
    })?;
    let stream = records.map(|record| record.value.map_or_else(Vec::new, |value| value.to_vec()));
    Ok((stream, Some(Writer { end, thread })))
}

impl Writer {
    pub(crate) fn end(self) -> Result<()> {
        // It may have ended with an error.
        let _ = self.end.send(());
        self.thread.join().unwrap_or_else(|_| Err(Error::new(ErrorKind::User, "the writer panicked")))
    }
}
