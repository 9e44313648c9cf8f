use std::ops::Range;
use std::sync::Arc;

use super::{Reader, Slot};
use crate::dataset::{Emitter, ReadPartition};
use crate::error::Result;
use crate::input::kafka::native::Messages;
use crate::input::kafka::offset_range::OffsetRange;
use crate::input::kafka::records::{Decoder, LeftOut};

/// One range of one batch, or a part of it.
pub(in crate::input::kafka) struct KafkaPartition<D> {
    pub(in crate::input::kafka) reader: Arc<Reader>,
    pub(in crate::input::kafka) slot: Arc<Slot>,
    pub(in crate::input::kafka) range: OffsetRange,
    /// The range that was cut into parts, if it was.
    pub(in crate::input::kafka) whole: Option<Range<i64>>,
    pub(in crate::input::kafka) decoder: Arc<D>,
}

impl<D> KafkaPartition<D> {
    /// A range in parts of at most this many offsets.
    pub(in crate::input::kafka) fn parts(
        reader: &Arc<Reader>,
        slot: &Arc<Slot>,
        range: OffsetRange,
        most: Option<u64>,
        decoder: &Arc<D>,
    ) -> Vec<KafkaPartition<D>> {
        let offsets = range.from..range.until;
        let parts = range.cut(most);
        let whole = (parts.len() > 1).then_some(offsets);
        let part = |range| {
            let (reader, slot, decoder) = (Arc::clone(reader), Arc::clone(slot), Arc::clone(decoder));
            KafkaPartition { reader, slot, range, whole: whole.clone(), decoder }
        };
        parts.into_iter().map(part).collect()
    }
}

impl<T, D: Decoder<T>> ReadPartition<T> for KafkaPartition<D> {
    fn records(&self) -> Option<u64> {
        Some(self.range.count())
    }

    fn describe(&self) -> String {
        self.range.to_string()
    }

    fn read(&self, out: &mut Emitter<'_, T>) -> Result<()> {
        if self.range.is_empty() {
            return Ok(());
        }
        let (mut records, mut left_out) = (Vec::new(), LeftOut::default());
        let mut emit = |messages: &Messages| {
            self.decoder.decode(&self.slot.partition, messages, &mut left_out, &mut records)?;
            records.drain(..).for_each(|record| out.emit(record));
            Ok(!out.is_done())
        };
        let outcome = match &self.whole {
            None => self.reader.read(&self.slot, &self.range, emit),
            Some(whole) => self.reader.take_part(&self.slot, whole, &self.range).and_then(|parts| {
                for messages in parts {
                    if !emit(&messages)? {
                        break;
                    }
                }
                Ok(())
            }),
        };
        if self.reader.is_closed() {
            self.reader.close();
        }
        outcome?;
        left_out.finish()
    }
}
