//! Nearness to a point: which documents are near enough, how far they are, and by which index they are found.
//!
//! What `$near`, `$nearSphere` and a `$geoNear` stage share. Distances are those of the closest point of the
//! closest geometry at the path.

use bson::{RawBsonRef, RawDocument};

use super::geometry::{Cap, Geometry, Point};
use super::sphere::EARTH_RADIUS_METRES;
use crate::catalog::Collection;
use crate::error::{Error, ErrorCode, Result};
use crate::value::{Path, values_at};

/// Within a distance of a point, and not nearer than another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Near {
    pub(crate) center: Point,
    /// In metres.
    pub(crate) distance_min: f64,
    /// In metres; infinite when there is none.
    pub(crate) distance_max: f64,
}

impl Near {
    /// Whether a geometry is near enough and far enough.
    pub(crate) fn admits(&self, geometry: &Geometry) -> bool {
        let metres = geometry.angle_from(self.center.at) * EARTH_RADIUS_METRES;
        self.distance_min <= metres && metres <= self.distance_max
    }

    /// The cap that holds everything within `metres`.
    pub(crate) fn cap(&self, metres: f64) -> Cap {
        Cap {
            center: self.center.at,
            radius: (metres / EARTH_RADIUS_METRES).min(std::f64::consts::PI),
        }
    }

    /// The closest geometry that a document has at `path`, and its distance in metres.
    pub(crate) fn closest<'a>(
        &self,
        document: &'a RawDocument,
        path: &Path,
    ) -> Result<Option<(f64, RawBsonRef<'a>)>> {
        let found = values_at(document, path)?
            .into_iter()
            .filter_map(|value| {
                let geometry = Geometry::of_value(value)?;
                let metres = geometry.angle_from(self.center.at) * EARTH_RADIUS_METRES;
                Some((metres, value))
            })
            .min_by(|a, b| a.0.total_cmp(&b.0));
        Ok(found)
    }
}

/// The path that nearness is about when a request names none: the one of the collection's only geo index.
///
/// For `$geoNear`, whose `key` may be left out.
pub(crate) fn only_path(collection: &Collection) -> Result<&str> {
    let mut paths = collection
        .indexes
        .iter()
        .filter(|index| index.is_ready())
        .filter_map(|index| Some(index.spec.fields.get(index.geo_field()?)?.path.as_str()));
    let refused = |what: &str| {
        Err(Error::new(
            ErrorCode::RequestFailed,
            format!("collection '{}' has {what}", collection.name),
        ))
    };
    let Some(first) = paths.next() else {
        return refused("no 2dsphere index that is ready; create one on the field with places");
    };
    if paths.any(|other| other != first) {
        return refused("2dsphere indexes on several fields; name the one by 'key'");
    }
    Ok(first)
}
