//! Finds cycles and tells of them.
//!
//! The search goes by growing sets of edges, so that a harmless cycle never hides a worse one: first writes alone, then
//! with reads, then with anti-dependencies; then all of it again with the order of processes, and with real time. In
//! each component the shortest cycle of each kind is looked for, breadth first, from edges that such a cycle must have.

use std::collections::{HashSet, VecDeque};

use super::super::findings::Findings;
use super::components::components;
use super::{Dependency, Edge, Graph, Level, Mask, Node, cycle_name};

/// Components of one set of edges that are looked into, the smallest first: one bug breaks many transactions alike.
const COMPONENTS_MAX: usize = 64;

/// Edges of one component from which a cycle of one kind is looked for.
const STARTS_MAX: usize = 1000;

/// Nodes visited for one component and kind of cycle, behind which the best cycle so far will do.
const VISITS_MAX: usize = 2_000_000;

const WW: Mask = Dependency::WriteWrite.mask();
const WR: Mask = Dependency::WriteRead.mask();
const RW: Mask = Dependency::ReadWrite.mask();
const PROCESS: Mask = Dependency::Process.mask();
const REALTIME: Mask = Dependency::Realtime.mask();

/// How anti-dependencies may follow each other behind the first edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// As they like.
    Any,
    /// None but the first edge.
    Single,
    /// At least one more, and never two in a row.
    Nonadjacent,
}

/// A kind of cycle to look for.
struct Goal {
    /// Kinds of the edge to begin with.
    first: Mask,
    rule: Rule,
}

fn goals(base: Mask, time: Mask) -> Vec<Goal> {
    let goal = |first, rule| Goal { first, rule };
    match (base & RW, base & WR) {
        (0, 0) => vec![goal(if time == 0 { WW } else { time }, Rule::Any)],
        (0, _) => vec![goal(WR, Rule::Any)],
        _ => vec![
            goal(RW, Rule::Single),
            goal(RW, Rule::Nonadjacent),
            goal(RW, Rule::Any),
        ],
    }
}

/// Adds what the graph proves to `findings`; `why` tells why an edge is there.
pub(in super::super) fn report_cycles(
    graph: &Graph,
    nodes: &[Node],
    level: Level,
    why: impl Fn(&Edge) -> String,
    findings: &mut Findings,
) {
    let (cycles, cut_short) = find_cycles(graph);
    let mut allowed = 0;
    for cycle in cycles {
        let kinds: Vec<Dependency> = cycle.iter().map(|edge| edge.kind).collect();
        let name = cycle_name(&kinds);
        if !level.forbids(&name) {
            allowed += 1;
            continue;
        }
        let edges: Vec<(u64, u64, String)> = cycle
            .iter()
            .map(|edge| {
                let text = match edge.kind {
                    Dependency::Process => "the same process did it before".to_owned(),
                    Dependency::Realtime => "it was done before the other began".to_owned(),
                    _ => why(edge),
                };
                (
                    nodes[edge.from as usize].event,
                    nodes[edge.to as usize].event,
                    text,
                )
            })
            .collect();
        let steps: Vec<String> = edges
            .iter()
            .map(|(from, to, text)| format!("{from} stands before {to}, for {text}"))
            .collect();
        let explanation = format!(
            "no order of these transactions is possible: {}",
            steps.join("; ")
        );
        findings.cycle(
            &name,
            explanation,
            edges.iter().map(|(from, ..)| *from).collect(),
            edges,
        );
    }
    if allowed > 0 {
        findings.note(format!("{allowed} cycles are allowed by {level:?}"));
    }
    if cut_short && findings.is_empty() {
        findings.unknown("the search for cycles was cut short; use fewer transactions");
    } else if cut_short {
        findings.note("the search for cycles was cut short: there may be more");
    }
}

/// Cycles, the simplest kind first, and whether some were not looked for.
pub(in super::super) fn find_cycles(graph: &Graph) -> (Vec<Vec<Edge>>, bool) {
    let everything = WW | WR | RW | PROCESS | REALTIME;
    if components(graph, everything).is_empty() {
        return (Vec::new(), false);
    }
    let mut known = HashSet::new();
    let mut cycles = Vec::new();
    let mut cut_short = false;
    let mut search = Search::new(graph);
    for (allowed_time, time) in [(0, 0), (PROCESS, PROCESS), (PROCESS | REALTIME, REALTIME)] {
        for base in [WW, WW | WR, WW | WR | RW] {
            let all = components(graph, base | allowed_time);
            cut_short |= all.len() > COMPONENTS_MAX;
            for component in all.iter().take(COMPONENTS_MAX) {
                search.enter(component);
                for goal in goals(base, time) {
                    let (cycle, complete) = search.shortest(component, base | allowed_time, &goal);
                    cut_short |= !complete;
                    let Some(cycle) = cycle else { continue };
                    if known.insert(canonical(&cycle)) {
                        cycles.push(cycle);
                    }
                }
                search.leave(component);
            }
        }
    }
    (cycles, cut_short)
}

/// The same for a cycle wherever it begins.
fn canonical(cycle: &[Edge]) -> Vec<(u32, u32, Dependency)> {
    let first = (0..cycle.len())
        .min_by_key(|at| cycle[*at].from)
        .unwrap_or(0);
    (0..cycle.len())
        .map(|at| cycle[(first + at) % cycle.len()])
        .map(|edge| (edge.from, edge.to, edge.kind))
        .collect()
}

/// A node on the way: how the last edge was, and whether there was a second anti-dependency, make it three states.
const STATES: usize = 4;
const LAST_WAS_ANTI: usize = 1;
const HAD_SECOND: usize = 2;

/// Room for searches, used again and again.
struct Search<'g> {
    graph: &'g Graph,
    inside: Vec<bool>,
    /// By node and state: the round in which it was reached, and by which edge and from which state.
    reached: Vec<u32>,
    by: Vec<(u32, u8)>,
    round: u32,
    queue: VecDeque<(u32, usize)>,
}

impl<'g> Search<'g> {
    fn new(graph: &'g Graph) -> Self {
        Self {
            graph,
            inside: vec![false; graph.nodes()],
            reached: vec![0; graph.nodes() * STATES],
            by: vec![(0, 0); graph.nodes() * STATES],
            round: 0,
            queue: VecDeque::new(),
        }
    }

    fn enter(&mut self, component: &[u32]) {
        component
            .iter()
            .for_each(|node| self.inside[*node as usize] = true);
    }

    fn leave(&mut self, component: &[u32]) {
        component
            .iter()
            .for_each(|node| self.inside[*node as usize] = false);
    }

    /// The shortest cycle of a kind, and whether all of them were looked at.
    fn shortest(
        &mut self,
        component: &[u32],
        mask: Mask,
        goal: &Goal,
    ) -> (Option<Vec<Edge>>, bool) {
        let graph = self.graph;
        let starts = component
            .iter()
            .flat_map(|node| graph.out(*node))
            .filter(|edge| {
                edge.kind.mask() & goal.first & mask != 0 && self.inside[edge.to as usize]
            });
        let starts: Vec<Edge> = starts.take(STARTS_MAX + 1).copied().collect();
        let mut complete = starts.len() <= STARTS_MAX;
        let mut best: Option<Vec<Edge>> = None;
        let mut visits_left = VISITS_MAX;
        for start in starts {
            if best.as_ref().is_some_and(|cycle| cycle.len() <= 2) {
                return (best, true);
            }
            if visits_left == 0 {
                complete = false;
                break;
            }
            let found = self.close(start, mask, goal.rule, &mut visits_left);
            if let Some(cycle) = found.filter(|cycle| is_simple(cycle))
                && best.as_ref().is_none_or(|best| cycle.len() < best.len())
            {
                best = Some(cycle);
            }
        }
        // Which is the shortest is a matter of taste; that there is none must be certain.
        let certain = complete || best.is_some();
        (best, certain)
    }

    /// The shortest way from the end of `start` to its begin that keeps to the rule.
    fn close(
        &mut self,
        start: Edge,
        mask: Mask,
        rule: Rule,
        visits_left: &mut usize,
    ) -> Option<Vec<Edge>> {
        self.round += 1;
        self.queue.clear();
        let first_state = if rule == Rule::Nonadjacent {
            LAST_WAS_ANTI
        } else {
            0
        };
        self.reached[start.to as usize * STATES + first_state] = self.round;
        self.queue.push_back((start.to, first_state));
        while let Some((node, state)) = self.queue.pop_front() {
            *visits_left = visits_left.saturating_sub(1);
            for at in self.graph.range(node) {
                let edge = self.graph.edges[at];
                if edge.kind.mask() & mask == 0 || !self.inside[edge.to as usize] {
                    continue;
                }
                let anti = edge.kind == Dependency::ReadWrite;
                let next = match rule {
                    Rule::Any => 0,
                    Rule::Single if anti => continue,
                    Rule::Single => 0,
                    Rule::Nonadjacent if anti && state & LAST_WAS_ANTI != 0 => continue,
                    Rule::Nonadjacent if anti => LAST_WAS_ANTI | HAD_SECOND,
                    Rule::Nonadjacent => state & HAD_SECOND,
                };
                let place = edge.to as usize * STATES + next;
                if self.reached[place] == self.round {
                    continue;
                }
                self.reached[place] = self.round;
                self.by[place] = (at as u32, state as u8);
                if edge.to == start.from && (rule != Rule::Nonadjacent || next == HAD_SECOND) {
                    return Some(self.trace(start, next, first_state));
                }
                self.queue.push_back((edge.to, next));
            }
        }
        None
    }

    fn trace(&self, start: Edge, mut state: usize, first_state: usize) -> Vec<Edge> {
        let mut way = Vec::new();
        let mut node = start.from;
        while (node, state) != (start.to, first_state) {
            let (at, before) = self.by[node as usize * STATES + state];
            let edge = self.graph.edges[at as usize];
            way.push(edge);
            node = edge.from;
            state = usize::from(before);
        }
        way.push(start);
        way.reverse();
        way
    }
}

/// A way that keeps to a rule may come by a node twice; then it is made of smaller cycles that are found by themselves.
fn is_simple(cycle: &[Edge]) -> bool {
    let mut seen = HashSet::new();
    cycle.iter().all(|edge| seen.insert(edge.from))
}
