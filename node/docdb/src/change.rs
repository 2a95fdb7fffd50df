//! Inserts; updates, replacements, upserts and removals of documents that the proposer has found, checked again
//! against the documents as they are at this point of the log. What a request is held to (its guard) is checked
//! here too: before and after each change.

use bson::{RawDocument, RawDocumentBuf};

use crate::apply::{Executed, many_reply};
use crate::change_log::ChangeKind;
use crate::command::{Change, CommandReply, StepCounts, Target, WriteOne, WriteStep};
use crate::error::{Error, ErrorCode, Result};
use crate::filter::{Filter, FilterContext};
use crate::guard::{Checks, Guard};
use crate::mutant;
use crate::op::OpReply;
use crate::session::StepProgress;
use crate::update::{Update, UpdateContext, replace};
use crate::value::malformed;
use crate::write::{Failure, Writer, wrapped_id};

/// A guard with its conditions parsed.
struct Held<'a> {
    guard: &'a Guard,
    checks: Checks,
}

impl<'a> Held<'a> {
    fn parse(guard: Option<&'a Guard>, now_ms: i64) -> Result<Option<Self>> {
        guard
            .map(|guard| {
                Ok(Self {
                    guard,
                    checks: Checks::parse(guard, now_ms)?,
                })
            })
            .transpose()
    }
}

/// A target with its parts parsed.
pub(crate) struct Parsed<'a> {
    target: &'a Target,
    /// What the request asks for and may see.
    pub(crate) filter: Filter,
    update: Option<Update>,
    held: Option<Held<'a>>,
}

/// What a change did to a document.
struct Changed {
    modified: bool,
    after: Option<RawDocumentBuf>,
}

impl<'a> Parsed<'a> {
    pub(crate) fn new(target: &'a Target, guard: Option<&'a Guard>, now_ms: i64) -> Result<Self> {
        let update = match &target.change {
            Change::Update(update) => Some(Update::parse(update, &UpdateContext { now_ms })?),
            Change::Replace(_) | Change::Remove => None,
        };
        let context = FilterContext { now_ms };
        let filter = match guard {
            Some(guard) => Filter::parse(&guard.narrow(&target.filter), &context)?,
            None => Filter::parse(&target.filter, &context)?,
        };
        Ok(Self {
            target,
            filter,
            update,
            held: Held::parse(guard, now_ms)?,
        })
    }

    /// The document after the change; `None`: unchanged.
    pub(crate) fn after(
        &self,
        before: &RawDocument,
        inserting: bool,
    ) -> Result<Option<RawDocumentBuf>> {
        match (&self.target.change, &self.update) {
            (Change::Replace(document), _) => {
                let mut after = replace(Some(before), document)?;
                if let Some(held) = &self.held {
                    after = held.guard.kept(before, after, &self.target.collection)?;
                }
                Ok((after.as_bytes() != before.as_bytes()).then_some(after))
            }
            (_, Some(update)) => update.apply(before, inserting),
            (_, None) => Ok(None),
        }
    }

    /// Changes a document if it matches. A refusal for its budget leaves the document as it was.
    fn carry_out_if_matching(
        &self,
        writer: &mut Writer<'_, '_>,
        id: &[u8],
        before: RawDocumentBuf,
    ) -> Result<Option<Changed>, Failure> {
        if !self.filter.matches(&before)? {
            return Ok(None);
        }
        self.carry_out(writer, id, before).map(Some)
    }

    /// Changes a document that matches.
    fn carry_out(
        &self,
        writer: &mut Writer<'_, '_>,
        id: &[u8],
        before: RawDocumentBuf,
    ) -> Result<Changed, Failure> {
        let collection = &self.target.collection;
        if let Some(held) = &self.held {
            held.checks.before(&before, collection)?;
        }
        let kind = match self.target.change {
            Change::Remove => {
                writer.remove(id, &before)?;
                return Ok(Changed {
                    modified: true,
                    after: None,
                });
            }
            Change::Update(_) => ChangeKind::Update,
            Change::Replace(_) => ChangeKind::Replace,
        };
        match self.after(&before, false)? {
            Some(after) => {
                if let Some(held) = &self.held {
                    held.checks.after(&after, collection)?;
                }
                writer.change(kind, id, &before, &after)?;
                Ok(Changed {
                    modified: true,
                    after: Some(after),
                })
            }
            None => Ok(Changed {
                modified: false,
                after: Some(before),
            }),
        }
    }

    /// Inserts the document that an upsert creates.
    fn upsert(&self, writer: &mut Writer<'_, '_>, now_ms: i64) -> Result<RawDocumentBuf, Failure> {
        // From the request's own filter: what it may see is no field of a new document.
        let filter = Filter::parse(&self.target.filter, &FilterContext { now_ms })?;
        let seed = filter.equality_document()?;
        let seed = RawDocumentBuf::try_from(&seed).map_err(malformed)?;
        let document = match &self.target.change {
            Change::Replace(document) => replace(Some(&seed), document)?,
            _ => self.after(&seed, true)?.unwrap_or(seed),
        };
        let document = with_id(document, &self.target.upsert_id)?;
        insert_held(writer, document, self.held.as_ref())
    }
}

/// Inserts whole documents; returns their wrapped `_id`s.
pub(crate) fn insert(
    writer: &mut Writer<'_, '_>,
    documents: &[RawDocumentBuf],
    guard: Option<&Guard>,
    now_ms: i64,
) -> Result<Vec<RawDocumentBuf>, Failure> {
    let held = Held::parse(guard, now_ms)?;
    writer.look_ahead(documents)?;
    let mut ids = Vec::with_capacity(documents.len());
    for document in documents {
        match &held {
            None => writer.insert(document)?,
            held => {
                insert_held(writer, document.clone(), held.as_ref())?;
            }
        }
        ids.push(wrapped_id(document)?);
    }
    Ok(ids)
}

/// Inserts a document as the request's guard wants it; returns it as it was inserted.
fn insert_held(
    writer: &mut Writer<'_, '_>,
    document: RawDocumentBuf,
    held: Option<&Held<'_>>,
) -> Result<RawDocumentBuf, Failure> {
    let mut document = document;
    if let Some(held) = held {
        let collection = &writer.collection.name;
        document = held.guard.stamped(document, collection)?;
        held.checks.inserted(&document, collection)?;
    }
    writer.insert(&document)?;
    Ok(document)
}

/// The document with an `_id`: its own or, as first field, the one made at the edge.
fn with_id(document: RawDocumentBuf, id: &str) -> Result<RawDocumentBuf> {
    if document.get("_id").map_err(malformed)?.is_some() {
        return Ok(document);
    }
    if id.is_empty() {
        return Err(Error::invalid(
            "the upsert names no _id for a new document; give one",
        ));
    }
    let mut out = RawDocumentBuf::new();
    out.append(bson::cstr!("_id"), id);
    for element in document.iter() {
        let (name, value) = element.map_err(malformed)?;
        out.append(name, value);
    }
    Ok(out)
}

/// Changes the first candidate that still matches.
pub(crate) fn write_one(
    writer: &mut Writer<'_, '_>,
    one: &WriteOne,
    guard: Option<&Guard>,
    now_ms: i64,
) -> Result<OpReply, Failure> {
    let parsed = Parsed::new(&one.target, guard, now_ms)?;
    for id in &one.candidates {
        let Some(before) = writer.get(id)? else {
            continue;
        };
        if mutant::has("skip-recheck") || parsed.filter.matches(&before)? {
            let changed = parsed.carry_out(writer, id, before)?;
            let counts = StepCounts {
                matched: 1,
                modified: u64::from(changed.modified),
            };
            return Ok(with_document(
                many_reply(&one.target.change, counts),
                changed.after.filter(|_| one.return_document),
            ));
        }
    }
    if !one.complete && !one.candidates.is_empty() {
        // Another document may match now: only the leader can look for it.
        return Err(Error::new(
            ErrorCode::Replan,
            "the documents found for the write no longer match",
        )
        .into());
    }
    if !one.target.upsert {
        return Ok(many_reply(&one.target.change, StepCounts::default()));
    }
    let inserted = parsed.upsert(writer, now_ms)?;
    upserted_reply(StepCounts::default(), &inserted, one.return_document).map_err(Failure::Refused)
}

/// Changes those of a step's documents that still match.
pub(crate) fn write_step(
    writer: &mut Writer<'_, '_>,
    step: &WriteStep,
    guard: Option<&Guard>,
    mut progress: StepProgress,
    now_ms: i64,
) -> Result<Executed, Failure> {
    let parsed = Parsed::new(&step.target, guard, now_ms)?;
    let (mut is_first, mut is_cut) = (true, false);
    for id in &step.ids {
        // A retry after a change of leader begins anew; what is done stays done.
        if id.as_slice() <= progress.done_to.as_slice() {
            continue;
        }
        if let Some(before) = writer.get(id)? {
            match parsed.carry_out_if_matching(writer, id, before) {
                Ok(Some(changed)) => {
                    progress.counts.matched += 1;
                    progress.counts.modified += u64::from(changed.modified);
                }
                Ok(None) => {}
                // The documents of a command share its budget: this one may need the whole budget of the next.
                Err(Failure::Refused(error))
                    if error.code == ErrorCode::ExceedBudget && !is_first =>
                {
                    is_cut = true;
                    break;
                }
                Err(failure) => return Err(failure),
            }
            is_first = false;
        }
        progress.done_to.clone_from(id);
    }
    if !step.last || is_cut {
        let reply = CommandReply::StepDone {
            done_to: progress.done_to.clone(),
            counts: progress.counts,
        };
        return Ok(Executed {
            reply,
            progress: Some(progress),
        });
    }
    if step.target.upsert && progress.counts.matched == 0 {
        let inserted = parsed.upsert(writer, now_ms)?;
        return Ok(upserted_reply(progress.counts, &inserted, false)?.into());
    }
    Ok(many_reply(&step.target.change, progress.counts).into())
}

fn with_document(reply: OpReply, document: Option<RawDocumentBuf>) -> OpReply {
    match reply {
        OpReply::Updated {
            matched,
            modified,
            upserted_id,
            ..
        } => OpReply::Updated {
            matched,
            modified,
            upserted_id,
            document,
        },
        other => other,
    }
}

fn upserted_reply(
    counts: StepCounts,
    inserted: &RawDocumentBuf,
    return_document: bool,
) -> Result<OpReply> {
    Ok(OpReply::Updated {
        matched: counts.matched,
        modified: counts.modified,
        upserted_id: Some(wrapped_id(inserted)?),
        document: return_document.then(|| inserted.clone()),
    })
}
