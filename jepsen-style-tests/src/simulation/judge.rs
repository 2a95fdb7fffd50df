//! The invariants. The judge sees every entry and vote that a disk takes, every command that a replica
//! applies and every answer that a client gets, and says at once what must not be.
//!
//! * *Log matching* (Raft, figure 3): an entry is named by index, term and leader. Wherever it is written
//!   it has the same content and the same entry before it; by induction logs that share an entry share
//!   all before it.
//! * *Votes* never go back, not even over a crash.
//! * *State-machine equality*: every replica's hash of the commands it applied is the same at the same
//!   place of the log. Committed entries are those that some replica applied, so this also holds
//!   leader completeness: a leader without one would overwrite it.
//! * *Acknowledged commands* were applied, once, with the reply that the model gives, after everything
//!   that was acknowledged before they were asked for. A command that was refused is never applied.
//! * *Reads* are of a state that holds everything acknowledged before they were asked for, and return
//!   what the model holds there. With the order of the log given, this and the point before are
//!   linearizability, checked in constant time an operation.
//! * *Election safety* is weaker than in the paper, by openraft's design: a term may have several leaders,
//!   ordered by node id, like terms are by number. What is unique is the leader of a term *and id*; that
//!   no two of them commit different entries is what the points above check.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use yunbase_consensus::{Ballot, DiskRecord, NodeId};

use super::command::{Place, SimCommand, SimReply};
use super::registers::Registers;

/// Violations kept; the first is the one that matters.
const VIOLATIONS_MAX: usize = 8;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
}

/// Counts of what clients and replicas did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Commands acknowledged.
    pub acknowledged: u64,
    /// Attempts that were refused without effect.
    pub refused: u64,
    /// Attempts whose outcome stayed open.
    pub unknown: u64,
    /// Reads that returned.
    pub reads: u64,
    /// Reads that found no barrier in time.
    pub reads_failed: u64,
    /// Commands in the log.
    pub applied: u64,
    /// Snapshots that were restored.
    pub restored: u64,
    /// Entries that disks took.
    pub entries_written: u64,
    /// Votes that disks took.
    pub votes_written: u64,
}

/// What the judge knows of an entry: a hash of its content, and the entry before it.
type Known = (u64, Option<Ballot>);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Judge {
    model: Registers,
    /// The digest after each command of the log.
    digests: BTreeMap<Place, u64>,
    /// For each key the values it had, with the place that set them.
    versions: BTreeMap<u64, Vec<(Place, u64)>>,
    /// The first reply to each command, by client and number.
    replies: BTreeMap<(u64, u64), SimReply>,
    /// Attempts that were applied.
    attempts: BTreeSet<(u64, u64, u64)>,
    /// Attempts that were refused.
    refused: BTreeSet<(u64, u64, u64)>,
    /// Only looked up, never iterated.
    entries: HashMap<(u64, Ballot), Known>,
    /// The largest log index that some client knows to be committed.
    floor: u64,
    violations: Vec<Violation>,
    counts: Counts,
}

fn attempt(command: &SimCommand) -> (u64, u64, u64) {
    (command.client, command.number, command.attempt)
}

impl Judge {
    /// Notes something that must not be.
    pub(super) fn violated(&mut self, invariant: &'static str, detail: String) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { invariant, detail });
        }
    }

    /// What must not be and was.
    pub(super) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The counts.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The state that the log so far leads to.
    pub(super) fn model(&self) -> &Registers {
        &self.model
    }

    /// A disk took an entry or a vote.
    pub(super) fn written(&mut self, node: NodeId, record: &DiskRecord) {
        match record {
            DiskRecord::Entry {
                index,
                ballot,
                previous,
                content,
                ..
            } => {
                self.counts.entries_written += 1;
                let known = self
                    .entries
                    .entry((*index, *ballot))
                    .or_insert((*content, *previous));
                if known.1.is_none() {
                    known.1 = *previous;
                }
                let same_before = previous.is_none() || known.1 == *previous;
                if known.0 != *content || !same_before {
                    let detail = format!(
                        "node {node} wrote entry {index} of {ballot:?} after {previous:?}; elsewhere it has other content or follows {:?}",
                        known.1
                    );
                    self.violated("log matching", detail);
                }
            }
            DiskRecord::Vote { vote, before, .. } => {
                self.counts.votes_written += 1;
                if before.is_some_and(|before| before > *vote) {
                    let detail = format!("node {node} went back from {before:?} to {vote:?}");
                    self.violated("votes never go back", detail);
                }
            }
        }
    }

    /// A replica applied a command.
    pub(super) fn applied(
        &mut self,
        node: NodeId,
        place: Place,
        command: &SimCommand,
        reply: SimReply,
        digest: u64,
    ) {
        if let Some(known) = self.digests.get(&place) {
            if *known != digest {
                self.violated(
                    "state-machine equality",
                    format!("node {node} differs from another replica at {place:?}"),
                );
            }
            return;
        }
        if let Some((last, _)) = self.digests.last_key_value()
            && *last > place
        {
            let detail = format!(
                "node {node} applied {command:?} at {place:?}, where others that went on to {last:?} have nothing"
            );
            self.violated("state-machine equality", detail);
            return;
        }
        if self.refused.contains(&attempt(command)) {
            let detail = format!("{command:?} was refused and yet applied at {place:?}");
            self.violated("a refused command never happens", detail);
        }
        self.counts.applied += 1;
        self.attempts.insert(attempt(command));
        let before = self.model.value(command.key);
        let expected = self.model.apply(place, command);
        self.digests.insert(place, self.model.digest);
        if self.model.digest != digest || expected != reply {
            self.violated(
                "state-machine equality",
                format!("node {node} differs from the model at {place:?}"),
            );
        }
        let after = self.model.value(command.key);
        if after != before {
            let versions = self.versions.entry(command.key).or_default();
            versions.push((place, after));
        }
        let first = self
            .replies
            .entry((command.client, command.number))
            .or_insert(expected);
        if *first != expected {
            let detail = format!("{command:?} took effect at {:?} and again", first.effect);
            self.violated("a repeated command takes effect once", detail);
        }
    }

    /// A replica replaced its state by a snapshot.
    pub(super) fn restored(&mut self, node: NodeId, last: Option<Place>, digest: u64) {
        self.counts.restored += 1;
        let known = last.map_or(Some(0), |last| self.digests.get(&last).copied());
        if known != Some(digest) {
            let detail = format!("node {node} restored a state that nobody had at {last:?}");
            self.violated("state-machine equality", detail);
        }
    }

    /// What a client that asks now must see: the largest index known to be committed.
    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// A client got a reply to a command that it first sent when the floor was `floor`.
    pub(super) fn acknowledged(
        &mut self,
        command: &SimCommand,
        floor: u64,
        log_index: u64,
        reply: SimReply,
    ) {
        self.counts.acknowledged += 1;
        let known = self.replies.get(&(command.client, command.number));
        if known != Some(&reply) {
            let detail = format!("{command:?} was answered {reply:?}; the log says {known:?}");
            self.violated("an acknowledged command is applied", detail);
        }
        if !self.attempts.contains(&attempt(command)) {
            let detail = format!("this attempt of {command:?} was answered and never applied");
            self.violated("an acknowledged command is applied", detail);
        }
        if reply.effect.0 <= floor || log_index < reply.effect.0 {
            let detail = format!(
                "{command:?} took effect at {:?}, asked for after {floor} was known, answered from {log_index}",
                reply.effect
            );
            self.violated("real time", detail);
        }
        self.floor = self.floor.max(log_index);
    }

    /// A client was told that an attempt has not happened and never will.
    pub(super) fn refused(&mut self, command: &SimCommand) {
        self.counts.refused += 1;
        self.refused.insert(attempt(command));
        if self.attempts.contains(&attempt(command)) {
            let detail = format!("{command:?} was refused after it was applied");
            self.violated("a refused command never happens", detail);
        }
    }

    /// An attempt ended without an answer.
    pub(super) fn unknown(&mut self) {
        self.counts.unknown += 1;
    }

    /// A read found no barrier in time.
    pub(super) fn read_failed(&mut self) {
        self.counts.reads_failed += 1;
    }

    /// A client read `value` of `key` from a replica at `last` after a barrier at `index`; it asked when
    /// the floor was `floor`.
    pub(super) fn read(
        &mut self,
        key: u64,
        value: u64,
        last: Option<Place>,
        index: u64,
        floor: u64,
    ) {
        self.counts.reads += 1;
        if index < floor {
            let detail = format!("a read was served at {index}, {floor} was known before");
            self.violated("real time", detail);
        }
        let covered = (index, u32::MAX);
        let after_last = last.map_or((0, 0), |(index, position)| (index, position + 1));
        if after_last < covered
            && let Some((missing, _)) = self.digests.range(after_last..covered).next()
        {
            let detail = format!("a read at {last:?} after barrier {index} lacks {missing:?}");
            self.violated("a barrier covers the state", detail);
        }
        let expected = self.versions.get(&key).and_then(|versions| {
            let until = versions.partition_point(|(place, _)| Some(*place) <= last);
            versions[..until].last()
        });
        let expected = expected.map_or(0, |(_, value)| *value);
        if expected != value {
            let detail = format!("read {value} of key {key} at {last:?}, which held {expected}");
            self.violated("a read returns what was written", detail);
        }
        let seen = last.map_or(index, |(last, _)| last.max(index));
        self.floor = self.floor.max(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::Action;
    use super::*;

    fn write(client: u64, number: u64, value: u64) -> SimCommand {
        SimCommand {
            client,
            number,
            attempt: 0,
            key: 1,
            action: Action::Write(value),
        }
    }

    /// A judge and a replica that applied writes of 10 and 11 at indexes 1 and 2.
    fn after_two() -> (Judge, Registers, Vec<SimReply>) {
        let (mut judge, mut replica) = (Judge::default(), Registers::default());
        let replies = [(1, 10), (2, 11)].map(|(index, value)| {
            let command = write(1, index, value);
            let reply = replica.apply((index, 0), &command);
            judge.applied(1, (index, 0), &command, reply, replica.digest);
            reply
        });
        (judge, replica, replies.to_vec())
    }

    fn invariants(judge: &Judge) -> Vec<&'static str> {
        judge.violations().iter().map(|v| v.invariant).collect()
    }

    #[test]
    fn accepts_a_history_that_is_right() {
        let (mut judge, replica, replies) = after_two();
        judge.acknowledged(&write(1, 1, 10), 0, 1, replies[0]);
        judge.acknowledged(&write(1, 2, 11), 1, 2, replies[1]);
        judge.read(1, 11, replica.last, 2, 2);
        judge.restored(2, replica.last, replica.digest);
        assert_eq!(judge.violations(), []);
    }

    #[test]
    fn notices_a_replica_that_differs() {
        let (mut judge, _, _) = after_two();
        let mut other = Registers::default();
        let command = write(1, 2, 11);
        let reply = other.apply((2, 0), &command);
        judge.applied(2, (2, 0), &command, reply, other.digest);
        judge.restored(2, Some((1, 0)), 99);
        let late = write(2, 1, 5);
        let reply = other.apply((1, 1), &late);
        judge.applied(3, (1, 1), &late, reply, other.digest);
        assert_eq!(invariants(&judge), ["state-machine equality"; 3]);
    }

    #[test]
    fn notices_reads_that_are_stale_or_wrong() {
        let (mut judge, replica, replies) = after_two();
        judge.acknowledged(&write(1, 2, 11), 1, 2, replies[1]);
        judge.read(1, 10, Some((1, 0)), 1, judge.floor());
        judge.read(1, 10, replica.last, 2, 0);
        judge.read(1, 10, Some((1, 0)), 2, 0);
        let expected = [
            "real time",
            "a read returns what was written",
            "a barrier covers the state",
        ];
        assert_eq!(invariants(&judge), expected);
    }

    #[test]
    fn notices_acknowledgements_without_an_effect() {
        let (mut judge, _, replies) = after_two();
        judge.acknowledged(&write(1, 3, 12), 0, 3, replies[1]);
        judge.acknowledged(&write(1, 1, 10), 1, 1, replies[0]);
        judge.refused(&write(1, 1, 10));
        let expected = [
            "an acknowledged command is applied",
            "an acknowledged command is applied",
            "real time",
            "a refused command never happens",
        ];
        assert_eq!(invariants(&judge), expected);
    }

    #[test]
    fn notices_logs_that_do_not_match_and_votes_that_go_back() {
        let mut judge = Judge::default();
        let group = yunbase_consensus::GroupId(0);
        let entry = |previous, content| DiskRecord::Entry {
            group,
            index: 5,
            ballot: (2, 1),
            previous,
            content,
        };
        judge.written(1, &entry(Some((1, 1)), 7));
        judge.written(2, &entry(None, 7));
        assert_eq!(judge.violations(), []);
        judge.written(2, &entry(Some((1, 2)), 7));
        judge.written(3, &entry(Some((1, 1)), 8));
        let vote = |vote, before| DiskRecord::Vote {
            group,
            vote: (vote, false),
            before: Some((before, false)),
        };
        judge.written(1, &vote((3, 1), (2, 9)));
        judge.written(1, &vote((3, 1), (3, 2)));
        let expected = ["log matching", "log matching", "votes never go back"];
        assert_eq!(invariants(&judge), expected);
    }
}
