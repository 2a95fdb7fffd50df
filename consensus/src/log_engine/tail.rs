//! The newest entries of one group in memory. It holds every entry that is not yet durable, so that an
//! entry is readable the moment its append returns, and some durable ones, so that followers and the
//! apply loop seldom touch the disk. Only durable entries are ever evicted.

use std::collections::VecDeque;

use openraft::EntryPayload;

use crate::types::Entry;

/// Memory charged for an entry besides its commands.
const ENTRY_OVERHEAD_BYTES: usize = 96;

/// Orders a group's writes. An entry is durable when its ticket was completed; its index would not do,
/// since an index is written again after a truncation.
pub(crate) type Ticket = u64;

/// What an entry costs in queues and caches.
pub(crate) fn entry_cost_bytes(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Normal(batch) => batch.size_bytes(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    payload + ENTRY_OVERHEAD_BYTES
}

#[derive(Debug)]
struct Slot {
    entry: Entry,
    ticket: Ticket,
    cost_bytes: usize,
}

/// Consecutive entries up to the end of the log.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    slots: VecDeque<Slot>,
    bytes: usize,
    durable: Ticket,
}

impl Tail {
    /// Index of the first entry held: below it the disk is to be asked.
    pub(crate) fn start(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.entry.log_id.index)
    }

    /// Adds the entry that continues the log.
    pub(crate) fn push(&mut self, entry: Entry, ticket: Ticket) {
        debug_assert!(
            self.slots
                .back()
                .is_none_or(|last| last.entry.log_id.index + 1 == entry.log_id.index)
        );
        let cost_bytes = entry_cost_bytes(&entry);
        self.bytes += cost_bytes;
        self.slots.push_back(Slot {
            entry,
            ticket,
            cost_bytes,
        });
    }

    /// Notes that every write up to `ticket` is durable, and evicts from the front what exceeds `bytes_max`.
    pub(crate) fn completed(&mut self, ticket: Ticket, bytes_max: usize) {
        self.durable = self.durable.max(ticket);
        while self.bytes > bytes_max
            && let Some(front) = self.slots.front()
            && front.ticket <= self.durable
        {
            self.pop_front();
        }
    }

    /// Forgets the entries from `index` on.
    pub(crate) fn truncate_from(&mut self, index: u64) {
        while let Some(last) = self.slots.back()
            && last.entry.log_id.index >= index
        {
            self.bytes -= last.cost_bytes;
            self.slots.pop_back();
        }
    }

    /// Forgets the entries up to `index`, inclusive.
    pub(crate) fn purge_to(&mut self, index: u64) {
        while let Some(front) = self.slots.front()
            && front.entry.log_id.index <= index
        {
            self.pop_front();
        }
    }

    /// Clones entries with `from <= index < to`, stopping after the one that brings their cost to
    /// `bytes_max` or more. `from` must not lie before [`start`](Self::start).
    pub(crate) fn read(&self, from: u64, to: u64, bytes_max: usize) -> Vec<Entry> {
        let Some(start) = self.start() else {
            return Vec::new();
        };
        let skip = usize::try_from(from.saturating_sub(start)).unwrap_or(usize::MAX);
        let mut bytes = 0usize;
        let mut entries = Vec::new();
        for slot in self
            .slots
            .iter()
            .skip(skip)
            .take_while(|slot| slot.entry.log_id.index < to)
        {
            entries.push(slot.entry.clone());
            bytes = bytes.saturating_add(slot.cost_bytes);
            if bytes >= bytes_max {
                break;
            }
        }
        entries
    }

    fn pop_front(&mut self) {
        if let Some(front) = self.slots.pop_front() {
            self.bytes -= front.cost_bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LeaderId, LogId};

    fn entry(term: u64, index: u64) -> Entry {
        Entry {
            log_id: LogId::new(LeaderId { term, node_id: 1 }, index),
            payload: EntryPayload::Blank,
        }
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.log_id.index).collect()
    }

    #[test]
    fn evicts_only_what_is_durable() {
        let mut tail = Tail::default();
        for index in 5..9 {
            tail.push(entry(1, index), index);
        }
        tail.completed(6, 0);
        assert_eq!(tail.start(), Some(7));
        assert_eq!(indexes(&tail.read(7, 100, usize::MAX)), [7, 8]);
        tail.completed(8, 0);
        assert_eq!((tail.start(), tail.bytes), (None, 0));
    }

    /// The completion of the old entry at an index must not evict the new one.
    #[test]
    fn an_index_written_again_is_not_durable_by_its_predecessor() {
        let mut tail = Tail::default();
        tail.push(entry(1, 5), 1);
        tail.truncate_from(5);
        tail.push(entry(2, 5), 3);
        tail.completed(1, 0);
        assert_eq!(tail.start(), Some(5));
        tail.completed(3, 0);
        assert_eq!(tail.start(), None);
    }

    #[test]
    fn keeps_what_fits_and_reads_within_bounds() {
        let mut tail = Tail::default();
        for index in 1..=10 {
            tail.push(entry(1, index), index);
        }
        tail.completed(10, 4 * ENTRY_OVERHEAD_BYTES);
        assert_eq!(tail.start(), Some(7));
        assert_eq!(indexes(&tail.read(8, 10, usize::MAX)), [8, 9]);
        assert_eq!(indexes(&tail.read(7, 100, 1)), [7]);
        assert!(indexes(&tail.read(11, 100, 1)).is_empty());
        tail.purge_to(8);
        tail.truncate_from(10);
        assert_eq!(indexes(&tail.read(9, 100, usize::MAX)), [9]);
    }
}
