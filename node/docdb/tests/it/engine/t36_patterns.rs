//! Regular expressions in writes: their work is bounded in each command, the same on each replica.
//!
//! The texts are such that little is done of what is charged.

use bson::{Document, doc};
use yunbase_docdb::limits::REGEX_WRITE_WORK_MAX;
use yunbase_docdb::op::{Op, OpReply, UpdateOp};
use yunbase_docdb::{CommandReply, ErrorCode, Step, WritePlan, command};

use super::harness::{Db, ENV, memory, raw};

fn update(filter: Document, update: Document, multi: bool) -> Op {
    Op::Update {
        collection: "c".into(),
        update: UpdateOp {
            filter: raw(&filter),
            update: raw(&update),
            multi,
            ..UpdateOp::default()
        },
    }
}

/// A pattern that takes about so many steps for each byte of a text.
fn pattern(steps_per_byte: usize) -> String {
    format!("[ab]*a[ab]{{{}}}c", steps_per_byte / 2 - 2)
}

const TEXT_BYTES: usize = 2_000;

fn db(documents: i32) -> Db {
    let db = memory();
    db.create("c");
    db.index("c", &[("g", false)], false).unwrap();
    for id in 0..documents {
        let document = doc! { "_id": id, "g": 1, "s": "z".repeat(TEXT_BYTES), "list": ["z".repeat(TEXT_BYTES)] };
        db.insert("c", &[document]).unwrap();
    }
    db
}

/// A share of the budget for one document.
fn costly(percent: usize) -> String {
    pattern(REGEX_WRITE_WORK_MAX as usize / TEXT_BYTES * percent / 100)
}

#[test]
fn a_write_to_many_takes_as_many_commands_as_its_patterns_need() {
    for by_index in [false, true] {
        let db = db(7);
        let mut filter = doc! { "s": { "$not": { "$regex": costly(30) } } };
        if by_index {
            filter.insert("g", 1);
        }
        let before = db.log_index.load(std::sync::atomic::Ordering::Relaxed);
        let change = update(filter, doc! { "$set": { "done": true } }, true);
        let reply = db.write(change).unwrap();
        assert!(
            matches!(
                reply,
                OpReply::Updated {
                    matched: 7,
                    modified: 7,
                    ..
                }
            ),
            "{reply:?}"
        );
        assert_eq!(db.count("c", doc! { "done": true }), 7);
        let commands = db.log_index.load(std::sync::atomic::Ordering::Relaxed) - before;
        assert!((3..=4).contains(&commands), "{commands}");
    }
}

#[test]
fn a_command_over_the_budget_fails_alike_on_each_replica() {
    let costly = costly(150);
    let writes = [
        (
            doc! { "s": { "$not": { "$regex": &costly } } },
            doc! { "$set": { "n": 1 } },
        ),
        (
            doc! { "$nor": [{ "s": { "$regex": &costly } }] },
            doc! { "$set": { "n": 1 } },
        ),
        (
            doc! { "list": { "$not": { "$regex": &costly } } },
            doc! { "$set": { "n": 1 } },
        ),
        (
            doc! { "_id": 0 },
            doc! { "$pull": { "list": { "$regex": &costly } } },
        ),
        (
            doc! { "$expr": { "$not": [{ "$regexMatch": { "input": "$s", "regex": &costly } }] } },
            doc! { "$set": { "n": 1 } },
        ),
    ];
    for (filter, change) in writes {
        for multi in [false, true] {
            // Planned where the document is harmless, so that only the replicas meet its cost.
            let harmless = memory();
            harmless.create("c");
            harmless
                .insert("c", &[doc! { "_id": 0, "s": "", "list": [""] }])
                .unwrap();
            let op = update(filter.clone(), change.clone(), multi);
            let mut plan = WritePlan::new(ENV, op, None).unwrap();
            let Step::Propose(command) = harmless.propose(&mut plan).unwrap() else {
                panic!("nothing to propose");
            };
            let replies: Vec<_> = (0..2)
                .map(|_| {
                    let replica = db(1);
                    let reply = replica.apply(std::slice::from_ref(&command)).remove(0);
                    assert_eq!(replica.count("c", doc! { "n": 1 }), 0);
                    // The group goes on.
                    replica
                        .write(update(
                            doc! { "_id": 0 },
                            doc! { "$set": { "n": 2 } },
                            false,
                        ))
                        .unwrap();
                    assert_eq!(replica.count("c", doc! { "n": 2 }), 1);
                    reply
                })
                .collect();
            assert_eq!(replies[0], replies[1]);
            let error: yunbase_docdb::Result<CommandReply> = command::decode_reply(&replies[0]);
            let error = error.unwrap_err();
            assert_eq!(error.code, ErrorCode::ExceedBudget, "{filter} {error}");
            assert!(error.message.contains("[ab]*a"), "{error}");
        }
    }
}
