//! What expressions compute; where mingo is comparable, the differential test says more.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use bson::{Bson, DateTime, Document, RawBson, RawDocumentBuf, bson, doc};

use super::Expression;
use crate::error::{Error, ErrorCode};

fn try_compute(expression: &Bson, document: Document) -> Result<Option<Bson>, Error> {
    let raw = RawBson::try_from(expression.clone()).unwrap();
    let expression = Expression::parse(raw.as_raw_bson_ref(), 86_400_000)?;
    let value = expression.evaluate(&RawDocumentBuf::try_from(&document).unwrap())?;
    Ok(value.map(|value| Bson::try_from(value).unwrap()))
}

/// The value for a document with some fields.
fn compute(expression: Bson) -> Option<Bson> {
    let document = doc! {
        "n": 7, "f": 2.5, "t": "Héllo", "z": null, "l": [3, 1, 2], "d": DateTime::from_millis(951_782_400_123),
        "o": { "a": 1 }, "os": [{ "a": 1 }, { "b": 2 }, 5, { "a": [3] }],
    };
    try_compute(&expression, document).unwrap()
}

fn check(expression: Bson, expected: impl Into<Bson>) {
    assert_eq!(
        compute(expression.clone()),
        Some(expected.into()),
        "{expression}"
    );
}

fn refused(expression: Bson, code: ErrorCode, names: &str) {
    let error = try_compute(&expression, doc! { "l": [1], "t": "x" }).unwrap_err();
    assert_eq!(error.code, code, "{expression}: {error}");
    assert!(error.message.contains(names), "{expression}: {error}");
}

#[test]
fn fields_variables_and_literals() {
    check(bson!("$n"), 7);
    check(bson!("$o.a"), 1);
    check(bson!("$os.a"), bson!([1, [3]]));
    check(bson!("$$ROOT.n"), 7);
    check(bson!("$$NOW"), DateTime::from_millis(86_400_000));
    check(bson!({ "$literal": "$n" }), "$n");
    check(
        bson!({ "x": "$n", "y": "$missing", "z": ["$missing"] }),
        bson!({ "x": 7, "z": [null] }),
    );
    check(
        bson!({ "$let": { "vars": { "x": "$n", "y": 1 }, "in": { "$add": ["$$x", "$$y"] } } }),
        8,
    );
    assert_eq!(compute(bson!("$missing")), None);
    assert_eq!(compute(bson!("$l.0")), Some(bson!([])));
    assert_eq!(compute(bson!("$$REMOVE")), None);
}

#[test]
fn missing_is_below_null() {
    check(bson!({ "$eq": ["$missing", null] }), false);
    check(bson!({ "$lt": ["$missing", null] }), true);
    check(bson!({ "$eq": ["$missing", "$gone"] }), true);
    check(bson!({ "$gt": ["a", 5] }), true);
    check(bson!({ "$cmp": [1, 2.0] }), -1);
    check(bson!({ "$ifNull": ["$missing", "$z", 5] }), 5);
    check(bson!({ "$type": "$missing" }), "missing");
}

#[test]
fn conditions() {
    check(
        bson!({ "$cond": [{ "$gt": ["$n", 5] }, "big", "small"] }),
        "big",
    );
    check(bson!({ "$cond": { "if": 0, "then": 1, "else": 2 } }), 2);
    check(
        bson!({ "$switch": { "branches": [{ "case": false, "then": 1 }], "default": 9 } }),
        9,
    );
    check(bson!({ "$and": [] }), true);
    check(bson!({ "$or": [0, "$z", "$missing"] }), false);
    // Stops early: the division is not reached.
    check(bson!({ "$and": [false, { "$divide": [1, 0] }] }), false);
    check(bson!({ "$not": ["$t"] }), false);
    refused(
        bson!({ "$switch": { "branches": [{ "case": false, "then": 1 }] } }),
        ErrorCode::RequestFailed,
        "default",
    );
}

#[test]
fn arithmetic() {
    check(bson!({ "$add": [1, 2] }), 3);
    check(bson!({ "$add": [i32::MAX, 1] }), 1_i64 << 31);
    check(
        bson!({ "$add": [i64::MAX, 1] }),
        9_223_372_036_854_775_808.0,
    );
    check(bson!({ "$add": [1, "$z"] }), Bson::Null);
    check(
        bson!({ "$add": ["$d", 1000] }),
        DateTime::from_millis(951_782_401_123),
    );
    check(bson!({ "$subtract": ["$d", "$d"] }), 0_i64);
    check(bson!({ "$multiply": ["$n", "$f"] }), 17.5);
    check(bson!({ "$divide": [7, 2] }), 3.5);
    check(bson!({ "$mod": [-7, 3] }), -1);
    check(bson!({ "$pow": [2, 10] }), 1024);
    check(bson!({ "$pow": [2, -1] }), 0.5);
    check(bson!({ "$round": [2.5] }), 2.0);
    check(bson!({ "$round": [1.25, 1] }), 1.2);
    check(bson!({ "$round": [15, -1] }), 20);
    check(bson!({ "$trunc": [-2.7] }), -2.0);
    check(bson!({ "$sqrt": 9 }), 3.0);
    check(bson!({ "$sum": "$l" }), 6);
    check(bson!({ "$avg": ["$l", 1] }), 1.0);
    check(bson!({ "$max": [1, "x", null] }), "x");
    refused(
        bson!({ "$divide": [1, 0] }),
        ErrorCode::RequestFailed,
        "zero",
    );
    refused(
        bson!({ "$add": [1, "$t"] }),
        ErrorCode::RequestFailed,
        "$add",
    );
    refused(
        bson!({ "$subtract": [1] }),
        ErrorCode::InvalidParam,
        "$subtract",
    );
}

#[test]
fn strings() {
    check(bson!({ "$concat": ["a", "$t"] }), "aHéllo");
    check(bson!({ "$concat": ["a", "$z"] }), Bson::Null);
    check(bson!({ "$strLenCP": "$t" }), 5);
    check(bson!({ "$strLenBytes": "$t" }), 6);
    check(bson!({ "$substrCP": ["$t", 1, 3] }), "éll");
    check(bson!({ "$substrBytes": ["$t", 3, -1] }), "llo");
    check(bson!({ "$indexOfCP": ["$t", "l"] }), 2);
    check(bson!({ "$indexOfBytes": ["$t", "l"] }), 3);
    check(bson!({ "$indexOfCP": ["$t", "x"] }), -1);
    check(bson!({ "$split": ["a-b-c", "-"] }), bson!(["a", "b", "c"]));
    check(bson!({ "$trim": { "input": "xxaxx", "chars": "x" } }), "a");
    check(bson!({ "$toUpper": "$t" }), "HéLLO");
    check(bson!({ "$toUpper": "$z" }), "");
    check(bson!({ "$strcasecmp": ["ABC", "abd"] }), -1);
    check(
        bson!({ "$regexMatch": { "input": "$t", "regex": "^hé", "options": "i" } }),
        true,
    );
    check(
        bson!({ "$replaceAll": { "input": "aaa", "find": "a", "replacement": "b" } }),
        "bbb",
    );
    check(bson!({ "$toString": 1.5 }), "1.5");
    check(bson!({ "$toString": "$d" }), "2000-02-29T00:00:00.123Z");
    refused(
        bson!({ "$substrBytes": ["é", 1, 1] }),
        ErrorCode::RequestFailed,
        "$substrCP",
    );
    refused(
        bson!({ "$trim": { "input": "x", "foo": 1 } }),
        ErrorCode::InvalidOperator,
        "foo",
    );
}

#[test]
fn arrays_and_sets() {
    check(bson!({ "$size": "$l" }), 3);
    check(bson!({ "$arrayElemAt": ["$l", -1] }), 2);
    assert_eq!(compute(bson!({ "$arrayElemAt": ["$l", 9] })), None);
    check(bson!({ "$first": "$l" }), 3);
    check(bson!({ "$slice": ["$l", 1, 2] }), bson!([1, 2]));
    check(bson!({ "$in": [1, "$l"] }), true);
    check(bson!({ "$concatArrays": ["$l", [9]] }), bson!([3, 1, 2, 9]));
    check(
        bson!({ "$filter": { "input": "$l", "cond": { "$gte": ["$$this", 2] }, "limit": 1 } }),
        bson!([3]),
    );
    check(
        bson!({ "$map": { "input": "$l", "as": "x", "in": { "$multiply": ["$$x", 2] } } }),
        bson!([6, 2, 4]),
    );
    check(
        bson!({ "$reduce": { "input": "$l", "initialValue": "", "in": { "$concat": ["$$value", { "$toString": "$$this" }] } } }),
        "312",
    );
    check(bson!({ "$setUnion": [[2, 1], [2, 3]] }), bson!([1, 2, 3]));
    check(bson!({ "$setDifference": [[3, 1, 3], [1]] }), bson!([3]));
    check(bson!({ "$setIsSubset": [[1], "$l"] }), true);
    check(bson!({ "$range": [5, 0, -2] }), bson!([5, 3, 1]));
    check(
        bson!({ "$mergeObjects": ["$o", { "b": 2 }, null] }),
        bson!({ "a": 1, "b": 2 }),
    );
    check(
        bson!({ "$objectToArray": "$o" }),
        bson!([{ "k": "a", "v": 1 }]),
    );
    check(
        bson!({ "$arrayToObject": [[["x", 1], ["y", 2]]] }),
        bson!({ "x": 1, "y": 2 }),
    );
    refused(bson!({ "$size": "$t" }), ErrorCode::RequestFailed, "$size");
    refused(bson!({ "$in": [1, 2] }), ErrorCode::RequestFailed, "$in");
}

#[test]
fn types_and_dates() {
    check(bson!({ "$toInt": "12" }), 12);
    check(bson!({ "$toLong": "$d" }), 951_782_400_123_i64);
    check(bson!({ "$toDouble": true }), 1.0);
    check(bson!({ "$toBool": "" }), true);
    check(
        bson!({ "$toDate": "2000-02-29T00:00:00.123Z" }),
        DateTime::from_millis(951_782_400_123),
    );
    check(bson!({ "$isNumber": "$n" }), true);
    let parts = [
        ("$year", 2000),
        ("$month", 2),
        ("$dayOfMonth", 29),
        ("$dayOfYear", 60),
        ("$dayOfWeek", 3),
    ];
    for (name, expected) in
        parts
            .into_iter()
            .chain([("$hour", 0), ("$second", 0), ("$millisecond", 123)])
    {
        check(Bson::Document(doc! { name: "$d" }), expected);
        check(Bson::Document(doc! { name: { "date": "$d" } }), expected);
    }
    let old = DateTime::from_millis(-62_135_596_800_001);
    check(Bson::Document(doc! { "$year": old }), 0);
    check(Bson::Document(doc! { "$dayOfYear": old }), 366);
    refused(bson!({ "$toInt": "x1" }), ErrorCode::RequestFailed, "x1");
    refused(bson!({ "$toInt": 3e9 }), ErrorCode::RequestFailed, "fit");
}

/// `{name: {date: $d, timezone: zone}}`
fn in_zone(name: &str, zone: &str) -> Bson {
    Bson::Document(doc! { name: { "date": "$d", "timezone": zone } })
}

#[test]
fn dates_in_time_zones() {
    // 2000-02-29T00:00:00.123Z
    check(in_zone("$hour", "Asia/Shanghai"), 8);
    check(in_zone("$hour", "+08:00"), 8);
    check(in_zone("$hour", "-0330"), 20);
    check(in_zone("$dayOfMonth", "America/New_York"), 28);
    check(in_zone("$hour", "Europe/Berlin"), 1);
    check(in_zone("$isoWeek", "UTC"), 9);
    check(in_zone("$isoWeekYear", "UTC"), 2000_i64);
    check(in_zone("$week", "GMT"), 9);
    check(in_zone("$isoDayOfWeek", "UTC"), 2);
    check(
        bson!({ "$year": { "date": "$d", "timezone": null } }),
        Bson::Null,
    );
    // Summer time begins at 2024-03-31T01:00Z.
    for (millis, hour) in [(1_711_846_799_999_i64, 1), (1_711_846_800_000, 3)] {
        let date = DateTime::from_millis(millis);
        let zone = doc! { "date": date, "timezone": "Europe/Berlin" };
        check(Bson::Document(doc! { "$hour": zone }), hour);
    }
    refused(
        Bson::Document(
            doc! { "$year": { "date": DateTime::from_millis(0), "timezone": "Nowhere/Else" } },
        ),
        ErrorCode::RequestFailed,
        "Nowhere/Else",
    );
}

#[test]
fn dates_as_text_and_parts() {
    let text = |format: &str, zone: &str| {
        compute(bson!({ "$dateToString": { "date": "$d", "format": format, "timezone": zone } }))
    };
    assert_eq!(
        text(
            "%Y-%m-%d %H:%M:%S.%L %j %w %u %U %V %G %z %Z %%",
            "Asia/Kolkata"
        ),
        Some("2000-02-29 05:30:00.123 060 3 2 09 09 2000 +0530 +330 %".into())
    );
    check(
        bson!({ "$dateToString": { "date": "$d" } }),
        "2000-02-29T00:00:00.123Z",
    );
    check(
        bson!({ "$dateToString": { "date": "$z", "onNull": "none" } }),
        "none",
    );
    let at = DateTime::from_millis(951_782_400_123);
    for text in [
        "2000-02-29T00:00:00.123Z",
        "2000-02-29 08:00:00.123+08:00",
        "2000-02-28T19:00:00.123 America/New_York",
    ] {
        check(bson!({ "$dateFromString": { "dateString": text } }), at);
    }
    check(
        bson!({ "$dateFromString": { "dateString": "29.02.2000 01:00", "format": "%d.%m.%Y %H:%M", "timezone": "Europe/Berlin" } }),
        DateTime::from_millis(951_782_400_000),
    );
    check(
        bson!({ "$dateFromString": { "dateString": "2000-W09-2", "format": "%G-W%V-%u" } }),
        DateTime::from_millis(951_782_400_000),
    );
    check(
        bson!({ "$dateFromString": { "dateString": "gibberish", "onError": "bad" } }),
        "bad",
    );
    check(
        bson!({ "$dateFromParts": { "year": 1999, "month": 14, "day": 29, "millisecond": 123 } }),
        at,
    );
    check(
        bson!({ "$dateFromParts": { "isoWeekYear": 2000, "isoWeek": 9, "isoDayOfWeek": 2, "hour": 8, "timezone": "+08" } }),
        DateTime::from_millis(951_782_400_000),
    );
    check(
        bson!({ "$dateToParts": { "date": "$d", "timezone": "+01:00" } }),
        bson!({ "year": 2000, "month": 2, "day": 29, "hour": 1, "minute": 0, "second": 0, "millisecond": 123 }),
    );
    for wrong in ["2000-02-30", "2000-13-01", "20", "2000-02-29T25:00Z", ""] {
        refused(
            bson!({ "$dateFromString": { "dateString": wrong } }),
            ErrorCode::RequestFailed,
            "cannot read",
        );
    }
    refused(
        bson!({ "$dateToString": { "date": DateTime::from_millis(0), "format": "%Q" } }),
        ErrorCode::RequestFailed,
        "%Q",
    );
}

#[test]
fn calculating_with_dates() {
    let moved = |unit: &str, amount: i32| {
        compute(bson!({ "$dateAdd": { "startDate": "$d", "unit": unit, "amount": amount } }))
    };
    let at = |millis: i64| Some(Bson::DateTime(DateTime::from_millis(millis)));
    assert_eq!(moved("year", 1), at(951_782_400_123 + 365 * 86_400_000));
    assert_eq!(moved("month", -1), at(951_782_400_123 - 31 * 86_400_000));
    assert_eq!(moved("hour", 2), at(951_789_600_123));
    check(
        bson!({ "$dateDiff": { "startDate": "$d", "endDate": { "$add": ["$d", 86_400_000] }, "unit": "month" } }),
        1_i64,
    );
    check(
        bson!({ "$dateDiff": { "startDate": "$d", "endDate": { "$add": ["$d", 86_399_000] }, "unit": "day" } }),
        0_i64,
    );
    let truncated = |unit: &str, zone: &str| {
        compute(
            bson!({ "$dateTrunc": { "date": "$d", "unit": unit, "timezone": zone, "startOfWeek": "monday" } }),
        )
    };
    assert_eq!(truncated("day", "UTC"), at(951_782_400_000));
    assert_eq!(truncated("day", "+08:00"), at(951_782_400_000 - 28_800_000));
    assert_eq!(truncated("week", "UTC"), at(951_696_000_000));
    assert_eq!(truncated("month", "UTC"), at(949_363_200_000));
    assert_eq!(truncated("quarter", "UTC"), at(946_684_800_000));
    let extremes =
        doc! { "startDate": DateTime::from_millis(i64::MAX), "unit": "year", "amount": i64::MAX };
    refused(
        Bson::Document(doc! { "$dateAdd": extremes }),
        ErrorCode::RequestFailed,
        "range",
    );
}

#[test]
fn logarithms_sets_of_numbers_and_fields() {
    check(bson!({ "$exp": 0 }), 1.0);
    check(bson!({ "$ln": 1 }), 0.0);
    check(bson!({ "$log10": 1000 }), 3.0);
    check(bson!({ "$log": [8, 2] }), 3.0);
    check(bson!({ "$pow": [4, 0.5] }), 2.0);
    check(bson!({ "$cos": 0 }), 1.0);
    check(bson!({ "$ln": "$z" }), Bson::Null);
    refused(bson!({ "$ln": 0 }), ErrorCode::RequestFailed, "$ln");
    refused(bson!({ "$log": [1, 1] }), ErrorCode::RequestFailed, "base");
    check(bson!({ "$stdDevPop": [1, 3, "x"] }), 1.0);
    check(bson!({ "$stdDevSamp": [[1]] }), Bson::Null);
    // What naive addition rounds away is kept.
    check(
        bson!({ "$sum": [0.1, 0.2, 0.3, -0.6] }),
        2.775_557_561_562_891_4e-17,
    );
    check(
        bson!({ "$zip": { "inputs": ["$l", ["a"]] } }),
        bson!([[3, "a"]]),
    );
    check(
        bson!({ "$zip": { "inputs": ["$l", ["a"]], "useLongestLength": true, "defaults": [0, "-"] } }),
        bson!([[3, "a"], [1, "-"], [2, "-"]]),
    );
    check(bson!({ "$maxN": { "n": 2, "input": "$l" } }), bson!([3, 2]));
    check(
        bson!({ "$lastN": { "n": 2, "input": "$l" } }),
        bson!([1, 2]),
    );
    check(
        bson!({ "$setField": { "field": "b", "input": "$o", "value": "$n" } }),
        bson!({ "a": 1, "b": 7 }),
    );
    check(
        bson!({ "$unsetField": { "field": "a", "input": "$o" } }),
        bson!({}),
    );
    check(bson!({ "$binarySize": "$t" }), 6);
}

#[test]
fn mistakes_are_named() {
    use ErrorCode::{InvalidOperator, InvalidParam};
    refused(bson!({ "$foo": 1 }), InvalidOperator, "$foo");
    refused(bson!({ "$add": [1], "$sum": 1 }), InvalidOperator, "alone");
    refused(bson!("$$x"), InvalidParam, "$$x");
    refused(bson!("$"), InvalidParam, "literal");
    refused(bson!("$a..b"), InvalidParam, "a..b");
    refused(bson!({ "a.b": 1 }), InvalidParam, "a.b");
    refused(bson!({ "$cond": [1, 2] }), InvalidParam, "$cond");
    refused(bson!({ "$let": { "in": 1 } }), InvalidParam, "vars");
    refused(
        bson!({ "$let": { "vars": { "X": 1 }, "in": 1 } }),
        InvalidParam,
        "X",
    );
    refused(bson!({ "$map": { "input": [] } }), InvalidParam, "in");
}

#[test]
fn evaluation_is_bounded() {
    let many = bson!({ "$range": [0, 2_000_000_000] });
    refused(many, ErrorCode::ExceedBudget, "steps");
    let square = bson!({ "$map": { "input": { "$range": [0, 5000] }, "in":
        { "$size": { "$map": { "input": { "$range": [0, 5000] }, "in": 1 } } } } });
    refused(square, ErrorCode::ExceedBudget, "steps");
    let doubled = bson!({ "$reduce": { "input": { "$range": [0, 40] }, "initialValue": "$t", "in": {
        "$concat": ["$$value", "$$value"] } } });
    refused(doubled, ErrorCode::ExceedBudget, "bytes");
}
