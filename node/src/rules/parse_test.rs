//! What the language of rules takes and how it refuses the rest.

use super::*;
use crate::rules::limits::EXPRESSION_BYTES_MAX;

fn kind(source: &str) -> Kind {
    match Expression::parse(source) {
        Ok(expression) => expression.root.kind,
        Err(error) => panic!("{source}: {error}"),
    }
}

fn mistake(source: &str) -> String {
    match Expression::parse(source) {
        Ok(expression) => panic!("{source} was taken for {:?}", expression.root),
        Err(error) => error.to_string(),
    }
}

#[test]
fn everything_that_the_language_has_is_understood() {
    for source in [
        "true",
        "doc.public",
        "doc._openid == auth.openid",
        "auth.openid == doc._openid",
        "auth != null",
        "auth.loginType != 'ANONYMOUS' && auth.uid in doc.members",
        "doc.status in ['open', \"closed\", 1, -2.5, null, true]",
        "doc.a.b >= 1 && !(doc.c < now || doc.d > 5)",
        "!doc.locked",
        "!!doc.locked",
        "request.data.title != '' && request.data.items.0 == 1",
        "get('database.users.admin').role == 'admin'",
        "get(`database.users.${auth.uid}`).level >= doc.level",
        "get(`database.users.${auth.uid}`) != null",
        "doc['a-b'] == 1 && doc['名字'] == 'x' && doc.名字 == '\\n'",
        "(doc.a == 1)",
        "now < 1700000000000",
    ] {
        if let Err(error) = Expression::parse(source) {
            panic!("{source}: {error}");
        }
    }
}

#[test]
fn resource_is_another_name_for_the_document() {
    for (source, same) in [
        ("resource.openid", "doc.openid"),
        ("resource['a b'].c", "doc['a b'].c"),
    ] {
        assert_eq!(kind(source), kind(same), "{source}");
    }
    assert!(mistake("resource == null").contains("a field of `resource`"));
    // Only the whole word is the name.
    assert!(Expression::parse("resources.openid").is_err());
}

#[test]
fn and_binds_closer_than_or_and_not_closest() {
    let Kind::Or(operands) = kind("doc.a || !doc.b && doc.c") else {
        panic!("an or");
    };
    assert_eq!(operands.len(), 2);
    let Kind::And(operands) = &operands[1].kind else {
        panic!("an and");
    };
    assert!(matches!(operands[0].kind, Kind::Not(_)));
}

#[test]
fn mistakes_are_placed_and_say_what_was_expected() {
    for (source, expected) in [
        ("", "at character 1: expected a value, found the end"),
        (
            "doc.a ==",
            "at character 9: expected a value, found the end",
        ),
        ("doc.a = 1", "at character 7: expected `==`, found `=`"),
        ("doc.a === 1", "at character 7: expected `==`, found `===`"),
        ("doc.a & doc.b", "at character 7: expected `&&`, found `&`"),
        (
            "doc.a == 1 doc.b",
            "at character 12: expected `&&`, `||` or the end, found `doc`",
        ),
        (
            "'文' == 1 )",
            "at character 10: expected `&&`, `||` or the end, found `)`",
        ),
        (
            "doc",
            "at character 4: expected `.` and a field of `doc`, found the end",
        ),
        (
            "doc.",
            "at character 5: expected a field name, found the end",
        ),
        (
            "doc.a.0 == 1",
            "at character 7: expected a field name: elements",
        ),
        ("doc['$a'] == 1", "expected the name of a field"),
        ("docs.a == 1", "at character 1: expected a value: `auth`"),
        (
            "auth.name == 1",
            "expected `openid`, `uid` or `loginType` of `auth`",
        ),
        ("request.body == 1", "expected `.data` of `request`"),
        (
            "auth.openid",
            "at character 1: expected a condition such as `a == b`, found `auth`",
        ),
        (
            "1 && true",
            "at character 1: expected a condition such as `a == b`, found a literal",
        ),
        ("doc.a == 1 == true", "comparisons do not chain"),
        (
            "(doc.a == 1) == true",
            "expected a value, found a condition",
        ),
        ("!doc.a == 1", "write `!(a == b)`"),
        (
            "doc.a == 'x",
            "at character 10: expected the end of the text",
        ),
        ("doc.a in [1, 2", "expected `,` or `]`, found the end"),
        ("doc.a == 'a' + 'b'", "join texts in a template"),
        (
            "get('users.1').a == 1",
            "at character 5: expected 'database.<collection>.<id>'",
        ),
        ("get('database._sys.x').a == 1", "not the system's"),
        ("get(`database.u.${auth.uid`).a == 1", "expected `}`"),
        (
            "get(`database.u.${auth.uid now}`).a == 1",
            "expected `}`, found `now`",
        ),
        (
            "doc.a == 99999999999999999999",
            "expected a number of 64 bits",
        ),
        ("doc.a == #", "found `#`"),
    ] {
        let error = mistake(source);
        assert!(error.contains(expected), "{source}: {error}");
    }
}

#[test]
fn limits_are_kept() {
    let long = format!("doc.a == '{}'", "x".repeat(EXPRESSION_BYTES_MAX));
    assert!(mistake(&long).contains("bytes"));
    let at_limit = format!(
        "{}doc.a{}",
        "(".repeat(EXPRESSION_DEPTH_MAX),
        ")".repeat(EXPRESSION_DEPTH_MAX)
    );
    assert!(Expression::parse(&at_limit).is_ok());
    for deep in [
        format!("({at_limit})"),
        "(".repeat(5000),
        format!("{}doc.a", "!".repeat(5000)),
        "[".repeat(5000),
        "get(".repeat(1000),
    ] {
        let error = mistake(&deep);
        assert!(
            error.contains("deeper") || error.contains("get()"),
            "{error}"
        );
    }
    let wide = format!("doc.a in [{}1]", "1,".repeat(EXPRESSION_NODES_MAX));
    assert!(mistake(&wide).contains("parts"));
    let gets = ["get('database.c.1').a"; EXPRESSION_GETS_MAX + 1].join(" || ");
    assert!(mistake(&gets).contains("get()"));
}

/// Nothing that is typed into a rule panics a node.
#[test]
fn garbage_is_refused_and_never_more() {
    use rand::{Rng as _, SeedableRng as _};
    const WORDS: [&str; 30] = [
        "doc", ".", "a", "auth", "openid", "==", "!=", "<", "(", ")", "[", "]", ",", "&&", "||",
        "!", "'x'", "`", "${", "}", "get", "1", "1.5", "-", " ", "in", "now", "null", "\\", "字",
    ];
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    for _ in 0..20_000 {
        let count = random.random_range(0..12);
        let source: String = (0..count)
            .map(|_| WORDS[random.random_range(0..WORDS.len())])
            .collect();
        if let Err(error) = Expression::parse(&source) {
            assert!(
                error.position <= source.chars().count() + 1,
                "{source}: {error}"
            );
        }
    }
}
