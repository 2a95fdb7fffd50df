//! How far the log was durable, kept beside the log: at start, a log that ends before that has lost what
//! was acknowledged, which RocksDB alone cannot tell from a record that a crash cut short.
//!
//! Every batch carries a number of its own, counted up. After a sync the number of the last batch is
//! written to a small file, which costs a copy to the page cache; a thread syncs that at most once an
//! interval, beside the log's own syncs. It is never written before the sync that it speaks of, so a
//! loss of power cannot make it claim too much. The file has three places with a checksum each: one is
//! written, one is being synced, and one is left alone, so that a loss of power cannot tear all.
//!
//! What it cannot tell: when the machine has lost its power, a cut within what was synced in the last
//! [`WATERMARK_INTERVAL`] and one sync. When only the process has ended it knows all that was acknowledged.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::error::LogError;

/// Name of the file, in the folder of the log.
const FILE: &str = "DURABLE";
/// Least time between two syncs of the file: it bounds what of a lost tail goes unnoticed after a loss of
/// power, and costs a sync of one block each, ten a second beside the thousands of a busy log.
const WATERMARK_INTERVAL: Duration = Duration::from_millis(100);

/// Where the places are: a device never writes two as one block.
const PLACES: [u64; 3] = [0, 4096, 8192];
const MAGIC: [u8; 8] = *b"yunbaseW";
const CHECKSUM_BYTES: usize = 16;
const PLACE_BYTES: usize = MAGIC.len() + size_of::<u64>() + CHECKSUM_BYTES;

/// The watermark of an open log.
pub(super) struct Watermark {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    file: File,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    /// Which of the places is written until the next sync.
    place: usize,
    /// It was written since the last sync.
    is_dirty: bool,
    /// The thread waits for that.
    is_idle: bool,
    is_closing: bool,
    /// The file cannot be written, and is not to be tried again.
    has_failed: bool,
}

/// What is known of a log before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// A batch that was durable; 0 = none.
    pub(super) durable: u64,
    /// The place after the one that says so, which is the one to write next.
    next_place: usize,
}

impl Known {
    /// What the file in `folder` says; `None` without a file, as before the first start and in folders
    /// of earlier releases.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        let path = folder.join(FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut found = [None; PLACES.len()];
        for (found, place) in found.iter_mut().zip(PLACES) {
            let mut bytes = [0; PLACE_BYTES];
            match file.read_exact_at(&mut bytes, place) {
                Ok(()) => *found = decode(&bytes),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(error) => return Err(error),
            }
        }
        let places = found.into_iter().enumerate();
        let newest = places.max_by_key(|(_, durable)| *durable);
        let Some((at, Some(durable))) = newest else {
            let watermark = path.display().to_string();
            return Err(LogError::WatermarkDamaged { watermark }.into());
        };
        Ok(Some(Self {
            durable,
            next_place: (at + 1) % PLACES.len(),
        }))
    }

    /// Refuses a log that ends with batch `last` if a later one was durable.
    pub(super) fn check(self, folder: &Path, last: u64) -> Result<(), LogError> {
        if self.durable <= last {
            return Ok(());
        }
        Err(LogError::TailLost {
            last,
            durable: self.durable,
            watermark: folder.join(FILE).display().to_string(),
        })
    }
}

impl Watermark {
    /// Starts to keep the watermark of the log in `folder`, of which `known` was read before.
    ///
    /// What was recovered is not known to be synced, so nothing is claimed before the first sync.
    pub(super) fn start(folder: &Path, known: Option<Known>) -> io::Result<Self> {
        let file = match known {
            Some(_) => {
                let file = OpenOptions::new().write(true).open(folder.join(FILE))?;
                // A process that was killed may have left some of it in the page cache alone.
                file.sync_data()?;
                file
            }
            None => create(folder)?,
        };
        let shared = Arc::new(Shared {
            file,
            state: Mutex::new(State {
                place: known.map_or(0, |known| known.next_place),
                is_dirty: false,
                is_idle: false,
                is_closing: false,
                has_failed: false,
            }),
            wake: Condvar::new(),
        });
        let thread = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("raft-watermark".into())
                .spawn(move || shared.run())?
        };
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Everything up to `batch` is durable.
    pub(super) fn publish(&self, batch: u64) {
        let mut state = self.shared.state.lock();
        if state.has_failed {
            return;
        }
        let written = self
            .shared
            .file
            .write_all_at(&encode(batch), PLACES[state.place]);
        if let Err(error) = written {
            state.fail(&error);
            return;
        }
        state.is_dirty = true;
        if state.is_idle {
            state.is_idle = false;
            self.shared.wake.notify_one();
        }
    }
}

impl State {
    /// Whatever is on the disk after a failure, it claims nothing that is not so; but the disk is not to
    /// be asked again.
    fn fail(&mut self, error: &io::Error) {
        self.has_failed = true;
        tracing::error!(%error, "the log's watermark cannot be written: after a restart a lost end of the log might go unnoticed");
    }
}

impl Drop for Watermark {
    /// Syncs what was published last.
    fn drop(&mut self) {
        self.shared.state.lock().is_closing = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that keeps the log's watermark panicked");
        }
    }
}

impl Shared {
    fn run(&self) {
        while self.next() {
            let began = Instant::now();
            let synced = self.file.sync_data();
            let mut state = self.state.lock();
            if let Err(error) = synced {
                state.fail(&error);
                return;
            }
            let until = began + WATERMARK_INTERVAL;
            while !state.is_closing && !self.wake.wait_until(&mut state, until).timed_out() {}
        }
    }

    /// Waits for something to sync, and has what comes meanwhile written to the next place; `false` when
    /// that was all.
    fn next(&self) -> bool {
        let mut state = self.state.lock();
        while !state.is_dirty {
            if state.is_closing {
                return false;
            }
            state.is_idle = true;
            self.wake.wait(&mut state);
        }
        state.is_idle = false;
        state.is_dirty = false;
        state.place = (state.place + 1) % PLACES.len();
        !state.has_failed
    }
}

fn encode(durable: u64) -> [u8; PLACE_BYTES] {
    let mut bytes = [0; PLACE_BYTES];
    let (body, checksum) = bytes.split_at_mut(PLACE_BYTES - CHECKSUM_BYTES);
    body[..MAGIC.len()].copy_from_slice(&MAGIC);
    body[MAGIC.len()..].copy_from_slice(&durable.to_be_bytes());
    checksum.copy_from_slice(&blake3::hash(body).as_bytes()[..CHECKSUM_BYTES]);
    bytes
}

fn decode(bytes: &[u8; PLACE_BYTES]) -> Option<u64> {
    let number = bytes.get(MAGIC.len()..MAGIC.len() + size_of::<u64>())?;
    let durable = u64::from_be_bytes(number.try_into().ok()?);
    (encode(durable) == *bytes).then_some(durable)
}

/// The file, durably there and whole before anything is written to the log that it speaks of.
fn create(folder: &Path) -> io::Result<File> {
    let path = folder.join(FILE);
    let partial = path.with_extension("partial");
    let file = File::create(&partial)?;
    for place in PLACES {
        file.write_all_at(&encode(0), place)?;
    }
    file.sync_all()?;
    fs::rename(&partial, &path)?;
    File::open(folder)?.sync_all()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durable(dir: &Path) -> Option<u64> {
        Known::read(dir).unwrap().map(|known| known.durable)
    }

    #[test]
    fn what_was_published_last_is_there_after_a_close() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(durable(dir.path()), None);
        let watermark = Watermark::start(dir.path(), None).unwrap();
        assert_eq!(durable(dir.path()), Some(0));
        for batch in 1..=1000 {
            watermark.publish(batch);
            // Also for a process that is killed now.
            assert_eq!(durable(dir.path()), Some(batch));
        }
        drop(watermark);
        assert_eq!(durable(dir.path()), Some(1000));
        // Started without a sync: it still says what it said.
        let known = Known::read(dir.path()).unwrap();
        drop(Watermark::start(dir.path(), known).unwrap());
        assert_eq!(durable(dir.path()), Some(1000));
        let known = known.unwrap();
        assert_eq!(known.check(dir.path(), 1000), Ok(()));
        assert!(matches!(
            known.check(dir.path(), 999),
            Err(LogError::TailLost {
                last: 999,
                durable: 1000,
                ..
            })
        ));
    }

    #[test]
    fn a_torn_place_is_harmless_and_all_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        let file = create(dir.path()).unwrap();
        file.write_all_at(&encode(7), PLACES[0]).unwrap();
        let known = Known::read(dir.path()).unwrap().unwrap();
        assert_eq!((known.durable, known.next_place), (7, 1));
        file.write_all_at(&encode(8), PLACES[1]).unwrap();
        let known = Known::read(dir.path()).unwrap().unwrap();
        assert_eq!((known.durable, known.next_place), (8, 2));
        file.write_all_at(b"torn", PLACES[1] + 9).unwrap();
        assert_eq!(durable(dir.path()), Some(7));
        file.set_len(20).unwrap();
        let refused = Known::read(dir.path()).unwrap_err();
        let refused = refused.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(refused, Some(LogError::WatermarkDamaged { .. })));
    }
}
