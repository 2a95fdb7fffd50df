//! Names of cycles, components and shortest cycles of small graphs.

use super::components::components;
use super::*;
use crate::check::Findings;

use Dependency::{
    Process as P, ReadWrite as RW, Realtime as RT, WriteRead as WR, WriteWrite as WW,
};

fn graph(nodes: usize, edges: &[(u32, u32, Dependency)]) -> Graph {
    let edges = edges.iter().map(|&(from, to, kind)| Edge {
        from,
        to,
        kind,
        why: 0,
    });
    Graph::new(nodes, edges.collect())
}

fn found(nodes: usize, edges: &[(u32, u32, Dependency)], level: Level) -> Vec<String> {
    let places: Vec<Node> = (0..nodes as u64)
        .map(|event| Node {
            event,
            invoke: event,
            end: None,
            process: event,
            committed: true,
        })
        .collect();
    let mut findings = Findings::default();
    report_cycles(
        &graph(nodes, edges),
        &places,
        level,
        |_| String::new(),
        &mut findings,
    );
    findings
        .verdict()
        .anomalies
        .into_iter()
        .map(|anomaly| anomaly.name)
        .collect()
}

#[test]
fn cycles_have_the_names_of_the_literature() {
    for (kinds, name) in [
        (&[WW, WW][..], "G0"),
        (&[WW, WR], "G1c"),
        (&[RW, WW, WR], "G-single"),
        (&[RW, WR, RW, WW], "G-nonadjacent"),
        (&[RW, WR, RW], "G2-item"),
        (&[RW, RW], "G2-item"),
        (&[RW, P], "G-single-process"),
        (&[RW, RT], "G-single-realtime"),
        (&[WW, P, RT], "G0-realtime"),
        (&[RW, RT, RW, P], "G-nonadjacent-realtime"),
    ] {
        assert_eq!(cycle_name(kinds), name);
    }
}

#[test]
fn components_are_found_whatever_the_depth() {
    let long: Vec<(u32, u32, Dependency)> = (0..100_000)
        .map(|at| (at, (at + 1) % 100_000, WW))
        .collect();
    assert_eq!(
        components(&graph(100_000, &long), WW.mask())[0].len(),
        100_000
    );
    let line = &long[..99_999];
    assert!(components(&graph(100_000, line), WW.mask()).is_empty());
    let two = [
        (0, 1, WW),
        (1, 0, WR),
        (1, 2, RW),
        (2, 3, WW),
        (3, 4, WW),
        (4, 2, WW),
    ];
    let mut all = components(&graph(5, &two), WW.mask() | WR.mask() | RW.mask());
    all.iter_mut()
        .for_each(|component| component.sort_unstable());
    assert_eq!(all, [vec![0, 1], vec![2, 3, 4]]);
    assert_eq!(components(&graph(5, &two), WW.mask()).len(), 1);
}

#[test]
fn a_cheap_cycle_hides_no_worse_one() {
    let edges = [
        (0, 1, RW),
        (1, 0, RW),
        (1, 2, WW),
        (2, 1, WW),
        (2, 3, WR),
        (3, 0, WR),
    ];
    assert_eq!(
        found(4, &edges, Level::Serializable),
        ["G0", "G-single", "G2-item"]
    );
}

#[test]
fn cycles_without_adjacent_anti_dependencies_are_found_beside_shorter_others() {
    let edges = [(0, 1, RW), (1, 2, WW), (2, 3, RW), (3, 0, WR), (1, 0, RW)];
    assert_eq!(
        found(4, &edges, Level::SnapshotIsolation),
        ["G-nonadjacent"]
    );
    assert_eq!(
        found(4, &edges, Level::Serializable),
        ["G-nonadjacent", "G2-item"]
    );
}

#[test]
fn only_the_strictest_level_forbids_cycles_through_time() {
    let edges = [(0, 1, RW), (1, 0, RT)];
    assert!(found(2, &edges, Level::Serializable).is_empty());
    assert_eq!(
        found(2, &edges, Level::StrictSerializable),
        ["G-single-realtime"]
    );
}

#[test]
fn real_time_is_reduced_and_not_less_than_it_was() {
    // Ends and begins by chance; the closure of the reduced edges must be the whole order.
    use rand::{Rng as _, SeedableRng as _};
    let mut random = rand::rngs::StdRng::seed_from_u64(3);
    for _ in 0..50 {
        let nodes: Vec<Node> = (0..12)
            .map(|at| {
                let invoke = random.random_range(0..1000) * 32 + at;
                Node {
                    event: invoke,
                    invoke,
                    end: random
                        .random_bool(0.9)
                        .then(|| invoke + random.random_range(1..300) * 32 + 16),
                    process: at,
                    committed: random.random_bool(0.9),
                }
            })
            .collect();
        let mut edges = Vec::new();
        add_time_edges(&nodes, &mut edges);
        let mut before = vec![vec![false; 12]; 12];
        for edge in &edges {
            before[edge.from as usize][edge.to as usize] = true;
        }
        let pairs: Vec<(usize, usize)> = (0..144).map(|pair| (pair / 12, pair % 12)).collect();
        for middle in 0..12 {
            for &(from, to) in &pairs {
                before[from][to] |= before[from][middle] && before[middle][to];
            }
        }
        for (from, to) in pairs {
            let both = nodes[from].committed && nodes[to].committed;
            let expected = both && nodes[from].end.is_some_and(|end| end < nodes[to].invoke);
            assert_eq!(before[from][to], expected);
        }
    }
}
