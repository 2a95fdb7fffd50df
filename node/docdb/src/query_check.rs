//! The queries of operations, looked at without a database: a node may so refuse a large one before it sends it to
//! another.

use bson::RawDocumentBuf;

use crate::aggregate;
use crate::error::Result;
use crate::op::Op;
use crate::query::parse_filter;

impl Op {
    /// Bytes of its filter or pipeline; 0 when it has neither.
    pub fn query_bytes(&self) -> usize {
        let of_stages =
            |stages: &[RawDocumentBuf]| stages.iter().map(|stage| stage.as_bytes().len()).sum();
        match self {
            Self::Aggregate { pipeline, .. } => of_stages(pipeline),
            _ => self.filter().map_or(0, |filter| filter.as_bytes().len()),
        }
    }

    /// Refuses a filter or pipeline that is wrong whatever the database holds.
    pub fn check_query(&self) -> Result<()> {
        // No limit and no form depends on the time.
        match self {
            Self::Aggregate { pipeline, .. } => aggregate::check(pipeline, 0),
            _ => self
                .filter()
                .map_or(Ok(()), |filter| parse_filter(filter, 0).map(drop)),
        }
    }

    fn filter(&self) -> Option<&RawDocumentBuf> {
        match self {
            Self::Find { find, .. } => Some(&find.filter),
            Self::Count { filter, .. } | Self::Remove { filter, .. } => Some(filter),
            Self::Update { update, .. } => Some(&update.filter),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::{doc, rawdoc};

    use super::*;
    use crate::limits::IN_VALUES_MAX;

    fn values(count: usize) -> Op {
        let filter = doc! { "n": { "$in": vec![1; count] } };
        Op::Count {
            collection: "c".into(),
            filter: RawDocumentBuf::try_from(&filter).unwrap(),
        }
    }

    #[test]
    fn what_no_database_would_carry_out_is_refused_without_one() {
        assert!(values(IN_VALUES_MAX).check_query().is_ok());
        assert!(values(IN_VALUES_MAX).query_bytes() > IN_VALUES_MAX * 5);
        let refusal = values(IN_VALUES_MAX + 1).check_query().unwrap_err();
        assert!(refusal.message.contains("$in"), "{refusal}");
        let pipeline = |stage| Op::Aggregate {
            collection: "c".into(),
            pipeline: vec![stage],
            seed: 0,
        };
        assert!(pipeline(rawdoc! { "$match": {} }).check_query().is_ok());
        assert!(pipeline(rawdoc! { "$nonsense": {} }).check_query().is_err());
        assert!(Op::ListCollections.check_query().is_ok());
    }
}
