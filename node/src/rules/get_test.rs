//! Rules that read other documents.

use bson::{Bson, Document, doc};

use super::limits::REQUEST_GETS_MAX;
use super::refusal::DENIED;
use super::testing::{World, find, found, insert, update, update_all, user};

fn world(rule: Document) -> World {
    let world = World::with(
        "posts",
        &doc! { "mode": "CUSTOM", "rule": rule },
        &[
            doc! { "_id": "p1", "room": "r1", "text": "a" },
            doc! { "_id": "p2", "room": "r2", "text": "b" },
            doc! { "_id": "p3", "text": "c" },
        ],
    );
    world.add(
        "rooms",
        &doc! { "mode": "ADMINONLY" },
        &[
            doc! { "_id": "r1", "members": ["me"], "next": "r2" },
            doc! { "_id": "r2", "members": ["you"] },
        ],
    );
    world.add(
        "users",
        &doc! { "mode": "ADMINONLY" },
        &[doc! { "_id": "me", "role": "editor", "room": "r1" }],
    );
    world
}

fn texts(world: &World, who: &str, filter: Document) -> Result<Vec<String>, String> {
    match world.run_as(&user(who), find("posts", filter)) {
        Ok(reply) => Ok(found(reply)
            .iter()
            .map(|document| document.get_str("text").expect("text").to_owned())
            .collect()),
        Err(failure) => {
            assert_eq!(failure.code, DENIED, "{failure}");
            Err(failure.message)
        }
    }
}

#[test]
fn a_document_of_another_collection_decides() {
    let world = world(doc! { "read": "get(`database.users.${auth.uid}`).role == 'editor'" });
    assert_eq!(texts(&world, "me", doc! {}).map(|texts| texts.len()), Ok(3));
    assert!(texts(&world, "you", doc! {}).is_err());
    world
        .run(update(
            "users",
            doc! { "_id": "me" },
            doc! { "$set": { "role": "reader" } },
        ))
        .expect("updated");
    assert!(texts(&world, "me", doc! {}).is_err());
}

#[test]
fn a_document_can_name_the_one_that_decides() {
    let world = world(doc! { "read": "auth.openid in get(`database.rooms.${doc.room}`).members" });
    assert_eq!(
        texts(&world, "me", doc! { "_id": "p1" }),
        Ok(vec!["a".into()])
    );
    assert!(texts(&world, "me", doc! { "_id": "p2" }).is_err());
    assert!(texts(&world, "me", doc! { "_id": "p3" }).is_err());
    assert_eq!(
        texts(&world, "me", doc! { "room": "r1" }),
        Ok(vec!["a".into()])
    );
    assert!(texts(&world, "me", doc! { "room": "r2" }).is_err());
    let refused = texts(&world, "me", doc! {}).expect_err("refused");
    assert!(refused.contains("doc.room"), "{refused}");
}

#[test]
fn a_get_can_name_its_document_by_another() {
    let rule = "get(`database.rooms.${get(`database.users.me`).room}`).next == doc.room";
    // Templates do not nest, so the inner one is written as a text.
    let rule = rule.replace("`database.users.me`", "'database.users.me'");
    let world = world(doc! { "read": rule });
    assert_eq!(
        texts(&world, "me", doc! { "room": "r2" }),
        Ok(vec!["b".into()])
    );
    assert!(texts(&world, "me", doc! { "room": "r1" }).is_err());
}

#[test]
fn an_update_cannot_lead_the_rule_to_another_document() {
    let world = world(
        doc! { "read": true, "update": "auth.openid in get(`database.rooms.${doc.room}`).members" },
    );
    let me = user("me");
    let move_on = doc! { "$set": { "room": "r2" } };
    for op in [
        update("posts", doc! { "_id": "p1" }, move_on.clone()),
        update_all("posts", doc! { "room": "r1" }, move_on),
    ] {
        assert_eq!(world.run_as(&me, op).expect_err("refused").code, DENIED);
    }
    world
        .run_as(
            &me,
            update(
                "posts",
                doc! { "_id": "p1" },
                doc! { "$set": { "text": "x" } },
            ),
        )
        .expect("updated");
}

#[test]
fn a_request_reads_a_bounded_number_of_documents() {
    let world = world(doc! { "create": "get(`database.rooms.${doc.room}`) == null" });
    let documents = |count: usize| -> Vec<Document> {
        (0..count)
            .map(|n| doc! { "_id": format!("n{n}"), "room": format!("none{n}") })
            .collect()
    };
    let me = user("me");
    let failure = world
        .run_as(&me, insert("posts", &documents(REQUEST_GETS_MAX + 1)))
        .expect_err("refused");
    assert!(failure.message.contains("more than 10"), "{failure}");
    assert!(
        world
            .run_as(&me, insert("posts", &documents(REQUEST_GETS_MAX)))
            .is_ok()
    );
}

#[test]
fn values_that_make_no_path_are_refused() {
    let world = world(doc! { "create": "get(`database.rooms.${doc.room}`) == null" });
    for room in [Bson::Null, Bson::Array(vec![]), 1.5.into(), "".into()] {
        let document = doc! { "_id": "n", "room": room };
        let failure = world
            .run_as(&user("me"), insert("posts", &[document]))
            .expect_err("refused");
        assert_eq!(failure.code, DENIED);
    }
    // A collection of the system is not reached by a value either.
    let rule = doc! { "create": "get(`database.${doc.room}.x`) == null" };
    world
        .run(yunbase_docdb::op::Op::SetAccess {
            collection: "posts".into(),
            access: super::testing::raw(&doc! { "mode": "CUSTOM", "rule": rule }),
        })
        .expect("set");
    let document = doc! { "_id": "n", "room": "_sys" };
    let failure = world
        .run_as(&user("me"), insert("posts", &[document]))
        .expect_err("refused");
    assert_eq!(failure.code, DENIED);
}
