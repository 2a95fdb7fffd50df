//! Files by the beginning of their paths, page by page, with what they have in common up to a delimiter told once.

use super::error::StorageResult;
use super::files::{Files, Scope};
use super::limits::LIST_FILES_MAX;
use super::record::{FILES, FileRecord};

/// Files of one page of a listing that skips what has a common prefix.
const LIST_PAGE: usize = 256;
/// What to list, by path in the order of bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only paths that begin with this.
    pub prefix: String,
    /// Paths that go on after the prefix with this somewhere are told once, up to and with it.
    pub delimiter: Option<String>,
    /// Only what comes after this; the `next` of an earlier page.
    pub after: String,
    /// Most files and prefixes together; at most [`LIST_FILES_MAX`](super::limits::LIST_FILES_MAX).
    pub limit: usize,
}

/// A page of a listing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// Files, without their content.
    pub files: Vec<FileRecord>,
    /// Common prefixes, with their delimiter.
    pub prefixes: Vec<String>,
    /// Where the next page begins; `None` = this is the last.
    pub next: Option<String>,
}

impl Files {
    /// Files by prefix.
    pub async fn list(&self, scope: &Scope, query: ListQuery) -> StorageResult<Listing> {
        let limit = query.limit.min(LIST_FILES_MAX);
        let mut listing = Listing::default();
        let mut after = query.after.clone();
        let end = successor(&query.prefix);
        if limit == 0 {
            return Ok(listing);
        }
        loop {
            let mut bounds = bson::doc! {};
            if after.as_str() >= query.prefix.as_str() && !after.is_empty() {
                bounds.insert("$gt", &after);
            } else {
                bounds.insert("$gte", &query.prefix);
            }
            if let Some(end) = &end {
                bounds.insert("$lt", end);
            }
            let page = self
                .inner()
                .store
                .page::<FileRecord>(
                    scope,
                    FILES,
                    bson::doc! { "_id": bounds },
                    &["content"],
                    Vec::new(),
                    LIST_PAGE,
                )
                .await?;
            let is_last = page.next.is_empty();
            let mut skipped = false;
            for file in page.records {
                if listing.files.len() + listing.prefixes.len() >= limit {
                    listing.next = Some(after);
                    return Ok(listing);
                }
                let rest = file.path.get(query.prefix.len()..).unwrap_or_default();
                let cut = query
                    .delimiter
                    .as_deref()
                    .filter(|delimiter| !delimiter.is_empty())
                    .and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
                let Some(cut) = cut else {
                    after.clone_from(&file.path);
                    listing.files.push(file);
                    continue;
                };
                let prefix = file.path[..query.prefix.len() + cut].to_owned();
                // Nothing that begins so is told again.
                after = format!("{prefix}{}", char::MAX);
                listing.prefixes.push(prefix);
                skipped = true;
                break;
            }
            if is_last && !skipped {
                break;
            }
        }
        Ok(listing)
    }
}

/// The first text behind all that begin with `prefix`; `None` when there is none.
fn successor(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // The one after U+D7FF is U+E000: between them are no characters.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            last => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_a_prefix_ends_before_its_successor() {
        for prefix in ["a", "a/", "图", "\u{d7ff}", "a\u{10ffff}"] {
            let end = successor(prefix).expect("there is one");
            assert!(prefix < end.as_str());
            assert!(format!("{prefix}\u{10ffff}").as_str() < end.as_str());
        }
        assert_eq!(successor(""), None);
        assert_eq!(successor("\u{10ffff}"), None);
    }
}
