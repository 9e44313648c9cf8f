use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded, select_biased};

use super::{Event, Listener};
use crate::error::{Error, ErrorKind, OnError, Result};
use crate::event_loop::Thread;

/// How many events wait for slow listeners before further ones are dropped.
const QUEUE: usize = 10_000;

/// For how long listeners may work on after the deadline of a stop, in real time: what came before it used it up.
const GRACE: Duration = Duration::from_secs(1);

/// Carries events to the listeners. Posting never waits.
pub(crate) struct ListenerBus {
    /// The name of its thread.
    thread: &'static str,
    /// What one of its listeners is called in errors.
    member: &'static str,
    listeners: Arc<Mutex<Vec<Box<dyn Listener>>>>,
    /// How many listeners there are.
    count: AtomicUsize,
    running: Mutex<Option<Running>>,
    dropped: AtomicU64,
}

struct Running {
    events: Sender<Event>,
    /// Nothing is ever sent: it closes when the thread has ended.
    ended: Receiver<()>,
    thread: Thread,
}

impl ListenerBus {
    /// A bus with a thread of this name; errors call its listeners a `member`.
    pub(crate) fn new(thread: &'static str, member: &'static str) -> Self {
        ListenerBus {
            thread,
            member,
            listeners: Arc::default(),
            count: AtomicUsize::new(0),
            running: Mutex::new(None),
            dropped: AtomicU64::new(0),
        }
    }

    /// Adds a listener, in any state; it learns of what happens from here on.
    pub(crate) fn add(&self, listener: impl Listener) {
        lock(&self.listeners).push(Box::new(listener));
        self.count.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn start(&self, on_error: OnError) -> Result<()> {
        let (sender, events) = bounded::<Event>(QUEUE);
        let (ends, ended) = bounded(0);
        let listeners = Arc::clone(&self.listeners);
        let body = move || {
            let _ends: Sender<()> = ends;
            for event in events {
                lock(&listeners).iter_mut().for_each(|listener| listener.on_event(&event));
            }
            Ok(())
        };
        let thread = Thread::spawn(self.thread, on_error, body)?;
        *lock(&self.running) = Some(Running { events: sender, ended, thread });
        Ok(())
    }

    pub(crate) fn post(&self, event: Event) {
        let running = lock(&self.running);
        // Waking a thread costs more than all else that an event takes.
        let Some(running) = running.as_ref().filter(|_| self.count.load(Ordering::Acquire) > 0) else { return };
        if let Err(TrySendError::Full(_)) = running.events.try_send(event) {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, thread = self.thread, "a {} is too slow: events were dropped", self.member);
            }
        }
    }

    /// Delivers what was posted and ends the thread.
    ///
    /// # Errors
    ///
    /// A listener that has not returned when `alarm` goes off; it is left to itself.
    pub(crate) fn stop(&self, alarm: &Receiver<Instant>) -> Result<()> {
        let Some(Running { events, ended, thread }) = lock(&self.running).take() else { return Ok(()) };
        drop(events);
        let has_ended = select_biased! {
            recv(ended) -> _ => true,
            recv(alarm) -> _ => ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Disconnected),
        };
        if has_ended {
            thread.join();
            return Ok(());
        }
        thread.leave();
        let message = format!("stopping took too long; left undone: a {} has not returned from an event", self.member);
        Err(Error::new(ErrorKind::Timeout, message))
    }

    /// Ends the thread once what was posted is delivered, and does not wait for it.
    pub(crate) fn abandon(&self) {
        if let Some(running) = lock(&self.running).take() {
            running.thread.leave();
        }
    }
}

impl fmt::Debug for ListenerBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBus").field("dropped", &self.dropped).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;
    use crossbeam_channel::{never, unbounded};

    #[test]
    fn events_arrive_in_order_and_all_before_the_stop_returns() {
        let bus = ListenerBus::new("tidemill-test", "listener");
        let (seen, times) = unbounded();
        bus.add(move |event: &Event| {
            if let Event::StreamingStarted { zero_time } = event {
                seen.send(*zero_time).unwrap();
            }
        });
        bus.start(Arc::new(|error| panic!("{error}"))).unwrap();
        for millis in 0..100 {
            bus.post(Event::StreamingStarted { zero_time: Time::from_millis(millis) });
        }
        bus.stop(&never()).unwrap();
        assert_eq!(times.try_iter().collect::<Vec<_>>(), (0..100).map(Time::from_millis).collect::<Vec<_>>());
        bus.post(Event::StreamingStarted { zero_time: Time::ZERO });
    }

    #[test]
    fn a_panicking_listener_is_reported() {
        let bus = ListenerBus::new("tidemill-test", "listener");
        bus.add(|_: &Event| panic!("no listener"));
        let (failed, errors) = unbounded();
        bus.start(Arc::new(move |error| failed.send(error).unwrap())).unwrap();
        bus.post(Event::StreamingStarted { zero_time: Time::ZERO });
        assert!(errors.recv().unwrap().to_string().contains("no listener"));
        bus.stop(&never()).unwrap();
    }
}
