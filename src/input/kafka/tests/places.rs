//! Where a stream keeps its place, and who moves it.

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::input::kafka::place::{Place, Progress};

#[test]
fn a_second_stream_goes_on_where_the_first_was_done() {
    let broker = broker(&[("a", 2)]);
    broker.send("a", numbers(0..4)).unwrap();
    let mut first = start(&["a"], params(&broker));
    first.batch();
    first.completed();
    broker.send("a", numbers(4..8)).unwrap();
    // Planned, and never completed.
    assert_eq!(first.batch().records, 4);
    first.stop();

    let mut second = start(&["a"], params(&broker));
    let batch = second.batch();
    assert_eq!(ranges(&batch), ["a/0 offsets 2..4", "a/1 offsets 2..4"]);
    assert_eq!(values(&batch), [["4", "6"], ["5", "7"]]);
    second.completed();
    second.stop();
    assert_eq!(start(&["a"], params(&broker)).batch().records, 0);
}

#[test]
fn completing_a_batch_completes_those_before_it() {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    for n in 0..50 {
        broker.send("a", [n.to_string()]).unwrap();
        stream.batch();
    }
    stream.source.completed(Time::from_millis(stream.now - 1000)).unwrap();
    stream.stop();
    assert_eq!(ranges(&start(&["a"], params(&broker)).batch()), ["a/0 offsets 49..50"]);
}

#[test]
fn a_refused_commit_stops_the_context() {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    broker.send("a", numbers(0..3)).unwrap();
    stream.batch();
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    broker.cluster().request_errors(RDKafkaApiKey::OffsetCommit, &[refused; 10]);
    stream.completed();
    let error = stream.errors.recv_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert_eq!(
        error.to_string(),
        "kafka a: group g could not commit its offsets a/0: 3: GroupAuthorizationFailed (Broker: Group \
         authorization failed); after a restart what follows the last commit is read again"
    );
    assert_eq!(stream.source.stop(Duration::from_secs(10)).unwrap_err().to_string(), error.to_string());
}

#[test]
fn a_commit_that_may_succeed_later_is_tried_again() {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    broker.send("a", numbers(0..3)).unwrap();
    stream.batch();
    let loading = RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS;
    broker.cluster().request_errors(RDKafkaApiKey::OffsetCommit, &[loading; 3]);
    stream.completed();
    stream.stop();
    assert_eq!(start(&["a"], params(&broker)).batch().records, 0);
}

#[test]
fn a_commit_refused_at_the_start_keeps_the_stream_from_starting() {
    let broker = broker(&[("a", 1)]);
    let refused = RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
    broker.cluster().request_errors(RDKafkaApiKey::OffsetCommit, &[refused; 10]);
    let error = try_start(&["a"], params(&broker)).map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "group g cannot commit the offsets at which it starts: GroupAuthorizationFailed (Broker: Group \
         authorization failed)"
    );
}

#[test]
fn stopping_does_not_wait_for_a_commit_longer_than_it_may() {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    broker.send("a", ["x"]).unwrap();
    stream.batch();
    broker.cluster().broker_down(1).unwrap();
    stream.completed();
    let clock = Clock::system();
    let before = clock.now();
    let error = stream.source.stop(Duration::from_millis(200)).unwrap_err();
    assert!(clock.now() - before < Duration::from_secs(2));
    assert!(error.to_string().starts_with("kafka a: group g could not commit its offsets a/0: 1: "), "{error}");
}

#[test]
fn two_streams_of_a_context_cannot_share_a_place() {
    let broker = broker(&[("a", 1), ("b", 1)]);
    let (context, _errors) = context_of(1);
    let start = |topics: &[&str], params: KafkaParams| {
        let mut source = direct_source(Subscription::topics(topics.iter().copied()), params);
        source.start(&context).map(|()| source)
    };
    let mut first = start(&["a", "b"], params(&broker)).unwrap();
    let error = start(&["b"], params(&broker)).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    let said = "kafka a,b and kafka b both want the place in b/0 that group g keeps at cluster mockCluster";
    assert!(text.starts_with(said), "{text}");
    assert!(text.ends_with(": give each stream a group id, or an offset store, of its own"), "{text}");
    // The same brokers, by another name.
    let port = broker.bootstrap_servers().replace("127.0.0.1", "localhost");
    assert!(start(&["b"], KafkaParams::new(port).group_id("g")).is_err());
    start(&["b"], params(&broker).group_id("other")).unwrap().stop(Duration::from_secs(10)).unwrap();
    start(&["b"], params(&broker).commit_never()).unwrap().stop(Duration::from_secs(10)).unwrap();
    first.stop(Duration::from_secs(10)).unwrap();
    start(&["b"], params(&broker)).unwrap().stop(Duration::from_secs(10)).unwrap();
}

#[test]
fn streams_of_two_clusters_may_share_a_group() {
    let (one, two) = (broker(&[("a", 1)]), broker(&[("a", 1)]));
    let (context, _errors) = context_of(1);
    let mut sources = [&one, &two].map(|broker| direct_source(Subscription::topics(["a"]), params(broker)));
    sources.iter_mut().for_each(|source| source.start(&context).unwrap());
    sources.iter_mut().for_each(|source| source.stop(Duration::from_secs(10)).unwrap());
}

/// Another program commits to the group of a stream, as often as the stream does. Returns what the stream says.
fn error_of_two_who_commit(mark: &str) -> String {
    let broker = broker(&[("a", 1)]);
    let mut stream = start(&["a"], params(&broker));
    let config = params(&broker).client_config(Duration::from_secs(1)).unwrap();
    let planner = Planner::new(&params(&broker), &config).unwrap();
    let place = TopicPartition::new("a", 0);
    let clock = Clock::system();
    let patience = clock.now() + Duration::from_secs(60);
    loop {
        let mut commit = planner.commit([(&place, 1_000_000)].into_iter(), mark).unwrap();
        assert_eq!(commit.outcome(Duration::from_secs(10)), Some(Ok(())));
        broker.send("a", ["x"]).unwrap();
        stream.batch();
        stream.completed();
        // It looks once a second.
        if let Ok(error) = stream.errors.recv_timeout(Duration::from_millis(20)) {
            return error.to_string();
        }
        assert!(clock.now() < patience);
    }
}

#[test]
fn somebody_else_who_commits_to_the_group_is_noticed() {
    let error = error_of_two_who_commit("tidemill pid 1 x");
    assert!(error.starts_with("kafka a: group g could not commit its offsets a/0: "), "{error}");
    let what = "another stream or program commits to group g: in a/0 this stream has committed ";
    assert!(error.contains(what), "{error}");
    let found = ", and the group now has 1000000, committed by `tidemill pid 1 x`; give each of them a group id of \
                 its own, and reset offsets only while no stream uses them; after a restart";
    assert!(error.contains(found), "{error}");
}

#[test]
fn a_tool_that_resets_the_group_is_noticed() {
    let error = error_of_two_who_commit("");
    assert!(error.contains(", and the group now has 1000000; give each of them a group id"), "{error}");
}

#[test]
fn what_the_group_had_before_is_nobody_elses() {
    let broker = broker(&[("a", 2)]);
    let partitions = [TopicPartition::new("a", 0), TopicPartition::new("a", 1)];
    let before = group_offsets(&params(&broker));
    before.load(&partitions).unwrap();
    before.commit(&[(partitions[0].clone(), 5), (partitions[1].clone(), 6)]).unwrap();
    let now = group_offsets(&params(&broker));
    assert_eq!(now.load(&partitions).unwrap(), [Some(5), Some(6)]);
    now.look_at_once();
    now.commit(&[(partitions[0].clone(), 7)]).unwrap();
    now.look_at_once();
    now.commit(&[(partitions[0].clone(), 8), (partitions[1].clone(), 8)]).unwrap();
    before.look_at_once();
    let error = before.commit(&[(partitions[1].clone(), 9)]).unwrap_err();
    assert!(matches!(&error, CommitError::Refused(error) if error.to_string().contains("has committed 6, and")));
}

#[test]
fn a_group_with_members_is_said_to_have_some() {
    let broker = broker(&[("a", 1)]);
    for code in [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    ] {
        broker.cluster().request_errors(RDKafkaApiKey::OffsetCommit, &[code; 20]);
        let error = try_start(&["a"], params(&broker)).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with("group g cannot commit the offsets at which it starts: "), "{error}");
        let said = ": group g has members, so another consumer has joined it, which this stream does not; give the \
                    stream a group id of its own";
        assert!(error.ends_with(said), "{error}");
        broker.cluster().clear_request_errors(RDKafkaApiKey::OffsetCommit);
    }
}

#[test]
fn partitions_that_appear_while_the_stream_runs_have_their_place_too() {
    let broker = broker(&[("a", 1), ("b", 2)]);
    let (context, _errors) = context_of(1);
    let handle = CommitHandle::new();
    let place = |group: &str| {
        let mut params = params(&broker).group_id(group).commit_manually(&handle);
        let planner = Planner::new(&params, &params.client_config(Duration::from_secs(1)).unwrap()).unwrap();
        Place::new("kafka a", &mut params, &Arc::new(planner), &context)
    };
    let [first, later] = [TopicPartition::new("a", 0), TopicPartition::new("b", 1)];
    let range = OffsetRange { topic: "b".into(), partition: 1, from: 0, until: 4 };
    let mut one = place("g");
    assert_eq!(one.load(std::slice::from_ref(&first)).unwrap(), [None]);
    one.join(&[(first.clone(), 3)], &[None]).unwrap();
    assert!(handle.commit_sync(std::slice::from_ref(&range)).is_err(), "the stream does not read it yet");
    // Asked again after a failure, say.
    for _ in 0..2 {
        assert_eq!(one.load(std::slice::from_ref(&later)).unwrap(), [None]);
    }
    one.join(&[(later.clone(), 0)], &[None]).unwrap();
    handle.commit_sync(std::slice::from_ref(&range)).unwrap();
    let mut two = place("g");
    let error = two.load(std::slice::from_ref(&later)).unwrap_err().to_string();
    assert!(error.starts_with("kafka a and kafka a both want the place in b/1 that group g keeps at "), "{error}");
    // A handle is connected with one stream, and the second that wants it leaves it alone.
    let mut three = place("h");
    let error = three.join(&[(first.clone(), 0)], &[None]).unwrap_err().to_string();
    assert!(error.starts_with("the commit handle of kafka a belongs to kafka a, which runs: "), "{error}");
    drop(three);
    handle.commit_sync(std::slice::from_ref(&range)).unwrap();
    one.stop(Duration::from_secs(10)).unwrap();
    assert_eq!(two.load(&[first, later]).unwrap(), [Some(3), Some(4)]);
}

#[test]
fn a_stream_that_was_told_to_start_elsewhere_moves_its_place() {
    let broker = broker(&[("a", 3)]);
    let (context, _errors) = context_of(1);
    let partitions: Arc<[_]> = (0..3).map(|partition| TopicPartition::new("a", partition)).collect();
    let group = group_offsets(&params(&broker));
    group.commit(&[(partitions[0].clone(), 5), (partitions[1].clone(), 5)]).unwrap();
    let mut params = params(&broker);
    let planner = Planner::new(&params, &params.client_config(Duration::from_secs(1)).unwrap()).unwrap();
    let mut place = Place::new("kafka a", &mut params, &Arc::new(planner), &context);
    let kept = place.load(&partitions).unwrap();
    assert_eq!(kept, [Some(5), Some(5), None]);
    let starts = [2, 5, 7];
    let joining: Vec<_> = partitions.iter().cloned().zip(starts).collect();
    place.join(&joining, &kept).unwrap();
    assert_eq!(group.load(&partitions).unwrap(), [Some(5), Some(5), Some(7)], "nothing is done yet");
    place.done(Progress { partitions: Arc::clone(&partitions), positions: Arc::new(starts) });
    place.stop(Duration::from_secs(10)).unwrap();
    assert_eq!(group.load(&partitions).unwrap(), [Some(2), Some(5), Some(7)]);
}
