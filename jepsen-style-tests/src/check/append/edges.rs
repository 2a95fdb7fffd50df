//! The order of each key's versions, and the dependencies that follow from it.
//!
//! The longest list read of a key is the order of its versions; other reads of the key are beginnings of it. Elements
//! that a committed transaction appended and nobody saw stand behind it, in an unknown order among themselves.

use std::collections::HashSet;

use super::super::graph::{Dependency, Edge, Node};
use super::transactions::{Read, Step, Transactions};
use crate::history::{Kind, Value};

/// Elements of one key that nobody saw and that get edges: each has one from every reader of the longest list.
const UNSEEN_OF_A_KEY_MAX: usize = 64;

/// A key's versions.
#[derive(Debug, Default)]
pub(super) struct Order<'h> {
    /// The longest list read.
    pub(super) seen: &'h [Value],
    /// Who read it.
    pub(super) reader: Option<u32>,
    /// Committed, but in no list.
    pub(super) unseen: Vec<(&'h Value, u32)>,
}

/// Of all keys.
#[derive(Debug)]
pub(super) struct Orders<'h> {
    pub(super) by_key: Vec<Order<'h>>,
    /// By transaction: it certainly took effect.
    pub(super) committed: Vec<bool>,
}

/// Why there is an edge: an element before and one behind, by place in the order; places behind the longest list count
/// on through the unseen elements.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reason {
    key: u32,
    before: u32,
    after: u32,
}

const NOTHING: u32 = u32::MAX;

impl<'h> Orders<'h> {
    /// Finds the orders.
    pub(super) fn of(transactions: &Transactions<'h>) -> Self {
        let mut by_key: Vec<Order<'h>> =
            transactions.keys.iter().map(|_| Order::default()).collect();
        for read in &transactions.reads {
            let order = &mut by_key[read.key as usize];
            if order.reader.is_none() || read.seen.len() > order.seen.len() {
                order.seen = read.seen;
                order.reader = Some(read.transaction);
            }
        }
        let mut committed: Vec<bool> = transactions
            .all
            .iter()
            .map(|one| one.outcome == Kind::Ok)
            .collect();
        let mut elements: Vec<HashSet<&Value>> = Vec::with_capacity(by_key.len());
        for (key, order) in by_key.iter().enumerate() {
            for element in order.seen {
                if let Some(writer) = transactions.writers.get(&(key as u32, element)) {
                    let at = writer.transaction as usize;
                    committed[at] |= transactions.all[at].outcome == Kind::Info;
                }
            }
            elements.push(order.seen.iter().collect());
        }
        for (at, transaction) in transactions
            .all
            .iter()
            .enumerate()
            .filter(|(at, _)| committed[*at])
        {
            for step in &transaction.steps {
                if let Step::Append { key, element } = *step
                    && !elements[key as usize].contains(element)
                {
                    by_key[key as usize].unseen.push((element, at as u32));
                }
            }
        }
        Self { by_key, committed }
    }

    /// Transactions by their places in time.
    pub(super) fn nodes(&self, transactions: &Transactions<'_>) -> Vec<Node> {
        transactions
            .all
            .iter()
            .zip(&self.committed)
            .map(|(transaction, committed)| Node {
                event: transaction.event,
                invoke: transaction.invoke.index,
                end: transaction.end,
                process: transaction.invoke.process,
                committed: *committed,
            })
            .collect()
    }

    /// Dependencies by data, and the reasons that they name.
    pub(super) fn edges(&self, transactions: &Transactions<'h>) -> (Vec<Edge>, Vec<Reason>) {
        let mut maker = EdgeMaker::default();
        let mut reads_of_key: Vec<Vec<&Read<'h>>> = vec![Vec::new(); self.by_key.len()];
        for read in transactions
            .reads
            .iter()
            .filter(|read| read.first && read.consistent)
        {
            reads_of_key[read.key as usize].push(read);
        }
        for (key, order) in self.by_key.iter().enumerate() {
            maker.edges_of_key(
                key as u32,
                order,
                transactions,
                &self.committed,
                &reads_of_key[key],
            );
        }
        (maker.edges, maker.reasons)
    }

    fn element(&self, key: u32, place: u32) -> &'h Value {
        let order = &self.by_key[key as usize];
        let place = place as usize;
        order
            .seen
            .get(place)
            .unwrap_or_else(|| order.unseen[place - order.seen.len()].0)
    }
}

#[derive(Default)]
struct EdgeMaker {
    edges: Vec<Edge>,
    reasons: Vec<Reason>,
}

impl EdgeMaker {
    fn add(&mut self, from: u32, to: u32, kind: Dependency, reason: Reason) {
        if from != to {
            self.edges.push(Edge {
                from,
                to,
                kind,
                why: self.reasons.len() as u32,
            });
            self.reasons.push(reason);
        }
    }

    fn edges_of_key(
        &mut self,
        key: u32,
        order: &Order<'_>,
        transactions: &Transactions<'_>,
        committed: &[bool],
        reads: &[&Read<'_>],
    ) {
        // Elements of unknown or failed transactions are told of elsewhere; here the order goes on without them.
        let writers: Vec<Option<u32>> = order
            .seen
            .iter()
            .map(|element| {
                transactions
                    .writers
                    .get(&(key, element))
                    .map(|writer| writer.transaction)
            })
            .map(|writer| writer.filter(|at| committed[*at as usize]))
            .collect();
        let places: Vec<usize> = (0..writers.len())
            .filter(|place| writers[*place].is_some())
            .collect();
        let reason = |before: usize, after: usize| Reason {
            key,
            before: before as u32,
            after: after as u32,
        };
        let length = order.seen.len();
        let unseen = || order.unseen.iter().take(UNSEEN_OF_A_KEY_MAX).enumerate();
        for pair in places.windows(2) {
            if let (Some(from), Some(to)) = (writers[pair[0]], writers[pair[1]]) {
                self.add(from, to, Dependency::WriteWrite, reason(pair[0], pair[1]));
            }
        }
        if let Some(&place) = places.last()
            && let Some(last) = writers[place]
        {
            for (at, (_, writer)) in unseen() {
                self.add(
                    last,
                    *writer,
                    Dependency::WriteWrite,
                    reason(place, length + at),
                );
            }
        }
        for read in reads {
            if !order.seen.starts_with(read.seen) {
                continue;
            }
            let reader = read.transaction;
            let known = read.seen.len() - read.own;
            if let Some(writer) = known.checked_sub(1).and_then(|place| writers[place]) {
                self.add(
                    writer,
                    reader,
                    Dependency::WriteRead,
                    reason(known - 1, known - 1),
                );
            }
            let next = places.partition_point(|place| *place < known);
            let before = known.checked_sub(1).map_or(NOTHING, |place| place as u32);
            let reason = |after: usize| Reason {
                key,
                before,
                after: after as u32,
            };
            if let Some(&place) = places.get(next) {
                if let Some(writer) = writers[place] {
                    self.add(reader, writer, Dependency::ReadWrite, reason(place));
                }
            } else {
                for (at, (_, writer)) in unseen() {
                    self.add(reader, *writer, Dependency::ReadWrite, reason(length + at));
                }
            }
        }
    }
}

impl Reason {
    /// For a reader of the report.
    pub(super) fn text(
        self,
        kind: Dependency,
        transactions: &Transactions<'_>,
        orders: &Orders<'_>,
    ) -> String {
        let key = transactions.keys[self.key as usize];
        let after = orders.element(self.key, self.after);
        match kind {
            Dependency::WriteRead => format!("its append of {after} to {key} was read"),
            Dependency::ReadWrite if self.before == NOTHING => {
                format!("it saw {key} empty, before {after} was appended")
            }
            Dependency::ReadWrite => {
                let before = orders.element(self.key, self.before);
                format!("it saw {key} up to {before}, before {after} was appended")
            }
            _ => {
                let before = orders.element(self.key, self.before);
                format!("its append of {before} to {key} stands before {after}")
            }
        }
    }
}
