//! From a client's pipeline to typed stages; whatever can be wrong with a stage is refused here by name.

mod geo_near;
mod group;
mod join;
mod shape;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::accumulator::{Accumulation, Accumulator};
use super::redact;
use super::stage::{Group, GroupKey, Stage};
use super::unwind::Unwind;
use crate::error::{Error, ErrorCode, Result};
use crate::expr::{Bindings, Computed, Expression};
use crate::filter::Filter;
use crate::limits::{
    AGGREGATE_NESTING_MAX, AGGREGATE_STAGES_MAX, FACETS_MAX, NESTING_DEPTH_MAX, PATH_PARTS_MAX,
};
use crate::sort::Sort;
use crate::value::compare::Number;
use crate::value::{check_document, malformed, type_name};

/// Stages of MongoDB that this database knows of and does not offer.
const UNSUPPORTED: [&str; 16] = [
    "$collStats",
    "$indexStats",
    "$planCacheStats",
    "$currentOp",
    "$listSessions",
    "$listLocalSessions",
    "$documents",
    "$densify",
    "$fill",
    "$setWindowFields",
    "$changeStream",
    "$search",
    "$searchMeta",
    "$vectorSearch",
    "$rankFusion",
    "$querySettings",
];

/// Parses one pipeline and those inside it.
pub(super) struct Parser<'a> {
    bindings: Bindings<'a>,
    /// Stages of all pipelines.
    stages: usize,
    depth: usize,
    in_facet: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn new(bindings: Bindings<'a>) -> Self {
        Self {
            bindings,
            stages: 0,
            depth: 0,
            in_facet: false,
        }
    }

    /// Parses the stages of a pipeline.
    pub(super) fn pipeline(&mut self, pipeline: &[RawDocumentBuf]) -> Result<Vec<Stage>> {
        self.depth += 1;
        if self.depth > AGGREGATE_NESTING_MAX {
            return Err(Error::invalid(format!(
                "pipelines nest deeper than {AGGREGATE_NESTING_MAX} levels; flatten them"
            )));
        }
        let mut stages = Vec::with_capacity(pipeline.len());
        for (position, stage) in pipeline.iter().enumerate() {
            self.stages += 1;
            if self.stages > AGGREGATE_STAGES_MAX {
                return Err(Error::invalid(format!(
                    "the pipeline has more than {AGGREGATE_STAGES_MAX} stages; merge some"
                )));
            }
            check_document(stage)?;
            let mut members = stage.iter();
            let (Some(member), None) = (members.next(), members.next()) else {
                return Err(Error::invalid(format!(
                    "stage {position} of the pipeline must be an object with one member, such as {{$match: {{..}}}}"
                )));
            };
            let (name, value) = member.map_err(malformed)?;
            self.stage(position, name.as_str(), value, &mut stages)?;
        }
        self.depth -= 1;
        Ok(stages)
    }

    fn stage(
        &mut self,
        position: usize,
        name: &str,
        value: RawBsonRef<'_>,
        out: &mut Vec<Stage>,
    ) -> Result<()> {
        out.push(match name {
            "$match" => Stage::Match(self.filter("stage '$match'", object(name, value)?)?),
            "$geoNear" => return self.geo_near(position, object(name, value)?, out),
            "$project" => Stage::Shape(self.project(object(name, value)?)?),
            "$addFields" => Stage::Shape(self.add_fields("$addFields", object(name, value)?)?),
            "$set" => Stage::Shape(self.add_fields("$set", object(name, value)?)?),
            "$unset" => Stage::Shape(shape::unset(value)?),
            "$unwind" => Stage::Unwind(unwind(value)?),
            "$replaceRoot" => {
                let spec = object(name, value)?;
                check_members(name, spec, &["newRoot"])?;
                Stage::ReplaceRoot(self.expression(required(name, spec, "newRoot")?)?)
            }
            "$replaceWith" => Stage::ReplaceRoot(self.expression(value)?),
            "$limit" => Stage::Limit(count(name, value, 1)?),
            "$skip" => Stage::Skip(count(name, value, 0)?),
            "$sort" => Stage::Sort(sort(object(name, value)?)?, None),
            "$group" => Stage::Group(self.group(object(name, value)?)?),
            "$bucket" => return self.bucket(object(name, value)?, out),
            "$bucketAuto" => Stage::BucketAuto(self.bucket_auto(object(name, value)?)?),
            "$sortByCount" => return self.sort_by_count(value, out),
            "$count" => Stage::Count(count_field(value)?),
            "$sample" => {
                let spec = object(name, value)?;
                check_members(name, spec, &["size"])?;
                Stage::Sample(count(name, required(name, spec, "size")?, 1)?)
            }
            "$facet" => Stage::Facet(self.facet(object(name, value)?)?),
            "$lookup" => Stage::Lookup(self.lookup(object(name, value)?)?),
            "$unionWith" => self.union_with(value)?,
            "$graphLookup" => {
                Stage::GraphLookup(Box::new(self.graph_lookup(object(name, value)?)?))
            }
            "$redact" => Stage::Redact(self.redact(value)?),
            _ => return Err(refuse(name)),
        });
        Ok(())
    }

    /// A filter on documents that flow: they have an order already, so none by distance can be asked for.
    fn filter(&self, place: &str, filter: &RawDocument) -> Result<Filter> {
        let filter = Filter::parse_with(filter, &self.bindings)?;
        if filter.near().is_some() {
            return Err(Error::operator(format!(
                "{place} cannot have '$near' or '$nearSphere'; begin the pipeline with '$geoNear', or use '$geoWithin' with '$centerSphere'"
            )));
        }
        Ok(filter)
    }

    fn expression(&self, value: RawBsonRef<'_>) -> Result<Expression> {
        Expression::parse_with(value, &self.bindings)
    }

    fn redact(&self, value: RawBsonRef<'_>) -> Result<Expression> {
        let mut variables: Vec<(String, Computed)> = redact::variables();
        variables.extend_from_slice(self.bindings.variables);
        let bindings = Bindings {
            variables: &variables,
            parts: true,
            ..self.bindings
        };
        Expression::parse_with(value, &bindings)
    }

    /// Groups by an expression and counts, most frequent first.
    fn sort_by_count(&mut self, value: RawBsonRef<'_>, out: &mut Vec<Stage>) -> Result<()> {
        let is_expression = match value {
            RawBsonRef::String(text) => text.starts_with('$'),
            RawBsonRef::Document(document) => document
                .iter_elements()
                .next()
                .transpose()
                .map_err(malformed)?
                .is_some_and(|first| first.key().as_str().starts_with('$')),
            _ => false,
        };
        if !is_expression {
            return Err(Error::invalid(
                "'$sortByCount' takes a field path such as '$city' or an expression object",
            ));
        }
        out.push(Stage::Group(Group {
            key: GroupKey::Value(self.expression(value)?),
            fields: vec![Accumulation {
                name: "count".into(),
                operator: Accumulator::Sum,
                argument: self.expression(RawBsonRef::Int32(1))?,
            }],
        }));
        out.push(Stage::Sort(
            Sort::parse(&bson::rawdoc! { "count": -1 })?,
            None,
        ));
        Ok(())
    }

    fn facet(&mut self, spec: &RawDocument) -> Result<Vec<(String, Vec<Stage>)>> {
        if self.in_facet {
            return Err(Error::invalid("'$facet' cannot stand inside '$facet'"));
        }
        let mut facets: Vec<(String, Vec<Stage>)> = Vec::new();
        self.in_facet = true;
        for member in spec.iter() {
            let (name, value) = member.map_err(malformed)?;
            let name = name.as_str();
            if name.is_empty() || name.starts_with('$') || name.contains('.') {
                return Err(Error::invalid(format!(
                    "'$facet': '{name}' cannot be the name of a field"
                )));
            }
            if facets.len() >= FACETS_MAX {
                return Err(Error::invalid(format!(
                    "'$facet' has more than {FACETS_MAX} outputs; drop some"
                )));
            }
            let text = pipeline_of("$facet", value)?;
            facets.push((name.to_owned(), self.pipeline(&text)?));
        }
        self.in_facet = false;
        if facets.is_empty() {
            return Err(Error::invalid("'$facet' needs at least one output"));
        }
        Ok(facets)
    }

    fn union_with(&mut self, value: RawBsonRef<'_>) -> Result<Stage> {
        let (collection, text) = match value {
            RawBsonRef::String(collection) => (collection, Vec::new()),
            value => {
                let spec = object("$unionWith", value)?;
                check_members("$unionWith", spec, &["coll", "pipeline"])?;
                let text = match optional(spec, "pipeline")? {
                    Some(pipeline) => pipeline_of("$unionWith", pipeline)?,
                    None => Vec::new(),
                };
                (
                    text_of("$unionWith", "coll", required("$unionWith", spec, "coll")?)?,
                    text,
                )
            }
        };
        let in_facet = std::mem::take(&mut self.in_facet);
        let stages = self.pipeline(&text)?;
        self.in_facet = in_facet;
        Ok(Stage::UnionWith(collection.to_owned(), stages))
    }
}

fn refuse(name: &str) -> Error {
    match name {
        "$out" | "$merge" => Error::operator(format!(
            "stage '{name}' would write, and an aggregation only reads: write its result with a request of your own"
        )),
        _ if UNSUPPORTED.contains(&name) => {
            Error::operator(format!("stage '{name}' is not supported"))
        }
        _ => Error::operator(format!(
            "stage '{}' is unknown; check its spelling",
            name.chars().take(60).collect::<String>()
        )),
    }
}

fn object<'v>(stage: &str, value: RawBsonRef<'v>) -> Result<&'v RawDocument> {
    value.as_document().ok_or_else(|| {
        Error::invalid(format!(
            "stage '{stage}' takes an object, not a {}",
            type_name(value)
        ))
    })
}

fn optional<'v>(spec: &'v RawDocument, member: &str) -> Result<Option<RawBsonRef<'v>>> {
    spec.get(member).map_err(malformed)
}

fn required<'v>(stage: &str, spec: &'v RawDocument, member: &str) -> Result<RawBsonRef<'v>> {
    optional(spec, member)?
        .ok_or_else(|| Error::invalid(format!("stage '{stage}' needs '{member}'")))
}

fn check_members(stage: &str, spec: &RawDocument, known: &[&str]) -> Result<()> {
    for member in spec.iter_elements() {
        let name = member.map_err(malformed)?.key().as_str();
        if !known.contains(&name) {
            return Err(Error::invalid(format!(
                "stage '{stage}' does not know '{name}' (or not yet)"
            )));
        }
    }
    Ok(())
}

fn text_of<'v>(stage: &str, member: &str, value: RawBsonRef<'v>) -> Result<&'v str> {
    value.as_str().ok_or_else(|| {
        Error::invalid(format!(
            "'{member}' of stage '{stage}' is a string, not a {}",
            type_name(value)
        ))
    })
}

/// A whole number from `least` on.
fn count(stage: &str, value: RawBsonRef<'_>, least: u64) -> Result<u64> {
    Number::of(value)
        .and_then(Number::as_exact_i64)
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| *number >= least)
        .ok_or_else(|| {
            Error::invalid(format!(
                "stage '{stage}' takes a whole number from {least} on"
            ))
        })
}

fn count_field(value: RawBsonRef<'_>) -> Result<String> {
    match value {
        RawBsonRef::String(name)
            if !name.is_empty()
                && !name.starts_with('$')
                && !name.contains('.')
                && !name.contains('\0') =>
        {
            Ok(name.to_owned())
        }
        _ => Err(Error::invalid(
            "stage '$count' takes the name of the field for the number, such as 'total'",
        )),
    }
}

fn sort(spec: &RawDocument) -> Result<Sort> {
    for member in spec.iter() {
        let (path, direction) = member.map_err(malformed)?;
        if let RawBsonRef::Document(_) = direction {
            return Err(Error::operator(format!(
                "sort field '{}' asks for '$meta', which needs a text query; that is not supported yet",
                path.as_str()
            )));
        }
    }
    let sort = Sort::parse(spec)?;
    if sort.is_empty() {
        return Err(Error::invalid(
            "stage '$sort' needs at least one field, such as {age: -1}",
        ));
    }
    Ok(sort)
}

/// The stages of a pipeline inside a stage.
fn pipeline_of(stage: &str, value: RawBsonRef<'_>) -> Result<Vec<RawDocumentBuf>> {
    let RawBsonRef::Array(array) = value else {
        return Err(Error::invalid(format!(
            "stage '{stage}' takes an array of stages, not a {}",
            type_name(value)
        )));
    };
    let mut stages = Vec::new();
    for element in array {
        let element = element.map_err(malformed)?;
        if stages.len() >= AGGREGATE_STAGES_MAX {
            return Err(Error::invalid(format!(
                "a pipeline of stage '{stage}' has more than {AGGREGATE_STAGES_MAX} stages; merge some"
            )));
        }
        stages.push(object(stage, element)?.to_owned());
    }
    Ok(stages)
}

/// A dotted path, without the dollar.
fn path(stage: &str, text: &str) -> Result<Vec<Box<str>>> {
    let parts: Vec<Box<str>> = text.split('.').map(Into::into).collect();
    let is_wrong = |part: &str| part.is_empty() || part.starts_with('$') || part.contains('\0');
    if parts.len() > PATH_PARTS_MAX || parts.iter().any(|part| is_wrong(part)) {
        return Err(Error::invalid(format!(
            "stage '{stage}': '{}' is not a path of a field",
            text.chars().take(60).collect::<String>()
        )));
    }
    Ok(parts)
}

fn unwind(value: RawBsonRef<'_>) -> Result<Unwind> {
    let (text, index, preserve) = match value {
        RawBsonRef::Document(spec) => {
            check_members(
                "$unwind",
                spec,
                &["path", "includeArrayIndex", "preserveNullAndEmptyArrays"],
            )?;
            let index = match optional(spec, "includeArrayIndex")? {
                None | Some(RawBsonRef::Null) => Vec::new(),
                Some(name) => path("$unwind", text_of("$unwind", "includeArrayIndex", name)?)?,
            };
            let preserve = match optional(spec, "preserveNullAndEmptyArrays")? {
                None => false,
                Some(RawBsonRef::Boolean(preserve)) => preserve,
                Some(_) => {
                    return Err(Error::invalid(
                        "'preserveNullAndEmptyArrays' of stage '$unwind' is true or false",
                    ));
                }
            };
            let text = text_of("$unwind", "path", required("$unwind", spec, "path")?)?;
            (text, index, preserve)
        }
        value => (text_of("$unwind", "path", value)?, Vec::new(), false),
    };
    let text = text.strip_prefix('$').ok_or_else(|| {
        Error::invalid("stage '$unwind' takes a path that begins with a dollar, such as '$tags'")
    })?;
    Ok(Unwind {
        path: path("$unwind", text)?,
        index,
        preserve,
    })
}

/// Something that goes deeper than documents do.
fn too_deep() -> Error {
    Error::new(
        ErrorCode::InvalidParam,
        format!("a stage nests deeper than {NESTING_DEPTH_MAX} levels; flatten it"),
    )
}
