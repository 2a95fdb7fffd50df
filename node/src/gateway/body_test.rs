//! Bodies of every shape: sizes, depth, members as raw slices.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use tokio::sync::Semaphore;

use super::{Members, check_depth, read, string_of};
use crate::gateway::limits::Limits;

#[test]
fn members_keep_their_bytes() {
    let body = br#"{ "a" : 1.0e1 , "query":"{\"_id\":\"x\"}","o":{"b" : [1, 2]},"e\u0041":null}"#;
    let members = Members::parse(body, &Limits::default()).unwrap();
    assert_eq!(members.raw("a"), Some("1.0e1"));
    assert_eq!(members.raw("o"), Some(r#"{"b" : [1, 2]}"#));
    assert_eq!(members.raw("eA"), Some("null"));
    assert_eq!(members.text("query").unwrap(), r#"{"_id":"x"}"#);
    assert_eq!(members.text("a"), None);
    assert_eq!(members.raw("absent"), None);
}

#[test]
fn bodies_that_are_no_object_are_refused() {
    let limits = Limits {
        body_members_max: 2,
        ..Limits::default()
    };
    for (body, reason) in [
        (&b""[..], "one JSON object"),
        (b"[]", "one JSON object"),
        (b"{}x", "one JSON object"),
        (b"\"text\"", "one JSON object"),
        (b"{\"a\":}", "one JSON object"),
        (b"\xff{}", "not UTF-8 at byte 0"),
        (br#"{"a":1,"A":2}"#, "`a` twice"),
        (br#"{"a":1,"b":2,"c":3}"#, "more than 2 members"),
    ] {
        let failure = Members::parse(body, &limits).unwrap_err();
        assert_eq!(failure.code, "INVALID_PARAM");
        assert!(failure.message.contains(reason), "{}", failure.message);
    }
}

#[test]
fn depth_counts_brackets_outside_strings() {
    assert!(check_depth(r#"{"a":[{"b":"[[[[\"[[[["}]}"#, 3).is_ok());
    assert!(check_depth(r#"{"a":[{"b":[]}]}"#, 3).is_err());
    assert!(check_depth(&"[".repeat(1_000_000), 100).is_err());
    assert!(check_depth("]]]]", 1).is_ok());
}

#[test]
fn strings_are_unescaped_only_when_needed() {
    assert!(matches!(
        string_of(r#""plain""#),
        Some(std::borrow::Cow::Borrowed("plain"))
    ));
    assert_eq!(string_of(r#""a\"b""#).unwrap(), "a\"b");
    assert_eq!(string_of("12"), None);
    assert_eq!(string_of("\""), None);
}

#[tokio::test]
async fn large_bodies_are_refused_and_give_their_memory_back() {
    let limits = Limits {
        body_bytes_max: 10,
        body_drain_bytes_max: 40,
        ..Limits::default()
    };
    let memory = Arc::new(Semaphore::new(15));
    let held = read(Body::from("0123456789"), &limits, &memory)
        .await
        .unwrap();
    assert_eq!(held.bytes, b"0123456789");
    assert_eq!(memory.available_permits(), 5);
    let failure = read(Body::from("0123456"), &limits, &memory)
        .await
        .unwrap_err();
    assert_eq!(failure.code, "EXCEED_CONCURRENT_REQUEST_LIMIT");
    drop(held);
    let failure = read(Body::from("0123456789a"), &limits, &memory)
        .await
        .unwrap_err();
    assert_eq!(failure.code, "EXCEED_REQUEST_SIZE_LIMIT");
    assert_eq!(memory.available_permits(), 15);
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let limits = Limits {
        body_read_timeout: Duration::from_millis(20),
        ..Limits::default()
    };
    let endless = Body::from_stream(futures::stream::pending::<
        Result<bytes::Bytes, std::io::Error>,
    >());
    let failure = read(endless, &limits, &Arc::new(Semaphore::new(100)))
        .await
        .unwrap_err();
    assert_eq!(failure.code, "SERVER_TIMEOUT");
}
