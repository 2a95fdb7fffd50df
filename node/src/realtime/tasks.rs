//! The tasks of a group that somebody watches: one follows the change log, one resumes watches.
//!
//! They are started with the first watch of the group and run until the node stops; without watches they sleep. Their
//! work runs on threads for blocking work, and should it panic, the watches concerned are told to resume.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::follow::{Follower, Join};
use super::limits::Limits;
use super::replay::{self, Replay};
use super::source::ChangeSource;
use crate::call::{Failure, Retry};

/// Watches that wait to be taken in; whoever opens one waits while it is full.
const JOINS_QUEUED: usize = 256;
/// Watches taken in between two looks at the log.
const JOINS_AT_ONCE: usize = 64;
/// Pause between looks for watches that have been closed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How to reach the tasks of a group.
#[derive(Clone)]
pub(crate) struct GroupTasks {
    joins: mpsc::Sender<Join>,
    replays: mpsc::Sender<Replay>,
}

impl GroupTasks {
    /// Starts them.
    pub(crate) fn start(
        source: &Arc<dyn ChangeSource>,
        limits: &Arc<Limits>,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        let (joins, joining) = mpsc::channel(JOINS_QUEUED);
        let (replays, replaying) = mpsc::channel(limits.resumptions_max);
        tokio::spawn(follow(
            source.clone(),
            limits.clone(),
            joining,
            stop.clone(),
        ));
        tokio::spawn(resume(
            source.clone(),
            limits.clone(),
            replaying,
            stop.clone(),
        ));
        Self { joins, replays }
    }

    /// Whether they have ended, because the group is to be read elsewhere.
    pub(crate) fn have_ended(&self) -> bool {
        self.joins.is_closed()
    }

    /// Has a watch follow the log. If that fails its subscriber tells it.
    pub(crate) async fn join(&self, join: Join) {
        let _ = self.joins.send(join).await;
    }

    /// Has a watch resume; its answer comes through its own channel.
    pub(crate) fn replay(&self, replay: Replay) -> Result<(), Failure> {
        self.replays.try_send(replay).map_err(|_| {
            let message = "too many watches resume at one time: try again shortly";
            Failure::new("EXCEED_CONCURRENT_REQUEST_LIMIT", message, Retry::Safe)
        })
    }
}

async fn follow(
    source: Arc<dyn ChangeSource>,
    limits: Arc<Limits>,
    mut joining: mpsc::Receiver<Join>,
    mut stop: watch::Receiver<bool>,
) {
    let mut news = source.news();
    let mut sweeps = tokio::time::interval(SWEEP_INTERVAL);
    sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut follower = Follower::new(source.clone(), limits.clone());
    let mut has_more = false;
    loop {
        let mut joins = Vec::new();
        let mut sweep = false;
        tokio::select! {
            biased;
            _ = stop.wait_for(|stopping| *stopping) => return,
            _ = sweeps.tick() => {
                if !source.serves() {
                    // The replica came or went; the watches resume where it is now.
                    return;
                }
                sweep = true;
            }
            count = joining.recv_many(&mut joins, JOINS_AT_ONCE) => if count == 0 { return },
            changed = news.changed(), if !follower.is_idle() => if changed.is_err() { return },
            () = std::future::ready(()), if has_more => {}
        }
        // What is applied from here on is news again.
        news.mark_unchanged();
        if sweep && joins.is_empty() && follower.is_idle() {
            continue;
        }
        let worked = tokio::task::spawn_blocking(move || {
            let has_more = follower.work(joins);
            if sweep {
                follower.sweep();
            }
            (follower, has_more)
        })
        .await;
        (follower, has_more) = worked.unwrap_or_else(|error| {
            tracing::error!(%error, "following the change log broke off; its watches resume");
            (Follower::new(source.clone(), limits.clone()), false)
        });
    }
}

async fn resume(
    source: Arc<dyn ChangeSource>,
    limits: Arc<Limits>,
    mut replaying: mpsc::Receiver<Replay>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let mut replays = Vec::new();
        tokio::select! {
            _ = stop.wait_for(|stopping| *stopping) => return,
            count = replaying.recv_many(&mut replays, limits.resumptions_max) => if count == 0 { return },
        }
        let (source, limits) = (source.clone(), limits.clone());
        let pass = tokio::task::spawn_blocking(move || replay::pass(&*source, &limits, replays));
        if let Err(error) = pass.await {
            tracing::error!(%error, "resuming watches broke off");
        }
    }
}
