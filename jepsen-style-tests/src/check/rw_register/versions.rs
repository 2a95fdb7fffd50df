//! Which versions of a key stand before which, as far as it is known, and the dependencies that follow.

use std::collections::{HashMap, HashSet};

use super::super::findings::Findings;
use super::super::graph::{Dependency, Edge, Graph, components_of, find_cycles};
use super::transactions::{Touch, Transactions};
use crate::history::Value;

/// A version: a key and a value; `nil` is that before all writes.
type Version<'h> = (u32, &'h Value);

/// All versions as numbers, and the known order between them.
#[derive(Debug, Default)]
pub(super) struct Versions<'h> {
    all: Vec<Version<'h>>,
    numbers: HashMap<Version<'h>, u32>,
    /// Pairs of versions of which the first stands before the second.
    order: Vec<(u32, u32)>,
    /// By version: the transactions that read it, and the one that left it.
    readers: Vec<Vec<u32>>,
    writers: Vec<Option<u32>>,
}

/// Why there is an edge: the version before and that behind.
pub(super) type Reason = (u32, u32);

/// The events of the transactions that put one version before another.
type Proof = (u64, u64);

impl<'h> Versions<'h> {
    /// Finds them; with `by_time` also from what was seen of a key one after the other.
    pub(super) fn of(
        transactions: &Transactions<'h>,
        by_time: bool,
        findings: &mut Findings,
    ) -> Self {
        let mut versions = Self::default();
        let mut order: Vec<Edge> = Vec::new();
        let mut proofs: Vec<Proof> = Vec::new();
        let mut touches_of_key: Vec<Vec<(u32, Touch<'h>)>> =
            vec![Vec::new(); transactions.keys.len()];
        for (at, transaction) in transactions.all.iter().enumerate() {
            if !transaction.node.committed {
                continue;
            }
            for touch in &transaction.touches {
                versions.touch(at as u32, *touch);
                touches_of_key[touch.key as usize].push((at as u32, *touch));
            }
        }
        let mut add = |from: u32, to: u32, kind: Dependency, proof: Proof| {
            if from != to {
                let why = proofs.len() as u32;
                order.push(Edge {
                    from,
                    to,
                    kind,
                    why,
                });
                proofs.push(proof);
            }
        };
        for touches in &touches_of_key {
            for (at, touch) in touches {
                if let (Some(read), Some(written)) = (touch.read, touch.written) {
                    let event = transactions.all[*at as usize].node.event;
                    let (from, to) = (
                        versions.numbers[&(touch.key, read)],
                        versions.numbers[&(touch.key, written)],
                    );
                    add(from, to, Dependency::WriteWrite, (event, event));
                }
            }
            if by_time {
                versions.order_by_time(touches, transactions, &mut add);
            }
        }
        versions.absent_first(&mut order, &mut proofs);
        versions.keep_acyclic(order, &proofs, transactions, findings);
        versions
    }

    fn number(&mut self, version: Version<'h>) -> u32 {
        *self.numbers.entry(version).or_insert_with(|| {
            self.all.push(version);
            self.readers.push(Vec::new());
            self.writers.push(None);
            self.all.len() as u32 - 1
        })
    }

    fn touch(&mut self, transaction: u32, touch: Touch<'h>) {
        if let Some(value) = touch.read {
            let number = self.number((touch.key, value));
            self.readers[number as usize].push(transaction);
        }
        if let Some(value) = touch.written {
            let number = self.number((touch.key, value));
            self.writers[number as usize] = Some(transaction);
        }
    }

    /// What a transaction saw or left of a key stands before what a later one saw first, or is the same.
    fn order_by_time(
        &self,
        touches: &[(u32, Touch<'h>)],
        transactions: &Transactions<'_>,
        add: &mut impl FnMut(u32, u32, Dependency, Proof),
    ) {
        let node = |at: u32| &transactions.all[at as usize].node;
        let mut moments: Vec<(u64, bool, usize)> = Vec::new();
        for (place, (at, _)) in touches.iter().enumerate() {
            moments.push((node(*at).invoke, false, place));
            moments.extend(node(*at).end.map(|end| (end, true, place)));
        }
        moments.sort_unstable();
        let mut frontier: Vec<usize> = Vec::new();
        for (_, is_end, place) in moments {
            let (at, touch) = touches[place];
            if is_end {
                frontier.retain(|before| node(touches[*before].0).end > Some(node(at).invoke));
                frontier.push(place);
                continue;
            }
            let Some(first) = touch.read.or(touch.written) else {
                continue;
            };
            for before in &frontier {
                let (earlier, left) = touches[*before];
                let Some(last) = left.written.or(left.read) else {
                    continue;
                };
                let (from, to) = (
                    self.numbers[&(left.key, last)],
                    self.numbers[&(touch.key, first)],
                );
                add(
                    from,
                    to,
                    Dependency::Realtime,
                    (node(earlier).event, node(at).event),
                );
            }
        }
    }

    /// A key is absent before every version; it is enough to say so of those before which nothing else is known.
    fn absent_first(&self, order: &mut Vec<Edge>, proofs: &mut Vec<Proof>) {
        let mut has_earlier = vec![false; self.all.len()];
        for edge in order.iter() {
            has_earlier[edge.to as usize] |= self.all[edge.from as usize].1 != &Value::Nil;
        }
        for (at, (key, value)) in self.all.iter().enumerate() {
            if *value == &Value::Nil || has_earlier[at] {
                continue;
            }
            if let Some(&from) = self.numbers.get(&(*key, &Value::Nil)) {
                let why = proofs.len() as u32;
                let kind = Dependency::WriteWrite;
                order.push(Edge {
                    from,
                    to: at as u32,
                    kind,
                    why,
                });
                proofs.push((0, 0));
            }
        }
    }

    /// Reports versions before themselves; between these nothing can be said.
    fn keep_acyclic(
        &mut self,
        order: Vec<Edge>,
        proofs: &[Proof],
        transactions: &Transactions<'_>,
        findings: &mut Findings,
    ) {
        let graph = Graph::new(self.all.len(), order);
        let (cycles, _) = find_cycles(&graph);
        for cycle in cycles {
            let key = transactions.keys[self.all[cycle[0].from as usize].0 as usize];
            let mut events = HashSet::new();
            let steps: Vec<String> = cycle
                .iter()
                .map(|edge| {
                    let (from, to) = (self.all[edge.from as usize].1, self.all[edge.to as usize].1);
                    let (first, second) = proofs[edge.why as usize];
                    let why = match (edge.kind, from) {
                        (Dependency::Realtime, _) => {
                            format!("event {first} was done before that of event {second} began")
                        }
                        (_, Value::Nil) if (first, second) == (0, 0) => {
                            "it was absent at first".to_owned()
                        }
                        _ => format!("event {first} read the one and wrote the other"),
                    };
                    if (first, second) != (0, 0) {
                        events.extend([first, second]);
                    }
                    format!("{from} before {to}, for {why}")
                })
                .collect();
            let mut events: Vec<u64> = events.into_iter().collect();
            events.sort_unstable();
            let text = format!(
                "no order of the versions of {key} is possible: {}",
                steps.join("; ")
            );
            findings.anomaly("cyclic versions", text, events);
        }
        let mut component = HashMap::new();
        for (at, members) in components_of(&graph).into_iter().enumerate() {
            component.extend(members.into_iter().map(|member| (member, at)));
        }
        let tangled = |edge: &Edge| {
            let of = |version| component.get(&version);
            of(edge.from).is_some() && of(edge.from) == of(edge.to)
        };
        self.order = graph
            .edges()
            .iter()
            .filter(|edge| !tangled(edge))
            .map(|edge| (edge.from, edge.to))
            .collect();
    }

    /// Dependencies between transactions, and the reasons that they name.
    pub(super) fn edges(&self, transactions: &Transactions<'_>) -> (Vec<Edge>, Vec<Reason>) {
        let mut edges = Vec::new();
        let mut reasons = Vec::new();
        let mut add = |from: u32, to: u32, kind: Dependency, reason: Reason| {
            if from != to {
                let why = reasons.len() as u32;
                edges.push(Edge {
                    from,
                    to,
                    kind,
                    why,
                });
                reasons.push(reason);
            }
        };
        for (at, (version, readers)) in self.all.iter().zip(&self.readers).enumerate() {
            let at = at as u32;
            let writer = transactions
                .writers
                .get(version)
                .map(|writer| writer.transaction);
            let committed = |writer: &u32| transactions.all[*writer as usize].node.committed;
            if let Some(writer) = writer.filter(committed) {
                for reader in readers {
                    add(writer, *reader, Dependency::WriteRead, (at, at));
                }
            }
        }
        for &(before, after) in &self.order {
            let Some(writer) = self.writers[after as usize] else {
                continue;
            };
            if let Some(earlier) = self.writers[before as usize] {
                add(earlier, writer, Dependency::WriteWrite, (before, after));
            }
            for reader in &self.readers[before as usize] {
                add(*reader, writer, Dependency::ReadWrite, (before, after));
            }
        }
        (edges, reasons)
    }

    /// For a reader of the report.
    pub(super) fn text(
        &self,
        edge: &Edge,
        reasons: &[Reason],
        transactions: &Transactions<'_>,
    ) -> String {
        let (before, after) = reasons[edge.why as usize];
        let (key, before) = self.all[before as usize];
        let after = self.all[after as usize].1;
        let key = transactions.keys[key as usize];
        match edge.kind {
            Dependency::WriteRead => format!("its write of {before} to {key} was read"),
            Dependency::ReadWrite => {
                format!("it saw {before} in {key}, before {after} was written")
            }
            _ => format!("its write of {before} to {key} stands before {after}"),
        }
    }
}
