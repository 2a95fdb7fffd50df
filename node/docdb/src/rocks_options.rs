//! How the state's RocksDB is set up, each unusual setting with its reason, and the memory that all
//! databases of a node share.
//!
//! A node runs one database for each Raft group, nine by default, so what a single one takes when idle
//! counts nine times; the shared cache and write buffer bound the sum under load.

use std::sync::Arc;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, LogLevel, Options,
    ReadOptions, WriteBufferManager, WriteOptions,
};

use crate::kv::{Family, KeyRange};

/// Memory that all state databases of a node share.
#[derive(Clone)]
pub struct RocksShared {
    cache: Cache,
    write_buffers: WriteBufferManager,
    direct_writes: bool,
    holders: Arc<()>,
}

impl RocksShared {
    /// A block cache of `cache_bytes`, and write buffers that are flushed before they exceed
    /// `write_buffer_bytes` over all databases.
    pub fn new(cache_bytes: usize, write_buffer_bytes: usize) -> Self {
        Self {
            cache: Cache::new_lru_cache(cache_bytes),
            // Without stalls: apply must not stop because another group's flush is slow. The bound is
            // kept by flushing early.
            write_buffers: WriteBufferManager::new_write_buffer_manager(write_buffer_bytes, false),
            direct_writes: false,
            holders: Arc::default(),
        }
    }

    /// How many hold this: clones of it, and databases that are not closed.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.holders)
    }

    /// Lets flushes and compactions bypass the page cache, which saves them a copy and keeps there what is read.
    /// Only for file systems that can do it.
    #[must_use]
    pub fn with_direct_writes(self, direct_writes: bool) -> Self {
        Self {
            direct_writes,
            ..self
        }
    }

    /// Bytes in the block cache.
    pub fn cache_used_bytes(&self) -> usize {
        self.cache.get_usage()
    }

    /// Bytes in write buffers of all databases.
    pub fn write_buffer_used_bytes(&self) -> usize {
        self.write_buffers.get_usage()
    }
}

/// A memtable is flushed at this size, and the other families' with it. Larger ones save rewriting; the
/// shared bound flushes earlier when many groups are busy.
const MEMTABLE_BYTES: usize = 32 << 20;
/// The unit in which a memtable takes memory: the default (an eighth of the memtable) would cost an
/// idle node 36 MiB for nine databases of four families.
const ARENA_BLOCK_BYTES: usize = 64 << 10;
/// Files of one database that stay open; the rest is opened on demand.
const OPEN_FILES_MAX: i32 = 256;
/// Documents are read in blocks: larger ones compress better, smaller ones waste less of a point read.
const BLOCK_BYTES: usize = 8 << 10;
/// About one false positive in 1,000 files asked. An insert asks every file of level 0 for a key that does not exist, and
/// what a filter lets through is read from the disk.
const BLOOM_BITS_PER_KEY: f64 = 15.0;
/// Files of level 0 that begin a compaction: fewer, larger ones rewrite the level below less often. Point reads ask the
/// filters of each.
const COMPACTION_TRIGGER_FILES: i32 = 8;
/// Share of a memtable's size that its filter takes, also when it is empty: 64 KiB, some 20 bits for each document of 1 KiB.
const MEMTABLE_BLOOM_RATIO: f64 = 0.002;
/// Rewrites every file at least weekly, so that deleted documents leave the disk.
const PERIODIC_COMPACTION_SECONDS: u64 = 7 * 24 * 3600;

/// Options of the database as a whole.
pub(crate) fn database_options(shared: &RocksShared) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // There is no write-ahead log. Only a flush that cuts all families at one point keeps documents,
    // indexes and the progress that names them from different moments apart after a crash.
    options.set_atomic_flush(true);
    options.set_write_buffer_manager(&shared.write_buffers);
    options.set_paranoid_checks(true);
    // Two threads: one flush and one compaction; more would only compete with the node's own work.
    options.set_max_background_jobs(2);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_use_direct_io_for_flush_and_compaction(shared.direct_writes);
    // One thread writes: the machinery for several only costs, and without it a memtable remembers where it last
    // inserted, which makes runs of ascending keys (the change log) nearly free.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    // Deleting obsolete files and freeing memory must not happen on an apply or read thread.
    options.set_avoid_unnecessary_blocking_io(true);
    options.set_skip_stats_update_on_db_open(true);
    options.set_bytes_per_sync(1 << 20);
    // RocksDB's own text log and statistics are of no use to an operator who does not know RocksDB.
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(2);
    options.set_stats_dump_period_sec(0);
    options.set_max_manifest_file_size(4 << 20);
    options
}

/// One descriptor for each family, in the order of `Family::ALL`.
pub(crate) fn families(shared: &RocksShared) -> Vec<ColumnFamilyDescriptor> {
    Family::ALL
        .into_iter()
        .map(|family| ColumnFamilyDescriptor::new(family.name(), family_options(family, shared)))
        .collect()
}

fn family_options(family: Family, shared: &RocksShared) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&shared.cache);
    table.set_block_size(BLOCK_BYTES);
    table.set_format_version(6);
    // In the cache they are bounded with everything else; pinned, level 0 stays fast.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // Whole keys: documents, unique index entries, session slots and most lookups of insert are point
    // reads, often of keys that do not exist. A prefix filter would say nothing: every file holds every
    // collection.
    if family != Family::Changes {
        table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
        table.set_optimize_filters_for_memory(true);
    }

    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_arena_block_size(ARENA_BLOCK_BYTES);
    options.set_max_write_buffer_number(3);
    options.set_level_zero_file_num_compaction_trigger(COMPACTION_TRIGGER_FILES);
    if family == Family::Docs {
        // Every insert asks for a key that does not exist: a filter answers that without walking the memtable.
        options.set_memtable_whole_key_filtering(true);
        options.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
    }
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_compression_per_level(&compression(family));
    options.set_periodic_compaction_seconds(PERIODIC_COMPACTION_SECONDS);
    options
}

/// Files of level 0 are rewritten soon: compressing them (and the log's tables) took a sixth of a node's time under a
/// load of inserts. The change log is ascending, so its files only move down, and goes from the front: it is never worth
/// it. Further down lz4 throughout: zstd at the bottom took another tenth, for a disk a third smaller.
fn compression(family: Family) -> [DBCompressionType; 2] {
    match family {
        Family::Changes => [DBCompressionType::None; 2],
        _ => [DBCompressionType::None, DBCompressionType::Lz4],
    }
}

/// No write-ahead log: the Raft log is one.
pub(crate) fn write_options() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// A cursor never leaves `range`. Reading ahead is left to RocksDB, which begins it when a scan turns
/// out to be long: most scans here end within a block.
pub(crate) fn scan_options(range: &KeyRange) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(range.start.clone());
    options.set_iterate_upper_bound(range.end.clone());
    options
}
