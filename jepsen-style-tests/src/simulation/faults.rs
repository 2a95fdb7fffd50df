//! What breaks the simulated cluster, one fault after another, as the run's profile allows.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;
use yunbase_consensus::{GroupStatus, MembershipChange, NodeId};

use super::profile::{Fault, weather};
use super::world::{GROUP, Process, World};

/// How often the world is looked at: processes that stopped by themselves, what disks took.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How long an operator waits for a change of members.
const OPERATOR_PATIENCE: Duration = Duration::from_millis(1500);

/// Looks after the world until `end`, without breaking it.
pub(super) async fn look_until(world: &World, end: Instant) {
    while Instant::now() < end {
        world.inspect();
        world.reap();
        tokio::time::sleep(LOOK_EVERY.min(end.saturating_duration_since(Instant::now()))).await;
    }
    world.inspect();
}

/// Breaks the world until `end`.
pub(super) async fn run(world: &World, end: Instant) {
    while Instant::now() < end && world.judge(|judge| judge.violations().is_empty()) {
        let pause = world.draw(|random| random.random_range(20..=world.profile().fault_pause_ms));
        look_until(
            world,
            (Instant::now() + Duration::from_millis(pause)).min(end),
        )
        .await;
        restart_some(world).await;
        let faults = &world.profile().faults;
        if faults.is_empty() {
            continue;
        }
        let fault = faults[world.draw(|random| random.random_range(0..faults.len()))];
        world.event(format_args!("fault {fault:?}"));
        strike(world, fault).await;
    }
}

/// Starts some of the machines that stand still.
async fn restart_some(world: &World) {
    for node in world.stopped() {
        if world.draw(|random| random.random_bool(0.6)) {
            world.start(node).await;
        }
    }
}

fn any_process(world: &World) -> Option<Process> {
    let mut processes = world.processes();
    if processes.is_empty() {
        return None;
    }
    let chosen = world.draw(|random| random.random_range(0..processes.len()));
    Some(processes.swap_remove(chosen))
}

async fn strike(world: &World, fault: Fault) {
    match fault {
        Fault::Crash => {
            if let Some(process) = any_process(world) {
                world.kill(process.node);
            }
        }
        Fault::CrashAll => {
            for process in world.processes() {
                world.kill(process.node);
            }
        }
        Fault::CrashLeader => {
            if let Some(leader) = world.leader() {
                world.kill(leader.node);
            }
        }
        Fault::Partition => {
            world.network().heal();
            let machines = world.machines();
            let side = machines
                .into_iter()
                .filter(|_| world.draw(|random| random.random_bool(0.5)));
            let side: BTreeSet<NodeId> = side.collect();
            world.cut(&side);
        }
        Fault::IsolateLeader => {
            world.network().heal();
            if let Some(leader) = world.leader() {
                world.cut(&[leader.node].into());
            }
        }
        Fault::OneWay => {
            world.network().heal();
            if let (Some(from), Some(to)) = (any_process(world), any_process(world)) {
                world.network().cut_one_way(from.node, to.node);
            }
        }
        Fault::Weather => {
            world.network().heal();
            let weather = world.draw(weather);
            world.network().set_faults(weather);
        }
        Fault::SyncFailure => {
            if let Some(disk) = any_process(world).and_then(|process| world.log_disk(process.node))
            {
                disk.fail_sync_after(world.draw(|random| random.random_range(0..3)));
            }
        }
        Fault::ReadFailure => {
            if let Some(disk) = any_process(world).and_then(|process| world.log_disk(process.node))
            {
                disk.fail_reads(1);
            }
        }
        Fault::Damage => damage(world),
        Fault::Snapshot => {
            if let Some(process) = any_process(world) {
                let asked = process.group.trigger_snapshot();
                drop(process.life.lived_through(asked).await);
            }
        }
        Fault::Transfer => transfer(world).await,
        Fault::Membership => change_members(world).await,
    }
}

/// Flips a bit on one machine at most: the others must be able to go on without it for ever.
fn damage(world: &World) {
    if !world.damaged().is_empty() {
        return;
    }
    let Some(process) = any_process(world) else {
        return;
    };
    let Some(disk) = world.log_disk(process.node) else {
        return;
    };
    let choose = |count| world.draw(|random| random.random_range(0..count));
    if let Some(index) = disk.damage_entry(GROUP, choose) {
        world.event(format_args!("damaged {} at {index}", process.node));
        world.mark_damaged(process.node);
    }
}

async fn transfer(world: &World) {
    let Some(leader) = world.leader() else {
        return;
    };
    let voters: Vec<NodeId> = leader.group.status().members.voters.into_iter().collect();
    if voters.is_empty() {
        return;
    }
    let to = voters[world.draw(|random| random.random_range(0..voters.len()))];
    let deadline = Instant::now() + OPERATOR_PATIENCE;
    let moved = leader
        .life
        .lived_through(leader.group.transfer_leader(to, deadline));
    let moved = moved.await.map(|result| result.is_ok());
    world.event(format_args!("transfer to {to}: {moved:?}"));
}

/// What an operator might do to the members now.
fn choose_change(world: &World, status: &GroupStatus) -> Option<MembershipChange> {
    let members = &status.members;
    if members.changing {
        // Its voters are those of both sides: a step from here may leave fewer than three.
        return None;
    }
    let outside: Vec<NodeId> = world
        .machines()
        .into_iter()
        .filter(|node| !members.peers.contains_key(node) && world.process(*node).is_some())
        .collect();
    let pick = |nodes: &[NodeId]| {
        let count = nodes.len();
        (count > 0).then(|| nodes[world.draw(|random| random.random_range(0..count))])
    };
    let learners: Vec<NodeId> = members.learners.iter().copied().collect();
    let voters: Vec<NodeId> = members.voters.iter().copied().collect();
    match world.draw(|random| random.random_range(0..4)) {
        0 => pick(&outside).map(|node| MembershipChange::AddLearner(node, world.peer(node))),
        1 => pick(&learners).map(|node| MembershipChange::Promote([node].into())),
        2 if voters.len() > 3 => pick(&voters).map(|node| MembershipChange::Remove([node].into())),
        3 => {
            let mut next = members.voters.clone();
            next.remove(&pick(&voters)?);
            next.insert(pick(&learners)?);
            Some(MembershipChange::ReplaceVoters(next))
        }
        _ => None,
    }
}

async fn change_members(world: &World) {
    // Two or three steps in a row, so that spares get somewhere.
    for _ in 0..3 {
        let Some(leader) = world.leader() else {
            return;
        };
        let status = leader.group.status();
        let Some(change) = choose_change(world, &status) else {
            continue;
        };
        let deadline = Instant::now() + OPERATOR_PATIENCE;
        let changed = leader
            .group
            .change_members(change.clone(), status.members.version, deadline);
        let changed = leader.life.lived_through(changed).await;
        let changed = changed.map(|result| result.is_ok());
        world.event(format_args!("change {change:?}: {changed:?}"));
    }
}
