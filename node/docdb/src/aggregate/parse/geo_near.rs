//! The members of `$geoNear`.

use bson::{RawBsonRef, RawDocument};

use super::{Parser, check_members, count, join::field, object, optional, path, required, text_of};
use crate::aggregate::stage::{GeoNear, Stage};
use crate::error::{Error, Result};
use crate::filter::{Filter, distance, only_point};
use crate::geo::{Geometry, Near};
use crate::value::compare::Number;
use crate::value::type_name;

const STAGE: &str = "$geoNear";

impl Parser<'_> {
    pub(super) fn geo_near(
        &mut self,
        position: usize,
        spec: &RawDocument,
        out: &mut Vec<Stage>,
    ) -> Result<()> {
        if position > 0 || self.in_facet {
            return Err(Error::invalid(
                "stage '$geoNear' reads a collection by an index, so it can only be the first of a pipeline, and not inside '$facet'",
            ));
        }
        check_members(
            STAGE,
            spec,
            &[
                "near",
                "distanceField",
                "spherical",
                "minDistance",
                "maxDistance",
                "query",
                "distanceMultiplier",
                "includeLocs",
                "key",
                "limit",
            ],
        )?;
        // Distances are on the sphere in any case: there is no other kind of index.
        match optional(spec, "spherical")? {
            None | Some(RawBsonRef::Boolean(_)) => {}
            Some(_) => {
                return Err(Error::invalid(
                    "'spherical' of stage '$geoNear' is true or false",
                ));
            }
        }
        let text = |member| match optional(spec, member)? {
            None | Some(RawBsonRef::Null) => Ok(None),
            Some(value) => text_of(STAGE, member, value).map(Some),
        };
        let distance_field = text_of(
            STAGE,
            "distanceField",
            required(STAGE, spec, "distanceField")?,
        )?;
        let query = match optional(spec, "query")? {
            None | Some(RawBsonRef::Null) => Filter::everything(),
            Some(query) => self.filter("'query' of stage '$geoNear'", object(STAGE, query)?)?,
        };
        out.push(Stage::GeoNear(Box::new(GeoNear {
            near: near(spec).map_err(|error| {
                Error::new(error.code, format!("stage '{STAGE}': {}", error.message))
            })?,
            key: text("key")?.map(|key| field(STAGE, key)).transpose()?,
            query,
            distance_field: path(STAGE, distance_field)?,
            distance_multiplier: multiplier(spec)?,
            place_field: text("includeLocs")?
                .map(|name| path(STAGE, name))
                .transpose()?,
        })));
        match optional(spec, "limit")? {
            None | Some(RawBsonRef::Null) => {}
            Some(limit) => out.push(Stage::Limit(count(STAGE, limit, 1)?)),
        }
        Ok(())
    }
}

fn near(spec: &RawDocument) -> Result<Near> {
    let center = match required(STAGE, spec, "near")? {
        RawBsonRef::Document(point) => only_point(&Geometry::parse(point)?)?,
        other => {
            return Err(Error::invalid(format!(
                "'near' takes a GeoJSON Point, not a {}",
                type_name(other)
            )));
        }
    };
    Ok(Near {
        center,
        distance_min: distance(spec, "minDistance")?.unwrap_or(0.0),
        distance_max: distance(spec, "maxDistance")?.unwrap_or(f64::INFINITY),
    })
}

fn multiplier(spec: &RawDocument) -> Result<f64> {
    match optional(spec, "distanceMultiplier")? {
        None | Some(RawBsonRef::Null) => Ok(1.0),
        Some(value) => Number::of(value)
            .map(Number::as_f64)
            .filter(|factor| *factor >= 0.0)
            .ok_or_else(|| {
                Error::invalid("'distanceMultiplier' of stage '$geoNear' is a number from 0")
            }),
    }
}
