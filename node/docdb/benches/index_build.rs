//! What building an index over a million documents costs, and finding one of them by it: run with
//! `cargo bench --workspace --bench index_build`.
//!
//! Prints documents a second and microseconds a read; on a shared machine compare runs of one session only.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::hint::black_box;
use std::time::Instant;

use bson::{RawDocumentBuf, doc};
use yunbase_docdb::op::{FindOp, IndexField, IndexSpec, Op};
use yunbase_docdb::rocks::RocksStore;
use yunbase_docdb::rocks_options::RocksShared;
use yunbase_docdb::{Budget, Database, Entry, Options, Step, WritePlan};

const DOCUMENTS: usize = 1_000_000;
const READS: usize = 100_000;
const ENV: &str = "env";
const NOW_MS: i64 = 1_700_000_000_000;

struct Bench {
    database: Database,
    log_index: u64,
}

impl Bench {
    fn apply(&mut self, payload: &[u8]) {
        self.log_index += 1;
        let entry = Entry {
            log_index: self.log_index,
            position: 0,
            payload,
        };
        self.database
            .apply(&[entry], &self.log_index.to_le_bytes())
            .unwrap();
    }

    fn run(&mut self, op: Op) {
        let mut plan = WritePlan::new(ENV, op, None).unwrap();
        match plan.next(&self.database, NOW_MS, &|| false).unwrap() {
            Step::Propose(command) => self.apply(&command),
            Step::Done(_) => {}
        }
    }

    fn measure_reads(&self, name: &str, filter: impl Fn(usize) -> bson::Document) {
        let ops: Vec<_> = (0..READS)
            .map(|number| Op::Find {
                collection: "c".into(),
                find: FindOp {
                    filter: RawDocumentBuf::try_from(&filter(spread(number, DOCUMENTS))).unwrap(),
                    ..FindOp::default()
                },
            })
            .collect();
        let never = || false;
        let budget = Budget::new(&never);
        let started = Instant::now();
        for op in &ops {
            black_box(self.database.read(ENV, op, &budget, NOW_MS).unwrap());
        }
        let micros = started.elapsed().as_secs_f64() * 1e6 / READS as f64;
        println!("{name:<44} {micros:>9.2} us");
    }
}

/// A permutation of the numbers below `of`, which is no multiple of 7919.
fn spread(number: usize, of: usize) -> usize {
    number.wrapping_mul(7919) % of
}

fn id(number: usize) -> String {
    // Spread like generated ids.
    blake3::hash(&number.to_le_bytes()).to_hex()[..32].to_owned()
}

/// Some 300 bytes.
fn document(number: usize) -> RawDocumentBuf {
    let document = doc! {
        "_id": id(number),
        "name": format!("name-{number}"),
        "age": (number % 90) as i32,
        "score": spread(number, DOCUMENTS) as i64,
        "text": "x".repeat(175),
    };
    RawDocumentBuf::try_from(&document).unwrap()
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
    bench.run(Op::CreateCollection {
        collection: "c".into(),
    });
    let numbers: Vec<_> = (0..DOCUMENTS).collect();
    for part in numbers.chunks(1000) {
        bench.run(Op::Insert {
            collection: "c".into(),
            documents: part.iter().map(|number| document(*number)).collect(),
        });
    }
    for (path, unique) in [("age", false), ("score", false), ("name", true)] {
        let started = Instant::now();
        let mut longest = 0.0_f64;
        bench.run(Op::CreateIndex {
            collection: "c".into(),
            index: IndexSpec {
                name: path.into(),
                fields: vec![IndexField {
                    path: path.into(),
                    descending: false,
                }],
                unique,
            },
        });
        while let Some(command) = bench.database.pending_builds(NOW_MS).unwrap().first() {
            let step = Instant::now();
            bench.apply(command);
            longest = longest.max(step.elapsed().as_secs_f64());
        }
        let rate = DOCUMENTS as f64 / started.elapsed().as_secs_f64();
        let longest = longest * 1000.0;
        println!("build on {path:<10} {rate:>9.0} documents/s, longest step {longest:.1} ms");
    }
    bench.measure_reads("read by _id", |number| doc! { "_id": id(number) });
    bench.measure_reads("find 1 by index", |number| doc! { "score": number as i64 });
    bench.measure_reads(
        "find 1 by unique index",
        |number| doc! { "name": format!("name-{number}") },
    );
}
