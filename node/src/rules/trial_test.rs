//! What `rules test` and `rules explain` tell.

use bson::{doc, rawdoc};
use futures::executor::block_on;

use super::*;
use crate::rules::testing::{NOW_MS, World, user};

fn rules(rule: &bson::Document) -> Rules {
    let access = doc! { "mode": "CUSTOM", "rule": rule };
    Rules::parse(&crate::rules::testing::raw(&access)).expect("rules")
}

fn tried(rules: &Rules, trial: Trial<'_>, world: &World) -> Verdict {
    let me = user("me");
    let asker = Asker {
        user: &me,
        now_ms: NOW_MS,
    };
    block_on(test(rules, asker, trial, world)).expect("a verdict")
}

#[test]
fn verdicts_say_what_decided() {
    let world = World::default();
    let (mine, yours) = (rawdoc! { "_openid": "me" }, rawdoc! { "_openid": "you" });
    let read = |document| Trial {
        action: Action::Read,
        before: Some(document),
        after: None,
        data: None,
    };
    let private = Rules::Private;
    assert!(tried(&private, read(&mine), &world).allowed);
    let refused = tried(&private, read(&yours), &world);
    assert!(
        !refused.allowed && refused.reason.contains("is not"),
        "{refused:?}"
    );
    assert!(!tried(&Rules::AdminOnly, read(&mine), &world).allowed);

    let custom = rules(&doc! { "update": "doc.done != true", "create": "doc.n > 0" });
    let (open, done) = (rawdoc! { "done": false }, rawdoc! { "done": true });
    let update = |before, after| Trial {
        action: Action::Update,
        before: Some(before),
        after: Some(after),
        data: None,
    };
    assert!(tried(&custom, update(&open, &open), &world).allowed);
    let refused = tried(&custom, update(&open, &done), &world);
    assert!(refused.reason.contains("document after"), "{refused:?}");
    let refused = tried(&custom, update(&mine, &yours), &world);
    assert!(refused.reason.contains("_openid"), "{refused:?}");
    let me = user("me");
    let asker = Asker {
        user: &me,
        now_ms: NOW_MS,
    };
    let lacking = Trial {
        action: Action::Create,
        before: Some(&mine),
        after: None,
        data: None,
    };
    let failure = block_on(test(&custom, asker, lacking, &world)).expect_err("lacks a document");
    assert_eq!(failure.code, "INVALID_PARAM");
}

#[test]
fn each_part_is_explained_with_its_value() {
    let world = World::with("users", &doc! {}, &[doc! { "_id": "me", "role": "editor" }]);
    let rules = rules(
        &doc! { "read": "doc.a == 1 && get(`database.users.${auth.uid}`).role in ['editor']" },
    );
    let Permission::When(expression) = rules.permission(Action::Read) else {
        panic!("an expression");
    };
    let me = user("me");
    let asker = Asker {
        user: &me,
        now_ms: NOW_MS,
    };
    let document = rawdoc! { "a": 2 };
    let trial = Trial {
        action: Action::Read,
        before: Some(&document),
        after: None,
        data: None,
    };
    let parts = block_on(explain(expression, asker, trial, &document, &world)).expect("parts");
    let told: Vec<(usize, &str, Bson)> = parts
        .iter()
        .map(|part| {
            let value = part.value.clone().expect("a value");
            (part.depth, part.text.as_str(), value)
        })
        .collect();
    let get = "get(`database.users.${auth.uid}`).role";
    assert_eq!(told[0].2, false.into());
    assert_eq!(told[1], (1, "doc.a == 1", false.into()));
    assert_eq!(told[2], (2, "doc.a", 2.into()));
    assert!(told.contains(&(2, get, "editor".into())), "{told:?}");
    assert!(told.contains(&(4, "auth.uid", "me".into())), "{told:?}");
}
