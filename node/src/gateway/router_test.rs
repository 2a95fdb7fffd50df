//! The router as clients see it: requests in, envelopes out, and what reaches the node between.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bson::rawdoc;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use yunbase_docdb::op::Op;

use super::stand_in::{Frozen, SESSION_TOKEN, StandIn};
use super::{GatewayState, Limits, router};
use crate::call::{Caller, ReadLevel};

pub(super) const KEY: &str = "Bearer AKIDEXAMPLE.SKEXAMPLE";

pub(super) async fn post(
    node: &Arc<StandIn>,
    limits: Limits,
    request: Request<Body>,
) -> (StatusCode, HeaderMap, Value) {
    let response = router(node.state(limits)).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (
        parts.status,
        parts.headers,
        serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    )
}

pub(super) fn request(key: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post("/admin?env=env-1&seqId=seq-1")
        .header("authorization", key)
        .body(body.into())
        .unwrap()
}

/// Sends one action as the administrator and returns the answer without its envelope's id.
pub(super) async fn act(node: &Arc<StandIn>, mut body: Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .entry("envName")
        .or_insert(json!("env-1"));
    let (status, _, mut answer) =
        post(node, Limits::default(), request(KEY, body.to_string())).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer["requestId"], "seq-1", "{answer}");
    answer.as_object_mut().unwrap().remove("requestId");
    answer
}

pub(super) async fn code_of(node: &Arc<StandIn>, body: Value) -> String {
    let shown = body.to_string();
    let answer = act(node, body).await;
    assert!(
        answer["message"]
            .as_str()
            .is_some_and(|message| !message.is_empty()),
        "{shown} -> {answer}"
    );
    answer["code"].as_str().unwrap().to_owned()
}

pub(super) fn node() -> Arc<StandIn> {
    Arc::new(StandIn::default())
}

#[tokio::test]
async fn a_call_carries_who_where_and_until_when() {
    let node = node();
    act(
        &node,
        json!({"action": "database.addCollection", "collectionName": "todo"}),
    )
    .await;
    let call = node.calls.lock()[0].clone();
    assert_eq!(
        call.caller,
        Caller::Administrator {
            key_id: "AKIDEXAMPLE".into()
        }
    );
    assert_eq!(
        (call.env.as_str(), call.request_id.as_str()),
        ("env-1", "seq-1")
    );
    assert_eq!(
        (call.read_level, call.session),
        (ReadLevel::Linearizable, None)
    );
    assert_eq!(
        call.op,
        Op::CreateCollection {
            collection: "todo".into()
        }
    );
    assert!(call.deadline > std::time::Instant::now());
}

#[tokio::test]
async fn ids_and_traces_come_back() {
    let node = node();
    let body =
        json!({"action": "database.calculateDocument", "collectionName": "c", "envName": "env-1"})
            .to_string();
    let mut with_header = request(KEY, body.clone());
    with_header
        .headers_mut()
        .insert("x-request-id", "mine".parse().unwrap());
    with_header
        .headers_mut()
        .insert("x-tcb-trace", "trace-1".parse().unwrap());
    let (_, headers, answer) = post(&node, Limits::default(), with_header).await;
    assert_eq!(answer["requestId"], "mine");
    assert_eq!(headers["x-request-id"], "mine");
    assert_eq!(headers["x-tcb-trace"], "trace-1");
    let bare = Request::post("/admin")
        .header("authorization", KEY)
        .body(Body::from(body))
        .unwrap();
    let (_, _, answer) = post(&node, Limits::default(), bare).await;
    assert_eq!(answer["requestId"].as_str().unwrap().len(), 24);
}

#[tokio::test]
async fn environments_are_settled_at_the_door() {
    let node = node();
    let with = |key: &str, env: Value| {
        let mut body = json!({"action": "database.calculateDocument", "collectionName": "c"});
        body["envName"] = env;
        Request::post("/admin")
            .header("authorization", key)
            .body(Body::from(body.to_string()))
            .unwrap()
    };
    let limited = "Bearer AKIDLIMITED.SKLIMITED";
    for (key, env, expected) in [
        (KEY, json!("env-2"), Value::Null),
        (KEY, json!("nowhere"), json!("INVALID_ENV")),
        (KEY, json!(""), json!("INVALID_ENV")),
        (KEY, json!(5), json!("INVALID_PARAM")),
        (
            KEY,
            json!({"database": "env-2", "default": "nowhere"}),
            Value::Null,
        ),
        (
            KEY,
            json!({"storage": "nowhere", "default": "env-2"}),
            Value::Null,
        ),
        (KEY, json!({"database": "nowhere"}), json!("INVALID_ENV")),
        (KEY, json!({"database": 5}), json!("INVALID_PARAM")),
        (limited, json!("env-2"), Value::Null),
        (limited, json!(""), Value::Null),
        (limited, json!("env-1"), json!("PERMISSION_DENIED")),
        (limited, json!("nowhere"), json!("PERMISSION_DENIED")),
        (
            "Bearer AKIDLIMITED.wrong",
            json!("env-2"),
            json!("SIGN_PARAM_INVALID"),
        ),
    ] {
        let (status, _, answer) = post(&node, Limits::default(), with(key, env.clone())).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(answer["code"], expected, "{key} {env}");
    }
    assert_eq!(
        node.calls
            .lock()
            .iter()
            .map(|call| call.env.as_str())
            .collect::<Vec<_>>(),
        ["env-2"; 5]
    );
}

#[tokio::test]
async fn temporary_keys_count_with_their_token_and_until_their_end() {
    let with = |key: &str, token: Value| {
        let body = json!({"action": "database.calculateDocument", "collectionName": "c", "envName": "env-1", "sessionToken": token});
        let key = format!("Bearer {key}.SKEXAMPLE");
        request(&key, body.to_string())
    };
    for (key, token, accepted) in [
        ("AKIDEXAMPLE", json!(""), true),
        ("AKIDEXAMPLE", json!(null), true),
        ("AKIDEXAMPLE", json!(SESSION_TOKEN), false),
        ("AKIDTEMPORARY", json!(SESSION_TOKEN), true),
        ("AKIDTEMPORARY", json!("another"), false),
        ("AKIDTEMPORARY", json!(""), false),
        ("AKIDENDED", json!(SESSION_TOKEN), false),
    ] {
        let (_, _, answer) = post(&node(), Limits::default(), with(key, token.clone())).await;
        let expected = if accepted {
            json!(null)
        } else {
            json!("SIGN_PARAM_INVALID")
        };
        assert_eq!(answer["code"], expected, "{key} {token}: {answer}");
        assert!(!answer.to_string().contains(SESSION_TOKEN), "{answer}");
    }
}

#[tokio::test]
async fn aggregations_of_both_families() {
    let node = node();
    let stages = json!([
        {"stageKey": "$match", "stageValue": r#"{"n":{"$gt":{"$numberInt":"1"}},"at":{"$date":{"$numberLong":"5"}}}"#},
        {"stageKey": "$limit", "stageValue": "3"},
        {"stageKey": "$count", "stageValue": r#""total""#},
        {"stageKey": "$skip", "stageValue": 4},
        {"stageKey": "$sort", "stageValue": {"a": -1}},
    ]);
    let body =
        json!({"action": "database.aggregateDocuments", "collectionName": "c", "stages": stages});
    assert_eq!(
        act(&node, body).await["data"],
        json!({"list": [
            r#"{"_id":"a","n":{"$numberInt":"1"},"t":"\"x\""}"#,
            r#"{"_id":"b"}"#,
        ]})
    );
    let Op::Aggregate { pipeline, .. } = node.last_op() else {
        panic!("an aggregation")
    };
    assert_eq!(
        pipeline,
        [
            rawdoc! { "$match": { "n": { "$gt": 1 }, "at": bson::DateTime::from_millis(5) } },
            rawdoc! { "$limit": 3 },
            rawdoc! { "$count": "total" },
            rawdoc! { "$skip": 4 },
            rawdoc! { "$sort": { "a": -1 } },
        ]
    );
    let body = json!({"action": "database.aggregate", "collectionName": "c", "stages": []});
    let answer = act(&node, body).await;
    let list: Vec<String> = serde_json::from_str(answer["data"]["list"].as_str().unwrap()).unwrap();
    assert_eq!(list[0], r#"{"_id":"a","n":{"$numberInt":"1"},"t":"\"x\""}"#);
    assert_eq!(list.len(), 2);
    let Op::Aggregate { pipeline, .. } = node.last_op() else {
        panic!("an aggregation")
    };
    assert!(pipeline.is_empty());
    for stages in [
        json!([{"stageKey": "$limit", "stageValue": "1,2"}]),
        json!([{"stageKey": "$limit", "stageValue": "1],[2"}]),
        json!([{"stageKey": "$limit", "stageValue": ""}]),
        json!([{"stageKey": "$limit"}]),
        json!([{"$limit": 1}]),
        json!({"stageKey": "$limit"}),
        json!(7),
    ] {
        let body = json!({"action": "database.aggregateDocuments", "collectionName": "c", "stages": stages});
        assert_eq!(code_of(&node, body).await, "INVALID_PARAM", "{stages}");
    }
}

#[tokio::test]
async fn what_is_not_there_yet_says_so() {
    let node = node();
    for action in [
        "storage.noSuchThing",
        "functions.invokeFunction",
        "nonsense",
    ] {
        let answer = act(&node, json!({"action": action, "collectionName": "c"})).await;
        assert_eq!(answer["code"], "INVALID_ACTION");
        assert!(
            answer["message"].as_str().unwrap().contains(action),
            "{answer}"
        );
    }
    let other =
        json!({"action": "database.getDocument", "collectionName": "c", "database": "other"});
    assert_eq!(code_of(&node, other).await, "INVALID_PARAM");
    let multipart = Request::post("/admin")
        .header("authorization", KEY)
        .header("content-type", "multipart/form-data; boundary=x")
        .body(Body::from("--x--"))
        .unwrap();
    assert_eq!(
        post(&node, Limits::default(), multipart).await.2["code"],
        "INVALID_PARAM"
    );
    assert!(node.calls.lock().is_empty());
}

#[tokio::test]
async fn transactions_of_both_families() {
    let node = node();
    let begun = act(&node, json!({"action": "database.startTransaction"})).await;
    assert_eq!(begun["transactionId"], "t");
    let within = json!({"action": "database.insertDocument", "collectionName": "c", "data": [r#"{"_id":"a","n":1}"#], "transactionId": "t"});
    let added = act(&node, within).await;
    assert_eq!(added["data"]["insertedIds"], json!(["a"]));
    let own = json!({"action": "database.getInTransaction", "collectionName": "c", "query": r#"{"_id":"a"}"#, "transactionId": "t"});
    let found = act(&node, own).await;
    let text = found["data"].as_str().expect("a text");
    let document: Value = serde_json::from_str(text).expect("EJSON");
    assert_eq!(document["_id"], "a");
    let removed = act(
        &node,
        json!({"action": "database.deleteDocInTransaction", "collectionName": "c", "query": r#"{"_id":"a"}"#, "transactionId": "t"}),
    );
    assert_eq!(removed.await["deleted"], "1");
    let ended = act(
        &node,
        json!({"action": "database.commitTransaction", "transactionId": "t"}),
    );
    assert_eq!(ended.await["transactionId"], "t");
    for action in [
        "database.commitTransaction",
        "database.abortTransaction",
        "database.getDocument",
    ] {
        let gone = json!({"action": action, "collectionName": "c", "transactionId": "gone"});
        assert_eq!(code_of(&node, gone).await, "DATABASE_TRANSACTION_NOT_EXIST");
    }
    let nameless = json!({"action": "database.commitTransaction"});
    assert_eq!(code_of(&node, nameless).await, "INVALID_PARAM");
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let body = json!({"action": "database.getDocument", "collectionName": "panic"});
    assert_eq!(code_of(&node(), body).await, "SYS_ERR");
}

#[tokio::test]
async fn a_slow_node_is_answered_for() {
    let limits = Limits {
        request_deadline: Duration::from_millis(30),
        request_deadline_grace: Duration::ZERO,
        ..Limits::default()
    };
    let body =
        json!({"action": "database.getDocument", "collectionName": "slow", "envName": "env-1"})
            .to_string();
    let (status, _, answer) = post(&node(), limits, request(KEY, body)).await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::OK, &json!("SERVER_TIMEOUT"))
    );
}

#[tokio::test]
async fn too_much_at_once_is_refused() {
    let limits = Limits {
        requests_in_flight_max: 1,
        request_deadline: Duration::from_millis(100),
        request_deadline_grace: Duration::ZERO,
        ..Limits::default()
    };
    let app = router(node().state(limits));
    let body = || {
        json!({"action": "database.getDocument", "collectionName": "slow", "envName": "env-1"})
            .to_string()
    };
    let (one, other) = tokio::join!(
        app.clone().oneshot(request(KEY, body())),
        app.oneshot(request(KEY, body()))
    );
    let mut codes = Vec::new();
    for response in [one, other] {
        let bytes = response
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes();
        codes.push(
            serde_json::from_slice::<Value>(&bytes).unwrap()["code"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    codes.sort();
    assert_eq!(codes, ["EXCEED_CONCURRENT_REQUEST_LIMIT", "SERVER_TIMEOUT"]);
}

#[tokio::test]
async fn large_requests_are_refused_in_the_protocol() {
    let limits = Limits {
        body_bytes_max: 1000,
        header_bytes_max: 500,
        ..Limits::default()
    };
    let (status, _, answer) = post(&node(), limits.clone(), request(KEY, "x".repeat(2000))).await;
    assert_eq!(
        (status, &answer["code"]),
        (StatusCode::OK, &json!("EXCEED_REQUEST_SIZE_LIMIT"))
    );
    let mut wide = request(KEY, "{}");
    wide.headers_mut()
        .insert("x-filler", "x".repeat(600).parse().unwrap());
    assert_eq!(
        post(&node(), limits, wide).await.2["code"],
        "EXCEED_REQUEST_SIZE_LIMIT"
    );
}

#[tokio::test]
async fn other_methods_and_paths_are_not_the_protocol() {
    for (method, path, status) in [("GET", "/admin", 405), ("POST", "/nowhere", 404)] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .unwrap();
        assert_eq!(
            post(&node(), Limits::default(), request).await.0.as_u16(),
            status
        );
    }
}

/// Requests as the unmodified packages sent them go through to the node, and mean the same from all of them.
#[tokio::test]
async fn recorded_requests_of_the_packages_are_carried_out() {
    let recorded: Vec<Value> =
        serde_json::from_str(include_str!("testdata/requests.json")).unwrap();
    for request in recorded {
        let node = node();
        let clock = Arc::new(Frozen(request["receivedAtUnixMs"].as_i64().unwrap()));
        let app = router(GatewayState {
            clock,
            ..node.state(Limits::default())
        });
        let mut sent = Request::post(request["url"].as_str().unwrap());
        for (name, value) in request["headers"].as_object().unwrap() {
            sent = sent.header(name, value.as_str().unwrap());
        }
        let body = request["body"].as_str().unwrap().to_owned();
        let response = app
            .oneshot(sent.body(Body::from(body)).unwrap())
            .await
            .unwrap();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        let client = &request["client"];
        assert_eq!(answer["code"], Value::Null, "{client}: {answer}");
        match node.last_op() {
            Op::Insert {
                collection,
                documents,
            } => {
                assert_eq!(collection, "compat");
                let id = documents[0].get_str("_id").unwrap();
                let at = bson::DateTime::from_millis(5);
                assert_eq!(
                    documents[0],
                    rawdoc! { "_id": id, "t": " \u{fc}n\u{ef} ", "n": 1.5, "d": at },
                    "{client}"
                );
            }
            Op::Find { find, .. } => {
                let regex = bson::Regex {
                    pattern: bson::raw::cstr!("x").into(),
                    options: bson::raw::cstr!("i").into(),
                };
                assert_eq!(
                    find.filter,
                    rawdoc! { "a": { "$gt": 1 }, "r": regex },
                    "{client}"
                );
                assert_eq!(find.limit, Some(3));
            }
            other => panic!("{client}: {other:?}"),
        }
    }
}
