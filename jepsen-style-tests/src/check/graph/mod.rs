//! Dependencies between transactions, and what a cycle of them is called.
//!
//! After Adya ("Weak Consistency", 1999) and Elle (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from
//! Experimental Observations", 2020): each edge says that its first transaction must stand before its second in any
//! order that explains the history, so a cycle proves that there is none.

mod components;
mod cycles;
mod time;

#[cfg(test)]
mod graph_test;

use crate::history::Process;

pub(super) use cycles::{find_cycles, report_cycles};
pub(super) use time::add_time_edges;

/// Why a transaction stands before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Dependency {
    /// The second overwrote what the first wrote.
    WriteWrite,
    /// The second saw what the first wrote.
    WriteRead,
    /// The second overwrote what the first saw.
    ReadWrite,
    /// The same process did the first before the second.
    Process,
    /// The first was done before the second began.
    Realtime,
}

/// A set of dependencies.
pub(super) type Mask = u8;

impl Dependency {
    pub(super) const fn mask(self) -> Mask {
        1 << self as u8
    }
}

/// An edge. What `why` means is up to the judge that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) kind: Dependency,
    pub(super) why: u32,
}

/// A transaction, as far as its place in time matters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// Index of the event that a reader of the history should look at.
    pub(super) event: u64,
    /// Index of its invocation.
    pub(super) invoke: u64,
    /// Index of its completion; `None` when it may have taken effect later.
    pub(super) end: Option<u64>,
    pub(super) process: Process,
    /// It certainly took effect.
    pub(super) committed: bool,
}

/// Edges by their first node.
#[derive(Debug)]
pub(super) struct Graph {
    starts: Vec<u32>,
    edges: Vec<Edge>,
}

impl Graph {
    /// Drops edges of a node to itself, and all but one of the same kind between two nodes.
    pub(super) fn new(nodes: usize, mut edges: Vec<Edge>) -> Self {
        edges.retain(|edge| edge.from != edge.to);
        edges.sort_unstable();
        edges.dedup_by_key(|edge| (edge.from, edge.to, edge.kind));
        let mut starts = vec![0; nodes + 1];
        for edge in &edges {
            starts[edge.from as usize + 1] += 1;
        }
        for at in 0..nodes {
            starts[at + 1] += starts[at];
        }
        Self { starts, edges }
    }

    pub(super) fn nodes(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Where the edges of a node stand.
    fn range(&self, node: u32) -> std::ops::Range<usize> {
        self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize
    }

    fn out(&self, node: u32) -> &[Edge] {
        &self.edges[self.range(node)]
    }
}

/// Components of more than one node, over all edges.
pub(super) fn components_of(graph: &Graph) -> Vec<Vec<u32>> {
    components::components(graph, Mask::MAX)
}

/// What a database promises, by the cycles that it forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Transactions that write the same never overlap, and each reads from one state.
    SnapshotIsolation,
    /// Some order of the transactions explains all they saw.
    Serializable,
    /// Such an order that also agrees with real time.
    StrictSerializable,
}

impl Level {
    /// Whether a cycle of this name breaks the promise.
    pub fn forbids(self, name: &str) -> bool {
        let only_time = name.ends_with("-process") || name.ends_with("-realtime");
        match self {
            Self::SnapshotIsolation => !only_time && name != "G2-item",
            Self::Serializable => !only_time,
            Self::StrictSerializable => true,
        }
    }
}

/// The name of a cycle, by the kinds of its edges in their order.
pub(super) fn cycle_name(kinds: &[Dependency]) -> String {
    let count = |kind| kinds.iter().filter(|other| **other == kind).count();
    let anti = |at: usize| kinds[at % kinds.len()] == Dependency::ReadWrite;
    let base = match count(Dependency::ReadWrite) {
        0 if count(Dependency::WriteRead) == 0 => "G0",
        0 => "G1c",
        1 => "G-single",
        _ if (0..kinds.len()).any(|at| anti(at) && anti(at + 1)) => "G2-item",
        _ => "G-nonadjacent",
    };
    let suffix = match (count(Dependency::Process), count(Dependency::Realtime)) {
        (_, 1..) => "-realtime",
        (1.., 0) => "-process",
        (0, 0) => "",
    };
    format!("{base}{suffix}")
}
