use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::take;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, ErrorKind, Result, guarded};

/// A total that the closures of a program add to, from all tasks. Spark's accumulator. Cloning shares it.
///
/// Made by [`StreamingContext::accumulator`](crate::StreamingContext::accumulator), for sums, or
/// [`accumulator_with`](crate::StreamingContext::accumulator_with), for anything that can be merged; a clone is moved
/// into the closure.
///
/// **A task that is tried again does not count twice**: what an attempt adds is kept with it, and goes into the total
/// when the attempt has succeeded. Nor does it count twice when blocks of a shuffle are lost and written again. What is
/// computed twice does: each action computes its dataset anew from the last shuffle on, so where it matters
/// [`persist`](crate::Dataset::persist) the dataset, or add in the closure of an action such as
/// [`foreach`](crate::Dataset::foreach). `take` and `first` look at some of the records only, and a sort looks at its
/// input once more to sample it. A window calls its functions as often as it likes.
///
/// Outside of tasks, in the closures of `foreach_batch` and `transform`, and in threads that a closure starts by itself,
/// an add goes into the total at once.
///
/// An add takes about ten nanoseconds in a task, next to nothing beside most records; a closure that does less itself can
/// add once for a partition, in [`map_partitions`](crate::Dataset::map_partitions).
///
/// The total is that of this process, and begins anew with it: a restart brings nothing back.
///
/// # Examples
///
/// ```
/// # let context = tidemill::StreamingContext::builder("doc").build()?;
/// let broken = context.accumulator::<u64>("broken lines");
/// let seen = broken.clone();
/// let numbers = context.parallelize(["1", "x7", "3"], 2).flat_map(move |line| {
///     let number = line.parse::<i32>();
///     if number.is_err() {
///         seen.add(1);
///     }
///     number
/// });
/// assert_eq!(numbers.collect()?, [1, 3]);
/// assert_eq!(broken.value(), 1);
/// # Ok::<(), tidemill::Error>(())
/// ```
pub struct Accumulator<T> {
    total: Arc<Total<T>>,
}

/// Whether this thread runs a task.
pub(crate) fn is_task_running() -> bool {
    ATTEMPTS.with_borrow(|attempts| !attempts.is_empty())
}

/// Adds the second to the first.
type Merge<T> = dyn Fn(&mut T, T) + Send + Sync;

struct Total<T> {
    name: String,
    merge: Box<Merge<T>>,
    value: Mutex<T>,
}

impl<T> Clone for Accumulator<T> {
    fn clone(&self) -> Self {
        Accumulator { total: Arc::clone(&self.total) }
    }
}

impl<T> fmt::Debug for Accumulator<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accumulator({})", self.total.name)
    }
}

impl<T: Default + AddAssign + Send + 'static> Accumulator<T> {
    pub(crate) fn sum(name: String) -> Self {
        Accumulator::new(name, T::default(), |total, value| *total += value)
    }
}

impl<T: Send + 'static> Accumulator<T> {
    pub(crate) fn new(name: String, zero: T, merge: impl Fn(&mut T, T) + Send + Sync + 'static) -> Self {
        Accumulator { total: Arc::new(Total { name, merge: Box::new(merge), value: Mutex::new(zero) }) }
    }

    /// Adds a value: to what the attempt of the task adds, if this thread runs one; else to the total.
    #[inline]
    pub fn add(&self, value: T) {
        ATTEMPTS.with_borrow_mut(|attempts| match attempts.last_mut() {
            Some(parts) => self.add_to(parts, value),
            None => self.total.add(value),
        });
    }

    fn add_to(&self, parts: &mut Vec<Part>, value: T) {
        let id = Arc::as_ptr(&self.total) as usize;
        let known = parts.iter_mut().find(|part| part.of == id);
        match known.and_then(|part| part.added.downcast_mut::<Added<T>>()) {
            Some(added) => (self.total.merge)(&mut added.value, value),
            None => {
                let added = Added { total: Arc::clone(&self.total), value };
                parts.push(Part { of: id, added: Box::new(added), apply: Added::<T>::apply });
            }
        }
    }

    /// The total: what has been added outside of tasks and by attempts that have succeeded, up to now.
    pub fn value(&self) -> T
    where
        T: Clone,
    {
        self.total.value().clone()
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.total.name
    }
}

impl<T> Total<T> {
    fn add(&self, value: T) {
        (self.merge)(&mut self.value(), value);
    }

    fn value(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an attempt has added to one accumulator.
struct Added<T> {
    total: Arc<Total<T>>,
    value: T,
}

impl<T: Send + 'static> Added<T> {
    fn apply(added: Box<dyn Any>) -> Result<()> {
        let Added { total, value } = *added.downcast::<Self>().expect("a part holds what it was made of");
        let add = || {
            total.add(value);
            Ok(())
        };
        guarded(add, |said| Error::new(ErrorKind::Task, format!("the accumulator {} panicked: {said}", total.name)))
    }
}

/// [`Added`], whatever is added.
struct Part {
    /// The address of the total, which the part keeps.
    of: usize,
    added: Box<dyn Any>,
    apply: fn(Box<dyn Any>) -> Result<()>,
}

thread_local! {
    /// What the attempts that run on this thread have added. More than one runs where a task waits for others and helps
    /// with them meanwhile.
    static ATTEMPTS: RefCell<Vec<Vec<Part>>> = const { RefCell::new(Vec::new()) };
}

/// What this thread adds to accumulators from here on, kept apart: until it is applied, or dropped and forgotten.
#[derive(Debug)]
pub(crate) struct Adds {
    /// It belongs to its thread.
    not_send: PhantomData<*const ()>,
}

impl Adds {
    pub(crate) fn keep_apart() -> Self {
        ATTEMPTS.with_borrow_mut(|attempts| attempts.push(Vec::new()));
        Adds { not_send: PhantomData }
    }

    /// Lets everything count that was added.
    ///
    /// # Errors
    ///
    /// A panic in a merge. Some of it may count then.
    pub(crate) fn apply(self) -> Result<()> {
        let parts = ATTEMPTS.with_borrow_mut(|attempts| attempts.last_mut().map(take));
        parts.into_iter().flatten().try_for_each(|part| (part.apply)(part.added))
    }
}

impl Drop for Adds {
    fn drop(&mut self) {
        let parts = ATTEMPTS.with_borrow_mut(Vec::pop);
        // Values of the program are dropped while nothing is borrowed.
        drop(parts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_count_when_they_are_applied_and_only_then() {
        let sum = Accumulator::<u64>::sum("sum".into());
        sum.add(1);
        assert_eq!(sum.value(), 1, "outside of tasks at once");
        let adds = Adds::keep_apart();
        sum.add(10);
        sum.add(10);
        assert_eq!(sum.value(), 1);
        adds.apply().unwrap();
        assert_eq!(sum.value(), 21);
        let adds = Adds::keep_apart();
        sum.add(100);
        drop(adds);
        sum.add(1);
        assert_eq!(sum.value(), 22);
    }

    #[test]
    fn attempts_on_one_thread_do_not_mix() {
        let sum = Accumulator::<u64>::sum("sum".into());
        let outer = Adds::keep_apart();
        sum.add(1);
        let inner = Adds::keep_apart();
        sum.add(10);
        inner.apply().unwrap();
        assert_eq!(sum.value(), 10);
        drop(Adds::keep_apart());
        sum.add(2);
        outer.apply().unwrap();
        assert_eq!(sum.value(), 13);
    }

    #[test]
    fn several_accumulators_of_several_types() {
        let words = Accumulator::new("words".into(), vec!["zero"], |all: &mut Vec<_>, mut more| all.append(&mut more));
        let (longest, sums) = (
            Accumulator::new("longest".into(), 0, |longest: &mut usize, n| *longest = n.max(*longest)),
            [(); 20].map(|()| Accumulator::<f64>::sum("a sum".into())),
        );
        let adds = Adds::keep_apart();
        for word in ["ebb", "flood"] {
            words.add(vec![word]);
            longest.add(word.len());
            sums.iter().zip(0..).for_each(|(sum, n)| sum.add(f64::from(n)));
        }
        adds.apply().unwrap();
        assert_eq!(words.value(), ["zero", "ebb", "flood"]);
        assert_eq!(longest.value(), 5);
        assert!(sums.iter().zip(0..).all(|(sum, n)| sum.value() == f64::from(n) * 2.0));
        assert_eq!((words.name(), format!("{words:?}")), ("words", "Accumulator(words)".to_string()));
    }

    #[test]
    fn a_merge_that_panics_is_an_error() {
        let small = Accumulator::<u8>::sum("small".into());
        small.add(200);
        let adds = Adds::keep_apart();
        small.add(100);
        let error = adds.apply().unwrap_err();
        assert_eq!(error.to_string(), "the accumulator small panicked: attempt to add with overflow");
        small.add(1);
        assert_eq!(small.value(), 201);
    }
}
