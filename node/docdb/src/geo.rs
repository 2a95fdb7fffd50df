//! Places on the earth: GeoJSON read and checked, distances, what lies in what, and the cells of an index.
//!
//! The earth is a sphere, an edge the shortest way between its ends (a great circle), as in MongoDB. All of it
//! is a function of its inputs down to the last bit on every machine, because entries and matches are settled
//! when a command is applied: only basic arithmetic, square roots and `libm`, never the platform's functions.

pub(crate) mod cell;
pub(crate) mod geometry;
pub(crate) mod near;
pub(crate) mod relation;
pub(crate) mod sphere;

#[cfg(test)]
mod geo_test;

pub(crate) use geometry::Geometry;
pub(crate) use near::Near;
pub(crate) use relation::Region;
