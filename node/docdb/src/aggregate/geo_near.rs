//! `$geoNear`: the documents of a collection by their distance from a point, each with that distance.
//!
//! The planner finds them, as it does for `$near`; what is left for the operator is to write down how far each is and
//! by which of its places.

use bson::{RawBsonRef, RawDocument};

use super::chain::{Chain, Flow, Operator};
use super::edit;
use super::stage::GeoNear;
use crate::error::Result;
use crate::value::Path;
use crate::value::writer::Writer;

pub(super) struct Measuring<'p> {
    stage: &'p GeoNear,
    /// The field with places.
    key: Path,
    with_distance: Writer,
    with_place: Writer,
}

impl<'p> Measuring<'p> {
    pub(super) fn new(stage: &'p GeoNear, key: Path) -> Self {
        Self {
            stage,
            key,
            with_distance: Writer::default(),
            with_place: Writer::default(),
        }
    }
}

impl Operator for Measuring<'_> {
    fn push(&mut self, document: &RawDocument, next: &mut Chain<'_, '_>) -> Result<Flow> {
        let stage = self.stage;
        let Some((metres, place)) = stage.near.closest(document, &self.key)? else {
            return Ok(Flow::More);
        };
        let distance = RawBsonRef::Double(metres * stage.distance_multiplier);
        let made = &mut self.with_distance;
        made.begin();
        edit::set(document, &stage.distance_field, made, &mut |out, name| {
            out.value(name, distance)
        })?;
        let measured = made.finish()?;
        let Some(place_field) = &stage.place_field else {
            return next.push(measured);
        };
        let made = &mut self.with_place;
        made.begin();
        edit::set(measured, place_field, made, &mut |out, name| {
            out.value(name, place)
        })?;
        next.push(made.finish()?)
    }
}
