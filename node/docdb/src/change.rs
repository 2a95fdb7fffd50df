//! Updates, replacements, upserts and removals of documents that the proposer has found, checked again
//! against the documents as they are at this point of the log.

use bson::{RawDocument, RawDocumentBuf};

use crate::apply::{Executed, many_reply};
use crate::change_log::ChangeKind;
use crate::command::{Change, CommandReply, StepCounts, Target, WriteOne, WriteStep};
use crate::error::{Error, ErrorCode, Result};
use crate::filter::{Filter, FilterContext};
use crate::op::OpReply;
use crate::session::StepProgress;
use crate::update::{Update, UpdateContext, replace};
use crate::value::malformed;
use crate::write::{Failure, Writer, wrapped_id};

/// A target with its parts parsed.
struct Parsed<'a> {
    target: &'a Target,
    filter: Filter,
    update: Option<Update>,
}

/// What a change did to a document.
struct Changed {
    modified: bool,
    after: Option<RawDocumentBuf>,
}

impl<'a> Parsed<'a> {
    fn new(target: &'a Target, now_ms: i64) -> Result<Self> {
        let update = match &target.change {
            Change::Update(update) => Some(Update::parse(update, &UpdateContext { now_ms })?),
            Change::Replace(_) | Change::Remove => None,
        };
        Ok(Self {
            target,
            filter: Filter::parse(&target.filter, &FilterContext { now_ms })?,
            update,
        })
    }

    /// The document after the change; `None`: unchanged.
    fn after(&self, before: &RawDocument, inserting: bool) -> Result<Option<RawDocumentBuf>> {
        match (&self.target.change, &self.update) {
            (Change::Replace(document), _) => {
                let after = replace(Some(before), document)?;
                Ok((after.as_bytes() != before.as_bytes()).then_some(after))
            }
            (_, Some(update)) => update.apply(before, inserting),
            (_, None) => Ok(None),
        }
    }

    /// Changes a document that matches.
    fn carry_out(
        &self,
        writer: &mut Writer<'_, '_>,
        id: &[u8],
        before: RawDocumentBuf,
    ) -> Result<Changed, Failure> {
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
    fn upsert(&self, writer: &mut Writer<'_, '_>) -> Result<RawDocumentBuf, Failure> {
        let seed = self.filter.equality_document()?;
        let seed = RawDocumentBuf::try_from(&seed).map_err(malformed)?;
        let document = match &self.target.change {
            Change::Replace(document) => replace(Some(&seed), document)?,
            _ => self.after(&seed, true)?.unwrap_or(seed),
        };
        let document = with_id(document, &self.target.upsert_id)?;
        writer.insert(&document)?;
        Ok(document)
    }
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
    now_ms: i64,
) -> Result<OpReply, Failure> {
    let parsed = Parsed::new(&one.target, now_ms)?;
    for id in &one.candidates {
        let Some(before) = writer.get(id)? else {
            continue;
        };
        if parsed.filter.matches(&before)? {
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
    let inserted = parsed.upsert(writer)?;
    upserted_reply(StepCounts::default(), &inserted, one.return_document).map_err(Failure::Refused)
}

/// Changes those of a step's documents that still match.
pub(crate) fn write_step(
    writer: &mut Writer<'_, '_>,
    step: &WriteStep,
    mut progress: StepProgress,
    now_ms: i64,
) -> Result<Executed, Failure> {
    let parsed = Parsed::new(&step.target, now_ms)?;
    for id in &step.ids {
        // A retry after a change of leader begins anew; what is done stays done.
        if id.as_slice() <= progress.done_to.as_slice() {
            continue;
        }
        if let Some(before) = writer.get(id)?
            && parsed.filter.matches(&before)?
        {
            let changed = parsed.carry_out(writer, id, before)?;
            progress.counts.matched += 1;
            progress.counts.modified += u64::from(changed.modified);
        }
        progress.done_to.clone_from(id);
    }
    if !step.last {
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
        let inserted = parsed.upsert(writer)?;
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
