//! Why the log can be believed: nothing but new entries goes in, and nothing but old age takes them out.
//!
//! Asked for every operation on its way through the router, the node's own included, so no door and no mistake inside of
//! the node leads past it.

use bson::{RawBsonRef, RawDocument};
use yunbase_docdb::op::Op;
use yunbase_docdb::transaction::{Transaction, WrittenDocument};

use super::limits::{RETENTION_DAYS_MIN, days_ms};
use super::record::collection_of;
use crate::call::{Failure, Retry};

/// Refuses what would change or remove entries of the log of `env`.
pub fn check(env: &str, op: &Op, now_ms: i64) -> Result<(), Failure> {
    let log = collection_of(env);
    let allowed = match op {
        Op::Commit(transaction) => only_adds(transaction, log),
        Op::CommitChecked(checked) => only_adds(&checked.transaction, log),
        op if op.collection() != Some(log) => true,
        Op::Insert { .. } | Op::CreateCollection { .. } | Op::CreateIndex { .. } => true,
        Op::Remove { filter, multi, .. } => *multi && is_by_age(filter, now_ms),
        op => op.is_read(),
    };
    if allowed {
        return Ok(());
    }
    Err(Failure::new(
        "DATABASE_PERMISSION_DENIED",
        "the audit log is append-only: entries are neither changed nor removed before their time",
        Retry::Never,
    ))
}

/// Whether everything that a transaction writes to the log is new.
fn only_adds(transaction: &Transaction, log: &str) -> bool {
    transaction
        .writes
        .iter()
        .filter(|write| write.collection == log)
        .all(|write| adds(transaction, write))
}

/// Whether a write puts a document where the transaction makes sure that there is none.
fn adds(transaction: &Transaction, write: &WrittenDocument) -> bool {
    write.document.is_some()
        && transaction.reads.iter().any(|read| {
            read.collection == write.collection && read.id == write.id && read.fingerprint.is_none()
        })
}

/// Whether a filter is exactly `{at_ms: {$lt: T}}` with a `T` that has been long ago.
fn is_by_age(filter: &RawDocument, now_ms: i64) -> bool {
    let only = |document: &RawDocument| {
        let mut members = document.iter();
        matches!((members.next(), members.next()), (Some(Ok(_)), None))
    };
    let Ok(Some(RawBsonRef::Document(condition))) = filter.get("at_ms") else {
        return false;
    };
    let before = condition.get("$lt").ok().flatten();
    only(filter)
        && only(condition)
        && before
            .and_then(|before| before.as_i64())
            .is_some_and(|before| before <= now_ms - days_ms(RETENTION_DAYS_MIN))
}

#[cfg(test)]
mod tests {
    use bson::{RawDocumentBuf, rawdoc};
    use yunbase_docdb::op::UpdateOp;
    use yunbase_docdb::transaction::{CheckedTransaction, ReadDocument};

    use super::*;
    use crate::cluster::records::CLUSTER_ENV;

    const NOW_MS: i64 = 1_700_000_000_000;

    fn remove(collection: &str, filter: RawDocumentBuf, multi: bool) -> Op {
        Op::Remove {
            collection: collection.to_owned(),
            filter,
            multi,
        }
    }

    fn commit(collection: &str, read: bool, document: Option<RawDocumentBuf>) -> Op {
        let id = rawdoc! { "": "x" };
        let reads = read.then(|| ReadDocument {
            collection: collection.to_owned(),
            id: id.clone(),
            fingerprint: None,
        });
        Op::Commit(Box::new(Transaction {
            reads: reads.into_iter().collect(),
            writes: vec![WrittenDocument {
                collection: collection.to_owned(),
                id,
                document,
                is_replacement: false,
            }],
        }))
    }

    /// The same commit with conditions.
    fn checked(commit: Op) -> Op {
        match commit {
            Op::Commit(transaction) => Op::CommitChecked(Box::new(CheckedTransaction {
                transaction: *transaction,
                ..CheckedTransaction::default()
            })),
            other => other,
        }
    }

    #[test]
    fn only_new_entries_go_in_and_only_old_ones_go_out() {
        let day = days_ms(1);
        for (env, log, other) in [
            (CLUSTER_ENV, "audit", "_sys.audit"),
            ("demo", "_sys.audit", "audit"),
        ] {
            let collection = log.to_owned();
            let entry = rawdoc! { "_id": "x" };
            let allowed = [
                Op::Insert {
                    collection: collection.clone(),
                    documents: vec![entry.clone()],
                },
                Op::Count {
                    collection: collection.clone(),
                    filter: RawDocumentBuf::new(),
                },
                remove(log, rawdoc! { "at_ms": { "$lt": NOW_MS - day } }, true),
                commit(log, true, Some(entry.clone())),
                commit(other, false, None),
                checked(commit(log, true, Some(entry.clone()))),
                checked(commit(other, false, None)),
                remove(other, RawDocumentBuf::new(), true),
            ];
            for op in allowed {
                assert_eq!(check(env, &op, NOW_MS), Ok(()), "{op:?}");
            }
            let refused = [
                Op::Update {
                    collection: collection.clone(),
                    update: UpdateOp::default(),
                },
                Op::DropCollection {
                    collection: collection.clone(),
                },
                Op::DropIndex {
                    collection: collection.clone(),
                    name: "at_ms_1".into(),
                },
                Op::SetAccess {
                    collection,
                    access: RawDocumentBuf::new(),
                },
                remove(log, RawDocumentBuf::new(), true),
                remove(log, rawdoc! { "_id": "x" }, false),
                remove(log, rawdoc! { "at_ms": { "$lt": NOW_MS - day } }, false),
                remove(log, rawdoc! { "at_ms": { "$lt": NOW_MS - day + 1 } }, true),
                remove(log, rawdoc! { "at_ms": { "$gt": 0_i64 } }, true),
                remove(
                    log,
                    rawdoc! { "at_ms": { "$lt": 5_i64, "$exists": true } },
                    true,
                ),
                remove(
                    log,
                    rawdoc! { "at_ms": { "$lt": 5_i64 }, "by": "key:x" },
                    true,
                ),
                commit(log, false, Some(entry.clone())),
                commit(log, true, None),
                commit(log, false, None),
                checked(commit(log, false, Some(entry.clone()))),
                checked(commit(log, true, None)),
            ];
            for op in refused {
                let refused = check(env, &op, NOW_MS).expect_err(&format!("{op:?}"));
                assert_eq!(refused.code, "DATABASE_PERMISSION_DENIED");
            }
        }
    }
}
