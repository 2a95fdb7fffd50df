//! The document that an upsert starts from: the fields whose values a filter fixes.

use bson::{Bson, Document, RawBson, RawBsonRef};

use super::condition::{Condition, Test};
use super::{Filter, Node};
use crate::error::{Error, ErrorCode, Result};
use crate::value::check::check_at;
use crate::value::malformed;
use crate::value::path::overlaps;

impl Filter {
    /// The paths and values that every match has, by the filter's equalities.
    pub fn equalities(&self) -> Vec<(&str, RawBsonRef<'_>)> {
        let mut equalities = Vec::new();
        collect(&self.root, &mut equalities);
        equalities
    }

    /// The fields that the filter's equalities fix, nested where their paths are dotted, in the
    /// filter's order. Two equalities on overlapping paths are refused.
    pub fn equality_document(&self) -> Result<Document> {
        let equalities = self.equalities();
        let mut document = Document::new();
        for (i, (path, value)) in equalities.iter().enumerate() {
            if let Some((other, _)) = equalities[..i]
                .iter()
                .find(|(other, _)| overlaps(path, other))
            {
                return Err(Error::new(
                    ErrorCode::RequestFailed,
                    format!(
                        "cannot insert from the filter: '{other}' and '{path}' fix the same field; keep one"
                    ),
                ));
            }
            // A dotted path nests its value deeper than it was in the filter.
            check_at(path, *value, path.split('.').count())?;
            insert(
                &mut document,
                path,
                Bson::try_from(*value).map_err(malformed)?,
            );
        }
        Ok(document)
    }
}

fn collect<'a>(node: &'a Node, equalities: &mut Vec<(&'a str, RawBsonRef<'a>)>) {
    match node {
        Node::All(nodes) => nodes.iter().for_each(|node| collect(node, equalities)),
        Node::Any(nodes) if nodes.len() == 1 => collect(&nodes[0], equalities),
        Node::Field { path, condition } => collect_condition(path.as_str(), condition, equalities),
        _ => {}
    }
}

fn collect_condition<'a>(
    path: &'a str,
    condition: &'a Condition,
    equalities: &mut Vec<(&'a str, RawBsonRef<'a>)>,
) {
    match condition {
        Condition::All(conditions) => {
            conditions
                .iter()
                .for_each(|condition| collect_condition(path, condition, equalities));
        }
        Condition::Test(Test::Equal(value)) => {
            equalities.push((path, RawBson::as_raw_bson_ref(value)));
        }
        Condition::Test(Test::In(list)) if list.patterns().is_empty() => {
            let mut values = list.values();
            if let (Some(only), None) = (values.next(), values.next()) {
                equalities.push((path, only));
            }
        }
        _ => {}
    }
}

/// Overlapping paths were refused before, so every step on the way is a document made here.
fn insert(document: &mut Document, path: &str, value: Bson) {
    match path.split_once('.') {
        None => {
            document.insert(path, value);
        }
        Some((first, rest)) => {
            let inner = document
                .entry(first.to_owned())
                .or_insert_with(|| Bson::Document(Document::new()));
            if let Bson::Document(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}
