//! Uploads and downloads as clients see them, over the files of one node.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use bson::doc;
use bytes::Bytes;
use futures::stream;
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{TransferState, router};
use crate::call::{KeyDirectory, SecretKey};
use crate::storage::links::{TicketCondition, UploadTicket};
use crate::storage::testing::Stage;
use crate::storage::{FilePath, address};

const ENV: &str = "demo";
const START_S: i64 = 1_700_000_000;

/// Knows one environment and no key.
struct OneEnv;

impl KeyDirectory for OneEnv {
    fn find(&self, _id: &str) -> Option<SecretKey> {
        None
    }

    fn has_env(&self, env: &str) -> bool {
        env == ENV
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn code(&self) -> String {
        let text = self.text();
        let code = text.split("<Code>").nth(1).unwrap_or_default();
        code.split("</Code>").next().unwrap_or_default().to_owned()
    }
}

async fn send(stage: &Stage, request: Request<Body>) -> Answer {
    let state = TransferState::new(stage.door.clone(), Arc::new(OneEnv), stage.clock());
    let response = router(state).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    assert!(parts.headers.contains_key("x-request-id"));
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    }
}

fn path(text: &str) -> FilePath {
    FilePath::parse(text).unwrap()
}

fn ticket(path: &str) -> UploadTicket {
    UploadTicket {
        path: path.to_owned(),
        until_s: START_S + 60,
        owner: None,
        content_type: None,
        bytes_max: 1000,
        condition: TicketCondition::None,
    }
}

fn issued(stage: &Stage, ticket: &UploadTicket) -> String {
    stage.door.links.issue_upload(ENV, ticket).unwrap()
}

fn target(of: &str) -> String {
    address::plain("", ENV, &path(of))
}

fn signed(stage: &Stage, of: &str) -> String {
    let until_s = START_S + 60;
    let signature = stage.door.links.sign_download(ENV, &path(of), until_s);
    address::signed(&target(of), &signature.unwrap(), until_s)
}

async fn put(stage: &Stage, ticket: &UploadTicket, body: impl Into<Body>) -> Answer {
    let request = Request::put(target(&ticket.path))
        .header("authorization", issued(stage, ticket))
        .body(body.into())
        .unwrap();
    send(stage, request).await
}

async fn get(stage: &Stage, uri: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(stage, request.body(Body::empty()).unwrap()).await
}

async fn is_there(stage: &Stage, of: &str) -> bool {
    let found = stage.door.files.stat(&Stage::scope(ENV), &path(of)).await;
    found.unwrap().is_some()
}

/// A body without a length, in pieces.
fn pieces(pieces: Vec<Result<&'static str, std::io::Error>>) -> Body {
    let pieces = pieces.into_iter().map(|piece| piece.map(Bytes::from));
    Body::from_stream(stream::iter(pieces.collect::<Vec<_>>()))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_got() {
    let stage = Stage::new().await;
    for (of, content) in [
        ("a/图 1.html", "<b>x</b>"),
        ("empty.txt", ""),
        ("p.pdf", "%PDF"),
    ] {
        let stored = put(&stage, &ticket(of), content).await;
        assert_eq!((stored.status, stored.text()), (200, String::new()), "{of}");
        let got = get(&stage, &signed(&stage, of), &[]).await;
        assert_eq!((got.status, got.text()), (200, content.to_owned()), "{of}");
        assert_eq!(got.header("content-length"), content.len().to_string());
        assert_eq!(got.header("etag"), stored.header("etag"));
        assert_eq!(got.header("x-content-type-options"), "nosniff");
        let sandbox = if of.ends_with("pdf") { "" } else { "sandbox" };
        assert_eq!(got.header("content-security-policy"), sandbox, "{of}");
        let head = Request::head(signed(&stage, of))
            .body(Body::empty())
            .unwrap();
        let head = send(&stage, head).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), content.len().to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_type_is_what_the_sender_knows() {
    let stage = Stage::new().await;
    for (announced, sent, expected) in [
        (None, Some("image/x-own"), "image/x-own"),
        (
            Some("image/x-own"),
            Some("application/octet-stream"),
            "image/x-own",
        ),
        (None, Some("application/octet-stream"), "image/png"),
        (None, None, "image/png"),
    ] {
        let mut ticket = ticket("a.png");
        ticket.content_type = announced.map(str::to_owned);
        let mut request =
            Request::put(target("a.png")).header("signature", issued(&stage, &ticket));
        if let Some(sent) = sent {
            request = request.header("content-type", sent);
        }
        let stored = send(&stage, request.body(Body::from("x")).unwrap()).await;
        assert_eq!(stored.status, 200);
        let got = get(&stage, &signed(&stage, "a.png"), &[]).await;
        assert_eq!(
            got.header("content-type"),
            expected,
            "{announced:?} {sent:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_conditions_are_answered() {
    let stage = Stage::new().await;
    put(&stage, &ticket("a.txt"), "0123456789").await;
    let uri = signed(&stage, "a.txt");
    let part = get(&stage, &uri, &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, part.text()), (206, "234".to_owned()));
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    assert_eq!(part.header("content-length"), "3");
    let none = get(&stage, &uri, &[("range", "bytes=10-")]).await;
    assert_eq!((none.status, none.code().as_str()), (416, "InvalidRange"));
    assert_eq!(none.header("content-range"), "bytes */10");
    let etag = part.header("etag").to_owned();
    let known = get(&stage, &uri, &[("if-none-match", &etag)]).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(known.header("etag"), etag);
    let changed = get(&stage, &uri, &[("if-match", "\"other\"")]).await;
    assert_eq!(
        (changed.status, changed.code().as_str()),
        (412, "PreconditionFailed")
    );
    let whole = get(
        &stage,
        &uri,
        &[("range", "bytes=2-4"), ("if-range", "\"other\"")],
    )
    .await;
    assert_eq!((whole.status, whole.body.len()), (200, 10));
    let saved = get(&stage, &format!("{uri}&download="), &[]).await;
    assert_eq!(
        saved.header("content-disposition"),
        "attachment; filename*=UTF-8''a%2Etxt"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_say_where_and_how_to_answer() {
    let stage = Stage::new().await;
    let form = |fields: &[(&str, &str)]| {
        let mut body = String::new();
        for (name, value) in fields.iter().chain(&[("file", "of a form")]) {
            body += &format!(
                "--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
        }
        body + "--B--\r\n"
    };
    let post = |uri: String, body: String| {
        Request::post(uri)
            .header("content-type", "multipart/form-data; boundary=B")
            .body(Body::from(body))
            .unwrap()
    };
    let text = issued(&stage, &ticket("a b.txt"));
    let text = text.as_str();
    for (fields, status, code) in [
        (vec![("Signature", text)], 204, ""),
        (
            vec![("signature", text), ("success_action_status", "201")],
            201,
            "",
        ),
        (
            vec![
                ("x-cos-security-token", text),
                ("success_action_status", "200"),
            ],
            200,
            "",
        ),
        (vec![("key", "a b.txt"), ("signature", text)], 204, ""),
        (vec![("key", "a%20b.txt"), ("signature", text)], 204, ""),
        (
            vec![("key", "other"), ("signature", text)],
            403,
            "AccessDenied",
        ),
        (vec![("key", "a b.txt")], 403, "AccessDenied"),
    ] {
        let answer = send(&stage, post(target("a b.txt"), form(&fields))).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{fields:?}"
        );
    }
    // The key counts, not the URL.
    let fields = [("key", "a b.txt"), ("signature", text)];
    assert_eq!(
        send(&stage, post(target("x"), form(&fields))).await.status,
        204
    );
    let got = get(&stage, &signed(&stage, "a b.txt"), &[]).await;
    assert_eq!(got.text(), "of a form");
    // Without an end it is not stored.
    let other = issued(&stage, &ticket("cut"));
    let body = form(&[("signature", other.as_str())]);
    let cut = body[..body.len() - 8].to_owned();
    let answer = send(&stage, post(target("cut"), cut)).await;
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "RequestTimeout")
    );
    assert!(!is_there(&stage, "cut").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tickets_allow_no_more_than_they_say() {
    let stage = Stage::new().await;
    let large = put(&stage, &ticket("a"), "x".repeat(1001)).await;
    assert_eq!(
        (large.status, large.code().as_str()),
        (413, "EntityTooLarge")
    );
    // Also when it does not say so in front.
    let tens = (0..101).map(|_| Ok("0123456789")).collect();
    let large = put(&stage, &ticket("a"), pieces(tens)).await;
    assert_eq!(
        (large.status, large.code().as_str()),
        (413, "EntityTooLarge")
    );
    let broken = vec![Ok("x"), Err(std::io::ErrorKind::ConnectionReset.into())];
    let broken = put(&stage, &ticket("a"), pieces(broken)).await;
    assert_eq!(
        (broken.status, broken.code().as_str()),
        (400, "RequestTimeout")
    );

    let elsewhere = Request::put(target("b"))
        .header("authorization", issued(&stage, &ticket("a")))
        .body(Body::from("x"))
        .unwrap();
    let elsewhere = send(&stage, elsewhere).await;
    assert_eq!(
        (elsewhere.status, elsewhere.code().as_str()),
        (403, "AccessDenied")
    );
    let bare = Request::put(target("a")).body(Body::from("x")).unwrap();
    assert_eq!(send(&stage, bare).await.status, 403);
    stage.pass(Duration::from_secs(61));
    let late = put(&stage, &ticket("a"), "x").await;
    assert!(late.text().contains("expired"), "{}", late.text());
    assert!(!is_there(&stage, "a").await && !is_there(&stage, "b").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_ticket_was_given_out_for_must_still_be_so() {
    let stage = Stage::new().await;
    let mut absent = ticket("a");
    absent.condition = TicketCondition::Absent;
    absent.owner = Some("ann".to_owned());
    assert_eq!(put(&stage, &absent, "1").await.status, 200);
    let again = put(&stage, &absent, "2").await;
    assert_eq!(
        (again.status, again.code().as_str()),
        (412, "PreconditionFailed")
    );
    let record = stage.door.files.stat(&Stage::scope(ENV), &path("a")).await;
    let record = record.unwrap().unwrap();
    assert_eq!(record.owner.as_deref(), Some("ann"));
    let mut version = ticket("a");
    version.condition = TicketCondition::Version(record.version);
    assert_eq!(put(&stage, &version, "3").await.status, 200);
    assert_eq!(put(&stage, &version, "4").await.status, 412);
    assert_eq!(get(&stage, &signed(&stage, "a"), &[]).await.text(), "3");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_open_one_file_for_their_time() {
    let stage = Stage::new().await;
    stage.set_rules(ENV, &doc! { "mode": "PRIVATE" }).await;
    for of in ["a", "b"] {
        put(&stage, &ticket(of), "x").await;
    }
    let uri = signed(&stage, "a");
    assert_eq!(get(&stage, &uri, &[]).await.status, 200);
    let query = uri.split_once('?').unwrap().1;
    for wrong in [
        format!("{}?{query}", target("b")),
        uri.replace("t=17", "t=18"),
        target("a"),
        format!("{}?t=1800000000", target("a")),
        format!("/storage/nowhere/a?{query}"),
        format!("/storage/_cluster/a?{query}"),
    ] {
        let refused = get(&stage, &wrong, &[]).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "AccessDenied"),
            "{wrong}"
        );
    }
    stage.pass(Duration::from_secs(61));
    let late = get(&stage, &uri, &[]).await;
    assert_eq!(late.status, 403);
    assert!(late.text().contains("expired"), "{}", late.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_everyone_may_read_no_signature_is_needed() {
    let stage = Stage::new().await;
    put(&stage, &ticket("a b"), "x").await;
    assert_eq!(get(&stage, &target("a b"), &[]).await.text(), "x");
    for (uri, status) in [
        (target("absent"), 404),
        ("/storage/nowhere/a".to_owned(), 404),
        ("/storage/_cluster/a".to_owned(), 404),
        (format!("/storage/{ENV}/a%00b"), 400),
        (format!("/storage/{ENV}/%2e%2e/b"), 400),
        (format!("/storage/{ENV}//a"), 400),
        (format!("/storage/{ENV}/%ff"), 400),
        // A signature that is there must be right all the same.
        (format!("{}?sign=00&t=1800000000", target("a b")), 403),
    ] {
        assert_eq!(get(&stage, &uri, &[]).await.status, status, "{uri}");
    }
    for mode in ["PRIVATE", "ADMINONLY"] {
        stage.set_rules(ENV, &doc! { "mode": mode }).await;
        assert_eq!(get(&stage, &target("a b"), &[]).await.status, 403, "{mode}");
    }
    let delete = Request::delete(target("a b")).body(Body::empty()).unwrap();
    assert_eq!(send(&stage, delete).await.status, 405);
}
