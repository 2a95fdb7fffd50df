//! What a request on behalf of an end user is held to besides what it asks for.
//!
//! The node compiles access rules into filters; the database only knows the filters. They are checked against
//! the same state that the request reads or changes, together with the version of the collection's access
//! document that they were made from: a request made under rules that have changed since is refused with
//! `AccessChanged`, and nothing of it happens. The filters stay beside the request's own filter, never inside
//! it, so that they put no fields into documents that upserts create.

use bson::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};
use serde::{Deserialize, Serialize};

use crate::catalog::Collection;
use crate::error::{Error, ErrorCode, Result};
use crate::filter::{Filter, FilterContext};
use crate::limits::GUARD_FIELDS_MAX;
use crate::raw_bson;
use crate::value::{equal, malformed};

/// Conditions on the documents that a guarded operation touches. An empty filter is no condition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Guard {
    /// The version of the collection's access document that this was made from.
    pub access_version: u64,
    /// Documents that do not match are to this request as if they did not exist.
    #[serde(with = "raw_bson")]
    pub visible: RawDocumentBuf,
    /// Documents that the request is about must match, or the request is refused.
    #[serde(with = "raw_bson")]
    pub before: RawDocumentBuf,
    /// Documents that the request changed must match afterwards, or the request is refused.
    #[serde(with = "raw_bson")]
    pub after: RawDocumentBuf,
    /// Documents that the request created (also by upsert) must match, or the request is refused.
    #[serde(with = "raw_bson")]
    pub inserted: RawDocumentBuf,
    /// Top-level fields that a replacement keeps from the old document; it may not give them another value.
    pub keep: Vec<String>,
    /// Top-level fields of documents that the request creates; it may not give them another value.
    #[serde(with = "raw_bson")]
    pub stamp: RawDocumentBuf,
}

/// What an aggregation is held to in a collection that it joins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    /// The collection.
    pub collection: String,
    /// The version of its access document that this was made from.
    pub access_version: u64,
    /// Documents that do not match are to the aggregation as if they did not exist.
    #[serde(with = "raw_bson")]
    pub visible: RawDocumentBuf,
}

impl Guard {
    /// Refuses what no guard may be, whatever the database holds.
    pub(crate) fn check(&self) -> Result<()> {
        if self.keep.len() > GUARD_FIELDS_MAX
            || self.stamp.iter_elements().count() > GUARD_FIELDS_MAX
        {
            return Err(Error::invalid(format!(
                "a guard keeps or stamps more than {GUARD_FIELDS_MAX} fields"
            )));
        }
        Checks::parse(self, 0).map(|_| ())
    }

    /// Refuses a guard that was made from another version of the collection's access document.
    pub(crate) fn check_version(&self, collection: &Collection) -> Result<()> {
        check_version(collection, self.access_version)
    }

    /// The filter of a request with what is visible to it. That comes first: a condition of the request that
    /// fails on a document must not tell of documents that it cannot see.
    pub fn narrow(&self, filter: &RawDocument) -> RawDocumentBuf {
        if self.visible.is_empty() {
            return filter.to_owned();
        }
        if filter.is_empty() {
            return self.visible.clone();
        }
        both(&self.visible, filter)
    }

    /// Matches of `filter` that the request may see but is not allowed to touch.
    pub(crate) fn forbidden(&self, filter: &RawDocument) -> Option<RawDocumentBuf> {
        if self.before.is_empty() {
            return None;
        }
        let mut none = RawArrayBuf::new();
        none.push(self.before.clone());
        let mut not = RawDocumentBuf::new();
        not.append(bson::cstr!("$nor"), none);
        Some(both(&self.narrow(filter), &not))
    }

    /// A replacement of `before` with the fields that it has to keep.
    pub fn kept(
        &self,
        before: &RawDocument,
        after: RawDocumentBuf,
        collection: &str,
    ) -> Result<RawDocumentBuf> {
        let mut after = after;
        for name in &self.keep {
            let old = before.get(name).map_err(malformed)?;
            let is_given = check_given(&after, name, old, collection)?;
            if let (false, Some(old)) = (is_given, old) {
                let name = <&bson::raw::CStr>::try_from(name.as_str()).map_err(malformed)?;
                after.append(name, old);
            }
        }
        Ok(after)
    }

    /// A new document with the fields that it has to have.
    pub fn stamped(&self, document: RawDocumentBuf, collection: &str) -> Result<RawDocumentBuf> {
        let mut document = document;
        for element in self.stamp.iter() {
            let (name, value) = element.map_err(malformed)?;
            if !check_given(&document, name.as_str(), Some(value), collection)? {
                document.append(name, value);
            }
        }
        Ok(document)
    }
}

/// Refuses what was made from another version of a collection's access document.
pub(crate) fn check_version(collection: &Collection, version: u64) -> Result<()> {
    if collection.access_version() == version {
        return Ok(());
    }
    Err(Error::new(
        ErrorCode::AccessChanged,
        format!(
            "the access rules of collection '{}' have changed meanwhile; try again",
            collection.name
        ),
    ))
}

/// Whether a document has a field that may only have one value; refuses any other value, and the field twice.
fn check_given(
    document: &RawDocument,
    field: &str,
    only: Option<RawBsonRef<'_>>,
    collection: &str,
) -> Result<bool> {
    let mut is_given = false;
    for element in document.iter() {
        let (name, value) = element.map_err(malformed)?;
        if name.as_str() == field {
            if is_given || !only.is_some_and(|only| equal(only, value)) {
                return Err(fixed(field, collection));
            }
            is_given = true;
        }
    }
    Ok(is_given)
}

/// A guard's conditions, parsed.
pub struct Checks {
    visible: Option<Filter>,
    before: Option<Filter>,
    after: Option<Filter>,
    inserted: Option<Filter>,
}

impl Checks {
    /// Parses them. `now_ms` is the time that they see.
    pub fn parse(guard: &Guard, now_ms: i64) -> Result<Self> {
        let parse = |filter: &RawDocument| {
            (!filter.is_empty())
                .then(|| Filter::parse(filter, &FilterContext { now_ms }))
                .transpose()
        };
        Ok(Self {
            visible: parse(&guard.visible)?,
            before: parse(&guard.before)?,
            after: parse(&guard.after)?,
            inserted: parse(&guard.inserted)?,
        })
    }

    /// Whether the request sees a document.
    pub fn sees(&self, document: &RawDocument) -> Result<bool> {
        match &self.visible {
            Some(visible) => visible.matches(document),
            None => Ok(true),
        }
    }

    /// Refuses a document that the request must not touch.
    pub fn before(&self, document: &RawDocument, collection: &str) -> Result<()> {
        hold(
            self.before.as_ref(),
            document,
            "this request on a document that it matches",
            collection,
        )
    }

    /// Refuses what a document must not become.
    pub fn after(&self, document: &RawDocument, collection: &str) -> Result<()> {
        hold(
            self.after.as_ref(),
            document,
            "a document to become what this update makes of it",
            collection,
        )
    }

    /// Refuses what must not be created.
    pub fn inserted(&self, document: &RawDocument, collection: &str) -> Result<()> {
        hold(
            self.inserted.as_ref(),
            document,
            "the document that this request creates",
            collection,
        )
    }
}

/// Refuses a document that is not what the condition demands. The message holds nothing of the document.
fn hold(
    condition: Option<&Filter>,
    document: &RawDocument,
    what: &str,
    collection: &str,
) -> Result<()> {
    match condition {
        Some(condition) if !condition.matches(document)? => Err(denied(what, collection)),
        _ => Ok(()),
    }
}

/// The refusal of something that the rules do not allow.
pub(crate) fn denied(what: &str, collection: &str) -> Error {
    Error::new(
        ErrorCode::PermissionDenied,
        format!("the access rules of collection '{collection}' do not allow {what}"),
    )
}

fn fixed(field: &str, collection: &str) -> Error {
    Error::new(
        ErrorCode::PermissionDenied,
        format!("field '{field}' of collection '{collection}' is set by the server; leave it out"),
    )
}

fn both(first: &RawDocument, second: &RawDocument) -> RawDocumentBuf {
    let mut branches = RawArrayBuf::new();
    branches.push(first.to_owned());
    branches.push(second.to_owned());
    let mut filter = RawDocumentBuf::new();
    filter.append(bson::cstr!("$and"), branches);
    filter
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn what_is_visible_comes_before_the_request() {
        let guard = Guard {
            visible: rawdoc! { "o": 1 },
            ..Guard::default()
        };
        assert_eq!(
            guard.narrow(&rawdoc! { "a": 2 }),
            rawdoc! { "$and": [{ "o": 1 }, { "a": 2 }] }
        );
        assert_eq!(guard.narrow(&rawdoc! {}), rawdoc! { "o": 1 });
        assert_eq!(
            Guard::default().narrow(&rawdoc! { "a": 2 }),
            rawdoc! { "a": 2 }
        );
        assert_eq!(guard.forbidden(&rawdoc! {}), None);
    }

    #[test]
    fn kept_and_stamped_fields_take_no_other_value() {
        let guard = Guard {
            keep: vec!["o".into()],
            stamp: rawdoc! { "o": "me" },
            ..Guard::default()
        };
        let old = rawdoc! { "_id": 1, "o": "you", "a": 1 };
        let kept = |new| guard.kept(&old, new, "c");
        assert_eq!(
            kept(rawdoc! { "_id": 1 }),
            Ok(rawdoc! { "_id": 1, "o": "you" })
        );
        assert_eq!(kept(rawdoc! { "o": "you" }), Ok(rawdoc! { "o": "you" }));
        for forged in [rawdoc! { "o": "me" }, rawdoc! { "o": null }] {
            assert_eq!(kept(forged).unwrap_err().code, ErrorCode::PermissionDenied);
        }
        let unowned = rawdoc! { "_id": 1 };
        assert!(guard.kept(&unowned, rawdoc! { "o": "me" }, "c").is_err());
        assert_eq!(
            guard.kept(&unowned, rawdoc! { "a": 1 }, "c"),
            Ok(rawdoc! { "a": 1 })
        );
        assert_eq!(
            guard.stamped(rawdoc! { "a": 1 }, "c"),
            Ok(rawdoc! { "a": 1, "o": "me" })
        );
        assert_eq!(
            guard.stamped(rawdoc! { "o": "me" }, "c"),
            Ok(rawdoc! { "o": "me" })
        );
        assert!(guard.stamped(rawdoc! { "o": "you" }, "c").is_err());
        let mut twice = rawdoc! { "o": "me" };
        twice.append(bson::cstr!("o"), "you");
        assert!(guard.stamped(twice, "c").is_err());
    }
}
