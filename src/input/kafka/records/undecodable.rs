use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::display;

use super::message::KafkaMessage;
use crate::error::{Error, Result};
use crate::exec::Accumulator;
use crate::output::kafka::{Delivery, Producer, ProducerRecord};
use crate::time::Time;

/// What a stream does with a message that cannot be decoded, for [`KafkaParams::undecodable`].
///
/// It is asked where the stream itself decodes, so for [`direct_stream_as`], [`direct_stream_with`] and
/// [`create_dataset_as`], about every error that comes from there. A panic is none of these errors: it fails the batch.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::kafka::{self, AutoOffsetReset, Json, KafkaParams, Subscription, Undecodable, embedded::EmbeddedBroker};
/// use tidemill::prelude::*;
///
/// let broker = EmbeddedBroker::start(1)?;
/// broker.create_topic("cents", 1)?;
/// broker.send("cents", ["1250", "a lot", "400"])?;
///
/// let context = StreamingContext::builder("totals").batch_interval(Duration::from_millis(20)).build()?;
/// let skipped = context.accumulator::<u64>("skipped");
/// let params = KafkaParams::new(broker.bootstrap_servers())
///     .group_id("totals")
///     .auto_offset_reset(AutoOffsetReset::Earliest)
///     .undecodable(Undecodable::Skip(skipped.clone()));
/// let cents = kafka::direct_stream_as::<Json<u64>>(&context, params, Subscription::topics(["cents"]));
/// let (send, totals) = std::sync::mpsc::channel();
/// cents.map(|Json(cents)| cents).reduce(|a, b| a + b).foreach_batch(move |totals, _| {
///     totals.foreach(|total| send.send(total).map_err(Error::user))
/// });
/// context.start()?;
/// assert_eq!(totals.recv()?, 1650);
/// assert_eq!(skipped.value(), 1);
/// context.stop(Stop::Gracefully)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`KafkaParams::undecodable`]: crate::kafka::KafkaParams::undecodable
/// [`create_dataset_as`]: crate::kafka::create_dataset_as
/// [`direct_stream_as`]: crate::kafka::direct_stream_as
/// [`direct_stream_with`]: crate::kafka::direct_stream_with
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Undecodable {
    /// Fails the batch, and with it the program. The error names topic, partition, offset and reason. The default.
    #[default]
    Fail,
    /// Goes on without it and counts it, in an accumulator of the program. The log has the first of each batch.
    ///
    /// It is counted as often as the stream is computed: once for each batch, also when tasks are tried again, as long
    /// as one output reads the stream or several share it.
    Skip(Accumulator<u64>),
    /// Writes it to a topic and goes on without it. The log has the first of each batch.
    DeadLetters(DeadLetters),
}

/// A topic for messages that cannot be decoded, for [`Undecodable::DeadLetters`].
///
/// A dead letter has the key, the value and the headers of the message, and after them four headers in text:
/// [`TOPIC`](Self::TOPIC), [`PARTITION`](Self::PARTITION) and [`OFFSET`](Self::OFFSET) say which message it was, and
/// [`REASON`](Self::REASON) why it could not be decoded.
///
/// The brokers have the dead letters of a task before the task is done, so none is lost. A task or a batch that runs
/// again writes them again: topic, partition and offset tell which are the same. A dead letter that cannot be written
/// fails the batch.
///
/// # Examples
///
/// ```
/// use tidemill::kafka::embedded::EmbeddedBroker;
/// use tidemill::kafka::{DeadLetters, KafkaParams, Producer, ProducerParams, Undecodable};
///
/// let broker = EmbeddedBroker::start(1)?;
/// broker.create_topic("orders.dead", 1)?;
/// let producer = Producer::new(ProducerParams::new(broker.bootstrap_servers()))?;
/// let params = KafkaParams::new(broker.bootstrap_servers())
///     .group_id("totals")
///     .undecodable(Undecodable::DeadLetters(DeadLetters::new(&producer, "orders.dead")));
/// # Ok::<(), tidemill::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DeadLetters {
    producer: Producer,
    topic: Arc<str>,
}

impl DeadLetters {
    /// The header with the topic of the message.
    pub const TOPIC: &str = "tidemill.dead-letter.topic";
    /// The header with the partition of the message.
    pub const PARTITION: &str = "tidemill.dead-letter.partition";
    /// The header with the offset of the message.
    pub const OFFSET: &str = "tidemill.dead-letter.offset";
    /// The header with the error.
    pub const REASON: &str = "tidemill.dead-letter.reason";

    /// Dead letters in this topic, which has to exist, by this producer, which may have other records to write too.
    pub fn new(producer: &Producer, topic: impl Into<Arc<str>>) -> Self {
        DeadLetters { producer: producer.clone(), topic: topic.into() }
    }

    fn send(&self, message: &KafkaMessage<'_>, why: &Error, delivery: &Delivery) -> Result<()> {
        let mut letter = ProducerRecord::new(&*self.topic, message.value()).with_key(message.key());
        for (name, value) in message.headers() {
            letter = letter.with_header(name, value);
        }
        let letter = letter
            .with_header(Self::TOPIC, message.topic())
            .with_header(Self::PARTITION, message.partition().to_string())
            .with_header(Self::OFFSET, message.offset().to_string())
            .with_header(Self::REASON, why.to_string());
        delivery.send(&letter).map_err(undelivered)
    }
}

fn undelivered(error: Error) -> Error {
    error.within("a message that cannot be decoded is no dead letter either")
}

/// What is done with messages that cannot be decoded, as the tasks of a batch see it.
pub(super) struct Policy {
    undecodable: Undecodable,
    /// The stream and the time of the batch, if it is one of a stream.
    batch: Option<(String, Time)>,
    /// Whether the log has one of the batch.
    is_told: AtomicBool,
}

/// What a task has left out.
#[derive(Default)]
pub(in crate::input::kafka) struct LeftOut {
    /// Of its dead letters.
    delivery: Option<Delivery>,
}

impl Policy {
    pub(super) fn new(undecodable: Undecodable, batch: Option<(String, Time)>) -> Self {
        Policy { undecodable, batch, is_told: AtomicBool::new(false) }
    }

    pub(super) fn for_batch(&self, stream: &str, batch: Time) -> Self {
        Policy::new(self.undecodable.clone(), Some((stream.to_string(), batch)))
    }

    /// Does what has to be done with a message of a task.
    #[cold]
    pub(super) fn apply(&self, message: &KafkaMessage<'_>, why: Error, left_out: &mut LeftOut) -> Result<()> {
        let place = format!("{}/{} offset {}", message.topic(), message.partition(), message.offset());
        match &self.undecodable {
            Undecodable::Fail => return Err(why.within(place)),
            Undecodable::Skip(count) => count.add(1),
            Undecodable::DeadLetters(letters) => {
                let delivery = left_out.delivery.get_or_insert_with(|| letters.producer.begin());
                letters.send(message, &why, delivery).map_err(|error| error.within(place.clone()))?;
            }
        }
        if !self.is_told.swap(true, Ordering::Relaxed) {
            let (stream, batch) = self.batch.as_ref().map(|(stream, batch)| (&**stream, display(batch))).unzip();
            tracing::warn!(stream, batch, "{place}: {why}; more such messages of the batch are not logged");
        }
        Ok(())
    }
}

impl LeftOut {
    /// Waits until what was left out is where it belongs.
    pub(in crate::input::kafka) fn finish(self) -> Result<()> {
        self.delivery.map_or(Ok(()), |delivery| delivery.finish().map_err(undelivered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::kafka::KafkaRecord;

    /// What the log has after `body`, a line each.
    fn logged(body: impl FnOnce()) -> Vec<String> {
        struct Line(crossbeam_channel::Sender<String>);
        impl std::io::Write for Line {
            fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
                self.0.send(String::from_utf8_lossy(text).trim_end().to_string()).unwrap();
                Ok(text.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (send, lines) = crossbeam_channel::unbounded();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_target(false);
        tracing::subscriber::with_default(subscriber.with_writer(move || Line(send.clone())).finish(), body);
        lines.try_iter().collect()
    }

    #[test]
    fn the_log_has_the_first_of_each_batch() {
        let count = Accumulator::sum("skipped".to_string());
        let stream = Policy::new(Undecodable::Skip(count.clone()), None);
        let leave_out = |policy: &Policy, offset| {
            let record = KafkaRecord::new("orders", 2, offset);
            let why = Error::user("no order");
            policy.apply(&KafkaMessage::from(&record), why, &mut LeftOut::default()).unwrap();
        };
        let lines = logged(|| {
            for (time, offsets) in [(1000, 0..3), (2000, 3..5)] {
                let batch = stream.for_batch("kafka orders", Time::from_millis(time));
                offsets.for_each(|offset| leave_out(&batch, offset));
            }
            leave_out(&stream, 9);
        });
        let more = "more such messages of the batch are not logged";
        assert_eq!(
            lines,
            [
                format!(" WARN orders/2 offset 0: no order; {more} stream=\"kafka orders\" batch=1000 ms"),
                format!(" WARN orders/2 offset 3: no order; {more} stream=\"kafka orders\" batch=2000 ms"),
                format!(" WARN orders/2 offset 9: no order; {more}"),
            ]
        );
        assert_eq!(count.value(), 6);
    }
}
