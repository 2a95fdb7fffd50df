//! Edges by time: the order of a process's own transactions, and that of transactions that did not overlap.

use std::collections::HashMap;

use super::{Dependency, Edge, Node};

/// Adds the order of processes and the real-time order of committed transactions.
///
/// The real-time order is reduced: an edge that follows from two others is left out. Only transactions that are done
/// and not yet before another done one can have new edges; these are at most as many as there are processes.
/// Transactions without a certain end stand before nothing.
pub(in super::super) fn add_time_edges(nodes: &[Node], edges: &mut Vec<Edge>) {
    let mut moments: Vec<(u64, bool, u32)> = Vec::with_capacity(nodes.len() * 2);
    for (at, node) in nodes.iter().enumerate().filter(|(_, node)| node.committed) {
        moments.push((node.invoke, false, at as u32));
        if let Some(end) = node.end {
            moments.push((end, true, at as u32));
        }
    }
    moments.sort_unstable();
    let edge = |from, to, kind| Edge {
        from,
        to,
        kind,
        why: 0,
    };
    let mut last_of_process = HashMap::new();
    let mut frontier: Vec<u32> = Vec::new();
    for (_, is_end, at) in moments {
        let node = &nodes[at as usize];
        if is_end {
            frontier.retain(|before| nodes[*before as usize].end > Some(node.invoke));
            frontier.push(at);
            last_of_process.insert(node.process, at);
        } else {
            edges.extend(
                frontier
                    .iter()
                    .map(|before| edge(*before, at, Dependency::Realtime)),
            );
            if let Some(before) = last_of_process.get(&node.process) {
                edges.push(edge(*before, at, Dependency::Process));
            }
        }
    }
}
