//! Every bound of the audit log, in one place.

use std::time::Duration;

/// Longest target of an entry.
pub const TARGET_BYTES_MAX: usize = 256;
/// Longest detail of an entry.
pub const DETAIL_BYTES_MAX: usize = 512;
/// Longest request id in an entry: clients may bring their own.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Days for which entries are kept unless `audit_retention_days` says otherwise.
pub const RETENTION_DAYS: i64 = 365;
/// Nothing younger than this is ever removed, whatever asks for it.
pub const RETENTION_DAYS_MIN: i64 = 1;
/// Most days that may be set.
pub const RETENTION_DAYS_MAX: i64 = 36_500;
/// Entries on a page unless the request says.
pub const PAGE_DEFAULT: u32 = 100;
/// Most entries on a page.
pub const PAGE_MAX: u32 = 1000;
/// How often old entries are removed.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(3600);
/// Longest that writing an entry waits after the act that it tells of.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(12);
/// Longest that removing old entries of one log may take.
pub const SWEEP_TIMEOUT: Duration = Duration::from_secs(60);

/// Milliseconds of `days`.
pub fn days_ms(days: i64) -> i64 {
    days.saturating_mul(24 * 60 * 60 * 1000)
}
