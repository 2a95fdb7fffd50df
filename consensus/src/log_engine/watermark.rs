//! How far the log was durable, kept beside the log: at start, a log that ends before that has lost what
//! was acknowledged, which RocksDB alone cannot tell from a record that a crash cut short.
//!
//! Every batch carries a number of its own, counted up. After a sync the number of the last batch is
//! published here, and a thread writes it to a small file of two places, in turn, each with a checksum:
//! a write that a crash tears harms one place, and the other still holds. The file is written at most
//! once an interval, beside the log's own syncs and never before one that it speaks of, so a loss of
//! power cannot make it claim too much.
//!
//! What it cannot tell: a cut within what was synced after the last time it was written, which is the
//! last [`WATERMARK_INTERVAL`] before the process ended, and one write.

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
/// Least time between two writes of the file: it bounds what of a lost tail goes unnoticed, and costs a
/// sync of one block each, ten a second beside the thousands of a busy log.
pub(super) const WATERMARK_INTERVAL: Duration = Duration::from_millis(100);

/// Where the two places are: a device never writes both as one block.
const PLACES: [u64; 2] = [0, 4096];
const MAGIC: [u8; 8] = *b"yunbaseW";
const CHECKSUM_BYTES: usize = 16;
const PLACE_BYTES: usize = MAGIC.len() + size_of::<u64>() + CHECKSUM_BYTES;

/// The watermark of an open log.
pub(super) struct Watermark {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    /// The last batch known to be durable.
    durable: u64,
    /// The thread waits for it to grow.
    is_idle: bool,
    is_closing: bool,
}

/// What is known of a log before it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// A batch that was durable; 0 = none.
    pub(super) durable: u64,
    /// Where the older of the two places is, which is the one to write next.
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
        let durable = found[0]
            .max(found[1])
            .ok_or_else(|| LogError::WatermarkDamaged {
                watermark: path.display().to_string(),
            })?;
        Ok(Some(Self {
            durable,
            next_place: usize::from(found[0] > found[1]),
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
            Some(_) => OpenOptions::new().write(true).open(folder.join(FILE))?,
            None => create(folder)?,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                durable: 0,
                is_idle: false,
                is_closing: false,
            }),
            wake: Condvar::new(),
        });
        let place = known.map_or(0, |known| known.next_place);
        let thread = {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name("raft-watermark".into())
                .spawn(move || shared.run(&file, place))?
        };
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Everything up to `batch` is durable.
    pub(super) fn publish(&self, batch: u64) {
        let mut state = self.shared.state.lock();
        state.durable = batch;
        if state.is_idle {
            state.is_idle = false;
            self.shared.wake.notify_one();
        }
    }
}

impl Drop for Watermark {
    /// Writes what was published last.
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
    fn run(&self, file: &File, mut place: usize) {
        let mut written = 0;
        while let Some(durable) = self.next(written) {
            let began = Instant::now();
            // Whatever is on the disk after a failure, it claims nothing that is not so; but the disk is
            // not to be asked again.
            if let Err(error) = write(file, PLACES[place], durable) {
                tracing::error!(%error, "the log's watermark cannot be written: after a restart a lost end of the log might go unnoticed");
                return;
            }
            written = durable;
            place = (place + 1) % PLACES.len();
            let mut state = self.state.lock();
            let until = began + WATERMARK_INTERVAL;
            while !state.is_closing && !self.wake.wait_until(&mut state, until).timed_out() {}
        }
    }

    /// What is to be written next; `None` when that is all.
    fn next(&self, written: u64) -> Option<u64> {
        let mut state = self.state.lock();
        while state.durable <= written {
            if state.is_closing {
                return None;
            }
            state.is_idle = true;
            self.wake.wait(&mut state);
        }
        state.is_idle = false;
        Some(state.durable)
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

fn write(file: &File, place: u64, durable: u64) -> io::Result<()> {
    file.write_all_at(&encode(durable), place)?;
    file.sync_data()
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
    fn one_torn_place_is_harmless_and_two_are_damage() {
        let dir = tempfile::tempdir().unwrap();
        let file = create(dir.path()).unwrap();
        write(&file, PLACES[0], 7).unwrap();
        let known = Known::read(dir.path()).unwrap().unwrap();
        assert_eq!((known.durable, known.next_place), (7, 1));
        write(&file, PLACES[1], 8).unwrap();
        let known = Known::read(dir.path()).unwrap().unwrap();
        assert_eq!((known.durable, known.next_place), (8, 0));
        file.write_all_at(b"torn", PLACES[1] + 9).unwrap();
        assert_eq!(durable(dir.path()), Some(7));
        file.set_len(20).unwrap();
        let refused = Known::read(dir.path()).unwrap_err();
        let refused = refused.get_ref().and_then(|inner| inner.downcast_ref());
        assert!(matches!(refused, Some(LogError::WatermarkDamaged { .. })));
    }
}
