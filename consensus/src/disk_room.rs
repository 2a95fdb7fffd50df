//! How much room a host's disk has left, as somebody outside sees it, and what groups do with little.
//!
//! A disk that is really full fails a write of the log, and a log that has failed once is not trusted
//! again: the node has to end. So before that commands are refused, and then entries of others.

use std::sync::atomic::{AtomicU8, Ordering};

/// What the disk has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum DiskRoom {
    /// Everything.
    Enough = 0,
    /// What others have agreed on: a leader refuses commands, a follower goes on, but takes no snapshot.
    Low = 1,
    /// Votes and marks: a follower stores no entries and so acknowledges none. It answers heartbeats, and
    /// gets what it lacks when there is room again.
    Full = 2,
}

/// The room as all groups of a host look at it.
#[derive(Debug, Default)]
pub(crate) struct SharedRoom(AtomicU8);

impl SharedRoom {
    pub(crate) fn get(&self) -> DiskRoom {
        match self.0.load(Ordering::Relaxed) {
            0 => DiskRoom::Enough,
            1 => DiskRoom::Low,
            _ => DiskRoom::Full,
        }
    }

    pub(crate) fn set(&self, room: DiskRoom) {
        self.0.store(room as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read() {
        let room = SharedRoom::default();
        assert_eq!(room.get(), DiskRoom::Enough);
        for set in [DiskRoom::Full, DiskRoom::Low, DiskRoom::Enough] {
            room.set(set);
            assert_eq!(room.get(), set);
        }
    }
}
