//! Programs with a checkpoint, over brokers that know the ids of topics.

use std::path::Path;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tidemill::kafka::{KafkaParams, Subscription};
use tidemill::prelude::{Result, StreamingContext};

use super::super::bad_input::assert_names;
use super::super::{PATIENCE, committed, params};
use super::Program;

fn start(directory: &Path, params: KafkaParams, subscription: Subscription) -> Result<Program> {
    let builder = StreamingContext::builder("recovered").batch_interval(Duration::from_millis(50));
    Program::run(builder.checkpoint(directory).build()?, params, subscription)
}

#[test]
fn a_checkpoint_comes_before_the_program_and_its_group() {
    let Some(kafka) = super::shared() else { return };
    let brokers = kafka.bootstrap_servers();
    kafka.create_topic("precedence", 2, &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let send = |range: std::ops::Range<u32>| kafka.send("precedence", 0, range.map(|n| n.to_string())).unwrap();
    send(0..20);
    let params = || params(brokers, "precedence");
    let topic = || Subscription::topics(["precedence"]);
    let mut first = start(folder.path(), params(), topic()).unwrap();
    first.read(20);
    first.stop();
    drop(first);
    assert_eq!(committed(brokers, "precedence", "precedence", 2), [20, 0]);

    // Somebody resets the group, and the program is told to begin elsewhere.
    let tool: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "precedence").create().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("precedence", 0, Offset::Offset(3)).unwrap();
    tool.commit(&offsets, CommitMode::Sync).unwrap();
    assert_eq!(tool.committed_offsets(offsets, PATIENCE).unwrap().elements()[0].offset(), Offset::Offset(3));
    send(20..30);
    let elsewhere = || topic().starting_at([(("precedence", 0), 5)]);
    let mut second = start(folder.path(), params(), elsewhere()).unwrap();
    second.read(10);
    second.stop();
    assert_eq!(second.partition("precedence", 0).numbers(), Vec::from_iter(20..30));
    drop(second);
    assert_eq!(committed(brokers, "precedence", "precedence", 2), [30, 0], "for those who look on");

    // Without it the program says where, and then the group.
    let empty = tempfile::tempdir().unwrap();
    let mut third = start(empty.path(), params(), elsewhere()).unwrap();
    third.read(25);
    third.stop();
    assert_eq!(third.partition("precedence", 0).numbers(), Vec::from_iter(5..30));
}

#[test]
fn a_topic_that_was_made_anew_while_nobody_looked_is_another_one() {
    let Some(kafka) = super::shared() else { return };
    let brokers = kafka.bootstrap_servers();
    // The new one is shorter, and longer, than the place of the stream in the old one.
    for (topic, sent) in [("recovered-shorter", 10), ("recovered-longer", 150)] {
        let folder = tempfile::tempdir().unwrap();
        kafka.create_topic(topic, 1, &[]).unwrap();
        kafka.send(topic, 0, (0..100).map(|n| n.to_string())).unwrap();
        let params = |fails| params(brokers, topic).fail_on_data_loss(fails);
        let mut program = start(folder.path(), params(true), Subscription::topics([topic])).unwrap();
        program.read(100);
        // Until the brokers have told the id.
        (0..10).for_each(|_| assert_eq!(program.read_batch(), 0));
        program.stop();
        drop(program);
        kafka.delete_topic(topic).unwrap();
        kafka.create_topic(topic, 1, &[]).unwrap();
        kafka.send(topic, 0, std::iter::repeat_n("new", sent)).unwrap();

        let lost = [&*format!("topic {topic} was deleted and made anew"), &*format!("({topic}/0: 100)"), "is lost"];
        let error = start(folder.path(), params(true), Subscription::topics([topic])).map(drop).unwrap_err();
        assert_names(&error, &lost);
        let mut program = start(folder.path(), params(false), Subscription::topics([topic])).unwrap();
        let what = program.lost.recv_timeout(PATIENCE).unwrap();
        assert!(lost.iter().all(|part| what.contains(part)), "{what}");
        program.read(sent);
        program.stop();
        assert_eq!(program.partition(topic, 0).values(), vec!["new"; sent]);
        drop(program);
        // Now that is known.
        let mut program = start(folder.path(), params(true), Subscription::topics([topic])).unwrap();
        kafka.send(topic, 0, ["newer"]).unwrap();
        program.read(1);
        program.stop();
        assert_eq!(program.partition(topic, 0).values(), ["newer"]);
    }
}
