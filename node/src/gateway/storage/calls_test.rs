//! What the doors do with files, over the files of one node: by action as users and administrators, and by REST.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use bson::doc;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::gateway::stand_in::{Keys, StandIn, access_token};
use crate::gateway::{GatewayState, Limits, router};
use crate::storage::testing::Stage;
use crate::storage::transfer::{self, TransferState};

const ENV: &str = "env-1";
const ROOT: &str = "AKIDEXAMPLE.SKEXAMPLE";

fn app(stage: &Stage) -> Router {
    let node = Arc::new(StandIn::default());
    let state = GatewayState {
        files: Some(stage.door.clone()),
        clock: stage.clock(),
        ..node.state(Limits::default())
    };
    let transfers = TransferState::new(stage.door.clone(), Arc::new(Keys), stage.clock());
    router(state).merge(transfer::router(transfers))
}

async fn send(stage: &Stage, request: Request<Body>) -> (u16, Vec<u8>) {
    let response = app(stage).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, body.to_vec())
}

fn user(name: &str) -> String {
    access_token(ENV, name, "genuine")
}

/// An action on `/web` by the holder of `token`; an API key is one too.
async fn act(stage: &Stage, token: &str, action: &str, members: Value) -> Value {
    let mut body = members;
    body["action"] = json!(format!("storage.{action}"));
    body["env"] = json!(ENV);
    body["access_token"] = json!(token);
    let request = Request::post("/web")
        .header("host", "files.example:7600")
        .header("x-forwarded-proto", "https")
        .body(Body::from(body.to_string()))
        .unwrap();
    let (status, answer) = send(stage, request).await;
    assert_eq!(status, 200);
    serde_json::from_slice(&answer).unwrap()
}

/// A call of the REST about these elements.
async fn call(stage: &Stage, token: &str, name: &str, elements: &Value) -> Value {
    let request = Request::post(format!("/v1/storages/{name}?env={ENV}"))
        .header("host", "files.example:7600")
        .header("authorization", format!("Bearer {token}"))
        .body(Body::from(elements.to_string()))
        .unwrap();
    let (status, answer) = send(stage, request).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    serde_json::from_slice(&answer).unwrap()
}

fn id(path: &str) -> String {
    format!("cloud://{ENV}.{ENV}/{path}")
}

/// Uploads as a client does; answers the code of a refusal, or the status.
async fn upload(stage: &Stage, token: &str, path: &str, content: &'static str) -> String {
    let answer = act(stage, token, "getUploadMetadata", json!({ "path": path })).await;
    if let Some(code) = answer["code"].as_str() {
        return code.to_owned();
    }
    let data = &answer["data"];
    let url = data["url"].as_str().unwrap();
    let target = url.strip_prefix("https://files.example:7600").unwrap();
    let request = Request::put(target)
        .header("authorization", data["authorization"].as_str().unwrap())
        .body(Body::from(content))
        .unwrap();
    send(stage, request).await.0.to_string()
}

/// The content of a file as the holder of `token` gets it, or the code of the refusal.
async fn read(stage: &Stage, token: &str, path: &str) -> String {
    let list = json!({ "file_list": [{ "fileid": id(path), "max_age": 60 }] });
    let answer = act(stage, token, "batchGetDownloadUrl", list).await;
    let row = &answer["data"]["download_list"][0];
    if row["code"] != "SUCCESS" {
        return row["code"].as_str().unwrap().to_owned();
    }
    assert_eq!(row["tempFileURL"], row["download_url"]);
    let url = row["tempFileURL"].as_str().unwrap();
    let target = url.strip_prefix("https://files.example:7600").unwrap();
    let request = Request::get(target).body(Body::empty()).unwrap();
    String::from_utf8(send(stage, request).await.1).unwrap()
}

async fn codes(stage: &Stage, token: &str, action: &str, members: Value) -> Vec<String> {
    let answer = act(stage, token, action, members).await;
    let lists = answer["data"]
        .as_object()
        .unwrap_or_else(|| panic!("{answer}"));
    let rows = lists.values().next().unwrap().as_array().unwrap();
    rows.iter()
        .map(|row| row["code"].as_str().unwrap().to_owned())
        .collect()
}

const DENIED: &str = "STORAGE_EXCEED_AUTHORITY";
const ABSENT: &str = "STORAGE_FILE_NONEXIST";

#[tokio::test(flavor = "multi_thread")]
async fn users_write_what_is_theirs_and_read_everything_by_default() {
    let stage = Stage::new().await;
    let (ann, bob) = (user("ann"), user("bob"));
    assert_eq!(upload(&stage, &ann, "a/1.txt", "hers").await, "200");
    assert_eq!(read(&stage, &bob, "a/1.txt").await, "hers");
    assert_eq!(upload(&stage, &bob, "a/1.txt", "his").await, DENIED);
    assert_eq!(upload(&stage, &ann, "a/1.txt", "hers too").await, "200");
    let list = json!({ "fileid_list": [id("a/1.txt"), id("none"), "nonsense", id("../x")] });
    assert_eq!(
        codes(&stage, &bob, "batchDeleteFile", list.clone()).await,
        [DENIED, ABSENT, "INVALID_PARAM", "INVALID_PARAM"]
    );
    assert_eq!(
        codes(&stage, &ann, "batchDeleteFile", list).await,
        ["SUCCESS", ABSENT, "INVALID_PARAM", "INVALID_PARAM"]
    );
    assert_eq!(read(&stage, &ann, "a/1.txt").await, ABSENT);
    // What an administrator stores is nobody's, and what it deletes it need not own.
    assert_eq!(upload(&stage, ROOT, "a/2.txt", "ours").await, "200");
    assert_eq!(upload(&stage, &ann, "a/2.txt", "hers").await, DENIED);
    assert_eq!(upload(&stage, &ann, "a/3.txt", "hers").await, "200");
    let list = json!({ "fileid_list": [id("a/2.txt"), id("a/3.txt")] });
    assert_eq!(
        codes(&stage, ROOT, "batchDeleteFile", list).await,
        ["SUCCESS", "SUCCESS"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_close_what_they_close() {
    let stage = Stage::new().await;
    let (ann, bob) = (user("ann"), user("bob"));
    upload(&stage, &ann, "a", "hers").await;
    stage.set_rules(ENV, &doc! { "mode": "PRIVATE" }).await;
    assert_eq!(read(&stage, &ann, "a").await, "hers");
    assert_eq!(read(&stage, &bob, "a").await, DENIED);
    stage.set_rules(ENV, &doc! { "mode": "ADMINONLY" }).await;
    assert_eq!(read(&stage, &ann, "a").await, DENIED);
    assert_eq!(upload(&stage, &ann, "b", "x").await, DENIED);
    assert_eq!(read(&stage, ROOT, "a").await, "hers");
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_moves_ask_at_both_ends() {
    let stage = Stage::new().await;
    let (ann, bob) = (user("ann"), user("bob"));
    upload(&stage, &ann, "a", "hers").await;
    let one = |source: &str, target: &str, more: Value| {
        let mut member = json!({ "src_path": source, "dst_path": target });
        for (name, value) in more.as_object().unwrap() {
            member[name] = value.clone();
        }
        json!({ "file_list": [member] })
    };
    let copy = |token: String, member: Value| {
        let stage = &stage;
        async move {
            codes(stage, &token, "batchCopyFile", member)
                .await
                .remove(0)
        }
    };
    // A copy belongs to whoever made it.
    assert_eq!(copy(bob.clone(), one("a", "b", json!({}))).await, "SUCCESS");
    assert_eq!(read(&stage, &ann, "b").await, "hers");
    assert_eq!(copy(ann.clone(), one("a", "b", json!({}))).await, DENIED);
    let kept = json!({ "overwrite": false });
    assert_eq!(
        copy(bob.clone(), one("a", "b", kept.clone())).await,
        "OBJECT_ALREADY_EXIST"
    );
    assert_eq!(
        copy(ROOT.to_owned(), one("a", "b", kept)).await,
        "OBJECT_ALREADY_EXIST"
    );
    assert_eq!(copy(bob.clone(), one("none", "c", json!({}))).await, ABSENT);
    let moved = json!({ "removeOriginal": true });
    assert_eq!(
        copy(bob.clone(), one("a", "c", moved.clone())).await,
        DENIED
    );
    assert_eq!(
        copy(ann.clone(), one("a", "c", moved.clone())).await,
        "SUCCESS"
    );
    assert_eq!(read(&stage, &ann, "a").await, ABSENT);
    // Onto itself: still there.
    assert_eq!(
        copy(ann.clone(), one("c", "c", moved.clone())).await,
        "SUCCESS"
    );
    assert_eq!(read(&stage, &bob, "c").await, "hers");
    // An administrator who moves a file leaves it to its owner.
    assert_eq!(copy(ROOT.to_owned(), one("c", "d", moved)).await, "SUCCESS");
    assert_eq!(upload(&stage, &ann, "d", "still hers").await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_answers_in_its_own_words() {
    let stage = Stage::new().await;
    let ann = user("ann");
    let wanted = json!([{ "objectId": "a/图.png" }, { "objectId": "/a" }]);
    let infos = call(&stage, &ann, "get-objects-upload-info", &wanted).await;
    assert_eq!(infos[0]["cloudObjectId"], id("a/图.png"));
    assert_eq!(infos[1]["code"], "INVALID_PARAM");
    let url = infos[0]["uploadUrl"].as_str().unwrap();
    let target = url.strip_prefix("http://files.example:7600").unwrap();
    let request = Request::put(target)
        .header("authorization", infos[0]["authorization"].as_str().unwrap())
        .body(Body::from("x"))
        .unwrap();
    assert_eq!(send(&stage, request).await.0, 200);
    let wanted = json!([{ "cloudObjectId": id("a/图.png") }, { "cloudObjectId": id("none") }]);
    let links = call(&stage, &ann, "get-objects-download-info", &wanted).await;
    let unescaped = links[0]["downloadUrl"].as_str().unwrap();
    assert!(unescaped.contains("/a/图.png?sign="), "{unescaped}");
    let escaped = links[0]["downloadUrlEncoded"].as_str().unwrap();
    let target = escaped.strip_prefix("http://files.example:7600").unwrap();
    let request = Request::get(target).body(Body::empty()).unwrap();
    assert_eq!(send(&stage, request).await, (200, b"x".to_vec()));
    assert_eq!(links[1]["code"], "OBJECT_NOT_EXIST");
    assert_eq!(links[1]["cloudObjectId"], id("none"));
    let copied = json!([{ "srcPath": "a/图.png", "dstPath": "b" }, { "srcPath": "b", "dstPath": "a/图.png", "overwrite": false }]);
    let copied = call(&stage, &ann, "copy-objects", &copied).await;
    assert_eq!(copied[0], json!({ "cloudObjectId": id("b") }));
    assert_eq!(copied[1]["code"], "OBJECT_ALREADY_EXIST");
    let deleted = call(&stage, &ann, "delete-objects", &wanted).await;
    assert_eq!(deleted[0], json!({ "cloudObjectId": id("a/图.png") }));
    assert_eq!(deleted[1]["code"], "OBJECT_NOT_EXIST");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_live_as_long_as_asked_for_within_bounds() {
    let stage = Stage::new().await;
    upload(&stage, ROOT, "a", "x").await;
    let life = |member: Value| {
        let stage = &stage;
        async move {
            let list = json!({ "file_list": [member] });
            let answer = act(stage, ROOT, "batchGetDownloadUrl", list).await;
            let row = &answer["data"]["download_list"][0];
            row["maxAge"]
                .as_u64()
                .ok_or(row["code"].as_str().unwrap().to_owned())
        }
    };
    let limits = stage.door.files.limits().clone();
    let (usual, longest) = (
        limits.download_link_life.as_secs(),
        limits.download_link_life_max.as_secs(),
    );
    assert_eq!(life(json!({ "fileID": id("a"), "maxAge": 7 })).await, Ok(7));
    assert_eq!(
        life(json!({ "fileid": id("a"), "max_age": 1e12 })).await,
        Ok(longest)
    );
    let negative = json!({ "fileid": id("a"), "max_age": -1 });
    assert_eq!(life(negative).await, Err("INVALID_PARAM".to_owned()));
    // Unasked: long where everyone reads, a day where not.
    assert_eq!(life(json!(id("a"))).await, Ok(longest));
    stage.set_rules(ENV, &doc! { "mode": "PRIVATE" }).await;
    assert_eq!(life(json!({ "fileid": id("a") })).await, Ok(usual));

    // A ticket does not live for ever either.
    let answer = act(&stage, ROOT, "getUploadMetadata", json!({ "path": "b" })).await;
    stage.pass(limits.upload_link_life + Duration::from_secs(2));
    let url = answer["data"]["url"].as_str().unwrap();
    let request = Request::put(url.strip_prefix("https://files.example:7600").unwrap())
        .header(
            "authorization",
            answer["data"]["authorization"].as_str().unwrap(),
        )
        .body(Body::from("x"))
        .unwrap();
    assert_eq!(send(&stage, request).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_names_files_of_its_environment_and_not_too_many() {
    let stage = Stage::new().await;
    let foreign = json!({ "fileid_list": ["cloud://env-2.env-2/a"] });
    assert_eq!(
        codes(&stage, ROOT, "batchDeleteFile", foreign).await,
        ["INVALID_PARAM"]
    );
    for list in [
        json!([]),
        json!(vec![id("a"); 51]),
        json!("a"),
        json!([5]),
        Value::Null,
    ] {
        let members = json!({ "file_list": list, "fileid_list": list });
        for action in ["batchGetDownloadUrl", "batchDeleteFile"] {
            let answer = act(&stage, ROOT, action, members.clone()).await;
            assert_eq!(answer["code"], "INVALID_PARAM", "{action} {list}");
        }
    }
    let nameless = act(&stage, ROOT, "getUploadMetadata", json!({})).await;
    assert_eq!(nameless["code"], "INVALID_PARAM");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_learn_what_a_user_may_do() {
    let stage = Stage::new().await;
    upload(&stage, &user("ann"), "a", "hers").await;
    let asked = json!([{ "type": "READ", "path": "a" }, { "type": "WRITE", "path": "a" }, { "type": "READWRITE", "path": "new" }]);
    let of = |who: &str| {
        let (stage, members) = (
            &stage,
            json!({ "openId": who, "uid": "", "fileList": asked }),
        );
        async move {
            let answer = act(stage, ROOT, "getFileAuthority", members).await;
            let rows = answer["data"]["authorityList"].as_array().unwrap().clone();
            rows.iter()
                .map(|row| row["code"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        }
    };
    assert_eq!(of("ann").await, ["SUCCESS", "SUCCESS", ABSENT]);
    assert_eq!(of("bob").await, ["SUCCESS", DENIED, ABSENT]);
    let nobody = act(
        &stage,
        ROOT,
        "getFileAuthority",
        json!({ "file_list": asked }),
    )
    .await;
    assert_eq!(nobody["code"], "INVALID_PARAM");
}
