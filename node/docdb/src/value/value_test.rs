//! Golden key bytes, exact comparison, paths, and the gate for documents.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use std::cmp::Ordering;

use bson::{
    Bson, DateTime, Document, RawBson, RawBsonRef, RawDocumentBuf, Timestamp, bson, doc,
    oid::ObjectId,
};

use super::key::{KEY_ENCODING_VERSION, encoded, prefix_successor};
use super::{
    Path, check_document, compare, decode_value, encode_value, field, index_values, values_at,
};
use crate::error::ErrorCode;

fn key(value: impl Into<Bson>) -> String {
    let value = RawBson::try_from(value.into()).unwrap();
    encoded(value.as_raw_bson_ref())
        .unwrap()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// These bytes are on disk. A failure here means that existing indexes can no longer be read.
#[test]
fn golden_bytes_of_version_1() {
    assert_eq!(KEY_ENCODING_VERSION, 1);
    assert_eq!(key(Bson::MinKey), "04");
    assert_eq!(key(Bson::Undefined), "08");
    assert_eq!(key(Bson::Null), "0c");
    assert_eq!(key(0), "108000000000000000");
    assert_eq!(key(-0.0), "108000000000000000");
    assert_eq!(key(1), "10bff0000000000000");
    assert_eq!(key(1.0), "10bff0000000000000");
    assert_eq!(key(1_i64), "10bff0000000000000");
    assert_eq!(key(-1), "10400fffffffffffff");
    assert_eq!(key(f64::NAN), "100000000000000000");
    assert_eq!(key(f64::INFINITY), "10fff00000000000000000");
    assert_eq!(key(f64::NEG_INFINITY), "10000fffffffffffff0000");
    assert_eq!(key(1_i64 << 53), "10c3400000000000000000");
    assert_eq!(key((1_i64 << 53) + 1), "10c3400000000000000001");
    assert_eq!(key(i64::MAX), "10c3dfffffffffffff03ff");
    assert_eq!(key(i64::MIN), "103c1fffffffffffff0000");
    assert_eq!(key(""), "180000");
    assert_eq!(key("a\0é"), "186100ffc3a90000");
    assert_eq!(
        key(doc! { "a": 1, "b": "x" }),
        "20106100 00bff0000000000000 186200007800 0000".replace(' ', "")
    );
    assert_eq!(key(bson!([true, []])), "284001280000");
    assert_eq!(
        key(ObjectId::from_bytes([7; 12])),
        "38070707070707070707070707"
    );
    assert_eq!(key(false), "4000");
    assert_eq!(key(DateTime::from_millis(0)), "488000000000000000");
    assert_eq!(key(DateTime::from_millis(-1)), "487fffffffffffffff");
    assert_eq!(
        key(Timestamp {
            time: 1,
            increment: 2
        }),
        "500000000100000002"
    );
    assert_eq!(key(Bson::MaxKey), "f0");
    let regex = bson::Regex {
        pattern: "a".to_owned().try_into().unwrap(),
        options: "i".to_owned().try_into().unwrap(),
    };
    assert_eq!(key(regex), "58610000690000");
    let binary = bson::Binary {
        subtype: bson::spec::BinarySubtype::Generic,
        bytes: vec![0, 255],
    };
    assert_eq!(key(binary), "30000000020000ff");
    let mut descending = Vec::new();
    encode_value(RawBsonRef::String("a"), true, &mut descending).unwrap();
    assert_eq!(descending, [0xe7, 0x9e, 0xff, 0xff]);
}

#[test]
fn decoded_numbers_are_as_narrow_as_possible() {
    for (sent, back) in [
        (Bson::Double(5.0), Bson::Int32(5)),
        (Bson::Int64(5), Bson::Int32(5)),
        (Bson::Int64(i64::MAX), Bson::Int64(i64::MAX)),
        (Bson::Double(2.5), Bson::Double(2.5)),
        (Bson::Double(1e300), Bson::Double(1e300)),
    ] {
        let raw = RawBson::try_from(sent).unwrap();
        assert_eq!(
            decode_value(&encoded(raw.as_raw_bson_ref()).unwrap(), false)
                .unwrap()
                .0,
            back
        );
    }
}

#[test]
fn a_failed_encoding_leaves_nothing_behind() {
    let mut out = vec![1, 2];
    let decimal = bson!(["x", bson::Decimal128::from_bytes([0; 16])]);
    let decimal = RawBson::try_from(decimal).unwrap();
    assert!(encode_value(decimal.as_raw_bson_ref(), false, &mut out).is_err());
    assert_eq!(out, [1, 2]);
    assert_eq!(prefix_successor(vec![1, 0xff, 0xff]), Some(vec![2]));
    assert_eq!(prefix_successor(vec![0xff]), None);
}

#[test]
fn numbers_compare_exactly_across_types() {
    let order = |a: Bson, b: Bson| {
        let (a, b) = (RawBson::try_from(a).unwrap(), RawBson::try_from(b).unwrap());
        compare(a.as_raw_bson_ref(), b.as_raw_bson_ref())
    };
    assert_eq!(
        order(
            Bson::Int64((1 << 53) + 1),
            Bson::Double(9_007_199_254_740_992.0)
        ),
        Ordering::Greater
    );
    assert_eq!(
        order(
            Bson::Int64(i64::MAX),
            Bson::Double(9_223_372_036_854_775_808.0)
        ),
        Ordering::Less
    );
    assert_eq!(
        order(
            Bson::Int64(i64::MIN),
            Bson::Double(-9_223_372_036_854_775_808.0)
        ),
        Ordering::Equal
    );
    assert_eq!(order(Bson::Double(-0.0), Bson::Int32(0)), Ordering::Equal);
    assert_eq!(
        order(Bson::Int32(-1), Bson::Double(-1.5)),
        Ordering::Greater
    );
    assert_eq!(
        order(Bson::Double(f64::NAN), Bson::Double(f64::NEG_INFINITY)),
        Ordering::Less
    );
    assert_eq!(
        order(Bson::Double(f64::NAN), Bson::Double(-f64::NAN)),
        Ordering::Equal
    );
    // Type, then name, then value; a prefix is smaller.
    assert_eq!(
        order(bson!({ "b": 1 }), bson!({ "a": "x" })),
        Ordering::Less
    );
    assert_eq!(
        order(bson!({ "a": 1 }), bson!({ "a": 1, "b": null })),
        Ordering::Less
    );
    assert_eq!(order(bson!([1, 2]), bson!([1])), Ordering::Greater);
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

#[test]
fn paths_visit_what_mongodb_visits() {
    let visited = |document: Document, path: &str| {
        let raw = raw(&document);
        let values = values_at(&raw, &Path::parse(path).unwrap()).unwrap();
        values
            .into_iter()
            .map(|value| Bson::try_from(value).unwrap())
            .collect::<Vec<Bson>>()
    };
    assert_eq!(
        visited(doc! { "a": [5, 6] }, "a"),
        [bson!(5), bson!(6), bson!([5, 6])]
    );
    assert_eq!(
        visited(
            doc! { "a": [{ "b": 5 }, 3, {}, { "b": [9, 11] }, { "b": 7 }] },
            "a.b"
        ),
        [bson!(5), bson!(9), bson!(11), bson!([9, 11]), bson!(7)]
    );
    assert_eq!(
        visited(doc! { "a": [5, [2, 4], 3] }, "a.1"),
        [bson!([2, 4])]
    );
    assert_eq!(
        visited(doc! { "a": [5, { "1": 4 }, 3] }, "a.1"),
        [bson!(4), bson!({ "1": 4 })]
    );
    assert_eq!(
        visited(doc! { "a": [5, [{ "b": 4 }], 3] }, "a.1.b"),
        [bson!(4)]
    );
    assert!(visited(doc! { "a": [4] }, "a.b").is_empty());
}

#[test]
fn index_entries_stand_for_elements() {
    let entries = |document: Document, path: &str| {
        let raw = raw(&document);
        let found = index_values(&raw, &Path::parse(path).unwrap()).unwrap();
        let values = found
            .values
            .into_iter()
            .map(|value| value.map(|value| Bson::try_from(value).unwrap()));
        (values.collect::<Vec<Option<Bson>>>(), found.multikey)
    };
    assert_eq!(entries(doc! { "a": 1 }, "a"), (vec![Some(bson!(1))], false));
    assert_eq!(entries(doc! {}, "a"), (vec![None], false));
    assert_eq!(entries(doc! { "a": 1 }, "a.b"), (vec![None], false));
    assert_eq!(
        entries(doc! { "a": [1, [2]] }, "a"),
        (vec![Some(bson!(1)), Some(bson!([2]))], true)
    );
    assert_eq!(
        entries(doc! { "a": [] }, "a"),
        (vec![Some(Bson::Undefined)], true)
    );
    assert_eq!(entries(doc! { "a": [] }, "a.b"), (vec![None], true));
    assert_eq!(
        entries(doc! { "a": [{ "b": 1 }, {}] }, "a.b"),
        (vec![Some(bson!(1)), None], true)
    );
}

#[test]
fn documents_are_checked_at_the_gate() {
    let refused = |document: &Document| check_document(&raw(document)).unwrap_err();
    let mut nested = doc! {};
    for _ in 0..98 {
        nested = doc! { "a": nested };
    }
    assert!(check_document(&raw(&doc! { "a": nested.clone() })).is_ok());
    assert_eq!(
        refused(&doc! { "a": { "a": nested } }).code,
        ErrorCode::InvalidParam
    );
    let decimal = refused(&doc! { "price": [bson::Decimal128::from_bytes([0; 16])] });
    assert!(decimal.message.contains("decimal128"));
    assert!(
        refused(&doc! { "u": Bson::Undefined })
            .message
            .contains("'u'")
    );
    assert_eq!(
        refused(&doc! { "a": "x".repeat(17 * 1024 * 1024) }).code,
        ErrorCode::ExceedSize
    );
}

#[test]
fn fields_are_found_as_the_bson_crate_finds_them() {
    let mut document = doc! {
        "double": 1.5, "string": "é", "document": { "x": 1 }, "array": [1, "x"], "true": true, "false": false,
        "date": DateTime::from_millis(-1), "null": null, "int": -7, "long": 1_i64 << 40, "timestamp": Timestamp { time: 1, increment: 2 },
        "id": ObjectId::from_bytes([1; 12]), "min": Bson::MinKey, "max": Bson::MaxKey, "": 0,
    };
    document.insert(
        "binary",
        bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: vec![1, 2],
        },
    );
    document.insert(
        "regex",
        bson::Regex {
            pattern: "a".to_owned().try_into().unwrap(),
            options: "i".to_owned().try_into().unwrap(),
        },
    );
    document.insert("last", "end");
    // Every type stands before every other once.
    for first in document.keys() {
        let mut rotated = doc! { first: document.get(first).unwrap() };
        rotated.extend(document.clone());
        let raw = raw(&rotated);
        for name in rotated
            .keys()
            .map(String::as_str)
            .chain(["missing", "strin", "strings"])
        {
            assert_eq!(
                field::get(&raw, name).unwrap(),
                raw.get(name).unwrap(),
                "{name}"
            );
        }
    }
    let bytes = raw(&document).into_bytes();
    for at in 4..bytes.len() {
        for damage in [0, 1, 0x7f, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= damage;
            if let Ok(damaged) = bson::RawDocument::from_bytes(&damaged) {
                let _refused_or_found = field::get(damaged, "last");
            }
        }
    }
}
