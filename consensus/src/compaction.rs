//! Keeps logs short: flushes states, takes snapshots and lets the log be purged behind them.
//!
//! What to do is a pure function of a group's numbers; a task looks at each group every few seconds.
//! One group at a time, so that a node never has two snapshots under construction.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Weak;
use std::time::Duration;

use crate::group::Group;
use crate::host::HostInner;
use crate::membership;
use crate::metrics::GroupCounters;
use crate::options::CompactionOptions;
use crate::status::GroupStatus;

/// Longest wait for a snapshot before the next group is looked at.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);

/// What a group needs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    flush: bool,
    snapshot: bool,
}

fn plan(status: &GroupStatus, bytes_since_snapshot: u64, options: &CompactionOptions) -> Plan {
    let since = |from: Option<u64>| {
        status.applied.map_or(0, |applied| {
            (applied + 1).saturating_sub(from.map_or(0, |from| from + 1))
        })
    };
    // Nothing can be purged while the kept entries are all there are.
    let worth_it = since(status.purged) > options.keep_entries;
    let many = since(status.snapshot) >= options.snapshot_entries;
    let large = bytes_since_snapshot >= options.snapshot_bytes;
    Plan {
        flush: since(status.flushed) >= options.flush_entries,
        snapshot: many || (large && worth_it),
    }
}

/// Looks after the groups of a host until it is gone.
pub(crate) async fn run(host: Weak<HostInner>, options: CompactionOptions) {
    let mut joint_before = BTreeSet::new();
    // Bytes that each group had applied at its last snapshot; a restart counts anew, and so late.
    let mut at_snapshot = BTreeMap::new();
    loop {
        tokio::time::sleep(options.interval).await;
        let Some(groups) = host.upgrade().map(|host| host.groups()) else {
            return;
        };
        let mut joint_now = BTreeSet::new();
        for group in groups {
            if let Err(error) =
                look_after(&group, &options, at_snapshot.entry(group.id()).or_default()).await
            {
                tracing::error!(group = %group.id(), %error, "state could not be flushed");
            }
            let status = group.status();
            if status.leadership.here && status.members.changing {
                // Half done twice in a row: whoever began the change is no longer at it.
                if joint_before.contains(&group.id())
                    && let Err(error) = membership::finish_change(&group.inner.raft).await
                {
                    tracing::info!(group = %group.id(), %error, "membership change not finished yet");
                }
                joint_now.insert(group.id());
            }
        }
        joint_before = joint_now;
    }
}

async fn look_after(
    group: &Group,
    options: &CompactionOptions,
    at_snapshot: &mut u64,
) -> io::Result<()> {
    let status = group.status();
    let applied_bytes = group.inner.state.applied_bytes();
    let plan = plan(&status, applied_bytes.saturating_sub(*at_snapshot), options);
    if plan.flush {
        group.inner.state.flush().await?;
        GroupCounters::add(&group.inner.counters.flushes, 1);
    }
    if plan.snapshot {
        let before = status.snapshot;
        let mut built = group.inner.raft.watch_snapshot_progress();
        if group.trigger_snapshot().await.is_ok() {
            let newer = built.wait_until(|built| built.as_ref().map(|id| id.index) > before);
            if tokio::time::timeout(SNAPSHOT_TIMEOUT, newer).await.is_ok() {
                *at_snapshot = applied_bytes;
            }
        }
    }
    Ok(())
}
