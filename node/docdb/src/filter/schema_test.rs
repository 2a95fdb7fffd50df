//! JSON Schema: each keyword, both ways; what is refused; the name of the field that is wrong.

use bson::{Bson, Document, RawDocumentBuf, doc};

use super::schema::Schema;
use crate::error::ErrorCode;

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn schema(schema: &Document) -> Schema {
    Schema::parse(&raw(schema)).unwrap()
}

#[test]
fn each_keyword_passes_and_names_what_breaks_it() {
    for (rules, good, bad, part) in [
        (
            doc! { "required": ["a"] },
            doc! { "a": Bson::Null },
            doc! { "b": 1 },
            "field 'a' is missing",
        ),
        (
            doc! { "properties": { "a": { "bsonType": "int" } } },
            doc! { "a": 1 },
            doc! { "a": 1.5 },
            "field 'a' is a double",
        ),
        (
            doc! { "properties": { "a": { "bsonType": ["string", "null"] } } },
            doc! { "a": Bson::Null },
            doc! { "a": true },
            "field 'a' is a bool",
        ),
        (
            doc! { "properties": { "a": { "type": "number" } } },
            doc! { "a": 1.5 },
            doc! { "a": "1" },
            "field 'a' is a string",
        ),
        (
            doc! { "properties": { "a": { "properties": { "b": { "enum": [1, "x"] } } } } },
            doc! { "a": { "b": 1.0 } },
            doc! { "a": { "b": 2 } },
            "field 'a.b' has none",
        ),
        (
            doc! { "properties": { "a": { "minimum": 1, "maximum": 5 } } },
            doc! { "a": 5 },
            doc! { "a": 6 },
            "maximum of 5",
        ),
        (
            doc! { "properties": { "a": { "minimum": 1, "exclusiveMinimum": true } } },
            doc! { "a": 1.1 },
            doc! { "a": 1 },
            "minimum of 1",
        ),
        (
            doc! { "properties": { "a": { "multipleOf": 3 } } },
            doc! { "a": 9 },
            doc! { "a": 10 },
            "no multiple of 3",
        ),
        (
            doc! { "properties": { "a": { "minLength": 2, "maxLength": 3 } } },
            doc! { "a": "数据库" },
            doc! { "a": "数" },
            "fewer than 2",
        ),
        (
            doc! { "properties": { "a": { "pattern": "^x" } } },
            doc! { "a": "xy" },
            doc! { "a": "y" },
            "'pattern'",
        ),
        (
            doc! { "properties": { "a": { "items": { "type": "string" } } } },
            doc! { "a": ["x"] },
            doc! { "a": ["x", 1] },
            "field 'a.1' is a int",
        ),
        (
            doc! { "properties": { "a": { "items": [{ "type": "string" }], "additionalItems": false } } },
            doc! { "a": ["x"] },
            doc! { "a": ["x", "y"] },
            "one element too many",
        ),
        (
            doc! { "properties": { "a": { "minItems": 1, "maxItems": 2 } } },
            doc! { "a": [1] },
            doc! { "a": [] },
            "0 elements",
        ),
        (
            doc! { "properties": { "a": { "uniqueItems": true } } },
            doc! { "a": [1, "1"] },
            doc! { "a": [1, 1.0] },
            "twice",
        ),
        (
            doc! { "additionalProperties": false, "properties": { "a": {} }, "patternProperties": { "^_": {} } },
            doc! { "_id": 1, "a": 1 },
            doc! { "b": 1 },
            "field 'b' is not allowed",
        ),
        (
            doc! { "additionalProperties": { "type": "string" } },
            doc! { "b": "x" },
            doc! { "b": 1 },
            "field 'b' is a int",
        ),
        (
            doc! { "minProperties": 1, "maxProperties": 2 },
            doc! { "a": 1 },
            doc! {},
            "fewer than 1",
        ),
        (
            doc! { "dependencies": { "card": ["street"] } },
            doc! { "street": 1, "card": 1 },
            doc! { "card": 1 },
            "'street' is missing",
        ),
        (
            doc! { "dependencies": { "card": { "required": ["street"] } } },
            doc! {},
            doc! { "card": 1 },
            "'street' is missing",
        ),
        (
            doc! { "allOf": [{ "required": ["a"] }, { "required": ["b"] }] },
            doc! { "a": 1, "b": 1 },
            doc! { "a": 1 },
            "field 'b' is missing",
        ),
        (
            doc! { "anyOf": [{ "required": ["a"] }, { "required": ["b"] }] },
            doc! { "b": 1 },
            doc! { "c": 1 },
            "'anyOf'",
        ),
        (
            doc! { "oneOf": [{ "required": ["a"] }, { "required": ["b"] }] },
            doc! { "b": 1 },
            doc! { "a": 1, "b": 1 },
            "'oneOf'",
        ),
        (
            doc! { "not": { "required": ["a"] } },
            doc! { "b": 1 },
            doc! { "a": 1 },
            "'not'",
        ),
        (
            doc! { "bsonType": "object", "title": "t", "description": "d" },
            doc! {},
            doc! {},
            "",
        ),
    ] {
        let parsed = schema(&rules);
        assert_eq!(
            parsed.violation(&raw(&good)).unwrap(),
            None,
            "{rules} {good}"
        );
        if !part.is_empty() {
            let violation = parsed.violation(&raw(&bad)).unwrap().expect("a violation");
            assert!(violation.contains(part), "{rules} {bad}: {violation}");
        }
    }
}

#[test]
fn a_keyword_says_nothing_about_other_types() {
    let rules = schema(
        &doc! { "properties": { "a": { "minimum": 5, "minLength": 5, "required": ["x"], "minItems": 5 } } },
    );
    for value in [Bson::Null, Bson::Boolean(true)] {
        assert_eq!(rules.violation(&raw(&doc! { "a": value })).unwrap(), None);
    }
}

#[test]
fn what_is_no_schema_is_refused_by_name() {
    for (rules, code, part) in [
        (
            doc! { "requird": ["a"] },
            ErrorCode::InvalidOperator,
            "'requird'",
        ),
        (doc! { "$ref": "#" }, ErrorCode::InvalidOperator, "'$ref'"),
        (
            doc! { "required": [] },
            ErrorCode::InvalidParam,
            "'required'",
        ),
        (
            doc! { "type": "integer" },
            ErrorCode::InvalidParam,
            "bsonType",
        ),
        (
            doc! { "bsonType": "integer" },
            ErrorCode::InvalidParam,
            "integer",
        ),
        (
            doc! { "minLength": -1 },
            ErrorCode::InvalidParam,
            "'minLength'",
        ),
        (
            doc! { "multipleOf": 0 },
            ErrorCode::InvalidParam,
            "'multipleOf'",
        ),
        (doc! { "anyOf": [] }, ErrorCode::InvalidParam, "'anyOf'"),
        (
            doc! { "properties": { "a": 1 } },
            ErrorCode::InvalidParam,
            "'properties'",
        ),
    ] {
        let error = Schema::parse(&raw(&rules)).unwrap_err();
        assert_eq!(error.code, code, "{rules}: {error}");
        assert!(error.message.contains(part), "{rules}: {error}");
    }
    let mut deep = doc! {};
    for _ in 0..crate::limits::SCHEMA_DEPTH_MAX {
        deep = doc! { "not": deep };
    }
    assert!(
        Schema::parse(&raw(&deep))
            .unwrap_err()
            .message
            .contains("nests")
    );
    let wide: Document = (0..=crate::limits::SCHEMA_KEYWORDS_MAX)
        .map(|i| (format!("f{i}"), doc! { "title": "x" }.into()))
        .collect();
    assert!(
        Schema::parse(&raw(&doc! { "properties": wide }))
            .unwrap_err()
            .message
            .contains("keywords")
    );
}
