use super::damage;
use super::memory::Memory;
use super::*;
use crate::checkpoint::format::{FRAME_HEAD, FileId, put_frame, put_time, put_u64};

const LEASE: Duration = Duration::from_secs(10);

fn open_on(settings: &Checkpoint, hands: &ManualClock) -> Result<(Journal, Option<Recovered>)> {
    open(settings, "clicks", &Clock::manual(hands), &never(), &(Arc::new(|_| ()) as OnError))
}

/// Opens as a standby, on a clock that runs on until that is done.
fn take_over(settings: &Checkpoint, before: impl FnOnce(&ManualClock)) -> (Journal, Option<Recovered>, Time) {
    let hands = ManualClock::new();
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| open_on(settings, &hands).unwrap());
        while hands.alarms().is_empty() {
            std::thread::yield_now();
        }
        before(&hands);
        while !opening.is_finished() {
            hands.advance(Duration::from_millis(100));
            std::thread::yield_now();
        }
        let (journal, recovered) = opening.join().unwrap();
        (journal, recovered, hands.now())
    })
}

#[test]
fn a_second_process_is_refused_and_told_by_whom() {
    let directory = TempDir::new().unwrap();
    let (journal, _) = open_in(directory.path());
    let error = open_with(&Checkpoint::new(directory.path())).unwrap_err();
    assert_eq!(error.kind(), crate::error::ErrorKind::Checkpoint);
    let error = error.to_string();
    let who = format!("process {} on ", std::process::id());
    for part in [directory.path().to_str().unwrap(), &who, "\"clicks\"", "since 0 ms", "Checkpoint::standby"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    drop(journal);
    open_with(&Checkpoint::new(directory.path())).unwrap();
}

#[test]
fn a_standby_takes_over_from_one_that_ends() {
    let directory = TempDir::new().unwrap();
    let (journal, _) = open_in(directory.path());
    journal.begin(&manifest()).unwrap();
    let settings = Checkpoint::new(directory.path()).standby(Duration::from_secs(1_000_000));
    let (_, recovered, _) = take_over(&settings, |_| {
        run(&journal, 1, vec![chunk(0, 1, 1, "a")]);
        journal.close(&never::<()>()).unwrap();
    });
    assert_eq!(recovered.unwrap().done_up_to(), at(1));
}

#[test]
fn a_standby_takes_over_from_one_whose_heart_stands_still_and_the_old_one_is_fenced() {
    let memory = Memory::default();
    // Its clock does not go on, and so its heart does not beat.
    let (old, _) = open_with(&Checkpoint::on(memory.clone())).unwrap();
    old.begin(&manifest()).unwrap();
    run(&old, 1, vec![chunk(0, 1, 1, "a")]);
    let (new, recovered, waited) = take_over(&Checkpoint::on(memory.clone()).standby(LEASE), |_| ());
    assert!(waited >= Time::ZERO + LEASE, "{waited}");
    assert_eq!(recovered.unwrap().done_up_to(), at(1));

    let error = old.check_owner(&never()).unwrap_err().to_string();
    assert!(error.contains("fenced by process") && error.contains("epoch 2"), "{error}");
    let error = old.wait(&old.planned(&planned(2))).unwrap_err().to_string();
    assert!(error.contains("fenced by process"), "{error}");
    assert!(old.settled(at(1), Vec::new(), at(1), Box::new(|| ())).is_err());

    new.check_owner(&never()).unwrap();
    new.begin(&manifest()).unwrap();
    run(&new, 2, vec![chunk(0, 1, 1, "b")]);

    // What the old one still has under way when it is fenced is not seen.
    let log = FileId::batches(1, 0);
    memory.change(|files| {
        let bytes = files.get_mut(&log.name()).unwrap();
        let (mut body, end) = (Vec::new(), bytes.len() as u64);
        put_u64(&mut body, end);
        body.push(4);
        put_time(&mut body, at(9));
        put_time(&mut body, at(9));
        body.push(0);
        put_frame(log, end, &body, bytes).unwrap();
        assert_eq!(bytes.len() as u64, end + FRAME_HEAD + 26);
        files.get_mut(&FileId::state(1, 0).name()).unwrap().extend_from_slice(b"late");
    });
    drop((old, new));
    let (_, recovered) = open_with(&Checkpoint::on(memory)).unwrap();
    let recovered = recovered.unwrap();
    assert_eq!((recovered.done_up_to(), recovered.reports()), (at(2), &[][..]));
    assert_eq!(restored(&recovered), [(1, 0, "a".to_string()), (2, 0, "b".to_string())]);
}

#[test]
fn a_heart_that_beats_is_left_alone() {
    let memory = Memory::default();
    let hands = ManualClock::new();
    let (journal, _) = open_on(&Checkpoint::on(memory.clone()), &hands).unwrap();
    let settings = Checkpoint::on(memory.clone()).standby(LEASE);
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| open_on(&settings, &hands));
        let heart = || memory.files()[&FileId::alive(1).name()].clone();
        for _ in 0..50 {
            let before = heart();
            hands.advance(Duration::from_secs(1));
            while heart() == before {
                std::thread::yield_now();
            }
        }
        assert!(!opening.is_finished());
        journal.check_owner(&never()).unwrap();
        drop(journal);
        while !opening.is_finished() {
            hands.advance(Duration::from_millis(500));
            std::thread::yield_now();
        }
        assert!(opening.join().unwrap().is_ok());
    });
}

#[test]
fn flipped_bits_of_an_owner_that_lives_make_no_second_one() {
    let memory = Memory::default();
    let hands = ManualClock::new();
    let (journal, _) = open_on(&Checkpoint::on(memory.clone()), &hands).unwrap();
    journal.begin(&manifest()).unwrap();
    let files = memory.files();
    let of_owner = |(name, _): &(&String, usize)| ["epoch", "alive"].iter().any(|kind| name.starts_with(kind));
    for (name, bit) in damage::bits(&files).filter(of_owner) {
        memory.change(|files| damage::flip(files, name, bit));
        let refused = open_with(&Checkpoint::on(memory.clone())).unwrap_err().to_string();
        assert!(refused.contains("checkpoint memory: belongs to "), "{refused}");
        let owners = Inspection::open(Checkpoint::on(memory.clone())).unwrap().owners();
        if name.starts_with("epoch") {
            assert!(refused.contains(&format!("(epoch 1: {name}")), "bit {bit}: {refused}");
            assert!(owners.unwrap_err().to_string().contains(name), "bit {bit}");
        } else {
            assert_eq!(owners.unwrap().len(), 1);
        }
        journal.check_owner(&never()).unwrap();
        memory.change(|files| damage::flip(files, name, bit));
    }
    assert_eq!(memory.files(), files);

    // Nor for a standby, which finds every second heart damaged.
    let standby = Checkpoint::on(memory.clone()).standby(LEASE);
    let (stay, leave) = crossbeam_channel::bounded::<std::convert::Infallible>(0);
    std::thread::scope(|scope| {
        let (standby, clock) = (&standby, Clock::manual(&hands));
        let opening = scope.spawn(move || open(standby, "clicks", &clock, &leave, &(Arc::new(|_| ()) as OnError)));
        let (epoch, alive) = (FileId::epoch(1).name(), FileId::alive(1).name());
        for bit in 0..40 {
            if bit % 2 == 0 {
                memory.change(|files| [&epoch, &alive].iter().for_each(|name| damage::flip(files, name, 9 * bit)));
            }
            let before = memory.files()[&alive].clone();
            hands.advance(Duration::from_secs(1));
            let next_look = hands.now() + Duration::from_millis(500);
            while memory.files()[&alive] == before || !hands.alarms().contains(&next_look) {
                assert!(!opening.is_finished());
                std::thread::yield_now();
            }
        }
        journal.check_owner(&never()).unwrap();
        drop(stay);
        assert!(opening.join().unwrap().unwrap_err().to_string().contains("stopped while it waited"));
    });
}

#[test]
fn flipped_bits_of_the_next_owner_fence_all_the_same() {
    let memory = Memory::default();
    let (old, _) = open_with(&Checkpoint::on(memory.clone())).unwrap();
    old.begin(&manifest()).unwrap();
    let (_new, _, _) = take_over(&Checkpoint::on(memory.clone()).standby(LEASE), |_| ());
    let next = FileId::epoch(2).name();
    for bit in 0..memory.files()[&next].len() * 8 {
        memory.change(|files| damage::flip(files, &next, bit));
        let error = old.check_owner(&never()).unwrap_err().to_string();
        assert!(error.contains(&format!("fenced by epoch 2 ({next}")), "bit {bit}: {error}");
        memory.change(|files| damage::flip(files, &next, bit));
    }
}

/// A standby would have taken over from an owner that reads for longer than a lease.
#[test]
fn the_heart_of_an_owner_beats_while_it_reads() {
    let memory = Memory::of(damage::history(5));
    let hands = ManualClock::new();
    let (journal, recovered) = std::thread::scope(|scope| {
        let (reaches, go_on) = memory.gate_reads();
        let opening = scope.spawn(|| open_on(&damage::small(&memory), &hands).unwrap());
        reaches.recv().unwrap();
        let heart = || memory.files()[&FileId::alive(2).name()].clone();
        for _ in 0..30 {
            let before = heart();
            hands.advance(Duration::from_secs(1));
            while heart() == before {
                std::thread::yield_now();
            }
        }
        go_on.send(()).unwrap();
        opening.join().unwrap()
    });
    assert_eq!(restored(&recovered.unwrap()), damage::state(5));
    journal.begin(&manifest()).unwrap();
    run(&journal, 6, damage::chunks(6));
    drop(journal);
    let (_, recovered) = open_with(&damage::small(&memory)).unwrap();
    assert_eq!(restored(&recovered.unwrap()), damage::state(6));
}

/// It left a file more with each start that failed.
#[test]
fn starts_that_cannot_read_do_not_pile_up() {
    let memory = Memory::of(damage::history(5));
    memory.change(|files| {
        let log = damage::of_kind(files, "batches").pop().unwrap();
        files.get_mut(&log).unwrap()[40] ^= 1;
    });
    let before = memory.files();
    for _ in 0..100 {
        open_with(&damage::small(&memory)).unwrap_err();
    }
    let after = memory.files();
    assert!(after.len() < before.len() + 40, "{:?}", after.keys());
    assert!(before.iter().filter(|(name, _)| !name.starts_with("epoch")).all(|(name, bytes)| after[name] == *bytes));
}

#[test]
fn of_two_standbys_one_wins() {
    let directory = TempDir::new().unwrap();
    let (first, _) = open_in(directory.path());
    let settings = Checkpoint::new(directory.path()).standby(Duration::from_secs(1_000_000));
    let (opened, opens) = unbounded();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let (opened, settings) = (opened.clone(), &settings);
            scope.spawn(move || {
                let hands = ManualClock::new();
                std::thread::scope(|scope| {
                    let opening = scope.spawn(|| open_on(settings, &hands).unwrap().0);
                    while !opening.is_finished() {
                        hands.advance(Duration::from_millis(500));
                        std::thread::yield_now();
                    }
                    opened.send(opening.join().unwrap()).unwrap();
                });
            });
        }
        drop(first);
        let second = opens.recv().unwrap();
        second.check_owner(&never()).unwrap();
        assert!(opens.try_recv().is_err(), "two own it");
        drop(second);
        opens.recv().unwrap().check_owner(&never()).unwrap();
    });
}

#[test]
fn epochs_that_end_before_they_begin_change_nothing_and_do_not_pile_up() {
    let memory = Memory::default();
    let open = || open_with(&Checkpoint::on(memory.clone())).unwrap();
    // Nobody has ever begun.
    for _ in 0..30 {
        let (journal, recovered) = open();
        assert!(recovered.is_none());
        journal.abandon();
    }
    let (journal, _) = open();
    journal.begin(&manifest()).unwrap();
    run(&journal, 1, damage::chunks(1));
    journal.abandon();
    let begun = memory.files();
    for _ in 0..1000 {
        let (journal, recovered) = open();
        assert_eq!(recovered.unwrap().done_up_to(), at(1));
        journal.abandon();
        assert!(memory.files().len() < 45, "{:?}", memory.files().keys());
    }
    // The heart that names the log of batches is still there.
    let is_kept = |name: &&String| ["batches", "state"].iter().any(|kind| name.starts_with(kind));
    for name in begun.keys().filter(is_kept) {
        assert_eq!(memory.files()[name], begun[name]);
    }
    memory.change(|files| files.retain(|name, _| !name.starts_with("batches")));
    let error = open_with(&Checkpoint::on(memory.clone())).unwrap_err().to_string();
    assert!(error.contains("batches-0000000031-0000000000 is missing"), "{error}");
}

#[test]
fn a_thousand_short_epochs_do_not_pile_up() {
    let memory = Memory::default();
    for second in 1..=1000 {
        let (journal, recovered) = open_with(&Checkpoint::on(memory.clone())).unwrap();
        assert_eq!(recovered.map_or(0, |recovered| recovered.done_up_to().as_millis() / 1000), second - 1);
        journal.begin(&manifest()).unwrap();
        run(&journal, second, damage::chunks(second));
        journal.abandon();
    }
    let files = memory.files();
    let bytes: usize = files.values().map(Vec::len).sum();
    assert!(files.len() < 100 && bytes < 200_000, "{} files, {bytes} bytes", files.len());
}
