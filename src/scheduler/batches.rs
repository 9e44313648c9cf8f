use std::collections::BTreeMap;

use crate::listener::BatchInfo;
use crate::time::Time;

/// The books of all batches that were planned and are not finished with: which jobs are still to run, and which
/// batches are done but wait for an earlier one.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// By batch time.
    open: BTreeMap<Time, OpenBatch>,
    /// Done, and all before them too, but the inputs were not told yet: outputs with a longer slide duration have not
    /// seen their records. With the batch that has to be done first.
    held: BTreeMap<Time, Time>,
    done_up_to: Option<Time>,
}

#[derive(Debug)]
pub(super) struct OpenBatch {
    pub(super) info: BatchInfo,
    /// Jobs, and what comes after them, that have not ended.
    pub(super) jobs_left: usize,
    /// Whether a job failed: the batch is never done.
    pub(super) failed: bool,
    /// Whether a job was dropped: the batch is never done either.
    pub(super) dropped: bool,
    /// The batch at whose end the records of this one have gone into every output.
    pub(super) horizon: Time,
}

impl Batches {
    pub(super) fn open(&mut self, info: BatchInfo, jobs: usize, horizon: Time) {
        let batch = OpenBatch { info, jobs_left: jobs, failed: false, dropped: false, horizon };
        self.open.insert(batch.info.time, batch);
    }

    pub(super) fn get_mut(&mut self, batch: Time) -> Option<&mut OpenBatch> {
        self.open.get_mut(&batch)
    }

    /// How many batches have jobs that have not ended.
    pub(super) fn waiting(&self) -> usize {
        self.open.values().filter(|batch| batch.jobs_left > 0).count()
    }

    /// The batches that are not done.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = &OpenBatch> {
        self.open.values()
    }

    /// Closes the batches from the oldest on that are done, up to the first that is not, and returns their times.
    pub(super) fn close_done(&mut self) -> Vec<Time> {
        let mut closed = Vec::new();
        while let Some(oldest) = self.open.first_entry() {
            let batch = oldest.get();
            if batch.jobs_left > 0 || batch.failed || batch.dropped {
                break;
            }
            let (time, batch) = oldest.remove_entry();
            self.held.insert(time, batch.horizon);
            self.done_up_to = Some(time);
            closed.push(time);
        }
        closed
    }

    /// The newest batch that the inputs can be told of: it and all before it are done, and so is every batch that
    /// still had to see their records.
    pub(super) fn take_completed(&mut self) -> Option<Time> {
        let done_up_to = self.done_up_to?;
        let mut completed = None;
        while let Some(oldest) = self.held.first_entry() {
            if *oldest.get() > done_up_to {
                break;
            }
            completed = Some(oldest.remove_entry().0);
        }
        completed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Time {
        Time::from_millis(millis)
    }

    fn open(batches: &mut Batches, time: i64, jobs: usize, horizon: i64) {
        batches.open(BatchInfo::new(at(time), Vec::new(), at(0), at(0), Vec::new()), jobs, at(horizon));
    }

    #[test]
    fn a_batch_is_closed_after_all_before_it() {
        let mut batches = Batches::default();
        open(&mut batches, 1, 1, 1);
        open(&mut batches, 2, 1, 2);
        batches.get_mut(at(2)).unwrap().jobs_left = 0;
        assert_eq!(batches.close_done(), []);
        assert_eq!(batches.take_completed(), None);
        batches.get_mut(at(1)).unwrap().jobs_left = 0;
        assert_eq!(batches.close_done(), [at(1), at(2)]);
        assert_eq!(batches.take_completed(), Some(at(2)));
        assert_eq!(batches.take_completed(), None);
    }

    #[test]
    fn a_failed_batch_holds_up_all_after_it() {
        let mut batches = Batches::default();
        open(&mut batches, 1, 0, 1);
        open(&mut batches, 2, 0, 2);
        open(&mut batches, 3, 0, 3);
        batches.get_mut(at(2)).unwrap().failed = true;
        assert_eq!(batches.close_done(), [at(1)]);
        assert_eq!(batches.take_completed(), Some(at(1)));
        assert_eq!(batches.unfinished().count(), 2);
    }

    #[test]
    fn inputs_are_told_when_the_slowest_output_has_seen_the_records() {
        let mut batches = Batches::default();
        // An output with a slide duration of two batches: the records of 1 go out with 2.
        open(&mut batches, 1, 0, 2);
        assert_eq!(batches.close_done(), [at(1)]);
        assert_eq!(batches.take_completed(), None);
        open(&mut batches, 2, 1, 2);
        assert_eq!(batches.take_completed(), None);
        batches.get_mut(at(2)).unwrap().jobs_left = 0;
        assert_eq!(batches.close_done(), [at(2)]);
        assert_eq!(batches.take_completed(), Some(at(2)));
    }
}
