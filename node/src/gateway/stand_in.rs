//! A node behind the gateway for its tests: remembers calls, keeps documents of one collection by `_id`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bson::{RawDocumentBuf, rawdoc};
use parking_lot::Mutex;
use yunbase_docdb::op::{Op, OpReply};

use super::{Clock, GatewayState, LargeRequests, Limits};
use crate::call::{
    Call, CallFuture, EndUser, Execute, Failure, KeyDirectory, LoginType, Retry, SecretKey,
    TokenVerifier,
};
use crate::realtime::Tickets;
use crate::router::TransactionCall;
use crate::seal::Seal;
use crate::transactions::{Step, Transact};

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
            tokens: Arc::new(Tokens),
            auth: None,
            operators: None,
            transactions: self.clone(),
            files: None,
            tickets: Tickets::new(Seal::fixed([9; 32]), &Default::default()),
            large_requests: Arc::new(LargeRequests::start().expect("threads")),
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
                let wanted = wanted_ids(&find.filter);
                let matching = documents
                    .iter()
                    .filter(|(id, _)| wanted.as_ref().is_none_or(|wanted| wanted.contains(*id)));
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
            Op::Aggregate { .. } => OpReply::Found {
                documents: vec![
                    rawdoc! { "_id": "a", "n": 1, "t": "\"x\"" },
                    rawdoc! { "_id": "b" },
                ],
                next: Vec::new(),
            },
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

/// The ids that a filter by `_id` names, as the documents are kept by; `None` for every other filter.
fn wanted_ids(filter: &RawDocumentBuf) -> Option<Vec<String>> {
    let id = filter.get("_id").unwrap()?;
    let listed = id.as_document().and_then(|list| list.get_array("$in").ok());
    Some(match listed {
        Some(list) => {
            let several = list.into_iter();
            several
                .map(|id| format!("{:?}", Some(id.unwrap())))
                .collect()
        }
        None => vec![format!("{:?}", Some(id))],
    })
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

/// The session token of the temporary keys.
pub(super) const SESSION_TOKEN: &str = "session-token";

/// An access token of `env` for the user `uid`; the stand-in takes all for true whose signature reads `genuine`.
pub(super) fn access_token(env: &str, uid: &str, signature: &str) -> String {
    let payload = format!(r#"{{"aud":"{env}","sub":"{uid}"}}"#);
    format!("eyJh.{}.{signature}", URL_SAFE_NO_PAD.encode(payload))
}

/// Judges access tokens by the word that stands for their signature.
pub(super) struct Tokens;

impl TokenVerifier for Tokens {
    fn verify(&self, env: &str, token: &str, _now_ms: i64) -> Result<Arc<EndUser>, Failure> {
        let refused = |code: &'static str| Failure::new(code, "sign in again", Retry::Never);
        let parts: Vec<&str> = token.split('.').collect();
        let payload = URL_SAFE_NO_PAD.decode(parts[1]).unwrap_or_default();
        let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap_or_default();
        let uid = payload["sub"].as_str().unwrap_or_default().to_owned();
        match parts[2] {
            "genuine" if payload["aud"] == env => Ok(Arc::new(EndUser {
                openid: uid.clone(),
                uid,
                login_type: LoginType::Anonymous,
                session: "s".to_owned(),
            })),
            "expired" => Err(refused("ACCESS_TOKEN_EXPIRED")),
            _ => Err(refused("INVALID_ACCESS_TOKEN")),
        }
    }
}

/// Knows the key of the protocol page, one that opens a single environment, and that of the recorded requests.
pub(super) struct Keys;

impl KeyDirectory for Keys {
    fn find(&self, id: &str) -> Option<SecretKey> {
        let (secret, env) = match id {
            "AKIDEXAMPLE" | "AKIDTEMPORARY" | "AKIDENDED" => ("SKEXAMPLE", None),
            "AKIDLIMITED" => ("SKLIMITED", Some("env-2".to_owned())),
            "AKIDTEST" => ("SKTEST", None),
            _ => return None,
        };
        let expires_at_ms = match id {
            "AKIDTEMPORARY" => Some(NOW_UNIX_MS + 1),
            "AKIDENDED" => Some(NOW_UNIX_MS),
            _ => None,
        };
        Some(SecretKey {
            id: id.to_owned(),
            secret: secret.to_owned(),
            env,
            session_token: expires_at_ms.map(|_| SESSION_TOKEN.to_owned()),
            expires_at_ms,
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

/// Knows one transaction, `t`, whose operations are carried out at once.
impl Transact for StandIn {
    fn begin(&self, _env: &str, _caller: &crate::call::Caller) -> Result<String, Failure> {
        Ok("t".to_owned())
    }

    fn step(&self, call: TransactionCall) -> CallFuture {
        let outcome = match call.step {
            _ if call.id != "t" => Err(Failure::new(
                "DATABASE_TRANSACTION_NOT_EXIST",
                "there is no such transaction",
                Retry::Never,
            )),
            Step::Run(op) => self.carry_out(op),
            Step::Commit | Step::Abort => Ok(OpReply::Done),
        };
        Box::pin(std::future::ready(outcome))
    }
}
