//! The bridge between openraft's state machine and ours: drains committed entries into few large
//! `apply` calls on a thread of its own, keeps the progress with the state, answers each entry in order,
//! and knows up to where the state is durable, which is what the log may be purged to.
//!
//! It never lets an async worker wait for the state machine, and never applies and restores at once.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{FutureExt, Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::{Mutex, RwLock};

use crate::blocking_thread::{BlockingThread, run_blocking};
use crate::crash_point::{CrashPoint, crash_point};
use crate::log_engine::GroupLog;
use crate::mutant;
use crate::records::Progress;
use crate::snapshot::{SnapshotData, SnapshotOptions, SnapshotStore};
use crate::state_machine::{Command, StateMachine};
use crate::types::{GroupId, LogId, Replies, StoredMembership, TypeConfig};

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, SnapshotData>;
type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// Limits of one `apply` call: large enough to share the cost of a write batch, small enough that
/// replies do not wait for strangers and memory stays bounded. One entry always fits.
#[derive(Debug, Clone)]
pub struct ApplyOptions {
    /// Commands in one call.
    pub apply_commands_max: usize,
    /// Bytes of commands in one call.
    pub apply_bytes_max: usize,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            apply_commands_max: 4_096,
            apply_bytes_max: 4 << 20,
        }
    }
}

/// A group's state machine as openraft drives it; clones share it.
#[derive(Clone)]
pub(crate) struct StateMachineStore {
    shared: Arc<Shared>,
}

struct Shared {
    group: GroupId,
    state_machine: Arc<dyn StateMachine>,
    options: ApplyOptions,
    /// What the state reflects, as of the last apply or restore that returned.
    progress: Mutex<Progress>,
    /// Bytes of commands applied since this was opened.
    applied_bytes: AtomicU64,
    /// Held for writing while the state is replaced: a flush or checkpoint then would meet half of each.
    replacing: RwLock<()>,
    log: GroupLog,
    snapshots: SnapshotStore,
    thread: BlockingThread,
}

impl StateMachineStore {
    /// Opens the bridge over a state machine that was just opened: what it reports is durable.
    /// `snapshot_dir` belongs to this group alone and lies on the state machine's file system. Blocks.
    pub(crate) fn open(
        log: GroupLog,
        state_machine: Arc<dyn StateMachine>,
        snapshot_dir: PathBuf,
        options: ApplyOptions,
        snapshot_options: SnapshotOptions,
    ) -> io::Result<Self> {
        let group = log.id();
        let progress = Progress::decode(state_machine.progress()?.as_deref())?;
        let snapshots =
            SnapshotStore::open(snapshot_dir, group, progress.last_applied, snapshot_options)?;
        log.set_flushed(progress.last_applied)?;
        if let Some(applied) = progress.last_applied {
            log.catch_up_to(applied)?;
        }
        let thread = BlockingThread::spawn(format!("apply-{group}"))?;
        let progress = Mutex::new(progress);
        Ok(Self {
            shared: Arc::new(Shared {
                group,
                state_machine,
                options,
                progress,
                applied_bytes: AtomicU64::new(0),
                replacing: RwLock::new(()),
                log,
                snapshots,
                thread,
            }),
        })
    }

    /// The group's snapshots: to send the current one, to receive one.
    pub(crate) fn snapshots(&self) -> &SnapshotStore {
        &self.shared.snapshots
    }

    /// Bytes of commands applied since this was opened.
    pub(crate) fn applied_bytes(&self) -> u64 {
        self.shared.applied_bytes.load(Ordering::Relaxed)
    }

    /// Makes everything applied so far durable and lets the log be purged up to there.
    pub(crate) async fn flush(&self) -> io::Result<Option<LogId>> {
        let shared = self.shared.clone();
        blocking(move || shared.flush()).await
    }
}

impl Shared {
    fn flush(&self) -> io::Result<Option<LogId>> {
        let _beside_apply = self.replacing.read();
        let applied = self.progress.lock().last_applied;
        self.state_machine.flush()?;
        self.log.set_flushed(applied)?;
        Ok(applied)
    }

    /// Applies one piece of the log and answers it. Runs on the apply thread.
    fn apply(&self, piece: Piece) -> io::Result<()> {
        let mut progress = self.progress.lock().clone();
        let mut commands = Vec::with_capacity(piece.commands);
        for (entry, _) in &piece.entries {
            progress.last_applied = Some(entry.log_id);
            match &entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => {
                    progress.membership =
                        StoredMembership::new(Some(entry.log_id), membership.clone());
                }
                EntryPayload::Normal(batch) => {
                    for (position, payload) in (0..).zip(batch.commands()) {
                        let log_index = entry.log_id.index;
                        let payload =
                            payload.ok_or_else(|| malformed(self.group, &entry.log_id))?;
                        commands.push(Command {
                            log_index,
                            position,
                            payload,
                        });
                    }
                }
            }
        }

        crash_point(CrashPoint::ApplyBefore, true);
        let replies = self.state_machine.apply(&commands, &progress.encode()?)?;
        crash_point(CrashPoint::ApplyAfter, true);
        if replies.len() != commands.len() {
            let message = format!(
                "{}: {} replies to {} commands",
                self.group,
                replies.len(),
                commands.len()
            );
            return Err(io::Error::other(message));
        }
        *self.progress.lock() = progress;
        self.applied_bytes
            .fetch_add(piece.bytes as u64, Ordering::Relaxed);
        piece.answer(replies);
        Ok(())
    }

    fn install(&self, meta: &SnapshotMeta, snapshot: &SnapshotData) -> io::Result<()> {
        let restoring = self.snapshots.prepare_restore(snapshot)?;
        let _alone = self.replacing.write();
        crash_point(CrashPoint::InstallBeforeRestore, true);
        let had_state = self.progress.lock().last_applied.is_some();
        let restored = if mutant::has("partial-snapshot-install") && had_state {
            Progress {
                last_applied: meta.last_log_id,
                membership: meta.last_membership.clone(),
            }
        } else {
            self.state_machine.restore(restoring.path())?;
            Progress::decode(self.state_machine.progress()?.as_deref())?
        };
        crash_point(CrashPoint::InstallAfterRestore, true);
        if restored.last_applied != meta.last_log_id {
            let message = format!(
                "{}: restored a snapshot that its own state contradicts",
                self.group
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.snapshots.make_current(snapshot)?;
        self.log.set_flushed(restored.last_applied)?;
        *self.progress.lock() = restored;
        Ok(())
    }

    fn build(&self) -> io::Result<SnapshotData> {
        let snapshot = self.snapshots.build(|into| {
            let _beside_apply = self.replacing.read();
            self.state_machine.checkpoint(into)?;
            crash_point(CrashPoint::BuildAfterCheckpoint, true);
            // Not from the live state, which has moved on.
            Progress::decode(self.state_machine.checkpoint_progress(into)?.as_deref())
        })?;
        // The log is purged below the snapshot next, which needs the live state to be durable up to there.
        self.flush()?;
        Ok(snapshot)
    }
}

fn malformed(group: GroupId, log_id: &LogId) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("{group}: entry {log_id} does not hold the commands it counts"),
    )
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    run_blocking(work).await?
}

/// Committed entries that are applied in one call.
#[derive(Default)]
struct Piece {
    entries: Vec<EntryResponder<TypeConfig>>,
    commands: usize,
    bytes: usize,
}

impl Piece {
    fn push(&mut self, item: EntryResponder<TypeConfig>) {
        if let EntryPayload::Normal(batch) = &item.0.payload {
            self.commands += batch.len();
            self.bytes += batch.size_bytes();
        }
        self.entries.push(item);
    }

    fn is_full(&self, options: &ApplyOptions) -> bool {
        self.commands >= options.apply_commands_max
            || self.entries.len() >= options.apply_commands_max
            || self.bytes >= options.apply_bytes_max
    }

    fn answer(self, replies: Vec<Bytes>) {
        let mut replies = replies.into_iter();
        for (entry, responder) in self.entries {
            let count = match &entry.payload {
                EntryPayload::Normal(batch) => batch.len(),
                EntryPayload::Blank | EntryPayload::Membership(_) => 0,
            };
            let own = replies.by_ref().take(count).collect();
            if let Some(responder) = responder {
                responder.send(Replies(own));
            }
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachineStore {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let progress = self.shared.progress.lock();
        Ok((progress.last_applied, progress.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(first) = entries.next().await {
            let mut piece = Piece::default();
            piece.push(first?);
            while !piece.is_full(&self.shared.options)
                && let Some(Some(next)) = entries.next().now_or_never()
            {
                piece.push(next?);
            }
            let shared = self.shared.clone();
            self.shared
                .thread
                .run(move || shared.apply(piece))
                .await??;
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self> {
        (force || self.shared.snapshots.can_build_now()).then(|| self.clone())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        // A truncation that cleared the way for this snapshot is not synced by itself. The restore below
        // is durable at once, so the log has to be durable first: a restart must never find a state
        // that is ahead of a log which contradicts it.
        self.shared.log.sync().await?;
        let shared = self.shared.clone();
        let meta = meta.clone();
        self.shared
            .thread
            .run(move || shared.install(&meta, &snapshot))
            .await?
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let current = self.shared.snapshots.current();
        Ok(current.map(|snapshot| Snapshot {
            meta: snapshot.meta(),
            snapshot,
        }))
    }
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachineStore {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let permit = self.shared.snapshots.build_permit().await?;
        let shared = self.shared.clone();
        blocking(move || {
            let snapshot = shared.build()?;
            drop(permit);
            Ok(Snapshot {
                meta: snapshot.meta(),
                snapshot,
            })
        })
        .await
    }
}

#[cfg(test)]
#[path = "state_machine_store_test.rs"]
mod tests;
