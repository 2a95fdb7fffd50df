//! Nodes are taken out and replaced, as an operator would.

use std::fs;

use crate::hosts::Hosts;
use crate::t30_cluster::{founded_at, join, node_ids};

const OK: Option<i32> = Some(0);
const NOT_FOUND: Option<i32> = Some(4);
const UNSAFE: Option<i32> = Some(6);

fn code(hosts: &Hosts, k: u16, arguments: &[&str]) -> Option<i32> {
    let output = hosts.operate(k, arguments);
    println!(
        "{arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.status.code()
}

/// Steps: an unknown node and one that is needed are refused; a dead node is removed and its host joins again with an empty
/// disk; a node that has lost its log refuses to run and is replaced; the node that founded the cluster is removed alive,
/// says so, ends, and stays out; what was written is there, and all replicas hold the same.
#[test]
fn t35_nodes_are_removed_and_replaced() {
    let (mut hosts, token) = founded_at(19_200);
    join(&mut hosts, 2, &token);
    join(&mut hosts, 3, &token);
    hosts.result(
        1,
        &["db", "collection", "create", "things", "--env", "first"],
    );
    hosts.result(
        1,
        &["db", "insert", "things", "{\"a\": 1}", "--env", "first"],
    );
    assert_eq!(code(&hosts, 1, &["cluster", "remove", "9"]), NOT_FOUND);
    let dry_run = ["cluster", "remove", "3", "--dry-run"];
    assert_eq!(code(&hosts, 1, &dry_run), OK);

    hosts.stop(3);
    fs::remove_dir_all(hosts.data(3)).unwrap();
    assert_eq!(code(&hosts, 1, &["cluster", "remove", "2"]), UNSAFE);
    assert_eq!(code(&hosts, 1, &["cluster", "remove", "3"]), OK);
    assert_eq!(code(&hosts, 2, &["cluster", "remove", "3"]), OK, "again");
    assert_eq!(node_ids(&hosts, 1), [1, 2]);
    join(&mut hosts, 3, &token);
    assert_eq!(node_ids(&hosts, 1), [1, 2, 4]);
    assert_eq!(code(&hosts, 1, &["cluster", "digest"]), OK);

    hosts.stop(2);
    fs::remove_dir_all(hosts.data(2).join("consensus")).unwrap();
    let refused = hosts.start_refused(2);
    assert_eq!(refused.code(), UNSAFE, "{}", hosts.log(2));
    assert!(hosts.log(2).contains("has forgotten its votes"));
    assert_eq!(code(&hosts, 3, &["cluster", "remove", "2"]), OK);
    fs::remove_dir_all(hosts.data(2)).unwrap();
    join(&mut hosts, 2, &token);
    assert_eq!(node_ids(&hosts, 1), [1, 4, 5]);

    assert_eq!(code(&hosts, 3, &["cluster", "remove", "1"]), OK);
    hosts.ended(1);
    assert!(hosts.log(1).contains("node 1 was removed"));
    let refused = hosts.start_refused(1);
    assert_eq!(refused.code(), UNSAFE, "{}", hosts.log(1));
    // Whoever has only its folder has not its place either.
    fs::remove_file(hosts.data(1).join("removed")).unwrap();
    assert!(!hosts.start_refused(1).success());
    assert_eq!(node_ids(&hosts, 2), [4, 5]);
    for k in [2, 3] {
        let count = hosts.result(k, &["db", "count", "things", "--env", "first"]);
        assert!(count.contains('1'), "{count}");
    }
    assert_eq!(code(&hosts, 2, &["cluster", "digest"]), OK);
}
