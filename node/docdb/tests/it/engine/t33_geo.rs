//! Places: indexes on GeoJSON, queries by distance, inside and in touch; the same result with and without an index.

use bson::{Bson, Document, doc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use yunbase_docdb::op::{FindOp, IndexOptions, Op, OpReply};
use yunbase_docdb::{ErrorCode, Result};

use super::harness::{Db, find, index_spec, memory, raw, update};

fn geo_index(db: &Db, fields: &[&str], geo: u32) -> Result<OpReply> {
    let fields: Vec<_> = fields.iter().map(|path| (*path, false)).collect();
    db.write(Op::CreateIndexWith {
        collection: "c".into(),
        index: index_spec(&fields, false),
        options: IndexOptions {
            geo: Some(geo),
            ..IndexOptions::default()
        },
    })
}

fn point(x: f64, y: f64) -> Document {
    doc! { "type": "Point", "coordinates": [x, y] }
}

fn near(x: f64, y: f64) -> Document {
    doc! { "loc": { "$nearSphere": { "$geometry": point(x, y) } } }
}

fn ids(documents: &[Document]) -> Vec<String> {
    documents
        .iter()
        .map(|document| document.get("_id").unwrap().to_string())
        .collect()
}

fn cities() -> Db {
    let db = memory();
    db.create("c");
    let city =
        |id: &str, x: f64, y: f64| doc! { "_id": id, "loc": point(x, y), "land": id.len() as i32 };
    db.insert(
        "c",
        &[
            city("beijing", 116.4074, 39.9042),
            city("shanghai", 121.4737, 31.2304),
            city("tianjin", 117.3616, 39.3434),
            city("suva", 178.4419, -18.1248),
            city("apia", -171.7667, -13.8333),
            doc! { "_id": "nowhere" },
            doc! { "_id": "null", "loc": Bson::Null },
            doc! { "_id": "two", "loc": [point(0., 0.), point(100., 39.9)] },
        ],
    )
    .unwrap();
    db
}

#[test]
fn the_nearest_come_first() {
    let db = cities();
    let refused = db
        .read(&find(
            "c",
            FindOp {
                filter: raw(&near(0., 0.)),
                ..FindOp::default()
            },
        ))
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::RequestFailed);
    assert!(
        refused.message.contains("2dsphere index on 'loc'"),
        "{refused}"
    );
    geo_index(&db, &["loc"], 0).unwrap();
    let names = |filter: Document| ids(&db.find("c", filter)).join(" ");
    assert_eq!(
        names(near(116.5, 39.9)),
        r#""beijing" "tianjin" "shanghai" "two" "suva" "apia""#
    );
    // Across the 180th meridian it is not far.
    let pacific = doc! { "loc": { "$near": { "$geometry": point(179., -17.), "$maxDistance": 1_200_000, "$minDistance": Bson::Null } } };
    assert_eq!(names(pacific.clone()), r#""suva" "apia""#);
    let plan = db.explain(find(
        "c",
        FindOp {
            filter: raw(&pacific),
            limit: Some(1),
            ..FindOp::default()
        },
    ));
    assert_eq!(
        (
            plan.get_str("stage").unwrap(),
            plan.get_str("sort").unwrap()
        ),
        ("near", "by distance")
    );
    let apart = doc! { "loc": { "$nearSphere": { "$geometry": point(116.4074, 39.9042), "$minDistance": 10_000, "$maxDistance": 200_000 } } };
    assert_eq!(names(apart.clone()), r#""tianjin""#);
    assert_eq!(db.count("c", apart), 1);
    // A sort of its own goes before the distance; skip and limit count in that order.
    let page = |find: FindOp| ids(&db.find_op("c", find).unwrap().0).join(" ");
    let sorted = FindOp {
        filter: raw(&near(116.5, 39.9)),
        sort: raw(&doc! { "_id": 1 }),
        ..FindOp::default()
    };
    assert_eq!(
        page(FindOp {
            skip: 1,
            limit: Some(2),
            sort: raw(&doc! {}),
            ..sorted.clone()
        }),
        r#""tianjin" "shanghai""#
    );
    assert_eq!(
        page(FindOp {
            sort: raw(&doc! { "_id": -1 }),
            limit: Some(2),
            ..sorted
        }),
        r#""two" "tianjin""#
    );
    // An update of one takes the nearest.
    db.update("c", update(near(121., 31.), doc! { "$set": { "mark": 1 } }))
        .unwrap();
    assert_eq!(names(doc! { "mark": 1 }), r#""shanghai""#);
}

#[test]
fn shapes_hold_and_touch() {
    let db = cities();
    let square = |x: f64, y: f64, size: f64| doc! { "type": "Polygon", "coordinates": [[[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]] };
    for indexed in [false, true] {
        if indexed {
            geo_index(&db, &["loc"], 0).unwrap();
        }
        let names = |filter: Document| {
            let mut names = ids(&db.find("c", filter));
            names.sort();
            names.join(" ")
        };
        assert_eq!(
            names(doc! { "loc": { "$geoWithin": { "$geometry": square(115., 38., 5.) } } }),
            r#""beijing" "tianjin""#
        );
        assert_eq!(
            names(doc! { "loc": { "$geoWithin": { "$centerSphere": [[116.4, 39.9], 0.005] } } }),
            r#""beijing""#
        );
        assert_eq!(
            names(doc! { "loc": { "$geoIntersects": { "$geometry": point(121.4737, 31.2304) } } }),
            r#""shanghai""#
        );
        assert_eq!(
            names(doc! { "loc": { "$geoIntersects": { "$geometry": square(-1., -1., 2.) } } }),
            r#""two""#
        );
        assert_eq!(
            names(
                doc! { "loc": { "$not": { "$geoWithin": { "$geometry": square(115., 0., 60.) } } }, "land": { "$exists": true } }
            ),
            r#""apia" "suva""#
        );
    }
    let plan = db.explain(find(
        "c",
        FindOp {
            filter: raw(&doc! { "loc": { "$geoWithin": { "$geometry": square(115., 38., 5.) } } }),
            ..FindOp::default()
        },
    ));
    assert_eq!(plan.get_str("stage").unwrap(), "index scan");
    assert_eq!(db.count("c", doc! { "loc": Bson::Null }), 2);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let db = cities();
    let refused = |filter: Document, part: &str| {
        let error = db
            .find_op(
                "c",
                FindOp {
                    filter: raw(&filter),
                    ..FindOp::default()
                },
            )
            .unwrap_err();
        assert!(error.message.contains(part), "{filter}: {error}");
        error.code
    };
    refused(doc! { "loc": { "$near": [1, 2] } }, "$geometry");
    refused(
        doc! { "loc": { "$near": { "$geometry": { "type": "Point", "coordinates": [200, 2] } } } },
        "longitude",
    );
    refused(
        doc! { "loc": { "$near": { "$geometry": point(0., 0.), "$maxDistance": -1 } } },
        "$maxDistance",
    );
    refused(
        doc! { "loc": { "$geoWithin": { "$box": [[0, 0], [1, 1]] } } },
        "$box",
    );
    refused(
        doc! { "loc": { "$geoWithin": { "$geometry": point(0., 0.) } } },
        "areas",
    );
    refused(
        doc! { "loc": { "$geoWithin": { "$centerSphere": [[0, 0]] } } },
        "radius",
    );
    let part = doc! { "$or": [near(0., 0.), { "a": 1 }] };
    assert_eq!(refused(part, "'$or'"), ErrorCode::InvalidOperator);
    refused(doc! { "$and": [near(0., 0.), near(1., 1.)] }, "one '$near'");
    geo_index(&db, &["loc"], 0).unwrap();
    let insert = |loc: Bson| {
        db.insert("c", &[doc! { "_id": "bad", "loc": loc }])
            .unwrap_err()
    };
    assert!(insert(Bson::Int32(1)).message.contains("field 'loc'"));
    assert!(
        insert(Bson::Document(
            doc! { "type": "Point", "coordinates": [1, 200] }
        ))
        .message
        .contains("latitude")
    );
    let code = |fields: &[&str], geo| geo_index(&db, fields, geo).unwrap_err().code;
    assert_eq!(code(&["x"], 1), ErrorCode::InvalidParam);
    assert_eq!(code(&["_id"], 0), ErrorCode::InvalidParam);
    // A collection with what is no place cannot be indexed.
    db.update(
        "c",
        update(doc! { "_id": "nowhere" }, doc! { "$set": { "x": 5 } }),
    )
    .unwrap();
    assert_eq!(code(&["x"], 0), ErrorCode::RequestFailed);
}

/// Random shapes and questions: an index changes nothing, and the order is that of the distances.
#[test]
fn a_geo_index_gives_the_result_of_a_scan() {
    let mut random = StdRng::seed_from_u64(5);
    let (plain, indexed, compound) = (memory(), memory(), memory());
    for db in [&plain, &indexed, &compound] {
        db.create("c");
    }
    geo_index(&indexed, &["loc"], 0).unwrap();
    geo_index(&compound, &["k", "loc"], 1).unwrap();
    let place = |random: &mut StdRng| -> (f64, f64) {
        match random.random_range(0..5) {
            0 => (
                random.random_range(170.0..180.0),
                random.random_range(-20.0..20.0),
            ),
            1 => (
                random.random_range(-180.0..-170.0),
                random.random_range(-20.0..20.0),
            ),
            2 => (
                random.random_range(-180.0..180.0),
                random.random_range(80.0..90.0),
            ),
            _ => (
                random.random_range(100.0..120.0),
                random.random_range(20.0..40.0),
            ),
        }
    };
    let shape = |random: &mut StdRng| -> Document {
        let (x, y) = place(random);
        let size = [0.01, 0.5, 5.0][random.random_range(0..3)];
        let corner = |dx: f64, dy: f64| {
            vec![
                (x + dx * size).clamp(-180., 180.),
                (y + dy * size).clamp(-90., 90.),
            ]
        };
        match random.random_range(0..4) {
            0 => {
                doc! { "type": "LineString", "coordinates": [corner(0., 0.), corner(1., 0.5), corner(1., 1.)] }
            }
            1 => {
                doc! { "type": "Polygon", "coordinates": [[corner(0., 0.), corner(1., 0.), corner(0.5, 1.), corner(0., 0.)]] }
            }
            _ => point(x, y),
        }
    };
    for id in 0..600 {
        let mut document = doc! { "_id": id, "k": random.random_range(0..3) };
        match random.random_range(0..12) {
            0 => {}
            1 => drop(document.insert("loc", vec![shape(&mut random), shape(&mut random)])),
            _ => drop(document.insert("loc", shape(&mut random))),
        }
        for db in [&plain, &indexed, &compound] {
            db.insert("c", std::slice::from_ref(&document)).unwrap();
        }
    }
    let found = |db: &Db, filter: &Document| {
        let mut ids = ids(&db.find("c", filter.clone()));
        ids.sort();
        ids
    };
    let mut total = 0;
    for _ in 0..200 {
        let (x, y) = place(&mut random);
        let radius: f64 = [0.001, 0.02, 0.3][random.random_range(0..3)];
        let size = radius.to_degrees();
        let corner = |dx: f64, dy: f64| {
            vec![
                (x + dx * size).clamp(-180., 180.),
                (y + dy * size).clamp(-90., 90.),
            ]
        };
        let triangle = doc! { "type": "Polygon", "coordinates": [[corner(-1., -1.), corner(1., -1.), corner(0., 1.), corner(-1., -1.)]] };
        let k = random.random_range(0..3);
        for condition in [
            doc! { "$geoWithin": { "$centerSphere": [[x, y], radius] } },
            doc! { "$geoWithin": { "$geometry": triangle.clone() } },
            doc! { "$geoIntersects": { "$geometry": triangle } },
            doc! { "$geoIntersects": { "$geometry": shape(&mut random) } },
        ] {
            let filter = doc! { "loc": condition, "k": k };
            let expected = found(&plain, &filter);
            total += expected.len();
            assert_eq!(found(&indexed, &filter), expected, "{filter}");
            assert_eq!(found(&compound, &filter), expected, "{filter}");
        }
        // By distance: the k nearest are those within the distance of the last.
        let filter = doc! { "loc": { "$nearSphere": { "$geometry": point(x, y) } }, "k": k };
        let nearest = |db: &Db| {
            ids(&db
                .find_op(
                    "c",
                    FindOp {
                        filter: raw(&filter),
                        limit: Some(15),
                        ..FindOp::default()
                    },
                )
                .unwrap()
                .0)
        };
        let order = nearest(&indexed);
        assert_eq!(order.len(), 15);
        assert_eq!(nearest(&compound), order, "{filter}");
        let metres = 6_378_100.0 * radius;
        let within = doc! { "loc": { "$nearSphere": { "$geometry": point(x, y), "$maxDistance": metres } }, "k": k };
        let by_distance = ids(&indexed.find("c", within.clone()));
        assert_eq!(
            by_distance.iter().take(15).collect::<Vec<_>>(),
            order.iter().take(by_distance.len()).collect::<Vec<_>>()
        );
        // `$geoIntersects` with nothing but a disc is not there; the plain database counts by matching each.
        assert_eq!(plain_near(&plain, &within), by_distance.len(), "{within}");
    }
    assert!(total > 1000, "{total}");
}

/// Matches of a query by distance without an index: an update checks each document by itself.
fn plain_near(db: &Db, filter: &Document) -> usize {
    let mut count = 0;
    for id in 0..600 {
        let mut one = filter.clone();
        one.insert("_id", id);
        let (matched, _) = db
            .update("c", update(one, doc! { "$set": { "seen": true } }))
            .unwrap();
        count += matched as usize;
    }
    count
}
