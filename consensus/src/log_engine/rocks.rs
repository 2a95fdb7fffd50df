//! The log disk in RocksDB: one database for all groups of a node, two column families, and a
//! write-ahead log that is synced once a batch.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::disk::{DiskWrite, LogDisk, RawEntry};
use super::keys::{HardKey, LogKey};
use super::options::LogOptions;
use super::watermark::{Known, Watermark};
use crate::types::GroupId;

const LOG: &str = "log";
const HARD: &str = "hard";
/// What is no group's: the number of the last batch.
const COMMON: &str = "default";

/// Key of the number of the last batch, in the common column family. It is part of the batch itself, so
/// what of it is found is exactly how far the log goes, whatever was flushed when.
const LAST_BATCH: &[u8] = b"last batch";

/// A handful of tiny records a group.
const HARD_BUFFER_BYTES: usize = 1 << 20;
/// One tiny record a batch: so many that another family is flushed first, and this one with it.
const COMMON_BUFFER_BYTES: usize = 4 << 20;

/// RocksDB's own text log is for people; a few small files are enough.
const INFO_LOG_BYTES_MAX: usize = 4 << 20;
const INFO_LOG_FILES_MAX: usize = 2;

pub(crate) struct RocksDisk {
    // Before the database, so that it goes first.
    watermark: Watermark,
    db: DB,
    /// Number of the last batch written. Only the writer changes it.
    last_batch: AtomicU64,
}

impl RocksDisk {
    /// Opens the database in `dir`, or creates it. Changes nothing there when it refuses a log that has
    /// lost its end, so that what was taken away can be put back.
    pub(crate) fn open(dir: &Path, options: &LogOptions) -> io::Result<Self> {
        let known = Known::read(dir)?;
        if let Some(known) = known.filter(|known| known.durable > 0) {
            known.check(dir, last_batch_on_disk(dir, options)?)?;
        }
        let database = database_options(options);
        let db = DB::open_cf_descriptors(&database, dir, families(options)).map_err(io_error)?;
        let last_batch = last_batch(&db)?;
        if known.is_none() && last_batch > 0 {
            tracing::warn!(
                folder = %dir.display(),
                "no record of how far the log was durable: whether it has lost its end cannot be told"
            );
        }
        Ok(Self {
            watermark: Watermark::start(dir, known)?,
            db,
            last_batch: AtomicU64::new(last_batch),
        })
    }

    fn family(&self, name: &str) -> io::Result<&ColumnFamily> {
        self.db
            .cf_handle(name)
            .ok_or_else(|| io::Error::other(format!("log database has no column family {name}")))
    }
}

fn families(options: &LogOptions) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    vec![
        ColumnFamilyDescriptor::new(LOG, log_options(options, &cache)),
        ColumnFamilyDescriptor::new(HARD, small_options(HARD_BUFFER_BYTES, &cache)),
        ColumnFamilyDescriptor::new(COMMON, small_options(COMMON_BUFFER_BYTES, &cache)),
    ]
}

/// The number of the last batch that a log has.
fn last_batch(db: &DB) -> io::Result<u64> {
    let Some(number) = db.get(LAST_BATCH).map_err(io_error)? else {
        return Ok(0);
    };
    let number = number.as_slice().try_into().map_err(|_| {
        let message = "the number of the log's last batch is not a number";
        io::Error::new(io::ErrorKind::InvalidData, message)
    })?;
    Ok(u64::from_be_bytes(number))
}

/// The same of a log that is not open; 0 if there is none any more.
fn last_batch_on_disk(dir: &Path, options: &LogOptions) -> io::Result<u64> {
    // RocksDB's own name for the file that a database begins with.
    if !dir.join("CURRENT").exists() {
        return Ok(0);
    }
    let database = database_options(options);
    let db = DB::open_cf_descriptors_read_only(&database, dir, families(options), false)
        .map_err(io_error)?;
    last_batch(&db)
}

fn database_options(options: &LogOptions) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    // Entries and hard state are cut at the same point by a flush, so that the records that describe
    // the log never run ahead of it.
    db.set_atomic_flush(true);
    // A record cut short at the very end is what a crash leaves of one that was not synced, and is
    // dropped; whether it had been synced after all is for the watermark to tell. Anything wrong before
    // the end was acknowledged, so the open fails and the node stops with words. Point-in-time recovery
    // would accept such damage in silence and forget acknowledged entries. Recycling of WAL files makes
    // syncs a little cheaper (0.16 instead of 0.18 ms for one waiter, nothing for many), but RocksDB
    // allows it with point-in-time recovery only, so it is off.
    db.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    db.set_recycle_log_file_num(0);
    // The end of each WAL file but the last is noted in the manifest: one cut short would leave a hole.
    db.set_track_and_verify_wals_in_manifest(true);
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

fn small_options(write_buffer_bytes: usize, cache: &Cache) -> Options {
    let mut family = Options::default();
    family.set_write_buffer_size(write_buffer_bytes);
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
        let number = self.last_batch.load(Ordering::Relaxed) + 1;
        batch.put(LAST_BATCH, number.to_be_bytes());
        let mut options = WriteOptions::default();
        options.set_sync(false);
        self.db.write_opt(batch, &options).map_err(io_error)?;
        self.last_batch.store(number, Ordering::Relaxed);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.db.flush_wal(true).map_err(io_error)?;
        self.watermark
            .publish(self.last_batch.load(Ordering::Relaxed));
        Ok(())
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
