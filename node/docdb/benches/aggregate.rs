//! How many documents a pipeline takes each second, on RocksDB and one core: run with
//! `cargo bench --workspace --bench aggregate`.
//!
//! Each case runs for about a second; on a shared machine compare runs of one session only.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf, doc};
use yunbase_docdb::op::Op;
use yunbase_docdb::rocks::RocksStore;
use yunbase_docdb::rocks_options::RocksShared;
use yunbase_docdb::{Budget, Database, Entry, Options, Step, WritePlan};

const DOCUMENTS: usize = 300_000;
const BATCH: usize = 1000;
const ENV: &str = "env";
const NOW_MS: i64 = 1_700_000_000_000;
/// How long each case is repeated.
const SPAN: Duration = Duration::from_secs(1);

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn write(database: &Database, log_index: &mut u64, op: Op) {
    let mut plan = WritePlan::new(ENV, op, None).unwrap();
    while let Step::Propose(command) = plan.next(database, NOW_MS, &|| false).unwrap() {
        *log_index += 1;
        let entry = Entry {
            log_index: *log_index,
            position: 0,
            payload: &command,
        };
        let replies = database.apply(&[entry], &log_index.to_le_bytes()).unwrap();
        plan.feed(&replies[0]).unwrap();
    }
}

fn document(number: usize) -> RawDocumentBuf {
    raw(&doc! {
        "_id": format!("{number:08}"),
        "city": format!("city-{}", number % 50),
        "age": (number % 90) as i32,
        "n": number as i32,
        "score": number as f64 * 0.5,
    })
}

fn measure(database: &Database, name: &str, pipeline: &[Document]) {
    let op = Op::Aggregate {
        collection: "people".into(),
        pipeline: pipeline.iter().map(raw).collect(),
        seed: 1,
    };
    let read = || {
        black_box(
            database
                .read(ENV, &op, &Budget::new(&|| false), NOW_MS)
                .unwrap(),
        )
    };
    read();
    let (started, mut runs) = (Instant::now(), 0);
    while started.elapsed() < SPAN {
        read();
        runs += 1;
    }
    let rate = (runs * DOCUMENTS) as f64 / started.elapsed().as_secs_f64() / 1e6;
    println!("{name:<44} {rate:>8.3} million documents/s");
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let shared = RocksShared::new(256 << 20, 128 << 20);
    let store = RocksStore::open(folder.path(), shared).unwrap();
    let database = Database::open(Box::new(store), Options::default()).unwrap();
    let mut log_index = 0;
    let collection = || "people".to_owned();
    let create = Op::CreateCollection {
        collection: collection(),
    };
    write(&database, &mut log_index, create);
    for start in (0..DOCUMENTS).step_by(BATCH) {
        let insert = Op::Insert {
            collection: collection(),
            documents: (start..start + BATCH).map(document).collect(),
        };
        write(&database, &mut log_index, insert);
    }
    database.flush().unwrap();
    measure(
        &database,
        "match without an index",
        &[doc! { "$match": { "n": -1 } }],
    );
    measure(
        &database,
        "match of text and a range without an index",
        &[doc! { "$match": { "city": "city-7", "age": { "$gte": 200 } } }],
    );
    measure(
        &database,
        "group by 50 texts, count",
        &[doc! { "$group": { "_id": "$city", "n": { "$sum": 1 } } }],
    );
    measure(
        &database,
        "group by 90 numbers, sum and mean",
        &[
            doc! { "$group": { "_id": "$age", "n": { "$sum": "$n" }, "mean": { "$avg": "$score" } } },
        ],
    );
    measure(
        &database,
        "group by 90 numbers, computed sum",
        &[doc! { "$group": { "_id": "$age", "n": { "$sum": { "$multiply": ["$n", "$score"] } } } }],
    );
    measure(
        &database,
        "first 10 of a sort",
        &[doc! { "$sort": { "score": -1 } }, doc! { "$limit": 10 }],
    );
    measure(
        &database,
        "project a computed field, count",
        &[
            doc! { "$project": { "age": 1, "twice": { "$add": ["$n", "$n"] } } },
            doc! { "$match": { "twice": -1 } },
        ],
    );
}
