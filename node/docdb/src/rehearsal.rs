//! Writes with patterns, tried where they are planned.
//!
//! Applying a command is bounded work, but on each replica, in front of everybody's writes. What would exceed the bound
//! is therefore found out on the leader, beside the apply thread, and not proposed at all. Apply holds to the bound
//! whatever was found here.

use bson::{RawArray, RawBsonRef, RawDocument};

use crate::catalog::Collection;
use crate::change::Parsed;
use crate::command::{Change, Target};
use crate::error::{ErrorCode, Result};
use crate::filter::WorkScope;
use crate::guard::Guard;
use crate::keys;
use crate::kv::Family;
use crate::read::Snapshot;
use crate::write::stored_document;

/// Whether a write tries patterns or expressions on its documents.
pub(crate) fn has_patterns(target: &Target) -> bool {
    let in_change = match &target.change {
        // Other operators only store their values.
        Change::Update(update) => matches!(
            update.get("$pull"),
            Ok(Some(RawBsonRef::Document(pulled))) if is_pattern_in(pulled)
        ),
        Change::Replace(_) | Change::Remove => false,
    };
    in_change || is_pattern_in(&target.filter)
}

/// The depth is that of a document which was already checked.
fn is_pattern_in(document: &RawDocument) -> bool {
    document
        .iter()
        .flatten()
        .any(|(name, value)| matches!(name.as_str(), "$regex" | "$expr") || is_pattern(value))
}

fn is_pattern(value: RawBsonRef<'_>) -> bool {
    let in_array = |array: &RawArray| array.into_iter().flatten().any(is_pattern);
    match value {
        RawBsonRef::RegularExpression(_) => true,
        RawBsonRef::Document(inner) => is_pattern_in(inner),
        RawBsonRef::Array(inner) => in_array(inner),
        _ => false,
    }
}

/// Refuses a write whose first match among `ids` costs more than one command may.
pub(crate) fn rehearse<I: AsRef<[u8]>>(
    snapshot: &Snapshot<'_>,
    collection: &Collection,
    (target, guard): (&Target, Option<&Guard>),
    ids: &[I],
) -> Result<()> {
    let _shared = WorkScope::of_command(0);
    let tried = || {
        let parsed = Parsed::new(target, guard, snapshot.now_ms)?;
        for id in ids {
            let key = keys::document(collection.id, id.as_ref());
            if let Some(bytes) = snapshot.view.get(Family::Docs, &key)? {
                let before = stored_document(bytes)?;
                if parsed.filter.matches(&before)? {
                    return parsed.after(&before, false).map(drop);
                }
            }
        }
        Ok(())
    };
    // Whatever else may be wrong with it is for apply to say, which knows the documents as they are then.
    tried().or_else(|error| match error.code {
        ErrorCode::ExceedBudget => Err(error),
        _ => Ok(()),
    })
}
