//! `POST /web` as apps see it: tokens in bodies, and the JSON family in answers.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use bson::rawdoc;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use yunbase_docdb::op::Op;

use super::stand_in::{StandIn, access_token};
use super::{Limits, router};
use crate::call::Caller;

async fn send(node: &Arc<StandIn>, uri: &str, body: &Value) -> Value {
    let request = Request::post(uri)
        .header("content-type", "application/json;charset=UTF-8")
        .header("x-seqid", "seq-1")
        .body(Body::from(body.to_string()))
        .unwrap();
    let app = router(node.state(Limits::default()));
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "{body}");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(answer["requestId"], "seq-1", "{answer}");
    answer
}

fn node() -> Arc<StandIn> {
    Arc::new(StandIn::default())
}

fn action(name: &str, token: &str) -> Value {
    json!({"action": format!("database.{name}"), "dataVersion": "2020-01-10", "env": "env-1", "collectionName": "c", "access_token": token})
}

fn with(mut body: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[tokio::test]
async fn users_are_who_their_token_says() {
    let node = node();
    let body = action("countDocument", &access_token("env-1", "ann", "genuine"));
    assert_eq!(
        send(&node, "/web?env=env-1", &body).await["data"],
        json!({"total": 0})
    );
    let call = node.calls.lock()[0].clone();
    assert_eq!(call.env, "env-1");
    let Caller::User(user) = call.caller else {
        panic!("{:?}", call.caller)
    };
    assert_eq!(user.uid, "ann");
}

#[tokio::test]
async fn tokens_that_prove_nothing_open_nothing() {
    let node = node();
    for (token, code) in [
        (
            access_token("env-1", "ann", "forged"),
            "INVALID_ACCESS_TOKEN",
        ),
        (
            access_token("env-1", "ann", "expired"),
            "ACCESS_TOKEN_EXPIRED",
        ),
        // Of another environment.
        (
            access_token("env-2", "ann", "genuine"),
            "INVALID_ACCESS_TOKEN",
        ),
        (String::new(), "CHECK_LOGIN_FAILED"),
        ("nonsense".to_owned(), "SIGN_PARAM_INVALID"),
        ("AKIDEXAMPLE.wrong".to_owned(), "SIGN_PARAM_INVALID"),
        // It has no session token with it.
        ("AKIDTEMPORARY.SKEXAMPLE".to_owned(), "SIGN_PARAM_INVALID"),
        ("AKIDLIMITED.SKLIMITED".to_owned(), "PERMISSION_DENIED"),
        (format!("eyJ{}..", "x".repeat(5000)), "INVALID_ACCESS_TOKEN"),
    ] {
        let answer = send(&node, "/web", &action("countDocument", &token)).await;
        assert_eq!(answer["code"], code, "{token}: {answer}");
    }
    let mut none = action("countDocument", "");
    none.as_object_mut().unwrap().remove("access_token");
    assert_eq!(
        send(&node, "/web", &none).await["code"],
        "CHECK_LOGIN_FAILED"
    );
    // A signature or key in the header is for other doors.
    let header = Request::post("/web").header("authorization", "Bearer AKIDEXAMPLE.SKEXAMPLE");
    let app = router(node.state(Limits::default()));
    let response = app
        .oneshot(header.body(Body::from(none.to_string())).unwrap())
        .await
        .unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&bytes).contains("CHECK_LOGIN_FAILED"));
    assert!(node.calls.lock().is_empty());
}

#[tokio::test]
async fn the_environment_is_the_bodys_the_querys_or_the_tokens() {
    let node = node();
    let token = access_token("env-2", "ann", "genuine");
    let mut body = action("countDocument", &token);
    body["env"] = json!("");
    for uri in ["/web?env=env-2", "/web"] {
        assert_eq!(send(&node, uri, &body).await["code"], Value::Null, "{uri}");
    }
    body["env"] = json!("env-2");
    assert_eq!(
        send(&node, "/web?env=env-1", &body).await["code"],
        Value::Null
    );
    body["env"] = json!("nowhere");
    assert_eq!(send(&node, "/web", &body).await["code"], "INVALID_ENV");
    assert!(node.calls.lock().iter().all(|call| call.env == "env-2"));
}

#[tokio::test]
async fn every_action_of_the_older_clients_is_carried_out() {
    let node = node();
    let token = access_token("env-1", "ann", "genuine");
    let act = |name: &str, more: Value| {
        let body = with(action(name, &token), &more);
        let node = node.clone();
        async move { send(&node, "/web", &body).await["data"].clone() }
    };
    let added = act(
        "addDocument",
        json!({"data": {"n": 1, "at": {"$date": 5}}, "_id": "x"}),
    )
    .await;
    assert_eq!(added, json!({"_id": "x", "insertedIds": ["x"]}));
    let listed = act("addDocument", json!({"data": [{"_id": "y"}, {"_id": "z"}]})).await;
    assert_eq!(listed["insertedIds"], json!(["y", "z"]));
    let found = act(
        "queryDocument",
        json!({"query": {"_id": "x"}, "queryType": "DOC"}),
    )
    .await;
    assert_eq!(
        found,
        json!({"list": [{"_id": "x", "n": 1, "at": {"$date": 5}}], "offset": 0, "limit": 100})
    );
    let order = json!({"order": [{"field": "n", "direction": "desc"}], "query": {"r": {"$regex": "a", "$options": "gi"}}});
    act("queryDocument", order).await;
    let Op::Find { find, .. } = node.last_op() else {
        panic!()
    };
    assert_eq!(find.sort, rawdoc! { "n": -1 });
    assert_eq!(act("countDocument", json!({})).await, json!({"total": 3}));
    let set = json!({"query": {"_id": "x"}, "data": {"n": 2}, "multi": false, "merge": false, "upsert": true});
    let set = act("updateDocument", set).await;
    assert_eq!(
        set,
        json!({"updated": 1, "upsert_id": "new", "upserted_id": "new"})
    );
    let removed = act(
        "deleteDocument",
        json!({"query": {"_id": "x"}, "multi": false}),
    )
    .await;
    assert_eq!(removed, json!({"deleted": 1}));
}

#[tokio::test]
async fn users_may_not_create_collections() {
    let node = node();
    let answer = send(
        &node,
        "/web",
        &action("addCollection", &access_token("env-1", "ann", "genuine")),
    )
    .await;
    assert_eq!(answer["code"], "ACTION_FORBIDDEN");
    assert!(node.calls.lock().is_empty());
    let answer = send(
        &node,
        "/web",
        &action("addCollection", "AKIDEXAMPLE.SKEXAMPLE"),
    )
    .await;
    assert_eq!(answer["code"], Value::Null);
}

#[tokio::test]
async fn what_is_not_there_yet_says_so() {
    let node = node();
    let token = access_token("env-1", "ann", "genuine");
    for name in [
        "auth.signInAnonymously",
        "auth.getJwt",
        "auth.getUserInfo",
        "functions.invokeFunction",
        "storage.noSuchThing",
    ] {
        let body = json!({"action": name, "env": "env-1", "access_token": token});
        let answer = send(&node, "/web", &body).await;
        assert_eq!(answer["code"], "INVALID_ACTION", "{name}");
        assert!(
            answer["message"].as_str().unwrap().contains(name),
            "{answer}"
        );
    }
    let nameless = send(
        &node,
        "/web",
        &json!({"env": "env-1", "access_token": token}),
    )
    .await;
    assert_eq!(nameless["code"], "INVALID_PARAM");
}

#[tokio::test]
async fn a_socket_for_watches_is_where_the_request_came_to() {
    let node = node();
    let body = json!({"action": "auth.wsWebSign", "env": "env-1", "runtime": "web", "access_token": access_token("env-1", "ann", "genuine")});
    let request = Request::post("/web")
        .header("host", "db.example.com")
        .header("x-forwarded-proto", "https")
        .body(Body::from(body.to_string()))
        .unwrap();
    let response = router(node.state(Limits::default()))
        .oneshot(request)
        .await
        .unwrap();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    let data = &answer["data"];
    assert_eq!(data["wsUrl"], "wss://db.example.com/realtime", "{answer}");
    assert_eq!(
        (&data["envId"], &data["secretVersion"]),
        (&json!("env-1"), &json!(1))
    );
    assert!(
        data["signStr"]
            .as_str()
            .is_some_and(|sign| !sign.is_empty())
    );
}
