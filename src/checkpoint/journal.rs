use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded, select_biased, unbounded};

use super::entry::{LoggedBatch, LoggedInput, Manifest};
use super::format::FileId;
use super::ledger::Ledger;
use super::owner::Owner;
use super::patience::Patience;
use super::settings::Checkpoint;
use super::writer::Writer;
use crate::error::{Error, ErrorKind, OnError, Result, guarded};
use crate::event_loop::Thread;
use crate::id::OperatorId;
use crate::state::StateChunk;
use crate::time::{Clock, Time};

/// What the thread that writes is told.
pub(super) enum Command {
    Found {
        ledger: Ledger,
    },
    Forget {
        operator: OperatorId,
    },
    Begin {
        manifest: Manifest,
        reply: Sender<()>,
    },
    Planned {
        time: Time,
        inputs: Vec<LoggedInput>,
        reply: Sender<()>,
    },
    OutputEnded {
        time: Time,
        operator: OperatorId,
        failure: Option<String>,
    },
    Settled {
        time: Time,
        chunks: Vec<StateChunk>,
        plans_from: Time,
        then: Box<dyn FnOnce() + Send>,
    },
    Close {
        reply: Sender<()>,
    },
    /// End at once, as if the process had been killed.
    Abandon {
        reply: Sender<()>,
    },
}

/// Writes a checkpoint: whatever happens to batches is told to it, and one thread has it on the disk. The checkpoint is
/// given back when it is closed, or when the last of its handles is gone.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Shared>);

struct Shared {
    commands: Sender<Command>,
    backlog: Arc<Backlog>,
    patience: Patience,
    /// Dropped when what cannot be written is not to be tried again.
    keep_trying: Mutex<Option<Sender<Infallible>>>,
    /// After `commands`, whose end it waits for.
    thread: Mutex<Option<Thread>>,
}

/// A plan on its way to the disk. Several can wait for one.
#[derive(Clone, Debug)]
pub(crate) struct Ticket(Arc<Mutex<Option<Receiver<()>>>>);

impl Journal {
    /// From here on the heart of the owner beats.
    pub(super) fn start(settings: &Checkpoint, owner: Owner, clock: &Clock, on_error: &OnError) -> Result<Self> {
        let (commands, inbox) = unbounded();
        let (keep_trying, given_up) = bounded(0);
        let backlog = Arc::new(Backlog::new(settings.max_waiting_bytes));
        let patience = Patience::new(settings, &owner, clock);
        let mut writer = Writer::new(settings, owner, clock, patience.clone(), given_up, Arc::clone(&backlog))?;
        let ended = Arc::clone(&backlog);
        let body = move || {
            let panicked =
                |said: &str| Error::new(ErrorKind::Internal, format!("writing the checkpoint panicked: {said}"));
            let outcome = guarded(|| writer.run(&inbox), panicked);
            ended.end(outcome.as_ref().err());
            // Now the lock is given back, and those that wait for an answer find that there is none.
            drop((writer, inbox));
            outcome
        };
        let thread = Thread::spawn("tidemill-checkpoint", Arc::clone(on_error), body)?;
        Ok(Journal(Arc::new(Shared {
            commands,
            backlog,
            patience,
            keep_trying: Mutex::new(Some(keep_trying)),
            thread: Mutex::new(Some(thread)),
        })))
    }

    /// What is there already. It is said before all else.
    pub(super) fn found(&self, ledger: Ledger) {
        self.tell(Command::Found { ledger });
    }

    /// Writes the beginning: what is there already, and the program that goes on from it. Durable when it returns.
    pub(crate) fn begin(&self, manifest: &Manifest) -> Result<()> {
        let (reply, answer) = bounded(1);
        self.tell(Command::Begin { manifest: manifest.clone(), reply });
        self.answer(&answer)
    }

    /// What an operator has kept is not restored any more. It is said before [`begin`](Journal::begin), which writes it.
    pub(crate) fn forget(&self, operator: OperatorId) {
        self.tell(Command::Forget { operator });
    }

    /// Writes the plan of a batch. Does not wait for it.
    pub(crate) fn planned(&self, batch: &LoggedBatch) -> Ticket {
        let (reply, answer) = bounded(1);
        self.tell(Command::Planned { time: batch.time, inputs: batch.inputs.clone(), reply });
        Ticket(Arc::new(Mutex::new(Some(answer))))
    }

    /// Waits until a plan is on the disk, as safely as the [`SyncPolicy`](super::SyncPolicy) says.
    pub(crate) fn wait(&self, ticket: &Ticket) -> Result<()> {
        let mut answer = lock(&ticket.0);
        answer.as_ref().map_or(Ok(()), |answer| self.answer(answer))?;
        *answer = None;
        Ok(())
    }

    /// An output of a batch has returned. Does not wait.
    pub(crate) fn output_ended(&self, batch: Time, output: OperatorId, failure: Option<&str>) {
        let failure = failure.map(str::to_string);
        self.tell(Command::OutputEnded { time: batch, operator: output, failure });
    }

    /// A batch is over, and this is what operators keep since. `then` runs on the writing thread once all of it is on the
    /// disk; it must not wait for the journal. Plans before `plans_from` are needless from then on.
    ///
    /// Waits while too many bytes are on their way to the disk.
    pub(crate) fn settled(
        &self,
        batch: Time,
        chunks: Vec<StateChunk>,
        plans_from: Time,
        then: Box<dyn FnOnce() + Send>,
    ) -> Result<()> {
        self.0.backlog.enter(waiting_bytes(&chunks))?;
        self.tell(Command::Settled { time: batch, chunks, plans_from, then });
        Ok(())
    }

    /// An error if somebody else has taken the checkpoint over, or it could not be written. Two looks at the storage. If
    /// they fail they are made again for as long as writes are, or until `cancel` is closed: then it is an error too, since
    /// nobody knows.
    pub(crate) fn check_owner(&self, cancel: &Receiver<Infallible>) -> Result<()> {
        self.0.backlog.check()?;
        let Patience { storage, epoch, .. } = &self.0.patience;
        let next = FileId::epoch(epoch + 1).name();
        let looked = self.0.patience.insist((&next, "looked up"), cancel, |_| Ok(()));
        looked.map_err(|error| error.within(format!("checkpoint {}", storage.place())))
    }

    /// Has everything on the disk that was told, whatever the [`SyncPolicy`](super::SyncPolicy), and gives the checkpoint
    /// back; at `alarm` it gives up.
    pub(crate) fn close<T>(&self, alarm: &Receiver<T>) -> Result<()> {
        let (reply, answer) = bounded(1);
        self.tell(Command::Close { reply });
        select_biased! {
            recv(answer) -> closed => {
                self.join();
                closed.map_err(|_| self.0.backlog.failure())
            }
            recv(alarm) -> _ => {
                drop(lock(&self.0.keep_trying).take());
                if let Some(thread) = lock(&self.0.thread).take() {
                    thread.leave();
                }
                let place = self.0.patience.storage.place();
                let message = format!("checkpoint {place}: not all of it could be written in time");
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    }

    /// Ends as if the process had been killed: what waits is not written, and the checkpoint is free.
    pub(crate) fn abandon(&self) {
        let (reply, answer) = bounded(1);
        drop(lock(&self.0.keep_trying).take());
        self.tell(Command::Abandon { reply });
        // It may have ended already.
        let _ = answer.recv();
        self.join();
    }

    /// If the thread has ended, whoever waits for an answer finds that there is none.
    fn tell(&self, command: Command) {
        let _ = self.0.commands.send(command);
    }

    fn answer(&self, answer: &Receiver<()>) -> Result<()> {
        answer.recv().map_err(|_| self.0.backlog.failure())
    }

    fn join(&self) {
        if let Some(thread) = lock(&self.0.thread).take() {
            thread.join();
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal").field("epoch", &self.0.patience.epoch).finish_non_exhaustive()
    }
}

/// How many bytes wait to be written, so that not too many do.
#[derive(Debug)]
pub(super) struct Backlog {
    max_bytes: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    ended: bool,
    failure: Option<Error>,
}

impl Backlog {
    fn new(max_bytes: usize) -> Self {
        Backlog { max_bytes, waiting: Mutex::default(), changed: Condvar::new() }
    }

    /// Waits until there is room. What is larger than all the room has it for itself.
    fn enter(&self, bytes: usize) -> Result<()> {
        let mut waiting = lock(&self.waiting);
        while !waiting.ended && waiting.bytes > 0 && waiting.bytes + bytes > self.max_bytes {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if waiting.ended {
            drop(waiting);
            return Err(self.failure());
        }
        waiting.bytes += bytes;
        Ok(())
    }

    pub(super) fn leave(&self, bytes: usize) {
        lock(&self.waiting).bytes -= bytes;
        self.changed.notify_all();
    }

    /// Nothing is written any more.
    fn end(&self, error: Option<&Error>) {
        let mut waiting = lock(&self.waiting);
        waiting.ended = true;
        waiting.failure = error.cloned();
        self.changed.notify_all();
    }

    fn check(&self) -> Result<()> {
        if lock(&self.waiting).ended { Err(self.failure()) } else { Ok(()) }
    }

    /// Why nothing is written any more. Who finds that there is no answer may do so before the thread has said why.
    fn failure(&self) -> Error {
        let mut waiting = lock(&self.waiting);
        while !waiting.ended {
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.failure.clone().unwrap_or_else(|| Error::new(ErrorKind::Checkpoint, "the checkpoint was closed"))
    }
}

/// What a batch counts in the backlog.
pub(super) fn waiting_bytes(chunks: &[StateChunk]) -> usize {
    chunks.iter().map(|chunk| chunk.bytes.len()).sum()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
