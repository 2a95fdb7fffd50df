//! The log disk in RocksDB: one database for all groups of a node, two column families, and a
//! write-ahead log that is synced once a batch.

use std::io;
use std::path::Path;

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::disk::{DiskWrite, LogDisk, RawEntry};
use super::keys::{HardKey, LogKey};
use super::options::LogOptions;
use crate::types::GroupId;

const LOG: &str = "log";
const HARD: &str = "hard";

/// RocksDB's own text log is for people; a few small files are enough.
const INFO_LOG_BYTES_MAX: usize = 4 << 20;
const INFO_LOG_FILES_MAX: usize = 2;

pub(crate) struct RocksDisk {
    db: DB,
}

impl RocksDisk {
    /// Opens the database in `dir`, or creates it.
    pub(crate) fn open(dir: &Path, options: &LogOptions) -> io::Result<Self> {
        let cache = Cache::new_lru_cache(options.block_cache_bytes);
        let families = vec![
            ColumnFamilyDescriptor::new(LOG, log_options(options, &cache)),
            ColumnFamilyDescriptor::new(HARD, hard_options(&cache)),
            ColumnFamilyDescriptor::new("default", hard_options(&cache)),
        ];
        let db =
            DB::open_cf_descriptors(&database_options(options), dir, families).map_err(io_error)?;
        Ok(Self { db })
    }

    fn family(&self, name: &str) -> io::Result<&ColumnFamily> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| io::Error::other(format!("log database has no column family {name}")))
    }
}

fn database_options(options: &LogOptions) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    // Entries and hard state are cut at the same point by a flush, so that the records that describe
    // the log never run ahead of it.
    db.set_atomic_flush(true);
    // A record cut short at the very end was never acknowledged and is dropped. Anything wrong before
    // the end was acknowledged, so the open fails and the node stops with words. Point-in-time recovery
    // would accept such damage in silence and forget acknowledged entries. Recycling of WAL files makes
    // syncs a little cheaper (0.16 instead of 0.18 ms for one waiter, nothing for many), but RocksDB
    // allows it with point-in-time recovery only, so it is off.
    db.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    db.set_recycle_log_file_num(0);
    db.set_paranoid_checks(true);
    // The WAL is bounded by the write buffers; this catches a family that is written rarely and would
    // keep old WAL files alive.
    db.set_max_total_wal_size(
        4 * options.write_buffer_bytes as u64 * options.write_buffer_count_max.max(1) as u64,
    );
    // Table files are handed to the device as they are written, so that the end of a flush is not a
    // burst that delays the log's syncs. The WAL itself is synced by us.
    db.set_bytes_per_sync(1 << 20);
    db.set_wal_bytes_per_sync(0);
    // Tables of the log are written once and hardly ever read: through the page cache they would cost
    // a copy and push out what is read.
    db.set_use_direct_io_for_flush_and_compaction(options.direct_writes);
    db.set_max_background_jobs(2);
    db.set_avoid_unnecessary_blocking_io(true);
    db.set_max_open_files(options.open_files_max);
    // One writer thread: the machinery for concurrent writers only costs.
    db.set_allow_concurrent_memtable_write(false);
    db.set_enable_write_thread_adaptive_yield(false);
    db.set_max_log_file_size(INFO_LOG_BYTES_MAX);
    db.set_keep_log_file_num(INFO_LOG_FILES_MAX);
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db
}

fn log_options(options: &LogOptions, cache: &Cache) -> Options {
    let mut family = Options::default();
    family.set_write_buffer_size(options.write_buffer_bytes);
    family.set_max_write_buffer_number(options.write_buffer_count_max);
    // The log is written in order and purged from the front: level 0 files do not overlap except by
    // group, so many of them cost reads little, while a stop would stall every group of the node.
    family.set_level_zero_file_num_compaction_trigger(8);
    family.set_level_zero_slowdown_writes_trigger(i32::MAX);
    family.set_level_zero_stop_writes_trigger(i32::MAX);
    family.set_soft_pending_compaction_bytes_limit(0);
    family.set_hard_pending_compaction_bytes_limit(0);
    // Written once and purged, mostly unread: compression costs more than it saves.
    family.set_compression_type(DBCompressionType::None);
    // Large values are written once and dropped as whole files when the log is purged.
    family.set_enable_blob_files(true);
    family.set_min_blob_size(options.blob_bytes_min);
    family.set_blob_compression_type(DBCompressionType::None);
    family.set_enable_blob_gc(true);
    family.set_blob_gc_age_cutoff(0.25);
    family.set_blob_gc_force_threshold(0.5);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // Reads are ranges by index: a bloom filter would never be asked.
    table.set_block_size(32 << 10);
    family.set_block_based_table_factory(&table);
    family
}

fn hard_options(cache: &Cache) -> Options {
    let mut family = Options::default();
    // A handful of tiny records a group.
    family.set_write_buffer_size(1 << 20);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    family.set_block_based_table_factory(&table);
    family
}

fn io_error(error: rocksdb::Error) -> io::Error {
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl LogDisk for RocksDisk {
    fn write(&self, writes: &[DiskWrite]) -> io::Result<()> {
        let (log, hard) = (self.family(LOG)?, self.family(HARD)?);
        let mut batch = WriteBatch::default();
        for write in writes {
            match write {
                DiskWrite::PutEntry(key, record) => batch.put_cf(log, key.encode(), record),
                DiskWrite::DeleteEntries { group, from, to } => {
                    let start = LogKey {
                        group: *group,
                        index: *from,
                    }
                    .encode();
                    match to {
                        Some(to) => batch.delete_range_cf(
                            log,
                            start,
                            LogKey {
                                group: *group,
                                index: *to,
                            }
                            .encode(),
                        ),
                        None => batch.delete_range_cf(
                            log,
                            &start[..],
                            &LogKey::end_of_group(*group)[..],
                        ),
                    }
                }
                DiskWrite::PutHard(key, record) => batch.put_cf(hard, key.encode(), record),
                DiskWrite::DropGroup(group) => {
                    let start = LogKey {
                        group: *group,
                        index: 0,
                    }
                    .encode();
                    batch.delete_range_cf(log, &start[..], &LogKey::end_of_group(*group)[..]);
                    for key in HardKey::all_of(*group) {
                        batch.delete_cf(hard, key.encode());
                    }
                }
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(false);
        self.db.write_opt(batch, &options).map_err(io_error)
    }

    fn sync(&self) -> io::Result<()> {
        self.db.flush_wal(true).map_err(io_error)
    }

    fn read_entries(
        &self,
        group: GroupId,
        from: u64,
        to: u64,
        bytes_max: usize,
    ) -> io::Result<Vec<RawEntry>> {
        let mut entries = Vec::new();
        if from >= to {
            return Ok(entries);
        }
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(LogKey { group, index: to }.encode());
        // Log reads go forward once; caching them would only evict index blocks.
        options.fill_cache(false);
        let mut bytes = 0;
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(LOG)?, options);
        iterator.seek(LogKey { group, index: from }.encode());
        while let Some((key, record)) = iterator.item() {
            entries.push(RawEntry {
                index: LogKey::decode(key)?.index,
                record: Bytes::copy_from_slice(record),
            });
            bytes += record.len();
            if bytes >= bytes_max {
                break;
            }
            iterator.next();
        }
        iterator.status().map_err(io_error)?;
        Ok(entries)
    }

    fn read_hard(&self) -> io::Result<Vec<(HardKey, Vec<u8>)>> {
        let mut records = Vec::new();
        for item in self
            .db
            .iterator_cf(self.family(HARD)?, rocksdb::IteratorMode::Start)
        {
            let (key, record) = item.map_err(io_error)?;
            records.push((HardKey::decode(&key)?, record.into_vec()));
        }
        Ok(records)
    }

    fn reads_block(&self) -> bool {
        true
    }
}
