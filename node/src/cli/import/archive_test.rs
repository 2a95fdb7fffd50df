//! Archives as mongodump writes them, whole and damaged.

use std::io::Cursor;

use bson::doc;

use super::*;

/// Blocks of `(collection, documents)`; the checksum of a collection is given with its end.
fn archive(blocks: &[(&str, &[Document])], ends: &[(&str, u64)]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let header = doc! {"concurrent_collections": 4, "version": "0.1", "server_version": "7.0.0", "tool_version": "100.9"};
    header.to_writer(&mut bytes).unwrap();
    for name in ["a", "b"] {
        let described = doc! {"db": "shop", "collection": name, "metadata": "{}", "size": 10, "type": "collection"};
        described.to_writer(&mut bytes).unwrap();
    }
    bytes.extend(TERMINATOR.to_le_bytes());
    for (name, documents) in blocks {
        let head = doc! {"db": "shop", "collection": *name, "EOF": false, "CRC": 0_i64};
        head.to_writer(&mut bytes).unwrap();
        for document in *documents {
            document.to_writer(&mut bytes).unwrap();
        }
        bytes.extend(TERMINATOR.to_le_bytes());
    }
    for (name, checksum) in ends {
        let head = doc! {"db": "shop", "collection": *name, "EOF": true, "CRC": *checksum as i64};
        head.to_writer(&mut bytes).unwrap();
        bytes.extend(TERMINATOR.to_le_bytes());
    }
    bytes
}

fn checksum(documents: &[Document]) -> u64 {
    let bytes: Vec<u8> = documents
        .iter()
        .flat_map(|document| document.to_vec().unwrap())
        .collect();
    CHECKSUM.checksum(&bytes)
}

fn numbered(range: std::ops::Range<i32>) -> Vec<Document> {
    range.map(|n| doc! {"_id": n}).collect()
}

fn read(bytes: &[u8], wanted: &[&str]) -> io::Result<Vec<(String, Document)>> {
    let mut reader = Cursor::new(bytes);
    read_prelude(&mut reader)?;
    let wanted = wanted.iter().map(|&name| Arc::from(name));
    let mut blocks = Blocks::new("shop", wanted);
    let (mut found, mut document) = (Vec::new(), Vec::new());
    while let Step::Document(name) = blocks.next(&mut reader, &mut document)? {
        let document = Document::from_reader(document.as_slice()).unwrap();
        found.push((name.to_string(), document));
    }
    Ok(found)
}

fn whole() -> Vec<u8> {
    archive(
        &[
            ("a", &numbered(0..2)),
            ("b", &numbered(10..11)),
            ("a", &numbered(2..3)),
        ],
        &[
            ("b", checksum(&numbered(10..11))),
            ("a", checksum(&numbered(0..3))),
        ],
    )
}

#[test]
fn blocks_of_several_collections_alternate() {
    let mut reader = Cursor::new(whole());
    let described = read_prelude(&mut reader).unwrap();
    let names: Vec<&str> = described.iter().map(|one| &*one.collection).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        (&*described[0].db, &*described[0].kind),
        ("shop", "collection")
    );
    let found = read(&whole(), &["a", "b"]).unwrap();
    let names: Vec<&str> = found.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["a", "a", "b", "a"]);
    let found: Vec<Document> = read(&whole(), &["a"])
        .unwrap()
        .into_iter()
        .map(|(_, document)| document)
        .collect();
    assert_eq!(found, numbered(0..3));
}

/// The checksum is the one that mongodump computes: CRC-64 of ECMA-182 as Go has it.
#[test]
fn the_checksum_is_the_known_one() {
    assert_eq!(CHECKSUM.checksum(b"123456789"), 0x995d_c9bb_df19_39fa);
}

#[test]
fn damage_is_noticed() {
    let blocks: [(&str, &[Document]); 1] = [("a", &numbered(0..2))];
    let wrong = archive(&blocks, &[("a", 7)]);
    assert!(
        read(&wrong, &["a"])
            .unwrap_err()
            .to_string()
            .contains("checksum")
    );
    let without_end = archive(&blocks, &[]);
    assert!(
        read(&without_end, &["a"])
            .unwrap_err()
            .to_string()
            .contains("before all documents of a")
    );
    assert!(read_prelude(&mut Cursor::new(b"nonsense")).is_err());
    assert!(read_prelude(&mut Cursor::new(&MAGIC)).is_err());
}

#[test]
fn an_archive_cut_anywhere_is_an_error_and_never_a_panic() {
    let whole = whole();
    for length in 0..whole.len() {
        let cut = &whole[..length];
        let mut reader = Cursor::new(cut);
        if read_prelude(&mut reader).is_err() {
            continue;
        }
        let mut blocks = Blocks::new("shop", ["a", "b"].map(Arc::from));
        let mut document = Vec::new();
        let ended = loop {
            match blocks.next(&mut reader, &mut document) {
                Ok(Step::Document(_)) => {}
                Ok(Step::End) => break true,
                Ok(Step::Cut(_)) | Err(_) => break false,
            }
        };
        // Only the mark behind the last end may be missing: all documents are there by then.
        assert!(!ended || length >= whole.len() - 4, "{length}");
    }
}
