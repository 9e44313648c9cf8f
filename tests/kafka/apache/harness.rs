//! The broker itself does what the tests ask of it.

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tidemill_test_broker::ApacheKafka;

use super::super::PATIENCE;

fn watermarks(kafka: &ApacheKafka, topic: &str, partition: i32) -> (i64, i64) {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", kafka.bootstrap_servers()).create().unwrap();
    client.fetch_watermarks(topic, partition, PATIENCE).unwrap()
}

#[test]
fn topics_are_made_grown_cut_and_deleted() {
    let Some(kafka) = super::shared() else { return };
    kafka.create_topic("harness", 2, &[("retention.ms", "-1")]).unwrap();
    let again = kafka.create_topic("harness", 2, &[]).unwrap_err().to_string();
    assert!(again.contains("topic harness with 2 partitions was not made") && again.contains("exist"), "{again}");
    kafka.add_partitions("harness", 3).unwrap();
    kafka.send("harness", 2, (0..10).map(|n| n.to_string())).unwrap();
    assert_eq!(watermarks(kafka, "harness", 2), (0, 10));
    kafka.delete_records("harness", 2, 4).unwrap();
    assert_eq!(watermarks(kafka, "harness", 2), (4, 10));
    kafka.delete_topic("harness").unwrap();
    assert!(kafka.delete_topic("harness").is_err(), "there is none any more");
}

#[test]
fn records_survive_kills_and_stops_on_the_same_port() {
    let Some(mut kafka) = super::mortal() else { return };
    kafka.create_topic("kept", 1, &[]).unwrap();
    let brokers = kafka.bootstrap_servers().to_string();
    for end in [ApacheKafka::kill, |kafka: &mut ApacheKafka| kafka.stop().unwrap()] {
        let (_, before) = watermarks(&kafka, "kept", 0);
        kafka.send("kept", 0, ["record"]).unwrap();
        end(&mut kafka);
        kafka.restart().unwrap();
        assert_eq!(watermarks(&kafka, "kept", 0), (0, before + 1));
    }
    assert_eq!(kafka.bootstrap_servers(), brokers);
}
