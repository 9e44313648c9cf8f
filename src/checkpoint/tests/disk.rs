//! On a real disk, in a process that may not write more.

use std::process::Command;

use super::damage::state;
use super::*;

/// The directory that the child writes to.
const DIRECTORY: &str = "TIDEMILL_TEST_DISK_DIRECTORY";

/// What a batch saves: more than fits into a file a few batches later.
fn large_chunks(second: i64) -> Vec<StateChunk> {
    let mut chunks = super::damage::chunks(second);
    chunks.push(StateChunk { operator: source(), bytes: vec![b'x'; 5000], ..chunks[0].clone() });
    chunks
}

/// The process: it writes batches until that fails, and says how far it came.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let settings = Checkpoint::new(directory).max_outage(Duration::ZERO);
    let (journal, recovered) = open_with(&settings).unwrap();
    let done = recovered.map_or(0, |recovered| recovered.done_up_to().as_millis() / 1000);
    journal.begin(&manifest()).unwrap();
    for second in done + 1.. {
        let (send, saved) = unbounded();
        let settled = journal.wait(&journal.planned(&planned(second))).and_then(|()| {
            journal.settled(at(second), large_chunks(second), at(second), Box::new(move || send.send(()).unwrap()))
        });
        if settled.is_err() || saved.recv().is_err() {
            println!("\ndone {}", second - 1);
            return println!("failed: {}", journal.check_owner(&never()).unwrap_err());
        }
    }
}

/// Has the system refuse to make any file longer than 32 KiB, as it does when the disk is full: the write that meets the
/// limit is cut there.
#[cfg(unix)]
#[test]
fn what_does_not_fit_is_an_error_with_a_name_and_nothing_is_lost_when_there_is_room() {
    let directory = TempDir::new().unwrap();
    let mut done = 0;
    for _ in 0..3 {
        let output = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""])
            .arg(std::env::current_exe().unwrap())
            .args(["checkpoint::tests::disk::child", "--exact", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let line =
            |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{text}"));
        let error = line("failed: ");
        let path = directory.path().display().to_string();
        for part in [&path, "state-", " at byte ", "could not be written", "File too large", "make room"] {
            assert!(error.contains(part), "{part} in {error}");
        }
        let came_to: i64 = line("done ").parse().unwrap();
        assert!(came_to > done, "{came_to} after {done}");
        done = came_to;

        let (journal, recovered) = open_in(directory.path());
        let recovered = recovered.unwrap();
        assert_eq!((recovered.done_up_to(), recovered.reports()), (at(done), &[][..]));
        assert_eq!(restored(&recovered), state(done));
        // Here there is room.
        journal.begin(&manifest()).unwrap();
        done += 1;
        run(&journal, done, large_chunks(done));
        journal.close(&never::<()>()).unwrap();
    }
    let names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name.starts_with('.')), "{names:?}");
}

#[test]
fn a_place_that_cannot_be_written_to_is_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let refused = |path: &Path| {
        let error = open_with(&Checkpoint::new(path)).unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()) && error.contains("(os error"), "{error}");
        assert!(error.contains("cannot be read") || error.contains("cannot be written to"), "{error}");
    };
    refused(&file);
    refused(&file.join("below"));

    let (journal, _) = open_in(&directory.path().join("checkpoint"));
    journal.begin(&manifest()).unwrap();
    run(&journal, 1, super::damage::chunks(1));
    drop(journal);
    let path = directory.path().join("checkpoint");
    let set_read_only = |is_read_only| {
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(is_read_only);
        std::fs::set_permissions(&path, permissions).unwrap();
    };
    set_read_only(true);
    // Nothing is read-only for the superuser.
    if std::fs::write(path.join("probe"), "").is_err() {
        refused(&path);
    }
    set_read_only(false);
    let recovered = open_in(&path).1.unwrap();
    assert_eq!(recovered.done_up_to(), at(1));
}
