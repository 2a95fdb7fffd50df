//! A group in memory for the tests of realtime, and a client that believes what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bson::{Document, RawDocumentBuf};
use futures::future::BoxFuture;
use serde_json::{Map, Value};
use tokio::sync::watch;
use yunbase_docdb::change_log::{Changes, ChangesError, Retention};
use yunbase_docdb::memory::MemoryStore;
use yunbase_docdb::op::{FindOp, Op, OpReply, UpdateOp};
use yunbase_docdb::{Database, Entry, Options, Position, Step, WritePlan};

use super::limits::Limits;
use super::query::WatchQuery;
use super::source::{ChangeSource, Sources, find_in};
use crate::call::{Failure, Retry};
use crate::gateway::ejson::{Dialect, write_document};

pub(crate) const ENV: &str = "env-1";
pub(crate) const NOW_MS: i64 = 1_700_000_000_000;

/// One group with one replica.
pub(crate) struct Bed {
    pub(crate) database: Database,
    log_index: AtomicU64,
    news: watch::Sender<u64>,
}

pub(crate) fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

impl Bed {
    pub(crate) fn new() -> Arc<Self> {
        Self::keeping(Options::default().retention)
    }

    /// With a change log that is cut as `retention` says.
    pub(crate) fn keeping(retention: Retention) -> Arc<Self> {
        let store = Box::new(MemoryStore::new());
        let bed = Self {
            database: Database::open(store, Options { retention }).unwrap(),
            log_index: AtomicU64::new(0),
            news: watch::Sender::new(0),
        };
        bed.run(Op::CreateCollection {
            collection: "c".into(),
        });
        Arc::new(bed)
    }

    pub(crate) fn run(&self, op: Op) -> OpReply {
        let mut plan = WritePlan::new(ENV, op, None).unwrap();
        loop {
            match plan.next(&self.database, NOW_MS, &|| false).unwrap() {
                Step::Done(reply) => return reply,
                Step::Propose(command) => {
                    let log_index = self.log_index.fetch_add(1, Ordering::Relaxed) + 1;
                    let entry = Entry {
                        log_index,
                        position: 0,
                        payload: &command,
                    };
                    let replies = self
                        .database
                        .apply(&[entry], &log_index.to_le_bytes())
                        .unwrap();
                    plan.feed(&replies[0]).unwrap();
                    self.news.send_modify(|version| *version += 1);
                }
            }
        }
    }

    pub(crate) fn insert(&self, documents: &[Document]) {
        self.run(Op::Insert {
            collection: "c".into(),
            documents: documents.iter().map(raw).collect(),
        });
    }

    pub(crate) fn update(&self, filter: &Document, update: &Document) {
        self.write(filter, update, false);
    }

    pub(crate) fn replace(&self, filter: &Document, document: &Document) {
        self.write(filter, document, true);
    }

    fn write(&self, filter: &Document, update: &Document, replace: bool) {
        self.run(Op::Update {
            collection: "c".into(),
            update: UpdateOp {
                filter: raw(filter),
                update: raw(update),
                multi: !replace,
                replace,
                ..UpdateOp::default()
            },
        });
    }

    pub(crate) fn remove(&self, filter: &Document) {
        self.run(Op::Remove {
            collection: "c".into(),
            filter: raw(filter),
            multi: true,
        });
    }

    /// The result of a query as clients see documents, by `_id`.
    pub(crate) fn result(&self, query: &WatchQuery) -> BTreeMap<String, Value> {
        let find = FindOp {
            filter: query.restricted(),
            sort: query.sort.clone(),
            limit: Some(query.limit.unwrap_or(10_000) as u64),
            ..FindOp::default()
        };
        let late = Instant::now() + std::time::Duration::from_secs(60);
        let (documents, _) = find_in(
            &self.database,
            ENV,
            "c",
            find,
            NOW_MS,
            &Limits::default(),
            late,
        )
        .unwrap();
        documents
            .iter()
            .map(|document| {
                let mut text = String::new();
                write_document(&mut text, document, Dialect::Json).unwrap();
                let value: Value = serde_json::from_str(&text).unwrap();
                (value["_id"].to_string(), value)
            })
            .collect()
    }
}

impl ChangeSource for Bed {
    fn serves(&self) -> bool {
        true
    }

    fn barrier(&self, _deadline: Instant) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn changes(&self, after: Position, limits: &Limits) -> Result<Changes, ChangesError> {
        self.database
            .changes(after, limits.changes_max, limits.changes_bytes_max)
    }

    fn find(
        &self,
        query: &WatchQuery,
        find: FindOp,
        limits: &Limits,
        deadline: Instant,
    ) -> Result<(Vec<RawDocumentBuf>, Position), Failure> {
        let (env, collection) = (&query.env, &query.collection);
        find_in(
            &self.database,
            env,
            collection,
            find,
            query.now_ms,
            limits,
            deadline,
        )
    }
}

/// All environments in one group.
pub(crate) struct OneGroup(pub(crate) Arc<Bed>);

impl Sources for OneGroup {
    fn of_env(&self, env: &str) -> Result<(u32, Arc<dyn ChangeSource>), Failure> {
        if env == ENV {
            Ok((1, self.0.clone()))
        } else {
            Err(Failure::new(
                "INVALID_ENV",
                "no such environment",
                Retry::Never,
            ))
        }
    }
}

/// The documents of a watch as the official clients keep them.
#[derive(Debug, Default, Clone)]
pub(crate) struct Subscriber {
    pub(crate) documents: Vec<Value>,
    pub(crate) current: u64,
}

impl Subscriber {
    /// Applies a message as the clients do, and refuses what they would stumble over.
    pub(crate) fn take(&mut self, data: &Value) {
        let events = data["events"].as_array().unwrap();
        for (index, event) in events.iter().enumerate() {
            let id = event["ID"].as_u64().unwrap();
            let same_step = index > 0 && events[index - 1]["ID"] == event["ID"];
            assert!(
                id == self.current + 1 || same_step && id == self.current,
                "{} then {event}",
                self.current
            );
            self.current = id;
            if event["QueueType"] == "init" && !same_step {
                self.documents.clear();
            }
            self.apply(event);
        }
        assert_eq!(data["currEvent"].as_u64().unwrap(), self.current);
    }

    /// Takes a first result.
    pub(crate) fn init(&mut self, data: &Value) {
        self.documents.clear();
        self.current = data["currEvent"].as_u64().unwrap();
        for event in data["events"].as_array().unwrap() {
            self.apply(event);
        }
    }

    fn apply(&mut self, event: &Value) {
        let text = |name: &str| event[name].as_str().unwrap_or_default();
        let whole: Option<Value> = serde_json::from_str(text("Doc")).ok();
        let at = self
            .documents
            .iter()
            .position(|document| document["_id"] == event["DocID"]);
        if text("DataType") == "update" && text("QueueType") != "enqueue" {
            // The paths say the same as the document.
            let mut document = self.documents[at.expect("known")].clone();
            let updated: Map<String, Value> = serde_json::from_str(text("UpdatedFields")).unwrap();
            for (path, value) in updated {
                set(&mut document, &path, value);
            }
            let removed: Vec<String> = serde_json::from_str(text("removedFields")).unwrap();
            for path in removed {
                unset(&mut document, &path);
            }
            assert_eq!(Some(&document), whole.as_ref(), "{event}");
        }
        let document = whole;
        match text("QueueType") {
            "init" | "enqueue" => {
                assert!(at.is_none(), "entered twice: {event}");
                self.documents.push(document.expect("a whole document"));
            }
            "update" => self.documents[at.expect("known")] = document.expect("a document"),
            "dequeue" => drop(self.documents.remove(at.expect("known"))),
            other => panic!("{other}"),
        }
    }

    pub(crate) fn result(&self) -> BTreeMap<String, Value> {
        let by_id = self
            .documents
            .iter()
            .map(|document| (document["_id"].to_string(), document.clone()));
        by_id.collect()
    }
}

fn set(document: &mut Value, path: &str, value: Value) {
    let mut at = document;
    for part in path.split('.') {
        at = &mut at[part];
    }
    *at = value;
}

fn unset(document: &mut Value, path: &str) {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut at = document;
    for part in parent.split('.').filter(|part| !part.is_empty()) {
        at = &mut at[part];
    }
    at.as_object_mut().unwrap().remove(name);
}
