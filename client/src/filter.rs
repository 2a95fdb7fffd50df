//! Filters: which documents a request is about.

use bson::{Array, Bson, Document, RawDocumentBuf, doc};

use crate::error::Error;

/// Which documents. Made by the functions of this module, or from any BSON document.
///
/// ```
/// use yunbase_client::filter::{self, eq, gt};
///
/// let filter = eq("country", "CH").and(gt("population", 100_000));
/// assert_eq!(filter.to_string(), r#"{"$and":[{"country":{"$eq":"CH"}},{"population":{"$gt":100000}}]}"#);
/// let raw = filter::Filter::from(bson::doc! {"country": "CH"});
/// # let _ = raw;
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter(pub(crate) Document);

/// All documents.
pub fn all() -> Filter {
    Filter::default()
}

/// Documents that match every one of `filters`.
pub fn every(filters: impl IntoIterator<Item = Filter>) -> Filter {
    combine("$and", filters)
}

/// Documents that match any of `filters`.
pub fn any(filters: impl IntoIterator<Item = Filter>) -> Filter {
    combine("$or", filters)
}

fn combine(operator: &str, filters: impl IntoIterator<Item = Filter>) -> Filter {
    let members: Array = filters
        .into_iter()
        .map(|filter| Bson::Document(filter.0))
        .collect();
    Filter(doc! { operator: members })
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident => $operator:literal;)*) => {$(
        $(#[$doc])*
        pub fn $name(path: impl Into<String>, value: impl Into<Bson>) -> Filter {
            compare(path.into(), $operator, value.into())
        }
    )*};
}

comparisons! {
    /// The value at `path` is `value`, or an array that holds it.
    eq => "$eq";
    /// The opposite of [`eq`].
    ne => "$ne";
    /// Greater than `value`, and of its type.
    gt => "$gt";
    /// At least `value`, and of its type.
    gte => "$gte";
    /// Less than `value`, and of its type.
    lt => "$lt";
    /// At most `value`, and of its type.
    lte => "$lte";
}

fn compare(path: String, operator: &str, value: Bson) -> Filter {
    let mut filter = Document::new();
    filter.insert(path, doc! { operator: value });
    Filter(filter)
}

/// The value is one of `values`.
pub fn is_in<V: Into<Bson>>(
    path: impl Into<String>,
    values: impl IntoIterator<Item = V>,
) -> Filter {
    compare(
        path.into(),
        "$in",
        Bson::Array(values.into_iter().map(Into::into).collect()),
    )
}

/// The value is none of `values`.
pub fn not_in<V: Into<Bson>>(
    path: impl Into<String>,
    values: impl IntoIterator<Item = V>,
) -> Filter {
    compare(
        path.into(),
        "$nin",
        Bson::Array(values.into_iter().map(Into::into).collect()),
    )
}

/// Whether there is a value at `path`.
pub fn exists(path: impl Into<String>, exists: bool) -> Filter {
    compare(path.into(), "$exists", Bson::Boolean(exists))
}

/// The document with this `_id`.
pub fn id(id: impl Into<Bson>) -> Filter {
    eq("_id", id)
}

impl Filter {
    /// Documents that match both.
    #[must_use]
    pub fn and(self, other: impl Into<Self>) -> Self {
        self.join("$and", other.into())
    }

    /// Documents that match either.
    #[must_use]
    pub fn or(self, other: impl Into<Self>) -> Self {
        self.join("$or", other.into())
    }

    /// A chain of the same operator stays one flat list, so that its depth does not grow.
    fn join(mut self, operator: &str, other: Self) -> Self {
        if self.0.len() == 1
            && let Some(Bson::Array(members)) = self.0.get_mut(operator)
        {
            members.push(Bson::Document(other.0));
            return self;
        }
        combine(operator, [self, other])
    }
}

impl From<Document> for Filter {
    fn from(document: Document) -> Self {
        Self(document)
    }
}

impl TryFrom<&RawDocumentBuf> for Filter {
    type Error = Error;

    fn try_from(document: &RawDocumentBuf) -> Result<Self, Error> {
        let document = Document::try_from(document.as_ref());
        document
            .map(Self)
            .map_err(|error| Error::invalid(format!("the filter is not valid BSON: {error}")))
    }
}

impl std::fmt::Display for Filter {
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
    use super::*;

    #[test]
    fn comparisons_become_operators() {
        assert_eq!(gte("a.b", 1).0, doc! {"a.b": {"$gte": 1}});
        assert_eq!(is_in("a", ["x", "y"]).0, doc! {"a": {"$in": ["x", "y"]}});
        assert_eq!(exists("a", false).0, doc! {"a": {"$exists": false}});
        assert_eq!(all().0, doc! {});
    }

    #[test]
    fn chains_stay_flat_and_mixtures_nest() {
        let chain = eq("a", 1).and(eq("b", 2)).and(eq("c", 3));
        assert_eq!(
            chain.0,
            doc! {"$and": [{"a": {"$eq": 1}}, {"b": {"$eq": 2}}, {"c": {"$eq": 3}}]}
        );
        let mixed = eq("a", 1).and(eq("b", 2)).or(doc! {"c": 3});
        assert_eq!(
            mixed.0,
            doc! {"$or": [{"$and": [{"a": {"$eq": 1}}, {"b": {"$eq": 2}}]}, {"c": 3}]}
        );
    }
}
