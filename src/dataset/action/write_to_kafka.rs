use super::each_chunk;
use crate::data::Data;
use crate::dataset::{Dataset, Flow};
use crate::error::Result;
use crate::output::kafka::{Producer, ProducerRecord};

impl<T: Data> Dataset<T> {
    /// Writes what `f` makes of each record to Kafka. Returns when the brokers have all of it, at least once.
    ///
    /// Records of a partition go out in their order, and each Kafka partition keeps it. The topic may be another for
    /// each record. To write nothing for a record, or more than one, put a `filter` or a `flat_map` before.
    ///
    /// A task that is tried again, because what lies before the output has failed, sends its records again. What the
    /// brokers do not take is tried again by the producer alone, for its delivery timeout, and is then an error.
    ///
    /// # Errors
    ///
    /// As [`collect`](Dataset::collect), and if a record is not delivered: the first of them, with its topic, its
    /// partition if one was found, its key, and why. Others of the dataset may be in Kafka then.
    ///
    /// # Examples
    ///
    /// ```
    /// use tidemill::kafka::embedded::EmbeddedBroker;
    /// use tidemill::kafka::{Producer, ProducerParams, ProducerRecord};
    ///
    /// let broker = EmbeddedBroker::start(1)?;
    /// broker.create_topic("counts", 4)?;
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let producer = Producer::new(ProducerParams::new(broker.bootstrap_servers()))?;
    /// let counts = context.parallelize([("tide".to_string(), 3), ("mill".to_string(), 1)], 2);
    /// counts.write_to_kafka(&producer, |(word, count)| {
    ///     ProducerRecord::new("counts", count.to_string()).with_key(word)
    /// })?;
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    pub fn write_to_kafka(
        &self,
        producer: &Producer,
        f: impl Fn(&T) -> ProducerRecord<'_> + Send + Sync,
    ) -> Result<()> {
        // An error in sending is no error of the task: to send all of it again at once would not help.
        let deliveries = self.run(|lineage, partition, task| {
            let delivery = producer.begin();
            let mut sent = Ok(());
            each_chunk(lineage, partition, task, |chunk| {
                sent = chunk.as_slice().iter().try_for_each(|record| delivery.send(&f(record)));
                if sent.is_ok() { Flow::Continue(()) } else { Flow::Break(()) }
            })?;
            Ok(sent.map(|()| delivery))
        })?;
        // All tasks have sent before one is waited for.
        deliveries.into_iter().try_for_each(|delivery| delivery?.finish())
    }
}
