//! Carries out replicated commands, one after the other, in a draft: who may (session), what happens
//! (operation), what is remembered (outcome).
//!
//! A function of the commands and the state before them: no clock but the stamped one, no randomness,
//! no iteration order that could differ. A refusal is an answer and leaves no trace but its outcome.

use std::sync::Arc;

use bson::{RawDocumentBuf, cstr};

use crate::catalog::{self, Access, Collection};
use crate::change_log::{ChangeKind, ChangeRef};
use crate::command::{self, Command, CommandReply, StepCounts, WriteOp};
use crate::draft::Draft;
use crate::error::{Error, ErrorCode, Result};
use crate::filter::WorkScope;
use crate::index_build::BuildStep;
use crate::keys::{self, CollectionId};
use crate::kv::{Family, StorageResult};
use crate::limits::{INDEX_STEP_DOCUMENTS_MAX, SESSION_WINDOW, STEP_DOCUMENTS_MAX};
use crate::op::{IndexOptions, OpReply};
use crate::session::{self, Seen, StepProgress};
use crate::state::State;
use crate::validator::Validator;
use crate::write::{Failure, Writer};
use crate::{change, expiry, index_build, transaction};

/// What the operation of one command needs to know about its place.
pub(crate) struct Place {
    pub(crate) log_index: u64,
    pub(crate) now_ms: i64,
}

/// An operation's answer, and, for a step that is not the last, how far the whole has come.
pub(crate) struct Executed {
    pub(crate) reply: CommandReply,
    pub(crate) progress: Option<StepProgress>,
}

impl From<OpReply> for Executed {
    fn from(reply: OpReply) -> Self {
        Self {
            reply: CommandReply::Op(reply),
            progress: None,
        }
    }
}

/// Carries out one encoded command and returns its encoded reply.
pub(crate) fn command(
    state: &mut State,
    draft: &mut Draft<'_>,
    log_index: u64,
    payload: &[u8],
) -> StorageResult<Vec<u8>> {
    draft.savepoint();
    let command = match Command::decode(payload) {
        Ok(command) => command,
        Err(error) => return Ok(encode_reply(&Err(error))),
    };
    let _shared = WorkScope::of_command(command.op.whole_documents());
    state.tick(command.now_ms);
    let mut progress = StepProgress::default();
    if let Some(request) = command.session {
        match state.sessions.look_up(draft, request)? {
            Ok(Seen::New) => {}
            Ok(Seen::InProgress(earlier)) => progress = earlier,
            Ok(Seen::Finished(reply)) => return Ok(reply),
            Err(error) => return Ok(encode_reply(&Err(error))),
        }
    } else if let (WriteOp::WriteStep(step), _) = command.op.parts() {
        progress.counts = step.earlier;
    }
    let executed = match execute(state, draft, log_index, &command, progress) {
        Ok(executed) => Ok(executed),
        Err(Failure::Refused(error)) => {
            draft.rollback();
            Err(error)
        }
        Err(Failure::Storage(error)) => return Err(error),
    };
    let (reply, progress) = match executed {
        Ok(Executed { reply, progress }) => (Ok(reply), progress),
        Err(error) => (Err(error), None),
    };
    let is_replan = matches!(
        &reply,
        Err(error) if matches!(error.code, ErrorCode::Replan | ErrorCode::AccessChanged)
    );
    let reply = encode_reply(&reply);
    if let Some(request) = command.session
        && !is_replan
    {
        let clock_ms = state.clock_ms();
        state.sessions.used(draft, request, clock_ms)?;
        match progress {
            Some(progress) => session::advance(draft, request, progress)?,
            None => session::finish(draft, request, &reply)?,
        }
    }
    Ok(reply)
}

/// A reply too large to encode is itself answered by an error, which always fits.
fn encode_reply(reply: &Result<CommandReply>) -> Vec<u8> {
    command::encode_reply(reply).unwrap_or_else(|problem| {
        let error = Error::new(
            ErrorCode::ExceedSize,
            format!("the write was carried out, but its reply is too large: {problem}"),
        );
        command::encode_reply(&Err(error)).unwrap_or_default()
    })
}

fn execute(
    state: &mut State,
    draft: &mut Draft<'_>,
    log_index: u64,
    command: &Command,
    progress: StepProgress,
) -> Result<Executed, Failure> {
    let place = Place {
        log_index,
        now_ms: command.now_ms,
    };
    let env = command.env.as_str();
    let (op, guard) = command.op.parts();
    let find = |state: &State, name: &str| {
        let collection = state.catalog.require(env, name).cloned()?;
        if let Some(guard) = guard {
            guard.check_version(&collection)?;
        }
        Ok::<_, Error>(collection)
    };
    match op {
        WriteOp::OpenSession => open_session(state, draft),
        WriteOp::CreateCollection { collection } => {
            create_collection(state, draft, &place, env, collection)
        }
        WriteOp::DropCollection { collection } => {
            let collection = find(state, collection)?;
            drop_collection(state, draft, &place, &collection)
        }
        WriteOp::Insert {
            collection,
            documents,
        } => {
            let collection = find(state, collection)?;
            let mut writer = Writer::new(draft, state, &collection, place.now_ms);
            let ids = change::insert(&mut writer, documents, guard, place.now_ms)?;
            writer.commit(state, place.log_index)?;
            Ok(OpReply::Inserted { ids }.into())
        }
        WriteOp::WriteOne(one) => {
            let collection = find(state, &one.target.collection)?;
            let mut writer = Writer::new(draft, state, &collection, place.now_ms);
            let reply = change::write_one(&mut writer, one, guard, place.now_ms)?;
            writer.commit(state, place.log_index)?;
            Ok(reply.into())
        }
        WriteOp::WriteStep(step) => {
            if step.ids.len() > STEP_DOCUMENTS_MAX {
                return Err(Error::internal("a step names too many documents").into());
            }
            let collection = find(state, &step.target.collection)?;
            let mut writer = Writer::new(draft, state, &collection, place.now_ms);
            let executed = change::write_step(&mut writer, step, guard, progress, place.now_ms)?;
            writer.commit(state, place.log_index)?;
            Ok(executed)
        }
        WriteOp::CreateIndex { collection, index } => {
            let collection = find(state, collection)?;
            index_build::create(
                state,
                draft,
                &place,
                &collection,
                (index, &IndexOptions::default()),
            )
        }
        WriteOp::CreateIndexWith {
            collection,
            index,
            options,
        } => {
            let collection = find(state, collection)?;
            index_build::create(state, draft, &place, &collection, (index, options))
        }
        WriteOp::DropIndex { collection, name } => {
            let collection = find(state, collection)?;
            index_build::drop_index(state, draft, &collection, name)
        }
        WriteOp::BuildIndex {
            collection,
            index,
            cursor,
        } => {
            let step = BuildStep {
                collection: *collection,
                index: *index,
                behind: Some(cursor),
                documents_max: STEP_DOCUMENTS_MAX,
            };
            index_build::step(state, draft, &place, &step)
        }
        WriteOp::ContinueBuild {
            collection,
            index,
            documents_max,
        } => {
            let step = BuildStep {
                collection: *collection,
                index: *index,
                behind: None,
                documents_max: usize::try_from(*documents_max)
                    .unwrap_or(usize::MAX)
                    .min(INDEX_STEP_DOCUMENTS_MAX),
            };
            index_build::step(state, draft, &place, &step)
        }
        WriteOp::SetAccess { collection, access } => {
            let collection = find(state, collection)?;
            set_access(state, draft, &place, &collection, access)
        }
        WriteOp::Commit(transaction) => transaction::commit(state, draft, &place, env, transaction),
        WriteOp::CommitChecked(checked) => {
            transaction::commit_checked(state, draft, &place, env, checked)
        }
        WriteOp::Guarded { .. } => Err(Error::internal("a guard inside a guard").into()),
        WriteOp::Expire {
            collection,
            index,
            ids,
        } => expiry::step(state, draft, &place, (*collection, *index), ids),
        WriteOp::SetValidator {
            collection,
            schema,
            level,
        } => {
            let mut collection = Collection::clone(&*find(state, collection)?);
            collection.validator = Validator::new(schema.clone(), *level)?;
            state.put_collection(draft, collection)?;
            Ok(OpReply::Done.into())
        }
        WriteOp::RenameCollection { collection, to } => {
            let collection = find(state, collection)?;
            rename_collection(state, draft, &place, &collection, to)
        }
    }
}

/// Each setting gets a version of its own, also when it repeats the last one.
fn set_access(
    state: &mut State,
    draft: &mut Draft<'_>,
    place: &Place,
    collection: &Arc<Collection>,
    access: &RawDocumentBuf,
) -> Result<Executed, Failure> {
    catalog::check_access(access)?;
    let mut changed = Collection::clone(collection);
    changed.access = Some(Access {
        version: state.new_id(),
        document: Arc::new(access.clone()),
    });
    state.put_collection(draft, changed)?;
    let change = ChangeRef::new(
        ChangeKind::SetAccess,
        &collection.env,
        &collection.name,
        place.now_ms,
    );
    state.log_change_ref(draft, place.log_index, &change)?;
    Ok(OpReply::Done.into())
}

fn open_session(state: &mut State, draft: &mut Draft<'_>) -> Result<Executed, Failure> {
    let clock_ms = state.clock_ms();
    state.sessions.check_open(clock_ms)?;
    let session = state.new_id();
    state.sessions.open(draft, session, clock_ms)?;
    let reply = CommandReply::SessionOpened {
        session,
        window: SESSION_WINDOW,
    };
    Ok(Executed {
        reply,
        progress: None,
    })
}

fn create_collection(
    state: &mut State,
    draft: &mut Draft<'_>,
    place: &Place,
    env: &str,
    name: &str,
) -> Result<Executed, Failure> {
    state.catalog.check_create(env, name)?;
    let id = CollectionId(state.new_id());
    state.put_collection(draft, Collection::new(id, env, name, place.now_ms))?;
    let change = ChangeRef::new(ChangeKind::CreateCollection, env, name, place.now_ms);
    state.log_change_ref(draft, place.log_index, &change)?;
    Ok(OpReply::Done.into())
}

/// Ids are never reused, so deleting the key ranges at once is all there is to it, however large they are.
fn drop_collection(
    state: &mut State,
    draft: &mut Draft<'_>,
    place: &Place,
    collection: &Arc<Collection>,
) -> Result<Executed, Failure> {
    draft.delete_range(Family::Docs, keys::documents(collection.id));
    for index in &collection.indexes {
        draft.delete_range(Family::Index, keys::index_entries(index.id));
    }
    state.remove_tally(draft, collection.id);
    state.remove_collection(draft, collection);
    let change = ChangeRef::new(
        ChangeKind::DropCollection,
        &collection.env,
        &collection.name,
        place.now_ms,
    );
    state.log_change_ref(draft, place.log_index, &change)?;
    Ok(OpReply::Done.into())
}

/// Everything of a collection hangs on its id, so a new name is all there is to it.
fn rename_collection(
    state: &mut State,
    draft: &mut Draft<'_>,
    place: &Place,
    collection: &Arc<Collection>,
    to: &str,
) -> Result<Executed, Failure> {
    state.catalog.check_rename(&collection.env, to)?;
    let mut renamed = Collection::clone(collection);
    renamed.name = to.into();
    state.remove_collection(draft, collection);
    state.put_collection(draft, renamed)?;
    let mut new_name = RawDocumentBuf::new();
    new_name.append(cstr!("to"), to);
    let change = ChangeRef::new(
        ChangeKind::RenameCollection,
        &collection.env,
        &collection.name,
        place.now_ms,
    )
    .images(None, Some(&new_name));
    state.log_change_ref(draft, place.log_index, &change)?;
    Ok(OpReply::Done.into())
}

/// The answer to a write to many documents from its totals.
pub(crate) fn many_reply(change: &command::Change, counts: StepCounts) -> OpReply {
    match change {
        command::Change::Remove => OpReply::Removed {
            removed: counts.matched,
        },
        command::Change::Update(_) | command::Change::Replace(_) => OpReply::Updated {
            matched: counts.matched,
            modified: counts.modified,
            upserted_id: None,
            document: None,
        },
    }
}

/// The collection with this id, if it still exists.
pub(crate) fn collection_by_id(
    catalog: &catalog::Catalog,
    id: CollectionId,
) -> Option<&Arc<Collection>> {
    catalog.all().find(|collection| collection.id == id)
}
