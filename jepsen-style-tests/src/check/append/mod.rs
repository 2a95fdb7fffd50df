//! Judges transactions over lists that only grow, after Elle's list-append (Kingsbury and Alvaro, 2020).
//!
//! Operations: `f` is `txn`, the value a list of steps `[:append key element]` and `[:r key [element ...]]` (`nil` for
//! a list not read yet, or an absent one). An element is appended to a key only once in a history. Since a read shows
//! the whole list, it shows the order of all versions, and by that who overwrote whom.
//!
//! What is found, beside the cycles that `graph` names:
//!
//! | name | what |
//! |---|---|
//! | `internal` | a read contradicts an earlier step of its own transaction |
//! | `G1a` | a read of an element whose transaction failed |
//! | `G1b` | a read of a list in the middle of another transaction |
//! | `duplicate elements` | an append took effect twice |
//! | `garbage` | a read of an element that nobody appended |
//! | `incompatible order` | two reads of a key of which neither continues the other |
//! | `reordered appends` | a transaction's own appends to a key stand in another order than it made them, or only later ones are there |
//! | `lost append` | a done append is missing in a read that began later, and was never seen |
//! | `lost update` | two transactions read the same version of a key and both appended to it |

mod direct;
mod edges;
mod transactions;

#[cfg(test)]
mod adya_test;
#[cfg(test)]
mod append_test;

use super::findings::Findings;
use super::graph::{Graph, Level, add_time_edges, report_cycles};
use super::{Checker, Verdict};
use crate::history::History;

use edges::Orders;
use transactions::Transactions;

/// The judge.
#[derive(Debug, Clone, Copy)]
pub struct ListAppend {
    level: Level,
}

impl ListAppend {
    /// Judges by what the database promises.
    pub fn new(level: Level) -> Self {
        Self { level }
    }
}

impl Default for ListAppend {
    fn default() -> Self {
        Self::new(Level::StrictSerializable)
    }
}

impl Checker for ListAppend {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let transactions = Transactions::read(history, &mut findings);
        let orders = Orders::of(&transactions);
        direct::report(&transactions, &orders, &mut findings);
        let (mut edges, reasons) = orders.edges(&transactions);
        let nodes = orders.nodes(&transactions);
        let data_edges = edges.len();
        add_time_edges(&nodes, &mut edges);
        let graph = Graph::new(nodes.len(), edges);
        findings.note(format!(
            "list-append: {} transactions, {} keys, {data_edges} dependencies by data, {} with time",
            nodes.len(),
            transactions.keys.len(),
            graph.edges().len()
        ));
        report_cycles(
            &graph,
            &nodes,
            self.level,
            |edge| reasons[edge.why as usize].text(edge.kind, &transactions, &orders),
            &mut findings,
        );
        findings.verdict()
    }
}
