//! What needs no files: refusals, and what clients may say in several ways.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::actions::{content_type_of, life_of};
use crate::gateway::stand_in::{StandIn, access_token};
use crate::gateway::{Limits, router};

async fn send(request: Request<Body>) -> (u16, Value) {
    let node = Arc::new(StandIn::default());
    let response = router(node.state(Limits::default()))
        .oneshot(request)
        .await
        .unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap())
}

#[tokio::test]
async fn a_node_without_files_says_so() {
    let token = access_token("env-1", "ann", "genuine");
    for action in [
        "storage.getUploadMetadata",
        "storage.batchGetDownloadUrl",
        "storage.batchDeleteFile",
        "storage.batchCopyFile",
        "storage.getFileAuthority",
    ] {
        let body = json!({ "action": action, "env": "env-1", "access_token": token });
        let request = Request::post("/web")
            .header("host", "h:1")
            .body(Body::from(body.to_string()))
            .unwrap();
        let (status, answer) = send(request).await;
        assert_eq!(
            (status, &answer["code"]),
            (200, &json!("RESOURCE_NOT_INITIAL")),
            "{action}"
        );
    }
    let request = Request::post("/v1/storages/delete-objects")
        .header("host", "h:1")
        .header("authorization", "Bearer AKIDLIMITED.SKLIMITED")
        .body(Body::from(r#"[{"cloudObjectId":"cloud://env-2.b/a"}]"#))
        .unwrap();
    let (status, answer) = send(request).await;
    assert_eq!(
        (status, &answer["code"]),
        (503, &json!("RESOURCE_NOT_INITIAL"))
    );
}

#[tokio::test]
async fn the_rest_wants_credentials_and_names_what_it_lacks() {
    for (authorization, path, status, code) in [
        (None, "delete-objects", 401, "MISSING_CREDENTIALS"),
        (
            Some("Bearer AKIDLIMITED.wrong"),
            "delete-objects",
            401,
            "INVALID_CREDENTIALS",
        ),
        (
            Some("Bearer AKIDLIMITED.SKLIMITED"),
            "bucket/",
            501,
            "INVALID_ACTION",
        ),
        (
            Some("Bearer AKIDLIMITED.SKLIMITED"),
            "nonsense",
            404,
            "PATH_NOT_FOUND",
        ),
    ] {
        let mut request = Request::post(format!("/v1/storages/{path}")).header("host", "h:1");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let answer = send(request.body(Body::from("[]")).unwrap()).await;
        assert_eq!(
            (answer.0, &answer.1["code"]),
            (status, &json!(code)),
            "{path}"
        );
    }
}

#[test]
fn lives_are_numbers_of_seconds() {
    for (said, life) in [
        (json!(null), None),
        (json!(""), None),
        (json!(600), Some(600)),
        (json!(0.5), Some(1)),
        (json!("600"), Some(600)),
        (json!(1e300), Some(u64::MAX)),
    ] {
        assert_eq!(life_of(&said), Ok(life), "{said}");
    }
    for bad in [json!(-1), json!("soon"), json!([]), json!(true)] {
        assert!(life_of(&bad).is_err(), "{bad}");
    }
}

#[test]
fn media_types_are_found_among_headers() {
    for (headers, found) in [
        (Some(r#"{"Content-Type":"image/png"}"#), Some("image/png")),
        (
            Some(r#"{"content-length":["3"],"content-type":["a/b","c/d"]}"#),
            Some("a/b"),
        ),
        (Some(r#"{"content-type":""}"#), None),
        (Some(r#"{"content-type":[]}"#), None),
        (Some("[]"), None),
        (Some("null"), None),
        (None, None),
    ] {
        assert_eq!(content_type_of(headers).as_deref(), found, "{headers:?}");
    }
}
