//! Rules become filters that mean the same.

use bson::{Document, doc, rawdoc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use yunbase_docdb::filter::{Filter, FilterContext};

use super::*;
use crate::rules::testing::{NOW_MS, raw, user};

fn folded(source: &str, subject: Subject<'_>) -> Result<Condition, Stop> {
    let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let data = rawdoc! { "title": "t", "nested": { "x": 1 }, "list": [1] };
    let me = user("me");
    fold(
        &expression,
        &Scope {
            user: &me,
            now_ms: NOW_MS,
            data: Some(&data),
            subject,
            fetched: &Fetched::new(),
        },
    )
}

fn on(source: &str, document: &Document) -> bool {
    match folded(source, Subject::Document(&raw(document))) {
        Ok(Condition::Always) => true,
        Ok(Condition::Never) => false,
        other => panic!("{source} on {document}: {other:?}"),
    }
}

fn as_filter(source: &str) -> Document {
    folded(source, Subject::Fixed(&BTreeMap::new()))
        .unwrap_or_else(|stop| panic!("{source}: {stop:?}"))
        .to_filter()
}

#[test]
fn what_is_known_of_the_caller_becomes_constants() {
    for (source, expected) in [
        ("auth.openid == 'me' && auth.uid == 'me'", true),
        ("auth.loginType == 'USERNAME'", true),
        ("auth != null", true),
        ("auth == null", false),
        ("now >= 1700000000000 && now < 1700000000001", true),
        (
            "request.data.title == 't' && request.data.nested.x == 1",
            true,
        ),
        ("request.data.missing == null", true),
        ("request.data.list == [1] && request.data.list.0 == 1", true),
        (
            "request.data.list.1 == null && request.data.list.x != null",
            true,
        ),
        ("auth.openid in ['you', 'me']", true),
        ("auth.openid in request.data.list", false),
        ("1 < 'a' || 'a' < 1 || null <= null", false),
        ("1 == 1.0 && 'a' != 1", true),
        // What stands behind a decided operand is not evaluated: this get() has no document.
        ("auth.openid == 'you' && get('database.c.1').x == 1", false),
    ] {
        assert_eq!(
            folded(source, Subject::Fixed(&BTreeMap::new())),
            Ok(Condition::constant(expected)),
            "{source}"
        );
    }
}

#[test]
fn what_is_not_known_becomes_a_filter() {
    let plain = |path: &str, value: Bson| {
        doc! { path: { "$eq": value, "$not": { "$type": "array" } } }
    };
    assert_eq!(
        as_filter("doc._openid == auth.openid"),
        plain("_openid", "me".into())
    );
    assert_eq!(as_filter("doc.open"), plain("open", true.into()));
    assert_eq!(
        as_filter("auth.openid == 'you' || 5 > doc.n"),
        doc! { "n": { "$lt": 5, "$not": { "$type": "array" } } }
    );
    assert_eq!(
        as_filter("doc.a in ['x', 'y'] && auth.openid in doc.members"),
        doc! { "$and": [
            { "a": { "$in": ["x", "y"], "$not": { "$type": "array" } } },
            { "members": { "$eq": "me", "$type": "array" } },
        ] }
    );
}

#[test]
fn an_array_never_passes_for_its_element() {
    for document in [
        doc! { "role": ["user", "admin"] },
        doc! { "role": [["user"]] },
    ] {
        assert!(!on("doc.role == 'user'", &document));
        assert!(on("doc.role != 'user'", &document));
    }
    assert!(!on("doc.a.b == 1", &doc! { "a": [{ "b": 1 }] }));
    assert!(on("'user' in doc.role", &doc! { "role": ["user"] }));
    assert!(!on("'user' in doc.role", &doc! { "role": "user" }));
}

#[test]
fn documents_that_are_missing_equal_nothing() {
    let expression = Expression::parse("get('database.c.1').owner == doc.owner").expect("parsed");
    let me = user("me");
    let key = DocumentKey {
        collection: "c".into(),
        id: "1".into(),
    };
    let document = rawdoc! {};
    let mut fetched = Fetched::new();
    let judge = |fetched: &Fetched| {
        fold(
            &expression,
            &Scope {
                user: &me,
                now_ms: NOW_MS,
                data: None,
                subject: Subject::Document(&document),
                fetched,
            },
        )
    };
    assert_eq!(judge(&fetched), Err(Stop::Fetch(key.clone())));
    fetched.insert(key.clone(), None);
    assert_eq!(judge(&fetched), Ok(Condition::Never));
    fetched.insert(key, Some(rawdoc! { "_id": "1" }));
    assert_eq!(judge(&fetched), Ok(Condition::Always));
}

#[test]
fn a_get_demands_the_field_that_named_its_document() {
    let expression =
        Expression::parse("!(get(`database.rooms.${doc.room}`).closed == true)").expect("parsed");
    let me = user("me");
    let mut fetched = Fetched::new();
    fetched.insert(
        DocumentKey {
            collection: "rooms".into(),
            id: "r1".into(),
        },
        Some(rawdoc! { "closed": false }),
    );
    let judge = |fixed: &BTreeMap<String, Bson>| {
        fold(
            &expression,
            &Scope {
                user: &me,
                now_ms: NOW_MS,
                data: None,
                subject: Subject::Fixed(fixed),
                fetched: &fetched,
            },
        )
    };
    assert_eq!(judge(&BTreeMap::new()), Err(Stop::Unfixed("room".into())));
    let condition = judge(&BTreeMap::from([("room".to_owned(), "r1".into())])).expect("folded");
    assert_eq!(
        condition.to_filter(),
        doc! { "room": { "$eq": "r1", "$not": { "$type": "array" } } }
    );
}

fn value(random: &mut StdRng, depth: usize) -> Bson {
    match random.random_range(0..if depth == 0 { 9 } else { 12 }) {
        0 => Bson::Null,
        1 => true.into(),
        2 => false.into(),
        3 => Bson::Int32(random.random_range(0..3)),
        4 => Bson::Double(1.5),
        5 => "me".into(),
        6 => "x".into(),
        7 => Bson::DateTime(bson::DateTime::from_millis(
            NOW_MS + random.random_range(-1..2),
        )),
        8 => Bson::Int64(NOW_MS + random.random_range(-1..2)),
        9 | 10 => {
            let count = random.random_range(0..3);
            Bson::Array((0..count).map(|_| value(random, depth - 1)).collect())
        }
        _ => Bson::Document(document(random, depth - 1)),
    }
}

fn document(random: &mut StdRng, depth: usize) -> Document {
    let mut document = Document::new();
    for name in ["a", "b", "c"] {
        if random.random_bool(0.7) {
            document.insert(name, value(random, depth));
        }
    }
    document
}

fn pick<'a>(random: &mut StdRng, choices: &[&'a str]) -> &'a str {
    choices[random.random_range(0..choices.len())]
}

fn operand(random: &mut StdRng) -> &'static str {
    pick(
        random,
        &[
            "doc.a",
            "doc.b",
            "doc.c",
            "doc.a.b",
            "doc.b.c",
            "doc.a.b.c",
            "auth.openid",
            "now",
            "1",
            "1.5",
            "'x'",
            "true",
            "null",
            "[1, 'x']",
            "[]",
            "request.data.nested",
            "request.data.list",
        ],
    )
}

fn condition(random: &mut StdRng, depth: usize) -> String {
    let pieces = if depth == 0 { 4 } else { 7 };
    match random.random_range(0..pieces) {
        0 => pick(random, &["doc.a", "doc.b", "doc.a.b", "true", "false"]).to_owned(),
        1 => format!("{} in {}", operand(random), operand(random)),
        2 => format!(
            "{} in [{}, {}]",
            operand(random),
            operand(random),
            operand(random)
        ),
        3 => format!(
            "{} {} {}",
            operand(random),
            pick(random, &["==", "!=", "<", "<=", ">", ">="]),
            operand(random)
        ),
        4 => format!(
            "({} && {})",
            condition(random, depth - 1),
            condition(random, depth - 1)
        ),
        5 => format!(
            "({} || {})",
            condition(random, depth - 1),
            condition(random, depth - 1)
        ),
        _ => format!("!({})", condition(random, depth - 1)),
    }
}

/// A rule says the same of a document whether it is evaluated on it or asked for by a filter.
#[test]
fn filters_agree_with_evaluation() {
    const SEED: u64 = 20_260;
    let mut random = StdRng::seed_from_u64(SEED);
    let context = FilterContext { now_ms: NOW_MS };
    let mut held = 0;
    for round in 0..6000 {
        let source = condition(&mut random, 2);
        let filter = as_filter(&source);
        let parsed = Filter::parse(&raw(&filter), &context).unwrap_or_else(|error| {
            panic!("seed {SEED} round {round}: {source}: {filter}: {error}")
        });
        for _ in 0..12 {
            let document = document(&mut random, 2);
            let matches = parsed.matches(&raw(&document)).unwrap_or_else(|error| {
                panic!("seed {SEED} round {round}: {source} on {document}: {error}")
            });
            assert_eq!(
                matches,
                on(&source, &document),
                "seed {SEED} round {round}: {source} as {filter} on {document}"
            );
            held += usize::from(matches);
        }
    }
    assert!(held > 5000, "only {held} held: the test tests little");
}
