//! A database with a log of its own: proposes what plans ask for, applies it at once.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use bson::{Document, RawDocumentBuf};
use yunbase_docdb::kv::Store;
use yunbase_docdb::memory::MemoryStore;
use yunbase_docdb::op::{FindOp, IndexField, IndexSpec, Op, OpReply, UpdateOp};
use yunbase_docdb::rocks::RocksStore;
use yunbase_docdb::rocks_options::RocksShared;
use yunbase_docdb::{
    Budget, CommandReply, Database, Entry, Options, Result, SessionSequence, Step, WritePlan,
    command,
};

pub const ENV: &str = "env-1";
pub const START_MS: i64 = 1_700_000_000_000;

pub struct Db {
    pub database: Database,
    pub log_index: AtomicU64,
    pub now_ms: AtomicI64,
}

pub fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

pub fn memory() -> Db {
    open(Box::new(MemoryStore::new()), Options::default())
}

pub fn shared() -> RocksShared {
    RocksShared::new(8 << 20, 8 << 20)
}

pub fn rocks(root: &Path) -> Db {
    open(
        Box::new(RocksStore::open(root, shared()).unwrap()),
        Options::default(),
    )
}

pub fn open(store: Box<dyn Store>, options: Options) -> Db {
    let database = Database::open(store, options).unwrap();
    let log_index = match database.progress().unwrap() {
        Some(progress) => u64::from_le_bytes(progress.try_into().unwrap()),
        None => 0,
    };
    Db {
        database,
        log_index: AtomicU64::new(log_index),
        now_ms: AtomicI64::new(START_MS),
    }
}

impl Db {
    /// One log entry with these commands.
    pub fn apply(&self, payloads: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let log_index = self.log_index.fetch_add(1, Ordering::Relaxed) + 1;
        let entries: Vec<_> = payloads
            .iter()
            .enumerate()
            .map(|(position, payload)| Entry {
                log_index,
                position: position as u32,
                payload,
            })
            .collect();
        self.database
            .apply(&entries, &log_index.to_le_bytes())
            .unwrap()
    }

    pub fn now(&self) -> i64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub fn advance_ms(&self, by: i64) {
        self.now_ms.fetch_add(by, Ordering::Relaxed);
    }

    pub fn propose(&self, plan: &mut WritePlan) -> Result<Step> {
        plan.next(&self.database, self.now(), &|| false)
    }

    pub fn write_in(&self, env: &str, op: Op, session: Option<SessionSequence>) -> Result<OpReply> {
        let mut plan = WritePlan::new(env, op, session)?;
        loop {
            match self.propose(&mut plan)? {
                Step::Done(reply) => return Ok(reply),
                Step::Propose(command) => plan.feed(&self.apply(&[command])[0])?,
            }
        }
    }

    pub fn write(&self, op: Op) -> Result<OpReply> {
        self.write_in(ENV, op, None)
    }

    pub fn read(&self, op: &Op) -> Result<OpReply> {
        self.database
            .read(ENV, op, &Budget::new(&|| false), self.now())
    }

    pub fn open_session(&self) -> u64 {
        let reply = self
            .apply(&[command::open_session(self.now()).unwrap()])
            .remove(0);
        match command::decode_reply(&reply).unwrap() {
            CommandReply::SessionOpened { session, .. } => session,
            other => panic!("{other:?}"),
        }
    }

    pub fn create(&self, collection: &str) {
        self.write(Op::CreateCollection {
            collection: collection.into(),
        })
        .unwrap();
    }

    pub fn insert(&self, collection: &str, documents: &[Document]) -> Result<OpReply> {
        self.write(insert(collection, documents))
    }

    pub fn index(
        &self,
        collection: &str,
        fields: &[(&str, bool)],
        unique: bool,
    ) -> Result<OpReply> {
        self.write(Op::CreateIndex {
            collection: collection.into(),
            index: index_spec(fields, unique),
        })
    }

    /// Carries all index builds to their end.
    pub fn finish_builds(&self) {
        loop {
            let commands = self.database.pending_builds(self.now()).unwrap();
            if commands.is_empty() {
                return;
            }
            self.apply(&commands);
        }
    }

    pub fn find(&self, collection: &str, filter: Document) -> Vec<Document> {
        self.find_op(
            collection,
            FindOp {
                filter: raw(&filter),
                ..FindOp::default()
            },
        )
        .unwrap()
        .0
    }

    pub fn find_op(&self, collection: &str, find: FindOp) -> Result<(Vec<Document>, Vec<u8>)> {
        match self.read(&Op::Find {
            collection: collection.into(),
            find,
        })? {
            OpReply::Found { documents, next } => Ok((
                documents
                    .iter()
                    .map(|document| Document::try_from(&**document).unwrap())
                    .collect(),
                next,
            )),
            other => panic!("{other:?}"),
        }
    }

    pub fn count(&self, collection: &str, filter: Document) -> u64 {
        match self
            .read(&Op::Count {
                collection: collection.into(),
                filter: raw(&filter),
            })
            .unwrap()
        {
            OpReply::Counted { count } => count,
            other => panic!("{other:?}"),
        }
    }

    pub fn explain(&self, op: Op) -> Document {
        match self.read(&Op::Explain(Box::new(op))).unwrap() {
            OpReply::Described { documents } => Document::try_from(&*documents[0]).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// (matched, modified)
    pub fn update(&self, collection: &str, update: UpdateOp) -> Result<(u64, u64)> {
        match self.write(Op::Update {
            collection: collection.into(),
            update,
        })? {
            OpReply::Updated {
                matched, modified, ..
            } => Ok((matched, modified)),
            other => panic!("{other:?}"),
        }
    }

    pub fn remove(&self, collection: &str, filter: Document, multi: bool) -> u64 {
        match self
            .write(Op::Remove {
                collection: collection.into(),
                filter: raw(&filter),
                multi,
            })
            .unwrap()
        {
            OpReply::Removed { removed } => removed,
            other => panic!("{other:?}"),
        }
    }
}

pub fn insert(collection: &str, documents: &[Document]) -> Op {
    Op::Insert {
        collection: collection.into(),
        documents: documents.iter().map(raw).collect(),
    }
}

pub fn update(filter: Document, update: Document) -> UpdateOp {
    UpdateOp {
        filter: raw(&filter),
        update: raw(&update),
        ..UpdateOp::default()
    }
}

pub fn find(collection: &str, find: FindOp) -> Op {
    Op::Find {
        collection: collection.into(),
        find,
    }
}

pub fn index_spec(fields: &[(&str, bool)], unique: bool) -> IndexSpec {
    let name: Vec<_> = fields
        .iter()
        .map(|(path, down)| format!("{path}_{}", if *down { -1 } else { 1 }))
        .collect();
    IndexSpec {
        name: name.join("_"),
        fields: fields
            .iter()
            .map(|(path, descending)| IndexField {
                path: (*path).into(),
                descending: *descending,
            })
            .collect(),
        unique,
    }
}

/// What a crash leaves: the files as they are, while the database that wrote them is still open.
pub fn crash_image(from: &Path, to: &Path) {
    // A file that background work removes meanwhile makes the copy no moment at all.
    while copy_files(from, to).is_err() {
        fs::remove_dir_all(to).unwrap();
    }
}

/// The manifest first: it then names no file that is not there yet.
fn copy_files(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for is_manifest in [true, false] {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (name, target) = (entry.file_name(), to.join(entry.file_name()));
            if entry.file_type()?.is_dir() {
                if !is_manifest {
                    copy_files(&entry.path(), &target)?;
                }
            } else if name != "LOCK"
                && name.to_string_lossy().starts_with("MANIFEST") == is_manifest
            {
                fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}
