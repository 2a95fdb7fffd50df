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

/// Bytes of commands that a group has applied since this node opened it, at two moments. A restart counts anew,
/// and so the first of each comes late.
#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    flush: u64,
    snapshot: u64,
}

fn plan(
    status: &GroupStatus,
    applied_bytes: u64,
    marks: Marks,
    options: &CompactionOptions,
) -> Plan {
    let since = |from: Option<u64>| {
        status.applied.map_or(0, |applied| {
            (applied + 1).saturating_sub(from.map_or(0, |from| from + 1))
        })
    };
    // Nothing can be purged while the kept entries are all there are.
    let worth_it = since(status.purged) > options.keep_entries;
    let many = since(status.snapshot) >= options.snapshot_entries;
    // A state that was found ahead of its log after a restart took the log's place: what lies between snapshot
    // and log is in neither, and a follower that lacks it can be given nothing.
    let gap = status.purged > status.snapshot;
    let large = applied_bytes.saturating_sub(marks.snapshot) >= options.snapshot_bytes;
    Plan {
        flush: since(status.flushed) >= options.flush_entries
            || applied_bytes.saturating_sub(marks.flush) >= options.flush_bytes,
        snapshot: many || gap || (large && worth_it),
    }
}

/// Looks after the groups of a host until it is gone.
pub(crate) async fn run(host: Weak<HostInner>, options: CompactionOptions) {
    let mut joint_before = BTreeSet::new();
    let mut marks = BTreeMap::new();
    loop {
        tokio::time::sleep(options.interval).await;
        let Some(groups) = host.upgrade().map(|host| host.groups()) else {
            return;
        };
        let mut joint_now = BTreeSet::new();
        for group in groups {
            if let Err(error) =
                look_after(&group, &options, marks.entry(group.id()).or_default()).await
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
    marks: &mut Marks,
) -> io::Result<()> {
    let status = group.status();
    let applied_bytes = group.inner.state.applied_bytes();
    let plan = plan(&status, applied_bytes, *marks, options);
    if plan.flush {
        group.inner.state.flush().await?;
        marks.flush = applied_bytes;
        GroupCounters::add(&group.inner.counters.flushes, 1);
    }
    if plan.snapshot {
        let before = status.snapshot;
        let mut built = group.inner.raft.watch_snapshot_progress();
        if group.trigger_snapshot().await.is_ok() {
            let newer = built.wait_until(|built| built.as_ref().map(|id| id.index) > before);
            if tokio::time::timeout(SNAPSHOT_TIMEOUT, newer).await.is_ok() {
                marks.snapshot = applied_bytes;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Leadership, Role};
    use crate::types::GroupId;

    fn status(applied: u64, flushed: u64, snapshot: Option<u64>) -> GroupStatus {
        GroupStatus {
            group: GroupId(1),
            node: 1,
            role: Role::Leader,
            leadership: Leadership::default(),
            last_log: Some(applied),
            committed: Some(applied),
            applied: Some(applied),
            flushed: Some(flushed),
            snapshot,
            purged: None,
            members: membership::Members::default(),
            followers: BTreeMap::new(),
            failure: None,
        }
    }

    #[test]
    fn what_is_due_follows_entries_and_bytes() {
        let options = CompactionOptions::default();
        let idle = plan(&status(100, 100, None), 0, Marks::default(), &options);
        assert_eq!(
            idle,
            Plan {
                flush: false,
                snapshot: false
            }
        );
        let many = plan(
            &status(options.flush_entries + 10, 0, None),
            0,
            Marks::default(),
            &options,
        );
        assert!(many.flush && !many.snapshot);
        let large = plan(
            &status(10, 5, None),
            options.flush_bytes,
            Marks::default(),
            &options,
        );
        assert!(large.flush && !large.snapshot);
        let flushed = Marks {
            flush: options.flush_bytes,
            snapshot: 0,
        };
        assert!(!plan(&status(10, 5, None), options.flush_bytes, flushed, &options).flush);
        let long = status(
            options.snapshot_entries + 1,
            options.snapshot_entries,
            Some(0),
        );
        assert!(plan(&long, 0, Marks::default(), &options).snapshot);
        let heavy = status(options.keep_entries + 10, options.keep_entries, None);
        assert!(plan(&heavy, options.snapshot_bytes, Marks::default(), &options).snapshot);
        let mut ahead = status(93, 93, Some(77));
        ahead.purged = Some(77);
        assert!(!plan(&ahead, 0, Marks::default(), &options).snapshot);
        ahead.purged = Some(93);
        assert!(
            plan(&ahead, 0, Marks::default(), &options).snapshot,
            "entries 78 to 93 are nowhere: simulation, seed 2269"
        );
        let short = status(options.keep_entries / 2, 0, None);
        assert!(
            !plan(&short, options.snapshot_bytes, Marks::default(), &options).snapshot,
            "nothing to purge yet"
        );
    }
}
