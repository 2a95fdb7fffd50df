//! Measures the log of a node on a disk: `log_probe [folder] [seconds]`. Prints appends a second, entries
//! a sync, latencies and the process's memory for 1, 64 and 256 concurrent appends of 1 KiB.
#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use yunbase_consensus::{GroupId, LogEngine, LogOptions, ProbeOptions, probe};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds = arguments
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .unwrap_or(3.0);
    let dir = tempfile::tempdir_in(folder)?;

    let engine = LogEngine::open(&dir.path().join("idle"), LogOptions::default())?;
    println!(
        "idle: {} KiB resident, groups {:?}",
        resident_kib(),
        engine.groups().len()
    );
    engine.drop_group(GroupId(0)).await?;
    engine.close().await?;

    println!(
        "waiters  appends/s  entries/sync  sync mean µs  append p50/p99 µs  write mean µs  resident KiB"
    );
    for waiters in [1, 64, 256] {
        let options = ProbeOptions {
            waiters,
            entry_bytes: 1024,
            duration: Duration::from_secs_f64(seconds),
        };
        let report = probe(
            &dir.path().join(waiters.to_string()),
            LogOptions::default(),
            &options,
        )
        .await?;
        let stats = &report.stats;
        println!(
            "{waiters:7}  {:9.0}  {:12.1}  {:12}  {:>8}/{:<8}  {:13}  {:12}",
            report.appends as f64 / report.elapsed.as_secs_f64(),
            stats.entries as f64 / stats.syncs as f64,
            stats.sync_micros / stats.syncs.max(1),
            report.latency_p50.as_micros(),
            report.latency_p99.as_micros(),
            stats.write_micros / stats.writes.max(1),
            resident_kib(),
        );
    }
    Ok(())
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap_or_default();
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or_default()
}
