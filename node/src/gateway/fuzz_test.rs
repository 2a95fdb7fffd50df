//! Garbage through the whole router: each body is answered with HTTP 200 and an envelope, without a panic.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::stand_in::StandIn;
use super::{Limits, router};

const ACTIONS: &[&str] = &[
    "database.addCollection",
    "database.insertDocument",
    "database.getDocument",
    "database.calculateDocument",
    "database.modifyDocument",
    "database.modifyAndReturnDoc",
    "database.removeDocument",
    "database.addDocument",
    "database.queryDocument",
    "database.countDocument",
    "database.updateDocument",
    "database.deleteDocument",
    "database.aggregateDocuments",
];

const MEMBERS: &[&str] = &[
    "_id",
    "action",
    "collectionName",
    "data",
    "database",
    "envName",
    "instance",
    "limit",
    "merge",
    "multi",
    "offset",
    "order",
    "projection",
    "query",
    "queryType",
    "sessionToken",
    "transactionId",
    "upsert",
];

async fn envelope(app: &Router, key: &str, body: Vec<u8>, what: &str) -> Value {
    let request = Request::post("/admin?seqId=s")
        .header("authorization", key)
        .body(Body::from(body))
        .unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{what}");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value =
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(answer["requestId"], "s", "{what}: {answer}");
    assert_ne!(answer["code"], "SYS_ERR", "{what}: {answer}");
    answer
}

fn app() -> Router {
    router(Arc::new(StandIn::default()).state(Limits::default()))
}

const KEY: &str = "Bearer AKIDEXAMPLE.SKEXAMPLE";

/// A well-formed request of `action`, from which the tests stray.
fn sane(action: &str) -> Value {
    json!({"action": action, "collectionName": "c", "envName": "env-1", "query": "{\"a\":1}", "data": "{\"a\":1}"})
}

#[tokio::test]
async fn every_member_may_have_every_type() {
    let huge = format!("1{}", "0".repeat(400));
    let long = format!("\"{}\"", "x".repeat(100_000));
    let deep = format!("\"{}{}\"", "[".repeat(500), "]".repeat(500));
    let values: &[&str] = &[
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "1e300",
        "18446744073709551615",
        &huge,
        "\"\"",
        "\"x\"",
        "\"{\"",
        "\"{}\"",
        "\"[]\"",
        "\"null\"",
        "\"{\\\"$set\\\":5}\"",
        "\"{\\\"$date\\\":1}\"",
        "{}",
        "[]",
        "[[]]",
        "[null]",
        "[{}]",
        "{\"$date\":1}",
        "{\"$oid\":1}",
        "{\"a\":{\"$numberInt\":\"x\"}}",
        "\"\\ud800\"",
        "\"\\u0000\"",
        &long,
        &deep,
        "[\"{}\",5]",
    ];
    let app = app();
    for action in ACTIONS {
        for member in MEMBERS {
            for value in values {
                let mut body = sane(action);
                body[*member] = json!("@@");
                let body = body.to_string().replace("\"@@\"", value);
                let shown: String = format!("{action} {member} = {value}")
                    .chars()
                    .take(200)
                    .collect();
                envelope(&app, KEY, body.into_bytes(), &shown).await;
            }
        }
    }
}

#[tokio::test]
async fn broken_bodies_are_refused() {
    let app = app();
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(200_000), close.repeat(200_000));
    let wide = format!(
        "{{{}\"z\":1}}",
        (0..200_000)
            .map(|i| format!("\"m{i}\":1,"))
            .collect::<String>()
    );
    for body in [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        deep("[", ""),
        wide,
        "{".into(),
        "\"".into(),
        "nul".into(),
        "{\"a\":1}{}".into(),
        "[1,2]".into(),
        String::new(),
        "\u{feff}{}".into(),
    ] {
        let shown: String = body.chars().take(40).collect();
        let answer = envelope(&app, KEY, body.into_bytes(), &shown).await;
        assert_eq!(answer["code"], "INVALID_PARAM", "{shown}");
    }
    let answer = envelope(&app, KEY, vec![0xff; 1000], "not UTF-8").await;
    assert_eq!(answer["code"], "INVALID_PARAM");
}

#[tokio::test]
async fn mutated_requests_are_answered() {
    let app = app();
    for seed in 0..4000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut body = sane(ACTIONS.choose(&mut random).unwrap())
            .to_string()
            .into_bytes();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..body.len().max(1));
            match random.random_range(0..4) {
                _ if body.is_empty() => body.push(random.random()),
                0 => body[at] = random.random(),
                1 => drop(body.remove(at)),
                2 => body.insert(at, *b"{}[]\",:\\0$".choose(&mut random).unwrap()),
                _ => body.truncate(at.max(1)),
            }
        }
        envelope(&app, KEY, body, &format!("seed {seed}")).await;
    }
}

#[tokio::test]
async fn garbled_credentials_are_refused() {
    let app = app();
    let genuine = "TC3-HMAC-SHA256 Credential=AKIDEXAMPLE/2023-11-14/tcb/tc3_request, SignedParams=action;data, SignedHeaders=host, Signature=00";
    for seed in 0..2000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut key: Vec<char> = if random.random() {
            genuine.chars().collect()
        } else {
            KEY.chars().collect()
        };
        for _ in 0..random.random_range(1..8) {
            let at = random.random_range(0..key.len());
            match random.random_range(0..3) {
                0 => drop(key.remove(at)),
                1 => key.insert(
                    at,
                    *[',', ';', '=', '/', ' ', '%'].choose(&mut random).unwrap(),
                ),
                _ => key[at] = char::from(random.random_range(b' '..=b'~')),
            }
        }
        let key: String = key.into_iter().collect();
        let body = sane("database.getDocument").to_string().into_bytes();
        let answer = envelope(&app, &key, body, &format!("seed {seed}: {key}")).await;
        assert_eq!(
            answer["code"] == "SIGN_PARAM_INVALID",
            key != KEY,
            "seed {seed}: {key}"
        );
    }
}
