//! Random BSON from a seed: small names and values, so that conditions often meet what they look for.

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, RawBson, RawDocumentBuf, Regex, Timestamp, doc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// The generator of a test; the seed is in every failure message.
pub fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

pub fn raw_value(value: &Bson) -> RawBson {
    RawBson::try_from(value.clone()).unwrap()
}

/// Any storable value, with the extremes of each type.
pub fn any_value(rng: &mut StdRng, depth: usize) -> Bson {
    let kinds = if depth == 0 { 14 } else { 16 };
    match rng.random_range(0..kinds) {
        0 => Bson::Null,
        1 => Bson::Int32(
            *[0, 1, -1, i32::MIN, i32::MAX, rng.random()]
                .choose(rng)
                .unwrap(),
        ),
        2 => Bson::Int64(any_i64(rng)),
        3 | 4 => Bson::Double(any_double(rng)),
        5 | 6 => Bson::String(any_text(rng)),
        7 => Bson::Boolean(rng.random()),
        8 => Bson::DateTime(DateTime::from_millis(any_i64(rng))),
        9 => Bson::ObjectId(ObjectId::from_bytes([rng.random_range(0..3); 12])),
        10 => {
            let bytes = (0..rng.random_range(0..4))
                .map(|_| *[0, 1, 255].choose(rng).unwrap())
                .collect();
            Bson::Binary(Binary {
                subtype: BinarySubtype::from(rng.random_range(0..2u8) * 0x80),
                bytes,
            })
        }
        11 => Bson::Timestamp(Timestamp {
            time: rng.random_range(0..3),
            increment: rng.random(),
        }),
        12 => Bson::RegularExpression(Regex {
            pattern: ["a", "ab", "^a"]
                .choose(rng)
                .unwrap()
                .to_string()
                .try_into()
                .unwrap(),
            options: ["", "i"]
                .choose(rng)
                .unwrap()
                .to_string()
                .try_into()
                .unwrap(),
        }),
        13 => [Bson::MinKey, Bson::MaxKey].choose(rng).unwrap().clone(),
        14 => Bson::Array(
            (0..rng.random_range(0..4))
                .map(|_| any_value(rng, depth - 1))
                .collect(),
        ),
        _ => {
            let mut inner = Document::new();
            for _ in 0..rng.random_range(0..4) {
                inner.insert(any_text(rng).replace('\0', "~"), any_value(rng, depth - 1));
            }
            Bson::Document(inner)
        }
    }
}

fn any_i64(rng: &mut StdRng) -> i64 {
    let edge = 1_i64 << rng.random_range(0..63);
    let near = edge.wrapping_add(rng.random_range(-2..=2));
    *[0, 1, -1, i64::MIN, i64::MAX, near, -near, rng.random()]
        .choose(rng)
        .unwrap()
}

fn any_double(rng: &mut StdRng) -> f64 {
    let special = [
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        0.5,
    ];
    match rng.random_range(0..3) {
        0 => *special.choose(rng).unwrap(),
        1 => any_i64(rng) as f64,
        _ => f64::from_bits(rng.random()),
    }
}

fn any_text(rng: &mut StdRng) -> String {
    (0..rng.random_range(0..4))
        .map(|_| {
            *['a', 'b', '\0', '\u{1}', 'é', '\u{10ffff}', '~']
                .choose(rng)
                .unwrap()
        })
        .collect()
}

pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// A scalar from a small set.
pub fn scalar(rng: &mut StdRng) -> Bson {
    match rng.random_range(0..10) {
        0 => Bson::Null,
        1..=4 => Bson::Int32(rng.random_range(-1..5)),
        5 => Bson::Double(f64::from(rng.random_range(0..8)) / 2.0),
        6 | 7 => Bson::String(
            ["", "x", "xy", "Xy", "y.z"]
                .choose(rng)
                .unwrap()
                .to_string(),
        ),
        8 => Bson::Boolean(rng.random()),
        _ => Bson::DateTime(DateTime::from_millis(rng.random_range(0..3))),
    }
}

/// A value as documents hold it.
pub fn value(rng: &mut StdRng, depth: usize) -> Bson {
    match rng.random_range(0..10) {
        0..=2 if depth > 0 => Bson::Array(
            (0..rng.random_range(0..4))
                .map(|_| value(rng, depth - 1))
                .collect(),
        ),
        3..=5 if depth > 0 => Bson::Document(fields(rng, depth - 1)),
        _ => scalar(rng),
    }
}

fn fields(rng: &mut StdRng, depth: usize) -> Document {
    let mut document = Document::new();
    for name in NAMES {
        if rng.random_bool(0.6) {
            document.insert(name, value(rng, depth));
        }
    }
    document
}

/// A document without `_id`.
pub fn document(rng: &mut StdRng) -> Document {
    fields(rng, 3)
}

/// A dotted path that documents often have.
pub fn path(rng: &mut StdRng) -> String {
    let mut path = NAMES.choose(rng).unwrap().to_string();
    for _ in 0..[0, 0, 0, 1, 1, 2].choose(rng).copied().unwrap() {
        path.push('.');
        path.push_str(["a", "b", "c", "0", "1"].choose(rng).unwrap());
    }
    path
}

/// A filter of some conditions.
pub fn filter(rng: &mut StdRng, depth: usize) -> Document {
    let mut filter = Document::new();
    for _ in 0..*[1, 1, 1, 2].choose(rng).unwrap() {
        match rng.random_range(0..12) {
            0 | 1 if depth > 0 => {
                let operator = ["$and", "$or", "$nor"].choose(rng).unwrap();
                let branches: Vec<Bson> = (0..rng.random_range(1..3))
                    .map(|_| Bson::Document(self::filter(rng, depth - 1)))
                    .collect();
                filter.insert(*operator, branches);
            }
            2..=4 => {
                filter.insert(path(rng), value(rng, 2));
            }
            5 => {
                filter.insert(path(rng), regex(rng));
            }
            _ => {
                filter.insert(path(rng), operators(rng, depth));
            }
        }
    }
    filter
}

fn regex(rng: &mut StdRng) -> Bson {
    Bson::RegularExpression(Regex {
        pattern: ["^x", "y", "^xy?$", "^$", "\\.", "[xy]+"]
            .choose(rng)
            .unwrap()
            .to_string()
            .try_into()
            .unwrap(),
        options: ["", "i"]
            .choose(rng)
            .unwrap()
            .to_string()
            .try_into()
            .unwrap(),
    })
}

/// `{$operator: operand, ...}`
pub fn operators(rng: &mut StdRng, depth: usize) -> Document {
    let mut operators = Document::new();
    for _ in 0..*[1, 1, 2].choose(rng).unwrap() {
        let (name, operand): (&str, Bson) = match rng.random_range(0..17) {
            0 => ("$eq", value(rng, 2)),
            1 => ("$ne", value(rng, 2)),
            2 => ("$lt", value(rng, 1)),
            3 => ("$lte", value(rng, 1)),
            4 => ("$gt", value(rng, 1)),
            5 => ("$gte", value(rng, 1)),
            6 => ("$in", list(rng, true)),
            7 => ("$nin", list(rng, true)),
            8 => ("$all", list(rng, false)),
            9 => ("$exists", Bson::Boolean(rng.random())),
            10 => ("$size", Bson::Int32(rng.random_range(0..3))),
            11 => (
                "$mod",
                Bson::Array(vec![
                    Bson::Int32(rng.random_range(1..3)),
                    Bson::Int32(rng.random_range(0..2)),
                ]),
            ),
            12 => (
                "$type",
                Bson::from(
                    *[
                        "string", "number", "array", "object", "null", "bool", "date",
                    ]
                    .choose(rng)
                    .unwrap(),
                ),
            ),
            13 => (
                "$regex",
                Bson::from(*["^x", "y", "^$"].choose(rng).unwrap()),
            ),
            14 if depth > 0 => ("$not", Bson::Document(self::operators(rng, depth - 1))),
            15 if depth > 0 => (
                "$elemMatch",
                Bson::Document(self::operators(rng, depth - 1)),
            ),
            16 if depth > 0 => ("$elemMatch", Bson::Document(filter(rng, depth - 1))),
            _ => ("$gte", scalar(rng)),
        };
        operators.insert(name, operand);
    }
    operators
}

fn list(rng: &mut StdRng, patterns: bool) -> Bson {
    let mut list: Vec<Bson> = (0..rng.random_range(0..4)).map(|_| value(rng, 1)).collect();
    if patterns && rng.random_bool(0.1) {
        list.push(regex(rng));
    }
    Bson::Array(list)
}

/// An update of one to three operators on paths that do not overlap.
pub fn update(rng: &mut StdRng) -> Document {
    let mut update = Document::new();
    let mut paths: Vec<String> = Vec::new();
    for _ in 0..*[1, 1, 2, 3].choose(rng).unwrap() {
        let path = path(rng);
        let inside = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}."));
        if paths
            .iter()
            .any(|other| inside(other, &path) || inside(&path, other))
        {
            continue;
        }
        let (name, operand): (&str, Bson) = match rng.random_range(0..18) {
            0..=3 => ("$set", value(rng, 2)),
            4 => ("$unset", Bson::from("")),
            5 | 6 => ("$inc", Bson::Int32(rng.random_range(-3..4))),
            7 => (
                "$mul",
                Bson::Double(f64::from(rng.random_range(-2..5)) / 2.0),
            ),
            8 => ("$min", value(rng, 1)),
            9 => ("$max", value(rng, 1)),
            10 => ("$pop", Bson::Int32(*[1, -1].choose(rng).unwrap())),
            11 => ("$push", value(rng, 1)),
            12 => ("$push", Bson::Document(push(rng))),
            13 => ("$addToSet", value(rng, 1)),
            14 => (
                "$addToSet",
                Bson::Document(doc! { "$each": list(rng, false) }),
            ),
            15 => (
                "$pull",
                if rng.random() {
                    value(rng, 1)
                } else {
                    Bson::Document(operators(rng, 0))
                },
            ),
            16 => ("$pullAll", list(rng, false)),
            _ => {
                let operator = ["and", "or", "xor"].choose(rng).unwrap();
                (
                    "$bit",
                    Bson::Document(doc! { *operator: rng.random_range(0..8) }),
                )
            }
        };
        let entry = update
            .entry(name.to_owned())
            .or_insert_with(|| Bson::Document(Document::new()));
        entry
            .as_document_mut()
            .unwrap()
            .insert(path.clone(), operand);
        paths.push(path);
    }
    update
}

fn push(rng: &mut StdRng) -> Document {
    let mut push = doc! { "$each": list(rng, false) };
    if rng.random_bool(0.5) {
        push.insert("$position", rng.random_range(-2..3));
    }
    if rng.random_bool(0.3) {
        push.insert("$sort", *[1, -1].choose(rng).unwrap());
    }
    if rng.random_bool(0.5) {
        push.insert("$slice", rng.random_range(-2..3));
    }
    push
}

/// A sort of one or two fields.
pub fn sort(rng: &mut StdRng) -> Document {
    let mut sort = Document::new();
    for _ in 0..rng.random_range(1..3) {
        sort.insert(path(rng), *[1, -1].choose(rng).unwrap());
    }
    sort
}

/// A projection that includes, excludes, slices or matches an element.
pub fn projection(rng: &mut StdRng) -> Document {
    let mut projection = Document::new();
    let include = rng.random_bool(0.5);
    let mut paths: Vec<String> = Vec::new();
    for _ in 0..rng.random_range(1..4) {
        let path = path(rng);
        let inside = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}."));
        if path.contains(['0', '1'])
            || paths
                .iter()
                .any(|other| inside(other, &path) || inside(&path, other))
        {
            continue;
        }
        let value: Bson = match rng.random_range(0..8) {
            0 => Bson::Document(doc! { "$slice": rng.random_range(-2..3) }),
            1 => {
                Bson::Document(doc! { "$slice": [rng.random_range(-2..3), rng.random_range(1..3)] })
            }
            2 if !path.contains('.') => Bson::Document(doc! { "$elemMatch": operators(rng, 0) }),
            _ => Bson::Int32(i32::from(include)),
        };
        projection.insert(path.clone(), value);
        paths.push(path);
    }
    if rng.random_bool(0.3) {
        projection.insert("_id", 0);
    }
    projection
}

/// A projection that only includes or only excludes.
pub fn plain_projection(rng: &mut StdRng) -> Document {
    let mut plain = projection(rng);
    let include = i32::from(rng.random::<bool>());
    for (name, value) in plain.iter_mut() {
        if name != "_id" {
            *value = Bson::Int32(include);
        }
    }
    plain
}

/// A document whose fields have the same kind of value in every document, or are missing: `n` numbers,
/// `t` text, `v` any scalar, `i` integers, `l` scalars, `o` objects, `d` an object of some of these.
pub fn typed_document(rng: &mut StdRng) -> Document {
    let mut document = typed_fields(rng);
    if rng.random_bool(0.7) {
        document.insert("d", typed_fields(rng));
    }
    document
}

fn typed_fields(rng: &mut StdRng) -> Document {
    let mut document = Document::new();
    for name in ["n", "t", "v", "i", "l", "o"] {
        if rng.random_bool(0.3) {
            continue;
        }
        let count = rng.random_range(0..4);
        let value = match name {
            "n" => number(rng),
            "t" => Bson::from(*["", "x", "xy"].choose(rng).unwrap()),
            "v" => scalar(rng),
            "i" => Bson::Array(
                (0..count)
                    .map(|_| Bson::Int32(rng.random_range(-2..5)))
                    .collect(),
            ),
            "l" => Bson::Array((0..count).map(|_| scalar(rng)).collect()),
            _ => Bson::Array(
                (0..count)
                    .map(|_| Bson::Document(small_object(rng)))
                    .collect(),
            ),
        };
        document.insert(name, value);
    }
    document
}

fn number(rng: &mut StdRng) -> Bson {
    match rng.random_range(0..4) {
        0 => Bson::Double(f64::from(rng.random_range(-4..9)) / 4.0),
        _ => Bson::Int32(rng.random_range(-3..6)),
    }
}

fn small_object(rng: &mut StdRng) -> Document {
    let mut object = Document::new();
    for name in ["a", "b"] {
        if rng.random_bool(0.8) {
            object.insert(name, number(rng));
        }
    }
    object
}

/// An update whose operators suit the kinds of [`typed_document`]'s fields.
pub fn typed_update(rng: &mut StdRng) -> Document {
    let mut update = Document::new();
    let mut paths: Vec<String> = Vec::new();
    for _ in 0..*[1, 1, 2, 3].choose(rng).unwrap() {
        let (name, field, operand) = typed_change(rng);
        let place = ["", "d.", "new.", "d.new."].choose(rng).unwrap();
        let path = format!("{place}{field}");
        let inside = |a: &str, b: &str| a == b || a.starts_with(&format!("{b}."));
        if paths
            .iter()
            .any(|other| inside(other, &path) || inside(&path, other))
        {
            continue;
        }
        let entry = update
            .entry(name.to_owned())
            .or_insert_with(|| Bson::Document(Document::new()));
        entry
            .as_document_mut()
            .unwrap()
            .insert(path.clone(), operand);
        paths.push(path);
    }
    update
}

fn typed_change(rng: &mut StdRng) -> (&'static str, &'static str, Bson) {
    let scalars =
        |rng: &mut StdRng| Bson::Array((0..rng.random_range(0..3)).map(|_| scalar(rng)).collect());
    match rng.random_range(0..20) {
        0 => ("$set", "v", value(rng, 2)),
        1 => ("$set", "t", Bson::from("new")),
        2 => ("$set", "i.1", number(rng)),
        3 => (
            "$unset",
            ["n", "t", "l"].choose(rng).unwrap(),
            Bson::from(""),
        ),
        4 => ("$inc", "n", number(rng)),
        5 => ("$mul", "n", number(rng)),
        6 => ("$min", "n", number(rng)),
        7 => ("$max", "n", number(rng)),
        8 => ("$inc", "i.0", number(rng)),
        9 => ("$pop", "l", Bson::Int32(*[1, -1].choose(rng).unwrap())),
        10 => ("$push", "l", scalar(rng)),
        11 => {
            let mut push = push(rng);
            push.insert("$each", scalars(rng));
            ("$push", "l", Bson::Document(push))
        }
        12 => {
            let mut push = doc! { "$each": [small_object(rng), small_object(rng)], "$sort": { "a": *[1, -1].choose(rng).unwrap() } };
            if rng.random() {
                push.insert("$slice", rng.random_range(-3..4));
            }
            ("$push", "o", Bson::Document(push))
        }
        13 => ("$addToSet", "l", scalar(rng)),
        14 => (
            "$addToSet",
            "i",
            Bson::Document(doc! { "$each": [number(rng), number(rng)] }),
        ),
        15 => ("$pull", "l", scalar(rng)),
        16 => {
            let operator = ["$gt", "$gte", "$lt", "$ne", "$eq"].choose(rng).unwrap();
            (
                "$pull",
                "i",
                Bson::Document(doc! { *operator: number(rng) }),
            )
        }
        17 => {
            let operator = ["$gt", "$lte", "$exists"].choose(rng).unwrap();
            let operand = if *operator == "$exists" {
                Bson::Boolean(rng.random())
            } else {
                number(rng)
            };
            (
                "$pull",
                "o",
                Bson::Document(doc! { "a": { *operator: operand } }),
            )
        }
        18 => ("$pullAll", "l", scalars(rng)),
        _ => ("$addToSet", "o", Bson::Document(small_object(rng))),
    }
}

/// A sort by fields of [`typed_document`] that hold no arrays.
pub fn scalar_sort(rng: &mut StdRng) -> Document {
    let mut sort = Document::new();
    for _ in 0..rng.random_range(1..4) {
        sort.insert(
            *["n", "t", "v", "d.n", "d.v"].choose(rng).unwrap(),
            *[1, -1].choose(rng).unwrap(),
        );
    }
    sort
}
