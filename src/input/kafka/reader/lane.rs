use std::collections::VecDeque;
use std::ops::Range;

use crate::input::kafka::native::{Messages, PartitionQueue};

/// What of a partition has come and was not read yet.
pub(super) struct Lane {
    pub(super) queue: PartitionQueue,
    /// The offset from which the leftover and then the queue go on. `None` if that is not known.
    pub(super) next: Option<i64>,
    /// Messages after the end of the last range, which came with its last ones.
    pub(super) leftover: Messages,
    /// An error came after the last messages: librdkafka reads the partition no more until it is sought.
    pub(super) is_broken: bool,
    /// Parts of a range that was cut, for the tasks that have not come yet: those behind them came first.
    pub(super) aside: VecDeque<Aside>,
}

/// Messages of a part of a range.
pub(super) struct Aside {
    /// The range that was cut.
    pub(super) of: Range<i64>,
    pub(super) part: Range<i64>,
    pub(super) messages: Vec<Messages>,
}

impl Lane {
    pub(super) fn new(queue: PartitionQueue, next: Option<i64>) -> Self {
        Lane { queue, next, leftover: Messages::default(), is_broken: false, aside: VecDeque::new() }
    }

    /// The messages of a part of a range, if they were set aside.
    pub(super) fn take_aside(&mut self, part: &Range<i64>) -> Option<Vec<Messages>> {
        let holds = |aside: &Aside| aside.part.start <= part.start && part.end <= aside.part.end;
        let place = self.aside.iter().position(holds)?;
        let Aside { of, part: held, messages } = self.aside.remove(place)?;
        let (before, rest) = split(messages, part.start);
        let (messages, behind) = split(rest, part.end);
        let pieces = [(held.start..part.start, before), (part.end..held.end, behind)];
        for (part, messages) in pieces.into_iter().filter(|(part, _)| !part.is_empty()) {
            self.aside.push_back(Aside { of: of.clone(), part, messages });
        }
        Some(messages)
    }
}

/// Parts messages in order: those before an offset, and those from it on.
fn split(messages: Vec<Messages>, offset: i64) -> (Vec<Messages>, Vec<Messages>) {
    let (mut before, mut behind) = (Vec::new(), Vec::new());
    for mut some in messages {
        let rest = some.split_off(offset);
        before.push(some);
        behind.push(rest);
    }
    (before, behind)
}
