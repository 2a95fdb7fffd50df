//! Pipelines of end users: their placeholders filled in, and the other collections that they read.

use std::collections::BTreeSet;

use bson::{Bson, Document, RawBsonRef, RawDocument, RawDocumentBuf};
use yunbase_docdb::value::check_document;

use super::limits::JOINED_COLLECTIONS_MAX;
use super::owner::{fill_in, fill_in_document, mentions_owner};
use super::refusal::{denied, malformed};
use crate::call::{EndUser, Failure};

/// A pipeline as an end user may send it.
pub(super) struct Pipeline {
    pub(super) stages: Vec<RawDocumentBuf>,
    /// The collections that it joins. The database refuses any other.
    pub(super) joined: BTreeSet<String>,
}

/// Reads a pipeline.
pub(super) fn read(pipeline: Vec<RawDocumentBuf>, user: &EndUser) -> Result<Pipeline, Failure> {
    let mut read = Pipeline {
        stages: Vec::with_capacity(pipeline.len()),
        joined: BTreeSet::new(),
    };
    for stage in pipeline {
        // Bounds the depth of what is walked next.
        check_document(&stage)?;
        find_joins(RawBsonRef::Document(&stage), &mut read.joined)?;
        read.stages.push(filled(stage, user)?);
    }
    if read.joined.len() > JOINED_COLLECTIONS_MAX {
        return Err(denied(format!(
            "a pipeline joins more than {JOINED_COLLECTIONS_MAX} collections; join fewer"
        )));
    }
    Ok(read)
}

/// Gathers the collections that stages name anywhere in a value: stages may nest pipelines, and BSON may repeat a name.
fn find_joins(value: RawBsonRef<'_>, joined: &mut BTreeSet<String>) -> Result<(), Failure> {
    match value {
        RawBsonRef::Document(document) => {
            for element in document {
                let (name, value) = element.map_err(malformed)?;
                match (name.as_str(), value) {
                    ("$lookup" | "$graphLookup", RawBsonRef::Document(spec)) => {
                        named(spec, "from", joined)?;
                    }
                    ("$unionWith", RawBsonRef::Document(spec)) => named(spec, "coll", joined)?,
                    ("$unionWith", RawBsonRef::String(collection)) => {
                        joined.insert(collection.to_owned());
                    }
                    _ => {}
                }
                find_joins(value, joined)?;
            }
        }
        RawBsonRef::Array(array) => {
            for value in array {
                find_joins(value.map_err(malformed)?, joined)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn named(spec: &RawDocument, member: &str, joined: &mut BTreeSet<String>) -> Result<(), Failure> {
    for element in spec {
        if let (name, RawBsonRef::String(collection)) = element.map_err(malformed)?
            && name.as_str() == member
        {
            joined.insert(collection.to_owned());
        }
    }
    Ok(())
}

/// A stage with the placeholders of its conditions filled in.
fn filled(stage: RawDocumentBuf, user: &EndUser) -> Result<RawDocumentBuf, Failure> {
    if !mentions_owner(&stage) {
        return Ok(stage);
    }
    if stage.iter_elements().count() == 1 {
        for name in [bson::cstr!("$match"), bson::cstr!("$geoNear")] {
            if let Ok(spec) = stage.get_document(name) {
                let mut filled = RawDocumentBuf::new();
                filled.append(name, fill_in(spec, user)?);
                return Ok(filled);
            }
        }
    }
    let mut stage = Document::try_from(&*stage).map_err(malformed)?;
    fill_in_stage(&mut stage, user);
    RawDocumentBuf::try_from(&stage).map_err(malformed)
}

/// The same of a stage with pipelines inside.
fn fill_in_stage(stage: &mut Document, user: &EndUser) {
    for (name, spec) in stage.iter_mut() {
        match (name.as_str(), spec) {
            ("$match" | "$geoNear", Bson::Document(filter)) => fill_in_document(filter, user),
            ("$lookup" | "$unionWith", Bson::Document(spec)) => {
                if let Some(pipeline) = spec.get_mut("pipeline") {
                    fill_in_pipeline(pipeline, user);
                }
            }
            ("$graphLookup", Bson::Document(spec)) => {
                if let Some(Bson::Document(filter)) = spec.get_mut("restrictSearchWithMatch") {
                    fill_in_document(filter, user);
                }
            }
            ("$facet", Bson::Document(facets)) => {
                for (_, pipeline) in facets.iter_mut() {
                    fill_in_pipeline(pipeline, user);
                }
            }
            _ => {}
        }
    }
}

fn fill_in_pipeline(pipeline: &mut Bson, user: &EndUser) {
    let Bson::Array(stages) = pipeline else {
        return;
    };
    for stage in stages {
        if let Bson::Document(stage) = stage {
            fill_in_stage(stage, user);
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::rules::testing::user;

    #[test]
    fn joins_are_found_wherever_they_are() {
        let mut twice = rawdoc! { "from": "a" };
        twice.append(bson::cstr!("from"), "b");
        let pipeline = vec![
            rawdoc! { "$lookup": twice },
            rawdoc! { "$facet": { "x": [{ "$unionWith": "c" }, { "$unionWith": { "coll": "d", "pipeline": [
                { "$lookup": { "from": "e", "pipeline": [{ "$graphLookup": { "from": "f" } }] } },
            ] } }] } },
            rawdoc! { "$project": { "from": 1 } },
        ];
        let read = read(pipeline.clone(), &user("me")).expect("read");
        assert_eq!(Vec::from_iter(&read.joined), ["a", "b", "c", "d", "e", "f"]);
        assert_eq!(read.stages, pipeline);
        let many = (0..=JOINED_COLLECTIONS_MAX).map(|n| rawdoc! { "$unionWith": format!("c{n}") });
        assert!(super::read(many.collect(), &user("me")).is_err());
    }

    #[test]
    fn placeholders_are_filled_in_in_conditions_only() {
        let pipeline = vec![
            rawdoc! { "$match": { "a": "{openid}" } },
            rawdoc! { "$geoNear": { "query": { "a": "{openid}" } } },
            rawdoc! { "$lookup": { "from": "c", "as": "{openid}", "pipeline": [{ "$match": { "a": "{openid}" } }] } },
            rawdoc! { "$graphLookup": { "from": "c", "restrictSearchWithMatch": { "a": "{openid}" } } },
            rawdoc! { "$facet": { "x": [{ "$match": { "a": "{openid}" } }] } },
            rawdoc! { "$addFields": { "a": "{openid}" } },
        ];
        let read = read(pipeline, &user("me")).expect("read");
        assert_eq!(
            read.stages,
            [
                rawdoc! { "$match": { "a": "me" } },
                rawdoc! { "$geoNear": { "query": { "a": "me" } } },
                rawdoc! { "$lookup": { "from": "c", "as": "{openid}", "pipeline": [{ "$match": { "a": "me" } }] } },
                rawdoc! { "$graphLookup": { "from": "c", "restrictSearchWithMatch": { "a": "me" } } },
                rawdoc! { "$facet": { "x": [{ "$match": { "a": "me" } }] } },
                rawdoc! { "$addFields": { "a": "{openid}" } },
            ]
        );
    }
}
