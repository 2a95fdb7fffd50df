//! Which nodes should hold a replica of which group: a pure function of the members, so that every node
//! computes the same answer and no placement needs to be stored.
//!
//! Nodes are ranked for each group by weighted rendezvous hashing (Thaler and Ravishankar, 1998): adding a
//! node moves only the replicas that it takes over. Zones are used up before any is used twice.

use std::collections::BTreeSet;

use yunbase_consensus::{GroupId, NodeId};

/// Most voters of group 0, which every node follows: five survive two deaths, more only cost round trips.
const META_VOTERS_MAX: usize = 5;

/// A node as far as placement cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: NodeId,
    /// Its failure domain.
    pub zone: String,
}

/// Who should take part in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Replicas that vote, an odd number.
    pub voters: BTreeSet<NodeId>,
    /// Replicas that only follow.
    pub learners: BTreeSet<NodeId>,
    /// The voter that should lead, all else being equal.
    pub preferred_leader: Option<NodeId>,
}

/// Places `group` on `nodes` with `replicas` copies.
///
/// The number of voters is odd: a second or fourth voter would cost without surviving one death more. A
/// node left over by that becomes a learner where it would otherwise have been a voter.
pub fn place(group: GroupId, nodes: &[Candidate], replicas: usize) -> Placement {
    let wanted = if group.0 == 0 {
        META_VOTERS_MAX
    } else {
        replicas
    };
    let ranked = ranked(group, nodes);
    let copies = wanted.min(ranked.len());
    let voter_count = if copies.is_multiple_of(2) {
        copies.saturating_sub(1)
    } else {
        copies
    };
    let voters: BTreeSet<NodeId> = ranked.iter().take(voter_count).copied().collect();
    let follows = if group.0 == 0 { ranked.len() } else { copies };
    let learners = ranked
        .iter()
        .take(follows)
        .copied()
        .filter(|id| !voters.contains(id))
        .collect();
    Placement {
        preferred_leader: ranked.first().copied(),
        voters,
        learners,
    }
}

/// Node ids by falling score, one zone after the other.
fn ranked(group: GroupId, nodes: &[Candidate]) -> Vec<NodeId> {
    let mut scored: Vec<(u64, &Candidate)> = nodes
        .iter()
        .map(|node| (score(group, node.id), node))
        .collect();
    scored.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.id.cmp(&b.1.id)));
    let mut ranked = Vec::with_capacity(scored.len());
    while !scored.is_empty() {
        let mut zones = BTreeSet::new();
        scored.retain(|(_, node)| {
            let first_of_zone = node.zone.is_empty() || zones.insert(node.zone.clone());
            if first_of_zone {
                ranked.push(node.id);
            }
            !first_of_zone
        });
    }
    ranked
}

fn score(group: GroupId, node: NodeId) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&group.0.to_le_bytes())
        .update(&node.to_le_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// One step that brings a group's membership closer to its placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Start to copy the group to a node.
    AddLearner(NodeId),
    /// Let exactly these vote. Each is a member already and has caught up.
    SetVoters(BTreeSet<NodeId>),
    /// Drop a replica that should not be there.
    Remove(NodeId),
    /// Lead from the preferred node.
    TransferLeader(NodeId),
    /// Let another lead, since the leader shall not vote any longer. If it does not take over, let these vote all the same:
    /// the leader steps down then, and one of them is elected.
    HandOver(NodeId, BTreeSet<NodeId>),
}

/// What the leader of a group knows of its members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes now.
    pub voters: BTreeSet<NodeId>,
    /// Who only follows now.
    pub learners: BTreeSet<NodeId>,
    /// Members whose log is close to the leader's.
    pub caught_up: BTreeSet<NodeId>,
    /// The leader itself.
    pub leader: NodeId,
}

/// Who shall vote, given who votes now.
///
/// Two that vote and stay go on doing so until there is a third, although one alone would be available as often: what
/// was acknowledged is then on two disks, also while a node is being replaced.
pub fn voters_to_be(target: &Placement, now: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let staying: BTreeSet<NodeId> = target
        .voters
        .union(&target.learners)
        .copied()
        .filter(|id| now.contains(id))
        .collect();
    if target.voters.len() == 1 && staying.len() == 2 {
        staying
    } else {
        target.voters.clone()
    }
}

/// The next step from `members` to `target`, or `None` when nothing is to be done or can be done yet.
///
/// A replica is added and has caught up before the one that it replaces is dropped, so the number of live
/// copies never falls on purpose. A leader that goes hands over first.
pub fn next_step(target: &Placement, members: &Members) -> Option<Step> {
    let present: BTreeSet<NodeId> = members.voters.union(&members.learners).copied().collect();
    let wanted = target
        .voters
        .union(&target.learners)
        .copied()
        .collect::<BTreeSet<_>>();
    if let Some(missing) = wanted.difference(&present).next() {
        return Some(Step::AddLearner(*missing));
    }
    let voters = voters_to_be(target, &members.voters);
    if members.voters != voters {
        let ready = voters
            .iter()
            .all(|id| members.voters.contains(id) || members.caught_up.contains(id));
        if !ready {
            return None;
        }
        let heir = voters
            .iter()
            .find(|id| members.voters.contains(id) && members.caught_up.contains(id));
        return Some(match heir {
            Some(heir) if !voters.contains(&members.leader) => Step::HandOver(*heir, voters),
            _ => Step::SetVoters(voters),
        });
    }
    if let Some(extra) = present.difference(&wanted).next() {
        return Some(Step::Remove(*extra));
    }
    let preferred = target.preferred_leader.filter(|id| *id != members.leader)?;
    (members.voters.contains(&preferred) && members.caught_up.contains(&preferred))
        .then_some(Step::TransferLeader(preferred))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(zones: &[&str]) -> Vec<Candidate> {
        zones
            .iter()
            .zip(1..)
            .map(|(zone, id)| Candidate {
                id,
                zone: (*zone).to_owned(),
            })
            .collect()
    }

    #[test]
    fn voters_are_odd_and_the_rest_follows() {
        for (count, voters, learners) in [(1, 1, 0), (2, 1, 1), (3, 3, 0), (4, 3, 0), (7, 3, 0)] {
            let placement = place(GroupId(1), &nodes(&vec![""; count]), 3);
            assert_eq!(
                (placement.voters.len(), placement.learners.len()),
                (voters, learners),
                "{count} nodes"
            );
        }
        let meta = place(GroupId(0), &nodes(&[""; 7]), 3);
        assert_eq!(
            (meta.voters.len(), meta.learners.len()),
            (5, 2),
            "every node follows group 0"
        );
    }

    #[test]
    fn zones_are_spread_and_adding_a_node_moves_little() {
        for group in 1..50 {
            let all = nodes(&["a", "a", "a", "b", "c"]);
            let placement = place(GroupId(group), &all, 3);
            let zones: BTreeSet<_> = all
                .iter()
                .filter(|node| placement.voters.contains(&node.id))
                .map(|node| &node.zone)
                .collect();
            assert_eq!(zones.len(), 3);
        }
        let moved: usize = (1..200)
            .map(|group| {
                let before = place(GroupId(group), &nodes(&[""; 6]), 3).voters;
                let after = place(GroupId(group), &nodes(&[""; 7]), 3).voters;
                before.difference(&after).count()
            })
            .sum();
        assert!(moved < 199 * 3 / 5, "{moved} of {} replicas moved", 199 * 3);
    }

    #[test]
    fn steps_lead_from_one_node_to_the_placement() {
        let target = place(GroupId(1), &nodes(&[""; 3]), 3);
        let mut members = Members {
            voters: [1].into(),
            leader: 1,
            caught_up: [1].into(),
            ..Members::default()
        };
        let mut steps = 0;
        while let Some(step) = next_step(&target, &members) {
            match step {
                Step::AddLearner(id) => {
                    members.learners.insert(id);
                    assert!(
                        !matches!(next_step(&target, &members), Some(Step::SetVoters(_))),
                        "not caught up yet"
                    );
                    members.caught_up.insert(id);
                }
                Step::SetVoters(voters) => {
                    members.learners = members.learners.difference(&voters).copied().collect();
                    members.voters = voters;
                }
                Step::Remove(id) => {
                    members.learners.remove(&id);
                }
                Step::TransferLeader(id) | Step::HandOver(id, _) => members.leader = id,
            }
            steps += 1;
            assert!(steps < 10, "it ends");
        }
        assert_eq!(members.voters, target.voters);
        assert_eq!(Some(members.leader), target.preferred_leader);
    }

    #[test]
    fn a_leader_that_goes_hands_over_and_two_stay_voters_until_there_is_a_third() {
        let remaining: Vec<Candidate> = nodes(&[""; 2]);
        let target = place(GroupId(1), &remaining, 3);
        let mut members = Members {
            voters: [1, 2, 3].into(),
            leader: 3,
            caught_up: [1, 3].into(),
            ..Members::default()
        };
        let both: BTreeSet<NodeId> = [1, 2].into();
        let step = next_step(&target, &members);
        assert_eq!(step, Some(Step::HandOver(1, both.clone())));
        members.leader = 1;
        assert_eq!(next_step(&target, &members), Some(Step::SetVoters(both)));
        members.voters = [1, 2].into();
        members.learners = [3].into();
        assert_eq!(next_step(&target, &members), Some(Step::Remove(3)));
        members.learners = BTreeSet::new();
        let step = next_step(&target, &members);
        assert!(
            matches!(step, None | Some(Step::TransferLeader(_))),
            "{step:?}"
        );

        // Nobody to hand over to: the only voter goes when the next one is ready.
        let alone = Members {
            voters: [3].into(),
            learners: [1, 2].into(),
            caught_up: [1, 2, 3].into(),
            leader: 3,
        };
        let step = next_step(&target, &alone);
        assert_eq!(step, Some(Step::SetVoters(target.voters)));
    }
}
