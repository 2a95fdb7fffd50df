//! What is found in a folder that mongodump wrote.

use std::fs;

use bson::doc;

use super::*;

fn all() -> Selection<'static> {
    Selection {
        db: None,
        collections: &[],
    }
}

fn write(path: &Path, documents: &[bson::Document]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let bytes: Vec<u8> = documents
        .iter()
        .flat_map(|document| document.to_vec().unwrap())
        .collect();
    fs::write(path, bytes).unwrap();
}

fn names(parts: &[Part]) -> Vec<&str> {
    let targets = parts.iter().flat_map(|part| &part.targets);
    targets.map(|target| &*target.name).collect()
}

#[test]
fn the_one_database_is_found_and_its_collections_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path();
    write(&dump.join("shop/b.bson"), &[doc! {"_id": 1}]);
    write(&dump.join("shop/a%2Fx.bson.gz"), &[]);
    write(&dump.join("shop/system.views.bson"), &[]);
    write(&dump.join("shop/v.bson"), &[]);
    fs::write(dump.join("shop/v.metadata.json"), r#"{"type":"view"}"#).unwrap();
    write(&dump.join("shop/short%24123.bson"), &[]);
    let metadata = r#"{"collectionName":"a very long name"}"#;
    fs::write(dump.join("shop/short%24123.metadata.json"), metadata).unwrap();
    write(&dump.join("admin/system.version.bson"), &[]);
    write(&dump.join("oplog.bson"), &[]);
    for path in [dump.to_owned(), dump.join("shop")] {
        let (parts, left_out) = parts(&path, &all()).unwrap();
        assert_eq!(names(&parts), ["a/x", "b", "a very long name"]);
        assert_eq!(left_out.len(), 2, "{left_out:?}");
    }
    let chosen = ["b".to_owned()];
    let selection = Selection {
        db: Some("shop"),
        collections: &chosen,
    };
    let (parts, left_out) = parts(dump, &selection).unwrap();
    assert_eq!(names(&parts), ["b"]);
    assert!(left_out.is_empty());
}

#[test]
fn what_is_not_there_or_not_clear_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path();
    let error = |selection: &Selection<'_>| parts(dump, selection).unwrap_err();
    assert_eq!(error(&all()).exit, Exit::NotFound);
    write(&dump.join("one/a.bson"), &[]);
    write(&dump.join("two/a.bson"), &[]);
    let several = error(&all());
    assert!(several.message.contains("--db: one, two"), "{several}");
    let missing = ["b".to_owned()];
    for selection in [
        Selection {
            db: Some("three"),
            collections: &[],
        },
        Selection {
            db: Some("one"),
            collections: &missing,
        },
    ] {
        assert_eq!(error(&selection).exit, Exit::NotFound);
    }
    let file = dump.join("file");
    fs::write(&file, "nonsense").unwrap();
    assert!(parts(&file, &all()).is_err());
}
