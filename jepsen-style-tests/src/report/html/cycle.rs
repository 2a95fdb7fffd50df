//! A cycle of operations as a drawing: boxes one below the other, so that long operations have room.
//!
//! An arrow to the next box goes straight down. Any other leaves its box below, runs along a lane at the left, and comes
//! back into its box from there. What an arrow means stands where it leaves.

use std::collections::HashMap;

use maud::{Markup, html};

use super::anomaly::Index;
use crate::check::Anomaly;
use crate::report::text;

/// Boxes of one drawing.
const NODES_MAX: usize = 12;

/// Arrows of one drawing.
const EDGES_MAX: usize = 24;

/// Letters of an operation, and of what an arrow means.
const LETTERS_MAX: usize = 180;

const WIDTH: usize = 320;
const LINE: usize = 17;
const PADDING: usize = 9;
const LANE: usize = 13;
/// Letters of a line: what fits into `WIDTH` at the size of `page.css`.
const BOX_LETTERS: usize = 38;
const LABEL_LETTERS: usize = 38;

struct Node {
    event: u64,
    lines: Vec<String>,
    top: usize,
    height: usize,
    /// Arrows that leave it, with the place of their text.
    out: Vec<Arrow>,
}

struct Arrow {
    to: usize,
    lines: Vec<String>,
    kind: &'static str,
    /// Counted from the left; `None` goes straight down.
    lane: Option<usize>,
    top: usize,
}

/// The drawing.
pub(super) fn graph(anomaly: &Anomaly, index: &Index<'_>) -> Markup {
    let order = order(&anomaly.edges);
    let hidden = anomaly.edges.len().saturating_sub(EDGES_MAX);
    let mut nodes = place(anomaly, &order, index);
    let lanes = nodes
        .iter()
        .flat_map(|node| &node.out)
        .filter(|arrow| arrow.lane.is_some())
        .count();
    let left = LANE * (lanes + 1);
    let height = layout(&mut nodes);
    let spoken = spoken(&nodes);
    html! {
        svg.graph viewBox={ "0 0 " (WIDTH + left) " " (height) } style={ "max-width:" (WIDTH + left) "px" } role="img" aria-label=(spoken) {
            @for node in &nodes {
                rect.node x=(left) y=(node.top) width=(WIDTH - 2) height=(node.height) rx="6" {}
                text.id x=(left + PADDING) y=(node.top + LINE) { "event " (node.event) }
                @for (at, line) in node.lines.iter().enumerate() {
                    text.mono x=(left + PADDING) y=(node.top + LINE * (at + 2)) { (line) }
                }
                @for arrow in &node.out { (draw(arrow, node, &nodes, left)) }
            }
        }
        @if hidden > 0 || order.len() > NODES_MAX {
            p.soft { "The drawing is of the first operations; the rest is in results.json." }
        }
    }
}

/// Events in the order of the cycle: each arrow's end after its beginning, as far as that goes.
fn order(edges: &[(u64, u64, String)]) -> Vec<u64> {
    let mut order = Vec::new();
    let mut at = edges.first().map(|(from, ..)| *from);
    while let Some(event) = at {
        order.push(event);
        at = edges
            .iter()
            .find(|(from, to, _)| *from == event && !order.contains(to))
            .or_else(|| edges.iter().find(|(from, ..)| !order.contains(from)))
            .map(|(from, to, _)| if *from == event { *to } else { *from });
        if order.len() > NODES_MAX {
            break;
        }
    }
    for (_, to, _) in edges.iter().take(EDGES_MAX) {
        if !order.contains(to) {
            order.push(*to);
        }
    }
    order
}

fn place(anomaly: &Anomaly, order: &[u64], index: &Index<'_>) -> Vec<Node> {
    let mut nodes: Vec<Node> = order
        .iter()
        .take(NODES_MAX)
        .map(|&event| Node {
            event,
            lines: text::wrap(&index.text(event, LETTERS_MAX), BOX_LETTERS, 4),
            top: 0,
            height: 0,
            out: Vec::new(),
        })
        .collect();
    let places: HashMap<u64, usize> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| (node.event, at))
        .collect();
    let mut lanes = 0;
    for (from, to, why) in anomaly.edges.iter().take(EDGES_MAX) {
        let (Some(&from), Some(&to)) = (places.get(from), places.get(to)) else {
            continue;
        };
        let straight = to == from + 1 && nodes[from].out.iter().all(|arrow| arrow.lane.is_some());
        nodes[from].out.push(Arrow {
            to,
            lines: text::wrap(&text::clip(why, LETTERS_MAX), LABEL_LETTERS, 4),
            kind: kind(why),
            lane: (!straight).then_some(lanes),
            top: 0,
        });
        lanes += usize::from(!straight);
    }
    nodes
}

/// Gives everything its height and place; the height of all.
fn layout(nodes: &mut [Node]) -> usize {
    let mut y = 1;
    for node in nodes.iter_mut() {
        node.top = y;
        node.height = LINE * (node.lines.len() + 1) + PADDING;
        y += node.height;
        for arrow in &mut node.out {
            arrow.top = y + PADDING;
            y += LINE * arrow.lines.len() + PADDING;
        }
        y += PADDING * 2;
    }
    y
}

fn draw(arrow: &Arrow, node: &Node, nodes: &[Node], left: usize) -> Markup {
    let target = &nodes[arrow.to];
    let below = node.top + node.height;
    let (path, head, text_x) = match arrow.lane {
        None => {
            let x = left + PADDING * 2;
            let end = target.top;
            (
                format!("M{x} {below}V{}", end - 2),
                format!("M{} {}L{x} {end}L{} {}Z", x - 5, end - 9, x + 5, end - 9),
                x + PADDING,
            )
        }
        Some(lane) => {
            let x = left + PADDING * 4;
            let lane_x = LANE * (lane + 1) - LANE / 2;
            let turn = arrow.top + LINE / 2;
            let middle = target.top + target.height / 2;
            (
                format!("M{x} {below}V{turn}H{lane_x}V{middle}H{}", left - 2),
                format!(
                    "M{} {}L{left} {middle}L{} {}Z",
                    left - 9,
                    middle - 5,
                    left - 9,
                    middle + 5
                ),
                x + PADDING,
            )
        }
    };
    html! {
        path.arrow.(arrow.kind) d=(path) {}
        path.head.(arrow.kind) d=(head) {}
        @for (at, line) in arrow.lines.iter().enumerate() {
            text.why x=(text_x) y=(arrow.top + LINE * (at + 1) - 4) { (line) }
        }
    }
}

/// The class of an arrow, by the first of the usual words in its text.
fn kind(why: &str) -> &'static str {
    let words = ["ww", "wr", "rw", "realtime", "process"];
    why.split(|letter: char| !letter.is_alphanumeric())
        .find_map(|word| words.into_iter().find(|kind| *kind == word))
        .unwrap_or("other")
}

/// The drawing for those who cannot see it.
fn spoken(nodes: &[Node]) -> String {
    let mut spoken = String::new();
    for node in nodes {
        for arrow in &node.out {
            let to = nodes[arrow.to].event;
            spoken.push_str(&format!(
                "Event {} comes before event {to}: {}. ",
                node.event,
                arrow.lines.join(" ")
            ));
        }
    }
    spoken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::History;

    fn edges(pairs: &[(u64, u64)]) -> Vec<(u64, u64, String)> {
        pairs
            .iter()
            .map(|&(from, to)| (from, to, "rw: why".to_owned()))
            .collect()
    }

    fn anomaly(pairs: &[(u64, u64)]) -> Anomaly {
        Anomaly {
            name: "G2".into(),
            explanation: String::new(),
            events: Vec::new(),
            edges: edges(pairs),
        }
    }

    #[test]
    fn boxes_follow_the_cycle() {
        assert_eq!(order(&edges(&[(5, 9), (9, 7), (7, 5)])), [5, 9, 7]);
        assert_eq!(order(&edges(&[(9, 7), (5, 9), (7, 5)])), [9, 7, 5]);
        // Two arrows from one box, and one that nothing leads to.
        assert_eq!(order(&edges(&[(1, 2), (1, 3), (4, 2)])), [1, 2, 4, 3]);
        assert!(order(&[]).is_empty());
    }

    #[test]
    fn every_arrow_is_drawn_and_nothing_overlaps() {
        let history = History::default();
        let index = Index::of(&history, &[]);
        let anomaly = anomaly(&[(1, 2), (2, 3), (3, 1), (1, 3), (1, 2)]);
        let mut nodes = place(&anomaly, &order(&anomaly.edges), &index);
        let height = layout(&mut nodes);
        assert_eq!(nodes.iter().map(|node| node.out.len()).sum::<usize>(), 5);
        let straight = nodes[0].out.iter().filter(|arrow| arrow.lane.is_none());
        assert_eq!(straight.count(), 1);
        let mut end = 0;
        for node in &nodes {
            assert!(node.top >= end);
            end = node.top + node.height;
            for arrow in &node.out {
                assert!(arrow.top >= end);
                end = arrow.top + LINE * arrow.lines.len();
            }
        }
        assert!(height >= end);
        let page = graph(&anomaly, &index).into_string();
        assert_eq!(page.matches("class=\"arrow rw\"").count(), 5);
        assert!(page.contains("Event 3 comes before event 1: rw: why."));
    }

    #[test]
    fn a_huge_cycle_is_drawn_in_part_and_says_so() {
        let history = History::default();
        let index = Index::of(&history, &[]);
        let pairs: Vec<_> = (0..500).map(|at| (at, (at + 1) % 500)).collect();
        let page = graph(&anomaly(&pairs), &index).into_string();
        assert_eq!(page.matches("class=\"node\"").count(), NODES_MAX);
        assert!(page.contains("the first operations"));
    }

    #[test]
    fn arrows_are_told_apart_by_their_words() {
        assert_eq!(kind("wr: it read"), "wr");
        assert_eq!(kind("T1 appended (ww)"), "ww");
        assert_eq!(kind("realtime"), "realtime");
        assert_eq!(kind("rewrote"), "other");
    }
}
