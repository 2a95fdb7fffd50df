//! Documents of any shape, and filters, updates, sorts and projections that may or may not suit them.

use bson::{Bson, DateTime, Document, Regex, doc};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

/// A scalar from a small set.
pub(crate) fn scalar(rng: &mut StdRng) -> Bson {
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
pub(crate) fn value(rng: &mut StdRng, depth: usize) -> Bson {
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
pub(crate) fn document(rng: &mut StdRng) -> Document {
    fields(rng, 3)
}

/// A dotted path that documents often have.
pub(crate) fn path(rng: &mut StdRng) -> String {
    let mut path = NAMES.choose(rng).unwrap().to_string();
    for _ in 0..[0, 0, 0, 1, 1, 2].choose(rng).copied().unwrap() {
        path.push('.');
        path.push_str(["a", "b", "c", "0", "1"].choose(rng).unwrap());
    }
    path
}

/// A filter of some conditions.
pub(crate) fn filter(rng: &mut StdRng, depth: usize) -> Document {
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
pub(crate) fn operators(rng: &mut StdRng, depth: usize) -> Document {
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
pub(crate) fn update(rng: &mut StdRng) -> Document {
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

pub(crate) fn push(rng: &mut StdRng) -> Document {
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
pub(crate) fn sort(rng: &mut StdRng) -> Document {
    let mut sort = Document::new();
    for _ in 0..rng.random_range(1..3) {
        sort.insert(path(rng), *[1, -1].choose(rng).unwrap());
    }
    sort
}

/// A projection that includes, excludes, slices or matches an element.
pub(crate) fn projection(rng: &mut StdRng) -> Document {
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
pub(crate) fn plain_projection(rng: &mut StdRng) -> Document {
    let mut plain = projection(rng);
    let include = i32::from(rng.random::<bool>());
    for (name, value) in plain.iter_mut() {
        if name != "_id" {
            *value = Bson::Int32(include);
        }
    }
    plain
}
