//! What an update changed, as paths: `UpdatedFields` and `removedFields` of an event.
//!
//! Apps read them to learn what happened; the document itself comes beside them, since names with dots make paths
//! ambiguous and not every client can apply them. Objects are entered, everything else, arrays included, is set as a
//! whole.

use std::collections::HashMap;

use bson::{RawBsonRef, RawDocument};

use crate::gateway::ejson::{self, Dialect, write_json_string, write_value};

/// More changed paths than this are told as changes of the top-level fields.
const PATHS_MAX: usize = 256;
/// How deep objects are entered; deeper ones are set as a whole.
const DEPTH_MAX: usize = 32;

/// The difference between two images of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldChanges {
    /// JSON text of `{path: value}`.
    pub(crate) updated: String,
    /// JSON text of `[path]`.
    pub(crate) removed: String,
}

impl FieldChanges {
    /// What makes `after` of `before`.
    pub(crate) fn between(before: &RawDocument, after: &RawDocument) -> Result<Self, ejson::Error> {
        let mut walk = Walk::default();
        walk.document("", before, after, DEPTH_MAX)?;
        if walk.paths > PATHS_MAX {
            walk = Walk::default();
            walk.document("", before, after, 0)?;
        }
        Ok(Self {
            updated: format!("{{{}}}", walk.updated),
            removed: format!("[{}]", walk.removed),
        })
    }
}

#[derive(Default)]
struct Walk {
    updated: String,
    removed: String,
    paths: usize,
}

impl Walk {
    fn document(
        &mut self,
        prefix: &str,
        before: &RawDocument,
        after: &RawDocument,
        depth_left: usize,
    ) -> Result<(), ejson::Error> {
        let mut old: HashMap<&str, RawBsonRef<'_>> = before
            .iter()
            .map(|element| element.map(|(name, value)| (name.as_str(), value)))
            .collect::<Result<_, _>>()
            .map_err(unreadable)?;
        for element in after {
            let (name, value) = element.map_err(unreadable)?;
            match (old.remove(name.as_str()), value) {
                (Some(was), value) if was == value => {}
                (Some(RawBsonRef::Document(was)), RawBsonRef::Document(is)) if depth_left > 0 => {
                    let path = joined(prefix, name.as_str());
                    self.document(&path, was, is, depth_left - 1)?;
                }
                (_, value) => self.set(prefix, name.as_str(), value)?,
            }
        }
        // In the order of the document, so that replicas say the same.
        for element in before {
            let (name, _) = element.map_err(unreadable)?;
            if old.contains_key(name.as_str()) {
                let path = joined(prefix, name.as_str());
                self.paths += 1;
                separate(&mut self.removed);
                write_json_string(&mut self.removed, &path);
            }
        }
        Ok(())
    }

    fn set(&mut self, prefix: &str, name: &str, value: RawBsonRef<'_>) -> Result<(), ejson::Error> {
        let path = joined(prefix, name);
        self.paths += 1;
        separate(&mut self.updated);
        write_json_string(&mut self.updated, &path);
        self.updated.push(':');
        write_value(&mut self.updated, value, Dialect::Json)
    }
}

fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

fn separate(list: &mut String) {
    if !list.is_empty() {
        list.push(',');
    }
}

fn unreadable(error: impl std::fmt::Display) -> ejson::Error {
    ejson::Error(format!("a stored document cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn objects_are_entered_and_arrays_are_not() {
        let before = rawdoc! { "_id": "a", "n": 1, "o": { "x": 1, "y": { "z": 1 } }, "l": [1, 2], "gone": true };
        let after = rawdoc! { "_id": "a", "n": 2, "o": { "x": 1, "y": {}, "w": 3 }, "l": [1], "new": { "k": null } };
        let changes = FieldChanges::between(&before, &after).unwrap();
        assert_eq!(
            changes.updated,
            r#"{"n":2,"o.w":3,"l":[1],"new":{"k":null}}"#
        );
        assert_eq!(changes.removed, r#"["o.y.z","gone"]"#);
    }

    #[test]
    fn very_many_paths_become_those_of_the_top_level() {
        let mut inner = bson::Document::new();
        for number in 0..PATHS_MAX + 1 {
            inner.insert(format!("f{number}"), 1);
        }
        let after = bson::RawDocumentBuf::try_from(&bson::doc! { "o": inner }).unwrap();
        let changes = FieldChanges::between(&rawdoc! { "o": { "f0": 0 } }, &after).unwrap();
        assert!(changes.updated.starts_with(r#"{"o":{"f0":1,"#));
    }
}
