//! ListObjects, version 1 and 2: a page of keys in the order of their bytes, with common prefixes.
//!
//! The two say in different ways where a page begins. In version 2 that is a token, which is ours to read. In version 1
//! it is a key, or a common prefix that has been told, which stands for all keys below it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::dto::{
    CommonPrefix, EncodingType, ListObjectsInput, ListObjectsOutput, ListObjectsV2Input,
    ListObjectsV2Output, Object, ObjectStorageClass, Owner,
};
use s3s::{S3Result, s3_error};

use super::auth::Asked;
use super::conditions::etag;
use super::door::S3Door;
use super::{error, moment};
use crate::storage::limits::LIST_FILES_MAX;
use crate::storage::record::FileRecord;
use crate::storage::{ListQuery, Listing};

/// What stays as it is when keys are asked for in the form of addresses.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'*')
    .remove(b'/');

/// The last of all characters: whatever begins with a prefix comes before the prefix with this behind it.
const LAST: char = '\u{10ffff}';

impl S3Door {
    /// ListObjects.
    pub(super) async fn list_v1(
        &self,
        asked: &Asked,
        input: ListObjectsInput,
    ) -> S3Result<ListObjectsOutput> {
        let spelling = Spelling::of(input.encoding_type.as_ref())?;
        let max_keys = page_size(input.max_keys)?;
        let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
        let prefix = input.prefix.unwrap_or_default();
        let marker = input.marker.unwrap_or_default();
        let query = ListQuery {
            after: after_marker(&marker, &prefix, delimiter.as_deref()),
            prefix: prefix.clone(),
            delimiter: delimiter.clone(),
            limit: max_keys,
        };
        let listing = self.page(asked, &input.bucket, query).await?;
        let owner = owner(&input.bucket);
        Ok(ListObjectsOutput {
            next_marker: next_marker(&listing).map(|marker| spelling.spell(&marker)),
            is_truncated: Some(listing.next.is_some()),
            contents: Some(objects(&listing.files, spelling, Some(&owner))),
            common_prefixes: Some(prefixes(&listing.prefixes, spelling)),
            delimiter: delimiter.map(|delimiter| spelling.spell(&delimiter)),
            encoding_type: input.encoding_type,
            marker: Some(spelling.spell(&marker)),
            max_keys: i32::try_from(max_keys).ok(),
            name: Some(input.bucket),
            prefix: Some(spelling.spell(&prefix)),
            ..ListObjectsOutput::default()
        })
    }

    /// ListObjectsV2.
    pub(super) async fn list_v2(
        &self,
        asked: &Asked,
        input: ListObjectsV2Input,
    ) -> S3Result<ListObjectsV2Output> {
        let spelling = Spelling::of(input.encoding_type.as_ref())?;
        let max_keys = page_size(input.max_keys)?;
        let delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
        let prefix = input.prefix.unwrap_or_default();
        let after = match &input.continuation_token {
            Some(token) => read_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let query = ListQuery {
            after,
            prefix: prefix.clone(),
            delimiter: delimiter.clone(),
            limit: max_keys,
        };
        let listing = self.page(asked, &input.bucket, query).await?;
        let owner = Some(owner(&input.bucket)).filter(|_| input.fetch_owner == Some(true));
        Ok(ListObjectsV2Output {
            next_continuation_token: listing.next.as_deref().map(token),
            is_truncated: Some(listing.next.is_some()),
            key_count: i32::try_from(listing.files.len() + listing.prefixes.len()).ok(),
            contents: Some(objects(&listing.files, spelling, owner.as_ref())),
            common_prefixes: Some(prefixes(&listing.prefixes, spelling)),
            continuation_token: input.continuation_token,
            delimiter: delimiter.map(|delimiter| spelling.spell(&delimiter)),
            encoding_type: input.encoding_type,
            max_keys: i32::try_from(max_keys).ok(),
            name: Some(input.bucket),
            prefix: Some(spelling.spell(&prefix)),
            start_after: input.start_after.map(|start| spelling.spell(&start)),
            ..ListObjectsV2Output::default()
        })
    }

    async fn page(&self, asked: &Asked, bucket: &str, query: ListQuery) -> S3Result<Listing> {
        if query.limit == 0 {
            return Ok(Listing::default());
        }
        let listing = self.files.list(&asked.scope(bucket), query).await;
        listing.map_err(error::told)
    }
}

/// Whoever an object belongs to, to S3 it is its environment.
pub(super) fn owner(bucket: &str) -> Owner {
    Owner {
        display_name: Some(bucket.to_owned()),
        id: Some(bucket.to_owned()),
    }
}

/// How many entries a page has at most.
pub(super) fn page_size(wanted: Option<i32>) -> S3Result<usize> {
    let wanted = wanted.map_or(Ok(LIST_FILES_MAX), usize::try_from);
    wanted
        .map(|wanted| wanted.min(LIST_FILES_MAX))
        .map_err(|_| s3_error!(InvalidArgument, "a page cannot have fewer than 0 entries"))
}

/// How keys are written in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    AsTheyAre,
    /// Like in addresses: XML cannot have every character.
    Encoded,
}

impl Spelling {
    pub(super) fn of(wanted: Option<&EncodingType>) -> S3Result<Self> {
        match wanted.map(EncodingType::as_str) {
            None => Ok(Self::AsTheyAre),
            Some(EncodingType::URL) => Ok(Self::Encoded),
            Some(_) => Err(s3_error!(InvalidArgument, "encoding-type can only be url")),
        }
    }

    pub(super) fn spell(self, key: &str) -> String {
        match self {
            Self::AsTheyAre => key.to_owned(),
            Self::Encoded => utf8_percent_encode(key, PLAIN).to_string(),
        }
    }
}

fn objects(files: &[FileRecord], spelling: Spelling, owner: Option<&Owner>) -> Vec<Object> {
    let object = |file: &FileRecord| Object {
        e_tag: Some(etag(file)),
        key: Some(spelling.spell(&file.path)),
        last_modified: Some(moment::of_ms(file.modified_at_ms)),
        owner: owner.cloned(),
        size: Some(file.size),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
        ..Object::default()
    };
    files.iter().map(object).collect()
}

fn prefixes(prefixes: &[String], spelling: Spelling) -> Vec<CommonPrefix> {
    let prefix = |prefix: &String| CommonPrefix {
        prefix: Some(spelling.spell(prefix)),
    };
    prefixes.iter().map(prefix).collect()
}

/// Where a page of version 1 begins. A marker that is a common prefix has been told: all below it is over.
fn after_marker(marker: &str, prefix: &str, delimiter: Option<&str>) -> String {
    let below = marker.strip_prefix(prefix);
    let is_told = match (below, delimiter) {
        // The first delimiter after the prefix is where common prefixes end.
        (Some(below), Some(delimiter)) => below
            .find(delimiter)
            .is_some_and(|at| at + delimiter.len() == below.len()),
        _ => false,
    };
    let mut after = marker.to_owned();
    if is_told {
        after.push(LAST);
    }
    after
}

/// The last entry of a page, where there is another page.
fn next_marker(listing: &Listing) -> Option<String> {
    let next = listing.next.as_ref()?;
    let file = listing.files.last().map(|file| &file.path);
    let prefix = listing.prefixes.last();
    Some(file.max(prefix).unwrap_or(next).clone())
}

/// Where the next page of version 2 begins, as a text that nobody needs to understand.
fn token(next: &str) -> String {
    URL_SAFE_NO_PAD.encode(next)
}

fn read_token(token: &str) -> S3Result<String> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            s3_error!(
                InvalidArgument,
                "the continuation token is none that was given out"
            )
        })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::storage::record::Content;

    fn file(path: &str) -> FileRecord {
        FileRecord {
            path: path.to_owned(),
            size: 3,
            content_type: "text/plain".to_owned(),
            etag: "e".to_owned(),
            version: "v".to_owned(),
            owner: None,
            metadata: BTreeMap::new(),
            modified_at_ms: 0,
            content: Content::default(),
        }
    }

    #[test]
    fn tokens_lead_to_where_they_were_given_out() {
        for next in ["", "a/b", "图片/一 二.png", "photos/\u{10ffff}"] {
            assert_eq!(read_token(&token(next)).ok().as_deref(), Some(next));
        }
        for bad in ["a", "a/b", "%", "_w"] {
            assert!(read_token(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_marker_that_is_a_common_prefix_ends_all_below_it() {
        let after = |marker: &str, prefix: &str| after_marker(marker, prefix, Some("/"));
        assert_eq!(after("photos/", ""), "photos/\u{10ffff}");
        assert_eq!(after("photos/2026/", "photos/"), "photos/2026/\u{10ffff}");
        // A key below a common prefix, or beside it, is only itself.
        assert_eq!(after("photos/2026/", ""), "photos/2026/");
        assert_eq!(after("photos", ""), "photos");
        assert_eq!(after("other/", "photos/"), "other/");
        assert_eq!(after("", ""), "");
        assert_eq!(after_marker("photos/", "", None), "photos/");
    }

    #[test]
    fn the_next_marker_is_the_last_entry() {
        let mut listing = Listing {
            files: vec![file("a"), file("c")],
            prefixes: vec!["b/".to_owned(), "d/".to_owned()],
            next: None,
        };
        assert_eq!(next_marker(&listing), None);
        listing.next = Some("d/\u{10ffff}".to_owned());
        assert_eq!(next_marker(&listing).as_deref(), Some("d/"));
        listing.prefixes.clear();
        assert_eq!(next_marker(&listing).as_deref(), Some("c"));
        listing.files.clear();
        assert_eq!(next_marker(&listing), listing.next);
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(page_size(None).ok(), Some(1000));
        assert_eq!(page_size(Some(0)).ok(), Some(0));
        assert_eq!(page_size(Some(7)).ok(), Some(7));
        assert_eq!(page_size(Some(i32::MAX)).ok(), Some(1000));
        assert!(page_size(Some(-1)).is_err());
    }

    #[test]
    fn keys_are_spelled_as_wished() {
        let url = EncodingType::from_static(EncodingType::URL);
        let encoded = Spelling::of(Some(&url)).expect("known");
        assert_eq!(encoded.spell("a b/+图.png"), "a%20b/%2B%E5%9B%BE.png");
        let plain = Spelling::of(None).expect("known");
        assert_eq!(plain.spell("a b/+图.png"), "a b/+图.png");
        assert!(Spelling::of(Some(&EncodingType::from("xml".to_owned()))).is_err());
        let listed = objects(&[file("a b")], encoded, Some(&owner("demo")));
        assert_eq!(listed[0].key.as_deref(), Some("a%20b"));
        assert_eq!(listed[0].owner, Some(owner("demo")));
    }
}
