//! Public protocol messages to operations and back.

use bson::{RawDocumentBuf, rawdoc};
use bytes::Bytes;
use yunbase_client::proto;
use yunbase_docdb::op::{
    FindOp, IndexField, IndexOptions, IndexSpec, Op, OpReply, UpdateOp, ValidationLevel,
};

use crate::call::{Failure, ReadLevel, Retry};
use crate::identity::random_id;

/// What a request asks for.
pub(super) enum Asked {
    /// An operation on the environment.
    Op(Op),
    /// An exactly-once session.
    OpenSession,
}

/// Reads the operation of a request; names what is missing or malformed.
pub(super) fn asked(op: proto::request::Op) -> Result<Asked, Failure> {
    use proto::request::Op as Wire;
    Ok(Asked::Op(match op {
        Wire::OpenSession(_) => return Ok(Asked::OpenSession),
        Wire::CreateCollection(op) => Op::CreateCollection {
            collection: op.collection,
        },
        Wire::DropCollection(op) => Op::DropCollection {
            collection: op.collection,
        },
        Wire::ListCollections(_) => Op::ListCollections,
        Wire::Insert(op) => Op::Insert {
            collection: op.collection,
            documents: op
                .documents
                .into_iter()
                .map(|bytes| document("documents", bytes).map(with_id))
                .collect::<Result<_, _>>()?,
        },
        Wire::Find(op) => Op::Find {
            collection: op.collection.clone(),
            find: find(op)?,
        },
        Wire::Count(op) => Op::Count {
            filter: document("filter", op.filter)?,
            collection: op.collection,
        },
        Wire::Update(op) => Op::Update {
            collection: op.collection.clone(),
            update: update(op)?,
        },
        Wire::Remove(op) => Op::Remove {
            filter: document("filter", op.filter)?,
            collection: op.collection,
            multi: op.multi,
        },
        Wire::CreateIndex(op) => create_index(op)?,
        Wire::SetValidator(op) => Op::SetValidator {
            level: match op.level() {
                proto::ValidationLevel::Off => ValidationLevel::Off,
                proto::ValidationLevel::Warn => ValidationLevel::Warn,
                proto::ValidationLevel::Strict => ValidationLevel::Strict,
            },
            schema: document("schema", op.schema)?,
            collection: op.collection,
        },
        Wire::RenameCollection(op) => Op::RenameCollection {
            collection: op.collection,
            to: op.to,
        },
        Wire::DropIndex(op) => Op::DropIndex {
            collection: op.collection,
            name: op.name,
        },
        Wire::ListIndexes(op) => Op::ListIndexes {
            collection: op.collection,
        },
        Wire::Aggregate(op) => Op::Aggregate {
            collection: op.collection,
            pipeline: op
                .pipeline
                .into_iter()
                .map(|stage| document("pipeline", stage))
                .collect::<Result<_, _>>()?,
            seed: rand::random(),
        },
        Wire::SetAccess(op) => Op::SetAccess {
            access: document("access", op.access)?,
            collection: op.collection,
        },
        Wire::GetAccess(op) => Op::GetAccess {
            collection: op.collection,
        },
        Wire::Explain(op) => {
            use proto::explain::Op as Inner;
            let inner = match op.op.ok_or_else(|| missing("explain.op"))? {
                Inner::Find(op) => proto::request::Op::Find(op),
                Inner::Count(op) => proto::request::Op::Count(op),
                Inner::Update(op) => proto::request::Op::Update(op),
                Inner::Remove(op) => proto::request::Op::Remove(op),
                Inner::Aggregate(op) => proto::request::Op::Aggregate(op),
            };
            match asked(inner)? {
                Asked::Op(op) => Op::Explain(Box::new(op)),
                Asked::OpenSession => return Err(missing("explain.op")),
            }
        }
    }))
}

fn create_index(op: proto::CreateIndex) -> Result<Op, Failure> {
    let mut places = (0..).zip(&op.fields).filter(|(_, field)| field.geo);
    let geo = places.next().map(|(at, _)| at);
    if places.next().is_some() {
        return Err(Failure::new(
            "INVALID_PARAM",
            "an index has at most one field with GeoJSON",
            Retry::Never,
        ));
    }
    let index = IndexSpec {
        name: op.name,
        fields: op
            .fields
            .into_iter()
            .map(|field| IndexField {
                path: field.path,
                descending: field.descending,
            })
            .collect(),
        unique: op.unique,
    };
    let options = IndexOptions {
        sparse: op.sparse,
        partial: document("partial", op.partial)?,
        expire_after_seconds: op.expire_after_seconds,
        geo,
    };
    let collection = op.collection;
    Ok(if options == IndexOptions::default() {
        Op::CreateIndex { collection, index }
    } else {
        Op::CreateIndexWith {
            collection,
            index,
            options,
        }
    })
}

fn find(op: proto::Find) -> Result<FindOp, Failure> {
    Ok(FindOp {
        filter: document("filter", op.filter)?,
        projection: document("projection", op.projection)?,
        sort: document("sort", op.sort)?,
        skip: op.skip,
        limit: op.limit,
        after: op.after.to_vec(),
    })
}

fn update(op: proto::Update) -> Result<UpdateOp, Failure> {
    Ok(UpdateOp {
        filter: document("filter", op.filter)?,
        update: document("update", op.update)?,
        replace: op.replace,
        upsert: op.upsert,
        multi: op.multi,
        return_document: op.return_document,
        sort: document("sort", op.sort)?,
        upsert_id: if op.upsert {
            random_id()
        } else {
            String::new()
        },
    })
}

fn missing(member: &str) -> Failure {
    Failure::new(
        "INVALID_PARAM",
        format!("`{member}` is missing"),
        Retry::Never,
    )
}

/// A BSON document; absent bytes mean the empty one.
fn document(member: &str, bytes: Bytes) -> Result<RawDocumentBuf, Failure> {
    if bytes.is_empty() {
        return Ok(RawDocumentBuf::new());
    }
    RawDocumentBuf::from_bytes(bytes.into()).map_err(|error| {
        Failure::new(
            "INVALID_PARAM",
            format!("`{member}` is not a BSON document: {error}"),
            Retry::Never,
        )
    })
}

/// Puts a generated `_id` in front where a document has none.
pub fn with_id(document: RawDocumentBuf) -> RawDocumentBuf {
    if matches!(document.get("_id"), Ok(Some(_)) | Err(_)) {
        // A malformed document is left for the database to refuse by name.
        return document;
    }
    let head = rawdoc! { "_id": random_id() };
    let (head, body) = (head.as_bytes(), document.as_bytes());
    let mut bytes = Vec::with_capacity(head.len() + body.len());
    bytes.extend_from_slice(&head[..head.len() - 1]);
    bytes.extend_from_slice(&body[4..]);
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes).unwrap_or(document)
}

/// The read level of a request.
pub(super) fn read_level(level: proto::ReadLevel) -> ReadLevel {
    match level {
        proto::ReadLevel::Linearizable => ReadLevel::Linearizable,
        proto::ReadLevel::Lease => ReadLevel::Lease,
        proto::ReadLevel::Stale => ReadLevel::Stale,
    }
}

/// The answer's message.
pub(super) fn replied(reply: OpReply) -> proto::response::Result {
    use proto::response::Result as Wire;
    match reply {
        OpReply::Done => Wire::Done(proto::Done {}),
        OpReply::Inserted { ids } => Wire::Inserted(proto::Inserted {
            ids: ids.into_iter().map(bytes).collect(),
        }),
        OpReply::Found { documents, next } => Wire::Found(proto::Found {
            documents: documents.into_iter().map(bytes).collect(),
            next: next.into(),
        }),
        OpReply::Counted { count } => Wire::Counted(proto::Counted { count }),
        OpReply::Updated {
            matched,
            modified,
            upserted_id,
            document,
        } => Wire::Updated(proto::Updated {
            matched,
            modified,
            upserted_id: upserted_id.map(bytes),
            document: document.map(bytes),
        }),
        OpReply::Removed { removed } => Wire::Removed(proto::Removed { removed }),
        OpReply::Described { documents } => Wire::Described(proto::Described {
            documents: documents.into_iter().map(bytes).collect(),
        }),
        OpReply::Positioned { reply, .. } => replied(*reply),
    }
}

/// The failure's message.
pub(super) fn failed(failure: Failure, request_id: String) -> proto::response::Result {
    let retry = match failure.retry {
        Retry::Never => proto::Retry::Never,
        Retry::Safe => proto::Retry::Safe,
        Retry::SameSequence => proto::Retry::SameSequence,
    };
    proto::response::Result::Failure(proto::Failure {
        code: failure.code.into_owned(),
        message: failure.message,
        request_id,
        retry: retry.into(),
        hint: String::new(),
    })
}

fn bytes(document: RawDocumentBuf) -> Bytes {
    document.into_bytes().into()
}

/// Size of an answer on the wire, near enough to bound a frame.
pub(super) fn size_of(response: &proto::Response) -> usize {
    match &response.result {
        Some(proto::response::Result::Found(found)) => found.documents.iter().map(Bytes::len).sum(),
        Some(proto::response::Result::Updated(updated)) => {
            updated.document.as_ref().map_or(0, Bytes::len)
        }
        Some(proto::response::Result::Described(described)) => {
            described.documents.iter().map(Bytes::len).sum()
        }
        _ => 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::RawBsonRef;

    #[test]
    fn an_id_is_made_only_where_there_is_none() {
        let given = with_id(rawdoc! { "_id": 5, "a": 1 });
        assert_eq!(given, rawdoc! { "_id": 5, "a": 1 });
        let made = with_id(rawdoc! { "a": 1 });
        let Ok(Some(RawBsonRef::String(id))) = made.get("_id") else {
            panic!("an id of text")
        };
        assert_eq!(id.len(), 32);
        assert_eq!(made.iter().count(), 2);
    }

    #[test]
    fn what_is_not_bson_is_refused_by_name() {
        let wire = proto::request::Op::Count(proto::Count {
            collection: "c".into(),
            filter: Bytes::from_static(b"junk!"),
        });
        let Err(failure) = asked(wire) else {
            panic!("refused")
        };
        assert!(failure.message.contains("filter"), "{failure}");
    }
}
