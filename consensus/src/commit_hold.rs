//! Holds back appends that carry nothing but a commit index, for a moment: under load the next entries follow at once
//! and carry it as well, which saves each follower a message, an answer, and the waking up for both.
//!
//! A held append that is overtaken is dropped and never answered. Openraft takes the answer to a later append for an
//! answer to all before it, so nothing waits for the one that is missing.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use openraft::raft::AppendEntriesRequest;
use tokio::sync::Notify;

use crate::types::TypeConfig;

type Append = AppendEntriesRequest<TypeConfig>;

/// Longest that a commit is held back when nothing follows: a little more than one write takes, so that a single
/// client's writes in a row carry each other's commits, and little beside what a watcher notices.
const HOLD: Duration = Duration::from_millis(1);

/// Cuts holding short: somebody waits for a follower to learn of a commit.
#[derive(Clone, Default)]
pub(crate) struct CommitWanted(Arc<Notify>);

impl CommitWanted {
    /// Lets go of what is held now.
    pub(crate) fn release(&self) {
        self.0.notify_waiters();
    }
}

/// `appends`, with commits held back.
pub(crate) fn hold_commits(
    appends: impl Stream<Item = Append> + Unpin,
    wanted: CommitWanted,
) -> impl Stream<Item = Append> {
    // Asked once more after its end, when the last append was a held one.
    let appends = appends.fuse();
    futures::stream::unfold((appends, wanted), |(mut appends, wanted)| async move {
        let mut append = appends.next().await?;
        while append.entries.is_empty() {
            tokio::select! {
                biased;
                next = appends.next() => match next {
                    Some(next) => append = next,
                    None => break,
                },
                () = wanted.0.notified() => break,
                () = tokio::time::sleep(HOLD) => break,
            }
        }
        Some((append, (appends, wanted)))
    })
}

#[cfg(test)]
mod tests {
    use openraft::EntryPayload;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::types::{Entry, LeaderId, LogId, Vote};

    fn log_id(index: u64) -> LogId {
        LogId::new(
            LeaderId {
                term: 1,
                node_id: 1,
            },
            index,
        )
    }

    fn append(entries: std::ops::Range<u64>, commit: u64) -> Append {
        Append {
            vote: Vote::new_committed(1, 1),
            prev_log_id: None,
            entries: entries
                .map(|index| Entry {
                    log_id: log_id(index),
                    payload: EntryPayload::Blank,
                })
                .collect(),
            leader_commit: Some(log_id(commit)),
        }
    }

    /// Number of entries and commit of each append that came through.
    async fn seen(
        held: &mut (impl Stream<Item = Append> + Unpin),
        count: usize,
    ) -> Vec<(usize, u64)> {
        let appends: Vec<_> = held.take(count).collect().await;
        appends
            .iter()
            .map(|append| {
                let commit = append.leader_commit.map_or(0, |id| id.index);
                (append.entries.len(), commit)
            })
            .collect()
    }

    #[tokio::test]
    async fn entries_overtake_commits_and_a_commit_alone_goes_out_late() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let wanted = CommitWanted::default();
        let held = hold_commits(UnboundedReceiverStream::new(receiver), wanted.clone());
        let mut held = std::pin::pin!(held);
        for each in [
            append(1..2, 0),
            append(2..2, 1),
            append(2..4, 1),
            append(4..4, 3),
        ] {
            sender.send(each).unwrap();
        }
        let begun = tokio::time::Instant::now();
        assert_eq!(seen(&mut held, 3).await, [(1, 0), (2, 1), (0, 3)]);
        assert!(begun.elapsed() >= HOLD);

        sender.send(append(4..4, 4)).unwrap();
        // Polled first, it holds; then it is released, before its time.
        let (next, ()) = tokio::join!(biased; seen(&mut held, 1), async { wanted.release() });
        assert_eq!(next, [(0, 4)]);

        sender.send(append(4..4, 5)).unwrap();
        drop(sender);
        assert_eq!(
            seen(&mut held, 2).await,
            [(0, 5)],
            "the end lets go as well"
        );
    }
}
