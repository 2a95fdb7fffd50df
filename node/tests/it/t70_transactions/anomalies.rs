//! A checker of histories of transactions that append to lists and read them, after the idea of Elle
//! (Kingsbury and Alvaro, 2020): a list tells in which order its elements came, so the order of versions
//! is known, and from it who depends on whom. A cycle of dependencies is an anomaly.
//!
//! Every appended value must be unique for its key. At the end of a history every key must be read once more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) type Key = usize;
pub(super) type Value = u64;

/// One step of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Append(Key, Value),
    Read(Key, Vec<Value>),
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed,
    /// It has certainly not happened.
    Failed,
    /// It may have happened, or happen yet. What it read counts for nothing.
    Unknown,
}

#[derive(Debug, Clone)]
pub(super) struct Transaction {
    pub(super) steps: Vec<Step>,
    pub(super) outcome: Outcome,
    /// Since the history began.
    pub(super) invoked: Duration,
    pub(super) answered: Duration,
}

/// Anomalies by their names in the literature (Adya, 1999), and those that need no dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Anomaly {
    /// An element twice in one list.
    Duplicate,
    /// An element that nobody appended.
    Garbage,
    /// Two reads of a key of which neither is a beginning of the other.
    IncompatibleOrder,
    /// A transaction does not see its own appends.
    Internal,
    /// A read of what a failed transaction wrote.
    G1a,
    /// A read of a version between two appends of one transaction.
    G1b,
    /// An acknowledged append that is not there at the end.
    LostWrite,
    /// Two committed transactions read the same version and both appended to it.
    LostUpdate,
    /// A cycle of writes.
    G0,
    /// A cycle of writes and reads of what was written.
    G1c,
    /// A cycle with one read of what was overwritten.
    GSingle,
    /// A cycle with several.
    G2,
    /// A cycle that only time closes: serializable, but not strictly.
    Realtime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    WriteWrite,
    WriteRead,
    ReadWrite,
    Time,
}

/// The anomalies of a history.
pub(super) fn anomalies(history: &[Transaction]) -> BTreeSet<Anomaly> {
    let mut checker = Checker::of(history);
    checker.reads();
    checker.writes();
    if checker.found.is_empty() || checker.orders_are_known() {
        checker.cycles();
    }
    checker.found
}

struct Checker<'h> {
    history: &'h [Transaction],
    /// Who appended each value, and as which of its appends to the key.
    writers: BTreeMap<(Key, Value), usize>,
    /// Every append of a transaction to a key, in its order.
    appends: BTreeMap<(usize, Key), Vec<Value>>,
    /// The longest list that was read of each key: its versions in their order.
    orders: BTreeMap<Key, Vec<Value>>,
    found: BTreeSet<Anomaly>,
}

impl<'h> Checker<'h> {
    fn of(history: &'h [Transaction]) -> Self {
        let mut checker = Self {
            history,
            writers: BTreeMap::new(),
            appends: BTreeMap::new(),
            orders: BTreeMap::new(),
            found: BTreeSet::new(),
        };
        for (number, transaction) in history.iter().enumerate() {
            for step in &transaction.steps {
                if let Step::Append(key, value) = step {
                    let other = checker.writers.insert((*key, *value), number);
                    assert!(other.is_none(), "value {value} of key {key} is not unique");
                    let appends = checker.appends.entry((number, *key)).or_default();
                    appends.push(*value);
                }
            }
        }
        for (_, key, list) in committed_reads(history) {
            let longest = checker.orders.entry(key).or_default();
            if list.len() > longest.len() {
                longest.clone_from(list);
            }
        }
        checker
    }

    fn orders_are_known(&self) -> bool {
        use Anomaly::{Duplicate, Garbage, IncompatibleOrder};
        [Duplicate, Garbage, IncompatibleOrder]
            .iter()
            .all(|anomaly| !self.found.contains(anomaly))
    }

    /// What one read shows by itself.
    fn reads(&mut self) {
        for (reader, key, list) in committed_reads(self.history) {
            let distinct: BTreeSet<_> = list.iter().collect();
            if distinct.len() < list.len() {
                self.found.insert(Anomaly::Duplicate);
            }
            if !self.orders[&key].starts_with(list) {
                self.found.insert(Anomaly::IncompatibleOrder);
            }
            for value in list {
                match self.writers.get(&(key, *value)) {
                    None => {
                        self.found.insert(Anomaly::Garbage);
                    }
                    Some(&writer)
                        if writer != reader && self.history[writer].outcome == Outcome::Failed =>
                    {
                        self.found.insert(Anomaly::G1a);
                    }
                    Some(_) => {}
                }
            }
            let last = list.last().and_then(|last| self.writers.get(&(key, *last)));
            if let Some(&writer) = last
                && writer != reader
                && self.appends[&(writer, key)].last() != list.last()
            {
                self.found.insert(Anomaly::G1b);
            }
        }
        for transaction in self.history {
            if transaction.outcome == Outcome::Committed && !is_consistent(transaction) {
                self.found.insert(Anomaly::Internal);
            }
        }
    }

    fn writes(&mut self) {
        for (&(key, value), &writer) in &self.writers {
            let order = self.orders.get(&key);
            let is_there = order.is_some_and(|order| order.contains(&value));
            if self.history[writer].outcome == Outcome::Committed && !is_there {
                self.found.insert(Anomaly::LostWrite);
            }
        }
        // By key and version: who read it first of all and appended to it.
        let mut updates: BTreeSet<(Key, usize)> = BTreeSet::new();
        for (number, transaction) in self.history.iter().enumerate() {
            if transaction.outcome != Outcome::Committed {
                continue;
            }
            for (key, version) in versions_read(transaction) {
                if self.appends.contains_key(&(number, key)) && !updates.insert((key, version)) {
                    self.found.insert(Anomaly::LostUpdate);
                }
            }
        }
    }

    fn cycles(&mut self) {
        use Kind::{ReadWrite, Time, WriteRead, WriteWrite};
        let edges = self.edges();
        let has_cycle = |kinds: &[Kind]| {
            let graph = self.graph(&edges, kinds);
            components(&graph).iter().any(|one| one.len() > 1)
        };
        if has_cycle(&[WriteWrite]) {
            self.found.insert(Anomaly::G0);
        } else if has_cycle(&[WriteWrite, WriteRead]) {
            self.found.insert(Anomaly::G1c);
        } else if has_cycle(&[WriteWrite, WriteRead, ReadWrite]) {
            let graph = self.graph(&edges, &[WriteWrite, WriteRead]);
            let is_single = edges
                .iter()
                .any(|&(from, to, kind)| kind == ReadWrite && reaches(&graph, to, from));
            let anomaly = if is_single {
                Anomaly::GSingle
            } else {
                Anomaly::G2
            };
            self.found.insert(anomaly);
        } else if has_cycle(&[WriteWrite, WriteRead, ReadWrite, Time]) {
            self.found.insert(Anomaly::Realtime);
        }
    }

    /// Who comes before whom, and why.
    fn edges(&self) -> Vec<(usize, usize, Kind)> {
        let mut edges = Vec::new();
        let mut add = |from: usize, to: usize, kind| {
            if from != to {
                edges.push((from, to, kind));
            }
        };
        let writer = |key: Key, at: usize| {
            let value = self.orders.get(&key)?.get(at)?;
            self.writers.get(&(key, *value)).copied()
        };
        for (&key, order) in &self.orders {
            for at in 1..order.len() {
                if let (Some(before), Some(after)) = (writer(key, at - 1), writer(key, at)) {
                    add(before, after, Kind::WriteWrite);
                }
            }
        }
        for (reader, transaction) in self.history.iter().enumerate() {
            if transaction.outcome != Outcome::Committed {
                continue;
            }
            for (key, version) in versions_read(transaction) {
                if let Some(before) = version.checked_sub(1).and_then(|at| writer(key, at)) {
                    add(before, reader, Kind::WriteRead);
                }
                if let Some(after) = writer(key, version) {
                    add(reader, after, Kind::ReadWrite);
                }
            }
        }
        // What has not been answered has no end; what has failed has no place.
        for (before, earlier) in self.history.iter().enumerate() {
            for (after, later) in self.history.iter().enumerate() {
                if earlier.outcome == Outcome::Committed
                    && later.outcome != Outcome::Failed
                    && earlier.answered < later.invoked
                {
                    add(before, after, Kind::Time);
                }
            }
        }
        edges
    }

    fn graph(&self, edges: &[(usize, usize, Kind)], kinds: &[Kind]) -> Vec<Vec<usize>> {
        let mut graph = vec![Vec::new(); self.history.len()];
        for (from, to, kind) in edges {
            if kinds.contains(kind) {
                graph[*from].push(*to);
            }
        }
        graph
    }
}

/// Reader, key and list of every read that counts.
fn committed_reads(history: &[Transaction]) -> impl Iterator<Item = (usize, Key, &Vec<Value>)> {
    let transactions = history.iter().enumerate();
    transactions
        .filter(|(_, transaction)| transaction.outcome == Outcome::Committed)
        .flat_map(|(number, transaction)| {
            transaction.steps.iter().filter_map(move |step| match step {
                Step::Read(key, list) => Some((number, *key, list)),
                Step::Append(..) => None,
            })
        })
}

/// The version (length of the list) of each key that a transaction read from others.
fn versions_read(transaction: &Transaction) -> BTreeMap<Key, usize> {
    let mut own: BTreeMap<Key, usize> = BTreeMap::new();
    let mut versions = BTreeMap::new();
    for step in &transaction.steps {
        match step {
            Step::Append(key, _) => *own.entry(*key).or_default() += 1,
            Step::Read(key, list) => {
                let own = own.get(key).copied().unwrap_or_default();
                versions
                    .entry(*key)
                    .or_insert(list.len().saturating_sub(own));
            }
        }
    }
    versions
}

/// Whether each read of a transaction is what it read before and what it appended since.
fn is_consistent(transaction: &Transaction) -> bool {
    let mut known: BTreeMap<Key, (Option<Vec<Value>>, Vec<Value>)> = BTreeMap::new();
    transaction.steps.iter().all(|step| match step {
        Step::Append(key, value) => {
            known.entry(*key).or_default().1.push(*value);
            true
        }
        Step::Read(key, list) => {
            let (base, own) = known.entry(*key).or_default();
            let is_fine = list.ends_with(own)
                && base
                    .as_ref()
                    .is_none_or(|base| list[..list.len() - own.len()] == **base);
            if base.is_none() && is_fine {
                *base = Some(list[..list.len() - own.len()].to_vec());
            }
            is_fine
        }
    })
}

fn reaches(graph: &[Vec<usize>], from: usize, to: usize) -> bool {
    let mut seen = vec![false; graph.len()];
    let mut left = vec![from];
    while let Some(at) = left.pop() {
        if at == to {
            return true;
        }
        if !std::mem::replace(&mut seen[at], true) {
            left.extend(&graph[at]);
        }
    }
    false
}

/// Strongly connected components (Kosaraju), without recursion.
fn components(graph: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut finished = Vec::with_capacity(graph.len());
    let mut seen = vec![false; graph.len()];
    for root in 0..graph.len() {
        let mut path = vec![(root, 0)];
        if std::mem::replace(&mut seen[root], true) {
            continue;
        }
        while let Some((at, next)) = path.last_mut() {
            match graph[*at].get(*next) {
                Some(&to) => {
                    *next += 1;
                    if !std::mem::replace(&mut seen[to], true) {
                        path.push((to, 0));
                    }
                }
                None => {
                    finished.push(*at);
                    path.pop();
                }
            }
        }
    }
    let mut reversed = vec![Vec::new(); graph.len()];
    for (from, all) in graph.iter().enumerate() {
        all.iter().for_each(|to| reversed[*to].push(from));
    }
    let mut components = Vec::new();
    let mut seen = vec![false; graph.len()];
    for root in finished.into_iter().rev() {
        let (mut component, mut left) = (Vec::new(), vec![root]);
        while let Some(at) = left.pop() {
            if !std::mem::replace(&mut seen[at], true) {
                component.push(at);
                left.extend(&reversed[at]);
            }
        }
        if !component.is_empty() {
            components.push(component);
        }
    }
    components
}

#[cfg(test)]
#[path = "anomalies_test.rs"]
mod tests;
