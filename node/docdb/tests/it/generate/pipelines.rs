//! Aggregation pipelines and the documents that they suit.

use bson::{Bson, Document, doc};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::expressions::full_document;
use super::typed::number;

/// Documents for the main collection: [`full_document`]s with ids from 0.
pub(crate) fn main_documents(rng: &mut StdRng) -> Vec<Document> {
    (0..rng.random_range(0..7))
        .map(|id| {
            let mut whole = doc! { "_id": id };
            whole.extend(full_document(rng));
            whole
        })
        .collect()
}

/// Documents for the collection `other`: a number `k`, sometimes missing, a text `u`, a list `m` of numbers.
pub(crate) fn other_documents(rng: &mut StdRng) -> Vec<Document> {
    (0..rng.random_range(0..6))
        .map(|id| {
            let mut document = doc! { "_id": id, "u": *["", "x", " xY"].choose(rng).unwrap() };
            if rng.random_bool(0.8) {
                document.insert("k", number(rng));
            }
            document.insert(
                "m",
                (0..rng.random_range(0..3))
                    .map(|_| number(rng))
                    .collect::<Vec<_>>(),
            );
            document
        })
        .collect()
}

/// What is known about the documents at a place of a pipeline.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// As in the main collection, perhaps with more fields.
    Full,
    /// Some fields may be gone or of another kind; `_id` may not be unique.
    Loose,
}

/// A pipeline of one to four stages.
pub(crate) fn pipeline(rng: &mut StdRng) -> Vec<Document> {
    let mut stages = Vec::new();
    let mut shape = Shape::Full;
    for _ in 0..rng.random_range(1..5) {
        match shape {
            Shape::Full => full_stage(rng, &mut stages, &mut shape),
            Shape::Loose => loose_stage(rng, &mut stages),
        }
    }
    stages
}

fn expression(rng: &mut StdRng) -> Bson {
    let choices = [
        Bson::Document(doc! { "$add": ["$n", 1] }),
        Bson::Document(doc! { "$multiply": ["$n", "$d.n"] }),
        Bson::Document(doc! { "$concat": ["$t", "-", "$d.t"] }),
        Bson::Document(doc! { "$ifNull": ["$gone", 0] }),
        Bson::Document(doc! { "$cond": [{ "$gt": ["$n", 1] }, "big", "small"] }),
        Bson::Document(doc! { "$size": "$i" }),
        Bson::Document(doc! { "$toUpper": "$t" }),
        Bson::Document(doc! { "$sum": "$i" }),
        Bson::Document(doc! { "a": "$n", "b": "$gone", "c": ["$t"] }),
        Bson::Document(doc! { "$literal": { "x": 1 } }),
        Bson::Document(
            doc! { "$filter": { "input": "$i", "as": "e", "cond": { "$gt": ["$$e", "$n"] } } },
        ),
        Bson::from("$d.n"),
        Bson::from("$i"),
        Bson::from("$gone"),
    ];
    choices.choose(rng).unwrap().clone()
}

fn filter(rng: &mut StdRng) -> Document {
    let path = *["n", "d.n"].choose(rng).unwrap();
    match rng.random_range(0..7) {
        0 => doc! { path: number(rng) },
        1 => doc! { path: { "$gte": number(rng) } },
        2 => doc! { path: { "$lt": number(rng) } },
        3 => doc! { "t": *["", "x"].choose(rng).unwrap() },
        4 => doc! { path: { "$in": [number(rng), number(rng)] } },
        5 => doc! { "$or": [{ "i": rng.random_range(-2..5) }, { "n": { "$lte": 0 } }] },
        _ => doc! { "$expr": { "$gt": ["$n", "$d.n"] }, "d.t": { "$ne": "x" } },
    }
}

fn sort(rng: &mut StdRng, paths: &[&str]) -> Document {
    let mut sort = Document::new();
    for _ in 0..rng.random_range(1..3) {
        sort.insert(*paths.choose(rng).unwrap(), *[1, -1].choose(rng).unwrap());
    }
    sort
}

fn group(rng: &mut StdRng) -> Document {
    let id = [
        Bson::from("$t"),
        Bson::from("$n"),
        Bson::from("$gone"),
        Bson::Null,
        Bson::Document(doc! { "t": "$t", "n": { "$gt": ["$n", 0] } }),
        Bson::Document(doc! { "$size": "$i" }),
    ];
    let mut group = doc! { "_id": id.choose(rng).unwrap().clone() };
    for number in 0..rng.random_range(0..4) {
        let argument = *["$n", "$d.n", "$gone"].choose(rng).unwrap();
        let (name, argument): (&str, Bson) = match rng.random_range(0..11) {
            0 | 1 => (
                "$sum",
                [Bson::Int32(1), Bson::from(argument), Bson::from("$t")]
                    .choose(rng)
                    .unwrap()
                    .clone(),
            ),
            2 => ("$avg", argument.into()),
            3 => ("$min", argument.into()),
            4 => ("$max", argument.into()),
            5 => (
                "$first",
                ["$n", "$t", "$i"]
                    .choose(rng)
                    .map(|path| Bson::from(*path))
                    .unwrap(),
            ),
            6 => (
                "$last",
                ["$n", "$t", "$o"]
                    .choose(rng)
                    .map(|path| Bson::from(*path))
                    .unwrap(),
            ),
            7 => ("$push", expression(rng)),
            8 => ("$stdDevPop", "$n".into()),
            9 => ("$stdDevSamp", "$d.n".into()),
            _ => ("$count", Bson::Document(Document::new())),
        };
        group.insert(format!("f{number}"), doc! { name: argument });
    }
    group
}

fn full_stage(rng: &mut StdRng, stages: &mut Vec<Document>, shape: &mut Shape) {
    let stage = match rng.random_range(0..22) {
        0..=2 => doc! { "$match": filter(rng) },
        3 | 4 => {
            let paths = ["n", "t", "d.n", "_id"];
            let mut sort = sort(rng, &paths);
            sort.insert("_id", 1);
            doc! { "$sort": sort }
        }
        5 => doc! { "$limit": rng.random_range(1..5) },
        6 => doc! { "$skip": rng.random_range(0..3) },
        7 | 8 => {
            doc! { *["$addFields", "$set"].choose(rng).unwrap(): { "x": expression(rng), "d.y": expression(rng) } }
        }
        9 => {
            doc! { "$addFields": { "n": { "$add": ["$n", 1] }, "z": { "deep": expression(rng) } } }
        }
        10 => {
            let lookup = doc! { "from": "other", "localField": *["n", "i", "t", "gone"].choose(rng).unwrap(),
            "foreignField": *["k", "m", "u"].choose(rng).unwrap(), "as": "found" };
            doc! { "$lookup": lookup }
        }
        11 => {
            doc! { "$lookup": { "from": "other", "as": "found", "let": { "x": "$n" }, "pipeline": [
                { "$match": { "$expr": { *["$eq", "$gt"].choose(rng).unwrap(): ["$k", "$$x"] } } },
                { "$project": { "k": 1, "y": "$$x" } },
            ] } }
        }
        12 => {
            *shape = Shape::Loose;
            let mut project =
                doc! { *["n", "t", "d.n", "i"].choose(rng).unwrap(): 1, "x": expression(rng) };
            if rng.random_bool(0.3) {
                project.insert("_id", 0);
            }
            doc! { "$project": project }
        }
        13 => {
            *shape = Shape::Loose;
            doc! { "$project": { *["n", "t", "d.n", "o.a"].choose(rng).unwrap(): 0 } }
        }
        14 => {
            *shape = Shape::Loose;
            doc! { "$unset": [*["n", "d.t"].choose(rng).unwrap(), "i"] }
        }
        15 => {
            *shape = Shape::Loose;
            let path = *["$i", "$l", "$o", "$d.i", "$gone", "$n"]
                .choose(rng)
                .unwrap();
            let mut unwind = doc! { "path": path };
            if rng.random() {
                unwind.insert("preserveNullAndEmptyArrays", true);
            }
            if rng.random_bool(0.3) {
                unwind.insert("includeArrayIndex", "at");
            }
            doc! { "$unwind": unwind }
        }
        16 | 17 => {
            *shape = Shape::Loose;
            doc! { "$group": group(rng) }
        }
        18 => {
            *shape = Shape::Loose;
            // mingo counts nothing as 0, MongoDB makes no document.
            stages.push(doc! { "$count": "total" });
            doc! { "$match": { "total": { "$gt": 0 } } }
        }
        19 => {
            *shape = Shape::Loose;
            let root = doc! { "_id": "$_id", "n": "$n", "x": expression(rng) };
            match rng.random_range(0..3) {
                0 => doc! { "$replaceRoot": { "newRoot": root } },
                1 => doc! { "$replaceWith": root },
                _ => doc! { "$replaceRoot": { "newRoot": "$d" } },
            }
        }
        20 => {
            *shape = Shape::Loose;
            // mingo shows empty buckets, MongoDB does not.
            stages.push(
                doc! { "$bucket": { "groupBy": "$n", "boundaries": [-2, 0, 3], "default": "other",
                "output": { "count": { "$sum": 1 }, "ids": { "$push": "$_id" } } } },
            );
            doc! { "$match": { "count": { "$gt": 0 } } }
        }
        _ => {
            *shape = Shape::Loose;
            match rng.random_range(0..3) {
                0 => doc! { "$facet": {
                    "a": [{ "$match": filter(rng) }, { "$count": "n" }],
                    "b": [{ "$sort": { "n": 1, "_id": 1 } }, { "$limit": 2 }, { "$project": { "n": 1 } }],
                } },
                1 => {
                    doc! { "$unionWith": { "coll": "other", "pipeline": [{ "$match": { "k": { "$gte": 0 } } }] } }
                }
                _ => {
                    stages.push(doc! { "$sortByCount": "$t" });
                    doc! { "$sort": { "count": -1, "_id": 1 } }
                }
            }
        }
    };
    stages.push(stage);
}

fn loose_stage(rng: &mut StdRng, stages: &mut Vec<Document>) {
    let stage = match rng.random_range(0..12) {
        0 => doc! { "$limit": rng.random_range(1..6) },
        1 => doc! { "$skip": rng.random_range(0..2) },
        2 => doc! { "$match": { "n": { "$gte": 0 } } },
        3 => doc! { "$addFields": { "added": [1, "$x"] } },
        4 => {
            doc! { "$group": { "_id": null, "n": { "$sum": 1 }, "all": { "$push": { "n": "$n" } } } }
        }
        5 => doc! { "$match": { "x": { "$exists": true } } },
        6 => {
            stages.push(doc! { "$count": "n" });
            doc! { "$match": { "n": { "$gt": 0 } } }
        }
        7 => doc! { "$project": { "x": 1, "n": { "$ifNull": ["$n", 7] } } },
        8 => doc! { "$addFields": { "x": { "kept": "$x" } } },
        9 => doc! { "$unset": "x" },
        10 => doc! { "$replaceRoot": { "newRoot": { "all": "$$ROOT" } } },
        _ => doc! { "$group": { "_id": "$n", "n": { "$sum": 1 } } },
    };
    stages.push(stage);
}
