use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A program that ends with this value, and with our process however that ends.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    watchdog: Child,
}

/// Waits for standard input to close, which it does when the last process that has the other end is gone: nobody but
/// us has it. Then kills the program and removes its folder, and the folder around it if it was the last there.
const WATCHDOG: &str = r#"
trap '' HUP INT TERM
read -r _
kill -KILL "$1"
rm -rf -- "$2"
rmdir -- "${2%/*}"
"#;

impl Process {
    /// Starts a program that has all its files in `folder`.
    pub(crate) fn start(command: &mut Command, folder: &Path) -> io::Result<Self> {
        let mut child = command.spawn()?;
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog", &child.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Process { child, watchdog }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it to end, and waits until it has. `false` if it does not in time.
    pub(crate) fn terminate(&mut self, patience: Duration) -> bool {
        // The shell has a `kill` of its own, also where there is no such program.
        let id = self.child.id().to_string();
        let asked = Command::new("sh").args(["-c", r#"kill -TERM "$1""#, "terminate", &id]).status();
        let begun = Instant::now();
        while asked.as_ref().is_ok_and(ExitStatus::success) && begun.elapsed() < patience {
            if self.ended().is_some() {
                return true;
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog first: once the program has been waited for, its id may become that of another.
        for child in [&mut self.watchdog, &mut self.child] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::path::PathBuf;
    use std::{env, fs};

    use super::*;

    const FOLDER: &str = "TIDEMILL_TEST_FOLDER";
    const PATIENCE: Duration = Duration::from_secs(60);

    fn start(folder: &Path) -> Process {
        let mut program = Command::new("tail");
        Process::start(program.args(["-f", "/dev/null"]).stdin(Stdio::null()), folder).unwrap()
    }

    fn is_running(id: &str) -> bool {
        let kill = Command::new("sh").args(["-c", r#"kill -0 "$1" 2>/dev/null"#, "look", id]).status();
        kill.unwrap().success()
    }

    /// The process that is killed below: this test, started once more with the variable set.
    #[test]
    fn child() {
        let Some(folder) = env::var_os(FOLDER) else { return };
        let process = start(Path::new(&folder));
        // The harness has begun a line of its own.
        println!("\nid {}", process.child.id());
        loop {
            thread::park();
        }
    }

    #[test]
    fn a_program_does_not_outlive_a_process_that_is_killed() {
        let root = tempfile::tempdir().unwrap();
        let folder: PathBuf = root.path().join("cluster").join("broker");
        fs::create_dir_all(folder.join("data")).unwrap();
        let mut parent = Command::new(env::current_exe().unwrap())
            .args(["--exact", "process::tests::child", "--nocapture", "--test-threads=1"])
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(parent.stdout.take().unwrap()).lines().map_while(Result::ok);
        let id = lines.map(|line| line.strip_prefix("id ").map(str::to_string)).find_map(|id| id).unwrap();
        assert!(is_running(&id));
        parent.kill().unwrap();
        parent.wait().unwrap();
        let begun = Instant::now();
        while is_running(&id) || folder.parent().unwrap().exists() {
            assert!(begun.elapsed() < PATIENCE, "process {id} or {} is still there", folder.display());
            thread::park_timeout(Duration::from_millis(10));
        }
        assert!(root.path().exists());
    }

    #[test]
    fn a_program_ends_when_it_is_asked_to_and_with_its_value() {
        let root = tempfile::tempdir().unwrap();
        let mut process = start(root.path());
        assert!(process.ended().is_none());
        assert!(process.terminate(PATIENCE));
        assert!(process.ended().is_some());
        drop(process);
        let process = start(root.path());
        let id = process.child.id().to_string();
        drop(process);
        assert!(!is_running(&id));
        assert!(root.path().exists(), "the folder belongs to whoever made it");
    }
}
