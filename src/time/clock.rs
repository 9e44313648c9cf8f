use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, at, bounded};

use super::{Time, micros};

/// Where a context takes its time from.
///
/// The system clock reads the wall clock once and counts on from there with the monotonic clock, so that batches do
/// not jump when somebody sets the machine's clock.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System { epoch: Time, started: Instant },
    Manual(ManualClock),
}

impl Clock {
    /// The clock of the machine.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
    pub fn system() -> Self {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Clock(Kind::System { epoch: Time::from_micros(micros(since_epoch)), started: Instant::now() })
    }

    /// A clock that stands still until it is advanced by hand.
    pub fn manual(clock: &ManualClock) -> Self {
        Clock(Kind::Manual(clock.clone()))
    }

    /// The current instant.
    pub fn now(&self) -> Time {
        match &self.0 {
            Kind::System { epoch, started } => *epoch + started.elapsed(),
            Kind::Manual(clock) => clock.now(),
        }
    }

    /// A channel that receives one message when the clock has reached `time`: to wait for it beside other channels.
    pub fn alarm(&self, time: Time) -> Receiver<Instant> {
        match &self.0 {
            Kind::System { epoch, started } => at(*started + (time - *epoch)),
            Kind::Manual(clock) => clock.alarm(time),
        }
    }
}

/// A clock for tests: it starts at [`Time::ZERO`] and moves when told to. Clones share the same hands.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::{Clock, ManualClock, Time};
///
/// let hands = ManualClock::new();
/// let clock = Clock::manual(&hands);
/// let alarm = clock.alarm(Time::from_millis(10));
/// assert!(alarm.try_recv().is_err());
/// hands.advance(Duration::from_millis(10));
/// assert!(alarm.try_recv().is_ok());
/// ```
#[derive(Clone, Debug, Default)]
pub struct ManualClock(Arc<Mutex<Hands>>);

#[derive(Debug, Default)]
struct Hands {
    now: Time,
    alarms: Vec<(Time, Sender<Instant>)>,
}

impl ManualClock {
    /// A clock that shows [`Time::ZERO`].
    pub fn new() -> Self {
        ManualClock::default()
    }

    /// The instant it shows.
    pub fn now(&self) -> Time {
        self.hands().now
    }

    /// Moves it forward and sets off the alarms on the way.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.hands();
        hands.now = hands.now + by;
        let now = hands.now;
        hands.alarms.retain(|(time, alarm)| {
            let due = *time <= now;
            if due {
                ring(alarm);
            }
            !due
        });
    }

    /// The times, in order and each once, that somebody has asked to be woken at and that have not come: for tests that
    /// have to know that another thread waits, before they go on.
    pub fn alarms(&self) -> Vec<Time> {
        let mut times: Vec<Time> = self.hands().alarms.iter().map(|(time, _)| *time).collect();
        times.sort_unstable();
        times.dedup();
        times
    }

    fn alarm(&self, time: Time) -> Receiver<Instant> {
        let (sender, receiver) = bounded(1);
        let mut hands = self.hands();
        if time <= hands.now {
            ring(&sender);
        } else {
            hands.alarms.push((time, sender));
        }
        receiver
    }

    fn hands(&self) -> std::sync::MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "the message of an alarm, as crossbeam's `at` sends it; nobody reads it")]
fn ring(alarm: &Sender<Instant>) {
    // Nobody may be waiting any more.
    let _ = alarm.try_send(Instant::now());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_sets_off_alarms_in_order() {
        let clock = Clock::system();
        let now = clock.now();
        let late = clock.alarm(now + Duration::from_millis(20));
        let early = clock.alarm(now + Duration::from_millis(5));
        early.recv().unwrap();
        assert!(clock.now() >= now + Duration::from_millis(5));
        late.recv().unwrap();
        assert!(clock.now() >= now + Duration::from_millis(20));
    }

    #[test]
    fn a_manual_clock_sets_off_what_is_due() {
        let hands = ManualClock::new();
        let clock = Clock::manual(&hands);
        let (first, second) = (clock.alarm(Time::from_millis(1)), clock.alarm(Time::from_millis(2)));
        hands.advance(Duration::from_millis(1));
        assert!(first.try_recv().is_ok() && second.try_recv().is_err());
        assert!(clock.alarm(Time::from_millis(1)).try_recv().is_ok(), "an alarm of the past rings at once");
        let _twice = clock.alarm(Time::from_millis(2));
        assert_eq!(hands.alarms(), [Time::from_millis(2)]);
    }
}
