//! Conditional requests: when an object is answered, copied or replaced.

use axum::http::{HeaderMap, HeaderValue, header};
use s3s::dto::{ETag, ETagCondition, Timestamp};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::moment;
use crate::storage::files::Condition;
use crate::storage::record::FileRecord;

/// What a request demands of an object before anything is read of it.
#[derive(Debug, Default)]
pub(super) struct Conditions<'a> {
    pub(super) if_match: Option<&'a ETagCondition>,
    pub(super) if_none_match: Option<&'a ETagCondition>,
    pub(super) if_modified_since: Option<&'a Timestamp>,
    pub(super) if_unmodified_since: Option<&'a Timestamp>,
}

/// The conditions of an input. The fields are called the same in all of them, and so are those of copies.
macro_rules! conditions {
    (source of $input:expr) => {
        $crate::storage::s3::conditions::Conditions {
            if_match: $input.copy_source_if_match.as_ref(),
            if_none_match: $input.copy_source_if_none_match.as_ref(),
            if_modified_since: $input.copy_source_if_modified_since.as_ref(),
            if_unmodified_since: $input.copy_source_if_unmodified_since.as_ref(),
        }
    };
    ($input:expr) => {
        $crate::storage::s3::conditions::Conditions {
            if_match: $input.if_match.as_ref(),
            if_none_match: $input.if_none_match.as_ref(),
            if_modified_since: $input.if_modified_since.as_ref(),
            if_unmodified_since: $input.if_unmodified_since.as_ref(),
        }
    };
}
pub(super) use conditions;

/// What conditions say of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Met,
    NotModified,
    Failed,
}

impl Conditions<'_> {
    /// In the order of RFC 9110: an etag counts before a time of the same kind.
    fn judge(&self, record: &FileRecord) -> Verdict {
        let modified = moment::second_of_ms(record.modified_at_ms);
        match (self.if_match, self.if_unmodified_since) {
            (Some(wanted), _) if !is_met(wanted, &record.etag) => return Verdict::Failed,
            (None, Some(time)) if modified > *time => return Verdict::Failed,
            _ => {}
        }
        match (self.if_none_match, self.if_modified_since) {
            (Some(known), _) if is_met(known, &record.etag) => Verdict::NotModified,
            (None, Some(time)) if modified <= *time => Verdict::NotModified,
            _ => Verdict::Met,
        }
    }

    /// Whether an object may be answered.
    pub(super) fn check_read(&self, record: &FileRecord) -> S3Result<()> {
        match self.judge(record) {
            Verdict::Met => Ok(()),
            Verdict::Failed => Err(failed()),
            Verdict::NotModified => {
                let mut error = S3Error::new(S3ErrorCode::NotModified);
                let mut headers = HeaderMap::new();
                if let Ok(etag) = HeaderValue::try_from(format!("\"{}\"", record.etag)) {
                    headers.insert(header::ETAG, etag);
                }
                error.set_headers(headers);
                Err(error)
            }
        }
    }

    /// Whether an object may be copied: there is no "not modified" then.
    pub(super) fn check_copy(&self, record: &FileRecord) -> S3Result<()> {
        match self.judge(record) {
            Verdict::Met => Ok(()),
            Verdict::Failed | Verdict::NotModified => Err(failed()),
        }
    }
}

fn is_met(condition: &ETagCondition, etag: &str) -> bool {
    match condition {
        ETagCondition::Any => true,
        ETagCondition::ETag(wanted) => wanted.value() == etag,
    }
}

fn failed() -> S3Error {
    s3_error!(
        PreconditionFailed,
        "the object is not as the condition demands"
    )
}

/// What must be so when an object is stored, in the instant in which it is.
pub(super) fn of_write(
    if_match: Option<&ETagCondition>,
    if_none_match: Option<&ETagCondition>,
) -> S3Result<Condition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(Condition::None),
        (None, Some(ETagCondition::Any)) => Ok(Condition::Absent),
        (None, Some(ETagCondition::ETag(_))) => Err(s3_error!(
            NotImplemented,
            "If-None-Match of a write can only be `*`: use If-Match with the etag that is to be replaced"
        )),
        (Some(wanted), None) => Ok(of_match(wanted)),
        (Some(_), Some(_)) => Err(s3_error!(
            InvalidRequest,
            "a write has If-Match or If-None-Match, not both"
        )),
    }
}

/// The object that is replaced or deleted must have this etag.
pub(super) fn of_match(wanted: &ETagCondition) -> Condition {
    Condition::Etag(match wanted {
        ETagCondition::Any => "*".to_owned(),
        ETagCondition::ETag(etag) => etag.value().to_owned(),
    })
}

/// The etag of an object.
pub(super) fn etag(record: &FileRecord) -> ETag {
    ETag::Strong(record.etag.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> FileRecord {
        FileRecord {
            path: "a".to_owned(),
            size: 3,
            content_type: "text/plain".to_owned(),
            etag: "900150983cd24fb0d6963f7d28e17f72".to_owned(),
            version: "v".to_owned(),
            owner: None,
            metadata: std::collections::BTreeMap::new(),
            modified_at_ms: 1_700_000_000_123,
            content: crate::storage::record::Content::default(),
        }
    }

    fn tag(value: &str) -> ETagCondition {
        ETagCondition::ETag(ETag::Strong(value.to_owned()))
    }

    #[test]
    fn reads_are_conditional() {
        let record = record();
        let (same, other, any) = (tag(&record.etag), tag("other"), ETagCondition::Any);
        let second = moment::of_ms(1_700_000_000_000);
        let before = moment::of_ms(1_699_999_999_000);
        let judge = |if_match, if_none_match, if_modified_since, if_unmodified_since| {
            Conditions {
                if_match,
                if_none_match,
                if_modified_since,
                if_unmodified_since,
            }
            .judge(&record)
        };
        assert_eq!(judge(None, None, None, None), Verdict::Met);
        assert_eq!(judge(Some(&same), None, None, None), Verdict::Met);
        assert_eq!(judge(Some(&any), None, None, None), Verdict::Met);
        assert_eq!(judge(Some(&other), None, None, None), Verdict::Failed);
        assert_eq!(judge(None, Some(&same), None, None), Verdict::NotModified);
        assert_eq!(judge(None, Some(&any), None, None), Verdict::NotModified);
        assert_eq!(judge(None, Some(&other), None, None), Verdict::Met);
        // The fraction of the second that the object was stored in cannot be said in HTTP.
        assert_eq!(judge(None, None, Some(&second), None), Verdict::NotModified);
        assert_eq!(judge(None, None, Some(&before), None), Verdict::Met);
        assert_eq!(judge(None, None, None, Some(&second)), Verdict::Met);
        assert_eq!(judge(None, None, None, Some(&before)), Verdict::Failed);
        // An etag counts before a time.
        assert_eq!(judge(Some(&same), None, None, Some(&before)), Verdict::Met);
        assert_eq!(judge(None, Some(&other), Some(&second), None), Verdict::Met);
    }

    #[test]
    fn what_is_not_modified_tells_its_etag() {
        let record = record();
        let same = tag(&record.etag);
        let conditions = Conditions {
            if_none_match: Some(&same),
            ..Conditions::default()
        };
        let error = conditions.check_read(&record).expect_err("not modified");
        assert_eq!(error.status_code().map(|status| status.as_u16()), Some(304));
        let headers = error.headers().expect("headers");
        assert_eq!(headers["etag"], "\"900150983cd24fb0d6963f7d28e17f72\"");
        let copy = conditions.check_copy(&record).expect_err("refused");
        assert_eq!(copy.code(), &S3ErrorCode::PreconditionFailed);
    }

    #[test]
    fn writes_are_conditional() {
        let (any, etag) = (ETagCondition::Any, tag("e"));
        assert_eq!(of_write(None, None).ok(), Some(Condition::None));
        assert_eq!(of_write(None, Some(&any)).ok(), Some(Condition::Absent));
        assert_eq!(
            of_write(Some(&etag), None).ok(),
            Some(Condition::Etag("e".to_owned()))
        );
        assert_eq!(
            of_write(Some(&any), None).ok(),
            Some(Condition::Etag("*".to_owned()))
        );
        assert!(of_write(None, Some(&etag)).is_err());
        assert!(of_write(Some(&etag), Some(&any)).is_err());
    }
}
