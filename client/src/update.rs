//! Updates: how documents change.

use bson::{Bson, Document};

/// Update operators, in a chain. Made by the functions of this module, or from any BSON document of operators.
///
/// ```
/// use yunbase_client::update;
///
/// let update = update::set("name", "Bern").inc("visits", 1);
/// assert_eq!(update.to_string(), r#"{"$set":{"name":"Bern"},"$inc":{"visits":1}}"#);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Update(pub(crate) Document);

macro_rules! operators {
    ($($(#[$doc:meta])* $name:ident => $operator:literal;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(path: impl Into<String>, value: impl Into<Bson>) -> Update {
                Update::default().$name(path, value)
            }
        )*

        impl Update {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(self, path: impl Into<String>, value: impl Into<Bson>) -> Self {
                    self.with($operator, path.into(), value.into())
                }
            )*
        }
    };
}

operators! {
    /// Sets the value at `path`.
    set => "$set";
    /// Sets the value at `path` if the update creates the document.
    set_on_insert => "$setOnInsert";
    /// Adds `value` to the number at `path`; a missing one counts as 0.
    inc => "$inc";
    /// Multiplies the number at `path`; a missing one counts as 0.
    mul => "$mul";
    /// Keeps the smaller of the value at `path` and `value`.
    min => "$min";
    /// Keeps the greater of the value at `path` and `value`.
    max => "$max";
    /// Appends `value` to the array at `path`.
    push => "$push";
    /// Appends `value` to the array at `path` unless the array holds it.
    add_to_set => "$addToSet";
    /// Removes each occurrence of `value` from the array at `path`.
    pull => "$pull";
    /// Gives the field at `path` the name `value`.
    rename => "$rename";
}

/// Removes the field at `path`.
pub fn unset(path: impl Into<String>) -> Update {
    Update::default().unset(path)
}

impl Update {
    /// Removes the field at `path`.
    #[must_use]
    pub fn unset(self, path: impl Into<String>) -> Self {
        self.with("$unset", path.into(), Bson::String(String::new()))
    }

    fn with(mut self, operator: &str, path: String, value: Bson) -> Self {
        let members = self
            .0
            .entry(operator)
            .or_insert_with(|| Bson::Document(Document::new()));
        // A hand-written document may hold something else under the operator; the last word wins.
        if let Bson::Document(members) = members {
            members.insert(path, value);
        } else {
            let mut only = Document::new();
            only.insert(path, value);
            *members = Bson::Document(only);
        }
        self
    }
}

impl From<Document> for Update {
    fn from(document: Document) -> Self {
        Self(document)
    }
}

impl std::fmt::Display for Update {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}",
            Bson::Document(self.0.clone()).into_relaxed_extjson()
        )
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn operators_gather_under_one_key_each() {
        let update = set("a", 1).set("b", "x").inc("n", 2).unset("old");
        assert_eq!(
            update.0,
            doc! {"$set": {"a": 1, "b": "x"}, "$inc": {"n": 2}, "$unset": {"old": ""}}
        );
    }

    #[test]
    fn hand_written_documents_can_be_continued() {
        assert_eq!(
            Update::from(doc! {"$set": {"a": 1}}).set("b", 2).0,
            doc! {"$set": {"a": 1, "b": 2}}
        );
        assert_eq!(
            Update::from(doc! {"$set": 7}).set("b", 2).0,
            doc! {"$set": {"b": 2}}
        );
    }
}
