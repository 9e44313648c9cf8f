use std::fmt::Display;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind as IoErrorKind, Read, Write, copy, sink};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, Builder};

use super::map_partitions::emit_all;
use super::narrow_node;
use crate::data::Data;
use crate::dataset::{AnyLineage, Dataset, Flow, Header, Lineage, Partition, Sink, stage};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::TaskContext;

/// How much of what a command says on its standard error goes into an error, in bytes.
const SAID_AT_MOST: u64 = 4096;

impl<T: Data + Display> Dataset<T> {
    /// Sends the records of each partition through a command, a line a record, and takes the lines that it writes.
    ///
    /// The command that `command` makes is started once for each partition, also for an empty one. A record whose text
    /// has line breaks is several lines to it. The records of a partition are gathered before the command starts.
    ///
    /// # Errors
    ///
    /// Of the task: a command that cannot be started, that ends with another status than success (with the status, and
    /// with what it wrote on its standard error), or that writes what is not UTF-8. A command need not read all its
    /// input.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::process::Command;
    ///
    /// # let context = tidemill::StreamingContext::builder("doc").build()?;
    /// let tides = context.parallelize(["flood", "ebb", "slack"], 2);
    /// let upper = tides.pipe(|| {
    ///     let mut command = Command::new("tr");
    ///     command.args(["a-z", "A-Z"]);
    ///     command
    /// });
    /// assert_eq!(upper.collect()?, ["FLOOD", "EBB", "SLACK"]);
    /// # Ok::<(), tidemill::Error>(())
    /// ```
    #[track_caller]
    pub fn pipe(&self, command: impl Fn() -> Command + Send + Sync + 'static) -> Dataset<String> {
        self.derive(Pipe { header: Header::new("pipe"), parent: Arc::clone(self.lineage()), command })
    }
}

struct Pipe<T, F> {
    header: Header,
    parent: Arc<dyn Lineage<T>>,
    command: F,
}

impl<T: Data + Display, F: Fn() -> Command + Send + Sync> Lineage<String> for Pipe<T, F> {
    fn compute<'t>(&'t self, partition: usize, task: &TaskContext<'t>, sink: &mut dyn Sink<String>) -> Result<Flow> {
        let records = stage::gather(&*self.parent, partition, task)?;
        let origin = self.header.origin();
        task.enter(origin);
        let mut command = (self.command)();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = format!("{command:?}");
        let failed = |what: &str| Error::new(ErrorKind::Task, format!("the command {name} {what}"));
        let mut child = command.spawn().map(Running).map_err(|e| failed("cannot be started").caused_by(e))?;
        let (Some(input), Some(output), Some(said)) =
            (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take())
        else {
            return Err(Error::new(ErrorKind::Internal, "a command has no pipes"));
        };
        thread::scope(|scope| {
            // Whatever ends this early ends the command, and with it the two threads: they wait on its pipes.
            let mut child = child;
            let thread = || Builder::new().name("tidemill-pipe".to_string());
            let writer = thread().spawn_scoped(scope, move || write_lines(&records, input))?;
            let listener = thread().spawn_scoped(scope, move || first_bytes(said))?;
            let mut broken = None;
            let lines = BufReader::new(output).lines().map_while(|line| line.map_err(|e| broken = Some(e)).ok());
            let flow = emit_all(lines, origin, task, sink)?;
            if let Some(error) = broken {
                return Err(failed("wrote what cannot be read").caused_by(error));
            }
            if flow.is_break() {
                return Ok(flow);
            }
            let status = child.0.wait()?;
            let written = writer.join();
            let said = listener.join().unwrap_or_default();
            if !status.success() {
                let said = said.trim_end();
                let said = if said.is_empty() { "it said nothing" } else { said };
                return Err(failed(&format!("ended with {status}: {said}")));
            }
            match written {
                Ok(Ok(())) => Ok(flow),
                Ok(Err(error)) => Err(failed("cannot be written to").caused_by(error)),
                Err(_) => Err(failed("was to get a record whose text cannot be made: it panicked")),
            }
        })
    }
}

impl<T: Data + Display, F: Fn() -> Command + Send + Sync> AnyLineage for Pipe<T, F> {
    narrow_node!();
}

/// A command that is killed unless it has ended.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail for a command that has ended, and that is all there is to it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn write_lines<T: Display>(records: &Partition<T>, to: impl Write) -> std::io::Result<()> {
    let mut to = BufWriter::new(to);
    let written = records.iter().try_for_each(|record| writeln!(to, "{record}")).and_then(|()| to.flush());
    match written {
        // The command has read as much as it wants.
        Err(error) if error.kind() == IoErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Returns how the text begins, and reads it to its end.
fn first_bytes(mut from: impl Read) -> String {
    let mut first = Vec::new();
    let read = from.by_ref().take(SAID_AT_MOST).read_to_end(&mut first).and_then(|_| copy(&mut from, &mut sink()));
    let text = String::from_utf8_lossy(&first).into_owned();
    match read {
        Ok(_) => text,
        Err(error) => format!("{text} ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::context::StreamingContext;
    use crate::dataset::Dataset;
    use crate::error::Result;

    fn shell(records: usize, script: &'static str) -> Dataset<String> {
        let context = StreamingContext::builder("test").max_task_attempts(1).build().unwrap();
        context.parallelize((0..records).map(|n| format!("{n:08}")), 1).pipe(move || {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        })
    }

    #[track_caller]
    fn error<T: std::fmt::Debug>(result: Result<T>) -> String {
        result.unwrap_err().to_string()
    }

    /// More than all pipes hold goes in, comes out and is said, at the same time.
    #[test]
    fn full_pipes_do_not_wait_for_each_other() {
        const RECORDS: usize = 100_000;
        let lines = shell(RECORDS, "tee /dev/stderr").collect().unwrap();
        assert_eq!(lines.len(), RECORDS);
        assert_eq!(lines[RECORDS - 1], format!("{:08}", RECORDS - 1));
    }

    #[test]
    fn a_command_need_not_read_and_nobody_need_take_all() {
        assert_eq!(shell(100_000, "head -n 2").collect().unwrap(), ["00000000", "00000001"]);
        assert_eq!(shell(100_000, "echo deaf").collect().unwrap(), ["deaf"]);
        assert_eq!(shell(100_000, "cat").take(1).unwrap(), ["00000000"]);
        assert_eq!(shell(1, "trap '' PIPE; while :; do echo again; done").take(2).unwrap(), ["again", "again"]);
        assert_eq!(shell(0, "wc -l | tr -d ' '").collect().unwrap(), ["0"]);
    }

    #[test]
    fn a_command_that_fails_fails_the_task() {
        let failed = error(shell(10, "cat; echo no tide today >&2; exit 3").collect());
        assert!(failed.ends_with("ended with exit status: 3: no tide today"), "{failed}");
        assert!(failed.contains("operator pipe (src/dataset/narrow/pipe.rs:"), "{failed}");
        let failed = error(shell(1, "exit 1").collect());
        assert!(failed.ends_with("ended with exit status: 1: it said nothing"), "{failed}");
        let failed = error(shell(100_000, "exec 0<&-; yes | head -c 100000 >&2; exit 1").collect());
        assert!(failed.len() < 5000 && failed.contains("ended with exit status: 1: y\ny\n"), "{failed}");
        let failed = error(shell(1, r"printf '\377\n'").collect());
        assert!(failed.ends_with("wrote what cannot be read"), "{failed}");
        let numbers = StreamingContext::builder("test").build().unwrap().parallelize([1], 1);
        let failed = error(numbers.pipe(|| Command::new("no such command")).collect());
        assert!(failed.ends_with(r#"the command "no such command" cannot be started"#), "{failed}");
    }
}
