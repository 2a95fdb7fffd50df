//! Judges transactions over registers, after Elle's rw-register (Kingsbury and Alvaro, 2020).
//!
//! Operations: `f` is `txn`, the value a list of steps `[:w key value]` and `[:r key value]` (`nil` when it was never
//! written). Each value is written to a key only once in a history, and keys are never removed.
//!
//! A read shows one version and not what was before it, so less is known than of lists. The order of versions comes
//! from what a transaction read of a key before it wrote to it, and, when the database promises strict
//! serializability, from real time: what is seen of a key never goes back.
//!
//! Beside the cycles that `graph` names, and `internal`, `G1a`, `G1b`, `garbage` and `lost update` as in `append`,
//! there is `cyclic versions`: by the same transactions and clock a version of a key stands before itself. A stale read
//! shows in this way.

mod transactions;
mod versions;

#[cfg(test)]
mod rw_register_test;

use super::findings::Findings;
use super::graph::{Graph, Level, Node, add_time_edges, report_cycles};
use super::{Checker, Verdict};
use crate::history::History;

use transactions::Transactions;
use versions::Versions;

/// The judge.
#[derive(Debug, Clone, Copy)]
pub struct RwRegister {
    level: Level,
}

impl RwRegister {
    /// Judges by what the database promises.
    pub fn new(level: Level) -> Self {
        Self { level }
    }
}

impl Default for RwRegister {
    fn default() -> Self {
        Self::new(Level::StrictSerializable)
    }
}

impl Checker for RwRegister {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let transactions = Transactions::read(history, &mut findings);
        transactions.report_direct(&mut findings);
        let versions = Versions::of(
            &transactions,
            self.level == Level::StrictSerializable,
            &mut findings,
        );
        let (mut edges, reasons) = versions.edges(&transactions);
        let data_edges = edges.len();
        let nodes: Vec<Node> = transactions.all.iter().map(|one| one.node).collect();
        add_time_edges(&nodes, &mut edges);
        let graph = Graph::new(nodes.len(), edges);
        findings.note(format!(
            "rw-register: {} transactions, {} keys, {data_edges} dependencies by data, {} with time",
            nodes.len(),
            transactions.keys.len(),
            graph.edges().len()
        ));
        let why = |edge: &_| versions.text(edge, &reasons, &transactions);
        report_cycles(&graph, &nodes, self.level, why, &mut findings);
        findings.verdict()
    }
}
