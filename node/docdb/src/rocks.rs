//! The store on disk: one RocksDB without a write-ahead log, in a folder that can be swapped.
//!
//! The root folder holds numbered state folders and a pointer file that names the current one. A
//! restore moves a checkpoint in as the next number, then replaces the pointer: before that rename the
//! old state is the state, after it the new one. Folders that the pointer does not name are remains
//! of an interrupted restore and are removed at open.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{ColumnFamily, DB, DBRawIterator, FlushOptions, Snapshot, WriteBatch as RocksBatch};

use crate::kv::{
    Cursor, Direction, Family, KeyRange, StorageError, StorageResult, Store, StoreSize, View,
    WriteBatch,
};
use crate::rocks_options::{self, RocksShared};

/// The file that names the current state folder.
const POINTER_FILE: &str = "CURRENT_STATE";
const FOLDER_PREFIX: &str = "state-";

/// A store in RocksDB.
pub struct RocksStore {
    root: PathBuf,
    // Readers and writers share the lock, only a restore takes it alone. Always `read_recursive`: code
    // under a view may come back for a point read while a restore waits.
    open: RwLock<Open>,
    // After the database, so that whoever counts the holders knows that it is closed.
    shared: RocksShared,
}

struct Open {
    db: DB,
    number: u64,
}

impl RocksStore {
    /// Opens the store in `root`, creating it when there is none.
    pub fn open(root: &Path, shared: RocksShared) -> StorageResult<Self> {
        fs::create_dir_all(root)
            .map_err(|e| StorageError::io(format!("create {}", root.display()), e))?;
        let number = match read_pointer(root)? {
            Some(number) => number,
            None => {
                write_pointer(root, 1)?;
                1
            }
        };
        remove_leftovers(root, number)?;
        let db = open_db(&folder(root, number), &shared)?;
        Ok(Self {
            root: root.to_path_buf(),
            shared,
            open: RwLock::new(Open { db, number }),
        })
    }
}

fn open_db(folder: &Path, shared: &RocksShared) -> StorageResult<DB> {
    let options = rocks_options::database_options(shared);
    DB::open_cf_descriptors(&options, folder, rocks_options::families(shared))
        .map_err(engine("open the state"))
}

fn engine(action: &'static str) -> impl Fn(rocksdb::Error) -> StorageError {
    move |error| StorageError::Engine {
        action,
        message: error.into_string(),
    }
}

fn column(db: &DB, family: Family) -> StorageResult<&ColumnFamily> {
    db.cf_handle(family.name())
        .ok_or_else(|| StorageError::corrupt(format!("column family {} is missing", family.name())))
}

struct RocksView<'a> {
    db: &'a DB,
    snapshot: Snapshot<'a>,
}

impl View for RocksView<'_> {
    fn get(&self, family: Family, key: &[u8]) -> StorageResult<Option<Vec<u8>>> {
        self.snapshot
            .get_cf(column(self.db, family)?, key)
            .map_err(engine("read a key"))
    }

    fn scan<'a>(
        &'a self,
        family: Family,
        range: &KeyRange,
        direction: Direction,
    ) -> Box<dyn Cursor + 'a> {
        let rows = if range.is_empty() {
            None
        } else {
            column(self.db, family).ok()
        }
        .map(|column| {
            self.snapshot
                .raw_iterator_cf_opt(column, rocks_options::scan_options(range))
        });
        Box::new(RocksCursor {
            rows,
            direction,
            started: false,
        })
    }
}

struct RocksCursor<'a> {
    rows: Option<DBRawIterator<'a>>,
    direction: Direction,
    started: bool,
}

impl Cursor for RocksCursor<'_> {
    fn advance(&mut self) -> StorageResult<bool> {
        let Some(rows) = &mut self.rows else {
            return Ok(false);
        };
        match (self.started, self.direction) {
            (false, Direction::Forward) => rows.seek_to_first(),
            (false, Direction::Backward) => rows.seek_to_last(),
            (true, Direction::Forward) => rows.next(),
            (true, Direction::Backward) => rows.prev(),
        }
        self.started = true;
        if rows.valid() {
            return Ok(true);
        }
        let status = rows.status().map_err(engine("scan a range"));
        self.rows = None;
        status.map(|()| false)
    }

    fn key(&self) -> &[u8] {
        self.rows
            .as_ref()
            .filter(|_| self.started)
            .and_then(DBRawIterator::key)
            .unwrap_or_default()
    }

    fn value(&self) -> &[u8] {
        self.rows
            .as_ref()
            .filter(|_| self.started)
            .and_then(DBRawIterator::value)
            .unwrap_or_default()
    }
}

impl Store for RocksStore {
    fn get(&self, family: Family, key: &[u8]) -> StorageResult<Option<Vec<u8>>> {
        let open = self.open.read_recursive();
        open.db
            .get_cf(column(&open.db, family)?, key)
            .map_err(engine("read a key"))
    }

    fn absent(&self, family: Family, mut keys: Vec<Vec<u8>>) -> StorageResult<Vec<Vec<u8>>> {
        keys.sort_unstable();
        let open = self.open.read_recursive();
        let column = column(&open.db, family)?;
        let values = open.db.batched_multi_get_cf(column, &keys, true);
        let mut is_absent = Vec::with_capacity(keys.len());
        for value in values {
            is_absent.push(value.map_err(engine("read some keys"))?.is_none());
        }
        let mut absent = is_absent.into_iter();
        keys.retain(|_| absent.next().unwrap_or(false));
        Ok(keys)
    }

    fn with_view(&self, read: &mut dyn FnMut(&dyn View)) -> StorageResult<()> {
        let open = self.open.read_recursive();
        read(&RocksView {
            db: &open.db,
            snapshot: open.db.snapshot(),
        });
        Ok(())
    }

    fn write(&self, batch: &WriteBatch) -> StorageResult<()> {
        let open = self.open.read_recursive();
        // Its size is known well enough: growing it step by step would copy it several times.
        let changes = batch.changes.iter().flatten();
        let bytes = changes
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 16)
            .sum();
        let mut rows = RocksBatch::with_capacity_bytes(bytes);
        for (family, range) in &batch.deleted_ranges {
            if !range.is_empty() {
                rows.delete_range_cf(column(&open.db, *family)?, &range.start, &range.end);
            }
        }
        for family in Family::ALL {
            let changes = batch.family(family);
            if changes.is_empty() {
                continue;
            }
            let column = column(&open.db, family)?;
            for (key, value) in changes {
                match value {
                    Some(value) => rows.put_cf(column, key, value),
                    None => rows.delete_cf(column, key),
                }
            }
        }
        open.db
            .write_opt(rows, &rocks_options::write_options())
            .map_err(engine("write a batch"))
    }

    fn flush(&self) -> StorageResult<()> {
        let open = self.open.read_recursive();
        let columns = Family::ALL
            .into_iter()
            .map(|family| column(&open.db, family))
            .collect::<StorageResult<Vec<_>>>()?;
        let mut options = FlushOptions::default();
        options.set_wait(true);
        open.db
            .flush_cfs_opt(&columns, &options)
            .map_err(engine("flush the state"))
    }

    fn checkpoint(&self, into: &Path) -> StorageResult<()> {
        let open = self.open.read_recursive();
        // RocksDB insists on making the folder itself.
        fs::remove_dir(into)
            .map_err(|e| StorageError::io("take the empty checkpoint folder", e))?;
        let checkpoint = Checkpoint::new(&open.db).map_err(engine("prepare a checkpoint"))?;
        // Never with a log size: without a write-ahead log that would silently leave out what is not flushed.
        checkpoint
            .create_checkpoint(into)
            .map_err(engine("write a checkpoint"))
    }

    fn checkpoint_get(
        &self,
        folder: &Path,
        family: Family,
        key: &[u8],
    ) -> StorageResult<Option<Vec<u8>>> {
        let options = rocks_options::database_options(&self.shared);
        let families = rocks_options::families(&self.shared);
        let db = DB::open_cf_descriptors_read_only(&options, folder, families, false)
            .map_err(engine("open a checkpoint"))?;
        db.get_cf(column(&db, family)?, key)
            .map_err(engine("read a checkpoint"))
    }

    fn restore(&self, from: &Path) -> StorageResult<()> {
        let mut open = self.open.write();
        let (old, new) = (open.number, open.number + 1);
        let folder = folder(&self.root, new);
        move_folder(from, &folder)?;
        sync_folder(&folder)?;
        sync_folder(&self.root)?;
        // Open first: a checkpoint that RocksDB refuses must leave the old state in place.
        let db = match open_db(&folder, &self.shared) {
            Ok(db) => db,
            Err(error) => {
                remove_folder(&folder)?;
                return Err(error);
            }
        };
        write_pointer(&self.root, new)?;
        *open = Open { db, number: new };
        remove_folder(&self::folder(&self.root, old))
    }

    fn size_bytes(&self) -> StorageResult<StoreSize> {
        let open = self.open.read_recursive();
        let sum = |property: &str| -> StorageResult<u64> {
            let mut bytes = 0;
            for family in Family::ALL {
                let column = column(&open.db, family)?;
                bytes += open
                    .db
                    .property_int_value_cf(column, property)
                    .map_err(engine("read a size"))?
                    .unwrap_or(0);
            }
            Ok(bytes)
        };
        Ok(StoreSize {
            disk_bytes: sum("rocksdb.total-sst-files-size")?,
            buffer_bytes: sum("rocksdb.cur-size-all-mem-tables")?,
        })
    }
}

fn folder(root: &Path, number: u64) -> PathBuf {
    root.join(format!("{FOLDER_PREFIX}{number:06}"))
}

fn read_pointer(root: &Path) -> StorageResult<Option<u64>> {
    let path = root.join(POINTER_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|_| {
            StorageError::corrupt(format!(
                "{} does not hold the number of a state folder",
                path.display()
            ))
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StorageError::io(format!("read {}", path.display()), error)),
    }
}

/// Replaces the pointer: a synced new file, a rename, a synced folder.
fn write_pointer(root: &Path, number: u64) -> StorageResult<()> {
    let (path, next) = (
        root.join(POINTER_FILE),
        root.join(format!("{POINTER_FILE}.new")),
    );
    let write = || {
        let mut file = fs::File::create(&next)?;
        writeln!(file, "{number}")?;
        file.sync_all()?;
        fs::rename(&next, &path)
    };
    write().map_err(|e| StorageError::io(format!("write {}", path.display()), e))?;
    sync_folder(root)
}

fn sync_folder(folder: &Path) -> StorageResult<()> {
    let sync = || fs::File::open(folder)?.sync_all();
    sync().map_err(|e| StorageError::io(format!("sync {}", folder.display()), e))
}

fn remove_folder(folder: &Path) -> StorageResult<()> {
    fs::remove_dir_all(folder)
        .map_err(|e| StorageError::io(format!("remove {}", folder.display()), e))
}

fn remove_leftovers(root: &Path, current: u64) -> StorageResult<()> {
    let list = || {
        fs::read_dir(root)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()
    };
    let keep = folder(root, current);
    for path in list().map_err(|e| StorageError::io(format!("list {}", root.display()), e))? {
        let is_state = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(FOLDER_PREFIX));
        if is_state && path != keep {
            remove_folder(&path)?;
        }
    }
    Ok(())
}

/// Moves the files of a checkpoint; across file systems it copies them. Every file is synced.
fn move_folder(from: &Path, to: &Path) -> StorageResult<()> {
    let attempt = || {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        if fs::rename(from, to).is_err() {
            fs::create_dir(to)?;
            for entry in fs::read_dir(from)? {
                let entry = entry?;
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        for entry in fs::read_dir(to)? {
            fs::File::open(entry?.path())?.sync_all()?;
        }
        Ok(())
    };
    attempt().map_err(|e| StorageError::io(format!("move {} into place", from.display()), e))
}
