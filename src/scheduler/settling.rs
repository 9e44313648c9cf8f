use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::time::Time;

/// In which order batches settle: each after its outputs have ended, and one after the other in the order of time,
/// however many threads run outputs. A batch saves what those before it have not, and what is saved of it is written
/// behind theirs.
///
/// Whoever ends an output settles what can be settled then; nobody waits. `E` is what it takes to settle a batch.
#[derive(Debug)]
pub(super) struct Settling<E>(Mutex<Turns<E>>);

#[derive(Debug)]
struct Turns<E> {
    /// Batches that are planned and not settled, in the order of time.
    open: VecDeque<Turn<E>>,
    /// Whether somebody settles a batch, and looks for the next when that has ended.
    is_taken: bool,
}

#[derive(Debug)]
struct Turn<E> {
    batch: Time,
    /// How many outputs have not ended.
    outputs: usize,
    end: E,
}

impl<E> Settling<E> {
    pub(super) fn new() -> Self {
        Settling(Mutex::new(Turns { open: VecDeque::new(), is_taken: false }))
    }

    /// A batch is planned, and so many outputs of it come before its end. Batches come in the order of time.
    pub(super) fn planned(&self, batch: Time, outputs: usize, end: E) {
        self.turns().open.push_back(Turn { batch, outputs, end });
    }

    /// An output of a batch has ended, well or not.
    pub(super) fn output_ended(&self, batch: Time) {
        let mut turns = self.turns();
        if let Some(turn) = turns.open.iter_mut().find(|turn| turn.batch == batch) {
            turn.outputs -= 1;
        }
    }

    /// Settles the batches whose turn it is, if nobody else does.
    pub(super) fn run(&self, mut settle: impl FnMut(Time, E)) {
        while let Some(Turn { batch, end, .. }) = self.take() {
            settle(batch, end);
            self.turns().is_taken = false;
        }
    }

    fn take(&self) -> Option<Turn<E>> {
        let mut turns = self.turns();
        let is_ready = !turns.is_taken && turns.open.front().is_some_and(|turn| turn.outputs == 0);
        turns.is_taken |= is_ready;
        if is_ready { turns.open.pop_front() } else { None }
    }

    fn turns(&self) -> MutexGuard<'_, Turns<E>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Time {
        Time::from_millis(millis)
    }

    fn settled(settling: &Settling<i64>) -> Vec<i64> {
        let mut settled = Vec::new();
        settling.run(|batch, end| {
            assert_eq!(batch, at(end));
            settled.push(end);
        });
        settled
    }

    #[test]
    fn a_batch_settles_after_its_outputs_and_after_all_before_it() {
        let settling = Settling::new();
        for (batch, outputs) in [(1, 2), (2, 0), (3, 1), (4, 1)] {
            settling.planned(at(batch), outputs, batch);
        }
        assert_eq!(settled(&settling), [0; 0]);
        settling.output_ended(at(3));
        settling.output_ended(at(1));
        assert_eq!(settled(&settling), [0; 0]);
        settling.output_ended(at(1));
        assert_eq!(settled(&settling), [1, 2, 3]);
        settling.output_ended(at(4));
        assert_eq!(settled(&settling), [4]);
    }

    #[test]
    fn one_settles_at_a_time_and_what_becomes_ready_meanwhile_follows() {
        let settling = Settling::new();
        settling.planned(at(1), 1, 1);
        settling.planned(at(2), 1, 2);
        settling.output_ended(at(1));
        let mut order = Vec::new();
        settling.run(|_, end| {
            order.push(end);
            if end == 1 {
                settling.output_ended(at(2));
                // As another thread that has ended the output.
                assert_eq!(settled(&settling), [0; 0]);
            }
        });
        assert_eq!(order, [1, 2]);
    }
}
