//! After the faults: everything is healed, and the group must serve soon, replace what is lost, and end
//! with the same state everywhere. Half of what goes wrong in such systems is that they do not come back.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use tokio::time::Instant;
use yunbase_consensus::{MembershipChange, NodeId};

use super::SimulationOptions;
use super::command::{Action, SimCommand, SimReply};
use super::world::{Process, World};

const PAUSE: Duration = Duration::from_millis(20);

/// How long a new cluster may take to elect its first leader.
const FORM_WITHIN: Duration = Duration::from_secs(5);

/// The client that asks after the healing.
const LAST_CLIENT: u64 = 1 << 32;

/// Waits until the voters have the first membership: what an operator waits for before using a cluster.
pub(super) async fn form(world: &World) {
    let deadline = Instant::now() + FORM_WITHIN;
    let has_formed = |process: Process| process.group.status().committed >= Some(1);
    while Instant::now() < deadline {
        if (1..=world.profile().voters).all(|node| world.process(node).is_some_and(has_formed)) {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    world.judge(|judge| judge.violated("forms", "no first leader was elected".to_owned()));
}

/// Heals the world and waits until it has recovered; returns the time until it served.
pub(super) async fn recover(world: &World, options: &SimulationOptions) -> Duration {
    world.heal_network();
    for node in world.damaged() {
        world.lose(node);
    }
    world.reap();
    let healed = Instant::now();
    for node in world.machines() {
        if let Some(disk) = world.log_disk(node) {
            disk.clear_failures();
        }
        if world.process(node).is_none() {
            world.start(node).await;
        }
    }
    world.event(format_args!("healed"));
    let served = serve(world, healed, options.serve_within).await;
    if served.is_none() {
        let leader = world.leader().map(|leader| leader.node);
        let detail = format!(
            "no write was acknowledged within {:?} after all faults ended; leader {leader:?}",
            options.serve_within
        );
        world.judge(|judge| judge.violated("serves soon after faults end", detail));
    }
    let served = served.unwrap_or(options.serve_within);
    converge(world, Instant::now() + options.converge_within).await;
    served
}

/// Writes until a write is acknowledged.
async fn serve(world: &World, healed: Instant, within: Duration) -> Option<Duration> {
    let floor = world.judge(|judge| judge.floor());
    let mut command = SimCommand {
        client: LAST_CLIENT,
        number: 1,
        attempt: 0,
        key: 0,
        action: Action::Write(u64::MAX),
    };
    while healed.elapsed() < within {
        tokio::time::sleep(PAUSE).await;
        world.inspect();
        restart(world).await;
        let Some(leader) = world.leader() else {
            continue;
        };
        let deadline = Instant::now() + Duration::from_millis(500);
        let payload = Bytes::from(command.encode());
        let proposed = leader
            .life
            .lived_through(leader.group.propose(payload, deadline));
        if let Some(Ok(proposed)) = proposed.await
            && let Some(reply) = SimReply::decode(&proposed.reply)
        {
            world.judge(|judge| judge.acknowledged(&command, floor, proposed.log_index, reply));
            world.event(format_args!("serves at {}", proposed.log_index));
            return Some(healed.elapsed());
        }
        command.attempt += 1;
    }
    None
}

/// A sync or read failure that was ordered before the healing may show only now.
async fn restart(world: &World) {
    world.reap();
    for node in world.stopped() {
        world.start(node).await;
    }
}

/// Takes lost machines out of the group, then waits until all its members hold the same.
async fn converge(world: &World, deadline: Instant) {
    let mut obstacle = "nobody leads".to_owned();
    while Instant::now() < deadline {
        world.inspect();
        restart(world).await;
        if let Some(leader) = world.leader() {
            match is_converged(world, &leader).await {
                Ok(()) => {
                    world.event(format_args!("converged"));
                    return compare(world, &leader);
                }
                Err(now) => obstacle = now,
            }
        }
        tokio::time::sleep(5 * PAUSE).await;
    }
    world.judge(|judge| judge.violated("converges after faults end", obstacle));
}

async fn is_converged(world: &World, leader: &Process) -> Result<(), String> {
    let soon = Instant::now() + Duration::from_millis(800);
    let barrier = leader.life.lived_through(leader.group.read_barrier(soon));
    let Some(Ok(_)) = barrier.await else {
        return Err(format!("leader {} gives no barrier", leader.node));
    };
    let status = leader.group.status();
    let gone = |node: &NodeId| world.process(*node).is_none();
    if let Some(lost) = status.members.peers.keys().find(|node| gone(node)) {
        let changed = replace(world, leader, *lost).await;
        return Err(format!("lost member {lost} is being replaced: {changed}"));
    }
    if status.members.changing {
        return Err("a change of members is half done".to_owned());
    }
    let last = leader.state.look(|state| (state.last, state.digest));
    for node in status.members.peers.keys() {
        let Some(process) = world.process(*node) else {
            return Err(format!("node {node} is down"));
        };
        let own = process.state.look(|state| (state.last, state.digest));
        if own != last {
            let follower = status.followers.get(node);
            return Err(format!(
                "node {node} is at {own:?}, the leader at {last:?}; the leader sees {follower:?}, its snapshot is at {:?}, its log purged to {:?}",
                status.snapshot, status.purged
            ));
        }
        let barrier = process.life.lived_through(process.group.read_barrier(soon));
        if !matches!(barrier.await, Some(Ok(_))) {
            return Err(format!("node {node} gives no barrier"));
        }
    }
    Ok(())
}

/// One step of taking a lost member out: put a new one beside it where there are too few, then remove it.
async fn replace(world: &World, leader: &Process, lost: NodeId) -> String {
    let status = leader.group.status();
    let members = status.members;
    let votes = members.voters.contains(&lost);
    let change = if votes && members.voters.len() <= 3 {
        let learner = members
            .learners
            .iter()
            .find(|node| world.process(**node).is_some());
        match learner {
            Some(node) => MembershipChange::Promote([*node].into()),
            None => {
                let spare = world.machines().into_iter().find(|node| {
                    !members.peers.contains_key(node) && world.process(*node).is_some()
                });
                let spare = match spare {
                    Some(spare) => spare,
                    None => {
                        let spare = world.add_machine();
                        world.start(spare).await;
                        spare
                    }
                };
                MembershipChange::AddLearner(spare, world.peer(spare))
            }
        }
    } else {
        MembershipChange::Remove([lost].into())
    };
    // A learner needs some time to catch up, which is part of what is measured.
    let patience = world.draw(|random| random.random_range(1000..2000));
    let deadline = Instant::now() + Duration::from_millis(patience);
    let changed = leader
        .group
        .change_members(change.clone(), members.version, deadline);
    let changed = leader.life.lived_through(changed).await;
    let text = match changed {
        Some(Ok(_)) => format!("{change:?} done"),
        Some(Err(error)) => format!("{change:?}: {error}"),
        None => "the leader died".to_owned(),
    };
    world.event(format_args!("replacing {lost}: {text}"));
    text
}

/// What the replicas hold is what the log says.
fn compare(world: &World, leader: &Process) {
    let held = leader.state.look(Clone::clone);
    world.judge(|judge| {
        if *judge.model() != held {
            let detail = format!(
                "the leader ends at {:?} with other registers than the log gives at {:?}",
                held.last,
                judge.model().last
            );
            judge.violated("acknowledged commands are there at the end", detail);
        }
    });
}
