//! Strongly connected components, after Tarjan ("Depth-first search and linear graph algorithms", 1972), without
//! recursion: histories are deeper than stacks.

use super::{Graph, Mask};

const UNSEEN: u32 = u32::MAX;

/// The components of more than one node, the smallest first, over the edges in `mask`.
pub(super) fn components(graph: &Graph, mask: Mask) -> Vec<Vec<u32>> {
    let nodes = graph.nodes();
    let mut number = vec![UNSEEN; nodes];
    let mut low = vec![0; nodes];
    let mut on_stack = vec![false; nodes];
    let mut stack: Vec<u32> = Vec::new();
    let mut frames: Vec<(u32, usize)> = Vec::new();
    let mut next_number = 0;
    let mut found = Vec::new();
    for root in 0..nodes as u32 {
        if number[root as usize] != UNSEEN {
            continue;
        }
        frames.push((root, graph.range(root).start));
        while let Some((node, edge)) = frames.last_mut() {
            let at = *node as usize;
            if number[at] == UNSEEN {
                number[at] = next_number;
                low[at] = next_number;
                next_number += 1;
                stack.push(*node);
                on_stack[at] = true;
            }
            let end = graph.range(*node).end;
            let mut deeper = None;
            while *edge < end {
                let Some(to) =
                    (graph.edges[*edge].kind.mask() & mask != 0).then(|| graph.edges[*edge].to)
                else {
                    *edge += 1;
                    continue;
                };
                *edge += 1;
                if number[to as usize] == UNSEEN {
                    deeper = Some(to);
                    break;
                }
                if on_stack[to as usize] {
                    low[at] = low[at].min(number[to as usize]);
                }
            }
            if let Some(to) = deeper {
                frames.push((to, graph.range(to).start));
                continue;
            }
            frames.pop();
            if let Some((parent, _)) = frames.last() {
                let parent = *parent as usize;
                low[parent] = low[parent].min(low[at]);
            }
            if low[at] == number[at] {
                let from = stack
                    .iter()
                    .rposition(|other| *other as usize == at)
                    .unwrap_or(0);
                let component = stack.split_off(from);
                for member in &component {
                    on_stack[*member as usize] = false;
                }
                if component.len() > 1 {
                    found.push(component);
                }
            }
        }
    }
    found.sort_by_key(Vec::len);
    found
}
