//! What a reader knows of a file already, and wants to hear of it, by the headers of conditional requests (RFC 9110, 13).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, header};

use super::text;
use crate::storage::record::FileRecord;

/// What tells one content of a file from another.
#[derive(Debug, Clone)]
pub(super) struct Validators {
    /// With quotes, as in headers.
    pub(super) etag: String,
    /// In whole seconds, as in headers.
    pub(super) modified: SystemTime,
}

/// What the conditions come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send what is asked for.
    Go,
    /// The reader has it already.
    NotModified,
    /// The file is not what the reader takes it for.
    Failed,
}

impl Validators {
    /// Those of a file.
    pub(super) fn of(record: &FileRecord) -> Self {
        let modified_s = u64::try_from(record.modified_at_ms.div_euclid(1000)).unwrap_or(0);
        Self {
            etag: format!("\"{}\"", record.etag),
            modified: UNIX_EPOCH + Duration::from_secs(modified_s),
        }
    }

    /// The date as a header has it.
    pub(super) fn last_modified(&self) -> String {
        httpdate::fmt_http_date(self.modified)
    }

    /// Weighs the conditions in the order that the standard gives.
    pub(super) fn judge(&self, headers: &HeaderMap) -> Verdict {
        let date = |name: header::HeaderName| {
            text(headers, name.as_str()).and_then(|date| httpdate::parse_http_date(date).ok())
        };
        match text(headers, header::IF_MATCH.as_str()) {
            Some(list) if !self.is_among(list, false) => return Verdict::Failed,
            Some(_) => {}
            None => {
                if date(header::IF_UNMODIFIED_SINCE).is_some_and(|since| self.modified > since) {
                    return Verdict::Failed;
                }
            }
        }
        let known = match text(headers, header::IF_NONE_MATCH.as_str()) {
            Some(list) => self.is_among(list, true),
            None => date(header::IF_MODIFIED_SINCE).is_some_and(|since| self.modified <= since),
        };
        if known {
            Verdict::NotModified
        } else {
            Verdict::Go
        }
    }

    /// Whether a range is wanted of this content: of any other the reader wants all.
    pub(super) fn range_is_of_this(&self, headers: &HeaderMap) -> bool {
        match text(headers, header::IF_RANGE.as_str()).map(str::trim) {
            None => true,
            Some(tag) if tag.starts_with('"') => tag == self.etag,
            Some(tag) if tag.starts_with("W/") => false,
            Some(date) => httpdate::parse_http_date(date).is_ok_and(|date| date == self.modified),
        }
    }

    /// Whether the etag is in a list; `weak` compares also with those that are only good enough for a reader.
    fn is_among(&self, list: &str, weak: bool) -> bool {
        list.split(',').map(str::trim).any(|tag| {
            let tag = match tag.strip_prefix("W/") {
                Some(strong) if weak => strong,
                Some(_) => return false,
                None => tag,
            };
            tag == "*" || tag == self.etag
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(pairs: &[(&'static str, &'static str)]) -> Verdict {
        validators().judge(&headers(pairs))
    }

    fn validators() -> Validators {
        Validators {
            etag: "\"e1\"".to_owned(),
            // Sun, 06 Nov 1994 08:49:37 GMT
            modified: UNIX_EPOCH + Duration::from_secs(784_111_777),
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    header::HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    const AT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    #[test]
    fn conditions_come_to_one_verdict() {
        use Verdict::{Failed, Go, NotModified};
        assert_eq!(judge(&[]), Go);
        for (name, value, verdict) in [
            ("if-none-match", "\"e1\"", NotModified),
            ("if-none-match", "\"x\", W/\"e1\"", NotModified),
            ("if-none-match", "*", NotModified),
            ("if-none-match", "\"e2\"", Go),
            ("if-modified-since", AT, NotModified),
            ("if-modified-since", BEFORE, Go),
            ("if-modified-since", "yesterday", Go),
            ("if-match", "\"e1\"", Go),
            ("if-match", "*", Go),
            ("if-match", "\"e2\"", Failed),
            ("if-match", "W/\"e1\"", Failed),
            ("if-unmodified-since", AT, Go),
            ("if-unmodified-since", BEFORE, Failed),
        ] {
            assert_eq!(judge(&[(name, value)]), verdict, "{name}: {value}");
        }
        // Etags count before dates.
        let both = [("if-none-match", "\"e2\""), ("if-modified-since", AT)];
        assert_eq!(judge(&both), Go);
        let both = [("if-match", "\"e1\""), ("if-unmodified-since", BEFORE)];
        assert_eq!(judge(&both), Go);
    }

    #[test]
    fn a_range_of_another_content_is_no_range() {
        let of_this = |value| validators().range_is_of_this(&headers(&[("if-range", value)]));
        assert!(validators().range_is_of_this(&headers(&[])));
        assert!(of_this("\"e1\"") && of_this(AT));
        assert!(!of_this("\"e2\"") && !of_this("W/\"e1\"") && !of_this(BEFORE) && !of_this("x"));
        assert_eq!(validators().last_modified(), AT);
    }
}
