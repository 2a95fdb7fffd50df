//! The index in RocksDB, without a write-ahead log: the segments are the log. One column family, so that
//! whatever part of it survives a crash is the state of one moment.

use std::io;
use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, FlushOptions, LogLevel, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use super::{Index, IndexItem, IndexWrite};

/// What the indexes of all disks share.
#[derive(Clone)]
pub(crate) struct IndexShared {
    cache: Cache,
    write_buffer_bytes: usize,
}

impl IndexShared {
    /// A block cache of `cache_bytes` for all, and a write buffer for each.
    pub(crate) fn new(cache_bytes: usize, write_buffer_bytes: usize) -> Self {
        Self {
            cache: Cache::new_lru_cache(cache_bytes),
            write_buffer_bytes,
        }
    }
}

impl Default for IndexShared {
    fn default() -> Self {
        Self::new(8 << 20, 1 << 20)
    }
}

/// Files that stay open; the rest is opened on demand.
const OPEN_FILES_MAX: i32 = 128;
/// About one needless read in a hundred lookups of chunks that are not there, which is what most uploads ask.
const BLOOM_BITS_PER_KEY: f64 = 10.0;

pub(crate) struct RocksIndex {
    db: DB,
    unlogged: WriteOptions,
}

impl RocksIndex {
    /// Opens the database in `dir`, or creates it. One that is damaged is `InvalidData`.
    pub(crate) fn open(dir: &Path, shared: &IndexShared) -> io::Result<Self> {
        let db = DB::open(&options(shared), dir).map_err(open_error)?;
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        Ok(Self { db, unlogged })
    }
}

fn options(shared: &IndexShared) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_paranoid_checks(true);
    options.set_write_buffer_size(shared.write_buffer_bytes);
    options.set_max_background_jobs(2);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_avoid_unnecessary_blocking_io(true);
    options.set_bytes_per_sync(1 << 20);
    // Names of chunks are random: nothing compresses.
    options.set_compression_type(DBCompressionType::None);
    // RocksDB's own text log is of no use to an operator who does not know RocksDB.
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_max_log_file_size(1 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&shared.cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    table.set_format_version(6);
    options.set_block_based_table_factory(&table);
    options
}

fn io_error(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// Files that are missing are damage too; that another process has the database is not.
fn open_error(error: rocksdb::Error) -> io::Error {
    if error.kind() == rocksdb::ErrorKind::IOError && error.to_string().contains("No such file") {
        return io::Error::new(io::ErrorKind::InvalidData, error);
    }
    io_error(error)
}

impl Index for RocksIndex {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.db.get(key).map_err(io_error)
    }

    fn scan(&self, from: &[u8], to: &[u8], count_max: usize) -> io::Result<Vec<IndexItem>> {
        let mut read = ReadOptions::default();
        read.set_iterate_upper_bound(to);
        // A scan reads each block once: it must not push out what lookups need.
        read.fill_cache(false);
        let mut cursor = self.db.raw_iterator_opt(read);
        cursor.seek(from);
        let mut items = Vec::new();
        while items.len() < count_max {
            let Some((key, value)) = cursor.item() else {
                break;
            };
            items.push((key.to_vec(), value.to_vec()));
            cursor.next();
        }
        cursor.status().map_err(io_error)?;
        Ok(items)
    }

    fn write(&self, writes: &[IndexWrite]) -> io::Result<()> {
        let mut batch = WriteBatch::default();
        for write in writes {
            match &write.value {
                Some(value) => batch.put(&write.key, value),
                None => batch.delete(&write.key),
            }
        }
        self.db.write_opt(batch, &self.unlogged).map_err(io_error)
    }

    fn flush(&self) -> io::Result<()> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_opt(&options).map_err(io_error)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryIndex;
    use super::*;

    fn write(key: &str, value: Option<&str>) -> IndexWrite {
        IndexWrite {
            key: key.into(),
            value: value.map(Into::into),
        }
    }

    /// What simulations run on answers as RocksDB does.
    #[test]
    fn rocksdb_and_memory_agree() {
        let dir = tempfile::tempdir().unwrap();
        let rocks = RocksIndex::open(dir.path(), &IndexShared::default()).unwrap();
        let memory = MemoryIndex::default();
        let stores: [&dyn Index; 2] = [&rocks, &memory];
        let batches = [
            vec![
                write("b", Some("1")),
                write("a", Some("2")),
                write("b", Some("3")),
            ],
            vec![write("a", None), write("c", Some("")), write("z", None)],
            vec![
                write("d", Some("4")),
                write("d", None),
                write("a", Some("5")),
            ],
        ];
        for batch in batches {
            for store in stores {
                store.write(&batch).unwrap();
            }
            for key in ["a", "b", "c", "d", "z"] {
                let key = key.as_bytes();
                assert_eq!(rocks.get(key).unwrap(), memory.get(key).unwrap());
            }
            for (from, to, count) in [("a", "z", 9), ("b", "d", 9), ("a", "z", 2), ("x", "z", 9)] {
                let scan = |store: &dyn Index| store.scan(from.as_bytes(), to.as_bytes(), count);
                assert_eq!(scan(&rocks).unwrap(), scan(&memory).unwrap());
            }
        }
        assert_eq!(rocks.scan(b"a", b"z", 9).unwrap().len(), 3);
    }

    #[test]
    fn what_was_flushed_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let shared = IndexShared::default();
        let rocks = RocksIndex::open(dir.path(), &shared).unwrap();
        // A second process would destroy what the first one writes.
        assert!(RocksIndex::open(dir.path(), &shared).is_err());
        rocks.write(&[write("a", Some("1"))]).unwrap();
        rocks.flush().unwrap();
        drop(rocks);
        let rocks = RocksIndex::open(dir.path(), &shared).unwrap();
        assert_eq!(rocks.get(b"a").unwrap(), Some(b"1".to_vec()));
    }
}
