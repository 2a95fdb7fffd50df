//! Typed members of actions: what is taken and what is refused, by name.

use bson::rawdoc;

use super::Params;
use crate::gateway::body::Members;
use crate::gateway::limits::Limits;

fn with<T>(body: &str, read: impl FnOnce(&Params<'_>) -> T) -> T {
    let limits = Limits {
        insert_documents_max: 3,
        name_bytes_max: 10,
        ..Limits::default()
    };
    let members = Members::parse(body.as_bytes(), &limits).unwrap();
    read(&Params::new(&members, &limits, 0))
}

#[test]
fn absent_null_and_empty_are_the_same() {
    for body in ["{}", r#"{"query":null}"#, r#"{"query":""}"#] {
        with(body, |params| {
            assert_eq!(params.document("query").unwrap(), None);
        });
    }
    with(r#"{"query":"{}"}"#, |params| {
        assert_eq!(params.document("query").unwrap(), Some(rawdoc! {}));
    });
}

#[test]
fn queries_are_strings_or_objects() {
    let expected = rawdoc! { "a": 1 };
    for body in [
        r#"{"query":"{\"a\":{\"$numberInt\":\"1\"}}"}"#,
        r#"{"query":{"a":1}}"#,
    ] {
        with(body, |params| {
            assert_eq!(params.document("query").unwrap().unwrap(), expected);
        });
    }
    for body in [
        r#"{"query":5}"#,
        r#"{"query":[]}"#,
        r#"{"query":"x"}"#,
        r#"{"query":"[]"}"#,
        r#"{"query":"\"{}\""}"#,
    ] {
        let failure = with(body, |params| params.document("query").unwrap_err());
        assert_eq!(failure.code, "INVALID_PARAM");
        assert!(failure.message.contains("`query`"), "{}", failure.message);
    }
}

#[test]
fn orders_keep_their_sequence() {
    let expected = rawdoc! { "b.c": -1, "a": 1 };
    for body in [
        r#"{"order":"{\"b.c\":{\"$numberInt\":\"-1\"},\"a\":{\"$numberInt\":\"1\"}}"}"#,
        r#"{"order":[{"field":"b.c","direction":"desc"},{"field":"a","direction":"asc"}]}"#,
        r#"{"order":{"b.c":-1.0,"a":1}}"#,
    ] {
        with(body, |params| assert_eq!(params.order().unwrap(), expected));
    }
    for body in [
        r#"{"order":{"a":2}}"#,
        r#"{"order":[{"field":"a"}]}"#,
        r#"{"order":["a"]}"#,
        r#"{"order":{"a":"asc"}}"#,
    ] {
        assert!(
            with(body, |params| params.order().unwrap_err())
                .message
                .contains("`order`"),
            "{body}"
        );
    }
}

#[test]
fn counts_are_whole() {
    for (raw, expected) in [("0", 0), ("12", 12), ("1e2", 100), ("5.0", 5)] {
        with(&format!(r#"{{"limit":{raw}}}"#), |params| {
            assert_eq!(params.count("limit").unwrap(), Some(expected));
        });
    }
    for raw in ["-1", "1.5", "\"5\"", "{}", "1e300", "true"] {
        assert!(
            with(&format!(r#"{{"limit":{raw}}}"#), |params| params
                .count("limit")
                .is_err()),
            "{raw}"
        );
    }
}

#[test]
fn documents_come_alone_or_in_an_array() {
    let expected = vec![rawdoc! { "a": 1 }];
    for body in [
        r#"{"data":["{\"a\":1}"]}"#,
        r#"{"data":[{"a":1}]}"#,
        r#"{"data":{"a":1}}"#,
        r#"{"data":"{\"a\":1}"}"#,
    ] {
        with(body, |params| {
            assert_eq!(params.documents("data").unwrap(), expected);
        });
    }
    for body in [
        "{}",
        r#"{"data":[]}"#,
        r#"{"data":[{},{},{},{}]}"#,
        r#"{"data":[5]}"#,
        r#"{"data":[[]]}"#,
    ] {
        assert!(
            with(body, |params| params.documents("data").is_err()),
            "{body}"
        );
    }
}

#[test]
fn flags_and_names_have_their_types() {
    with(r#"{"multi":true,"collectionName":"todo"}"#, |params| {
        assert_eq!(params.flag("multi").unwrap(), Some(true));
        assert_eq!(params.flag("merge").unwrap(), None);
        assert_eq!(params.collection().unwrap(), "todo");
    });
    for body in [
        r#"{"collectionName":5}"#,
        "{}",
        r#"{"collectionName":"elevenbytes"}"#,
        r#"{"collectionName":""}"#,
    ] {
        assert!(with(body, |params| params.collection().is_err()), "{body}");
    }
    assert!(with(r#"{"multi":"true"}"#, |params| params
        .flag("multi")
        .is_err()));
}
