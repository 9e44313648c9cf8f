//! Batches that a checkpoint has: made again, and gone on behind.

use rdkafka::types::RDKafkaRespErr;

use super::*;
use crate::id::StreamId;
use crate::listener::Event;

/// A stream of a context with a checkpoint, and what its listeners hear.
fn behind(subscription: Subscription, params: KafkaParams, last: Option<&[u8]>) -> Result<(Stream, Receiver<Event>)> {
    let mut source = direct_source(subscription, params);
    let (context, errors) = context_of(1);
    let (send, events) = unbounded();
    let context = context.of_input(StreamId(0), "kafka").reporting_to(send);
    source.start(&context.behind(last.map(Arc::from)))?;
    Ok((Stream { source, errors, now: 0, deadline: Clock::system().now() + PATIENCE }, events))
}

fn go_on(subscription: Subscription, params: KafkaParams, last: &[u8]) -> Stream {
    behind(subscription, params, Some(last)).unwrap().0
}

impl Stream {
    /// Makes the next batch again.
    fn restore(&mut self, plan: &[u8]) -> Result<InputBatch<KafkaRecord>> {
        self.now += 1000;
        self.source.restore(Time::from_millis(self.now), plan)
    }
}

fn plan_of(ranges: &[(&str, i32, i64, i64)]) -> Vec<u8> {
    let range = |&(topic, partition, from, until): &(&str, i32, i64, i64)| OffsetRange {
        topic: topic.into(),
        partition,
        from,
        until,
    };
    let ranges: Vec<_> = ranges.iter().map(range).collect();
    plan::Plan::new(&ranges, |_| None).encode().unwrap()
}

fn committed(params: &KafkaParams, partitions: i32) -> Vec<Option<i64>> {
    let partitions: Vec<_> = (0..partitions).map(|partition| TopicPartition::new("a", partition)).collect();
    group_offsets(params).load(&partitions).unwrap()
}

#[test]
fn a_batch_is_made_again_from_its_plan_and_the_next_goes_on_behind_it() {
    let broker = broker(&[("a", 2), ("b", 1)]);
    broker.send("a", numbers(0..6)).unwrap();
    let mut stream = start(&["a", "b"], params(&broker));
    let first = stream.batch();
    broker.send("a", numbers(6..10)).unwrap();
    broker.send("b", ["x"]).unwrap();
    let second = stream.batch();
    let read = [values(&first), values(&second)];
    // The program dies: nothing is done, and more comes.
    drop(stream);
    broker.send("a", numbers(10..12)).unwrap();

    let mut again = go_on(Subscription::topics(["a", "b"]), params(&broker), &second.plan);
    assert!(Source::<KafkaRecord>::can_restore(&again.source));
    let restored = [again.restore(&first.plan).unwrap(), again.restore(&second.plan).unwrap()];
    for ((restored, planned), read) in restored.iter().zip([&first, &second]).zip(&read) {
        assert_eq!((restored.records, &restored.description), (planned.records, &planned.description));
        assert_eq!(ranges(restored), ranges(planned));
        assert_eq!(restored.plan, planned.plan);
        assert_eq!(values(restored), *read);
    }
    let third = again.batch();
    assert_eq!(ranges(&third), ["a/0 offsets 5..6", "a/1 offsets 5..6", "b/0 offsets 1..1"]);
    assert_eq!(values(&third), [vec!["10"], vec!["11"], vec![]]);
    // In any order, and again.
    assert_eq!(values(&restored[0]), read[0]);
    again.stop();
}

#[test]
fn the_checkpoint_comes_before_what_the_program_says_and_what_is_committed() {
    let broker = broker(&[("a", 3)]);
    broker.send("a", numbers(0..30)).unwrap();
    let params = params(&broker).auto_offset_reset(AutoOffsetReset::AtTime(Time::from_millis(1)));
    group_offsets(&params).commit(&[(TopicPartition::new("a", 0), 9), (TopicPartition::new("a", 2), 7)]).unwrap();
    let subscription = || Subscription::topics(["a"]).starting_at([(("a", 0), 1), (("a", 1), 2)]);
    let starts = |plan: &[u8]| -> Vec<i64> {
        let mut stream = go_on(subscription(), params.clone(), plan);
        let starts = stream.batch().dataset.offset_ranges().unwrap().iter().map(|range| range.from).collect();
        stream.stop();
        starts
    };
    assert_eq!(starts(&plan_of(&[("a", 0, 3, 4), ("a", 1, 5, 6), ("a", 2, 0, 3)])), [4, 6, 3]);
    // What it does not know of starts as ever: where it is told, or else behind what is committed.
    assert_eq!(starts(&plan_of(&[("a", 0, 3, 4)])), [4, 2, 7]);
    // An offset that the log does not have is no mistake if nobody starts there.
    let beyond = Subscription::topics(["a"]).starting_at([(("a", 0), 999)]);
    go_on(beyond, params.clone(), &plan_of(&[("a", 0, 3, 4)])).stop();
    // At the end if it is told so, and where a partition was added since, at its beginning.
    let latest = params.group_id("latest").auto_offset_reset(AutoOffsetReset::Latest);
    let mut stream = go_on(Subscription::topics(["a"]), latest, &plan_of(&[("a", 0, 3, 4)]));
    assert_eq!(ranges(&stream.batch()), ["a/0 offsets 4..10", "a/1 offsets 0..10", "a/2 offsets 0..10"]);
    stream.stop();
}

#[test]
fn what_is_restored_is_committed_when_it_is_done_and_not_before() {
    let broker = broker(&[("a", 2)]);
    broker.send("a", numbers(0..20)).unwrap();
    let params = params(&broker);
    let plans = [plan_of(&[("a", 0, 0, 3)]), plan_of(&[("a", 0, 3, 5), ("a", 1, 0, 4)])];
    let mut stream = go_on(Subscription::topics(["a"]), params.clone(), &plans[1]);
    plans.iter().for_each(|plan| drop(stream.restore(plan).unwrap()));
    stream.source.completed(Time::from_millis(1000)).unwrap();
    stream.stop();
    // Of the second partition the first of the batches has nothing.
    assert_eq!(committed(&params, 2), [Some(3), None]);
    let mut stream = go_on(Subscription::topics(["a"]), params.clone(), &plans[1]);
    plans.iter().for_each(|plan| drop(stream.restore(plan).unwrap()));
    stream.completed();
    stream.stop();
    assert_eq!(committed(&params, 2), [Some(5), Some(4)]);
}

#[test]
fn what_the_subscription_does_not_name_any_more_is_read_for_its_batches() {
    let broker = broker(&[("a", 1), ("b", 2)]);
    broker.send("a", numbers(0..3)).unwrap();
    broker.send("b", numbers(0..3000)).unwrap();
    let plans =
        [plan_of(&[("a", 0, 0, 1), ("b", 0, 0, 2)]), plan_of(&[("a", 0, 1, 2), ("b", 0, 2, 1500), ("b", 1, 0, 1)])];
    let mut stream = go_on(Subscription::topics(["a"]), params(&broker), &plans[1]);
    let restored = plans.each_ref().map(|plan| stream.restore(plan).unwrap());
    assert_eq!(stream.batch().description, "a/0 offsets 2..3");
    for _ in 0..2 {
        assert_eq!(values(&restored[0]), [vec!["0"], vec!["0", "2"]]);
        let second = values(&restored[1]);
        assert_eq!((&second[0], &second[2], second[1].len()), (&vec!["1".to_string()], &vec!["1".to_string()], 1498));
    }
    stream.stop();
}

#[test]
fn a_log_that_has_become_shorter_than_the_checkpoint_says_is_lost() {
    let broker = broker(&[("a", 1)]);
    broker.send("a", numbers(0..5)).unwrap();
    let topic = || Subscription::topics(["a"]);
    let plan = plan_of(&[("a", 0, 3, 8)]);
    let error = behind(topic(), params(&broker), Some(&plan)).map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a/0: the checkpoint has read up to offset 8, and the log ends at 5: it was truncated, or the topic made anew; \
         to go on without them, set `fail_on_data_loss(false)`, or begin with another checkpoint directory"
    );
    let (mut stream, events) = behind(topic(), params(&broker).fail_on_data_loss(false), Some(&plan)).unwrap();
    let Ok(Event::DataLost { what, .. }) = events.try_recv() else { panic!("nothing was reported") };
    assert!(what.starts_with("a/0: the checkpoint has read up to offset 8, and the log ends at 5"), "{what}");
    assert_eq!(ranges(&stream.batch()), ["a/0 offsets 5..5"]);
    stream.stop();
}

#[test]
fn a_partition_that_is_gone_since_the_checkpoint_is_no_secret() {
    let broker = broker(&[("a", 1), ("b", 1)]);
    broker.send("b", numbers(0..5)).unwrap();
    let both = || Subscription::pattern("a|b");
    let plan = plan_of(&[("a", 0, 3, 8), ("b", 0, 0, 2)]);
    broker.cluster().topic_error("a", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    // A topic in trouble may come back, and then goes on where the checkpoint says.
    let (mut stream, events) = behind(both(), params(&broker).fail_on_data_loss(false), Some(&plan)).unwrap();
    assert_eq!(ranges(&stream.batch()), ["b/0 offsets 2..5"]);
    stream.stop();
    assert!(events.try_recv().is_err());
    // One that nobody knows of does not.
    let plan = plan_of(&[("b", 0, 0, 2), ("b", 1, 3, 8)]);
    let error = behind(both(), params(&broker), Some(&plan)).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("b/1 does not exist any more: what it had from offset 8 on is lost; "), "{error}");
    let (stream, events) = behind(both(), params(&broker).fail_on_data_loss(false), Some(&plan)).unwrap();
    stream.stop();
    assert!(matches!(events.try_recv(), Ok(Event::DataLost { what, .. }) if what.starts_with("b/1 does not exist")));
}

#[test]
fn what_another_source_has_written_is_refused() {
    let broker = broker(&[("a", 1)]);
    let error = behind(Subscription::topics(["a"]), params(&broker), Some(&[0; 8])).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert!(error.to_string().contains("its format is 0, and this version knows 1"), "{error}");
    let mut stream = start(&["a"], params(&broker));
    assert!(stream.restore(&[]).is_err());
    stream.stop();
}
