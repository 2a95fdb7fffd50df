//! A cluster of one database for the tests of login: real documents, a clock that the test turns, any number of nodes.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value};
use yunbase_docdb::memory::MemoryStore;
use yunbase_docdb::op::{FindOp, Op, OpReply};
use yunbase_docdb::{Budget, Database, Entry, Options, Step, WritePlan};

use super::{Auth, AuthLimits, Credentials, Scope, SystemRandom};
use crate::call::{Call, CallFuture, Caller, Execute, Failure, ReadLevel};
use crate::cluster::map::SharedMap;
use crate::cluster::records::{CLUSTER_ENV, ENVIRONMENTS, EnvRecord, KEYS, NODES, SETTINGS};
use crate::cluster::refresh;
use crate::gateway::Clock;

pub(crate) const ENV: &str = "demo";
pub(crate) const OTHER_ENV: &str = "other";
pub(crate) const START_MS: i64 = 1_700_000_000_000;
pub(crate) const PASSWORD: &str = "correct-horse-1";

/// The database that all nodes share.
pub(crate) struct Bed {
    database: Database,
    map: SharedMap,
    log_index: AtomicU64,
    writing: Mutex<()>,
    now_ms: AtomicI64,
}

impl Clock for Bed {
    fn now_unix_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }
}

impl Execute for Bed {
    fn execute(&self, call: Call) -> CallFuture {
        let outcome = self.carry_out(call);
        Box::pin(async move { outcome })
    }
}

impl Bed {
    pub(crate) fn new() -> Arc<Self> {
        let database = Database::open(Box::new(MemoryStore::new()), Options::default()).unwrap();
        let bed = Arc::new(Self {
            database,
            map: SharedMap::default(),
            log_index: AtomicU64::new(0),
            writing: Mutex::new(()),
            now_ms: AtomicI64::new(START_MS),
        });
        for collection in [NODES, ENVIRONMENTS, KEYS, SETTINGS] {
            let collection = collection.to_owned();
            bed.run(CLUSTER_ENV, Op::CreateCollection { collection });
        }
        for name in [ENV, OTHER_ENV] {
            let record = EnvRecord {
                name: name.to_owned(),
                group: 1,
                created_at_ms: START_MS,
                signing_keys: Vec::new(),
            };
            let documents = vec![bson::serialize_to_raw_document_buf(&record).unwrap()];
            let collection = ENVIRONMENTS.to_owned();
            bed.run(
                CLUSTER_ENV,
                Op::Insert {
                    collection,
                    documents,
                },
            );
        }
        bed
    }

    /// A node. All nodes of a bed see the same documents at each commit.
    pub(crate) fn node(self: &Arc<Self>) -> Auth {
        let limits = AuthLimits {
            argon2_memory_kib: 64,
            argon2_passes: 1,
            ..AuthLimits::default()
        };
        let execute: Arc<dyn Execute> = self.clone();
        Auth::new(
            execute,
            self.map.clone(),
            self.clone(),
            Arc::new(SystemRandom),
            limits,
        )
        .unwrap()
    }

    /// What every node knows of the cluster.
    pub(crate) fn map(&self) -> SharedMap {
        self.map.clone()
    }

    pub(crate) fn pass(&self, ms: i64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// All documents of a system collection.
    pub(crate) fn documents(&self, env: &str, collection: &str) -> Vec<bson::Document> {
        let find = FindOp::default();
        let collection = collection.to_owned();
        let op = Op::Find { collection, find };
        let expired = || false;
        match self.database.read(env, &op, &Budget::new(&expired), 0) {
            Ok(OpReply::Found { documents, .. }) => documents
                .iter()
                .map(|document| bson::deserialize_from_slice(document.as_bytes()).unwrap())
                .collect(),
            Err(error) if error.code == yunbase_docdb::ErrorCode::CollectionNotExist => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    fn run(&self, env: &str, op: Op) -> OpReply {
        self.carry_out(Call {
            caller: Caller::System,
            env: env.to_owned(),
            op,
            session: None,
            read_level: ReadLevel::Linearizable,
            deadline: std::time::Instant::now() + Duration::from_secs(5),
            request_id: String::new(),
        })
        .unwrap()
    }

    fn carry_out(&self, call: Call) -> Result<OpReply, Failure> {
        crate::call::check_collection(&call.caller, &call.op)?;
        crate::call::check_environment(&call.caller, &call.env)?;
        crate::audit::append_only::check(&call.env, &call.op, self.now_unix_ms())?;
        let (now_ms, expired) = (self.now_unix_ms(), || false);
        if call.op.is_read() {
            let budget = Budget::new(&expired);
            return Ok(self.database.read(&call.env, &call.op, &budget, now_ms)?);
        }
        let _turn = self.writing.lock();
        let mut plan = WritePlan::new(&call.env, call.op, None)?;
        let reply = loop {
            match plan.next(&self.database, now_ms, &expired)? {
                Step::Done(reply) => break reply,
                Step::Propose(payload) => plan.feed(&self.apply(&payload))?,
            }
        };
        if call.env == CLUSTER_ENV {
            self.map.set(refresh::load(&self.database).unwrap());
        }
        Ok(reply)
    }

    fn apply(&self, payload: &[u8]) -> Vec<u8> {
        let log_index = self.log_index.fetch_add(1, Ordering::Relaxed) + 1;
        let entry = Entry {
            log_index,
            position: 0,
            payload,
        };
        let mut replies = self
            .database
            .apply(&[entry], &log_index.to_le_bytes())
            .unwrap();
        replies.pop().unwrap()
    }
}

impl Auth {
    /// A scope at this moment of the test.
    pub(crate) fn at(&self, env: &str) -> Scope {
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        self.scope(env, "test", Duration::from_secs(5), Some(address))
            .unwrap()
    }

    /// A new user with a name and [`PASSWORD`], signed in.
    pub(crate) async fn newcomer(&self, env: &str, username: &str) -> Credentials {
        let new = super::sign_in::NewUser {
            username: username.to_owned(),
            password: Some(PASSWORD.to_owned()),
            ..Default::default()
        };
        self.sign_up(&self.at(env), new, true).await.unwrap()
    }
}

/// The members of a request.
pub(crate) fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}
