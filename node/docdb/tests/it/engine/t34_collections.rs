//! Collections: their schemas, their names, their numbers.

use bson::{DateTime, Document, doc};
use yunbase_docdb::change_log::ChangeKind;
use yunbase_docdb::op::{IndexOptions, Op, OpReply, ValidationLevel};
use yunbase_docdb::{ErrorCode, Result};

use super::harness::{Db, index_spec, memory, raw, rocks, update};

fn validator(db: &Db, schema: Document, level: ValidationLevel) -> Result<OpReply> {
    db.write(Op::SetValidator {
        collection: "c".into(),
        schema: raw(&schema),
        level,
    })
}

fn collections(db: &Db) -> Vec<Document> {
    match db.read(&Op::ListCollections).unwrap() {
        OpReply::Described { documents } => documents
            .iter()
            .map(|one| Document::try_from(&**one).unwrap())
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn schema() -> Document {
    doc! { "required": ["n"], "properties": { "n": { "bsonType": "int", "minimum": 0 } } }
}

#[test]
fn a_strict_schema_refuses_and_names_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let db = rocks(folder.path());
    db.create("c");
    db.insert("c", &[doc! { "_id": "old" }]).unwrap();
    validator(&db, schema(), ValidationLevel::Strict).unwrap();
    let refused = db
        .insert(
            "c",
            &[doc! { "_id": 1, "n": 1 }, doc! { "_id": 2, "n": -1 }],
        )
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::RequestFailed);
    assert!(refused.message.contains("field 'n'"), "{refused}");
    assert_eq!(db.count("c", doc! {}), 1);
    db.insert("c", &[doc! { "_id": 1, "n": 1 }]).unwrap();
    let change = |id: &str, change: Document| db.update("c", update(doc! { "_id": id }, change));
    assert!(
        change("old", doc! { "$set": { "x": 1 } })
            .unwrap_err()
            .message
            .contains("field 'n' is missing")
    );
    change("old", doc! { "$set": { "n": 7 } }).unwrap();
    assert_eq!(db.remove("c", doc! { "_id": "old" }, false), 1);
    drop(db);
    let db = rocks(folder.path());
    assert!(db.insert("c", &[doc! { "_id": 3 }]).is_err());
    assert_eq!(
        collections(&db)[0]
            .get_document("validator")
            .unwrap()
            .get_str("level")
            .unwrap(),
        "strict"
    );
    validator(&db, schema(), ValidationLevel::Off).unwrap();
    db.insert("c", &[doc! { "_id": 3 }]).unwrap();
    assert!(collections(&db)[0].get("validator").is_none());
}

#[test]
fn a_warning_schema_counts_and_a_wrong_one_is_refused() {
    let db = memory();
    db.create("c");
    validator(&db, schema(), ValidationLevel::Warn).unwrap();
    db.insert(
        "c",
        &[
            doc! { "_id": 1 },
            doc! { "_id": 2, "n": 1 },
            doc! { "_id": 3, "n": "x" },
        ],
    )
    .unwrap();
    assert_eq!(db.database.applied_effects().validation_warnings, 2);
    let error = validator(&db, doc! { "required": 1 }, ValidationLevel::Strict).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidParam);
    assert_eq!(db.find("c", doc! { "$jsonSchema": schema() }).len(), 1);
    assert_eq!(
        db.count("c", doc! { "$nor": [{ "$jsonSchema": schema() }] }),
        2
    );
}

#[test]
fn a_renamed_collection_keeps_everything_but_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let db = rocks(folder.path());
    db.create("c");
    db.create("other");
    db.index("c", &[("n", false)], true).unwrap();
    db.insert("c", &[doc! { "_id": 1, "n": 1 }]).unwrap();
    validator(&db, schema(), ValidationLevel::Strict).unwrap();
    db.write(Op::CreateIndexWith {
        collection: "c".into(),
        index: index_spec(&[("at", false)], false),
        options: IndexOptions {
            expire_after_seconds: Some(60),
            ..IndexOptions::default()
        },
    })
    .unwrap();
    db.write(Op::SetAccess {
        collection: "c".into(),
        access: raw(&doc! { "mode": "READONLY" }),
    })
    .unwrap();
    let described = collections(&db).remove(0);
    let access = |name: &str| {
        db.read(&Op::GetAccess {
            collection: name.into(),
        })
    };
    let access_before = access("c").unwrap();
    let rename = |db: &Db, from: &str, to: &str| {
        db.write(Op::RenameCollection {
            collection: from.into(),
            to: to.into(),
        })
    };
    assert_eq!(
        rename(&db, "c", "other").unwrap_err().code,
        ErrorCode::CollectionAlreadyExist
    );
    assert_eq!(
        rename(&db, "c", "c").unwrap_err().code,
        ErrorCode::CollectionAlreadyExist
    );
    assert_eq!(
        rename(&db, "none", "d").unwrap_err().code,
        ErrorCode::CollectionNotExist
    );
    assert_eq!(
        rename(&db, "c", "$d").unwrap_err().code,
        ErrorCode::InvalidParam
    );
    let before = db.database.last_change().unwrap();
    rename(&db, "c", "d").unwrap();
    let change = db
        .database
        .changes(before, 9, usize::MAX)
        .unwrap()
        .changes
        .remove(0)
        .1;
    assert_eq!(
        (change.kind, change.collection.as_str()),
        (ChangeKind::RenameCollection, "c")
    );
    assert_eq!(change.after.unwrap().get_str("to").unwrap(), "d");
    assert_eq!(db.find("d", doc! { "n": 1 }).len(), 1);
    assert_eq!(access("c").unwrap_err().code, ErrorCode::CollectionNotExist);
    // The same version too: what was checked against the rules of `c` holds for those of `d`.
    assert_eq!(access("d").unwrap(), access_before);
    assert_eq!(
        db.insert("d", &[doc! { "_id": 2, "n": 1 }])
            .unwrap_err()
            .code,
        ErrorCode::DuplicateWrite
    );
    drop(db);
    let db = rocks(folder.path());
    let all = collections(&db);
    let mut renamed = described;
    renamed.insert("name", "d");
    assert_eq!(all[0], renamed);
    assert!(db.insert("d", &[doc! { "_id": 3, "n": -1 }]).is_err());
    db.insert(
        "d",
        &[doc! { "_id": 3, "n": 3, "at": DateTime::from_millis(0) }],
    )
    .unwrap();
    db.advance_ms(61_000);
    let step = db.database.pending_expirations(db.now(), 0).unwrap();
    db.apply(&step);
    assert_eq!((db.count("d", doc! {}), step.len()), (1, 1));
    let names: Vec<_> = all
        .iter()
        .map(|one| one.get_str("name").unwrap().to_owned())
        .collect();
    assert_eq!(names, ["d", "other"]);
    db.create("c");
    assert_eq!(db.count("c", doc! {}), 0);
}

#[test]
fn a_collection_says_how_large_it_and_its_indexes_are() {
    let db = memory();
    db.create("c");
    db.index("c", &[("n", false)], false).unwrap();
    let documents: Vec<_> = (0..1000).map(|i| doc! { "_id": i, "n": i }).collect();
    db.insert("c", &documents).unwrap();
    let one = collections(&db).remove(0);
    assert_eq!(one.get_i64("count").unwrap(), 1000);
    assert_eq!(
        one.get_i64("size").unwrap() as usize,
        documents
            .iter()
            .map(|document| raw(document).as_bytes().len())
            .sum::<usize>()
    );
    // Index number, a number, a number: 8, 9 and 9 bytes.
    assert_eq!(one.get_i64("indexSizeEstimate").unwrap(), 26_000);
}
