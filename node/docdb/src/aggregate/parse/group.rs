//! The documents of `$group`, `$bucket` and `$bucketAuto`.

use bson::{RawBson, RawBsonRef, RawDocument};

use super::{Parser, check_members, count, object, optional, required};
use crate::aggregate::accumulator::{Accumulation, Accumulator};
use crate::aggregate::stage::{BucketAuto, Group, GroupKey, Stage};
use crate::error::{Error, Result};
use crate::limits::{BUCKETS_MAX, GROUP_FIELDS_MAX};
use crate::sort::Sort;
use crate::value::compare::rank_of;
use crate::value::{compare, malformed, type_name};

/// Accumulators of MongoDB that this database knows of and does not offer.
const UNSUPPORTED: [&str; 14] = [
    "$accumulator",
    "$bottom",
    "$bottomN",
    "$concatArrays",
    "$firstN",
    "$lastN",
    "$maxN",
    "$median",
    "$minN",
    "$percentile",
    "$setUnion",
    "$top",
    "$topN",
    "$function",
];

impl Parser<'_> {
    pub(super) fn group(&self, spec: &RawDocument) -> Result<Group> {
        let id = required("$group", spec, "_id")?;
        Ok(Group {
            key: GroupKey::Value(self.expression(id)?),
            fields: self.accumulations("$group", spec)?,
        })
    }

    /// All members but `_id`.
    fn accumulations(&self, stage: &str, spec: &RawDocument) -> Result<Vec<Accumulation>> {
        let mut fields: Vec<Accumulation> = Vec::new();
        for member in spec.iter() {
            let (name, value) = member.map_err(malformed)?;
            let name = name.as_str();
            if name == "_id" && stage == "$group" {
                continue;
            }
            if name.is_empty() || name.starts_with('$') || name.contains('.') || name == "_id" {
                return Err(Error::invalid(format!(
                    "'{name}' cannot be a field of stage '{stage}'; use a name without dot and dollar"
                )));
            }
            if fields.iter().any(|field| *field.name == *name) {
                return Err(Error::invalid(format!(
                    "stage '{stage}' has the field '{name}' twice; keep one"
                )));
            }
            if fields.len() >= GROUP_FIELDS_MAX {
                return Err(Error::invalid(format!(
                    "stage '{stage}' has more than {GROUP_FIELDS_MAX} fields; drop some"
                )));
            }
            let (operator, argument) = self.accumulator(stage, name, value)?;
            fields.push(Accumulation {
                name: name.into(),
                operator,
                argument,
            });
        }
        Ok(fields)
    }

    fn accumulator(
        &self,
        stage: &str,
        field: &str,
        value: RawBsonRef<'_>,
    ) -> Result<(Accumulator, crate::expr::Expression)> {
        let malformed_field = || {
            Error::invalid(format!(
                "field '{field}' of stage '{stage}' must be an object with one accumulator, such as {{$sum: 1}}"
            ))
        };
        let document = value.as_document().ok_or_else(malformed_field)?;
        let mut members = document.iter();
        let (Some(member), None) = (members.next(), members.next()) else {
            return Err(malformed_field());
        };
        let (name, argument) = member.map_err(malformed)?;
        let name = name.as_str();
        if name == "$count" {
            if !argument.as_document().is_some_and(RawDocument::is_empty) {
                return Err(Error::invalid(format!(
                    "field '{field}' of stage '{stage}': '$count' takes an empty object"
                )));
            }
            let one = self.expression(RawBsonRef::Int32(1))?;
            return Ok((Accumulator::Sum, one));
        }
        let Some(operator) = Accumulator::named(name) else {
            let what = if UNSUPPORTED.contains(&name) {
                "is not supported yet"
            } else {
                "is not an accumulator; check its spelling"
            };
            return Err(Error::operator(format!(
                "field '{field}' of stage '{stage}': '{name}' {what}"
            )));
        };
        if let RawBsonRef::Array(_) = argument {
            return Err(Error::invalid(format!(
                "field '{field}' of stage '{stage}': '{name}' takes one expression here, not a list"
            )));
        }
        Ok((operator, self.expression(argument)?))
    }

    /// `output`, or a count.
    fn output(&self, stage: &str, spec: &RawDocument) -> Result<Vec<Accumulation>> {
        match optional(spec, "output")? {
            Some(output) => self.accumulations(stage, object(stage, output)?),
            None => Ok(vec![Accumulation {
                name: "count".into(),
                operator: Accumulator::Sum,
                argument: self.expression(RawBsonRef::Int32(1))?,
            }]),
        }
    }

    /// A group by boundary, sorted by it.
    pub(super) fn bucket(&self, spec: &RawDocument, out: &mut Vec<Stage>) -> Result<()> {
        let stage = "$bucket";
        check_members(stage, spec, &["groupBy", "boundaries", "default", "output"])?;
        let by = self.group_by(stage, required(stage, spec, "groupBy")?)?;
        let RawBsonRef::Array(list) = required(stage, spec, "boundaries")? else {
            return Err(Error::invalid(
                "'boundaries' of stage '$bucket' is an array",
            ));
        };
        let mut boundaries: Vec<RawBson> = Vec::new();
        for boundary in list {
            let boundary = self.constant("boundaries", boundary.map_err(malformed)?)?;
            if let Some(last) = boundaries.last() {
                let (last, next) = (last.as_raw_bson_ref(), boundary.as_raw_bson_ref());
                if rank_of(last) != rank_of(next) || !compare(last, next).is_lt() {
                    return Err(Error::invalid(
                        "'boundaries' of stage '$bucket' must be of one type and ascend",
                    ));
                }
            }
            if boundaries.len() > BUCKETS_MAX {
                return Err(Error::invalid(format!(
                    "stage '$bucket' has more than {BUCKETS_MAX} buckets; make them larger"
                )));
            }
            boundaries.push(boundary);
        }
        let (Some(least), Some(most), true) =
            (boundaries.first(), boundaries.last(), boundaries.len() >= 2)
        else {
            return Err(Error::invalid(
                "'boundaries' of stage '$bucket' needs at least two values",
            ));
        };
        let default = match optional(spec, "default")? {
            None => None,
            Some(default) => {
                let default = self.constant("default", default)?;
                let value = default.as_raw_bson_ref();
                if compare(value, least.as_raw_bson_ref()).is_ge()
                    && compare(value, most.as_raw_bson_ref()).is_lt()
                {
                    return Err(Error::invalid(
                        "'default' of stage '$bucket' must lie outside of the boundaries",
                    ));
                }
                Some(default)
            }
        };
        out.push(Stage::Group(Group {
            key: GroupKey::Bucket {
                by,
                boundaries,
                default,
            },
            fields: self.output(stage, spec)?,
        }));
        out.push(Stage::Sort(Sort::parse(&bson::rawdoc! { "_id": 1 })?, None));
        Ok(())
    }

    pub(super) fn bucket_auto(&self, spec: &RawDocument) -> Result<BucketAuto> {
        let stage = "$bucketAuto";
        if optional(spec, "granularity")?.is_some() {
            return Err(Error::operator(
                "'granularity' of stage '$bucketAuto' is not supported yet",
            ));
        }
        check_members(stage, spec, &["groupBy", "buckets", "output"])?;
        let buckets = count(stage, required(stage, spec, "buckets")?, 1)?;
        if buckets > BUCKETS_MAX as u64 {
            return Err(Error::invalid(format!(
                "stage '$bucketAuto' has more than {BUCKETS_MAX} buckets; make them larger"
            )));
        }
        Ok(BucketAuto {
            by: self.group_by(stage, required(stage, spec, "groupBy")?)?,
            buckets,
            fields: self.output(stage, spec)?,
        })
    }

    fn group_by(&self, stage: &str, value: RawBsonRef<'_>) -> Result<crate::expr::Expression> {
        let is_expression = match value {
            RawBsonRef::String(text) => text.starts_with('$'),
            RawBsonRef::Document(_) => true,
            _ => false,
        };
        if !is_expression {
            return Err(Error::invalid(format!(
                "'groupBy' of stage '{stage}' is a field path such as '$age' or an expression object, not a {}",
                type_name(value)
            )));
        }
        self.expression(value)
    }

    /// A value that is the same for all documents.
    fn constant(&self, member: &str, value: RawBsonRef<'_>) -> Result<RawBson> {
        let expression = self.expression(value)?;
        let constant = expression.fold()?;
        constant.ok_or_else(|| {
            Error::invalid(format!(
                "'{member}' of stage '$bucket' takes constants, not expressions of the document"
            ))
        })
    }
}
