//! What a watch watches: a query on one collection, as it came and as it is evaluated.

use bson::{RawDocument, RawDocumentBuf};
use yunbase_docdb::filter::{Filter, FilterContext, within_write_budget};
use yunbase_docdb::op::FindOp;
use yunbase_docdb::sort::Sort;
use yunbase_docdb::value::key::encoded;
use yunbase_docdb::{Error, Result};

/// A query with everything that its result depends on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WatchQuery {
    pub(crate) env: String,
    pub(crate) collection: String,
    /// What the client asks for.
    pub(crate) filter: RawDocumentBuf,
    /// What the caller may see; empty = everything.
    pub(crate) restriction: RawDocumentBuf,
    /// `{path: 1 | -1}`; empty = by `_id`.
    pub(crate) sort: RawDocumentBuf,
    pub(crate) limit: Option<usize>,
    /// The time that the query sees, fixed when the watch begins.
    pub(crate) now_ms: i64,
}

/// Queries with the same key have the same result and events.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueryKey {
    env: String,
    collection: String,
    filter: Vec<u8>,
    restriction: Vec<u8>,
    /// Of a result without limit the order is the clients' affair.
    window: Option<(Vec<u8>, usize)>,
    now_ms: Option<i64>,
}

impl WatchQuery {
    pub(crate) fn key(&self) -> QueryKey {
        let names_time = [&self.filter, &self.restriction].into_iter().any(|part| {
            part.as_bytes()
                .windows(NOW.len())
                .any(|window| window == NOW)
        });
        QueryKey {
            env: self.env.clone(),
            collection: self.collection.clone(),
            filter: self.filter.as_bytes().to_vec(),
            restriction: self.restriction.as_bytes().to_vec(),
            window: self
                .limit
                .map(|limit| (self.sort.as_bytes().to_vec(), limit)),
            now_ms: names_time.then_some(self.now_ms),
        }
    }

    /// The filter with the restriction.
    pub(crate) fn restricted(&self) -> RawDocumentBuf {
        if self.restriction.is_empty() {
            return self.filter.clone();
        }
        if self.filter.is_empty() {
            return self.restriction.clone();
        }
        bson::rawdoc! { "$and": [self.filter.clone(), self.restriction.clone()] }
    }

    /// The query for its result: with a limit `spare` documents more, so that what leaves can be replaced.
    pub(crate) fn find(&self, documents_max: usize, spare: usize) -> FindOp {
        let wanted = self
            .limit
            .map_or(documents_max + 1, |limit| limit + spare + 1);
        FindOp {
            filter: self.restricted(),
            sort: self.sort.clone(),
            limit: Some(wanted as u64),
            ..FindOp::default()
        }
    }
}

/// How an expression names the time; a filter without these bytes does not depend on it.
const NOW: &[u8] = b"$$NOW";

/// A query ready to be matched.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) query: WatchQuery,
    filter: Filter,
    sort: Sort,
}

impl Compiled {
    pub(crate) fn new(query: WatchQuery) -> Result<Self> {
        let context = FilterContext {
            now_ms: query.now_ms,
        };
        let filter = Filter::parse(&query.restricted(), &context)?;
        if filter.orders_by_distance() {
            return Err(Error::operator(
                "a watch cannot be ordered by distance: use '$geoWithin' with '$centerSphere' instead of '$near' or '$nearSphere'",
            ));
        }
        Ok(Self {
            filter,
            sort: Sort::parse(&query.sort)?,
            query,
        })
    }

    pub(crate) fn matches(&self, document: &RawDocument) -> Result<bool> {
        within_write_budget(|| self.filter.matches(document))
    }

    /// Where a document stands among the matches: first by the order, then by `_id`.
    pub(crate) fn place(&self, document: &RawDocument) -> Result<Vec<u8>> {
        let mut place = self.sort.key(document)?;
        let id = document
            .get("_id")
            .map_err(Error::internal)?
            .ok_or_else(|| Error::internal("a stored document has no _id"))?;
        place.extend_from_slice(&encoded(id)?);
        Ok(place)
    }

    /// A path and the encoded value that every match has there, by which changes can be told apart without
    /// matching. `_id` before others, since it is the most selective.
    pub(crate) fn anchor(&self) -> Option<(String, Vec<u8>)> {
        use bson::RawBsonRef as B;
        let mut plain = self.filter.equalities().into_iter().filter(|(_, value)| {
            matches!(
                value,
                B::String(_)
                    | B::Int32(_)
                    | B::Int64(_)
                    | B::Boolean(_)
                    | B::ObjectId(_)
                    | B::DateTime(_)
            )
        });
        let first = plain.next()?;
        let (path, value) = if first.0 == "_id" {
            first
        } else {
            plain.find(|(path, _)| *path == "_id").unwrap_or(first)
        };
        Some((path.to_owned(), encoded(value).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn query(filter: RawDocumentBuf) -> WatchQuery {
        WatchQuery {
            env: "e".into(),
            collection: "c".into(),
            filter,
            restriction: RawDocumentBuf::new(),
            sort: RawDocumentBuf::new(),
            limit: None,
            now_ms: 1,
        }
    }

    #[test]
    fn queries_that_do_not_name_the_time_are_shared_over_time() {
        let early = query(rawdoc! { "n": 1 });
        let late = WatchQuery {
            now_ms: 2,
            sort: rawdoc! { "n": 1 },
            ..early.clone()
        };
        assert_eq!(early.key(), late.key());
        let timed = query(rawdoc! { "$expr": { "$lt": ["$at", "$$NOW"] } });
        let later = WatchQuery {
            now_ms: 2,
            ..timed.clone()
        };
        assert_ne!(timed.key(), later.key());
        let limited = WatchQuery {
            limit: Some(3),
            ..early.clone()
        };
        assert_ne!(early.key(), limited.key());
        let restricted = WatchQuery {
            restriction: rawdoc! { "_openid": "u" },
            ..early.clone()
        };
        assert_ne!(early.key(), restricted.key());
    }

    #[test]
    fn a_restriction_narrows_whatever_the_filter_says() {
        let narrowed = WatchQuery {
            restriction: rawdoc! { "_openid": "u" },
            ..query(rawdoc! { "$or": [{ "n": 1 }, { "n": 2 }] })
        };
        let compiled = Compiled::new(narrowed).unwrap();
        assert!(
            compiled
                .matches(&rawdoc! { "n": 2, "_openid": "u" })
                .unwrap()
        );
        assert!(
            !compiled
                .matches(&rawdoc! { "n": 2, "_openid": "v" })
                .unwrap()
        );
    }

    #[test]
    fn a_watch_has_no_order_by_distance() {
        let near = rawdoc! { "p": { "$nearSphere": { "$geometry": { "type": "Point", "coordinates": [1, 2] } } } };
        let refused = Compiled::new(query(near)).unwrap_err();
        assert!(refused.message.contains("$geoWithin"), "{refused}");
        let within = rawdoc! { "p": { "$geoWithin": { "$centerSphere": [[1, 2], 0.1] } } };
        let place = rawdoc! { "_id": 1, "p": { "type": "Point", "coordinates": [1, 2] } };
        assert!(
            Compiled::new(query(within))
                .unwrap()
                .matches(&place)
                .unwrap()
        );
    }

    #[test]
    fn the_anchor_is_the_id_where_there_is_one() {
        let anchor = |filter| {
            Compiled::new(query(filter))
                .unwrap()
                .anchor()
                .map(|(path, _)| path)
        };
        assert_eq!(
            anchor(rawdoc! { "room": "x", "_id": "a" }).as_deref(),
            Some("_id")
        );
        assert_eq!(
            anchor(rawdoc! { "room": "x", "n": { "$gt": 1 } }).as_deref(),
            Some("room")
        );
        // Missing fields are null too, and have no value to be found by.
        assert_eq!(anchor(rawdoc! { "room": null }), None);
        assert_eq!(anchor(rawdoc! { "$or": [{ "a": 1 }, { "b": 1 }] }), None);
    }
}
