//! What needs no graph: contradictions within a transaction, within a key, and between a write and its outcome.

use std::collections::{HashMap, HashSet};

use super::super::findings::Findings;
use super::edges::Orders;
use super::transactions::{Read, Step, Transactions};
use crate::history::{Kind, Value};

/// Reports all of them.
pub(super) fn report(
    transactions: &Transactions<'_>,
    orders: &Orders<'_>,
    findings: &mut Findings,
) {
    let direct = Direct {
        transactions,
        orders,
    };
    let mut dirty = HashSet::new();
    for read in &transactions.reads {
        direct.internal(read, findings);
        let order = &orders.by_key[read.key as usize];
        if !order.seen.starts_with(read.seen) {
            direct.incompatible(read, findings);
            direct.elements(read, &mut dirty, findings);
        } else if order.reader == Some(read.transaction) && order.seen.len() == read.seen.len() {
            direct.elements(read, &mut dirty, findings);
        }
        direct.intermediate(read, findings);
    }
    direct.reordered_appends(findings);
    direct.lost_appends(findings);
    direct.lost_updates(findings);
}

struct Direct<'t, 'h> {
    transactions: &'t Transactions<'h>,
    orders: &'t Orders<'h>,
}

impl<'h> Direct<'_, 'h> {
    fn event(&self, transaction: u32) -> u64 {
        self.transactions.all[transaction as usize].event
    }

    fn key(&self, key: u32) -> &'h Value {
        self.transactions.keys[key as usize]
    }

    fn internal(&self, read: &Read<'_>, findings: &mut Findings) {
        if !read.consistent {
            let event = self.event(read.transaction);
            let key = self.key(read.key);
            let text = format!(
                "event {event} contradicts itself: its read of {key} is not what its steps before it left"
            );
            findings.anomaly("internal", text, vec![event]);
        }
    }

    fn incompatible(&self, read: &Read<'_>, findings: &mut Findings) {
        let order = &self.orders.by_key[read.key as usize];
        let Some(other) = order.reader else { return };
        let place = read
            .seen
            .iter()
            .zip(order.seen)
            .take_while(|(left, right)| left == right)
            .count();
        let (event, other) = (self.event(read.transaction), self.event(other));
        let text = format!(
            "events {event} and {other} read {} differently from element {place} on: {} and {}",
            self.key(read.key),
            read.seen[place],
            order.seen[place]
        );
        findings.anomaly("incompatible order", text, vec![event, other]);
    }

    /// Elements that occur twice, that nobody appended, or whose transaction failed.
    fn elements(
        &self,
        read: &Read<'h>,
        dirty: &mut HashSet<(u32, &'h Value)>,
        findings: &mut Findings,
    ) {
        let event = self.event(read.transaction);
        let key = self.key(read.key);
        let mut met = HashSet::new();
        for element in read.seen {
            if !met.insert(element) {
                let text = format!("event {event} read {element} twice in {key}");
                findings.anomaly("duplicate elements", text, vec![event]);
            }
            match self.transactions.writers.get(&(read.key, element)) {
                None => {
                    let text =
                        format!("event {event} read {element} in {key}, which nobody appended");
                    findings.anomaly("garbage", text, vec![event]);
                }
                Some(writer)
                    if self.transactions.all[writer.transaction as usize].outcome == Kind::Fail =>
                {
                    if dirty.insert((read.key, element)) {
                        let failed = self.event(writer.transaction);
                        let text = format!(
                            "event {event} read {element} in {key}, but its transaction failed (event {failed})"
                        );
                        findings.anomaly("G1a", text, vec![failed, event]);
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn intermediate(&self, read: &Read<'_>, findings: &mut Findings) {
        let known = read.seen.len().saturating_sub(read.own);
        let Some(element) = known.checked_sub(1).map(|place| &read.seen[place]) else {
            return;
        };
        let Some(writer) = self.transactions.writers.get(&(read.key, element)) else {
            return;
        };
        if !writer.last && writer.transaction != read.transaction {
            let (event, other) = (self.event(read.transaction), self.event(writer.transaction));
            let text = format!(
                "event {event} read {} up to {element}, in the middle of the transaction of event {other}",
                self.key(read.key)
            );
            findings.anomaly("G1b", text, vec![other, event]);
        }
    }

    /// A transaction's own appends to a key must stand in its order, and none may be missing before another.
    fn reordered_appends(&self, findings: &mut Findings) {
        let mut places: HashMap<u32, HashMap<&Value, usize>> = HashMap::new();
        for (at, transaction) in self.transactions.all.iter().enumerate() {
            if !self.orders.committed[at] {
                continue;
            }
            let appends = transaction.steps.iter().filter_map(|step| match *step {
                Step::Append { key, element } => Some((key, element)),
                Step::Read { .. } => None,
            });
            let mut last_of_key: Vec<(u32, &Value)> = Vec::new();
            for (key, element) in appends {
                let Some(last) = last_of_key.iter_mut().find(|(other, _)| *other == key) else {
                    last_of_key.push((key, element));
                    continue;
                };
                let before = std::mem::replace(&mut last.1, element);
                let order = &self.orders.by_key[key as usize];
                let places = places
                    .entry(key)
                    .or_insert_with(|| order.seen.iter().zip(0..).collect());
                let place = |element| places.get(element).copied().unwrap_or(usize::MAX);
                if place(before) > place(element) {
                    let event = transaction.event;
                    let reader = order.reader.map(|reader| self.event(reader));
                    let text = format!(
                        "event {event} appended {before} and then {element} to {}, but the list that was read has not the first before the second",
                        self.key(key)
                    );
                    let events = std::iter::once(event).chain(reader).collect();
                    findings.anomaly("reordered appends", text, events);
                }
            }
        }
    }

    fn lost_appends(&self, findings: &mut Findings) {
        let mut latest_read: HashMap<u32, u32> = HashMap::new();
        for read in &self.transactions.reads {
            // Transactions stand in the order of their invocations.
            latest_read.insert(read.key, read.transaction);
        }
        for (key, order) in self.orders.by_key.iter().enumerate() {
            let Some(&reader) = latest_read.get(&(key as u32)) else {
                continue;
            };
            let begun = self.transactions.all[reader as usize].invoke.index;
            for (element, writer) in &order.unseen {
                if self.transactions.all[*writer as usize]
                    .end
                    .is_some_and(|end| end < begun)
                {
                    let (event, read) = (self.event(*writer), self.event(reader));
                    let key = self.key(key as u32);
                    let text = format!(
                        "event {event} appended {element} to {key}; no read shows it, not even event {read} that began later"
                    );
                    findings.anomaly("lost append", text, vec![event, read]);
                }
            }
        }
    }

    /// Transactions that read the same version of a key and appended to it: each must have come first.
    fn lost_updates(&self, findings: &mut Findings) {
        let mut updates: HashMap<(u32, &[Value]), u32> = HashMap::new();
        for read in &self.transactions.reads {
            let first = read.first && read.own == 0 && self.transactions.is_done(read.transaction);
            let steps = &self.transactions.all[read.transaction as usize].steps;
            let appends = steps
                .iter()
                .any(|step| matches!(step, Step::Append { key, .. } if *key == read.key));
            let order = &self.orders.by_key[read.key as usize];
            if !first || !appends || !order.seen.starts_with(read.seen) {
                continue;
            }
            let version = (read.key, &read.seen[read.seen.len().saturating_sub(1)..]);
            if let Some(other) = updates.insert(version, read.transaction) {
                let (event, other) = (self.event(read.transaction), self.event(other));
                let text = format!(
                    "events {other} and {event} read the same version of {} and both appended to it",
                    self.key(read.key)
                );
                findings.anomaly("lost update", text, vec![other, event]);
            }
        }
    }
}
