//! Attempts to get in without the right to: each must fail, on whichever node it is made.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

use super::records::{SESSIONS, THROTTLE, USERS};
use super::test_bed::{Bed, ENV, OTHER_ENV, PASSWORD, START_MS};
use super::{Auth, Credentials, Reason};

async fn reason(node: &Auth, env: &str, token: &str) -> Reason {
    node.end_user(&node.at(env), token)
        .await
        .unwrap_err()
        .reason
}

#[tokio::test]
async fn forged_access_tokens_open_nothing() {
    let bed = Bed::new();
    let node = bed.node();
    let user = node.newcomer(ENV, "alice").await;
    node.end_user(&node.at(ENV), &user.access_token)
        .await
        .unwrap();
    let parts: Vec<&str> = user.access_token.split('.').collect();
    let decode = |part: &str| -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut claims = decode(parts[1]);
    claims["sub"] = json!("somebody-else");
    let mut none = decode(parts[0]);
    none["alg"] = json!("none");
    let mut unknown_key = decode(parts[0]);
    unknown_key["kid"] = json!("k99");
    let (foreign, _) = super::jws::SigningKey::generate().unwrap();
    let foreign = super::jws::SigningKey::new("k1", &foreign);
    for forged in [
        format!("{}.{}.", encode(&none), parts[1]),
        format!("{}.{}.{}", encode(&none), parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], encode(&claims), parts[2]),
        format!("{}.{}.{}", encode(&unknown_key), parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        foreign.sign(&decode(parts[1])).unwrap(),
        "x".repeat(5000),
        String::new(),
    ] {
        assert_eq!(
            reason(&node, ENV, &forged).await,
            Reason::Unauthenticated,
            "{forged}"
        );
    }
}

#[tokio::test]
async fn a_token_opens_its_own_environment_and_in_its_time() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    let user = a.newcomer(ENV, "alice").await;
    a.newcomer(OTHER_ENV, "alice").await;
    assert_eq!(
        reason(&a, OTHER_ENV, &user.access_token).await,
        Reason::Unauthenticated
    );
    let elsewhere = a.refresh(&a.at(OTHER_ENV), &user.refresh_token).await;
    assert_eq!(elsewhere.err().unwrap().reason, Reason::InvalidGrant);

    let life = a.limits.access_token_ms;
    bed.pass(life + 30_000);
    b.end_user(&b.at(ENV), &user.access_token)
        .await
        .expect("the clocks of nodes may differ by a minute");
    bed.pass(31_000);
    assert_eq!(
        reason(&b, ENV, &user.access_token).await,
        Reason::TokenExpired
    );
    bed.pass(-3 * life);
    assert_eq!(
        reason(&b, ENV, &user.access_token).await,
        Reason::Unauthenticated,
        "from the future"
    );
}

#[tokio::test]
async fn a_stolen_refresh_token_ends_the_whole_session() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    let stolen = a.newcomer(ENV, "alice").await;
    let mut latest: Credentials = stolen.clone();
    for _ in 0..3 {
        bed.pass(60_000);
        latest = a.refresh(&a.at(ENV), &latest.refresh_token).await.unwrap();
    }
    let refused = b
        .refresh(&b.at(ENV), &stolen.refresh_token)
        .await
        .err()
        .unwrap();
    assert_eq!(refused.reason, Reason::InvalidGrant);
    for token in [&latest.access_token, &stolen.access_token] {
        assert_eq!(reason(&a, ENV, token).await, Reason::Unauthenticated);
    }
    assert!(a.refresh(&a.at(ENV), &latest.refresh_token).await.is_err());
    assert!(bed.documents(ENV, SESSIONS).is_empty());
}

#[tokio::test]
async fn who_only_knows_a_session_id_cannot_end_it() {
    let bed = Bed::new();
    let node = bed.node();
    let first = node.newcomer(ENV, "alice").await;
    bed.pass(60_000);
    let second = node
        .refresh(&node.at(ENV), &first.refresh_token)
        .await
        .unwrap();
    let session = second.refresh_token.split('.').next().unwrap();
    for guess in [
        format!("{session}.0.{}", "00".repeat(32)),
        format!("{session}.1.{}", "00".repeat(32)),
        format!("{session}.999999999.{}", "00".repeat(32)),
        format!("{session}.-1.{}", "00".repeat(32)),
        session.to_owned(),
        "x".repeat(10_000),
    ] {
        let refused = node.refresh(&node.at(ENV), &guess).await.err().unwrap();
        assert_eq!(refused.reason, Reason::InvalidGrant, "{guess}");
        node.revoke(&node.at(ENV), &guess).await.unwrap();
    }
    node.end_user(&node.at(ENV), &second.access_token)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_deleted_users_tokens_open_nothing() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    let user = a.newcomer(ENV, "alice").await;
    b.delete_user(&b.at(ENV), &user.sub).await.unwrap();
    assert_eq!(
        reason(&a, ENV, &user.access_token).await,
        Reason::Unauthenticated
    );
    assert!(a.refresh(&a.at(ENV), &user.refresh_token).await.is_err());
    let refused = a
        .sign_in_with_password(&a.at(ENV), "alice", PASSWORD, true)
        .await;
    assert_eq!(
        refused.err().unwrap().reason,
        Reason::InvalidUsernameOrPassword
    );
    assert!(bed.documents(ENV, USERS).is_empty());
}

#[tokio::test]
async fn a_withdrawn_signing_key_is_withdrawn_everywhere() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    let user = a.newcomer(ENV, "alice").await;
    b.end_user(&b.at(ENV), &user.access_token).await.unwrap();
    b.rotate_signing_key(&b.at(ENV)).await.unwrap();
    assert_eq!(
        reason(&a, ENV, &user.access_token).await,
        Reason::Unauthenticated
    );
    let fresh = a.refresh(&a.at(ENV), &user.refresh_token).await.unwrap();
    b.end_user(&b.at(ENV), &fresh.access_token).await.unwrap();
    assert_eq!(a.published_keys(ENV).len(), 1);
}

#[tokio::test]
async fn guessing_is_slowed_down_on_all_nodes_together() {
    let bed = Bed::new();
    let nodes = [bed.node(), bed.node()];
    nodes[0].newcomer(ENV, "alice").await;
    for turn in 0..5 {
        let node = &nodes[turn % 2];
        let refused = node
            .sign_in_with_password(&node.at(ENV), "alice", "wrong-horse-1", true)
            .await;
        assert_eq!(
            refused.err().unwrap().reason,
            Reason::InvalidUsernameOrPassword
        );
    }
    for node in &nodes {
        for name in ["alice", "ALICE"] {
            let refused = node
                .sign_in_with_password(&node.at(ENV), name, PASSWORD, true)
                .await
                .err()
                .unwrap();
            assert_eq!(
                refused.reason,
                Reason::ResourceExhausted,
                "even with the right password"
            );
            assert_eq!(refused.retry_after_s, Some(1));
        }
    }
    nodes[0].newcomer(ENV, "robert").await;
    bed.pass(1000);
    nodes[1]
        .sign_in_with_password(&nodes[1].at(ENV), "alice", PASSWORD, true)
        .await
        .expect("who waits gets in");
    nodes[0]
        .sign_in_with_password(&nodes[0].at(ENV), "alice", PASSWORD, true)
        .await
        .expect("and has all tries again");
}

#[tokio::test]
async fn guesses_made_at_one_time_are_counted_one_by_one() {
    let bed = Bed::new();
    let node = Arc::new(bed.node());
    node.newcomer(ENV, "alice").await;
    let guesses = (0..40).map(|_| {
        let node = node.clone();
        tokio::spawn(async move {
            let scope = node.at(ENV);
            node.sign_in_with_password(&scope, "alice", "wrong-horse-1", true)
                .await
                .err()
                .unwrap()
                .reason
        })
    });
    let outcomes = futures::future::join_all(guesses).await;
    let tried = outcomes
        .into_iter()
        .filter(|outcome| *outcome.as_ref().unwrap() == Reason::InvalidUsernameOrPassword)
        .count();
    assert_eq!(tried, 5);
}

#[tokio::test]
async fn many_names_from_one_address_are_slowed_down_and_take_bounded_room() {
    let bed = Bed::new();
    let mut node = bed.node();
    node.limits.throttle_buckets = 8;
    node.limits.throttle_name_free = i64::MAX;
    let mut refused = 0;
    for turn in 0..60 {
        let name = format!("user-{turn}");
        let error = node
            .sign_in_with_password(&node.at(ENV), &name, PASSWORD, true)
            .await
            .err()
            .unwrap();
        refused += usize::from(error.reason == Reason::ResourceExhausted);
    }
    assert_eq!(refused, 10, "fifty are free");
    assert!(bed.documents(ENV, THROTTLE).len() <= 16);
}

/// A ticket as the server-side packages make it.
fn ticket(key_id: &str, private_key: &str, head: &Value, claims: &Value) -> String {
    let der = pem_body(private_key);
    let key = RsaKeyPair::from_pkcs8(&der).unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(head), part(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    let random = ring::rand::SystemRandom::new();
    key.sign(
        &RSA_PKCS1_SHA256,
        &random,
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!(
        "{key_id}/@@/{message}.{}",
        URL_SAFE_NO_PAD.encode(signature)
    )
}

fn pem_body(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

#[tokio::test]
async fn only_tickets_of_the_environments_own_key_sign_in() {
    let bed = Bed::new();
    let (a, b) = (bed.node(), bed.node());
    let key = a.create_ticket_key(&a.at(ENV)).await.unwrap();
    let foreign = a.create_ticket_key(&a.at(OTHER_ENV)).await.unwrap();
    let head = json!({ "alg": "RS256", "typ": "JWT" });
    let good = json!({
        "alg": "RS256", "env": ENV, "iat": START_MS, "exp": START_MS + 600_000, "uid": "own-id-1",
        "refresh": 3_600_000, "expire": START_MS + 86_400_000,
    });
    let first = ticket(&key.id, &key.private_key, &head, &good);
    let user = b
        .sign_in_with_ticket(&b.at(ENV), &first, true)
        .await
        .unwrap();
    let again = a
        .sign_in_with_ticket(&a.at(ENV), &first, true)
        .await
        .unwrap();
    assert_eq!(user.sub, again.sub);

    let change = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        ticket(&key.id, &key.private_key, &head, &claims)
    };
    let none = json!({ "alg": "none" });
    for bad in [
        ticket(&key.id, &foreign.private_key, &head, &good),
        ticket(&foreign.id, &foreign.private_key, &head, &good),
        ticket(&key.id, &key.private_key, &none, &good),
        change("env", json!(OTHER_ENV)),
        change("exp", json!(START_MS - 61_000)),
        change("exp", json!(START_MS / 1000)),
        change("iat", json!(START_MS + 61_000)),
        change("expire", json!(START_MS - 1)),
        change("uid", json!("a b")),
        change("uid", json!({ "$ne": 1 })),
        first.replace("/@@/", "/"),
        format!("{first}x"),
        "x".repeat(9000),
    ] {
        let refused = b.sign_in_with_ticket(&b.at(ENV), &bad, true).await;
        assert_eq!(
            refused.err().unwrap().reason,
            Reason::InvalidTicket,
            "{bad}"
        );
    }
    bed.pass(86_400_000 - 60_000);
    let late = a.refresh(&a.at(ENV), &user.refresh_token).await.unwrap();
    bed.pass(60_001);
    assert!(
        a.refresh(&a.at(ENV), &late.refresh_token).await.is_err(),
        "`expire` is the end"
    );

    assert!(a.delete_ticket_key(&a.at(ENV), &key.id).await.unwrap());
    let claims = json!({ "env": ENV, "exp": START_MS + 100 * 86_400_000, "uid": "own-id-1" });
    let withdrawn = ticket(&key.id, &key.private_key, &head, &claims);
    assert!(
        b.sign_in_with_ticket(&b.at(ENV), &withdrawn, true)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn identifiers_cannot_smuggle_queries_or_other_kinds() {
    let bed = Bed::new();
    let node = bed.node();
    let alice = node.newcomer(ENV, "alice").await;
    for name in ["device:x", "{\"$ne\":1}", "name:alice", "", "\0", "alice\0"] {
        let refused = node
            .sign_in_with_password(&node.at(ENV), name, PASSWORD, true)
            .await;
        assert!(refused.is_err(), "{name:?}");
    }
    let scope = node.at(ENV);
    assert!(node.user(&scope, "$ne").await.unwrap().is_none());
    node.end_user(&scope, &alice.access_token).await.unwrap();
}
