//! Garbage through the whole router: each action is answered with HTTP 200 and an envelope, each call of the REST with a
//! status and the same, none with a panic.

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

use super::stand_in::{StandIn, access_token};
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

/// One request of the REST and its answer, which must be one that a client can read.
async fn rest(app: &Router, method: &str, uri: &str, key: &str, body: Vec<u8>, what: &str) -> u16 {
    let Ok(request) = Request::builder()
        .method(method)
        .uri(uri)
        .header("authorization", key)
        .header("x-request-id", "s")
        .body(Body::from(body))
    else {
        // No client could send it either.
        return 0;
    };
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value =
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
    if status != StatusCode::OK {
        assert!(
            status.as_u16() < 500 || status == StatusCode::NOT_IMPLEMENTED,
            "{what}: {answer}"
        );
        assert_eq!(answer["requestId"], "s", "{what}: {answer}");
        assert!(
            answer["code"].is_string() && answer["message"].is_string(),
            "{what}: {answer}"
        );
    }
    status.as_u16()
}

const PREFIX: &str = "/v1/database/instances/(default)/databases/(default)";

/// Method, path and body of every call.
const CALLS: &[(&str, &str, &str)] = &[
    ("POST", "/collections", r#"{"collectionName":"c"}"#),
    ("POST", "/collections/c/documents", r#"{"data":[{"a":1}]}"#),
    (
        "GET",
        "/collections/c/documents?query=%7B%22a%22%3A1%7D&order=%5B%5D&projection=%7B%7D&offset=0&limit=5",
        "",
    ),
    ("GET", "/collections/c/documents?count=true&", ""),
    ("GET", "/collections/c/documents/x?transactionId=&", ""),
    (
        "PATCH",
        "/collections/c/documents",
        r#"{"query":{},"data":{"a":1},"multi":true,"upsert":false,"replaceMode":false}"#,
    ),
    (
        "PATCH",
        "/collections/c/documents/x",
        r#"{"data":{"a":1},"returnDoc":true}"#,
    ),
    (
        "POST",
        "/collections/c/documents/remove",
        r#"{"query":{},"multi":true}"#,
    ),
    (
        "POST",
        "/collections/c/documents/aggregations",
        r#"{"pipeline":[]}"#,
    ),
    ("POST", "/transactions", ""),
    ("POST", "/transactions/t/commit", ""),
    (
        "POST",
        "/commands",
        r#"{"commands":[{"find":"c","filter":{"a":1}},{"update":"c","updates":[{"q":{},"u":{"$set":{"a":1}}}]},{"delete":"c","deletes":[{"q":{},"limit":0}]}]}"#,
    ),
];

#[tokio::test]
async fn mutated_calls_of_the_rest_are_answered() {
    let app = app();
    let user = format!("Bearer {}", access_token("env-1", "ann", "genuine"));
    let keys = ["Bearer AKIDLIMITED.SKLIMITED", &user];
    for (method, path, body) in CALLS {
        let status = rest(
            &app,
            method,
            &format!("{PREFIX}{path}"),
            keys[0],
            body.as_bytes().to_vec(),
            path,
        )
        .await;
        assert!(
            matches!(status, 200 | 404 | 501),
            "{method} {path}: {status}"
        );
    }
    for seed in 0..6000 {
        let mut random = StdRng::seed_from_u64(seed);
        let (method, path, body) = *CALLS.choose(&mut random).unwrap();
        let mut uri = format!("{PREFIX}{path}").into_bytes();
        let mut body = body.as_bytes().to_vec();
        for _ in 0..random.random_range(1..6) {
            let text = if random.random() { &mut uri } else { &mut body };
            let at = random.random_range(0..text.len().max(1));
            match random.random_range(0..4) {
                _ if text.is_empty() => text.push(random.random()),
                0 => text[at] = random.random(),
                1 => drop(text.remove(at)),
                2 => text.insert(at, *b"{}[]\",:\\0$/%?&=".choose(&mut random).unwrap()),
                _ => text.truncate(at.max(1)),
            }
        }
        let Ok(uri) = String::from_utf8(uri) else {
            continue;
        };
        // What lies outside the door is not answered by it.
        if !uri.starts_with("/v1/database/i") || uri.contains("/panic") {
            continue;
        }
        rest(
            &app,
            method,
            &uri,
            keys.choose(&mut random).unwrap(),
            body,
            &format!("seed {seed}: {method} {uri}"),
        )
        .await;
    }
}

#[tokio::test]
async fn actions_of_apps_may_have_every_type_of_member() {
    let app = app();
    let token = access_token("env-1", "ann", "genuine");
    let values = [
        "null",
        "true",
        "-1",
        "1e300",
        "\"\"",
        "\"{\"",
        "{}",
        "[]",
        "[null]",
        "{\"$date\":{\"offset\":\"x\"}}",
        "\"eyJ..\"",
        "\"\\ud800\"",
    ];
    for action in ACTIONS {
        for member in MEMBERS
            .iter()
            .chain(&["access_token", "env", "seqId", "dataVersion"])
        {
            for value in values {
                let mut body = sane(action);
                body["access_token"] = json!(token);
                body["env"] = json!("env-1");
                body[*member] = json!("@@");
                let body = body.to_string().replace("\"@@\"", value);
                let what = format!("{action} {member} = {value}");
                let request = Request::post("/web?seqId=s")
                    .body(Body::from(body))
                    .unwrap();
                let response = app.clone().oneshot(request).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK, "{what}");
                let bytes = response.into_body().collect().await.unwrap().to_bytes();
                let answer: Value = serde_json::from_slice(&bytes).unwrap();
                assert_eq!(answer["requestId"], "s", "{what}: {answer}");
                assert_ne!(answer["code"], "SYS_ERR", "{what}: {answer}");
            }
        }
    }
}

#[tokio::test]
async fn mutated_access_tokens_are_refused() {
    let app = app();
    let genuine = access_token("env-1", "ann", "genuine");
    for seed in 0..2000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut token: Vec<char> = genuine.chars().collect();
        for _ in 0..random.random_range(1..8) {
            let at = random.random_range(0..token.len());
            match random.random_range(0..3) {
                0 => drop(token.remove(at)),
                1 => token.insert(at, *['.', '=', '-', ' ', '%'].choose(&mut random).unwrap()),
                _ => token[at] = char::from(random.random_range(b' '..=b'~')),
            }
        }
        let token: String = token.into_iter().collect();
        // The stand-in judges by the last part alone; whatever keeps it is for the real verifier to refuse.
        if token.trim().ends_with(".genuine") {
            continue;
        }
        let key = format!("Bearer {token}");
        let uri = format!("{PREFIX}/collections/c/documents?count=true");
        let status = rest(
            &app,
            "GET",
            &uri,
            &key,
            Vec::new(),
            &format!("seed {seed}: {token}"),
        )
        .await;
        assert!(
            matches!(status, 0 | 400 | 401),
            "seed {seed}: {token}: {status}"
        );
    }
}
