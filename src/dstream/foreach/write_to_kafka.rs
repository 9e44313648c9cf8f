use std::panic::Location;

use crate::data::Data;
use crate::dstream::DStream;
use crate::output::kafka::{Producer, ProducerParams, ProducerRecord};

impl<T: Data> DStream<T> {
    /// Writes what `f` makes of each record of every batch to Kafka, at least once: an output operation.
    ///
    /// - **Delivery.** A batch is done when all in-sync replicas have all of its records; only then are the offsets of
    ///   its input committed. After a crash the records of batches that were not done are written again. Within a run
    ///   nothing is written twice on its way to the brokers, since the producer is idempotent; a task that is tried
    ///   again sends its records again.
    /// - **Order.** Records of a partition of the batch go out in their order, batch after batch, and each Kafka
    ///   partition keeps it.
    /// - **Partitions.** A key goes to the partition to which clients in Java send it, unless
    ///   [`ProducerParams::partitioner`] or the record says otherwise. Records without a key go to any.
    /// - **Producer.** One for the output, made here; it connects at once and in the background.
    /// - **Memory.** A copy of what is under way: 100,000 records and 1 GiB at most, unless
    ///   `queue.buffering.max.messages` and `queue.buffering.max.kbytes` say otherwise.
    ///
    /// The topic may be another for each record. To write nothing for a record, or more than one, put a `filter` or a
    /// `flat_map` before. A null value, or [`ProducerRecord::tombstone`], deletes a key from a compacted topic.
    ///
    /// # Errors
    ///
    /// A record that is not delivered within [`ProducerParams::delivery_timeout`], is too large, or has no topic stops
    /// the context, as every failing output does, and nothing of the batch is committed. Settings that cannot be used
    /// are reported by [`start`](crate::StreamingContext::start).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidemill::kafka::embedded::EmbeddedBroker;
    /// use tidemill::kafka::{ProducerParams, ProducerRecord};
    /// use tidemill::prelude::*;
    ///
    /// let broker = EmbeddedBroker::start(1)?;
    /// broker.create_topic("counts", 4)?;
    ///
    /// let context = StreamingContext::builder("word count").batch_interval(Duration::from_millis(20)).build()?;
    /// let words = QueueSource::one_at_a_time();
    /// words.push(["tide", "mill", "tide"]);
    /// let counts = context.input(words).map(|word| (word.to_string(), 1)).reduce_by_key(|a, b| a + b);
    /// let params = ProducerParams::new(broker.bootstrap_servers()).set("compression.type", "lz4");
    /// counts.write_to_kafka(params, |(word, count)| ProducerRecord::new("counts", count.to_string()).with_key(word));
    /// context.start()?;
    /// context.stop(Stop::Gracefully)?; // both counts are in Kafka
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn write_to_kafka(&self, params: ProducerParams, f: impl Fn(&T) -> ProducerRecord<'_> + Send + Sync + 'static) {
        let producer = Producer::new(params);
        if let Err(error) = &producer {
            self.graph.mistake(Location::caller(), format!("write_to_kafka: {error}"));
        }
        self.output("write_to_kafka", move |batch, _| {
            batch.write_to_kafka(producer.as_ref().map_err(Clone::clone)?, &f)
        });
    }
}
