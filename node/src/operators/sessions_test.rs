//! Signing in, tokens, and the ways in which a sign-in ends, on every node.

use std::net::IpAddr;
use std::sync::Arc;

use super::limits::OperatorLimits;
use super::roles::Role;
use super::test_bed::{PASSWORD, grant, node, origin};
use super::{Operators, SignedIn};
use crate::auth::Reason;
use crate::auth::test_bed::Bed;

async fn bed() -> (Arc<Bed>, Arc<Operators>, Arc<Operators>) {
    let bed = Bed::new();
    let (here, there) = (node(&bed), node(&bed));
    here.newcomer(&bed, "root", vec![grant(Role::Owner, None)])
        .await;
    (bed, here, there)
}

async fn counts(operators: &Operators, signed_in: &SignedIn) -> bool {
    match operators.authenticate(&signed_in.access_token).await {
        Ok(operator) => {
            assert_eq!(operator.session, signed_in.operator.session);
            true
        }
        Err(error) => {
            assert_eq!(error.reason, Reason::Unauthenticated);
            false
        }
    }
}

#[tokio::test]
async fn a_sign_in_counts_on_every_node_until_it_is_ended_on_any() {
    let (_bed, here, there) = bed().await;
    let (one, other) = (here.enter("Root").await, here.enter("root").await);
    assert_eq!(one.operator.name, "root");
    assert!(counts(&there, &one).await);
    assert_eq!(there.sessions("root").await.unwrap().len(), 2);

    there.sign_out(&origin(), &one.operator).await.unwrap();
    assert!(!counts(&here, &one).await);
    assert!(here.refresh(&origin(), &one.refresh_token).await.is_err());
    assert!(here.again(&one.operator).await.is_err());
    assert!(counts(&here, &other).await, "the other one goes on");

    let revoked = there.revoke(&origin(), "root", None).await.unwrap();
    assert_eq!(revoked, 1);
    assert!(!counts(&here, &other).await);
}

#[tokio::test]
async fn passwords_roles_and_removal_are_in_force_with_their_commit() {
    let (bed, here, there) = bed().await;
    let developer = vec![grant(Role::Developer, None)];
    here.newcomer(&bed, "ann", developer.clone()).await;
    let ann = here.enter("ann").await;
    let viewer = vec![grant(Role::Viewer, Some("demo"))];
    here.set_grants(&origin(), &bed.map(), "ann", viewer.clone())
        .await
        .unwrap();
    let now = there.again(&ann.operator).await.unwrap();
    assert_eq!(now.grants, viewer, "no new sign-in is needed");

    there
        .set_password(&origin(), "ann", "another password")
        .await
        .unwrap();
    assert!(!counts(&here, &ann).await);
    let refused = here.sign_in(&origin(), None, "ann", PASSWORD).await;
    assert_eq!(
        refused.err().unwrap().reason,
        Reason::InvalidUsernameOrPassword
    );
    there
        .set_password(&origin(), "ann", PASSWORD)
        .await
        .unwrap();

    let ann = here.enter("ann").await;
    there.remove(&origin(), "ann").await.unwrap();
    assert!(!counts(&here, &ann).await);
    bed.pass(1);
    here.newcomer(&bed, "ann", developer).await;
    assert!(
        !counts(&here, &ann).await,
        "a sign-in of an earlier operator of that name"
    );
}

#[tokio::test]
async fn refresh_tokens_are_used_once_and_reuse_ends_the_sign_in() {
    let (bed, here, there) = bed().await;
    let limits = OperatorLimits::default();
    let first = here.enter("root").await;
    let second = there
        .refresh(&origin(), &first.refresh_token)
        .await
        .unwrap();
    assert_ne!(first.access_token, second.access_token);
    assert!(counts(&here, &first).await, "for a short while");
    let repeated = here.refresh(&origin(), &first.refresh_token).await.unwrap();
    assert_eq!(
        (repeated.access_token, repeated.refresh_token),
        (second.access_token.clone(), second.refresh_token.clone()),
        "the first answer may have been lost"
    );
    bed.pass(limits.access_overlap_ms);
    assert!(!counts(&here, &first).await);
    assert!(counts(&here, &second).await);

    // Somebody who only knows the session's id cannot end it.
    let forged = format!("{}.0.{}", first.operator.session, "0".repeat(64));
    assert!(here.refresh(&origin(), &forged).await.is_err());
    assert!(counts(&here, &second).await);

    let stolen = here.refresh(&origin(), &first.refresh_token).await;
    assert_eq!(stolen.err().unwrap().reason, Reason::Unauthenticated);
    assert!(!counts(&there, &second).await);
    let told = there.told().await;
    assert_eq!(
        told.last().unwrap(),
        "operator:root operator.session_end root ok"
    );
}

#[tokio::test]
async fn tokens_end_by_themselves() {
    let (bed, here, _) = bed().await;
    let limits = OperatorLimits::default();
    let mut signed_in = here.enter("root").await;
    bed.pass(limits.access_token_ms);
    assert!(!counts(&here, &signed_in).await);
    let began = signed_in.access_until_ms - limits.access_token_ms;
    // Used every few days it goes on, but not for ever.
    for _ in 0..4 {
        signed_in = here
            .refresh(&origin(), &signed_in.refresh_token)
            .await
            .unwrap();
        bed.pass(limits.idle_ms - 1);
    }
    signed_in = here
        .refresh(&origin(), &signed_in.refresh_token)
        .await
        .unwrap();
    bed.pass(began + limits.session_ms - signed_in.access_until_ms + limits.access_token_ms);
    let ended = here.refresh(&origin(), &signed_in.refresh_token).await;
    assert!(ended.is_err());
    here.sweep().await.unwrap();
    assert!(bed.documents("_cluster", "operator_sessions").is_empty());

    let idle = here.enter("root").await;
    bed.pass(limits.idle_ms);
    assert!(here.refresh(&origin(), &idle.refresh_token).await.is_err());
}

#[tokio::test]
async fn guessing_is_slowed_down_and_written_down_without_what_was_typed() {
    let (_bed, here, there) = bed().await;
    let address: Option<IpAddr> = "192.0.2.9".parse().ok();
    let reason = async |operators: &Operators, name: &str, password: &str| {
        let outcome = operators.sign_in(&origin(), address, name, password).await;
        outcome.err().map(|error| error.reason)
    };
    let typed = "my-password-in-the-wrong-field";
    assert_eq!(
        reason(&here, typed, "x").await,
        Some(Reason::InvalidUsernameOrPassword)
    );
    for operators in [&here, &there, &here, &there, &here] {
        assert_eq!(
            reason(operators, "root", "wrong").await,
            Some(Reason::InvalidUsernameOrPassword)
        );
    }
    for operators in [&here, &there] {
        assert_eq!(
            reason(operators, "root", PASSWORD).await,
            Some(Reason::ResourceExhausted),
            "on every node"
        );
    }
    let told = there.told().await;
    let refused = |line: &str| told.iter().filter(|told| told.as_str() == line).count();
    assert_eq!(
        refused("operator:root operator.sign_in root INVALID_CREDENTIALS"),
        5
    );
    assert_eq!(refused("unknown operator.sign_in  INVALID_CREDENTIALS"), 1);
    let all = format!("{:?}", there.log().await);
    for secret in [typed, PASSWORD, "wrong"] {
        assert!(!all.contains(secret) || secret == "wrong", "{all}");
    }
    assert!(all.contains("192.0.2.7"));
}

#[tokio::test]
async fn garbage_is_no_token_and_sign_ins_are_bounded() {
    let (_bed, here, _) = bed().await;
    let signed_in = here.enter("root").await;
    let session = &signed_in.operator.session;
    let garbage = [
        String::new(),
        "yop_".into(),
        "yop_.".into(),
        format!("yop_{session}."),
        format!("yop_{session}.{}", "0".repeat(64)),
        format!("yop_{session}.{}", "z".repeat(64)),
        format!("yop_nobody.{}", "0".repeat(64)),
        signed_in.access_token.replace("yop_", ""),
        signed_in.refresh_token.clone(),
        format!("yop_{}", "x".repeat(10_000)),
    ];
    for token in garbage {
        assert!(here.authenticate(&token).await.is_err(), "{token}");
        assert!(here.refresh(&origin(), &token).await.is_err() || token == signed_in.refresh_token);
    }
    let max = OperatorLimits::default().sessions_max;
    for _ in 0..max {
        here.enter("root").await;
    }
    assert_eq!(here.sessions("root").await.unwrap().len(), max);
}
