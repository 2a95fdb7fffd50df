//! The database: opens a store, applies replicated commands, answers reads.
//!
//! One thread applies, any number read. Readers share the catalog as it was written together with the
//! view that they read; a change of the catalog and its batch become visible together.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::apply;
use crate::catalog::{Access, Catalog, Collection, IndexState};
use crate::change_log::{self, Changes, ChangesError, Retention};
use crate::command::{Command, WriteOp};
use crate::draft::Draft;
use crate::error::Result;
use crate::expiry;
use crate::keys::{self, Position};
use crate::kv::{
    Direction, Family, KeyRange, StorageError, StorageResult, Store, StoreSize, View, WriteBatch,
};
use crate::limits::{
    CHANGE_LOG_AGE_MS_MAX, CHANGE_LOG_BYTES_MAX, CHANGE_SEGMENT_BYTES, EXPIRY_STEPS_MAX,
    INDEX_STEP_DOCUMENTS_MAX,
};
use crate::mutant;
use crate::op::{Op, OpReply};
use crate::point_read;
use crate::query::Budget;
use crate::read::Snapshot;
use crate::state::{Counters, State};

/// What a digest reads before it asks whether to go on: some milliseconds of work.
const DIGEST_TURN_BYTES: usize = 1 << 20;

/// A hash of all content, and the `progress` that it belongs to.
pub type ContentAt = ([u8; 32], Option<Vec<u8>>);

/// What all replicas of a group must have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How much of the change log is kept.
    pub retention: Retention,
}

impl Default for Options {
    fn default() -> Self {
        let retention = Retention {
            bytes_max: CHANGE_LOG_BYTES_MAX,
            age_ms_max: CHANGE_LOG_AGE_MS_MAX,
            segment_bytes: CHANGE_SEGMENT_BYTES,
        };
        Self { retention }
    }
}

/// One committed command.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Raft log index of the entry that carried it.
    pub log_index: u64,
    /// Its position inside that entry.
    pub position: u32,
    /// The command as the proposer encoded it.
    pub payload: &'a [u8],
}

/// Numbers about a database, for operators.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Collections of all environments.
    pub collections: u64,
    /// Documents of all collections.
    pub documents: u64,
    /// Bytes of all documents.
    pub document_bytes: u64,
    /// Sessions that can retry.
    pub sessions: u64,
    /// Bytes of changes kept.
    pub change_log_bytes: u64,
    /// The last change.
    pub last_change: Position,
    /// What the store occupies.
    pub store: StoreSize,
}

/// What applied commands did beside what they were asked for, since the database was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AppliedEffects {
    /// Documents that time-to-live indexes removed.
    pub expired_documents: u64,
    /// Documents stored although they break a schema whose level is to warn.
    pub validation_warnings: u64,
}

/// Commands in one apply that come together only when a replica catches up, as far as the chaos harness goes.
const CATCHING_UP_MIN: usize = 64;

/// For a deliberate bug: a write to one document that the session's memory does not recognize any more.
fn without_session(payload: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::decode(payload).ok()?;
    command.session = None;
    match command.op {
        WriteOp::WriteOne(_) => command.encode().ok(),
        _ => None,
    }
}

/// A document database over a store.
pub struct Database {
    store: Box<dyn Store>,
    options: Options,
    /// The applying side. Held during an apply, so that there is one at a time.
    state: Mutex<State>,
    /// What readers see. Taken alone only while a batch that changes the catalog is written.
    published: RwLock<Arc<Catalog>>,
    /// A batch could not be written: memory may be ahead of the store.
    is_poisoned: AtomicBool,
}

impl Database {
    /// Opens the database that `store` holds; an empty store is an empty database.
    pub fn open(store: Box<dyn Store>, options: Options) -> StorageResult<Self> {
        let state = load(&*store, options)?;
        let published = RwLock::new(Arc::clone(&state.catalog));
        Ok(Self {
            store,
            options,
            state: Mutex::new(state),
            published,
            is_poisoned: AtomicBool::new(false),
        })
    }

    /// The `progress` that the last `apply` stored; `None` when there was none.
    pub fn progress(&self) -> StorageResult<Option<Vec<u8>>> {
        self.store.get(Family::Meta, &keys::progress())
    }

    /// Applies commands in order and stores `progress` with their effects, atomically.
    ///
    /// Returns one reply a command. A command that is refused is a reply; an error here means that the
    /// store failed, after which the database refuses everything.
    pub fn apply(&self, entries: &[Entry<'_>], progress: &[u8]) -> StorageResult<Vec<Vec<u8>>> {
        self.check_poison()?;
        let mut state = self.state.lock();
        let applied = self.apply_locked(&mut state, entries, progress);
        if applied.is_err() {
            self.is_poisoned.store(true, Ordering::Release);
        }
        applied
    }

    fn apply_locked(
        &self,
        state: &mut State,
        entries: &[Entry<'_>],
        progress: &[u8],
    ) -> StorageResult<Vec<Vec<u8>>> {
        let mut draft = Draft::new(&*self.store);
        let is_doubled =
            mutant::has("apply-twice-after-restart") && entries.len() >= CATCHING_UP_MIN;
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            replies.push(apply::command(
                state,
                &mut draft,
                entry.log_index,
                entry.payload,
            )?);
            if is_doubled && let Some(again) = without_session(entry.payload) {
                apply::command(state, &mut draft, entry.log_index, &again)?;
            }
        }
        state.save(&mut draft)?;
        draft.put(Family::Meta, keys::progress(), progress.to_vec());
        self.write(state, &draft.into_batch())?;
        Ok(replies)
    }

    fn write(&self, state: &mut State, batch: &WriteBatch) -> StorageResult<()> {
        let builds_moved = std::mem::take(&mut state.builds_moved);
        if !std::mem::take(&mut state.catalog_changed) {
            self.store.write(batch)?;
            if builds_moved {
                *self.published.write() = Arc::clone(&state.catalog);
            }
            return Ok(());
        }
        let mut published = self.published.write();
        self.store.write(batch)?;
        *published = Arc::clone(&state.catalog);
        Ok(())
    }

    /// Answers a reading operation from one consistent view. `now_ms` is the time that the query sees.
    pub fn read(&self, env: &str, op: &Op, budget: &Budget<'_>, now_ms: i64) -> Result<OpReply> {
        let (inner, guard) = match op {
            Op::Guarded { op, guard } => (&**op, Some(&**guard)),
            op => (op, None),
        };
        if let Op::Find { collection, find } = inner
            && let Some(id) = point_read::id_of(find)
        {
            self.check_poison()?;
            let found = self.collection(env, collection)?;
            let answer = point_read::read(&*self.store, &found, find, &id, guard, now_ms);
            if let Some(guard) = guard {
                // Afterwards, since document and catalog were not read in one view: while the version is still
                // the guard's, the document was read before any later rules came into force.
                guard.check_version(&*self.collection(env, collection)?)?;
            }
            return answer;
        }
        self.with_snapshot(budget, now_ms, |snapshot| snapshot.read(env, op))
    }

    fn collection(&self, env: &str, name: &str) -> Result<Arc<Collection>> {
        let catalog = self.published.read_recursive();
        Ok(Arc::clone(catalog.require(env, name)?))
    }

    /// The access document of a collection as this replica has it now.
    pub fn access(&self, env: &str, collection: &str) -> Result<Access> {
        Ok(self.collection(env, collection)?.access())
    }

    /// Like [`Self::read`], with the position of the last change that the answer reflects: whoever follows
    /// [`Self::changes`] from there misses nothing and sees nothing twice.
    pub fn read_with_position(
        &self,
        env: &str,
        op: &Op,
        budget: &Budget<'_>,
        now_ms: i64,
    ) -> Result<(OpReply, Position)> {
        self.with_snapshot(budget, now_ms, |snapshot| {
            let position = Counters::load(snapshot.view)?.last_change;
            Ok((snapshot.read(env, op)?, position))
        })
    }

    /// Commands that carry on the builds of indexes, one for each; the leader proposes them again and again until
    /// there are none. More of them than a build needs are harmless.
    pub fn pending_builds(&self, now_ms: i64) -> Result<Vec<Vec<u8>>> {
        let catalog = Arc::clone(&self.published.read_recursive());
        let mut commands = Vec::new();
        for collection in catalog.all() {
            for index in &collection.indexes {
                if let IndexState::Building { .. } = &index.state {
                    let op = WriteOp::ContinueBuild {
                        collection: collection.id,
                        index: index.id,
                        documents_max: INDEX_STEP_DOCUMENTS_MAX as u32,
                    };
                    let env = collection.env.to_string();
                    commands.push(
                        Command {
                            env,
                            session: None,
                            now_ms,
                            op,
                        }
                        .encode()?,
                    );
                }
            }
        }
        Ok(commands)
    }

    /// Commands that remove documents past the time that time-to-live indexes give them: at most one step of
    /// each index and [`EXPIRY_STEPS_MAX`] in all, beginning with the index numbered `turn` so that each gets
    /// its turn. The leader proposes them now and then; proposing one twice is harmless.
    pub fn pending_expirations(&self, now_ms: i64, turn: usize) -> Result<Vec<Vec<u8>>> {
        let has_any = self
            .published
            .read_recursive()
            .all()
            .any(|collection| expiry::indexes(collection).next().is_some());
        if !has_any {
            return Ok(Vec::new());
        }
        let budget = Budget::new(&|| false);
        self.with_snapshot(&budget, now_ms, |snapshot| {
            expiry::pending(snapshot, turn, EXPIRY_STEPS_MAX)
        })
    }

    /// Changes behind `after`: at most `count_max`, and but for the first at most `bytes_max` bytes.
    pub fn changes(
        &self,
        after: Position,
        count_max: usize,
        bytes_max: usize,
    ) -> Result<Changes, ChangesError> {
        let mut changes = None;
        self.store.with_view(&mut |view| {
            let read = |view| {
                let trimmed_to = Counters::load(view)?.trimmed_to;
                change_log::read(view, after, trimmed_to, count_max, bytes_max)
            };
            changes = Some(read(view));
        })?;
        changes.unwrap_or(Err(ChangesError::Storage(StorageError::Poisoned)))
    }

    /// The position of the last change, to start following from here.
    pub fn last_change(&self) -> StorageResult<Position> {
        Ok(Counters::read(self.store.get(Family::Meta, &keys::counters())?)?.last_change)
    }

    /// Makes everything applied so far durable.
    pub fn flush(&self) -> StorageResult<()> {
        self.check_poison()?;
        self.store.flush()
    }

    /// Writes a consistent copy as plain files into the existing, empty folder `into`, beside `apply`.
    pub fn checkpoint(&self, into: &Path) -> StorageResult<()> {
        self.check_poison()?;
        self.store.checkpoint(into)
    }

    /// The `progress` that a checkpoint in `folder` reflects.
    pub fn checkpoint_progress(&self, folder: &Path) -> StorageResult<Option<Vec<u8>>> {
        self.store
            .checkpoint_get(folder, Family::Meta, &keys::progress())
    }

    /// Replaces everything by the checkpoint in `from`, which may be moved away. Atomic and durable.
    pub fn restore(&self, from: &Path) -> StorageResult<()> {
        let mut state = self.state.lock();
        let mut published = self.published.write();
        let restored = self
            .store
            .restore(from)
            .and_then(|()| load(&*self.store, self.options));
        match restored {
            Ok(restored) => {
                *published = Arc::clone(&restored.catalog);
                *state = restored;
                self.is_poisoned.store(false, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                self.is_poisoned.store(true, Ordering::Release);
                Err(error)
            }
        }
    }

    /// A hash of all content but `progress`: equal on replicas that applied the same commands.
    pub fn digest(&self) -> StorageResult<[u8; 32]> {
        let digest = self.digest_while(&mut || true)?;
        digest.map_or(Err(StorageError::Poisoned), |(digest, _)| Ok(digest))
    }

    /// The same, with the `progress` that it belongs to; `None` when `goes_on`, which is asked now and then, says no.
    ///
    /// Reads everything once, in bounded memory, from one view: a restore waits for it, and nothing else does.
    pub fn digest_while(
        &self,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> StorageResult<Option<ContentAt>> {
        self.check_poison()?;
        let mut read = Err(StorageError::Poisoned);
        self.store
            .with_view(&mut |view| read = digest_of(view, goes_on))?;
        read
    }

    /// What was done here beside what was asked for.
    pub fn applied_effects(&self) -> AppliedEffects {
        self.state.lock().effects
    }

    /// Numbers for operators.
    pub fn stats(&self) -> StorageResult<Stats> {
        let store = self.store.size_bytes()?;
        let state = self.state.lock();
        let mut stats = Stats {
            sessions: state.sessions.len() as u64,
            change_log_bytes: state.log.bytes(),
            last_change: state.last_change(),
            store,
            ..Stats::default()
        };
        for collection in state.catalog.all() {
            let tally = state.tally(collection.id);
            stats.collections += 1;
            stats.documents += tally.documents;
            stats.document_bytes += tally.bytes;
        }
        Ok(stats)
    }

    /// Runs `read` over one view and the catalog that was written with it.
    pub(crate) fn with_snapshot<T>(
        &self,
        budget: &Budget<'_>,
        now_ms: i64,
        read: impl FnOnce(&Snapshot<'_>) -> Result<T>,
    ) -> Result<T> {
        self.check_poison()?;
        let (mut read, mut answer) = (Some(read), None);
        // Held until the view exists: a change of the catalog waits, so the two belong together.
        let mut published = Some(self.published.read_recursive());
        self.store.with_view(&mut |view| {
            if let (Some(read), Some(published)) = (read.take(), published.take()) {
                let catalog = Arc::clone(&published);
                drop(published);
                answer = Some(read(&Snapshot {
                    view,
                    catalog: &catalog,
                    budget,
                    now_ms,
                }));
            }
        })?;
        answer.unwrap_or_else(|| Err(StorageError::Poisoned.into()))
    }

    fn check_poison(&self) -> StorageResult<()> {
        if self.is_poisoned.load(Ordering::Acquire) {
            Err(StorageError::Poisoned)
        } else {
            Ok(())
        }
    }
}

fn load(store: &dyn Store, options: Options) -> StorageResult<State> {
    let mut state = None;
    store.with_view(&mut |view| state = Some(State::load(view, options.retention)))?;
    state.unwrap_or(Err(StorageError::Poisoned))
}

/// All of it is replicated: statistics, caches and what else a replica has for itself are in memory only. But `progress`
/// moves with the members too, and with how the log was cut into batches.
fn digest_of(
    view: &dyn View,
    goes_on: &mut dyn FnMut() -> bool,
) -> StorageResult<Option<ContentAt>> {
    let mut hasher = blake3::Hasher::new();
    // No key of ours begins with 0xff: ids and log indexes count from zero, meta kinds are letters.
    let everything = KeyRange {
        start: Vec::new(),
        end: vec![u8::MAX],
    };
    let mut unasked = 0;
    for family in Family::ALL {
        let mut cursor = view.scan(family, &everything, Direction::Forward);
        while cursor.advance()? {
            if family == Family::Meta && cursor.key() == keys::progress() {
                continue;
            }
            for part in [cursor.key(), cursor.value()] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
                unasked += part.len();
            }
            if unasked >= DIGEST_TURN_BYTES {
                unasked = 0;
                if !goes_on() {
                    return Ok(None);
                }
            }
        }
        hasher.update(&u64::MAX.to_le_bytes());
    }
    let progress = view.get(Family::Meta, &keys::progress())?;
    Ok(Some((*hasher.finalize().as_bytes(), progress)))
}
