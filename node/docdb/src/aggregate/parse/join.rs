//! The documents of `$lookup` and `$graphLookup`.

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use super::{Parser, check_members, count, object, optional, path, pipeline_of, required, text_of};
use crate::aggregate::stage::{GraphLookup, Lookup, LookupPipeline};
use crate::error::{Error, Result};
use crate::expr::{Bindings, Computed, Expression};
use crate::filter::Filter;
use crate::limits::GRAPH_LOOKUP_DEPTH_MAX;
use crate::value::check::array_document;
use crate::value::{Path, malformed};

impl Parser<'_> {
    pub(super) fn lookup(&mut self, spec: &RawDocument) -> Result<Lookup> {
        let stage = "$lookup";
        check_members(
            stage,
            spec,
            &[
                "from",
                "as",
                "localField",
                "foreignField",
                "let",
                "pipeline",
            ],
        )?;
        let from = text_of(stage, "from", required(stage, spec, "from")?)?;
        let target = text_of(stage, "as", required(stage, spec, "as")?)?;
        let join = match (
            optional(spec, "localField")?,
            optional(spec, "foreignField")?,
        ) {
            (None, None) => None,
            (Some(local), Some(foreign)) => Some((
                field(stage, text_of(stage, "localField", local)?)?,
                field(stage, text_of(stage, "foreignField", foreign)?)?,
            )),
            _ => {
                return Err(Error::invalid(
                    "stage '$lookup' needs both 'localField' and 'foreignField', or neither",
                ));
            }
        };
        let pipeline = match optional(spec, "pipeline")? {
            Some(pipeline) => {
                Some(self.lookup_pipeline(optional(spec, "let")?, pipeline_of(stage, pipeline)?)?)
            }
            None if optional(spec, "let")?.is_some() => {
                return Err(Error::invalid(
                    "'let' of stage '$lookup' defines variables for a 'pipeline', which is missing",
                ));
            }
            None if join.is_none() => {
                return Err(Error::invalid(
                    "stage '$lookup' needs 'localField' and 'foreignField', or a 'pipeline'",
                ));
            }
            None => None,
        };
        Ok(Lookup {
            from: from.to_owned(),
            join,
            pipeline,
            target: path(stage, target)?,
        })
    }

    fn lookup_pipeline(
        &mut self,
        definitions: Option<RawBsonRef<'_>>,
        text: Vec<RawDocumentBuf>,
    ) -> Result<LookupPipeline> {
        let definitions = match definitions {
            None => Vec::new(),
            Some(definitions) => self.definitions(object("$lookup", definitions)?)?,
        };
        let names: Vec<&str> = definitions.iter().map(|(name, _)| name.as_str()).collect();
        let is_constant = !text.iter().try_fold(false, |found, stage| {
            Ok::<_, Error>(found || mentions(RawBsonRef::Document(stage), &names)?)
        })?;
        // The values come with each document; here it only matters that the names are known.
        let outer: Vec<(String, Computed)> = self.bindings.variables.to_vec();
        let mut variables = outer.clone();
        variables.extend(definitions.iter().map(|(name, _)| (name.clone(), None)));
        let mut inner = Parser {
            bindings: Bindings {
                variables: &variables,
                ..self.bindings
            },
            stages: self.stages,
            depth: self.depth,
            in_facet: false,
        };
        let stages = inner.pipeline(&text)?;
        self.stages = inner.stages;
        Ok(LookupPipeline {
            definitions,
            outer,
            text,
            constant: is_constant.then_some(stages),
        })
    }

    fn definitions(&self, spec: &RawDocument) -> Result<Vec<(String, Expression)>> {
        let mut definitions = Vec::new();
        for member in spec.iter() {
            let (name, value) = member.map_err(malformed)?;
            let name = name.as_str();
            let mut chars = name.chars();
            let begins = chars
                .next()
                .is_some_and(|first| first.is_ascii_lowercase() || !first.is_ascii());
            if !begins || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()) {
                return Err(Error::invalid(format!(
                    "'let' of stage '$lookup': '{name}' cannot name a variable; begin with a lower-case letter"
                )));
            }
            definitions.push((name.to_owned(), self.expression(value)?));
        }
        Ok(definitions)
    }

    pub(super) fn graph_lookup(&mut self, spec: &RawDocument) -> Result<GraphLookup> {
        let stage = "$graphLookup";
        check_members(
            stage,
            spec,
            &[
                "from",
                "startWith",
                "connectFromField",
                "connectToField",
                "as",
                "maxDepth",
                "depthField",
                "restrictSearchWithMatch",
            ],
        )?;
        let text = |member: &str| text_of(stage, member, required(stage, spec, member)?);
        let restrict = match optional(spec, "restrictSearchWithMatch")? {
            Some(filter) => self.filter(
                "'restrictSearchWithMatch' of stage '$graphLookup'",
                object(stage, filter)?,
            )?,
            None => Filter::everything(),
        };
        let depth_field = match optional(spec, "depthField")? {
            Some(name) => Some(path(stage, text_of(stage, "depthField", name)?)?),
            None => None,
        };
        Ok(GraphLookup {
            from: text("from")?.to_owned(),
            start_with: self.expression(required(stage, spec, "startWith")?)?,
            connect_from: field(stage, text("connectFromField")?)?,
            connect_to: field(stage, text("connectToField")?)?,
            target: path(stage, text("as")?)?,
            depth_max: match optional(spec, "maxDepth")? {
                Some(depth) => Some(depth_max(depth)?),
                None => None,
            },
            depth_field,
            restrict,
        })
    }
}

fn depth_max(value: RawBsonRef<'_>) -> Result<u64> {
    let depth = count("$graphLookup", value, 0)?;
    if depth > GRAPH_LOOKUP_DEPTH_MAX {
        return Err(Error::invalid(format!(
            "'maxDepth' of stage '$graphLookup' is at most {GRAPH_LOOKUP_DEPTH_MAX}"
        )));
    }
    Ok(depth)
}

pub(super) fn field(stage: &str, text: &str) -> Result<Path> {
    path(stage, text)?;
    Path::parse(text)
}

/// Whether some text refers to one of the variables.
fn mentions(value: RawBsonRef<'_>, names: &[&str]) -> Result<bool> {
    let inner = match value {
        RawBsonRef::String(text) => {
            let name = text.strip_prefix("$$").map(|name| name.split('.').next());
            return Ok(name.flatten().is_some_and(|name| names.contains(&name)));
        }
        RawBsonRef::Document(document) => document,
        RawBsonRef::Array(array) => array_document(array)?,
        _ => return Ok(false),
    };
    for member in inner.iter() {
        if mentions(member.map_err(malformed)?.1, names)? {
            return Ok(true);
        }
    }
    Ok(false)
}
