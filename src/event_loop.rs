//! Named threads that own their state: an event loop handles one closed enum of events, a [`RecurringTimer`] ticks.
//!
//! Knows nothing of batches. Every thread of the crate is started here, so that each has a name, is joined, and
//! reports a panic to somebody who can stop the context.

mod timer;

use std::cell::Cell;
use std::thread::{Builder, JoinHandle};

use crate::error::{Error, ErrorKind, OnError, Result, guarded};

pub(crate) use timer::RecurringTimer;

thread_local! {
    /// Whether this thread belongs to the engine.
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Makes the caller's thread one of the engine: for threads that others start.
pub(crate) fn adopt_thread() {
    OWN.set(true);
}

/// Whether the caller runs on a thread of the engine: it must not wait for the engine to end.
pub(crate) fn is_own_thread() -> bool {
    OWN.get()
}

/// A running thread. Dropping it joins it, so whatever makes it end has to be dropped or sent first.
#[derive(Debug)]
pub(crate) struct Thread(Option<JoinHandle<()>>);

impl Thread {
    /// Starts a thread that runs `body` to its end. An error or a panic of `body` goes to `on_error`.
    pub(crate) fn spawn(
        name: &str,
        on_error: OnError,
        body: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let thread = name.to_string();
        let run = move || {
            adopt_thread();
            let outcome =
                guarded(body, |said| Error::new(ErrorKind::Internal, format!("thread {thread} panicked: {said}")));
            if let Err(error) = outcome {
                on_error(error);
            }
        };
        let handle = Builder::new()
            .name(name.to_string())
            .spawn(run)
            .map_err(|e| Error::new(ErrorKind::Internal, format!("thread {name} cannot be started")).caused_by(e))?;
        Ok(Thread(Some(handle)))
    }

    /// Waits until the thread has ended.
    pub(crate) fn join(mut self) {
        self.wait();
    }

    /// Does not wait for the thread: for one that cannot be made to end.
    pub(crate) fn leave(mut self) {
        self.0 = None;
    }

    fn wait(&mut self) {
        if let Some(handle) = self.0.take() {
            // A thread that lets go of the last handle of its own context must not wait for itself.
            if handle.thread().id() != std::thread::current().id() {
                // A panic was reported by the thread itself.
                let _ = handle.join();
            }
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::unbounded;
    use std::sync::Arc;

    fn collected() -> (OnError, crossbeam_channel::Receiver<Error>) {
        let (sender, receiver) = unbounded();
        (Arc::new(move |error| sender.send(error).unwrap()), receiver)
    }

    #[test]
    fn a_panic_is_reported_with_the_name_of_the_thread() {
        let (on_error, errors) = collected();
        Thread::spawn("tidemill-test", on_error, || panic!("no {}", "luck")).unwrap().join();
        assert_eq!(errors.recv().unwrap().to_string(), "thread tidemill-test panicked: no luck");
    }

    #[test]
    fn an_error_is_reported_as_it_is() {
        let (on_error, errors) = collected();
        let body = || Err(Error::new(ErrorKind::Input, "gone"));
        Thread::spawn("tidemill-test", on_error, body).unwrap().join();
        assert_eq!(errors.recv().unwrap().kind(), ErrorKind::Input);
    }
}
