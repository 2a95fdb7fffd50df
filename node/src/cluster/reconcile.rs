//! Keeps each group's members where placement wants them: every leader compares its own group and takes one
//! step at a time, so no central planner exists that could be lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use yunbase_consensus::{GroupId, GroupStatus, MembershipChange, NodeId, Peer, Role};

use super::map::{ClusterMap, SharedMap};
use super::placement::{Members, Step, next_step};
use crate::group_runtime::GroupRuntime;
use crate::router::Router;

/// Pause when the last look found nothing to do.
const IDLE_PAUSE: Duration = Duration::from_millis(1000);
/// Pause while there are steps to take: a new cluster should stand within a second.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
const STEP_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest that a leader which goes tries to hand over.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);
/// A follower that lacks no more entries than this, heard of lately, counts as caught up: it will have closed the
/// gap within a few round trips.
const CAUGHT_UP_LAG_MAX: u64 = 200;
const CAUGHT_UP_SILENCE_MAX: Duration = Duration::from_secs(2);
/// A leader stays this long after it was elected, so that an unstable preferred node cannot make leadership flap.
const LEADER_REST: Duration = Duration::from_secs(10);

/// Runs until `stop` says so.
pub async fn run(router: Arc<Router>, map: SharedMap, mut stop: watch::Receiver<bool>) {
    let mut changes = map.watch();
    let mut elected: std::collections::HashMap<(GroupId, u64), Instant> =
        std::collections::HashMap::new();
    loop {
        let mut busy = false;
        let current = map.get();
        let groups = router.groups();
        let leading: Vec<_> = groups.iter().filter(|group| group.is_leader()).collect();
        elected.retain(|(id, term), _| {
            leading
                .iter()
                .any(|group| group.id() == *id && group.status().leadership.term == *term)
        });
        for group in leading {
            let status = group.status();
            let since = *elected
                .entry((group.id(), status.leadership.term))
                .or_insert_with(Instant::now);
            if let Some(step) = wanted(&current, &status, since.elapsed() > LEADER_REST) {
                busy = true;
                take(group, &current, &status, step).await;
            }
        }
        let pause = if busy { BUSY_PAUSE } else { IDLE_PAUSE };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = changes.changed() => {}
            _ = stop.wait_for(|stopping| *stopping) => return,
        }
    }
}

fn wanted(map: &ClusterMap, status: &GroupStatus, rested: bool) -> Option<Step> {
    if status.role != Role::Leader || status.members.changing || map.nodes.is_empty() {
        return None;
    }
    let target = map.placement(status.group)?;
    let caught_up: BTreeSet<NodeId> = status
        .followers
        .iter()
        .filter(|(_, follower)| {
            follower.lag <= CAUGHT_UP_LAG_MAX
                && follower.matched.is_some()
                && follower
                    .silent_for
                    .is_some_and(|silence| silence < CAUGHT_UP_SILENCE_MAX)
        })
        .map(|(node, _)| *node)
        .chain([status.node])
        .collect();
    let members = Members {
        voters: status.members.voters.clone(),
        learners: status.members.learners.clone(),
        caught_up,
        leader: status.node,
    };
    next_step(target, &members).filter(|step| rested || !matches!(step, Step::TransferLeader(_)))
}

async fn take(group: &GroupRuntime, map: &ClusterMap, status: &GroupStatus, step: Step) {
    let deadline = tokio::time::Instant::now() + STEP_TIMEOUT;
    let expected = status.members.version;
    let id = group.id();
    let outcome = match &step {
        Step::AddLearner(node) => {
            let Some(record) = map.nodes.get(node) else {
                return;
            };
            let peer = Peer {
                address: record.peer_address.clone(),
            };
            group
                .group()
                .change_members(
                    MembershipChange::AddLearner(*node, peer),
                    expected,
                    deadline,
                )
                .await
                .map(drop)
        }
        Step::SetVoters(voters) => group
            .group()
            .change_members(
                MembershipChange::ReplaceVoters(voters.clone()),
                expected,
                deadline,
            )
            .await
            .map(drop),
        Step::Remove(node) => group
            .group()
            .change_members(MembershipChange::Remove([*node].into()), expected, deadline)
            .await
            .map(drop),
        Step::TransferLeader(node) => group.group().transfer_leader(*node, deadline).await,
        Step::HandOver(node, voters) => {
            let handing = tokio::time::Instant::now() + HANDOVER_TIMEOUT;
            match group.group().transfer_leader(*node, handing).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    tracing::info!(group = %id, to = node, %error, "not handed over");
                    let voters = MembershipChange::ReplaceVoters(voters.clone());
                    let changed = group.group().change_members(voters, expected, deadline);
                    changed.await.map(drop)
                }
            }
        }
    };
    match outcome {
        Ok(()) => tracing::info!(group = %id, ?step, "membership step taken"),
        // The next look starts from whatever came of it.
        Err(error) => tracing::debug!(group = %id, ?step, %error, "membership step not taken"),
    }
}
