//! What stages make of documents; where mingo is comparable, the differential test says more.

#![allow(clippy::unwrap_used)]

use bson::{Bson, Document, RawDocumentBuf, bson, doc};

use crate::error::{Error, ErrorCode};
use crate::memory::MemoryStore;
use crate::op::{IndexField, IndexSpec, Op, OpReply};
use crate::query::Budget;
use crate::{Database, Entry, Options, Step, WritePlan};

const ENV: &str = "env";

pub(super) struct Db {
    database: Database,
    log_index: u64,
}

pub(super) fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn aggregate_op(collection: &str, pipeline: &[Document]) -> Op {
    Op::Aggregate {
        collection: collection.into(),
        pipeline: pipeline.iter().map(raw).collect(),
        seed: 7,
    }
}

impl Db {
    pub(super) fn new() -> Self {
        let store = Box::new(MemoryStore::new());
        Self {
            database: Database::open(store, Options::default()).unwrap(),
            log_index: 0,
        }
    }

    fn apply(&mut self, payload: &[u8]) -> Vec<u8> {
        self.log_index += 1;
        let entry = Entry {
            log_index: self.log_index,
            position: 0,
            payload,
        };
        let applied = self.database.apply(&[entry], b"p").unwrap();
        applied.into_iter().next().unwrap()
    }

    fn write(&mut self, op: Op) {
        let mut plan = WritePlan::new(ENV, op, None).unwrap();
        loop {
            match plan.next(&self.database, 0, &|| false).unwrap() {
                Step::Done(_) => return,
                Step::Propose(command) => {
                    let reply = self.apply(&command);
                    plan.feed(&reply).unwrap();
                }
            }
        }
    }

    pub(super) fn collection(&mut self, name: &str, documents: &[Document]) {
        self.write(Op::CreateCollection {
            collection: name.into(),
        });
        for documents in documents.chunks(500) {
            self.write(Op::Insert {
                collection: name.into(),
                documents: documents.iter().map(raw).collect(),
            });
        }
    }

    pub(super) fn index(&mut self, collection: &str, path: &str) {
        let index = IndexSpec {
            name: path.into(),
            fields: vec![IndexField {
                path: path.into(),
                descending: false,
            }],
            unique: false,
        };
        self.write(Op::CreateIndex {
            collection: collection.into(),
            index,
        });
        loop {
            let commands = self.database.pending_builds(0).unwrap();
            if commands.is_empty() {
                return;
            }
            for command in commands {
                self.apply(&command);
            }
        }
    }

    pub(super) fn try_within(
        &self,
        budget: &Budget<'_>,
        collection: &str,
        pipeline: &[Document],
    ) -> Result<Vec<Document>, Error> {
        let reply = self
            .database
            .read(ENV, &aggregate_op(collection, pipeline), budget, 0)?;
        let OpReply::Found { documents, .. } = reply else {
            panic!("{reply:?}")
        };
        let documents = documents.into_iter();
        Ok(documents
            .map(|document| Document::try_from(document).unwrap())
            .collect())
    }

    pub(super) fn try_run(
        &self,
        collection: &str,
        pipeline: &[Document],
    ) -> Result<Vec<Document>, Error> {
        self.try_within(&Budget::new(&|| false), collection, pipeline)
    }

    pub(super) fn run(&self, collection: &str, pipeline: &[Document]) -> Vec<Document> {
        self.try_run(collection, pipeline).unwrap()
    }

    pub(super) fn explain(&self, collection: &str, pipeline: &[Document]) -> Document {
        let op = Op::Explain(Box::new(aggregate_op(collection, pipeline)));
        let reply = self
            .database
            .read(ENV, &op, &Budget::new(&|| false), 0)
            .unwrap();
        let OpReply::Described { documents } = reply else {
            panic!("{reply:?}")
        };
        Document::try_from(documents[0].clone()).unwrap()
    }
}

pub(super) fn people() -> Db {
    let mut db = Db::new();
    db.collection(
        "people",
        &[
            doc! { "_id": 1, "name": "Ann", "city": "A", "age": 30, "tags": ["x", "y"], "boss": null },
            doc! { "_id": 2, "name": "Bob", "city": "B", "age": 20, "tags": [], "boss": 1 },
            doc! { "_id": 3, "name": "Cid", "city": "A", "age": 40.0, "tags": ["y"], "boss": 1 },
            doc! { "_id": 4, "name": "Dee", "age": 25, "boss": 3, "in": { "a": 1 } },
        ],
    );
    db.collection(
        "cities",
        &[
            doc! { "_id": "A", "area": 10, "near": ["B"] },
            doc! { "_id": "B", "area": 5 },
            doc! { "_id": "C", "area": 7, "near": ["A", "B"] },
        ],
    );
    db
}

#[test]
fn an_empty_pipeline_is_the_whole_collection() {
    assert_eq!(people().run("people", &[]).len(), 4);
}

#[test]
fn groups_and_accumulators() {
    let found = people().run(
        "people",
        &[
            doc! { "$group": {
                "_id": "$city", "n": { "$sum": 1 }, "c": { "$count": {} }, "sum": { "$sum": "$age" }, "mean": { "$avg": "$age" },
                "least": { "$min": "$age" }, "most": { "$max": "$age" }, "first": { "$first": "$name" },
                "last": { "$last": "$missing" }, "all": { "$push": "$tags" }, "set": { "$addToSet": "$boss" },
                "pop": { "$stdDevPop": "$age" }, "samp": { "$stdDevSamp": "$age" }, "merged": { "$mergeObjects": "$in" },
            } },
            doc! { "$sort": { "_id": 1 } },
        ],
    );
    assert_eq!(
        found,
        [
            doc! { "_id": null, "n": 1, "c": 1, "sum": 25, "mean": 25.0, "least": 25, "most": 25, "first": "Dee", "last": null,
            "all": [], "set": [3], "pop": 0.0, "samp": null, "merged": { "a": 1 } },
            doc! { "_id": "A", "n": 2, "c": 2, "sum": 70.0, "mean": 35.0, "least": 30, "most": 40.0, "first": "Ann",
            "last": null, "all": [["x", "y"], ["y"]], "set": [null, 1], "pop": 5.0, "samp": 50.0_f64.sqrt(), "merged": {} },
            doc! { "_id": "B", "n": 1, "c": 1, "sum": 20, "mean": 20.0, "least": 20, "most": 20, "first": "Bob", "last": null,
            "all": [[]], "set": [1], "pop": 0.0, "samp": null, "merged": {} },
        ]
    );
}

#[test]
fn buckets() {
    let db = people();
    let bucket = doc! { "$bucket": { "groupBy": "$age", "boundaries": [20, 30, 40], "default": "other",
    "output": { "names": { "$push": "$name" } } } };
    assert_eq!(
        db.run("people", &[bucket]),
        [
            doc! { "_id": 20, "names": ["Bob", "Dee"] },
            doc! { "_id": 30, "names": ["Ann"] },
            doc! { "_id": "other", "names": ["Cid"] },
        ]
    );
    let outside = doc! { "$bucket": { "groupBy": "$age", "boundaries": [20, 30] } };
    let error = db.try_run("people", &[outside]).unwrap_err();
    assert!(error.message.contains("default"), "{error}");
    let auto = doc! { "$bucketAuto": { "groupBy": "$age", "buckets": 2 } };
    assert_eq!(
        db.run("people", &[auto]),
        [
            doc! { "_id": { "min": 20, "max": 30 }, "count": 2 },
            doc! { "_id": { "min": 30, "max": 40.0 }, "count": 2 },
        ]
    );
    let counted = doc! { "$sortByCount": "$city" };
    assert_eq!(
        db.run("people", &[counted, doc! { "$limit": 1 }]),
        [doc! { "_id": "A", "count": 2 }]
    );
}

#[test]
fn shapes() {
    let db = people();
    let first = doc! { "$match": { "_id": 1 } };
    let shape = |stage: Document| db.run("people", &[first.clone(), stage]).remove(0);
    assert_eq!(
        shape(doc! { "$project": { "city": 1, "older": { "$add": ["$age", 1] } } }),
        doc! { "_id": 1, "city": "A", "older": 31 }
    );
    assert_eq!(
        shape(doc! { "$project": { "_id": 0, "n": "$name", "l": ["$city", "$missing"] } }),
        doc! { "n": "Ann", "l": ["A", null] }
    );
    assert_eq!(
        shape(doc! { "$project": { "_id": 0, "tags": 0, "boss": false } }),
        doc! { "name": "Ann", "city": "A", "age": 30 }
    );
    assert_eq!(
        shape(doc! { "$unset": ["name", "city", "tags", "boss"] }),
        doc! { "_id": 1, "age": 30 }
    );
    let set = doc! { "$set": { "age": "$$REMOVE", "name": { "first": "$name" }, "tags.t": 1, "new.deep": "$city", "boss": 5 } };
    assert_eq!(
        shape(set),
        doc! { "_id": 1, "name": { "first": "Ann" }, "city": "A", "tags": [{ "t": 1 }, { "t": 1 }], "boss": 5,
        "new": { "deep": "A" } }
    );
    assert_eq!(
        shape(doc! { "$replaceWith": { "$mergeObjects": [{ "x": 1 }, { "y": "$age" }] } }),
        doc! { "x": 1, "y": 30 }
    );
    let error = db
        .try_run("people", &[doc! { "$replaceRoot": { "newRoot": "$in" } }])
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::RequestFailed, "{error}");
}

#[test]
fn unwinding() {
    let db = people();
    let unwind = |spec: Bson| {
        let stages = [
            doc! { "$unwind": spec },
            doc! { "$project": { "tags": 1, "i": 1 } },
        ];
        db.run("people", &stages)
    };
    assert_eq!(
        unwind(bson!("$tags")),
        [
            doc! { "_id": 1, "tags": "x" },
            doc! { "_id": 1, "tags": "y" },
            doc! { "_id": 3, "tags": "y" },
        ]
    );
    assert_eq!(
        unwind(
            bson!({ "path": "$tags", "preserveNullAndEmptyArrays": true, "includeArrayIndex": "i" })
        ),
        [
            doc! { "_id": 1, "tags": "x", "i": 0_i64 },
            doc! { "_id": 1, "tags": "y", "i": 1_i64 },
            doc! { "_id": 2, "i": null },
            doc! { "_id": 3, "tags": "y", "i": 0_i64 },
            doc! { "_id": 4, "i": null },
        ]
    );
}

#[test]
fn lookups_by_field_hash_and_index() {
    let mut db = people();
    let pipeline = [
        doc! { "$lookup": { "from": "people", "localField": "near", "foreignField": "city", "as": "people" } },
        doc! { "$project": { "n": "$people._id" } },
    ];
    let expected = [
        doc! { "_id": "A", "n": [2] },
        // The field is missing, and so is the city of one person.
        doc! { "_id": "B", "n": [4] },
        doc! { "_id": "C", "n": [1, 2, 3] },
    ];
    assert_eq!(db.run("cities", &pipeline), expected);
    // Too little for a table of the other collection, and too little for what is found.
    let within = |aggregate_memory_bytes_max| {
        let budget = Budget {
            aggregate_memory_bytes_max,
            ..Budget::new(&|| false)
        };
        db.try_within(&budget, "cities", &pipeline)
    };
    assert_eq!(within(700).unwrap(), expected);
    assert_eq!(within(60).unwrap_err().code, ErrorCode::ExceedBudget);
    db.index("people", "city");
    assert_eq!(db.run("cities", &pipeline), expected);
    let unknown = doc! { "$lookup": { "from": "nowhere", "localField": "a", "foreignField": "b", "as": "c" } };
    let error = db.try_run("cities", &[unknown]).unwrap_err();
    assert_eq!(error.code, ErrorCode::CollectionNotExist);
}

#[test]
fn lookups_with_pipelines() {
    let mut db = people();
    let correlated = [
        doc! { "$lookup": { "from": "people", "let": { "c": "$_id" }, "as": "young", "pipeline": [
            { "$match": { "$expr": { "$and": [{ "$eq": ["$city", "$$c"] }, { "$lt": ["$age", 35] }] } } },
            { "$project": { "_id": 0, "name": 1, "c": "$$c" } },
        ] } },
        doc! { "$project": { "young": 1 } },
    ];
    let expected = [
        doc! { "_id": "A", "young": [{ "name": "Ann", "c": "A" }] },
        doc! { "_id": "B", "young": [{ "name": "Bob", "c": "B" }] },
        doc! { "_id": "C", "young": [] },
    ];
    assert_eq!(db.run("cities", &correlated), expected);
    db.index("people", "city");
    assert_eq!(db.run("cities", &correlated), expected);
    let constant = [
        doc! { "$lookup": { "from": "people", "as": "p", "pipeline": [{ "$count": "n" }] } },
        doc! { "$project": { "n": { "$first": "$p.n" } } },
    ];
    assert_eq!(db.run("cities", &constant).len(), 3);
    assert!(
        db.run("cities", &constant)
            .iter()
            .all(|one| one.get_i32("n").ok() == Some(4))
    );
    let nested = doc! { "$lookup": { "from": "cities", "let": { "outer": "$_id" }, "as": "x", "pipeline": [
        { "$lookup": { "from": "people", "let": { "inner": "$_id" }, "as": "y", "pipeline": [
            { "$match": { "$expr": { "$and": [{ "$eq": ["$city", "$$inner"] }, { "$gt": ["$_id", "$$outer"] }] } } },
            { "$project": { "_id": 1 } },
        ] } },
        { "$match": { "y.0": { "$exists": true } } },
        { "$project": { "y": "$y._id" } },
    ] } };
    let found = db.run("people", &[doc! { "$match": { "_id": 1 } }, nested]);
    assert_eq!(
        found[0].get_array("x").unwrap(),
        &[
            bson!({ "_id": "A", "y": [3] }),
            bson!({ "_id": "B", "y": [2] })
        ]
    );
    let both = doc! { "$lookup": { "from": "people", "localField": "_id", "foreignField": "city", "as": "p",
    "pipeline": [{ "$sort": { "age": -1 } }, { "$limit": 1 }, { "$project": { "_id": 1 } }] } };
    assert_eq!(
        db.run(
            "cities",
            &[both, doc! { "$limit": 1 }, doc! { "$project": { "p": 1 } }]
        ),
        [doc! { "_id": "A", "p": [{ "_id": 3 }] }]
    );
}

#[test]
fn graphs_unions_facets_and_redaction() {
    let db = people();
    let graph = doc! { "$graphLookup": { "from": "people", "startWith": "$boss", "connectFromField": "boss",
    "connectToField": "_id", "as": "chain", "depthField": "depth" } };
    let found = db.run(
        "people",
        &[
            doc! { "$match": { "_id": 4 } },
            graph,
            doc! { "$unwind": "$chain" },
            doc! { "$project": { "_id": "$chain._id", "depth": "$chain.depth" } },
        ],
    );
    assert_eq!(
        found,
        [
            doc! { "_id": 3, "depth": 0_i64 },
            doc! { "_id": 1, "depth": 1_i64 }
        ]
    );
    let union = doc! { "$unionWith": { "coll": "cities", "pipeline": [{ "$match": { "area": { "$gt": 6 } } }] } };
    assert_eq!(
        db.run("people", &[union.clone(), doc! { "$count": "n" }]),
        [doc! { "n": 6 }]
    );
    assert_eq!(db.run("people", &[union, doc! { "$limit": 3 }]).len(), 3);
    let facet = doc! { "$facet": {
        "oldest": [{ "$sort": { "age": -1 } }, { "$limit": 1 }, { "$project": { "name": 1 } }],
        "count": [{ "$count": "n" }],
        "none": [{ "$match": { "age": 1 } }],
    } };
    assert_eq!(
        db.run("people", &[facet]),
        [doc! { "oldest": [{ "_id": 3, "name": "Cid" }], "count": [{ "n": 4 }], "none": [] }]
    );
    let mut db = Db::new();
    db.collection(
        "levels",
        &[doc! { "_id": 1, "l": 1, "a": { "l": 5, "x": 1 }, "b": [{ "l": 1, "y": { "l": 9 } }, { "l": 7 }, 3] }],
    );
    let redact = doc! { "$redact": { "$cond": [{ "$gt": ["$l", { "$add": ["$$ROOT.l", 3] }] }, "$$PRUNE", "$$DESCEND"] } };
    assert_eq!(
        db.run("levels", &[redact]),
        [doc! { "_id": 1, "l": 1, "b": [{ "l": 1 }, 3] }]
    );
}

#[test]
fn samples_are_drawn_from_the_request() {
    let mut db = Db::new();
    let documents: Vec<_> = (0..100).map(|n| doc! { "_id": n }).collect();
    db.collection("c", &documents);
    let sample = [doc! { "$sample": { "size": 10 } }];
    let drawn = db.run("c", &sample);
    assert_eq!(drawn.len(), 10);
    assert_eq!(drawn, db.run("c", &sample));
    let ids: std::collections::BTreeSet<_> = drawn
        .iter()
        .map(|one| one.get_i32("_id").unwrap())
        .collect();
    assert_eq!(ids.len(), 10);
    let op = Op::Aggregate {
        collection: "c".into(),
        pipeline: sample.iter().map(raw).collect(),
        seed: 8,
    };
    let other = db
        .database
        .read(ENV, &op, &Budget::new(&|| false), 0)
        .unwrap();
    let OpReply::Found { documents, .. } = other else {
        panic!("documents")
    };
    assert_ne!(documents, drawn.iter().map(raw).collect::<Vec<_>>());
}
