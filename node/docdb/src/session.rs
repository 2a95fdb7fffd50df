//! Exactly-once: a session remembers the outcomes of its last requests, so a retry after a lost reply
//! returns the first outcome instead of writing again.
//!
//! A request's slot is its sequence number modulo the window. A newer request overwrites the slot, so
//! outcomes need no deletion of their own. Sessions that were idle for long make room for new ones (sooner while
//! there is no place left), in the order of their last use by stamped time, which is the same on every replica.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::codec::{self, Magic};
use crate::command::{SessionSequence, StepCounts};
use crate::draft::Draft;
use crate::error::{Error, ErrorCode, Result};
use crate::kv::{Direction, Family, StorageError, StorageResult, View};
use crate::limits::{
    OUTCOME_BYTES_MAX, SESSION_EVICTIONS_PER_OPEN_MAX, SESSION_IDLE_MS_MAX,
    SESSION_IDLE_WHEN_FULL_MS_MAX, SESSION_TOUCH_MS, SESSION_WINDOW, SESSIONS_MAX,
};
use crate::{keys, mutant};

/// What a slot knows about the request that used it last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Slot {
    sequence: u64,
    state: SlotState,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum SlotState {
    /// Some steps of a long write are done.
    InProgress(StepProgress),
    /// The encoded reply.
    Finished(#[serde(with = "serde_bytes")] Vec<u8>),
    /// Done, but the reply was too large to keep.
    Forgotten,
}

/// How far a long write has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepProgress {
    /// Encoded `_id` up to which documents are done; empty before the first.
    #[serde(with = "serde_bytes")]
    pub(crate) done_to: Vec<u8>,
    pub(crate) counts: StepCounts,
}

/// What is known about a request that is about to be carried out.
#[derive(Debug, PartialEq)]
pub(crate) enum Seen {
    /// Nothing: carry it out.
    New,
    /// Part of it is done: go on from there.
    InProgress(StepProgress),
    /// It is done: this is its encoded reply.
    Finished(Vec<u8>),
}

/// All sessions and when each was used last.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_id: BTreeMap<u64, Known>,
    by_last_use: BTreeSet<(i64, u64)>,
}

/// What memory holds of one session.
#[derive(Debug, Clone, Copy)]
struct Known {
    last_used_ms: i64,
    /// The newest sequence of a session that was opened here: no slot holds it or a later one, so most requests need
    /// not look. `None` for sessions found in the store.
    newest: Option<u64>,
}

impl Sessions {
    /// Reads all sessions (not their outcomes).
    pub(crate) fn load(view: &dyn View) -> StorageResult<Self> {
        let mut sessions = Self::default();
        let mut cursor = view.scan(Family::Meta, &keys::sessions(), Direction::Forward);
        while cursor.advance()? {
            let session = keys::meta_number(cursor.key())
                .ok_or_else(|| StorageError::corrupt("a session's key has a wrong length"))?;
            sessions.note(
                session,
                codec::decode_record(Magic::Session, cursor.value())?,
                None,
            );
        }
        Ok(sessions)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether one more session may be opened at `now_ms`.
    pub(crate) fn check_open(&self, now_ms: i64) -> Result<()> {
        if self.len() >= SESSIONS_MAX && self.evictable(now_ms).is_none() {
            return Err(Error::new(
                ErrorCode::RequestFailed,
                format!("{SESSIONS_MAX} sessions are in use; try again later"),
            ));
        }
        Ok(())
    }

    /// Opens `session`, evicting some that have been idle. The caller has checked that it may.
    pub(crate) fn open(
        &mut self,
        draft: &mut Draft<'_>,
        session: u64,
        now_ms: i64,
    ) -> StorageResult<()> {
        for _ in 0..SESSION_EVICTIONS_PER_OPEN_MAX {
            let Some((used, idle)) = self.evictable(now_ms) else {
                break;
            };
            self.by_last_use.remove(&(used, idle));
            self.by_id.remove(&idle);
            draft.delete(Family::Meta, keys::session(idle));
            draft.delete_range(Family::Meta, keys::outcomes(idle));
        }
        self.touch(draft, session, now_ms, Some(0))
    }

    /// What is known about a request.
    pub(crate) fn look_up(
        &self,
        draft: &Draft<'_>,
        request: SessionSequence,
    ) -> StorageResult<Result<Seen>> {
        let Some(known) = self.by_id.get(&request.session) else {
            return Ok(Err(unknown(request.session)));
        };
        if known.newest.is_some_and(|newest| request.sequence > newest)
            || mutant::has("forget-session")
        {
            return Ok(Ok(Seen::New));
        }
        let record = draft.get(Family::Meta, &slot_key(request))?;
        interpret(record.as_deref(), request)
    }

    /// Notes a request of the session, its time coarsely.
    pub(crate) fn used(
        &mut self,
        draft: &mut Draft<'_>,
        request: SessionSequence,
        now_ms: i64,
    ) -> StorageResult<()> {
        let mut newest = None;
        if let Some(known) = self.by_id.get_mut(&request.session) {
            known.newest = known.newest.map(|newest| newest.max(request.sequence));
            if now_ms.saturating_sub(known.last_used_ms) < SESSION_TOUCH_MS {
                return Ok(());
            }
            newest = known.newest;
        }
        self.touch(draft, request.session, now_ms, newest)
    }

    /// The session that has been idle longest, if that is long enough to evict it.
    fn evictable(&self, now_ms: i64) -> Option<(i64, u64)> {
        let idle_ms_max = if self.len() >= SESSIONS_MAX {
            SESSION_IDLE_WHEN_FULL_MS_MAX
        } else {
            SESSION_IDLE_MS_MAX
        };
        let &(used, session) = self.by_last_use.first()?;
        (now_ms.saturating_sub(used) > idle_ms_max).then_some((used, session))
    }

    fn touch(
        &mut self,
        draft: &mut Draft<'_>,
        session: u64,
        now_ms: i64,
        newest: Option<u64>,
    ) -> StorageResult<()> {
        self.note(session, now_ms, newest);
        draft.put(
            Family::Meta,
            keys::session(session),
            codec::encode_record(Magic::Session, &now_ms)?,
        );
        Ok(())
    }

    fn note(&mut self, session: u64, last_used_ms: i64, newest: Option<u64>) {
        let known = Known {
            last_used_ms,
            newest,
        };
        if let Some(before) = self.by_id.insert(session, known) {
            self.by_last_use.remove(&(before.last_used_ms, session));
        }
        self.by_last_use.insert((last_used_ms, session));
    }
}

fn unknown(session: u64) -> Error {
    Error::new(
        ErrorCode::SessionExpired,
        format!(
            "session {session} is unknown or expired; open a new one, the outcome of a retried request is unknown"
        ),
    )
}

fn slot_key(request: SessionSequence) -> Vec<u8> {
    keys::outcome(
        request.session,
        (request.sequence % u64::from(SESSION_WINDOW)) as u16,
    )
}

fn interpret(record: Option<&[u8]>, request: SessionSequence) -> StorageResult<Result<Seen>> {
    let Some(record) = record else {
        return Ok(Ok(Seen::New));
    };
    let slot: Slot = codec::decode_record(Magic::Outcome, record)?;
    Ok(match slot.sequence.cmp(&request.sequence) {
        std::cmp::Ordering::Less => Ok(Seen::New),
        std::cmp::Ordering::Greater => Err(Error::new(
            ErrorCode::SessionExpired,
            format!(
                "request {} of session {} is older than the last {SESSION_WINDOW}; its outcome is no longer known",
                request.sequence, request.session
            ),
        )),
        std::cmp::Ordering::Equal => match slot.state {
            SlotState::InProgress(progress) => Ok(Seen::InProgress(progress)),
            SlotState::Finished(reply) => Ok(Seen::Finished(reply)),
            SlotState::Forgotten => Err(Error::new(
                ErrorCode::RequestFailed,
                "the write was carried out before, but its reply was too large to keep; read the documents instead",
            )),
        },
    })
}

/// What a view knows about a request, without checking that its session exists.
pub(crate) fn peek(view: &dyn View, request: SessionSequence) -> StorageResult<Result<Seen>> {
    interpret(
        view.get(Family::Meta, &slot_key(request))?.as_deref(),
        request,
    )
}

/// Keeps the outcome of a finished request.
pub(crate) fn finish(
    draft: &mut Draft<'_>,
    request: SessionSequence,
    reply: &[u8],
) -> StorageResult<()> {
    let state = if reply.len() <= OUTCOME_BYTES_MAX {
        SlotState::Finished(reply.to_vec())
    } else {
        SlotState::Forgotten
    };
    put_slot(draft, request, state)
}

/// Keeps how far a long write has come.
pub(crate) fn advance(
    draft: &mut Draft<'_>,
    request: SessionSequence,
    progress: StepProgress,
) -> StorageResult<()> {
    put_slot(draft, request, SlotState::InProgress(progress))
}

fn put_slot(
    draft: &mut Draft<'_>,
    request: SessionSequence,
    state: SlotState,
) -> StorageResult<()> {
    let slot = Slot {
        sequence: request.sequence,
        state,
    };
    draft.put(
        Family::Meta,
        slot_key(request),
        codec::encode_record(Magic::Outcome, &slot)?,
    );
    Ok(())
}
