//! What the applying side keeps in memory between commands: catalog, tallies, sessions, the shape of
//! the change log, counters. All of it is also in the store and is read from there at open.
//!
//! Only `apply` changes it, under its lock. When the batch that carries a change cannot be written,
//! the database closes itself, so memory never runs ahead of the store for a later command.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Collection};
use crate::change_log::{ChangeLog, ChangeRef, Retention};
use crate::codec::{self, Magic};
use crate::database::AppliedEffects;
use crate::draft::Draft;
use crate::keys::{self, CollectionId, Position};
use crate::kv::{Direction, Family, StorageError, StorageResult, View};
use crate::session::Sessions;

/// How many documents a collection has and how large they are together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) documents: u64,
    pub(crate) bytes: u64,
}

/// Numbers of the store as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// The last id given to a collection, index or session.
    pub(crate) last_id: u64,
    /// The latest stamped time: the clock of everything that ages.
    pub(crate) clock_ms: i64,
    /// The last change in the log.
    pub(crate) last_change: Position,
    /// The last change that was trimmed from the log.
    pub(crate) trimmed_to: Position,
}

impl Counters {
    pub(crate) fn load(view: &dyn View) -> StorageResult<Self> {
        Self::read(view.get(Family::Meta, &keys::counters())?)
    }

    /// The counters in their record; zero when there is none yet.
    pub(crate) fn read(record: Option<Vec<u8>>) -> StorageResult<Self> {
        record.map_or_else(
            || Ok(Self::default()),
            |record| codec::decode_record(Magic::Counters, &record),
        )
    }
}

/// Reads a collection's tally as a view holds it.
pub(crate) fn load_tally(view: &dyn View, collection: CollectionId) -> StorageResult<Tally> {
    match view.get(Family::Meta, &keys::tally(collection))? {
        Some(record) => codec::decode_record(Magic::Tally, &record),
        None => Ok(Tally::default()),
    }
}

/// The state of the applying side.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) catalog: Arc<Catalog>,
    /// The catalog differs from what readers have.
    pub(crate) catalog_changed: bool,
    /// It differs in nothing that readers look at: how far builds of indexes are.
    pub(crate) builds_moved: bool,
    pub(crate) sessions: Sessions,
    pub(crate) log: ChangeLog,
    pub(crate) retention: Retention,
    /// For operators; not in the store.
    pub(crate) effects: AppliedEffects,
    counters: Counters,
    saved_counters: Counters,
    tallies: BTreeMap<CollectionId, Tally>,
    unsaved_tallies: BTreeSet<CollectionId>,
}

impl State {
    pub(crate) fn load(view: &dyn View, retention: Retention) -> StorageResult<Self> {
        let mut tallies = BTreeMap::new();
        let mut cursor = view.scan(Family::Meta, &keys::tallies(), Direction::Forward);
        while cursor.advance()? {
            let id = keys::meta_number(cursor.key())
                .ok_or_else(|| StorageError::corrupt("a tally's key has a wrong length"))?;
            tallies.insert(
                CollectionId(id),
                codec::decode_record(Magic::Tally, cursor.value())?,
            );
        }
        let counters = Counters::load(view)?;
        Ok(Self {
            catalog: Arc::new(Catalog::load(view)?),
            catalog_changed: false,
            builds_moved: false,
            sessions: Sessions::load(view)?,
            log: ChangeLog::load(view)?,
            retention,
            effects: AppliedEffects::default(),
            saved_counters: counters.clone(),
            counters,
            tallies,
            unsaved_tallies: BTreeSet::new(),
        })
    }

    /// An id that was never given out before.
    pub(crate) fn new_id(&mut self) -> u64 {
        self.counters.last_id += 1;
        self.counters.last_id
    }

    /// Moves the clock on to a stamped time; it never goes back.
    pub(crate) fn tick(&mut self, now_ms: i64) {
        self.counters.clock_ms = self.counters.clock_ms.max(now_ms);
    }

    pub(crate) fn clock_ms(&self) -> i64 {
        self.counters.clock_ms
    }

    pub(crate) fn last_change(&self) -> Position {
        self.counters.last_change
    }

    /// The last change that is no longer in the log.
    pub(crate) fn trimmed_to(&self) -> Position {
        self.counters.trimmed_to
    }

    pub(crate) fn tally(&self, collection: CollectionId) -> Tally {
        self.tallies.get(&collection).copied().unwrap_or_default()
    }

    pub(crate) fn set_tally(&mut self, collection: CollectionId, tally: Tally) {
        self.tallies.insert(collection, tally);
        self.unsaved_tallies.insert(collection);
    }

    pub(crate) fn remove_tally(&mut self, draft: &mut Draft<'_>, collection: CollectionId) {
        self.tallies.remove(&collection);
        self.unsaved_tallies.remove(&collection);
        draft.delete(Family::Meta, keys::tally(collection));
    }

    /// Adds or replaces a collection, in memory and in the draft.
    pub(crate) fn put_collection(
        &mut self,
        draft: &mut Draft<'_>,
        collection: Collection,
    ) -> StorageResult<()> {
        draft.put(
            Family::Meta,
            keys::collection(collection.id),
            collection.encode()?,
        );
        Arc::make_mut(&mut self.catalog).put(collection);
        self.catalog_changed = true;
        Ok(())
    }

    /// Replaces a collection of which only the build of an index has moved on.
    pub(crate) fn put_building(
        &mut self,
        draft: &mut Draft<'_>,
        collection: Collection,
    ) -> StorageResult<()> {
        let catalog_changed = self.catalog_changed;
        self.put_collection(draft, collection)?;
        self.catalog_changed = catalog_changed;
        self.builds_moved = true;
        Ok(())
    }

    pub(crate) fn remove_collection(&mut self, draft: &mut Draft<'_>, collection: &Collection) {
        draft.delete(Family::Meta, keys::collection(collection.id));
        Arc::make_mut(&mut self.catalog).remove(&collection.env, &collection.name);
        self.catalog_changed = true;
    }

    /// Logs one change made by the entry at `log_index`.
    pub(crate) fn log_change(&mut self, draft: &mut Draft<'_>, log_index: u64, change: Vec<u8>) {
        let last = self.counters.last_change;
        let position = if last.log_index == log_index {
            last.next()
        } else {
            Position { log_index, op: 0 }
        };
        self.counters.last_change = position;
        let now_ms = self.counters.clock_ms;
        self.log
            .append(draft, position, now_ms, change, self.retention);
        if let Some(trimmed_to) = self.log.trim(draft, now_ms, self.retention) {
            self.counters.trimmed_to = trimmed_to;
        }
    }

    /// Logs a change given in parts.
    pub(crate) fn log_change_ref(
        &mut self,
        draft: &mut Draft<'_>,
        log_index: u64,
        change: &ChangeRef<'_>,
    ) -> StorageResult<()> {
        self.log_change(draft, log_index, change.encode()?);
        Ok(())
    }

    /// Writes the records that change with almost every command, once for all commands of a batch.
    pub(crate) fn save(&mut self, draft: &mut Draft<'_>) -> StorageResult<()> {
        for collection in std::mem::take(&mut self.unsaved_tallies) {
            let record = codec::encode_record(Magic::Tally, &self.tally(collection))?;
            draft.put(Family::Meta, keys::tally(collection), record);
        }
        if self.counters != self.saved_counters {
            draft.put(
                Family::Meta,
                keys::counters(),
                codec::encode_record(Magic::Counters, &self.counters)?,
            );
            self.saved_counters = self.counters.clone();
        }
        self.log.save(draft)
    }
}
