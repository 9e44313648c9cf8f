//! Instants of batches ([`Time`]), stretches of them ([`Interval`]) and where they come from ([`Clock`]).
//!
//! Durations are `std::time::Duration` everywhere; fractions of a microsecond are dropped.

mod clock;

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

pub use clock::{Clock, ManualClock};

/// An instant, in microseconds since the Unix epoch. It names a batch.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::Time;
///
/// let at = Time::from_millis(1350);
/// assert_eq!(at.floor(Duration::from_millis(200)), Time::from_millis(1200));
/// assert_eq!(at + Duration::from_millis(50) - at, Duration::from_millis(50));
/// assert_eq!(at.to_string(), "1350 ms");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(i64);

impl Time {
    /// The Unix epoch; the zero time of a run on a manual clock.
    pub const ZERO: Time = Time(0);

    /// The instant this many microseconds after the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Time(micros)
    }

    /// The instant this many milliseconds after the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Time(millis.saturating_mul(1000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The latest multiple of `step` that is not after this instant.
    ///
    /// Unlike Spark's `Time.floor` it rounds down also before the epoch.
    pub fn floor(self, step: Duration) -> Time {
        self.floor_from(step, Time::ZERO)
    }

    /// The latest `zero + n * step` that is not after this instant. A step of zero leaves the instant as it is.
    pub fn floor_from(self, step: Duration, zero: Time) -> Time {
        match micros(step) {
            0 => self,
            step => Time(self.0 - (self.0 - zero.0).rem_euclid(step)),
        }
    }

    /// Whether this instant lies a whole number of `step`s from the epoch. Nothing but the epoch is a multiple of zero.
    pub fn is_multiple_of(self, step: Duration) -> bool {
        self.is_step_from(step, Time::ZERO)
    }

    /// Whether this instant lies a whole number of `step`s from `zero`.
    pub(crate) fn is_step_from(self, step: Duration, zero: Time) -> bool {
        match micros(step) {
            0 => self == zero,
            step => (self.0 - zero.0).rem_euclid(step) == 0,
        }
    }

    /// The instants from this one up to `end`, which is left out.
    ///
    /// # Panics
    ///
    /// If `step` is shorter than a microsecond.
    pub fn until(self, end: Time, step: Duration) -> impl Iterator<Item = Time> + Clone {
        let step = micros(step);
        assert!(step > 0, "a step of at least one microsecond");
        (self.0..end.0).step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(Time)
    }

    /// The instants from this one up to `end`, which belongs to them.
    ///
    /// # Panics
    ///
    /// If `step` is shorter than a microsecond.
    pub fn to(self, end: Time, step: Duration) -> impl Iterator<Item = Time> + Clone {
        self.until(Time(end.0.saturating_add(1)), step)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.rem_euclid(1000) {
            0 => write!(f, "{} ms", self.as_millis()),
            micros => write!(f, "{}.{micros:03} ms", self.as_millis()),
        }
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, duration: Duration) -> Time {
        Time(self.0.saturating_add(micros(duration)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, duration: Duration) -> Time {
        Time(self.0.saturating_sub(micros(duration)))
    }
}

impl Sub for Time {
    type Output = Duration;
    /// The time from `earlier` to this instant; zero if `earlier` is later.
    fn sub(self, earlier: Time) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// A duration in the unit of [`Time`], saturating.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Whether a duration is a whole number of `step`s. Zero is; nothing else is a multiple of zero.
pub(crate) fn is_multiple(duration: Duration, step: Duration) -> bool {
    let (duration, step) = (micros(duration), micros(step));
    if step == 0 { duration == 0 } else { duration % step == 0 }
}

/// The longest duration that both are multiples of. Of zero and another one, the other.
pub(crate) fn common_step(a: Duration, b: Duration) -> Duration {
    let (mut a, mut b) = (micros(a), micros(b));
    while b != 0 {
        (a, b) = (b, a % b);
    }
    Duration::from_micros(a.unsigned_abs())
}

/// The instants after `begin` and up to `end`: what a window at `end` looks at.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use tidemill::{Interval, Time};
///
/// let window = Interval::ending_at(Time::from_millis(4000), Duration::from_secs(3));
/// let batches: Vec<_> = window.steps(Duration::from_secs(1)).map(Time::as_millis).collect();
/// assert_eq!(batches, [2000, 3000, 4000]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    begin: Time,
    end: Time,
}

impl Interval {
    /// `(begin, end]`.
    pub fn new(begin: Time, end: Time) -> Self {
        Interval { begin, end }
    }

    /// `(end - length, end]`.
    pub fn ending_at(end: Time, length: Duration) -> Self {
        Interval { begin: end - length, end }
    }

    /// The instant before the first: it does not belong to the interval.
    pub fn begin(self) -> Time {
        self.begin
    }

    /// The last instant: it belongs to the interval.
    pub fn end(self) -> Time {
        self.end
    }

    /// The instants `begin + step, begin + 2 * step ..= end`, in order.
    ///
    /// # Panics
    ///
    /// If `step` is shorter than a microsecond.
    pub fn steps(self, step: Duration) -> impl Iterator<Item = Time> + Clone {
        (self.begin + step).to(self.end, step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn times(times: impl Iterator<Item = Time>) -> Vec<i64> {
        times.map(Time::as_millis).collect()
    }

    #[test]
    fn vectors_of_floor() {
        for (at, step, zero, expected) in [
            (1350, 200, 0, 1200),
            (1200, 200, 0, 1200),
            (199, 200, 0, 0),
            (1, 1, 0, 1),
            (1350, 200, 50, 1250),
            (1350, 200, 150, 1350),
            (1350, 200, 200, 1200),
            (-1, 200, 0, -200), // Spark gives 0: it rounds toward the epoch
        ] {
            let floor = Time::from_millis(at).floor_from(ms(step), Time::from_millis(zero));
            assert_eq!(floor, Time::from_millis(expected), "floor({at}, {step}, {zero})");
        }
    }

    #[test]
    fn vectors_of_until_and_to() {
        let at = Time::from_millis;
        assert_eq!(times(at(1000).until(at(1100), ms(100))), [1000]);
        assert_eq!(times(at(1000).until(at(1000), ms(100))), [0i64; 0]);
        assert_eq!(times(at(1000).until(at(1100), ms(30))), [1000, 1030, 1060, 1090]);
        assert_eq!(times(at(1000).to(at(1100), ms(100))), [1000, 1100]);
        assert_eq!(times(at(1000).to(at(1000), ms(100))), [1000]);
        assert_eq!(times(at(1000).to(at(1100), ms(30))), [1000, 1030, 1060, 1090]);
        assert_eq!(times(at(1100).to(at(1000), ms(30))), [0i64; 0]);
    }

    #[test]
    fn vectors_of_multiples() {
        for (step, expected) in [(5, true), (1000, true), (1, true), (6, false), (0, false)] {
            assert_eq!(is_multiple(ms(1000), ms(step)), expected, "1000 of {step}");
            assert_eq!(Time::from_millis(1000).is_multiple_of(ms(step)), expected, "1000 of {step}");
        }
        for (step, ratio) in [(5, 200.0), (1, 1000.0), (1000, 1.0), (2000, 0.5)] {
            assert_eq!(ms(1000).as_secs_f64() / ms(step).as_secs_f64(), ratio);
        }
    }

    #[test]
    fn common_steps() {
        for (a, b, expected) in [(4, 6, 2), (6, 4, 2), (5, 3, 1), (10, 5, 5), (0, 3, 3), (3, 0, 3), (0, 0, 0)] {
            assert_eq!(common_step(ms(a), ms(b)), ms(expected), "{a} and {b}");
        }
    }

    #[test]
    fn an_interval_leaves_out_its_begin() {
        let window = Interval::ending_at(Time::from_millis(300), ms(200));
        assert_eq!(times(window.steps(ms(100))), [200, 300]);
        assert_eq!(times(Interval::ending_at(Time::ZERO, Duration::ZERO).steps(ms(1))), [0i64; 0]);
    }
}
