//! Aggregation expressions and the documents that they suit.

use bson::{Bson, Document, doc};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::typed::{number, small_object, typed_document, typed_fields};

/// An aggregation expression that suits the fields of [`typed_document`].
pub(crate) fn expression(rng: &mut StdRng, depth: usize) -> Bson {
    match rng.random_range(0..5) {
        0 => number_expression(rng, depth),
        1 => text_expression(rng, depth),
        2 | 3 => truth_expression(rng, depth),
        _ => array_expression(rng, depth),
    }
}

/// A single operand stands without a list: mingo knows no other way.
fn call(name: &str, mut operands: Vec<Bson>) -> Bson {
    match operands.len() {
        1 => Bson::Document(doc! { name: operands.remove(0) }),
        _ => Bson::Document(doc! { name: operands }),
    }
}

/// A [`typed_document`] in which what expressions refer to is there, so that most have a value.
pub(crate) fn full_document(rng: &mut StdRng) -> Document {
    let mut document = typed_document(rng);
    let mut inner = typed_fields(rng);
    for fields in [&mut document, &mut inner] {
        fields.insert("n", number(rng));
        fields.insert("t", *["", "x", " xY"].choose(rng).unwrap());
        fields.insert(
            "i",
            (0..rng.random_range(0..4))
                .map(|_| number(rng))
                .collect::<Vec<Bson>>(),
        );
        fields.insert(
            "o",
            (0..rng.random_range(0..3))
                .map(|_| Bson::Document(small_object(rng)))
                .collect::<Vec<Bson>>(),
        );
    }
    document.insert("d", inner);
    document
}

fn number_expression(rng: &mut StdRng, depth: usize) -> Bson {
    if depth == 0 {
        return match rng.random_range(0..4) {
            0 => number(rng),
            1 => Bson::from("$d.n"),
            2 => Bson::from("$missing"),
            _ => Bson::from("$n"),
        };
    }
    let depth = depth - 1;
    match rng.random_range(0..16) {
        0 | 1 => call(
            "$add",
            vec![number_expression(rng, depth), number_expression(rng, depth)],
        ),
        2 => call(
            "$subtract",
            vec![number_expression(rng, depth), number_expression(rng, depth)],
        ),
        3 => call(
            "$multiply",
            vec![number_expression(rng, depth), number_expression(rng, depth)],
        ),
        4 => call(
            "$divide",
            vec![
                number_expression(rng, depth),
                Bson::Int32(rng.random_range(1..4)),
            ],
        ),
        5 => call(
            "$mod",
            vec![present_number(rng), Bson::Int32(rng.random_range(1..4))],
        ),
        6 => call(
            ["$abs", "$ceil", "$floor"].choose(rng).unwrap(),
            vec![number_expression(rng, depth)],
        ),
        7 => call(
            "$trunc",
            vec![
                number_expression(rng, depth),
                Bson::Int32(rng.random_range(0..2)),
            ],
        ),
        8 => call("$size", vec![array_expression(rng, depth)]),
        9 => call(
            ["$sum", "$avg", "$min", "$max"].choose(rng).unwrap(),
            vec![Bson::from("$i")],
        ),
        10 => call("$strLenCP", vec![text_expression(rng, depth)]),
        11 => call(
            "$cond",
            vec![
                truth_expression(rng, depth),
                number_expression(rng, depth),
                number_expression(rng, depth),
            ],
        ),
        12 => call("$ifNull", vec![number_expression(rng, depth), number(rng)]),
        13 => call("$cmp", comparable_expressions(rng)),
        14 => Bson::Document(doc! { "$reduce": {
            "input": array_expression(rng, depth), "initialValue": number_expression(rng, depth),
            "in": { "$add": ["$$value", 1] },
        } }),
        _ => call(
            "$indexOfArray",
            vec![array_expression(rng, depth), number_expression(rng, depth)],
        ),
    }
}

/// Two expressions of the same type: mingo does not order different types.
fn comparable_expressions(rng: &mut StdRng) -> Vec<Bson> {
    let choices = [["$n", "$d.n"], ["$t", "$d.t"]].choose(rng).unwrap();
    let mut pair: Vec<Bson> = (0..2)
        .map(|_| Bson::from(*choices.choose(rng).unwrap()))
        .collect();
    if rng.random() {
        pair[1] = if choices[0] == "$n" {
            number(rng)
        } else {
            Bson::from("x")
        };
    }
    pair
}

fn present_number(rng: &mut StdRng) -> Bson {
    match rng.random_range(0..3) {
        0 => number(rng),
        _ => Bson::from(*["$n", "$d.n"].choose(rng).unwrap()),
    }
}

fn text_expression(rng: &mut StdRng, depth: usize) -> Bson {
    if depth == 0 {
        return Bson::from(
            *["$t", "$d.t", "abc", " x y ", "Xy", ""]
                .choose(rng)
                .unwrap(),
        );
    }
    let depth = depth - 1;
    match rng.random_range(0..7) {
        0 => call(
            "$concat",
            vec![text_expression(rng, depth), text_expression(rng, depth)],
        ),
        1 => call(
            ["$toLower", "$toUpper"].choose(rng).unwrap(),
            vec![text_expression(rng, depth)],
        ),
        2 => {
            let (from, count) = (
                Bson::Int32(rng.random_range(0..3)),
                Bson::Int32(rng.random_range(0..3)),
            );
            call("$substrCP", vec![text_expression(rng, depth), from, count])
        }
        3 => Bson::Document(
            doc! { *["$trim", "$ltrim", "$rtrim"].choose(rng).unwrap(): { "input": text_expression(rng, depth) } },
        ),
        4 => call(
            "$ifNull",
            vec![text_expression(rng, depth), Bson::from("none")],
        ),
        5 => Bson::Document(doc! { *["$replaceOne", "$replaceAll"].choose(rng).unwrap():
        { "input": text_expression(rng, depth), "find": "x", "replacement": "zz" } }),
        _ => Bson::Document(doc! { "$switch": {
            "branches": [{ "case": truth_expression(rng, depth), "then": text_expression(rng, depth) }],
            "default": text_expression(rng, depth),
        } }),
    }
}

fn truth_expression(rng: &mut StdRng, depth: usize) -> Bson {
    if depth == 0 {
        return [
            Bson::Boolean(true),
            Bson::from("$v"),
            Bson::from("$n"),
            Bson::Boolean(false),
        ]
        .choose(rng)
        .unwrap()
        .clone();
    }
    let depth = depth - 1;
    match rng.random_range(0..8) {
        0..=2 => {
            let operator = ["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"]
                .choose(rng)
                .unwrap();
            call(operator, comparable_expressions(rng))
        }
        3 => call(
            ["$and", "$or"].choose(rng).unwrap(),
            vec![truth_expression(rng, depth), truth_expression(rng, depth)],
        ),
        4 => call("$not", vec![truth_expression(rng, depth)]),
        5 => call(
            "$in",
            vec![number_expression(rng, depth), array_expression(rng, depth)],
        ),
        6 => call(
            "$isArray",
            vec![Bson::from(*["$i", "$n", "$missing"].choose(rng).unwrap())],
        ),
        _ => call("$gt", vec![present_number(rng), present_number(rng)]),
    }
}

/// Arrays of numbers.
fn array_expression(rng: &mut StdRng, depth: usize) -> Bson {
    if depth == 0 {
        return [
            Bson::from("$i"),
            Bson::from("$d.i"),
            Bson::from("$o.a"),
            Bson::Document(doc! { "$literal": [number(rng), number(rng)] }),
        ]
        .choose(rng)
        .unwrap()
        .clone();
    }
    let depth = depth - 1;
    match rng.random_range(0..8) {
        0 => Bson::Document(doc! { "$map": {
            "input": array_expression(rng, depth), "as": "e", "in": { "$multiply": ["$$e", number_expression(rng, 0)] },
        } }),
        1 => Bson::Document(doc! { "$filter": {
            "input": array_expression(rng, depth), "as": "e", "cond": { "$gt": ["$$e", present_number(rng)] },
        } }),
        2 => call(
            "$concatArrays",
            vec![array_expression(rng, depth), array_expression(rng, depth)],
        ),
        3 => call(
            "$slice",
            vec![
                array_expression(rng, depth),
                Bson::Int32(*[-2, -1, 1, 2].choose(rng).unwrap()),
            ],
        ),
        4 => Bson::Document(doc! { "$reverseArray": array_expression(rng, depth) }),
        5 => {
            let (from, to) = (
                Bson::Int32(rng.random_range(-1..3)),
                Bson::Int32(rng.random_range(0..5)),
            );
            call("$range", vec![from, to])
        }
        6 => Bson::Document(doc! { "$let": {
            "vars": { "x": { "$ifNull": [number_expression(rng, depth), 7] } }, "in": ["$$x", { "$add": ["$$x", 1] }],
        } }),
        // The order of a set is not defined, its size is.
        _ => {
            let operator = ["$setUnion", "$setIntersection", "$setDifference"]
                .choose(rng)
                .unwrap();
            let set = call(
                operator,
                vec![array_expression(rng, depth), array_expression(rng, depth)],
            );
            call("$range", vec![Bson::Int32(0), call("$size", vec![set])])
        }
    }
}
