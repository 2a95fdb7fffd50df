//! Documents whose fields keep one kind of value, and updates and sorts that suit them: what MongoDB
//! would refuse tells nothing about an oracle that is more lenient.

use bson::{Bson, Document, doc};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::requests::{push, scalar, value};

/// A document whose fields have the same kind of value in every document, or are missing: `n` numbers,
/// `t` text, `v` any scalar, `i` integers, `l` scalars, `o` objects, `d` an object of some of these.
pub(crate) fn typed_document(rng: &mut StdRng) -> Document {
    let mut document = typed_fields(rng);
    if rng.random_bool(0.7) {
        document.insert("d", typed_fields(rng));
    }
    document
}

pub(crate) fn typed_fields(rng: &mut StdRng) -> Document {
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

pub(crate) fn number(rng: &mut StdRng) -> Bson {
    match rng.random_range(0..4) {
        0 => Bson::Double(f64::from(rng.random_range(-4..9)) / 4.0),
        _ => Bson::Int32(rng.random_range(-3..6)),
    }
}

pub(crate) fn small_object(rng: &mut StdRng) -> Document {
    let mut object = Document::new();
    for name in ["a", "b"] {
        if rng.random_bool(0.8) {
            object.insert(name, number(rng));
        }
    }
    object
}

/// An update whose operators suit the kinds of [`typed_document`]'s fields.
pub(crate) fn typed_update(rng: &mut StdRng) -> Document {
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
pub(crate) fn scalar_sort(rng: &mut StdRng) -> Document {
    let mut sort = Document::new();
    for _ in 0..rng.random_range(1..4) {
        sort.insert(
            *["n", "t", "v", "d.n", "d.v"].choose(rng).unwrap(),
            *[1, -1].choose(rng).unwrap(),
        );
    }
    sort
}
