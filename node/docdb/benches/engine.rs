//! What the engine costs a document, on RocksDB: run with `cargo bench --workspace --bench engine`.
//!
//! Prints microseconds an operation; on a shared machine compare runs of one session only.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use bson::{RawDocumentBuf, doc};
use yunbase_docdb::op::{FindOp, IndexField, IndexSpec, Op, UpdateOp};
use yunbase_docdb::rocks::RocksStore;
use yunbase_docdb::rocks_options::RocksShared;
use yunbase_docdb::{
    Budget, CommandReply, Database, Entry, Options, SessionSequence, Step, WritePlan, command,
};

const DOCUMENTS: usize = 50_000;
const BATCH: usize = 64;
const ENV: &str = "env";
const NOW_MS: i64 = 1_700_000_000_000;

struct Bench {
    database: Database,
    log_index: u64,
}

impl Bench {
    fn apply(&mut self, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.log_index += 1;
        let log_index = self.log_index;
        let entries: Vec<_> = (0..)
            .zip(payloads)
            .map(|(position, payload)| Entry {
                log_index,
                position,
                payload,
            })
            .collect();
        self.database
            .apply(&entries, &log_index.to_le_bytes())
            .unwrap()
    }

    fn command(&self, op: Op, session: Option<SessionSequence>) -> Vec<u8> {
        let mut plan = WritePlan::new(ENV, op, session).unwrap();
        match plan.next(&self.database, NOW_MS, &|| false).unwrap() {
            Step::Propose(command) => command,
            Step::Done(_) => Vec::new(),
        }
    }

    /// Prepares all commands first, then measures applying them in batches.
    fn measure_apply(
        &mut self,
        name: &str,
        ops: impl Iterator<Item = (Op, Option<SessionSequence>)>,
    ) {
        let started = Instant::now();
        let commands: Vec<_> = ops.map(|(op, session)| self.command(op, session)).collect();
        report(&format!("{name}, planning"), started, commands.len());
        let started = Instant::now();
        for batch in commands.chunks(BATCH) {
            for reply in self.apply(batch) {
                command::decode_reply(&reply).unwrap();
            }
        }
        report(&format!("{name}, apply"), started, commands.len());
    }

    fn measure_read(&self, name: &str, count: usize, op: impl Fn(usize) -> Op) {
        let ops: Vec<_> = (0..count).map(op).collect();
        let started = Instant::now();
        for op in &ops {
            black_box(
                self.database
                    .read(ENV, op, &Budget::new(&|| false), NOW_MS)
                    .unwrap(),
            );
        }
        report(name, started, count);
    }
}

fn report(name: &str, started: Instant, count: usize) {
    let micros = started.elapsed().as_secs_f64() * 1e6 / count as f64;
    println!("{name:<44} {micros:>9.2} us");
}

fn raw(document: &bson::Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn id(number: usize) -> String {
    // Spread like generated ids.
    blake3::hash(&number.to_le_bytes()).to_hex()[..32].to_owned()
}

fn document(number: usize) -> RawDocumentBuf {
    raw(&doc! {
        "_id": id(number),
        "name": format!("name-{number}"),
        "age": (number % 90) as i32,
        "city": format!("city-{}", number % 500),
        "text": "x".repeat(880),
    })
}

fn insert(number: usize, collection: &str) -> Op {
    Op::Insert {
        collection: collection.into(),
        documents: vec![document(number)],
    }
}

fn find(filter: &bson::Document, limit: u64) -> Op {
    let find = FindOp {
        filter: raw(filter),
        limit: Some(limit),
        ..FindOp::default()
    };
    Op::Find {
        collection: "indexed".into(),
        find,
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let shared = RocksShared::new(256 << 20, 128 << 20);
    let store = RocksStore::open(folder.path(), shared).unwrap();
    let database = Database::open(Box::new(store), Options::default()).unwrap();
    let mut bench = Bench {
        database,
        log_index: 0,
    };
    for collection in ["plain", "indexed"] {
        let create = bench.command(
            Op::CreateCollection {
                collection: collection.into(),
            },
            None,
        );
        bench.apply(&[create]);
    }
    for path in ["city", "age"] {
        let fields = vec![IndexField {
            path: path.into(),
            descending: false,
        }];
        let index = IndexSpec {
            name: path.into(),
            fields,
            unique: false,
        };
        let create = bench.command(
            Op::CreateIndex {
                collection: "indexed".into(),
                index,
            },
            None,
        );
        bench.apply(&[create]);
    }
    let reply = bench
        .apply(&[command::open_session(NOW_MS).unwrap()])
        .remove(0);
    let Ok(CommandReply::SessionOpened { session, .. }) = command::decode_reply(&reply) else {
        return;
    };
    let mut sequence = 0;
    let mut name = move || {
        sequence += 1;
        Some(SessionSequence { session, sequence })
    };

    bench.measure_apply(
        "insert 1 KiB, no index",
        (0..DOCUMENTS).map(|n| (insert(n, "plain"), name())),
    );
    bench.measure_apply(
        "insert 1 KiB, 2 indexes",
        (0..DOCUMENTS).map(|n| (insert(n, "indexed"), name())),
    );
    let updates = (0..DOCUMENTS).map(|n| {
        let update = UpdateOp {
            filter: raw(&doc! { "_id": id(n * 7 % DOCUMENTS) }),
            update: raw(&doc! { "$inc": { "age": 1 } }),
            ..UpdateOp::default()
        };
        (
            Op::Update {
                collection: "indexed".into(),
                update,
            },
            name(),
        )
    });
    bench.measure_apply("update by _id, 1 of 2 indexes changes", updates);
    let by_id = |n: usize| find(&doc! { "_id": id(n * 13 % DOCUMENTS) }, 1);
    bench.measure_read("find by _id, from memtables and cache", DOCUMENTS, by_id);
    bench.database.flush().unwrap();
    bench.measure_read("find by _id, from files, cold", DOCUMENTS, by_id);
    bench.measure_read("find by _id, from files, warm", DOCUMENTS, by_id);
    bench.measure_read("find 10 of 100 by index", 5000, |n| {
        find(&doc! { "city": format!("city-{}", n % 500) }, 10)
    });
    bench.measure_read("find 100 of 100 by index", 1000, |n| {
        find(&doc! { "city": format!("city-{}", n % 500) }, 100)
    });
    bench.measure_read("find in a scan of all", 5, |n| {
        find(&doc! { "name": format!("{n}") }, 1)
    });
    for (name, pattern) in [
        ("a literal", "e-4999.$"),
        ("words", r"\bname\b.*-49\d9$"),
        ("a look-ahead", r"^name-(?!4)\d*9999$"),
    ] {
        bench.measure_read(&format!("scan for a pattern: {name}"), 10, |_| {
            find(&doc! { "name": { "$regex": pattern } }, 1000)
        });
    }
    bench.measure_read("scan for a pattern in long texts", 10, |_| {
        find(&doc! { "text": { "$regex": "x[yz]" } }, 1)
    });
    let count = |n: usize| Op::Count {
        collection: "indexed".into(),
        filter: raw(&doc! { "city": format!("city-{}", n % 500) }),
    };
    bench.measure_read("count 100 covered by index", 5000, count);
}
