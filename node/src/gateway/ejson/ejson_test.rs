//! Every wrapper of EJSON in and out, round trips and garbage.

use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Decimal128, Document, RawDocumentBuf, Regex, Timestamp, doc};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use super::{Context, Dialect, Root, decode, write_document};

const CONTEXT: Context = Context {
    now_unix_ms: 1_000_000,
    depth_max: 100,
    bytes_max: 1 << 20,
};

fn document(text: &str) -> Document {
    match decode(text, &CONTEXT) {
        Ok(Root::Document(raw)) => raw.try_into().unwrap(),
        other => panic!("{text}: {other:?}"),
    }
}

fn refusal(text: &str) -> String {
    decode(text, &CONTEXT).expect_err(text).to_string()
}

fn canonical(document: &Document) -> String {
    let mut out = String::new();
    write_document(
        &mut out,
        &RawDocumentBuf::try_from(document).unwrap(),
        Dialect::Canonical,
    )
    .unwrap();
    out
}

fn regex(pattern: &str, options: &str) -> Bson {
    Bson::RegularExpression(Regex {
        pattern: pattern.try_into().unwrap(),
        options: options.try_into().unwrap(),
    })
}

#[test]
fn numbers_find_their_type() {
    let text = r#"{"a":1,"b":2147483648,"c":-2147483648,"d":9223372036854775808,"e":1.5,"f":1e3,"g":-0,
        "h":{"$numberInt":"-7"},"i":{"$numberLong":"7"},"j":{"$numberDouble":"7"},"k":{"$numberDouble":"-Infinity"}}"#;
    let expected = doc! {
        "a": 1, "b": 2_147_483_648_i64, "c": i32::MIN, "d": 9_223_372_036_854_775_808.0, "e": 1.5, "f": 1000.0, "g": -0.0,
        "h": -7, "i": 7_i64, "j": 7.0, "k": f64::NEG_INFINITY,
    };
    assert_eq!(document(text), expected);
    assert!(
        document(r#"{"n":{"$numberDouble":"NaN"}}"#)
            .get_f64("n")
            .unwrap()
            .is_nan()
    );
}

#[test]
fn dates_come_in_many_forms() {
    let at = |milliseconds| Bson::DateTime(DateTime::from_millis(milliseconds));
    for (text, milliseconds) in [
        (r#"{"$date":5}"#, 5),
        (r#"{"$date":{"$numberLong":"-5"}}"#, -5),
        (r#"{"$date":{"$numberInt":"5"}}"#, 5),
        (r#"{"$date":5.0}"#, 5),
        (r#"{"$date":"1970-01-01T00:00:00.005Z"}"#, 5),
        (r#"{"$date":"1970-01-01T01:00:00+01:00"}"#, 0),
        (r#"{"$date":{"offset":60}}"#, 1_000_060),
        (r#"{"$date":{"offset":{"$numberInt":"-60"}}}"#, 999_940),
        (
            r#"{"$tcb_server_date":{"offset":{"$numberInt":"0"}}}"#,
            1_000_000,
        ),
        (r#"{"$tcb_server_date":{"offset":1}}"#, 1_000_001),
    ] {
        let document = document(&format!(r#"{{"at":{text}}}"#));
        assert_eq!(document.get("at"), Some(&at(milliseconds)), "{text}");
    }
}

#[test]
fn rare_types_are_read() {
    let text = r#"{"o":{"$oid":"0123456789abcdef01234567"},"b":{"$binary":{"base64":"AQI=","subType":"05"}},
        "l":{"$binary":"AQI=","$type":"00"},"u":{"$uuid":"00112233-4455-6677-8899-aabbccddeeff"},
        "t":{"$timestamp":{"t":5,"i":6}},"m":{"$minKey":1},"x":{"$maxKey":1},"d":{"$numberDecimal":"1.50"}}"#;
    let expected = doc! {
        "o": bson::oid::ObjectId::parse_str("0123456789abcdef01234567").unwrap(),
        "b": Binary { subtype: BinarySubtype::Md5, bytes: vec![1, 2] },
        "l": Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2] },
        "u": bson::Uuid::parse_str("00112233-4455-6677-8899-aabbccddeeff").unwrap(),
        "t": Timestamp { time: 5, increment: 6 },
        "m": Bson::MinKey, "x": Bson::MaxKey, "d": "1.50".parse::<Decimal128>().unwrap(),
    };
    assert_eq!(document(text), expected);
}

#[test]
fn regular_expressions_lose_the_flags_of_searching() {
    for (text, options) in [
        (
            r#"{"$regularExpression":{"pattern":"^a","options":"gimyu"}}"#,
            "im",
        ),
        (r#"{"$regularExpression":{"pattern":"^a"}}"#, ""),
        (r#"{"$regex":"^a","$options":"sxmig"}"#, "imsx"),
        (r#"{"$options":"i","$regex":"^a"}"#, "i"),
        (r#"{"$regex":"^a"}"#, ""),
    ] {
        let document = document(&format!(r#"{{"r":[{text}]}}"#));
        assert_eq!(
            document.get_array("r").unwrap()[0],
            regex("^a", options),
            "{text}"
        );
    }
    assert!(refusal(r#"{"r":{"$regex":"a","$options":"q"}}"#).contains("unknown flag 'q'"));
}

#[test]
fn operators_are_never_taken_for_values() {
    for text in [
        r#"{"a":{"$gt":{"$numberInt":"1"},"$lt":{"$numberInt":"5"}}}"#,
        r#"{"a":{"$regex":"x","$ne":"y"}}"#,
        r#"{"a":{"$regex":{"$regularExpression":{"pattern":"x","options":""}},"$options":"i"}}"#,
        r#"{"a":{"$options":"i"}}"#,
        r#"{"a":{"$not":{"$size":{"$numberInt":"2"}}}}"#,
        r#"{"a":{"$type":"date"}}"#,
        r#"{"$expr":{"$gt":["$a","$b"]}}"#,
        r#"{"date":{"offset":{"$numberInt":"1"}}}"#,
        r#"{"a":{"x":{"$numberInt":"1"},"$date":{"$numberInt":"1"}}}"#,
    ] {
        assert_eq!(canonical(&document(text)), text);
    }
    for text in [
        r#"{"a":{"$date":5,"$gt":1}}"#,
        r#"{"a":{"$numberInt":"1","b":1}}"#,
        r#"{"a":{"$oid":"0123456789abcdef01234567","x":1}}"#,
    ] {
        assert!(refusal(text).contains("must be the only member"), "{text}");
    }
}

#[test]
fn bad_notations_name_themselves() {
    for (text, reason) in [
        (r#"{"a":{"$numberInt":"2147483648"}}"#, "`$numberInt` needs"),
        (r#"{"a":{"$numberInt":1}}"#, "`$numberInt` needs a string"),
        (r#"{"a":{"$numberLong":""}}"#, "`$numberLong` needs"),
        (r#"{"a":{"$numberDouble":"inf"}}"#, "`$numberDouble` needs"),
        (r#"{"a":{"$numberDouble":"nan"}}"#, "`$numberDouble` needs"),
        (r#"{"a":{"$date":"tomorrow"}}"#, "`$date` needs"),
        (r#"{"a":{"$date":1.5}}"#, "`$date` needs"),
        (r#"{"a":{"$date":{"offset":"1"}}}"#, "`$date` needs"),
        (
            r#"{"a":{"$date":{"offset":9223372036854775807}}}"#,
            "smaller `offset`",
        ),
        (
            r#"{"a":{"$tcb_server_date":1}}"#,
            "`$tcb_server_date` needs",
        ),
        (r#"{"a":{"$oid":"xyz"}}"#, "`$oid` needs"),
        (
            r#"{"a":{"$binary":{"base64":"?","subType":"00"}}}"#,
            "`$binary` needs",
        ),
        (
            r#"{"a":{"$binary":{"base64":"AQI=","subType":"02"}}}"#,
            "other than 02",
        ),
        (
            r#"{"a":{"$timestamp":{"t":-1,"i":0}}}"#,
            "`$timestamp` needs",
        ),
        (r#"{"a":{"$code":"x"}}"#, "not supported"),
        (r#"{"a":1,"a":2}"#, "`a` stands twice"),
        ("{\"a\\u0000\":1}", "U+0000"),
        (r#"{"r":{"$regex":"a\u0000"}}"#, "U+0000"),
        (r#"{"a":1e999}"#, "out of range"),
        (r#"{"a":1} x"#, "trailing"),
        ("5", "expected an object"),
        (r#"{"$date":5}"#, "expected an object"),
        ("", "EOF"),
    ] {
        let message = refusal(text);
        assert!(message.contains(reason), "{text}: {message}");
    }
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert!(decode(&nested(100), &CONTEXT).is_ok());
    assert!(refusal(&nested(101)).contains("more than 100 levels"));
    let small = Context {
        bytes_max: 1000,
        ..CONTEXT
    };
    assert!(
        decode(&format!("[{}1]", "1,".repeat(2000)), &small)
            .unwrap_err()
            .to_string()
            .contains("larger than 1000")
    );
    assert!(decode(&format!(r#"{{"a":"{}"}}"#, "x".repeat(2000)), &small).is_err());
}

#[test]
fn member_order_is_kept() {
    let text = r#"{"z":"1","a":{"y":null,"b":true},"m":["2",[],{}]}"#;
    assert_eq!(canonical(&document(text)), text);
}

#[test]
fn the_json_dialect_is_plain() {
    let document = doc! {
        "i": 1, "l": 1_i64 << 40, "d": 1.5, "n": f64::NAN, "at": DateTime::from_millis(5), "r": regex("a\"", "i"),
        "s": "q\"\\\n\u{1}\u{e9}", "o": bson::oid::ObjectId::parse_str("0123456789abcdef01234567").unwrap(),
    };
    let mut out = String::new();
    write_document(
        &mut out,
        &RawDocumentBuf::try_from(&document).unwrap(),
        Dialect::Json,
    )
    .unwrap();
    let expected = concat!(
        r#"{"i":1,"l":1099511627776,"d":1.5,"n":null,"at":{"$date":5},"r":{"$regex":"a\"","$options":"i"},"#,
        r#""s":"q\"\\\n\u0001"#,
        "\u{e9}",
        r#"","o":{"$oid":"0123456789abcdef01234567"}}"#
    );
    assert_eq!(out, expected);
}

fn random_value(random: &mut StdRng, depth: usize) -> Bson {
    match random.random_range(0..if depth == 0 { 14 } else { 16 }) {
        0 => Bson::Null,
        1 => Bson::Boolean(random.random()),
        2 => Bson::Int32(random.random()),
        3 => Bson::Int64(random.random()),
        4 => Bson::Double(f64::from_bits(random.next_u64())),
        5 => Bson::Double(f64::from(random.random_range(-9..9))),
        6 => Bson::DateTime(DateTime::from_millis(random.random())),
        7 => Bson::ObjectId(bson::oid::ObjectId::from_bytes(random.random())),
        8 => Bson::Timestamp(Timestamp {
            time: random.random(),
            increment: random.random(),
        }),
        9 => {
            let bytes: Vec<u8> = (0..random.random_range(0..20))
                .map(|_| random.random())
                .collect();
            Bson::Binary(Binary {
                subtype: BinarySubtype::UserDefined(0x80 + random.random_range(0..100)),
                bytes,
            })
        }
        10 => regex(
            &random_text(random).replace('\0', ""),
            ["", "i", "ims"][random.random_range(0..3)],
        ),
        11 => [Bson::MinKey, Bson::MaxKey][random.random_range(0..2)].clone(),
        12 | 13 => Bson::String(random_text(random)),
        14 => Bson::Array(
            (0..random.random_range(0..5))
                .map(|_| random_value(random, depth - 1))
                .collect(),
        ),
        _ => Bson::Document(random_document(random, depth - 1)),
    }
}

fn random_text(random: &mut StdRng) -> String {
    let alphabet = [
        'a',
        'b',
        '"',
        '\\',
        '\n',
        '\0',
        '\u{7f}',
        '\u{e9}',
        '\u{2028}',
        '\u{1f600}',
        '/',
        '$',
        '.',
    ];
    (0..random.random_range(0..12))
        .map(|_| alphabet[random.random_range(0..alphabet.len())])
        .collect()
}

fn random_document(random: &mut StdRng, depth: usize) -> Document {
    let mut document = Document::new();
    for index in 0..random.random_range(0..6) {
        // A stored name never begins with `$`.
        document.insert(
            format!("f{index}{}", random_text(random).replace('\0', "")),
            random_value(random, depth),
        );
    }
    document
}

#[test]
fn whatever_is_written_reads_back() {
    for seed in 0..2000 {
        let original = random_document(&mut StdRng::seed_from_u64(seed), 4);
        let raw = RawDocumentBuf::try_from(&original).unwrap();
        let text = canonical(&original);
        let Root::Document(back) =
            decode(&text, &CONTEXT).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"))
        else {
            panic!("seed {seed}: not a document");
        };
        // NaN has many bit patterns and one notation, so texts are compared instead of bytes.
        let again: Document = back.as_ref().try_into().unwrap();
        assert_eq!(canonical(&again), text, "seed {seed}");
        if !text.contains("NaN") {
            assert_eq!(back.as_bytes(), raw.as_bytes(), "seed {seed}: {text}");
        }
    }
}

#[test]
fn garbage_is_refused_without_harm() {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"$date\"",
        "\"$numberLong\"",
        "\"$regex\"",
        "\"$options\"",
        "\"i\"",
        "\"$binary\"",
        "\"offset\"",
        "1",
        "-1",
        "1e9",
        "null",
        "true",
        "\\u0000",
        "\"$oid\"",
        "\"\\ud800\"",
        " ",
    ];
    for seed in 0..5000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut text = String::from(if random.random() { "{" } else { "" });
        for _ in 0..random.random_range(0..40) {
            text.push_str(pieces[random.random_range(0..pieces.len())]);
        }
        if let Ok(Root::Document(raw)) = decode(&text, &CONTEXT) {
            let read: Result<Document, _> = raw.as_ref().try_into();
            assert!(read.is_ok(), "seed {seed}: {text}");
        }
    }
}
