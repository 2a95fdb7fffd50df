//! Counters and gauges of a group, for the node to publish. Reading them costs nothing to the group.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// Running totals since the group was opened; each only grows unless it says otherwise.
        #[derive(Debug, Default)]
        pub(crate) struct GroupCounters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// A reading of a group's counters.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct GroupMetrics {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl GroupCounters {
            /// A reading; the numbers are not of one instant.
            pub(crate) fn read(&self) -> GroupMetrics {
                GroupMetrics { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Commands that were proposed in an entry.
    commands,
    /// Their bytes.
    command_bytes,
    /// Entries that carried them: `commands / entries` is the mean batch.
    entries,
    /// Microseconds from submitting an entry to its replies, summed over entries.
    commit_micros,
    /// Proposals refused as overload.
    overloaded,
    /// Proposals whose outcome is unknown.
    unknown,
    /// Commands under way now. Goes up and down.
    in_flight_commands,
    /// Bytes of commands under way now. Goes up and down.
    in_flight_bytes,
    /// Read barriers that were asked for.
    reads,
    /// Rounds that confirmed the leader for them: `reads / read_rounds` is the mean batch.
    read_rounds,
    /// Bytes of snapshots sent from this node.
    snapshot_bytes_sent,
    /// Bytes of snapshots received by this node.
    snapshot_bytes_received,
    /// Flushes of the state.
    flushes,
}

impl GroupCounters {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn add_micros(counter: &AtomicU64, elapsed: Duration) {
        Self::add(
            counter,
            u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
        );
    }
}
