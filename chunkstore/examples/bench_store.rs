//! What the store costs beside plain files: puts and gets of 1 MiB and 16 KiB chunks by 1 and 64 callers, against as
//! many threads that each write to a file of their own with a sync after each write, and read it back. Both in one
//! run, one after the other, since only their ratio says something on another machine.
//!
//! `cargo run --release --example bench_store -- [--seconds S] [DIR]`
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use yunbase_chunkstore::{Chunk, ChunkHash, Store, StoreOptions, initialize_disk};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Puts and gets of one case.
#[derive(Debug, Clone, Copy, Default)]
struct Rates {
    puts_per_second: f64,
    gets_per_second: f64,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    chunk_bytes: usize,
    callers: usize,
    time: Duration,
}

fn main() -> Outcome<()> {
    let mut seconds = 3.0;
    let mut dir = std::env::temp_dir().join("yunbase-bench-store");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            seconds = arguments
                .next()
                .ok_or("--seconds needs a number")?
                .parse()?;
        } else {
            dir = argument.into();
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    println!(
        "| chunk | callers | puts/s | MiB/s | of plain writes | gets/s | MiB/s | of plain reads |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    for chunk_bytes in [1 << 20, 16 << 10] {
        for callers in [1, 64] {
            let case = Case {
                chunk_bytes,
                callers,
                time: Duration::from_secs_f64(seconds),
            };
            let plain = plain(&dir, case)?;
            let store = runtime.block_on(store(&dir, case))?;
            print_row(case, plain, store);
        }
    }
    Ok(())
}

fn print_row(case: Case, plain: Rates, store: Rates) {
    let mib = case.chunk_bytes as f64 / f64::from(1 << 20);
    println!(
        "| {} KiB | {} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.2} |",
        case.chunk_bytes >> 10,
        case.callers,
        store.puts_per_second,
        store.puts_per_second * mib,
        store.puts_per_second / plain.puts_per_second,
        store.gets_per_second,
        store.gets_per_second * mib,
        store.gets_per_second / plain.gets_per_second,
    );
}

/// Content that does not compress and is different for each number.
fn content(number: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for word in content.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    content
}

fn fresh(dir: &Path) -> Outcome<PathBuf> {
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    Ok(dir.to_owned())
}

/// Threads with a file each.
fn plain(dir: &Path, case: Case) -> Outcome<Rates> {
    let dir = fresh(dir)?;
    let started = Instant::now();
    let writers = (0..case.callers).map(|caller| {
        let path = dir.join(caller.to_string());
        std::thread::spawn(move || plain_writer(&path, caller, case))
    });
    let counts = join(writers.collect())?;
    let puts_per_second = counts.iter().sum::<u64>() as f64 / started.elapsed().as_secs_f64();

    let started = Instant::now();
    let readers = (0..case.callers).map(|caller| {
        let path = dir.join(caller.to_string());
        let count = counts[caller];
        std::thread::spawn(move || plain_reader(&path, count, case))
    });
    let reads = join(readers.collect())?;
    let gets_per_second = reads.iter().sum::<u64>() as f64 / started.elapsed().as_secs_f64();
    std::fs::remove_dir_all(dir)?;
    Ok(Rates {
        puts_per_second,
        gets_per_second,
    })
}

fn join(threads: Vec<std::thread::JoinHandle<std::io::Result<u64>>>) -> Outcome<Vec<u64>> {
    let mut counts = Vec::new();
    for thread in threads {
        counts.push(thread.join().map_err(|_| "a thread panicked")??);
    }
    Ok(counts)
}

fn plain_writer(path: &Path, caller: usize, case: Case) -> std::io::Result<u64> {
    let file = OpenOptions::new().create_new(true).write(true).open(path)?;
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < case.time {
        let content = content((caller as u64) << 32 | count, case.chunk_bytes);
        file.write_all_at(&content, count * case.chunk_bytes as u64)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count)
}

fn plain_reader(path: &Path, chunks: u64, case: Case) -> std::io::Result<u64> {
    let file = OpenOptions::new().read(true).open(path)?;
    let mut buffer = vec![0; case.chunk_bytes];
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < case.time {
        // In an order that no read-ahead guesses.
        let chunk = (count * 7_919) % chunks.max(1);
        file.read_exact_at(&mut buffer, chunk * case.chunk_bytes as u64)?;
        count += 1;
    }
    Ok(count)
}

/// The store with as many callers, without its cache in memory: reads come from files as the plain ones do.
async fn store(dir: &Path, case: Case) -> Outcome<Rates> {
    let dir = fresh(dir)?;
    let disk = dir.join("disk");
    initialize_disk(&disk)?;
    let options = StoreOptions {
        cache_bytes: 0,
        ..StoreOptions::default()
    };
    let store = Store::open(&[disk], options).await?;

    let started = Instant::now();
    let mut writers = Vec::new();
    for caller in 0..case.callers {
        let store = store.clone();
        writers.push(tokio::spawn(
            async move { writer(&store, caller, case).await },
        ));
    }
    let mut hashes = Vec::new();
    for writer in writers {
        hashes.extend(writer.await??);
    }
    let puts_per_second = hashes.len() as f64 / started.elapsed().as_secs_f64();

    let hashes = Arc::new(hashes);
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let mut readers = Vec::new();
    for _ in 0..case.callers {
        let (store, hashes, next) = (store.clone(), hashes.clone(), next.clone());
        readers.push(tokio::spawn(async move {
            reader(&store, &hashes, &next, case).await
        }));
    }
    let mut gets = 0;
    for reader in readers {
        gets += reader.await??;
    }
    let gets_per_second = gets as f64 / started.elapsed().as_secs_f64();
    store.close().await;
    drop(store);
    std::fs::remove_dir_all(dir)?;
    Ok(Rates {
        puts_per_second,
        gets_per_second,
    })
}

async fn writer(store: &Store, caller: usize, case: Case) -> Outcome<Vec<ChunkHash>> {
    let started = Instant::now();
    let mut hashes: Vec<ChunkHash> = Vec::new();
    while started.elapsed() < case.time {
        let number = (caller as u64) << 32 | hashes.len() as u64;
        let chunk = Chunk::new(content(number, case.chunk_bytes).into())?;
        store.put(&chunk).await?;
        hashes.push(chunk.hash());
    }
    Ok(hashes)
}

async fn reader(store: &Store, hashes: &[ChunkHash], next: &AtomicU64, case: Case) -> Outcome<u64> {
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < case.time {
        let number = next.fetch_add(7_919, Ordering::Relaxed) as usize % hashes.len();
        store.get(hashes[number]).await?;
        count += 1;
    }
    Ok(count)
}
