//! Query ids: a watch's query and where in the change log it began, for any node to take up.

use bincode::Options as _;
use bson::RawDocumentBuf;
use serde::{Deserialize, Serialize};
use yunbase_docdb::{Position, raw_bson};

use super::query::WatchQuery;
use crate::seal::{Kind, Seal};

const VERSION: u8 = 1;

/// What a query id says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct QueryId {
    pub(crate) collection: String,
    #[serde(with = "raw_bson")]
    pub(crate) filter: RawDocumentBuf,
    #[serde(with = "raw_bson")]
    pub(crate) sort: RawDocumentBuf,
    pub(crate) limit: Option<usize>,
    pub(crate) now_ms: i64,
    /// Fingerprint of what the caller might see then: numbers of events depend on it.
    pub(crate) restriction: [u8; 16],
    /// Where the first result was read.
    pub(crate) began: Position,
    /// Documents of the first result.
    pub(crate) count: usize,
}

/// The fingerprint of a restriction.
pub(crate) fn fingerprint(restriction: &RawDocumentBuf) -> [u8; 16] {
    let hash = blake3::hash(restriction.as_bytes());
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&hash.as_bytes()[..16]);
    fingerprint
}

impl QueryId {
    /// Of a watch for `query` whose first result had `count` documents at `began`.
    pub(crate) fn new(query: &WatchQuery, began: Position, count: usize) -> Self {
        Self {
            collection: query.collection.clone(),
            filter: query.filter.clone(),
            sort: query.sort.clone(),
            limit: query.limit,
            now_ms: query.now_ms,
            restriction: fingerprint(&query.restriction),
            began,
            count,
        }
    }

    /// Its text. `None` until the node knows its cluster.
    pub(crate) fn seal(&self, seal: &Seal, env: &str) -> Option<String> {
        let mut payload = vec![VERSION];
        options().serialize_into(&mut payload, self).ok()?;
        seal.seal(Kind::QueryId, env, &payload)
    }

    /// Reads a text that some node of the cluster gave out for `env`.
    pub(crate) fn open(seal: &Seal, env: &str, text: &str) -> Option<Self> {
        match seal.open(Kind::QueryId, env, text)?.split_first()? {
            (&VERSION, body) => options().deserialize(body).ok(),
            _ => None,
        }
    }
}

fn options() -> impl bincode::Options {
    bincode::DefaultOptions::new()
        .reject_trailing_bytes()
        .with_limit(1 << 20)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn query_ids_survive_the_way_to_another_node() {
        let id = QueryId {
            collection: "todo".into(),
            filter: rawdoc! { "a": { "$gt": 1 } },
            sort: rawdoc! {},
            limit: Some(3),
            now_ms: 5,
            restriction: fingerprint(&rawdoc! { "_openid": "u" }),
            began: Position {
                log_index: 9,
                op: 1,
            },
            count: 2,
        };
        let seal = Seal::fixed([1; 32]);
        let text = id.seal(&seal, "demo").unwrap();
        assert_eq!(QueryId::open(&seal, "demo", &text), Some(id));
        assert_eq!(QueryId::open(&seal, "other", &text), None);
        assert_eq!(QueryId::open(&seal, "demo", "queryid_1"), None);
    }
}
