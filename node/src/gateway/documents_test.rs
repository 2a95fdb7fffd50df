//! What the actions on documents ask of the node, and what they answer.

use bson::{RawDocumentBuf, rawdoc};
use serde_json::{Value, json};
use yunbase_docdb::op::{FindOp, Op, UpdateOp};

use super::Limits;
use super::router_test::{KEY, act, code_of, node, post, request};
use super::stand_in::{NOW_UNIX_MS, StandIn};

#[tokio::test]
async fn inserts_make_ids_and_put_them_first() {
    let node = node();
    let body = json!({"action": "database.insertDocument", "collectionName": "todo", "data": [
        r#"{"n":{"$numberInt":"1"},"at":{"$tcb_server_date":{"offset":{"$numberInt":"5"}}}}"#,
        r#"{"n":{"$numberInt":"2"},"_id":"b"}"#,
        r#"{"_id":{"$numberInt":"3"}}"#,
    ]});
    let answer = act(&node, body).await;
    let ids = answer["data"]["insertedIds"].as_array().unwrap();
    assert_eq!(ids[1..], [json!("b"), json!(3)]);
    let made = ids[0].as_str().unwrap();
    assert!(
        made.len() == 32 && made.starts_with("018bcfe569f4"),
        "{made}"
    );
    let Op::Insert { documents, .. } = node.last_op() else {
        panic!()
    };
    let at = bson::DateTime::from_millis(NOW_UNIX_MS + 5);
    assert_eq!(documents[0], rawdoc! { "_id": made, "n": 1, "at": at });
    assert_eq!(documents[1], rawdoc! { "_id": "b", "n": 2 });
    let again = json!({"action": "database.insertDocument", "collectionName": "todo", "data": [r#"{"_id":"b"}"#]});
    assert_eq!(code_of(&node, again).await, "DATABASE_REQUEST_FAILED");
    let absent =
        json!({"action": "database.insertDocument", "collectionName": "absent", "data": ["{}"]});
    assert_eq!(
        code_of(&node, absent).await,
        "DATABASE_COLLECTION_NOT_EXIST"
    );
}

#[tokio::test]
async fn ids_are_strings_or_numbers() {
    for id in [
        r#"{"$oid":"0123456789abcdef01234567"}"#,
        "null",
        "true",
        "[]",
        "{}",
        r#""""#,
        r#"{"$numberDouble":"NaN"}"#,
        r#"{"$date":5}"#,
        r#"{"$regex":"a"}"#,
    ] {
        let data = format!(r#"{{"_id":{id}}}"#);
        let body =
            json!({"action": "database.insertDocument", "collectionName": "todo", "data": [data]});
        assert_eq!(code_of(&node(), body).await, "INVALID_PARAM", "{id}");
    }
}

#[tokio::test]
async fn the_older_insert_takes_objects() {
    let node = node();
    let body = json!({"action": "database.addDocument", "collectionName": "c", "data": {"at": {"$date": 5}}, "_id": "x"});
    let answer = act(&node, body).await;
    assert_eq!(answer["data"], json!({"insertedIds": ["x"], "_id": "x"}));
    let Op::Insert { documents, .. } = node.last_op() else {
        panic!()
    };
    assert_eq!(
        documents,
        [rawdoc! { "_id": "x", "at": bson::DateTime::from_millis(5) }]
    );
    for (id, stored) in [
        (json!(7), rawdoc! { "_id": 7 }),
        (json!(1.5), rawdoc! { "_id": 1.5 }),
    ] {
        act(
            &node,
            json!({"action": "database.addDocument", "collectionName": "c", "data": {}, "_id": id}),
        )
        .await;
        let Op::Insert { documents, .. } = node.last_op() else {
            panic!()
        };
        assert_eq!(documents, [stored]);
    }
    let two = json!({"action": "database.addDocument", "collectionName": "c", "data": [{}, {}], "_id": "x"});
    assert_eq!(code_of(&node, two).await, "INVALID_PARAM");
}

#[tokio::test]
async fn finds_have_limits_and_defaults() {
    let node = node();
    act(&node, json!({"action": "database.insertDocument", "collectionName": "c", "data": [r#"{"_id":"a","n":1.5}"#]})).await;
    let all = [
        ("query", json!("")),
        ("query", json!(r#"{"_id":"a"}"#)),
        ("queryType", json!("DOC")),
        ("limit", json!(0)),
        ("multi", json!(false)),
    ];
    for (name, value) in all {
        let mut body = json!({"action": "database.getDocument", "collectionName": "c"});
        body[name] = value;
        let answer = act(&node, body).await;
        assert_eq!(
            answer["data"],
            json!({"list": [r#"{"_id":"a","n":{"$numberDouble":"1.5"}}"#], "offset": 0, "limit": 100})
        );
    }
    let body = json!({"action": "database.queryDocument", "collectionName": "c", "query": {"a": {"$gt": 1}}, "offset": 3, "limit": 5000,
        "projection": {"a": 1}, "order": [{"field": "a", "direction": "desc"}]});
    let answer = act(&node, body).await;
    assert_eq!(
        answer["data"],
        json!({"list": [{"_id": "a", "n": 1.5}], "offset": 3, "limit": 1000})
    );
    let expected = FindOp {
        filter: rawdoc! { "a": { "$gt": 1 } },
        projection: rawdoc! { "a": 1 },
        sort: rawdoc! { "a": -1 },
        skip: 3,
        limit: Some(1000),
        after: vec![],
    };
    assert_eq!(
        node.last_op(),
        Op::Find {
            collection: "c".into(),
            find: expected
        }
    );
    let small = Limits {
        answer_bytes_max: 8,
        ..Limits::default()
    };
    let body = json!({"action": "database.getDocument", "collectionName": "c", "envName": "env-1"})
        .to_string();
    let (_, _, answer) = post(&node, small, request(KEY, body)).await;
    assert_eq!(answer["code"], "EXCEED_REQUEST_SIZE_LIMIT");
}

#[tokio::test]
async fn half_a_result_is_never_passed_off_as_a_whole_one() {
    let read = |limit: u64| json!({"action": "database.getDocument", "collectionName": "cut", "limit": limit});
    assert_eq!(code_of(&node(), read(2)).await, "EXCEED_REQUEST_SIZE_LIMIT");
    assert_eq!(
        act(&node(), read(1)).await["data"]["list"],
        json!([r#"{"_id":"a"}"#])
    );
}

fn update(node: &StandIn) -> UpdateOp {
    match node.last_op() {
        Op::Update { update, .. } => update,
        other => panic!("{other:?}"),
    }
}

fn modify(query: &str, data: &str, flags: [bool; 3]) -> Value {
    let [merge, multi, upsert] = flags;
    json!({"action": "database.modifyDocument", "collectionName": "c", "query": query, "data": data, "merge": merge, "multi": multi, "upsert": upsert})
}

#[tokio::test]
async fn merge_tells_updates_from_replacements() {
    let node = node();
    let answer = act(
        &node,
        modify(
            "{}",
            r#"{"$inc":{"n":{"$numberInt":"1"}}}"#,
            [true, true, false],
        ),
    )
    .await;
    assert_eq!(answer["data"], json!({"updated": 1}));
    let sent = update(&node);
    assert_eq!(
        (sent.replace, sent.multi, sent.upsert),
        (false, true, false)
    );
    assert_eq!(sent.update, rawdoc! { "$inc": { "n": 1 } });

    let answer = act(
        &node,
        modify(r#"{"_id":"x"}"#, r#"{"n":1}"#, [false, false, true]),
    )
    .await;
    assert_eq!(answer["data"], json!({"updated": 1, "upsert_id": "new"}));
    let sent = update(&node);
    assert_eq!((sent.replace, sent.multi, sent.upsert), (true, false, true));
    assert_eq!(
        (sent.filter, sent.update),
        (rawdoc! { "_id": "x" }, rawdoc! { "n": 1 })
    );

    act(&node, modify(r#"{"_id":"x"}"#, "{}", [false, false, true])).await;
    assert_eq!(
        update(&node).update,
        RawDocumentBuf::new(),
        "set({{}}) empties the document"
    );

    act(&node, modify("{}", r#"{"a.b":1}"#, [true, true, false])).await;
    assert_eq!(update(&node).update, rawdoc! { "$set": { "a.b": 1 } });

    let older = json!({"action": "database.updateDocument", "collectionName": "c", "query": {"_id": "x"}, "data": {"n": 1}, "merge": false, "multi": false, "upsert": true});
    assert_eq!(
        act(&node, older).await["data"],
        json!({"updated": 1, "upsert_id": "new", "upserted_id": "new"})
    );
}

#[tokio::test]
async fn an_empty_update_changes_nothing() {
    let node = node();
    let answer = act(&node, modify(r#"{"_id":"x"}"#, "{}", [true, false, false])).await;
    assert_eq!(answer["data"], json!({"updated": 0}));
    assert!(node.calls.lock().iter().all(|call| call.op.is_read()));
}

#[tokio::test]
async fn updates_that_make_no_sense_are_refused() {
    for (data, flags) in [
        (r#"{"$set":{"_id":"y"}}"#, [true, true, false]),
        (r#"{"$set":{"_id.x":"y"}}"#, [true, true, false]),
        (r#"{"$unset":{"_id":""}}"#, [true, true, false]),
        (r#"{"$rename":{"a":"_id"}}"#, [true, true, false]),
        (r#"{"_id":"y"}"#, [true, true, false]),
        (r#"{"$set":{"a":1},"b":2}"#, [true, true, false]),
        (r#"{"$set":{"a":1}}"#, [false, false, true]),
        (r#"{"_id":"y"}"#, [false, false, true]),
        (r#"{"a":1}"#, [false, true, false]),
        ("", [true, true, false]),
    ] {
        assert_eq!(
            code_of(&node(), modify("{}", data, flags)).await,
            "INVALID_PARAM",
            "{data}"
        );
    }
    let upsert = modify("{}", r#"{"$setOnInsert":{"_id":"y"}}"#, [true, false, true]);
    assert_eq!(act(&node(), upsert).await["data"]["updated"], 1);
}

#[tokio::test]
async fn an_update_may_return_its_document() {
    let node = node();
    let body = json!({"action": "database.modifyAndReturnDoc", "collectionName": "c", "queryType": "WHERE", "query": "{}", "data": r#"{"$inc":{"n":1}}"#});
    let answer = act(&node, body).await;
    assert_eq!(
        answer["data"],
        json!({"updated": 1, "doc": r#"{"_id":"x","n":{"$numberInt":"1"}}"#})
    );
    assert!(update(&node).return_document);
}

#[tokio::test]
async fn removes_and_counts_take_the_query_as_it_is() {
    let node = node();
    for (action, answer, op) in [
        (
            "removeDocument",
            json!({"deleted": 1}),
            Op::Remove {
                collection: "c".into(),
                filter: rawdoc! { "a": 1 },
                multi: true,
            },
        ),
        (
            "deleteDocument",
            json!({"deleted": 1}),
            Op::Remove {
                collection: "c".into(),
                filter: rawdoc! { "a": 1 },
                multi: true,
            },
        ),
        (
            "calculateDocument",
            json!({"total": 0}),
            Op::Count {
                collection: "c".into(),
                filter: rawdoc! { "a": 1 },
            },
        ),
        (
            "countDocument",
            json!({"total": 0}),
            Op::Count {
                collection: "c".into(),
                filter: rawdoc! { "a": 1 },
            },
        ),
    ] {
        let body = json!({"action": format!("database.{action}"), "collectionName": "c", "query": {"a": 1}, "multi": true});
        assert_eq!(act(&node, body).await["data"], answer, "{action}");
        assert_eq!(node.last_op(), op);
    }
}
