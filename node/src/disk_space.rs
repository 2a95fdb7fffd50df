//! Watches the free space of the data folder, so that the disk is never full: a write of the log that fails for want
//! of space ends the node.
//!
//! Below the reserve (`disk_reserve_mib`) the node hands its leaderships over and refuses the writes of groups that it
//! leads all the same, with `RESOURCE_INSUFFICIENT`. It goes on to serve reads, to vote and to follow. Below half of
//! it, what is in memory may need the rest: it takes no entries from leaders either, and so falls behind. Both end by
//! themselves when there is space again. A node that starts with so little waits for space, since to recover takes some.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use tokio::sync::watch;
use yunbase_consensus::{DiskRoom, GroupId, Host};

/// Between two looks. A disk that takes 100 MB a second loses that much before it is noticed: the reserve must exceed it.
const PAUSE: Duration = Duration::from_secs(1);
/// Least time between two attempts to hand over one group: when all nodes lack space, it must not go round for ever.
const HAND_OVER_PAUSE: Duration = Duration::from_secs(30);
/// Between two lines that say that a start waits.
const REMINDER: Duration = Duration::from_secs(60);

/// The free space that is kept. 0 = the disk may fill up.
#[derive(Debug, Clone, Copy)]
pub struct Reserve(pub u64);

impl Reserve {
    /// What there is room for with `free` bytes, when there was room for `before`. It takes an eighth more to come out
    /// of a state than to get into it, so that it does not change with each file that comes and goes.
    fn judge(self, before: DiskRoom, free: u64) -> DiskRoom {
        let (low, full) = (self.0, self.0 / 2);
        let below = |limit: u64, was: bool| free < if was { limit + limit / 8 } else { limit };
        if below(full, before == DiskRoom::Full) {
            DiskRoom::Full
        } else if below(low, before != DiskRoom::Enough) {
            DiskRoom::Low
        } else {
            DiskRoom::Enough
        }
    }
}

/// Bytes of the file system of `folder` that an ordinary process may still take. A disk that does not answer is not
/// asked again before it does.
async fn free_bytes(folder: &Path) -> io::Result<u64> {
    let folder = folder.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let found = statvfs(&folder)?;
        #[allow(clippy::useless_conversion)] // The types of these differ between systems.
        Ok::<_, io::Error>(u64::from(found.blocks_available()) * u64::from(found.fragment_size()))
    });
    asked.await.map_err(io::Error::other)?
}

/// Returns once there is room to recover what `folder` holds.
pub async fn wait_for_room(folder: &Path, reserve: Reserve) -> io::Result<()> {
    let mut said: Option<Instant> = None;
    loop {
        let free = free_bytes(folder).await?;
        if reserve.judge(DiskRoom::Low, free) != DiskRoom::Full {
            return Ok(());
        }
        if said.is_none_or(|at| at.elapsed() >= REMINDER) {
            tracing::error!(
                folder = %folder.display(),
                free_mib = free >> 20,
                needed_mib = reserve.0 >> 21,
                "the disk is full: the start waits for free space (or a smaller disk_reserve_mib)"
            );
            said = Some(Instant::now());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Watches until `stop` says so.
pub async fn run(folder: PathBuf, reserve: Reserve, host: Host, mut stop: watch::Receiver<bool>) {
    let mut handed_over = HashMap::new();
    loop {
        match free_bytes(&folder).await {
            Ok(free) => look(free, reserve, &host, &mut handed_over).await,
            Err(error) => tracing::warn!(%error, "look at the free space of the data folder"),
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = stop.wait_for(|stopping| *stopping) => return,
        }
    }
}

async fn look(
    free: u64,
    reserve: Reserve,
    host: &Host,
    handed_over: &mut HashMap<GroupId, Instant>,
) {
    let before = host.disk_room();
    let room = reserve.judge(before, free);
    if room != before {
        let (free_mib, reserve_mib) = (free >> 20, reserve.0 >> 20);
        match room {
            DiskRoom::Enough => {
                tracing::info!(
                    free_mib,
                    reserve_mib,
                    "the disk has space again: writes go on"
                );
            }
            DiskRoom::Low => tracing::warn!(
                free_mib,
                reserve_mib,
                "the disk is nearly full: this node leads no more if another can, and refuses writes"
            ),
            DiskRoom::Full => tracing::error!(
                free_mib,
                reserve_mib,
                "the disk is full: this node serves reads, and stores nothing until there is space"
            ),
        }
    }
    // At once when it is worse, so that nothing is stored meanwhile.
    if room == DiskRoom::Full {
        host.set_disk_room(room);
    }
    if room != DiskRoom::Enough {
        let due: Vec<GroupId> = host
            .groups()
            .iter()
            .filter(|group| group.status().leadership.here)
            .map(yunbase_consensus::Group::id)
            .filter(|id| {
                handed_over
                    .get(id)
                    .is_none_or(|at: &Instant| at.elapsed() >= HAND_OVER_PAUSE)
            })
            .collect();
        handed_over.extend(due.iter().map(|id| (*id, Instant::now())));
        // Before writes are refused: who writes then hardly notices the change of leader.
        host.hand_over(&due).await;
    }
    host.set_disk_room(room);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_more_to_come_out_than_to_get_in() {
        let reserve = Reserve(800);
        let mut room = DiskRoom::Enough;
        for (free, expected) in [
            (800, DiskRoom::Enough),
            (799, DiskRoom::Low),
            (899, DiskRoom::Low),
            (400, DiskRoom::Low),
            (399, DiskRoom::Full),
            (449, DiskRoom::Full),
            (450, DiskRoom::Low),
            (0, DiskRoom::Full),
            (899, DiskRoom::Low),
            (900, DiskRoom::Enough),
        ] {
            room = reserve.judge(room, free);
            assert_eq!(room, expected, "{free}");
        }
        assert_eq!(Reserve(0).judge(DiskRoom::Full, 0), DiskRoom::Enough);
    }

    #[tokio::test]
    async fn a_folder_has_free_space_and_a_start_with_enough_does_not_wait() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(free_bytes(folder.path()).await.expect("asked") > 0);
        assert!(free_bytes(&folder.path().join("missing")).await.is_err());
        wait_for_room(folder.path(), Reserve(2))
            .await
            .expect("asked");
        let waiting = wait_for_room(folder.path(), Reserve(u64::MAX / 4));
        let late = tokio::time::timeout(Duration::from_millis(50), waiting).await;
        assert!(late.is_err());
    }
}
