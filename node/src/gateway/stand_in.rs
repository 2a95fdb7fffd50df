//! A node behind the gateway for its tests: remembers calls, keeps documents of one collection by `_id`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bson::{RawDocumentBuf, rawdoc};
use parking_lot::Mutex;
use yunbase_docdb::op::{Op, OpReply};

use super::{Clock, GatewayState, Limits};
use crate::call::{Call, CallFuture, Execute, Failure, KeyDirectory, Retry, SecretKey};

/// The time at which all tests happen.
pub(super) const NOW_UNIX_MS: i64 = 1_700_000_000_500;

#[derive(Default)]
pub(super) struct StandIn {
    pub(super) calls: Mutex<Vec<Call>>,
    documents: Mutex<BTreeMap<String, RawDocumentBuf>>,
}

impl StandIn {
    pub(super) fn state(self: &Arc<Self>, limits: Limits) -> GatewayState {
        GatewayState {
            execute: self.clone(),
            keys: Arc::new(Keys),
            auth: None,
            clock: Arc::new(Frozen(NOW_UNIX_MS)),
            limits,
        }
    }

    pub(super) fn last_op(&self) -> Op {
        self.calls.lock().last().unwrap().op.clone()
    }

    fn carry_out(&self, op: Op) -> Result<OpReply, Failure> {
        let mut documents = self.documents.lock();
        let id_of = |document: &RawDocumentBuf| format!("{:?}", document.get("_id").unwrap());
        Ok(match op {
            Op::CreateCollection { .. } => OpReply::Done,
            Op::Insert { collection, .. } if collection == "absent" => {
                return Err(Failure::new(
                    "DATABASE_COLLECTION_NOT_EXIST",
                    "no such collection",
                    Retry::Never,
                ));
            }
            Op::Insert { documents: new, .. } => {
                let mut ids = Vec::new();
                for document in new {
                    if documents.contains_key(&id_of(&document)) {
                        return Err(Failure::new(
                            "DATABASE_DUPLICATE_WRITE",
                            "duplicate key",
                            Retry::Never,
                        ));
                    }
                    ids.push(
                        rawdoc! { "": bson::RawBson::from(document.get("_id").unwrap().unwrap()) },
                    );
                    documents.insert(id_of(&document), document);
                }
                OpReply::Inserted { ids }
            }
            Op::Find { collection, .. } if collection == "panic" => {
                panic!("the stand-in was told to")
            }
            Op::Find { collection, .. } if collection == "cut" => OpReply::Found {
                documents: vec![rawdoc! { "_id": "a" }],
                next: b"a".to_vec(),
            },
            Op::Find { find, .. } => {
                let wanted = find
                    .filter
                    .get("_id")
                    .unwrap()
                    .is_some()
                    .then(|| id_of(&find.filter));
                let matching = documents
                    .iter()
                    .filter(|(id, _)| wanted.as_ref().is_none_or(|wanted| wanted == *id));
                let documents = matching.map(|(_, document)| document.clone()).collect();
                OpReply::Found {
                    documents,
                    next: Vec::new(),
                }
            }
            Op::Count { .. } => OpReply::Counted {
                count: documents.len() as u64,
            },
            Op::Update { update, .. } => OpReply::Updated {
                matched: 1,
                modified: 1,
                upserted_id: update.upsert.then(|| rawdoc! { "": "new" }),
                document: update
                    .return_document
                    .then(|| rawdoc! { "_id": "x", "n": 1 }),
            },
            Op::Remove { .. } => OpReply::Removed { removed: 1 },
            _ => {
                return Err(Failure::new(
                    "SYS_ERR",
                    "not part of the protocol",
                    Retry::Never,
                ));
            }
        })
    }
}

impl Execute for StandIn {
    fn execute(&self, call: Call) -> CallFuture {
        let op = call.op.clone();
        self.calls.lock().push(call);
        if op.collection() == Some("slow") {
            return Box::pin(async {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok(OpReply::Done)
            });
        }
        let outcome = self.carry_out(op);
        Box::pin(async move { outcome })
    }
}

/// Knows the key of the protocol page, one that opens a single environment, and that of the recorded requests.
pub(super) struct Keys;

impl KeyDirectory for Keys {
    fn find(&self, id: &str) -> Option<SecretKey> {
        let (secret, env) = match id {
            "AKIDEXAMPLE" => ("SKEXAMPLE", None),
            "AKIDLIMITED" => ("SKLIMITED", Some("env-2".to_owned())),
            "AKIDTEST" => ("SKTEST", None),
            _ => return None,
        };
        Some(SecretKey {
            id: id.to_owned(),
            secret: secret.to_owned(),
            env,
        })
    }

    fn has_env(&self, env: &str) -> bool {
        ["env-1", "env-2", "testenv"].contains(&env)
    }
}

pub(super) struct Frozen(pub(super) i64);

impl Clock for Frozen {
    fn now_unix_ms(&self) -> i64 {
        self.0
    }
}
