//! `/v1/database/…` as apps see it: paths and methods in, statuses and EJSON objects out.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use bson::{Bson, doc, rawdoc};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use yunbase_docdb::op::{FindOp, Op, UpdateOp};

use super::stand_in::{StandIn, access_token};
use super::{Limits, router};
use crate::call::Caller;

const PREFIX: &str = "/v1/database/instances/(default)/databases/(default)";
const KEY: &str = "Bearer AKIDLIMITED.SKLIMITED";

fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("{PREFIX}{path}"))
        .header("authorization", KEY)
        .header("content-type", "application/json; charset=utf-8")
        .header("x-request-id", "r-1")
        .body(body.into())
        .unwrap()
}

async fn opened(response: Response<Body>) -> (StatusCode, HeaderMap, Value) {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    (parts.status, parts.headers, answer)
}

async fn send(node: &Arc<StandIn>, request: Request<Body>) -> (u16, Value) {
    let app = router(node.state(Limits::default()));
    let (status, headers, answer) = opened(app.oneshot(request).await.unwrap()).await;
    assert_eq!(headers["x-request-id"], "r-1");
    assert!(
        headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/json")
    );
    if status != StatusCode::OK {
        assert_eq!(answer["requestId"], "r-1", "{answer}");
        assert!(
            answer["message"]
                .as_str()
                .is_some_and(|message| !message.is_empty())
        );
    }
    (status.as_u16(), answer)
}

async fn call(node: &Arc<StandIn>, method: &str, path: &str, body: Value) -> Value {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let (status, answer) = send(node, request(method, path, body)).await;
    assert_eq!(status, 200, "{method} {path}: {answer}");
    answer
}

async fn refused(node: &Arc<StandIn>, method: &str, path: &str, body: &str) -> (u16, String) {
    let (status, answer) = send(node, request(method, path, body.to_owned())).await;
    (
        status,
        answer["code"].as_str().unwrap_or_default().to_owned(),
    )
}

fn node() -> Arc<StandIn> {
    Arc::new(StandIn::default())
}

fn found(node: &StandIn) -> FindOp {
    match node.last_op() {
        Op::Find { find, .. } => find,
        other => panic!("{other:?}"),
    }
}

fn updated(node: &StandIn) -> UpdateOp {
    match node.last_op() {
        Op::Update { update, .. } => update,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn callers_are_told_apart_by_their_credentials() {
    let node = node();
    let with = |authorization: Option<&str>| {
        let mut request = request("GET", "/collections/c/documents?count=true", "");
        request.headers_mut().remove("authorization");
        if let Some(value) = authorization {
            request
                .headers_mut()
                .insert("authorization", value.parse().unwrap());
        }
        request
    };
    let token = |signature| format!("Bearer {}", access_token("env-1", "ann", signature));
    for (authorization, status, code) in [
        (None, 401, "MISSING_CREDENTIALS"),
        (Some(""), 401, "MISSING_CREDENTIALS"),
        (Some("Bearer "), 401, "MISSING_CREDENTIALS"),
        (Some("Basic eDp5"), 401, "INVALID_CREDENTIALS"),
        (Some("Bearer nonsense"), 401, "INVALID_CREDENTIALS"),
        (Some("Bearer AKIDEXAMPLE.wrong"), 401, "INVALID_CREDENTIALS"),
        (
            Some("Bearer AKIDTEMPORARY.SKEXAMPLE"),
            401,
            "INVALID_CREDENTIALS",
        ),
        (Some(&*token("forged")), 401, "INVALID_CREDENTIALS"),
        (Some(&*token("expired")), 401, "ACCESS_TOKEN_EXPIRED"),
        // It opens all environments, and nothing says which is meant.
        (Some("Bearer AKIDEXAMPLE.SKEXAMPLE"), 400, "INVALID_ENV"),
    ] {
        let (got, answer) = send(&node, with(authorization)).await;
        assert_eq!(
            (got, answer["code"].as_str()),
            (status, Some(code)),
            "{authorization:?}"
        );
    }
    assert!(node.calls.lock().is_empty());
    assert_eq!(send(&node, with(Some(KEY))).await.0, 200);
    assert_eq!(send(&node, with(Some(&token("genuine")))).await.0, 200);
    let calls = node.calls.lock().clone();
    let key_id = "AKIDLIMITED".to_owned();
    assert_eq!(calls[0].caller, Caller::Administrator { key_id });
    assert_eq!(
        (calls[0].env.as_str(), calls[1].env.as_str()),
        ("env-2", "env-1")
    );
    assert!(matches!(&calls[1].caller, Caller::User(user) if user.uid == "ann"));
}

#[tokio::test]
async fn the_environment_is_stated_or_follows_from_key_or_host() {
    let node = node();
    let with = |query: &str, host: &str, key: &str| {
        let path = format!("/collections/c/documents?count=true{query}");
        let mut request = request("GET", &path, "");
        request.headers_mut().insert("host", host.parse().unwrap());
        request
            .headers_mut()
            .insert("authorization", key.parse().unwrap());
        request
    };
    let wide = "Bearer AKIDEXAMPLE.SKEXAMPLE";
    for (query, host, key, env) in [
        ("&env=env-1", "env-2.api.example", wide, "env-1"),
        ("", "env-2.api.example:7600", wide, "env-2"),
        ("", "env-1.api.example", KEY, "env-2"),
    ] {
        assert_eq!(send(&node, with(query, host, key)).await.0, 200);
        assert_eq!(node.calls.lock().last().unwrap().env, env, "{query} {host}");
    }
    let (status, answer) = send(&node, with("&env=env-1", "x", KEY)).await;
    assert_eq!(
        (status, &answer["code"]),
        (403, &json!("PERMISSION_DENIED"))
    );
}

#[tokio::test]
async fn documents_are_added_found_and_counted() {
    let node = node();
    assert_eq!(
        call(
            &node,
            "POST",
            "/collections",
            json!({"collectionName": "c"})
        )
        .await,
        json!({})
    );
    let data = json!({"data": [{"_id": "a b", "n": 1.5, "at": {"$date": 5}}, {"n": 2}]});
    let added = call(&node, "POST", "/collections/c/documents", data).await;
    assert_eq!(added["insertedIds"][0], "a b");
    assert_eq!(added["insertedIds"][1].as_str().unwrap().len(), 32);
    let stored =
        json!({"_id": "a b", "n": {"$numberDouble": "1.5"}, "at": {"$date": {"$numberLong": "5"}}});
    let list = call(
        &node,
        "GET",
        "/collections/c/documents?query=%7B%22_id%22%3A%22a%20b%22%7D&projection=%7B%7D&",
        Value::Null,
    )
    .await;
    assert_eq!(
        list,
        json!({"list": [stored], "offset": 0, "limit": 100, "total": 1})
    );
    assert_eq!(
        call(
            &node,
            "GET",
            "/collections/c/documents/a%20b?transactionId=&",
            Value::Null
        )
        .await,
        stored
    );
    assert_eq!(
        call(
            &node,
            "GET",
            "/collections/c/documents?count=true&",
            Value::Null
        )
        .await,
        json!({"total": 2})
    );
    let order = "%5B%7B%22field%22%3A%22n%22%2C%22direction%22%3A%22desc%22%7D%5D";
    let path = format!(
        "/collections/%E6%95%B0/documents?query=%7B%22n%22%3A%7B%22%24gt%22%3A%7B%22%24numberInt%22%3A%221%22%7D%7D%7D&order={order}&projection=%7B%22n%22%3A1%7D&offset=3&limit=2000"
    );
    call(&node, "GET", &path, Value::Null).await;
    let expected = FindOp {
        filter: rawdoc! { "n": { "$gt": 1 } },
        projection: rawdoc! { "n": 1 },
        sort: rawdoc! { "n": -1 },
        skip: 3,
        limit: Some(1000),
        after: Vec::new(),
    };
    assert_eq!(
        node.last_op(),
        Op::Find {
            collection: "\u{6570}".into(),
            find: expected
        }
    );
}

#[tokio::test]
async fn an_id_in_a_path_may_be_text_or_number() {
    let node = node();
    for (id, ids) in [
        ("x", vec![Bson::from("x")]),
        ("7", vec!["7".into(), Bson::Int64(7)]),
        ("-0.5", vec!["-0.5".into(), Bson::Double(-0.5)]),
        ("007", vec!["007".into()]),
        ("NaN", vec!["NaN".into()]),
        ("a/b", vec!["a/b".into()]),
    ] {
        let path = format!("/collections/c/documents/{id}");
        assert_eq!(
            refused(&node, "GET", &path, "").await,
            (404, "DOCUMENT_NOT_FOUND".into())
        );
        let find = found(&node);
        let filter = match ids.as_slice() {
            [one] => doc! { "_id": one },
            several => doc! { "_id": { "$in": several } },
        };
        assert_eq!(
            find.filter,
            bson::RawDocumentBuf::try_from(&filter).unwrap(),
            "{id}"
        );
        assert_eq!((find.sort, find.limit), (rawdoc! { "_id": -1 }, Some(1)));
    }
}

#[tokio::test]
async fn updates_merge_unless_they_replace() {
    let node = node();
    let path = "/collections/c/documents";
    let with = |data: Value, replace: bool| json!({"query": {"_id": "x"}, "data": data, "multi": false, "upsert": true, "replaceMode": replace});
    let answer = call(&node, "PATCH", path, with(json!({"n": 1}), false)).await;
    assert_eq!(
        answer,
        json!({"matched": 1, "updated": 1, "upsert_id": "new", "upserted_id": "new"})
    );
    let sent = updated(&node);
    assert_eq!(
        (sent.replace, sent.upsert, sent.multi),
        (false, true, false)
    );
    assert_eq!(sent.update, rawdoc! { "$set": { "n": 1 } });
    call(&node, "PATCH", path, with(json!({"n": 1}), true)).await;
    assert_eq!(
        (updated(&node).replace, updated(&node).update),
        (true, rawdoc! { "n": 1 })
    );
    let operators = json!({"query": {}, "data": {"$inc": {"n": 1}}, "multi": true, "upsert": false, "replaceMode": false});
    call(&node, "PATCH", path, operators).await;
    assert!(updated(&node).multi);
    let nothing =
        json!({"query": {}, "data": {}, "multi": false, "upsert": false, "replaceMode": false});
    assert_eq!(
        call(&node, "PATCH", path, nothing).await,
        json!({"matched": 0, "updated": 0})
    );
    let one = call(
        &node,
        "PATCH",
        "/collections/c/documents/x",
        json!({"data": {"n": 1}, "returnDoc": true}),
    )
    .await;
    assert_eq!(
        one,
        json!({"updated": 1, "doc": {"_id": "x", "n": {"$numberInt": "1"}}})
    );
    let one = call(
        &node,
        "PATCH",
        "/collections/c/documents/x",
        json!({"data": {"n": 1}}),
    )
    .await;
    assert_eq!(one, json!({"updated": 1}));
}

#[tokio::test]
async fn some_platforms_name_the_method_in_a_header() {
    let node = node();
    let body = json!({"query": {}, "data": {"n": 1}, "multi": true}).to_string();
    let mut request = request("POST", "/collections/c/documents", body);
    request
        .headers_mut()
        .insert("x-http-method-override", "PATCH".parse().unwrap());
    assert_eq!(send(&node, request).await.0, 200);
    assert!(updated(&node).multi);
}

#[tokio::test]
async fn documents_are_removed() {
    let node = node();
    let body = json!({"query": {"at": {"$date": "1970-01-01T00:00:00.005Z"}}, "multi": true});
    let answer = call(&node, "POST", "/collections/c/documents/remove", body).await;
    assert_eq!(answer, json!({"deleted": 1}));
    let filter = rawdoc! { "at": bson::DateTime::from_millis(5) };
    assert_eq!(
        node.last_op(),
        Op::Remove {
            collection: "c".into(),
            filter,
            multi: true
        }
    );
}

#[tokio::test]
async fn failures_have_their_status() {
    let node = node();
    let insert = r#"{"data":[{"_id":"a"}]}"#;
    assert_eq!(
        refused(&node, "POST", "/collections/absent/documents", insert).await,
        (404, "DATABASE_COLLECTION_NOT_EXIST".into())
    );
    call(
        &node,
        "POST",
        "/collections/c/documents",
        json!({"data": [{"_id": "a"}]}),
    )
    .await;
    for (method, path, body, status, code) in [
        (
            "POST",
            "/collections/c/documents",
            insert,
            409,
            "DATABASE_DUPLICATE_WRITE",
        ),
        (
            "POST",
            "/collections/c/documents",
            "{",
            400,
            "INVALID_PARAM",
        ),
        (
            "POST",
            "/collections/c/documents",
            "[]",
            400,
            "INVALID_PARAM",
        ),
        ("POST", "/collections/c/documents", "", 400, "INVALID_PARAM"),
        (
            "GET",
            "/collections/c/documents?query=%7B",
            "",
            400,
            "INVALID_PARAM",
        ),
        (
            "GET",
            "/collections/c/documents?limit=many",
            "",
            400,
            "INVALID_PARAM",
        ),
        (
            "GET",
            "/collections/c/documents?count=perhaps",
            "",
            400,
            "INVALID_PARAM",
        ),
        (
            "GET",
            "/collections/c/documents?limit=1&limit=2",
            "",
            400,
            "INVALID_PARAM",
        ),
        (
            "GET",
            "/collections/cut/documents?limit=2",
            "",
            413,
            "EXCEED_REQUEST_SIZE_LIMIT",
        ),
        ("GET", "/collections/panic/documents", "", 500, "SYS_ERR"),
        ("GET", "/nowhere", "", 404, "PATH_NOT_FOUND"),
        (
            "DELETE",
            "/collections/c/documents",
            "",
            405,
            "METHOD_NOT_ALLOWED",
        ),
        (
            "POST",
            "/transactions/gone/commit",
            "",
            404,
            "DATABASE_TRANSACTION_NOT_EXIST",
        ),
        (
            "GET",
            "/collections/c/documents/a?transactionId=gone",
            "",
            404,
            "DATABASE_TRANSACTION_NOT_EXIST",
        ),
    ] {
        let expected = (status, code.to_owned());
        assert_eq!(
            refused(&node, method, path, body).await,
            expected,
            "{method} {path} {body}"
        );
    }
    let other = Request::builder()
        .uri("/v1/database/instances/(default)/databases/other/collections/c/documents")
        .header("authorization", KEY)
        .header("x-request-id", "r-1");
    let (status, answer) = send(&node, other.body(Body::empty()).unwrap()).await;
    assert_eq!((status, &answer["code"]), (400, &json!("INVALID_PARAM")));
}

#[tokio::test]
async fn a_slow_node_and_a_busy_one_have_theirs() {
    let limits = Limits {
        requests_in_flight_max: 1,
        request_deadline: Duration::from_millis(100),
        request_deadline_grace: Duration::ZERO,
        ..Limits::default()
    };
    let app = router(node().state(limits));
    let slow = || request("GET", "/collections/slow/documents", "");
    let (one, other) = tokio::join!(app.clone().oneshot(slow()), app.clone().oneshot(slow()));
    let mut statuses = [
        one.unwrap().status().as_u16(),
        other.unwrap().status().as_u16(),
    ];
    statuses.sort_unstable();
    assert_eq!(statuses, [429, 504]);
}

#[tokio::test]
async fn commands_are_carried_out_in_order() {
    let node = node();
    let commands = json!([
        {"insert": "c", "documents": [{"_id": "a", "n": 1}, {"_id": "b"}]},
        {"find": "c", "filter": {"_id": "a"}, "sort": {"n": -1}, "limit": 5, "skip": 0},
        {"count": "c", "query": {}},
        {"update": "c", "updates": [{"q": {}, "u": {"$set": {"n": 2}}, "multi": true}, {"q": {"_id": "z"}, "u": {"n": 1}, "upsert": true}]},
        {"delete": "c", "deletes": [{"q": {"_id": "a"}, "limit": 1}, {"q": {}, "limit": 0}]},
    ]);
    let answer = call(&node, "POST", "/commands", json!({"commands": commands})).await;
    let expected = json!({"list": [
        [{"n": 2, "ok": 1}],
        [{"_id": "a", "n": {"$numberInt": "1"}}],
        [{"n": 2, "ok": 1}],
        [{"n": 3, "nModified": 2, "upserted": [{"index": 1, "_id": "new"}], "ok": 1}],
        [{"n": 2, "ok": 1}],
    ]});
    assert_eq!(answer, expected);
    let kinds: Vec<bool> = node
        .calls
        .lock()
        .iter()
        .map(|call| call.op.is_read())
        .collect();
    assert_eq!(kinds, [false, true, true, false, false, false, false]);
}

#[tokio::test]
async fn commands_that_are_not_understood_change_nothing() {
    let node = node();
    for (command, code) in [
        (json!({"aggregate": "c", "pipeline": []}), "INVALID_ACTION"),
        (json!({"dropDatabase": 1}), "INVALID_ACTION"),
        (json!({"find": "c", "hint": "x"}), "INVALID_PARAM"),
        (json!({"find": 1}), "INVALID_PARAM"),
        (json!({"find": "c", "limit": "x"}), "INVALID_PARAM"),
        (json!({"insert": "c", "documents": []}), "INVALID_PARAM"),
        (
            json!({"insert": "c", "documents": [{"_id": null}]}),
            "INVALID_PARAM",
        ),
        (
            json!({"insert": "c", "documents": [{}], "ordered": false}),
            "INVALID_PARAM",
        ),
        (
            json!({"update": "c", "updates": [{"q": {}}]}),
            "INVALID_PARAM",
        ),
        (
            json!({"update": "c", "updates": [{"q": {}, "u": [], "multi": true}]}),
            "INVALID_PARAM",
        ),
        (
            json!({"update": "c", "updates": [{"q": {}, "u": {"a": 1}, "multi": true}]}),
            "INVALID_PARAM",
        ),
        (
            json!({"delete": "c", "deletes": [{"q": {}}]}),
            "INVALID_PARAM",
        ),
        (
            json!({"delete": "c", "deletes": [{"limit": 0}]}),
            "INVALID_PARAM",
        ),
        (json!({}), "INVALID_PARAM"),
    ] {
        let body = json!({"commands": [{"insert": "c", "documents": [{"_id": "a"}]}, command]})
            .to_string();
        assert_eq!(
            refused(&node, "POST", "/commands", &body).await.1,
            code,
            "{command}"
        );
    }
    let many = json!({"commands": vec![json!({"count": "c"}); 101]}).to_string();
    assert_eq!(
        refused(&node, "POST", "/commands", &many).await.1,
        "INVALID_PARAM"
    );
    assert!(node.calls.lock().is_empty());
    let token = format!("Bearer {}", access_token("env-1", "ann", "genuine"));
    for (path, body) in [
        ("/commands", json!({"commands": [{"count": "c"}]})),
        ("/collections", json!({"collectionName": "c"})),
    ] {
        let mut by_user = request("POST", path, body.to_string());
        by_user
            .headers_mut()
            .insert("authorization", token.parse().unwrap());
        let (status, answer) = send(&node, by_user).await;
        assert_eq!((status, &answer["code"]), (403, &json!("ACTION_FORBIDDEN")));
    }
    assert!(node.calls.lock().is_empty());
}
