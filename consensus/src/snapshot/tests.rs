//! Snapshots end to end on disk: build, send in parts, resume, refuse, install, clean up.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use futures::stream;
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, RaftSnapshotBuilder};

use super::data::FILES_DIR;
use super::manifest::{Manifest, PART_BYTES};
use super::*;
use crate::log_engine::{GroupLog, LogEngine, LogOptions};
use crate::state_machine_store::{ApplyOptions, StateMachineStore};
use crate::test_state_machine::TestStateMachine;
use crate::types::{Batch, Entry, LeaderId, LogId, Membership, Peer};

const GROUP: GroupId = GroupId(4);
/// Three parts, the last one short.
const BALLAST_BYTES: usize = 2 * PART_BYTES as usize + 4567;

struct Replica {
    store: StateMachineStore,
    log: GroupLog,
    state_machine: Arc<TestStateMachine>,
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId { term, node_id: 1 }, index)
}

impl Replica {
    fn open(dir: &Path) -> Self {
        let engine = LogEngine::in_memory(Arc::default(), &LogOptions::default()).unwrap();
        let log = engine.group(GROUP);
        let state_machine = TestStateMachine::open_with_ballast(&dir.join("state"), BALLAST_BYTES);
        let state_machine = Arc::new(state_machine.unwrap());
        let options = SnapshotOptions::new(u64::MAX);
        let store = StateMachineStore::open(
            log.clone(),
            state_machine.clone(),
            dir.join("snapshots"),
            ApplyOptions::default(),
            options,
        );
        Self {
            store: store.unwrap(),
            log,
            state_machine,
        }
    }

    /// Applies a membership at index 1 and a command at each index after it.
    async fn apply(&mut self, indexes: std::ops::Range<u64>) {
        let entries = indexes.map(|index| {
            let payload = if index == 1 {
                let peers = BTreeMap::from([(
                    1,
                    Peer {
                        address: "n1:7601".into(),
                    },
                )]);
                EntryPayload::Membership(Membership::new(vec![[1].into()], peers).unwrap())
            } else {
                EntryPayload::Normal(Batch::pack(
                    [format!("key{}={index}", index % 10).into()].iter(),
                ))
            };
            Ok((
                Entry {
                    log_id: log_id(1, index),
                    payload,
                },
                None,
            ))
        });
        self.store
            .apply(stream::iter(entries.collect::<Vec<_>>()))
            .await
            .unwrap();
    }

    async fn build(&mut self) -> SnapshotData {
        self.store
            .try_create_snapshot_builder(true)
            .await
            .unwrap()
            .build_snapshot()
            .await
            .unwrap()
            .snapshot
    }

    fn staging(&self, snapshot: &SnapshotData) -> SnapshotStaging {
        self.store
            .snapshots()
            .begin(&snapshot.manifest_bytes())
            .unwrap()
    }
}

async fn send(snapshot: &SnapshotData, staging: &SnapshotStaging, parts_max: usize) {
    for id in staging.missing(parts_max) {
        staging
            .write_part(id, &snapshot.read_part(id).await.unwrap())
            .unwrap();
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|item| item.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn flip_bit(path: &Path, offset: usize) {
    let mut content = std::fs::read(path).unwrap();
    content[offset] ^= 1;
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_snapshot_travels_and_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let mut leader = Replica::open(&dir.path().join("leader"));
    leader.apply(1..100).await;
    let snapshot = leader.build().await;
    assert_eq!(snapshot.last_log_id(), Some(log_id(1, 99)));
    assert_eq!(
        leader.log.flushed().unwrap(),
        Some(log_id(1, 99)),
        "a build makes the live state durable"
    );
    assert_eq!(
        snapshot.manifest().parts().count(),
        4,
        "three of ballast, one of state"
    );

    let mut follower = Replica::open(&dir.path().join("follower"));
    let staging = follower.staging(&snapshot);
    send(&snapshot, &staging, 100).await;
    let received = staging.finish().unwrap();
    let meta = received.meta();
    follower
        .store
        .install_snapshot(&meta, received)
        .await
        .unwrap();

    assert_eq!(follower.state_machine.state(), leader.state_machine.state());
    let (applied, membership) = follower.store.applied_state().await.unwrap();
    assert_eq!(
        (applied, *membership.log_id()),
        (Some(log_id(1, 99)), Some(log_id(1, 1)))
    );
    assert_eq!(follower.log.flushed().unwrap(), Some(log_id(1, 99)));
    assert_eq!(
        follower
            .store
            .get_current_snapshot()
            .await
            .unwrap()
            .unwrap()
            .meta,
        meta
    );
    assert_eq!(
        names(&dir.path().join("follower/snapshots")),
        [format!("snap-{}", snapshot.id())]
    );

    // A restart finds both the state and the snapshot, and the snapshot can be sent on.
    drop(follower);
    let mut follower = Replica::open(&dir.path().join("follower"));
    assert_eq!(
        follower.store.applied_state().await.unwrap().0,
        Some(log_id(1, 99))
    );
    let again = follower
        .store
        .get_current_snapshot()
        .await
        .unwrap()
        .unwrap()
        .snapshot;
    assert_eq!(again.manifest_bytes(), snapshot.manifest_bytes());
    for id in again.manifest().parts() {
        assert_eq!(
            again.read_part(id).await.unwrap(),
            snapshot.read_part(id).await.unwrap()
        );
    }
}

#[tokio::test]
async fn an_interrupted_transfer_resumes_even_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut leader = Replica::open(&dir.path().join("leader"));
    leader.apply(1..20).await;
    let snapshot = leader.build().await;
    let follower_dir = dir.path().join("follower");
    {
        let follower = Replica::open(&follower_dir);
        let staging = follower.staging(&snapshot);
        send(&snapshot, &staging, 2).await;
        assert_eq!(staging.missing(100).len(), 2);
        assert!(staging.finish().is_err());
        // Another stream for the same snapshot goes on where the first stopped.
        assert_eq!(follower.staging(&snapshot).missing(100).len(), 2);
    }
    // What arrived is verified again: damage in the meantime costs that part only.
    let folder = follower_dir
        .join("snapshots")
        .join(format!("staging-{}", snapshot.id()))
        .join(FILES_DIR);
    flip_bit(&folder.join("ballast.bin"), 10);
    let mut follower = Replica::open(&follower_dir);
    let staging = follower.staging(&snapshot);
    assert_eq!(staging.missing(1), [PartId { file: 0, part: 0 }]);
    assert_eq!(staging.missing(100).len(), 3);
    send(&snapshot, &staging, 100).await;
    let received = staging.finish().unwrap();
    follower
        .store
        .install_snapshot(&received.meta(), received.clone())
        .await
        .unwrap();
    assert_eq!(follower.state_machine.state(), leader.state_machine.state());
}

#[tokio::test]
async fn wrong_parts_and_manifests_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut leader = Replica::open(&dir.path().join("leader"));
    leader.apply(1..20).await;
    let snapshot = leader.build().await;
    let follower = Replica::open(&dir.path().join("follower"));
    let staging = follower.staging(&snapshot);
    let first = PartId { file: 0, part: 0 };
    let mut bytes = snapshot.read_part(first).await.unwrap().to_vec();
    bytes[77] ^= 1;
    assert!(staging.write_part(first, &bytes).is_err());
    bytes[77] ^= 1;
    assert!(staging.write_part(first, &bytes[1..]).is_err());
    assert!(
        staging
            .write_part(PartId { file: 0, part: 1 }, &bytes)
            .is_err()
    );
    assert!(
        staging
            .write_part(PartId { file: 0, part: 3 }, &bytes)
            .is_err()
    );
    assert!(
        staging
            .write_part(
                PartId {
                    file: u32::MAX,
                    part: u32::MAX
                },
                &bytes
            )
            .is_err()
    );
    staging.write_part(first, &bytes).unwrap();
    staging.write_part(first, &bytes).unwrap();

    // A file that went bad after its parts were checked is noticed before it is used.
    send(&snapshot, &staging, 100).await;
    let staging_dir = dir
        .path()
        .join("follower/snapshots")
        .join(format!("staging-{}", snapshot.id()));
    flip_bit(
        &staging_dir.join(FILES_DIR).join("ballast.bin"),
        BALLAST_BYTES - 1,
    );
    assert!(staging.finish().is_err());
    send(&snapshot, &staging, 100).await;
    let received = staging.finish().unwrap();
    assert!(staging.finish().is_err());
    assert!(staging.write_part(first, &bytes).is_err());
    drop(received);
    assert_eq!(
        names(&dir.path().join("follower/snapshots")),
        [""; 0],
        "received, never installed"
    );

    let mut other_group = Manifest::decode(&snapshot.manifest_bytes()).unwrap();
    other_group.group = GroupId(5);
    assert!(
        follower
            .store
            .snapshots()
            .begin(&other_group.encode().unwrap())
            .is_err()
    );
    assert!(follower.store.snapshots().begin(b"").is_err());
}

#[tokio::test]
async fn the_sender_notices_its_own_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut leader = Replica::open(dir.path());
    leader.apply(1..20).await;
    let snapshot = leader.build().await;
    let folder = dir
        .path()
        .join("snapshots")
        .join(format!("snap-{}", snapshot.id()))
        .join(FILES_DIR);
    flip_bit(&folder.join("ballast.bin"), PART_BYTES as usize + 5);
    assert!(
        snapshot
            .read_part(PartId { file: 0, part: 0 })
            .await
            .is_ok()
    );
    assert!(
        snapshot
            .read_part(PartId { file: 0, part: 1 })
            .await
            .is_err()
    );
    assert!(
        snapshot
            .read_part(PartId { file: 0, part: 9 })
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_old_snapshot_stays_while_it_is_read_and_then_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Replica::open(dir.path());
    replica.apply(1..20).await;
    let old = replica.build().await;
    assert_eq!(replica.build().await.id(), old.id(), "nothing new to build");
    replica.apply(20..30).await;
    let new = replica.build().await;
    assert_ne!(old.id(), new.id());
    let snapshots = dir.path().join("snapshots");
    assert_eq!(names(&snapshots).len(), 2);
    assert!(old.read_part(PartId { file: 1, part: 0 }).await.is_ok());
    drop(old);
    assert_eq!(names(&snapshots), [format!("snap-{}", new.id())]);
    drop((new, replica));
    assert_eq!(
        names(&snapshots).len(),
        1,
        "the current one outlives its handles"
    );
}

#[tokio::test]
async fn a_newer_transfer_ends_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut leader = Replica::open(&dir.path().join("leader"));
    leader.apply(1..20).await;
    let old = leader.build().await;
    leader.apply(20..30).await;
    let new = leader.build().await;
    let follower = Replica::open(&dir.path().join("follower"));
    let first = follower.staging(&old);
    send(&old, &first, 1).await;
    let second = follower.staging(&new);
    let id = PartId { file: 1, part: 0 };
    assert!(
        first
            .write_part(id, &old.read_part(id).await.unwrap())
            .is_err()
    );
    assert!(first.finish().is_err());
    send(&new, &second, 100).await;
    second.finish().unwrap();
}

#[tokio::test]
async fn a_start_removes_what_is_of_no_use() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = dir.path().join("snapshots");
    let id = {
        let mut replica = Replica::open(dir.path());
        replica.apply(1..20).await;
        replica.build().await.id().to_owned()
    };
    let staging_of_the_past = format!("staging-{id}");
    let copy = |to: &str| {
        let to = snapshots.join(to);
        std::fs::create_dir_all(to.join(FILES_DIR)).unwrap();
        std::fs::copy(
            snapshots.join(format!("snap-{id}/manifest")),
            to.join("manifest"),
        )
        .unwrap();
    };
    copy(&staging_of_the_past);
    copy("snap-00000000000000000000000000000000");
    for leftover in [
        "building/files",
        "restoring",
        "staging-ffff/files",
        "staged-ffff/files",
        "snap-ffff",
    ] {
        std::fs::create_dir_all(snapshots.join(leftover)).unwrap();
    }
    let mut replica = Replica::open(dir.path());
    assert_eq!(names(&snapshots), [format!("snap-{id}")]);
    assert_eq!(
        replica
            .store
            .get_current_snapshot()
            .await
            .unwrap()
            .unwrap()
            .snapshot
            .id(),
        id
    );
}

/// One build at a time on a node: a second group's build is put off, or waits when it is needed.
#[tokio::test]
async fn builds_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let mut replica = Replica::open(dir.path());
    replica.apply(1..5).await;
    let permit = replica.store.snapshots().build_permit().await.unwrap();
    assert!(
        replica
            .store
            .try_create_snapshot_builder(false)
            .await
            .is_none()
    );
    let mut needed = replica
        .store
        .try_create_snapshot_builder(true)
        .await
        .unwrap();
    let building = tokio::spawn(async move { needed.build_snapshot().await });
    tokio::task::yield_now().await;
    assert!(!building.is_finished());
    drop(permit);
    building.await.unwrap().unwrap();
    assert!(
        replica
            .store
            .try_create_snapshot_builder(false)
            .await
            .is_some()
    );
}
