//! What the `rules` commands print and refuse, against a stand-in server.

use clap::Parser;
use yunbase_client::testing::fake::Fake;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    rules: RulesCommand,
}

fn parsed(words: &[&str]) -> Verb {
    let common = ["rules", "--target", "http://none", "--env", "demo"];
    Cli::try_parse_from(common.iter().chain(words))
        .unwrap_or_else(|error| panic!("{error}"))
        .rules
        .verb
}

fn trial(words: &[&str]) -> TrialArgs {
    match parsed(words) {
        Verb::Test(args) | Verb::Explain(args) => args,
        other => panic!("{other:?}"),
    }
}

fn set(words: &[&str]) -> Result<Document, CliError> {
    match parsed(words) {
        Verb::Set(args) => args.access(),
        other => panic!("{other:?}"),
    }
}

async fn verdict(target: &Environment, words: &[&str]) -> bool {
    let attempt = trial(words).prepare(target).await.unwrap();
    test(
        &attempt.rules,
        attempt.asker(),
        attempt.trial(),
        &attempt.documents,
    )
    .await
    .unwrap()
    .allowed
}

#[test]
fn modes_and_rules_become_access_documents() {
    assert_eq!(
        set(&["set", "c", "readonly"]).unwrap(),
        doc! { "mode": "READONLY" }
    );
    let rule = r#"{"read": true, "write": "doc.a == 1"}"#;
    assert_eq!(
        set(&["set", "c", "custom", "--rule", rule]).unwrap(),
        doc! { "mode": "CUSTOM", "rule": { "read": true, "write": "doc.a == 1" } }
    );
    for (words, part) in [
        (vec!["set", "c", "custom"], "rule"),
        (vec!["set", "c", "private", "--rule", rule], "leave it out"),
        (
            vec!["set", "c", "custom", "--rule", r#"{"read": "doc.a = 1"}"#],
            "at character 7",
        ),
        (vec!["set", "c", "custom", "--rule", "read"], "--rule"),
    ] {
        let error = set(&words).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.message.contains(part), "{error}");
    }
}

#[tokio::test]
async fn rules_that_are_set_and_rules_that_are_tried_judge_documents() {
    let fake = Fake::start(1).await;
    let target = Environment::of_fake(&fake);
    let client = target.connect().await.unwrap();
    client.create_collection("c").await.unwrap();
    client.create_collection("users").await.unwrap();
    client
        .collection::<Document>("users")
        .insert_one(&doc! { "_id": "ann", "role": "editor" })
        .await
        .unwrap();
    let own = r#"{"_openid": "ann"}"#;
    assert!(
        verdict(
            &target,
            &["test", "c", "read", "--openid", "ann", "--before", own]
        )
        .await
    );
    assert!(
        !verdict(
            &target,
            &["test", "c", "read", "--openid", "bob", "--before", own]
        )
        .await
    );
    let access = doc! { "mode": "ADMINONLY" };
    let collection = client.collection::<Document>("c");
    collection.set_access(&access).await.unwrap();
    assert_eq!(collection.access().await.unwrap(), access);
    assert!(
        !verdict(
            &target,
            &["test", "c", "read", "--openid", "ann", "--before", own]
        )
        .await
    );
    let rule = r#"{"create": "get(`database.users.${auth.uid}`).role == 'editor' && doc.n > 0"}"#;
    let create = |who, after| {
        [
            "test", "c", "create", "--openid", who, "--rule", rule, "--after", after,
        ]
    };
    assert!(verdict(&target, &create("ann", r#"{"n": 1}"#)).await);
    assert!(!verdict(&target, &create("ann", r#"{"n": 0}"#)).await);
    assert!(!verdict(&target, &create("bob", r#"{"n": 1}"#)).await);

    let mut explained = create("ann", r#"{"n": 0}"#);
    explained[0] = "explain";
    let rows = trial(&explained)
        .prepare(&target)
        .await
        .unwrap()
        .explain()
        .await
        .unwrap();
    assert_eq!(rows[0].get_bool("value").ok(), Some(false));
    let part = |text: &str| {
        rows.iter()
            .find(|row| row.get_str("part").unwrap().trim() == text)
            .unwrap_or_else(|| panic!("{text}: {rows:?}"))
    };
    assert_eq!(part("doc.n").get_i32("value").ok(), Some(0));
    assert_eq!(part("doc.n > 0").get_bool("value").ok(), Some(false));
}
