use std::cell::Cell;

use crate::error::{Error, ErrorKind, Result, guarded};
use crate::exec::{Adds, Stage};
use crate::id::Origin;

/// One attempt of a task: which partition it works on, and whose closure is running right now, to be named if it
/// fails.
#[derive(Debug)]
pub(crate) struct TaskContext<'t> {
    partition: usize,
    running: Cell<Option<&'t Origin>>,
}

impl<'t> TaskContext<'t> {
    pub(crate) fn new(partition: usize) -> Self {
        TaskContext { partition, running: Cell::new(None) }
    }

    /// Notes that the code of this operator runs from here on. Called once per chunk.
    #[inline]
    pub(crate) fn enter(&self, origin: &'t Origin) {
        self.running.set(Some(origin));
    }

    /// A part of the attempt that runs operators which may be gone before the attempt ends.
    pub(crate) fn part<'p>(&self) -> TaskContext<'p> {
        TaskContext::new(self.partition)
    }

    /// Runs the attempt; an error or a panic comes back with operator and partition, unless it names an operator
    /// already.
    pub(crate) fn run<R>(&self, body: impl FnOnce() -> Result<R>) -> Result<R> {
        let outcome = guarded(body, |said| Error::new(ErrorKind::Task, format!("panicked: {said}")));
        outcome.map_err(|error| {
            if error.names_operator() {
                return error;
            }
            let error = error.within(format!("partition {}", self.partition));
            match self.running.get() {
                Some(origin) => error.within_operator(|| origin.to_string()),
                None => error,
            }
        })
    }
}

/// Runs one task of a stage until it succeeds or its attempts are used up. What the attempt that succeeds has added to
/// accumulators counts.
pub(crate) fn run_attempts(
    stage: &Stage<'_>,
    partition: usize,
    task: &(dyn Fn(usize, u32) -> Result<()> + Sync),
) -> Result<()> {
    let mut attempt = 0;
    loop {
        let adds = Adds::keep_apart();
        match task(partition, attempt) {
            Ok(()) => return adds.apply(),
            Err(error) => {
                attempt += 1;
                if attempt >= stage.max_attempts {
                    let tries = if attempt == 1 { "1 attempt".to_string() } else { format!("{attempt} attempts") };
                    return Err(error.within(format!("task failed in {tries}")));
                }
                tracing::warn!(%error, attempt, "a task failed and is tried again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::StageKind;
    use crate::id::OperatorId;
    use std::panic::Location;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[track_caller]
    fn origin() -> Origin {
        Origin { operator: OperatorId::derive("map", &[], 0), name: "map".into(), site: Location::caller() }
    }

    #[test]
    fn a_panic_names_operator_line_and_partition() {
        let origin = origin();
        let task = TaskContext::new(3);
        let error = task
            .run(|| -> Result<()> {
                task.enter(&origin);
                panic!("division by zero")
            })
            .unwrap_err();
        let line = origin.site.line();
        assert_eq!(
            error.to_string(),
            format!("operator map (src/exec/task.rs:{line}): partition 3: panicked: division by zero")
        );
    }

    #[test]
    fn attempts_are_counted_and_used_up() {
        let origin = origin();
        let stage =
            Stage { origin: &origin, kind: StageKind::Result, partitions: &[0], records: None, max_attempts: 3 };
        let calls = AtomicU32::new(0);
        let failing = |_, attempt| {
            assert_eq!(attempt, calls.fetch_add(1, Ordering::Relaxed));
            Err(Error::new(ErrorKind::User, "no"))
        };
        let error = run_attempts(&stage, 0, &failing).unwrap_err();
        assert_eq!(error.to_string(), "task failed in 3 attempts: no");
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        let second_time_lucky = |_, attempt| if attempt == 1 { Ok(()) } else { Err(Error::new(ErrorKind::User, "no")) };
        assert!(run_attempts(&stage, 0, &second_time_lucky).is_ok());
    }
}
