use super::memory::Memory;
use super::*;

/// A journal that has begun, its clock, and what it reports.
fn begun(memory: &Memory) -> (Journal, ManualClock, crossbeam_channel::Receiver<Error>) {
    let (failed, errors) = unbounded();
    let hands = ManualClock::new();
    let on_error: OnError = Arc::new(move |error| failed.send(error).unwrap());
    let settings = Checkpoint::on(memory.clone());
    let (journal, _) = open(&settings, "clicks", &Clock::manual(&hands), &never(), &on_error).unwrap();
    journal.begin(&manifest()).unwrap();
    (journal, hands, errors)
}

#[test]
fn a_full_disk_is_waited_for_and_nothing_is_left_out() {
    let memory = Memory::default();
    let (journal, hands, errors) = begun(&memory);
    run(&journal, 1, vec![chunk(0, 1, 1, "a")]);
    memory.set_full(true);
    let ticket = journal.planned(&planned(2));
    // The alarm of the back-off comes before the next beat of the heart.
    while hands.alarms().first() != Some(&Time::from_millis(10)) {
        std::thread::yield_now();
    }
    memory.set_full(false);
    hands.advance(Duration::from_millis(10));
    journal.wait(&ticket).unwrap();
    drop(journal);
    assert!(errors.try_recv().is_err());
    let (_, recovered) = open_with(&Checkpoint::on(memory)).unwrap();
    let recovered = recovered.unwrap();
    assert_eq!(recovered.reports(), [""; 0]);
    assert_eq!(recovered.batches().len(), 2);
}

#[test]
fn a_disk_that_stays_full_is_an_error_and_all_is_there_after_a_restart() {
    let memory = Memory::default();
    let (journal, hands, errors) = begun(&memory);
    run(&journal, 1, vec![chunk(0, 1, 1, "a")]);
    memory.set_full(true);
    let ticket = journal.planned(&planned(2));
    let error = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| journal.wait(&ticket).unwrap_err());
        while !waiting.is_finished() {
            hands.advance(Duration::from_millis(500));
            std::thread::yield_now();
        }
        waiting.join().unwrap().to_string()
    });
    for part in ["memory", "batches-0000000001-0000000000 at byte", "could not be written for ", "start again"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert_eq!(errors.recv().unwrap().to_string(), error);
    assert_eq!(journal.check_owner(&never()).unwrap_err().to_string(), error);
    assert!(journal.settled(at(2), Vec::new(), at(2), Box::new(|| ())).is_err());
    assert!(open_with(&Checkpoint::on(memory.clone())).unwrap_err().to_string().contains("cannot be written to"));
    memory.set_full(false);
    let (journal, recovered) = open_with(&Checkpoint::on(memory.clone())).unwrap();
    let recovered = recovered.unwrap();
    assert_eq!(recovered.done_up_to(), at(1));
    assert_eq!(restored(&recovered), [(1, 0, "a".to_string())]);
    journal.begin(&manifest()).unwrap();
    run(&journal, 2, vec![chunk(0, 1, 1, "b")]);
    drop(journal);
    assert_eq!(open_with(&Checkpoint::on(memory)).unwrap().1.unwrap().done_up_to(), at(2));
}

/// It ended the context the first time that the storage could not be asked.
#[test]
fn a_look_that_fails_is_made_again_for_as_long_as_a_write() {
    let memory = Memory::default();
    let (journal, hands, _) = begun(&memory);
    let look = |until: &dyn Fn(Time) -> bool| {
        memory.set_blind(true);
        let began = hands.now();
        std::thread::scope(|scope| {
            let looking = scope.spawn(|| journal.check_owner(&never()));
            while hands.alarms().first() != Some(&(began + Duration::from_millis(10))) {
                assert!(!looking.is_finished(), "it did not wait");
                std::thread::yield_now();
            }
            while !looking.is_finished() {
                memory.set_blind(until(hands.now()));
                hands.advance(Duration::from_millis(10));
                std::thread::yield_now();
            }
            (looking.join().unwrap(), hands.now() - began)
        })
    };
    look(&|_| false).0.unwrap();

    let (outcome, waited) = look(&|_| true);
    assert!(waited >= Duration::from_secs(30), "{waited:?}");
    let error = outcome.unwrap_err().to_string();
    let reason = std::io::Error::from(std::io::ErrorKind::HostUnreachable).to_string();
    for part in ["checkpoint memory: ", "epoch-0000000002 could not be looked up for ", &reason, "mend the storage"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    memory.set_blind(false);
    journal.check_owner(&never()).unwrap();
}

#[test]
fn a_look_that_fails_ends_with_the_context() {
    let memory = Memory::default();
    let (journal, hands, _) = begun(&memory);
    memory.set_blind(true);
    let (runs, stopped) = crossbeam_channel::bounded::<std::convert::Infallible>(0);
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| journal.check_owner(&stopped));
        while hands.alarms().first() != Some(&Time::from_millis(10)) {
            std::thread::yield_now();
        }
        drop(runs);
        // Its clock stands still. Whose it is nobody knows, and so it is not ours.
        looking.join().unwrap().unwrap_err();
    });
}

#[test]
fn what_waits_while_something_is_written_is_synced_at_once() {
    let memory = Memory::default();
    let (journal, _, _) = begun(&memory);
    let before = memory.syncs();
    let (reaches, open) = memory.gate();
    let first = journal.planned(&planned(1));
    reaches.recv().unwrap();
    let others: Vec<Ticket> = (2..=6).map(|second| journal.planned(&planned(second))).collect();
    open.send(()).unwrap();
    for ticket in std::iter::once(first).chain(others) {
        journal.wait(&ticket).unwrap();
    }
    assert_eq!(memory.syncs() - before, 2);
}

#[test]
fn every_policy_syncs_as_often_as_it_says() {
    for (policy, expected) in [
        (SyncPolicy::EveryBatch, [3, 3]),                        // the plan, the state, the end
        (SyncPolicy::Every(Duration::from_millis(500)), [0, 2]), // both logs
        (SyncPolicy::Never, [0, 0]),
    ] {
        let memory = Memory::default();
        let hands = ManualClock::new();
        let settings = Checkpoint::on(memory.clone()).sync(policy);
        let (journal, _) =
            open(&settings, "clicks", &Clock::manual(&hands), &never(), &(Arc::new(|_| ()) as OnError)).unwrap();
        journal.begin(&manifest()).unwrap();
        journal.wait(&journal.planned(&planned(1))).unwrap();
        let (done, is_done) = unbounded();
        let then = Box::new(move || done.send(()).unwrap());
        journal.settled(at(1), vec![chunk(0, 1, 1, "a")], at(1), then).unwrap();
        is_done.recv().unwrap();
        let after_batch = memory.syncs();
        if let SyncPolicy::Every(interval) = policy {
            while hands.alarms().first() != Some(&(Time::ZERO + interval)) {
                std::thread::yield_now();
            }
            hands.advance(interval);
            while memory.syncs() < 2 {
                std::thread::yield_now();
            }
        }
        assert_eq!([after_batch, memory.syncs()], expected, "{policy:?}");
        // Whatever the policy, what is closed outlives a power cut.
        journal.close(&never::<()>()).unwrap();
        assert!(memory.syncs() >= 2, "{policy:?}");
    }
}

#[test]
fn closing_gives_up_at_its_alarm() {
    let memory = Memory::default();
    let (journal, _, _) = begun(&memory);
    memory.set_full(true);
    let _ticket = journal.planned(&planned(1));
    let (ring, alarm) = unbounded();
    ring.send(()).unwrap();
    assert_eq!(journal.close(&alarm).unwrap_err().kind(), crate::error::ErrorKind::Timeout);
}

#[test]
fn batches_wait_while_too_much_is_on_its_way_to_the_disk() {
    let memory = Memory::default();
    let settings = Checkpoint { max_waiting_bytes: 100, ..Checkpoint::on(memory.clone()) };
    let (journal, _) = open_with(&settings).unwrap();
    journal.begin(&manifest()).unwrap();
    let (reaches, open) = memory.gate();
    let ticket = journal.planned(&planned(1));
    reaches.recv().unwrap();
    let settle = |second, bytes: &str| journal.settled(at(second), vec![chunk(0, 1, 1, bytes)], at(1), Box::new(|| ()));
    // More than all the room there is, but there is nothing else.
    settle(1, &"first ".repeat(20)).unwrap();
    let is_written = |text: &str| memory.files().values().any(|bytes| bytes.windows(5).any(|w| w == text.as_bytes()));
    std::thread::scope(|scope| {
        let (starts, started) = unbounded();
        let waiting = scope.spawn(move || {
            starts.send(()).unwrap();
            settle(2, "second").unwrap();
            is_written("first")
        });
        started.recv().unwrap();
        // Whoever does not wait is through by then.
        (0..1000).for_each(|_| std::thread::yield_now());
        open.send(()).unwrap();
        assert!(waiting.join().unwrap(), "it did not wait");
    });
    journal.wait(&ticket).unwrap();
    journal.close(&never::<()>()).unwrap();
    assert!(is_written("secon"));
}
