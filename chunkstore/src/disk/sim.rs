//! A simulated disk. It forgets what was not synced when the power goes, in any part: writes survive, vanish or
//! tear, names come and go. A sync that fails loses what it should have written, while reads go on showing it. It
//! fills up, refuses to read, and flips bits. Which of it happens is decided by a seed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Disk, DiskFile, DiskId, DiskSpace, Marker};
use crate::index::memory::MemoryIndex;
use crate::index::{Index, IndexItem, IndexWrite};

/// What a device writes as a whole.
const SECTOR_BYTES: usize = 512;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

#[derive(Clone)]
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Default, Clone)]
struct SimFile {
    /// What reads show.
    cached: Vec<u8>,
    /// What is on the device.
    device: Vec<u8>,
    /// What a sync would write.
    pending: Vec<Pending>,
    /// Part of the device cannot be read.
    unreadable: Option<std::ops::Range<usize>>,
}

/// What goes wrong, and when.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// The power goes at this operation.
    pub(crate) power_off_at: Option<u64>,
    /// The first sync from this operation on fails.
    pub(crate) sync_error_at: Option<u64>,
    /// The first write from this operation on fails.
    pub(crate) write_error_at: Option<u64>,
}

struct State {
    files: BTreeMap<String, Arc<Mutex<SimFile>>>,
    /// The names that a crash leaves for certain.
    durable_names: BTreeMap<String, Arc<Mutex<SimFile>>>,
    rng: StdRng,
    operations: u64,
    faults: Faults,
    is_off: bool,
    capacity_bytes: u64,
}

/// The machine: it outlives the stores that run on it.
#[derive(Clone)]
pub(crate) struct SimDisk {
    marker: Marker,
    state: Arc<Mutex<State>>,
    index: Arc<MemoryIndex>,
}

impl SimDisk {
    pub(crate) fn new(id: u8, seed: u64) -> Self {
        let state = State {
            files: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
            operations: 0,
            faults: Faults::default(),
            is_off: false,
            capacity_bytes: u64::MAX,
        };
        Self {
            marker: Marker {
                disk: DiskId([id; 16]),
            },
            state: Arc::new(Mutex::new(state)),
            index: Arc::default(),
        }
    }

    pub(crate) fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.state.lock().faults = faults;
    }

    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity_bytes = bytes;
    }

    /// Whether the power has gone.
    pub(crate) fn is_off(&self) -> bool {
        self.state.lock().is_off
    }

    /// Lets the process be killed: nothing happens from now on until [`Self::restart`] or [`Self::crash`].
    pub(crate) fn power_off(&self) {
        self.state.lock().is_off = true;
    }

    /// Starts the process again after it was killed: what it wrote to files is still in memory, what it had not
    /// flushed of the index is lost.
    pub(crate) fn restart(&self) {
        self.lose_index();
        let mut state = self.state.lock();
        state.is_off = false;
        state.faults = Faults::default();
    }

    fn lose_index(&self) {
        let kept = {
            let unflushed = self.index.unflushed();
            self.state.lock().rng.random_range(0..=unflushed)
        };
        self.index.crash(kept);
    }

    /// Turns the power off and on again.
    pub(crate) fn crash(&self) {
        self.lose_index();
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let mut names = state.durable_names.clone();
        for (name, file) in &state.files {
            if !names.contains_key(name) && state.rng.random_bool(0.5) {
                names.insert(name.clone(), file.clone());
            }
        }
        for name in state.durable_names.keys() {
            if !state.files.contains_key(name) && state.rng.random_bool(0.5) {
                names.remove(name);
            }
        }
        for file in names.values() {
            file.lock().crash(&mut state.rng);
        }
        state.files.clone_from(&names);
        state.durable_names = names;
        state.is_off = false;
        state.faults = Faults::default();
    }

    /// Flips bits of what is stored under `name`, on the device and in memory.
    pub(crate) fn damage(&self, name: &str, offset: usize, mask: u8) {
        let state = self.state.lock();
        if let Some(file) = state.files.get(name) {
            let mut file = file.lock();
            let SimFile { cached, device, .. } = &mut *file;
            for content in [cached, device] {
                if let Some(byte) = content.get_mut(offset) {
                    *byte ^= mask;
                }
            }
        }
    }

    /// Makes a part of a file unreadable.
    pub(crate) fn break_sector(&self, name: &str, range: std::ops::Range<usize>) {
        let state = self.state.lock();
        if let Some(file) = state.files.get(name) {
            file.lock().unreadable = Some(range);
        }
    }

    /// The content of a file.
    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state.lock();
        let file = state.files.get(name);
        file.map(|file| file.lock().cached.clone())
            .unwrap_or_default()
    }

    /// Puts a file there, durably.
    pub(crate) fn plant(&self, name: &str, content: &[u8]) {
        let file = SimFile {
            cached: content.to_vec(),
            device: content.to_vec(),
            ..SimFile::default()
        };
        let file = Arc::new(Mutex::new(file));
        let mut state = self.state.lock();
        state.files.insert(name.to_owned(), file.clone());
        state.durable_names.insert(name.to_owned(), file);
    }

    fn used(state: &State) -> u64 {
        let files = state.files.values();
        files.map(|file| file.lock().cached.len() as u64).sum()
    }
}

impl State {
    /// Counts an operation; the power may go before it.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self
            .faults
            .power_off_at
            .is_some_and(|at| self.operations >= at)
        {
            self.is_off = true;
        }
        if self.is_off {
            return Err(io::Error::other("the power is off"));
        }
        Ok(())
    }

    fn is_due(at: &mut Option<u64>, operations: u64) -> bool {
        let is_due = at.is_some_and(|at| operations >= at);
        if is_due {
            *at = None;
        }
        is_due
    }
}

impl SimFile {
    fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[offset..end].copy_from_slice(bytes);
    }

    fn sync(&mut self) {
        for pending in self.pending.drain(..) {
            match pending {
                Pending::Write(offset, bytes) => Self::write(&mut self.device, offset, &bytes),
                Pending::Length(bytes) => self.device.resize(bytes, 0),
            }
        }
    }

    fn crash(&mut self, rng: &mut StdRng) {
        for pending in std::mem::take(&mut self.pending) {
            match (pending, rng.random_range(0..3)) {
                (_, 0) => {}
                (Pending::Write(offset, bytes), 1) => {
                    Self::write(&mut self.device, offset, &bytes);
                }
                (Pending::Write(offset, bytes), _) => self.tear(offset, &bytes, rng),
                (Pending::Length(bytes), _) => self.device.resize(bytes, 0),
            }
        }
        self.cached.clone_from(&self.device);
    }

    /// Writes some sectors of a write and not others.
    fn tear(&mut self, offset: usize, bytes: &[u8], rng: &mut StdRng) {
        let mut at = 0;
        while at < bytes.len() {
            let sector_end = (offset + at + 1).next_multiple_of(SECTOR_BYTES) - offset;
            let end = sector_end.min(bytes.len());
            if rng.random_bool(0.5) {
                Self::write(&mut self.device, offset + at, &bytes[at..end]);
            }
            at = end;
        }
    }
}

impl Disk for SimDisk {
    fn name(&self) -> String {
        format!("sim-{}", self.marker.disk.0[0])
    }

    fn marker(&self) -> &Marker {
        &self.marker
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.operate()?;
        Ok(state.files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.operate()?;
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file: Arc<Mutex<SimFile>> = Arc::default();
        state.files.insert(name.to_owned(), file.clone());
        Ok(Arc::new(OpenFile(self.clone(), file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.operate()?;
        match state.files.get(name) {
            Some(file) => Ok(Arc::new(OpenFile(self.clone(), file.clone()))),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate()?;
        match state.files.remove(name) {
            Some(_) => Ok(()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operate()?;
        state.durable_names = state.files.clone();
        Ok(())
    }

    fn space(&self) -> io::Result<DiskSpace> {
        let state = self.state.lock();
        Ok(DiskSpace {
            free_bytes: state.capacity_bytes.saturating_sub(Self::used(&state)),
            total_bytes: state.capacity_bytes,
        })
    }

    fn open_index(&self) -> io::Result<Box<dyn Index>> {
        self.state.lock().operate()?;
        Ok(Box::new(OpenIndex(self.clone())))
    }

    fn remove_index(&self) -> io::Result<()> {
        self.state.lock().operate()?;
        self.index.clear();
        Ok(())
    }
}

struct OpenFile(SimDisk, Arc<Mutex<SimFile>>);

impl DiskFile for OpenFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.state.lock().operate()?;
        let file = self.1.lock();
        let start = (offset as usize).min(file.cached.len());
        let end = (start + buffer.len()).min(file.cached.len());
        let broken = file.unreadable.clone().unwrap_or(0..0);
        if start < broken.end && broken.start < end {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        buffer[..end - start].copy_from_slice(&file.cached[start..end]);
        Ok(end - start)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.operate()?;
        let operations = state.operations;
        let fails = State::is_due(&mut state.faults.write_error_at, operations);
        let room = state.capacity_bytes.saturating_sub(SimDisk::used(&state)) as usize;
        let mut file = self.1.lock();
        let grows = (offset as usize + bytes.len()).saturating_sub(file.cached.len());
        let is_full = grows > room;
        let part = if fails || is_full {
            &bytes[..bytes.len() / 2]
        } else {
            bytes
        };
        SimFile::write(&mut file.cached, offset as usize, part);
        file.pending
            .push(Pending::Write(offset as usize, part.to_vec()));
        match (fails, is_full) {
            (true, _) => Err(io::Error::from_raw_os_error(EIO)),
            (_, true) => Err(io::Error::from_raw_os_error(ENOSPC)),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.state.lock();
        state.operate()?;
        let operations = state.operations;
        let mut file = self.1.lock();
        if State::is_due(&mut state.faults.sync_error_at, operations) {
            // The pages count as written from now on, and are not.
            file.pending.clear();
            return Err(io::Error::from_raw_os_error(EIO));
        }
        file.sync();
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        self.0.state.lock().operate()?;
        Ok(self.1.lock().cached.len() as u64)
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        self.0.state.lock().operate()?;
        let mut file = self.1.lock();
        file.cached.resize(bytes as usize, 0);
        file.pending.push(Pending::Length(bytes as usize));
        Ok(())
    }

    fn forget_cache(&self, _: u64, _: u64) -> io::Result<()> {
        self.0.state.lock().operate()?;
        let mut file = self.1.lock();
        let mut content = file.device.clone();
        for pending in &file.pending {
            match pending {
                Pending::Write(offset, bytes) => SimFile::write(&mut content, *offset, bytes),
                Pending::Length(bytes) => content.resize(*bytes, 0),
            }
        }
        // The length is not a page: it is kept as it was.
        content.resize(file.cached.len(), 0);
        file.cached = content;
        Ok(())
    }
}

struct OpenIndex(SimDisk);

impl Index for OpenIndex {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        // Not counted: there are too many for each to be a moment of its own.
        if self.0.is_off() {
            return Err(io::Error::other("the power is off"));
        }
        self.0.index.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], count_max: usize) -> io::Result<Vec<IndexItem>> {
        self.0.state.lock().operate()?;
        self.0.index.scan(from, to, count_max)
    }

    fn write(&self, writes: &[IndexWrite]) -> io::Result<()> {
        self.0.state.lock().operate()?;
        self.0.index.write(writes)
    }

    fn flush(&self) -> io::Result<()> {
        self.0.state.lock().operate()?;
        self.0.index.flush()
    }
}
