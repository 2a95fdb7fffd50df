//! Adding, changing and removing operators, and what the audit log says of it.

use std::sync::Arc;

use super::Operators;
use super::records::{OPERATORS, OperatorRecord};
use super::roles::Role;
use super::test_bed::{PASSWORD, grant, node, origin};
use crate::auth::Reason;
use crate::auth::test_bed::{Bed, ENV};

async fn bed() -> (Arc<Bed>, Arc<Operators>) {
    let bed = Bed::new();
    let operators = node(&bed);
    operators
        .newcomer(&bed, "root", vec![grant(Role::Owner, None)])
        .await;
    (bed, operators)
}

#[tokio::test]
async fn every_change_is_written_down_with_it_and_no_secret_is() {
    let (bed, operators) = bed().await;
    let developer = vec![grant(Role::Developer, Some(ENV))];
    operators.newcomer(&bed, "Ann", developer).await;
    let viewer = vec![grant(Role::Viewer, None)];
    operators
        .set_grants(&origin(), &bed.map(), "ANN", viewer.clone())
        .await
        .unwrap();
    operators
        .set_password(&origin(), "ann", "another password")
        .await
        .unwrap();
    assert_eq!(operators.get("ann").await.unwrap().grants, viewer);
    operators.remove(&origin(), "ann").await.unwrap();
    assert_eq!(
        operators.told().await,
        [
            "key:test operator.add root ok",
            "key:test operator.add ann ok",
            "key:test operator.role ann ok",
            "key:test operator.password ann ok",
            "key:test operator.remove ann ok",
        ]
    );
    let log = operators.log().await;
    assert_eq!(log[1].detail, "developer@demo");
    assert!(
        log.iter()
            .all(|entry| entry.from == "192.0.2.7" && entry.request_id == "r" && entry.at_ms > 0)
    );
    let text = format!("{log:?}");
    assert!(!text.contains("argon2") && !text.contains("another password"));
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    let (bed, operators) = bed().await;
    let told = operators.told().await;
    let reason = async |name: &str, password: &str, grants| {
        let (origin, map) = (origin(), bed.map());
        let outcome = operators.add(&origin, &map, name, password, grants).await;
        outcome.err().map(|error| error.reason)
    };
    let owner = || vec![grant(Role::Owner, None)];
    let elsewhere = vec![grant(Role::Viewer, Some("nowhere"))];
    let cluster = vec![grant(Role::Developer, Some("_cluster"))];
    let owner_of_one = vec![grant(Role::Owner, Some(ENV))];
    for (name, password, grants, expected) in [
        ("ROOT", PASSWORD, owner(), Reason::AlreadyExists),
        ("a b", PASSWORD, owner(), Reason::InvalidArgument),
        ("ann", "short", owner(), Reason::InvalidArgument),
        ("ann", PASSWORD, vec![], Reason::InvalidArgument),
        ("ann", PASSWORD, owner_of_one, Reason::InvalidArgument),
        ("ann", PASSWORD, elsewhere, Reason::NotFound),
        ("ann", PASSWORD, cluster, Reason::NotFound),
    ] {
        assert_eq!(
            reason(name, password, grants).await,
            Some(expected),
            "{name}"
        );
    }
    let missing = operators.remove(&origin(), "nobody").await.unwrap_err();
    assert_eq!(missing.reason, Reason::NotFound);
    assert_eq!(operators.list().await.unwrap().len(), 1);
    assert_eq!(operators.told().await, told);
}

#[tokio::test]
async fn the_last_owner_stays_whoever_else_tries_at_the_same_time() {
    let (bed, operators) = bed().await;
    let developer = vec![grant(Role::Developer, None)];
    operators.newcomer(&bed, "dev", developer.clone()).await;
    for refused in [
        operators.remove(&origin(), "root").await,
        operators
            .set_grants(&origin(), &bed.map(), "root", developer.clone())
            .await
            .map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.reason, Reason::FailedPrecondition);
        assert!(refused.message.starts_with(super::manage::LAST_OWNER));
    }
    operators
        .newcomer(&bed, "second", vec![grant(Role::Owner, None)])
        .await;
    // Each has read that the other is an owner when the other's commit comes.
    let (one, two) = (node(&bed), node(&bed));
    let first: Vec<_> = one
        .store
        .kept::<OperatorRecord>(OPERATORS, bson::doc! {})
        .await
        .unwrap();
    two.remove(&origin(), "second").await.unwrap();
    let mut changes = crate::cluster::changes::Changes::default();
    for owner in first.iter().filter(|known| known.record.is_owner()) {
        changes.expect(OPERATORS, owner).unwrap();
    }
    changes.remove(OPERATORS, "root");
    assert!(
        !one.store.commit(changes).await.unwrap(),
        "decided by what is no more"
    );
    assert!(one.remove(&origin(), "root").await.is_err());
    let left = operators.list().await.unwrap();
    assert!(left.iter().any(OperatorRecord::is_owner));
}

#[tokio::test]
async fn many_removals_at_once_leave_an_owner() {
    let bed = Bed::new();
    let operators = node(&bed);
    let names: Vec<String> = (0..6).map(|n| format!("owner{n}")).collect();
    for name in &names {
        operators
            .newcomer(&bed, name, vec![grant(Role::Owner, None)])
            .await;
    }
    let tasks: Vec<_> = names
        .into_iter()
        .map(|name| {
            let operators = node(&bed);
            tokio::spawn(async move { operators.remove(&origin(), &name).await.is_ok() })
        })
        .collect();
    let mut removed = 0;
    for task in tasks {
        removed += usize::from(task.await.unwrap());
    }
    let left = operators.list().await.unwrap();
    assert!((1..6).contains(&left.len()), "{removed}");
    assert_eq!(removed, 6 - left.len());
}

#[tokio::test]
async fn the_configuration_makes_one_owner_where_there_is_nobody() {
    let bed = Bed::new();
    let operators = node(&bed);
    for name in ["root", "other"] {
        operators
            .ensure_owner(&origin(), name, PASSWORD)
            .await
            .unwrap();
    }
    let all = operators.list().await.unwrap();
    assert_eq!(all.len(), 1);
    assert!(all[0].is_owner() && all[0].name == "root");
    operators.enter("root").await;
    operators
        .newcomer(&bed, "ann", vec![grant(Role::Owner, None)])
        .await;
    operators.remove(&origin(), "root").await.unwrap();
    operators
        .ensure_owner(&origin(), "root", PASSWORD)
        .await
        .unwrap();
    assert!(operators.get("root").await.is_err(), "removed for good");
}
