use std::convert::Infallible;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select_biased};

use super::Thread;
use crate::error::{OnError, Result};
use crate::time::{Clock, Time};

/// Calls back at `first`, `first + period`, ... with the scheduled time, however late it is: no tick is skipped or
/// merged. Follows Spark's `RecurringTimer`.
#[derive(Debug)]
pub(crate) struct RecurringTimer {
    clock: Clock,
    stop: Sender<Stop>,
    stopped: Receiver<Option<Time>>,
    thread: Thread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Tick once more at the scheduled time, so that what has gathered since the last tick gets one.
    AfterNextTick,
    AtOnce,
}

impl RecurringTimer {
    /// Starts ticking. A callback that returns an error ends the timer and goes to `on_error`.
    pub(crate) fn start(
        name: &str,
        clock: &Clock,
        first: Time,
        period: Duration,
        on_error: OnError,
        mut tick: impl FnMut(Time) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (stop, stops) = bounded(2);
        let (report, stopped) = bounded(1);
        let own_clock = clock.clone();
        let clock = clock.clone();
        let body = move || {
            let (mut next, mut last) = (first, None);
            let mut last_tick = false;
            loop {
                let alarm = clock.alarm(next);
                let told = select_biased! {
                    recv(stops) -> told => Some(told.unwrap_or(Stop::AtOnce)),
                    recv(alarm) -> _ => None,
                };
                match told {
                    Some(Stop::AtOnce) => break,
                    Some(Stop::AfterNextTick) => {
                        last_tick = true;
                        continue;
                    }
                    None => {}
                }
                if let Err(error) = tick(next) {
                    let _ = report.send(last);
                    return Err(error);
                }
                last = Some(next);
                if last_tick {
                    break;
                }
                next = next + period;
            }
            // Nobody may be asking any more.
            let _ = report.send(last);
            Ok(())
        };
        let thread = Thread::spawn(name, on_error, body)?;
        Ok(RecurringTimer { clock: own_clock, stop, stopped, thread })
    }

    /// Lets the timer tick once more at its scheduled time, unless that is after `deadline` or `cancel` is closed
    /// before, and returns the time of the last tick.
    pub(crate) fn stop_after_next_tick(self, deadline: Time, cancel: &Receiver<Infallible>) -> Option<Time> {
        // A timer that has ended needs no telling.
        let _ = self.stop.try_send(Stop::AfterNextTick);
        select_biased! {
            recv(self.stopped) -> last => {
                self.thread.join();
                last.unwrap_or(None)
            }
            recv(cancel) -> _ => self.stop(),
            recv(self.clock.alarm(deadline)) -> _ => self.stop(),
        }
    }

    /// Ends the timer without another tick and returns the time of the last one.
    pub(crate) fn stop(self) -> Option<Time> {
        let _ = self.stop.try_send(Stop::AtOnce);
        let last = self.stopped.recv().unwrap_or(None);
        self.thread.join();
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, ErrorKind};
    use crate::time::ManualClock;
    use crossbeam_channel::{never, unbounded};
    use std::sync::Arc;

    const PERIOD: Duration = Duration::from_millis(100);

    fn start(hands: &ManualClock) -> (RecurringTimer, Receiver<Time>) {
        let (ticked, ticks) = unbounded();
        let tick = move |time| {
            ticked.send(time).unwrap();
            Ok(())
        };
        let clock = Clock::manual(hands);
        let timer = RecurringTimer::start("timer", &clock, Time::ZERO, PERIOD, Arc::new(|e| panic!("{e}")), tick);
        (timer.unwrap(), ticks)
    }

    fn at(millis: i64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn late_ticks_come_one_after_another() {
        let hands = ManualClock::new();
        let (timer, ticks) = start(&hands);
        assert_eq!(ticks.recv().unwrap(), at(0));
        hands.advance(PERIOD);
        assert_eq!(ticks.recv().unwrap(), at(100));
        hands.advance(2 * PERIOD);
        assert_eq!((ticks.recv().unwrap(), ticks.recv().unwrap()), (at(200), at(300)));
        assert_eq!(timer.stop(), Some(at(300)));
    }

    #[test]
    fn a_graceful_stop_ticks_once_more() {
        let hands = ManualClock::new();
        let (timer, ticks) = start(&hands);
        assert_eq!(ticks.recv().unwrap(), at(0));
        let stopping = std::thread::scope(|scope| {
            let stopping = scope.spawn(|| timer.stop_after_next_tick(at(10_000), &never()));
            while !stopping.is_finished() {
                hands.advance(PERIOD);
                std::thread::yield_now();
            }
            stopping.join().unwrap()
        });
        // Spark's timer sees the flag only after one tick more than this: one is what stopping needs.
        let last = ticks.try_iter().last();
        assert!(last.is_some() && stopping == last, "{stopping:?} {last:?}");
    }

    #[test]
    fn a_graceful_stop_does_not_wait_past_its_deadline() {
        let hands = ManualClock::new();
        let (timer, ticks) = start(&hands);
        assert_eq!(ticks.recv().unwrap(), at(0));
        assert_eq!(timer.stop_after_next_tick(at(0), &never()), Some(at(0)));
    }

    #[test]
    fn a_graceful_stop_does_not_wait_for_a_context_that_has_failed() {
        let (timer, ticks) = start(&ManualClock::new());
        assert_eq!(ticks.recv().unwrap(), at(0));
        let (alive, failed) = bounded(0);
        drop(alive);
        assert_eq!(timer.stop_after_next_tick(at(10_000), &failed), Some(at(0)));
    }

    #[test]
    fn a_failing_tick_ends_the_timer() {
        let (failed, errors) = unbounded();
        let clock = Clock::manual(&ManualClock::new());
        let on_error: OnError = Arc::new(move |error| failed.send(error).unwrap());
        let tick = |_| Err(Error::new(ErrorKind::Internal, "closed"));
        let timer = RecurringTimer::start("timer", &clock, Time::ZERO, PERIOD, on_error, tick).unwrap();
        assert_eq!(errors.recv().unwrap().to_string(), "closed");
        assert_eq!(timer.stop(), None);
    }
}
