//! The network between the hosts, as one thread: every frame that a host sends is read here, and arrives when and how
//! the [`Links`] say. Kernels without `netem` can delay, reorder, duplicate and corrupt this way, and what each fault
//! hit is counted where it happens.

mod links;
mod schedule;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

pub use links::{Counters, Effect, EffectId, Link, Links};
use schedule::Schedule;

use super::namespace::CLIENT;

/// The host of the clients in a [`Link`].
pub const CLIENTS: usize = CLIENT as usize;

/// Longest sleep: how soon the thread sees that it shall end, or that a host has been added.
const SLEEP_MAX: Duration = Duration::from_millis(20);
/// Frames read from one host before the next has its turn.
const TURN_FRAMES: usize = 64;
/// The largest frame: an MTU of 1500 and its header, with room.
const FRAME_BYTES_MAX: usize = 2048;

/// The running switch. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Switch {
    links: Arc<Links>,
    hosts: Arc<Mutex<BTreeMap<usize, Arc<File>>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// Starts it without hosts; `seed` decides by what chances frames are hit.
    pub(super) fn start(seed: u64) -> io::Result<Self> {
        let links = Arc::new(Links::default());
        let hosts = Arc::new(Mutex::new(BTreeMap::new()));
        let end = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("switch".to_owned())
            .spawn({
                let (links, hosts, end) = (links.clone(), hosts.clone(), end.clone());
                move || {
                    let mut schedule = Schedule::new(StdRng::seed_from_u64(seed));
                    while !end.load(Ordering::Relaxed) {
                        let hosts = hosts.lock().clone();
                        turn(&hosts, &links, &mut schedule);
                    }
                }
            })?;
        Ok(Self {
            links,
            hosts,
            end,
            thread: Some(thread),
        })
    }

    /// Plugs a host in.
    pub(super) fn plug(&self, host: usize, tap: File) {
        self.hosts.lock().insert(host, Arc::new(tap));
    }

    pub(super) fn links(&self) -> &Links {
        &self.links
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits for frames or for one that is due, and moves them.
fn turn(hosts: &BTreeMap<usize, Arc<File>>, links: &Links, schedule: &mut Schedule) {
    let now = Instant::now();
    let sleep = schedule
        .next_due()
        .map_or(SLEEP_MAX, |due| due.saturating_duration_since(now))
        .min(SLEEP_MAX);
    // Rounded up: a frame that is due within the millisecond must not make the thread spin.
    let milliseconds = sleep.as_micros().div_ceil(1000) as u16;
    let mut wait: Vec<PollFd<'_>> = hosts
        .values()
        .map(|tap| PollFd::new(tap.as_fd(), PollFlags::POLLIN))
        .collect();
    if poll(&mut wait, PollTimeout::from(milliseconds)).is_err() {
        std::thread::sleep(Duration::from_millis(1));
        return;
    }
    let ready: Vec<bool> = wait
        .iter()
        .map(|entry| entry.any().unwrap_or(false))
        .collect();
    let mut buffer = [0; FRAME_BYTES_MAX];
    for ((from, tap), _) in hosts.iter().zip(ready).filter(|(_, ready)| *ready) {
        for _ in 0..TURN_FRAMES {
            // A host that is being taken down answers with errors: as good as nothing to read.
            let Ok(length) = tap.as_ref().read(&mut buffer) else {
                break;
            };
            let Some(to) = destination(&buffer[..length]) else {
                continue;
            };
            let link = (*from, to);
            let effect = links.effect(link);
            let done = schedule.take(link, buffer[..length].to_vec(), &effect, Instant::now());
            links.count(link, done);
        }
    }
    while let Some((link, frame, done)) = schedule.due(Instant::now()) {
        let sent = hosts
            .get(&link.1)
            .is_some_and(|tap| tap.as_ref().write(&frame).is_ok());
        if sent {
            links.count(link, done);
        }
    }
}

/// The host to which a frame goes: by the last byte of its hardware address. Neighbours are known for good, so nothing
/// that matters is sent to all.
fn destination(frame: &[u8]) -> Option<usize> {
    let is_for_all = frame.first()? & 1 == 1;
    (!is_for_all).then_some(usize::from(*frame.get(5)?))
}
