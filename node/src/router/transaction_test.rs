//! Transactions through routers: what an end user may do in one, and what ends it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bson::{Document, doc};
use yunbase_docdb::op::{FindOp, Op, OpReply};

use crate::auth::records::SESSIONS;
use crate::call::{Caller, Failure};
use crate::router::transaction::TransactionCall;
use crate::router::user::tests::{Pair, Side, as_admin, call, pair};
use crate::rules::refusal::DENIED;
use crate::rules::testing::{
    ENV, count, find, found, insert, raw, remove, set, update, update_all, upsert, user,
};
use crate::transactions::{CONFLICT, NOT_EXIST, Step};

fn administrator() -> Caller {
    Caller::Administrator {
        key_id: "AK".into(),
    }
}

fn as_user(name: &str) -> Caller {
    Caller::User(Arc::new(user(name)))
}

/// A transaction that is always asked for at the other node.
struct Begun<'p> {
    through: &'p Side,
    caller: Caller,
    id: String,
}

impl<'p> Begun<'p> {
    fn new(pair: &'p Pair, caller: Caller) -> Self {
        let id = pair.near.router.begin_transaction(ENV, &caller);
        Self {
            through: &pair.far,
            caller,
            id: id.expect("begun"),
        }
    }

    async fn step_as(&self, caller: &Caller, step: Step) -> Result<OpReply, Failure> {
        let call = TransactionCall {
            id: self.id.clone(),
            step,
            caller: caller.clone(),
            env: ENV.into(),
            deadline: Instant::now() + Duration::from_secs(10),
            request_id: "r1".into(),
        };
        self.through.router.transact(call).await
    }

    async fn run(&self, op: Op) -> Result<OpReply, Failure> {
        self.step_as(&self.caller, Step::Run(op)).await
    }

    async fn find(&self, collection: &str, filter: Document) -> Vec<Document> {
        found(self.run(find(collection, filter)).await.expect("read"))
    }

    async fn refused(&self, op: Op) -> String {
        let name = format!("{op:?}");
        self.run(op).await.expect_err(&name).code.into_owned()
    }

    async fn commit(&self) -> Result<OpReply, Failure> {
        self.step_as(&self.caller, Step::Commit).await
    }

    async fn lost(&self) {
        assert_eq!(self.commit().await.expect_err("lost").code, CONFLICT);
    }
}

/// A collection `c` with these rules and a document of `me` and of `you`, who are both signed in.
async fn world(access: Document) -> Pair {
    let pair = pair().await;
    for collection in ["c", SESSIONS] {
        let create = Op::CreateCollection {
            collection: collection.into(),
        };
        let done = call(&pair.near, Caller::System, create).await;
        assert_eq!(done, Ok(OpReply::Done));
    }
    let expires_at_ms = i64::MAX;
    let session = doc! { "_id": "s", "uid": "me", "expires_at_ms": expires_at_ms };
    let inserted = call(&pair.near, Caller::System, insert(SESSIONS, &[session])).await;
    assert!(inserted.is_ok(), "{inserted:?}");
    set_access(&pair, access).await;
    let documents = [
        doc! { "_id": "m", "_openid": "me", "n": 1 },
        doc! { "_id": "y", "_openid": "you", "n": 1 },
    ];
    as_admin(&pair.near, insert("c", &documents)).await;
    pair
}

async fn set_access(pair: &Pair, access: Document) {
    let set = Op::SetAccess {
        collection: "c".into(),
        access: raw(&access),
    };
    as_admin(&pair.near, set).await;
}

async fn all(pair: &Pair) -> Vec<Document> {
    found(as_admin(&pair.far, find("c", doc! {})).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_sees_and_changes_its_own_documents() {
    let pair = world(doc! {}).await;
    let own = Begun::new(&pair, as_user("me"));
    let mine = doc! { "_id": "m", "_openid": "me", "n": 1 };
    assert_eq!(own.find("c", doc! {}).await, std::slice::from_ref(&mine));
    assert_eq!(own.find("c", doc! { "_id": "m" }).await, [mine]);
    assert!(own.find("c", doc! { "_id": "y" }).await.is_empty());
    let bump = doc! { "$inc": { "n": 1 } };
    for (filter, expected) in [("m", 1), ("y", 0)] {
        let reply = own
            .run(update("c", doc! { "_id": filter }, bump.clone()))
            .await;
        let Ok(OpReply::Updated { modified, .. }) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(modified, expected, "{filter}");
    }
    own.run(insert("c", &[doc! { "_id": "new", "n": 5 }]))
        .await
        .expect("inserted");
    own.run(set("c", doc! { "_id": "set" }, doc! { "n": 6 }))
        .await
        .expect("set");
    own.run(set("c", doc! { "_id": "new" }, doc! { "n": 7 }))
        .await
        .expect("replaced");
    let removed = own.run(remove("c", doc! { "_id": "y" }, false)).await;
    assert_eq!(removed, Ok(OpReply::Removed { removed: 0 }));
    let seen = own.find("c", doc! { "n": { "$gte": 2 } }).await;
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert_eq!(all(&pair).await.len(), 2, "nobody else sees anything");
    own.commit().await.expect("committed");
    assert_eq!(
        all(&pair).await,
        [
            doc! { "_id": "m", "_openid": "me", "n": 2 },
            doc! { "_id": "new", "n": 7, "_openid": "me" },
            doc! { "_id": "set", "n": 6, "_openid": "me" },
            doc! { "_id": "y", "_openid": "you", "n": 1 },
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_forbid_is_refused_inside_too() {
    let rule = doc! {
        "read": true, "create": "doc.n >= 0", "delete": false,
        "update": "doc._openid == auth.openid && doc.n < 10",
    };
    let pair = world(doc! { "mode": "CUSTOM", "rule": rule }).await;
    let own = Begun::new(&pair, as_user("me"));
    let by_id = |id: &str| doc! { "_id": id };
    for op in [
        update("c", by_id("y"), doc! { "$set": { "n": 2 } }),
        update("c", by_id("m"), doc! { "$set": { "n": 10 } }),
        update("c", by_id("m"), doc! { "$set": { "_openid": "you" } }),
        update_all("c", doc! {}, doc! { "$set": { "n": 2 } }),
        upsert("c", by_id("y"), doc! { "$set": { "n": 2 } }),
        set("c", by_id("y"), doc! { "n": 2 }),
        set("c", by_id("m"), doc! { "n": 2, "_openid": "you" }),
        set("c", by_id("new"), doc! { "n": -1 }),
        insert("c", &[doc! { "_id": "new", "n": -1 }]),
        insert("c", &[doc! { "_id": "new", "n": 1, "_openid": "you" }]),
        remove("c", by_id("m"), false),
        find("_sys.users", doc! {}),
        find(SESSIONS, doc! {}),
    ] {
        assert_eq!(own.refused(op).await, DENIED);
    }
    // Before and after in the transaction's own view.
    own.run(update("c", by_id("m"), doc! { "$set": { "n": 9 } }))
        .await
        .expect("within the rule");
    let over = update("c", by_id("m"), doc! { "$inc": { "n": 1 } });
    assert_eq!(own.refused(over).await, DENIED);
    // A step that is refused in its second document leaves nothing of the first.
    let two = [doc! { "_id": "a", "n": 1 }, doc! { "_id": "b", "n": -1 }];
    assert_eq!(own.refused(insert("c", &two)).await, DENIED);
    for op in [
        count("c", doc! {}),
        Op::ListCollections,
        Op::Aggregate {
            collection: "c".into(),
            pipeline: vec![],
            seed: 0,
        },
    ] {
        assert_eq!(own.refused(op).await, "INVALID_PARAM");
    }
    own.commit().await.expect("committed");
    assert_eq!(
        all(&pair).await,
        [
            doc! { "_id": "m", "_openid": "me", "n": 9 },
            doc! { "_id": "y", "_openid": "you", "n": 1 },
        ]
    );
    let denials = pair.near.router.denials().recent(ENV, 100);
    assert!(denials.len() >= 14, "{}", denials.len());
    assert!(denials.iter().all(|denial| denial.uid == "me"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_rules_and_the_end_of_a_session_come_before_the_commit() {
    let pair = world(doc! { "mode": "READONLY" }).await;
    let write = update("c", doc! { "_id": "m" }, doc! { "$inc": { "n": 1 } });
    let writing = Begun::new(&pair, as_user("me"));
    writing.run(write.clone()).await.expect("updated");
    let adding = Begun::new(&pair, as_user("me"));
    adding
        .run(insert("c", &[doc! { "_id": "new" }]))
        .await
        .expect("added");
    let reading = Begun::new(&pair, as_user("me"));
    assert_eq!(reading.find("c", doc! {}).await.len(), 2);
    set_access(&pair, doc! { "mode": "ADMINONLY" }).await;
    writing.lost().await;
    adding.lost().await;
    assert_eq!(
        reading.refused(find("c", doc! { "_id": "y" })).await,
        CONFLICT
    );
    // Run again, it is told what is the matter.
    let again = Begun::new(&pair, as_user("me"));
    assert_eq!(again.refused(write.clone()).await, DENIED);
    // Rules that have become milder refuse nothing by what they were.
    set_access(&pair, doc! { "mode": "ADMINWRITE" }).await;
    let early = Begun::new(&pair, as_user("me"));
    assert_eq!(early.find("c", doc! {}).await.len(), 2);
    set_access(&pair, doc! { "mode": "READONLY" }).await;
    assert_eq!(
        early.refused(insert("c", &[doc! { "_id": "new" }])).await,
        CONFLICT
    );

    let last = Begun::new(&pair, as_user("me"));
    last.run(write).await.expect("updated");
    let ended = call(&pair.far, Caller::System, remove(SESSIONS, doc! {}, true)).await;
    assert_eq!(ended, Ok(OpReply::Removed { removed: 1 }));
    last.lost().await;
    assert_eq!(
        all(&pair).await[0],
        doc! { "_id": "m", "_openid": "me", "n": 1 }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_get_reads_is_part_of_the_transaction() {
    let pair = world(doc! {}).await;
    let create = Op::CreateCollection {
        collection: "teams".into(),
    };
    as_admin(&pair.near, create).await;
    as_admin(
        &pair.near,
        insert("teams", &[doc! { "_id": "me", "open": true }]),
    )
    .await;
    let rule = "get(`database.teams.${auth.uid}`).open == true";
    set_access(
        &pair,
        doc! { "mode": "CUSTOM", "rule": { "read": true, "write": rule } },
    )
    .await;
    let own = Begun::new(&pair, as_user("me"));
    own.run(insert("c", &[doc! { "_id": "new" }]))
        .await
        .expect("the team is open");
    let close = update(
        "teams",
        doc! { "_id": "me" },
        doc! { "$set": { "open": false } },
    );
    as_admin(&pair.near, close).await;
    own.lost().await;
    let again = Begun::new(&pair, as_user("me"));
    assert_eq!(
        again.refused(insert("c", &[doc! { "_id": "new" }])).await,
        DENIED
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_cannot_see_does_not_stand_in_its_way() {
    let pair = world(doc! {}).await;
    let own = Begun::new(&pair, as_user("me"));
    assert!(own.find("c", doc! { "_id": "y" }).await.is_empty());
    assert_eq!(own.find("c", doc! { "n": 1 }).await.len(), 1);
    let others = [
        update("c", doc! { "_id": "y" }, doc! { "$set": { "n": 1.5 } }),
        insert("c", &[doc! { "_id": "z", "_openid": "you", "n": 1 }]),
    ];
    for op in others {
        as_admin(&pair.near, op).await;
    }
    own.commit().await.expect("committed");
    // Until it becomes the user's.
    let own = Begun::new(&pair, as_user("me"));
    assert!(own.find("c", doc! { "_id": "y" }).await.is_empty());
    own.run(insert("c", &[doc! { "_id": "new" }]))
        .await
        .expect("added");
    let give = update(
        "c",
        doc! { "_id": "y" },
        doc! { "$set": { "_openid": "me" } },
    );
    as_admin(&pair.near, give).await;
    own.lost().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_nobody_elses() {
    let pair = world(doc! {}).await;
    let own = Begun::new(&pair, as_user("me"));
    let write = update("c", doc! { "_id": "m" }, doc! { "$inc": { "n": 1 } });
    own.run(write.clone()).await.expect("updated");
    for other in [as_user("you"), administrator()] {
        for step in [Step::Run(write.clone()), Step::Abort, Step::Commit] {
            let refused = own.step_as(&other, step).await.expect_err("refused");
            assert_eq!(refused.code, NOT_EXIST);
        }
    }
    own.commit().await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_appears_behind_a_query() {
    let pair = world(doc! {}).await;
    let sees_two = async || {
        let own = Begun::new(&pair, administrator());
        assert_eq!(own.find("c", doc! { "n": { "$gt": 0 } }).await.len(), 2);
        own.run(insert("c", &[doc! { "_id": "sum", "n": 0, "of": 2 }]))
            .await
            .expect("added");
        own
    };
    let admin = async |op: Op| {
        as_admin(&pair.near, op).await;
    };
    let own = sees_two().await;
    admin(insert("c", &[doc! { "_id": "x", "n": 3 }])).await;
    own.lost().await;
    admin(update(
        "c",
        doc! { "_id": "x" },
        doc! { "$set": { "n": -1 } },
    ))
    .await;

    // What does not concern it does not.
    let own = sees_two().await;
    admin(insert("c", &[doc! { "_id": "w", "n": -3 }])).await;
    admin(update(
        "c",
        doc! { "_id": "x" },
        doc! { "$set": { "n": -2 } },
    ))
    .await;
    own.commit().await.expect("committed");
    admin(remove("c", doc! { "_id": "sum" }, false)).await;

    // Into the result, out of it, and changed in it.
    for (id, n) in [("x", 5), ("x", -5), ("m", 2)] {
        let own = Begun::new(&pair, administrator());
        own.find("c", doc! { "n": { "$gt": 0 } }).await;
        own.run(insert("c", &[doc! { "_id": "sum" }]))
            .await
            .expect("added");
        admin(update("c", doc! { "_id": id }, doc! { "$set": { "n": n } })).await;
        own.lost().await;
    }
    // A query that finds nothing is one too, and so is that of an update; one by itself is of one moment.
    let own = Begun::new(&pair, administrator());
    let none = update_all("c", doc! { "n": 77 }, doc! { "$inc": { "n": 1 } });
    own.run(none).await.expect("nothing");
    own.run(insert("c", &[doc! { "_id": "none" }]))
        .await
        .expect("added");
    admin(insert("c", &[doc! { "_id": "late", "n": 77 }])).await;
    own.lost().await;
    let own = Begun::new(&pair, administrator());
    let first = Op::Find {
        collection: "c".into(),
        find: FindOp {
            filter: raw(&doc! { "n": 77 }),
            limit: Some(1),
            ..FindOp::default()
        },
    };
    own.run(first).await.expect("found");
    admin(remove("c", doc! { "_id": "late" }, false)).await;
    own.commit().await.expect("one look");
}
