use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Sender, TrySendError, bounded};

use super::{Event, Listener};
use crate::error::{OnError, Result};
use crate::event_loop::Thread;

/// How many events wait for slow listeners before further ones are dropped.
const QUEUE: usize = 10_000;

/// Carries events to the listeners. Posting never waits.
pub(crate) struct ListenerBus {
    listeners: Arc<Mutex<Vec<Box<dyn Listener>>>>,
    running: Mutex<Option<(Sender<Event>, Thread)>>,
    dropped: AtomicU64,
}

impl ListenerBus {
    pub(crate) fn new() -> Self {
        ListenerBus { listeners: Arc::default(), running: Mutex::new(None), dropped: AtomicU64::new(0) }
    }

    /// Adds a listener, in any state; it learns of what happens from here on.
    pub(crate) fn add(&self, listener: impl Listener) {
        lock(&self.listeners).push(Box::new(listener));
    }

    pub(crate) fn start(&self, on_error: OnError) -> Result<()> {
        let (sender, events) = bounded::<Event>(QUEUE);
        let listeners = Arc::clone(&self.listeners);
        let body = move || {
            for event in events {
                lock(&listeners).iter_mut().for_each(|listener| listener.on_event(&event));
            }
            Ok(())
        };
        *lock(&self.running) = Some((sender, Thread::spawn("tidemill-listeners", on_error, body)?));
        Ok(())
    }

    pub(crate) fn post(&self, event: Event) {
        let running = lock(&self.running);
        let Some((sender, _)) = &*running else { return };
        if let Err(TrySendError::Full(_)) = sender.try_send(event) {
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "listeners are too slow: events were dropped");
            }
        }
    }

    /// Delivers what was posted and ends the thread.
    pub(crate) fn stop(&self) {
        let running = lock(&self.running).take();
        if let Some((sender, thread)) = running {
            drop(sender);
            thread.join();
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
    use crossbeam_channel::unbounded;

    #[test]
    fn events_arrive_in_order_and_all_before_the_stop_returns() {
        let bus = ListenerBus::new();
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
        bus.stop();
        assert_eq!(times.try_iter().collect::<Vec<_>>(), (0..100).map(Time::from_millis).collect::<Vec<_>>());
        bus.post(Event::StreamingStarted { zero_time: Time::ZERO });
    }

    #[test]
    fn a_panicking_listener_is_reported() {
        let bus = ListenerBus::new();
        bus.add(|_: &Event| panic!("no listener"));
        let (failed, errors) = unbounded();
        bus.start(Arc::new(move |error| failed.send(error).unwrap())).unwrap();
        bus.post(Event::StreamingStarted { zero_time: Time::ZERO });
        assert!(errors.recv().unwrap().to_string().contains("no listener"));
        bus.stop();
    }
}
