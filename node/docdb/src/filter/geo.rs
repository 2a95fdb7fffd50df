//! Conditions on places: `$geoWithin`, `$geoIntersects`, `$near` and `$nearSphere`, and the cells of an index that
//! they imply.
//!
//! A query by distance orders its result, so it may stand only where it concerns the whole query: at the top, or in
//! `$and`s at the top, once.

use bson::{RawBsonRef, RawDocument};

use super::condition::{Condition, Test};
use super::parse::show;
use super::{Filter, Interval, Node};
use crate::error::{Error, Result};
use crate::geo::geometry::{Cap, Point, position};
use crate::geo::{Geometry, Near, Region, cell};
use crate::value::compare::Number;
use crate::value::{Path, malformed, type_name};

/// What is asked about one geometry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GeoTest {
    /// Lies wholly in a region.
    Within(Region),
    /// Has a point in common with a geometry.
    Intersects(Geometry),
    /// Is near a point; the nearest are wanted first.
    Near(Near),
}

impl GeoTest {
    /// Parses the operand of an operator on `field`.
    pub(super) fn parse(field: &str, operator: &str, value: RawBsonRef<'_>) -> Result<Self> {
        let named = |error: Error| {
            Error::new(
                error.code,
                format!("field '{field}': '{operator}': {}", error.message),
            )
        };
        let RawBsonRef::Document(operand) = value else {
            return Err(named(Error::invalid(format!(
                "takes an object such as {{$geometry: {{...}}}}, not a {}",
                type_name(value)
            ))));
        };
        match operator {
            "$geoWithin" => region(operand).map(Self::Within),
            "$geoIntersects" => only(operand, &["$geometry"])
                .and_then(|()| geometry(operand))
                .map(Self::Intersects),
            _ => near(operand).map(Self::Near),
        }
        .map_err(named)
    }

    /// Whether a value is a geometry that lies as asked.
    pub(super) fn matches(&self, value: RawBsonRef<'_>) -> bool {
        let Some(geometry) = Geometry::of_value(value) else {
            return false;
        };
        match self {
            Self::Within(region) => region.contains(&geometry),
            Self::Intersects(other) => geometry.intersects(other),
            Self::Near(near) => near.admits(&geometry),
        }
    }

    /// Caps one of which each geometry that passes meets.
    fn caps(&self) -> Vec<Cap> {
        match self {
            Self::Within(region) => region.caps(),
            Self::Intersects(geometry) => geometry.caps(),
            Self::Near(near) => vec![near.cap(near.distance_max)],
        }
    }
}

fn region(operand: &RawDocument) -> Result<Region> {
    only(operand, &["$geometry", "$centerSphere"])?;
    if let Some(value) = operand.get("$centerSphere").map_err(malformed)? {
        return center_sphere(value);
    }
    let geometry = geometry(operand)?;
    if geometry.polygons.is_empty() || !geometry.points.is_empty() || !geometry.lines.is_empty() {
        return Err(Error::invalid(
            "takes a Polygon or MultiPolygon; only areas have an inside",
        ));
    }
    Ok(Region::Polygons(geometry.polygons))
}

/// `[[longitude, latitude], radius in radians]`
fn center_sphere(value: RawBsonRef<'_>) -> Result<Region> {
    let refused = || {
        Error::invalid(
            "'$centerSphere' takes [[longitude, latitude], radius], the radius in radians from 0",
        )
    };
    let RawBsonRef::Array(parts) = value else {
        return Err(refused());
    };
    let parts = parts
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(malformed)?;
    let [center, radius] = parts[..] else {
        return Err(refused());
    };
    let center = match center {
        RawBsonRef::Array(coordinates) => position(coordinates)?,
        RawBsonRef::Document(document) => only_point(&Geometry::parse(document)?)?,
        _ => return Err(refused()),
    };
    let radius = Number::of(radius)
        .map(Number::as_f64)
        .filter(|radius| *radius >= 0.0)
        .ok_or_else(refused)?;
    Ok(Region::Cap(Cap {
        center: center.at,
        radius: radius.min(std::f64::consts::PI),
    }))
}

fn near(operand: &RawDocument) -> Result<Near> {
    only(operand, &["$geometry", "$minDistance", "$maxDistance"])?;
    let near = Near {
        center: only_point(&geometry(operand)?)?,
        distance_min: distance(operand, "$minDistance")?.unwrap_or(0.0),
        distance_max: distance(operand, "$maxDistance")?.unwrap_or(f64::INFINITY),
    };
    Ok(near)
}

/// A distance in metres. Some clients send null for one that was left out.
pub(crate) fn distance(operand: &RawDocument, name: &str) -> Result<Option<f64>> {
    match operand.get(name).map_err(malformed)? {
        None | Some(RawBsonRef::Null) => Ok(None),
        Some(value) => match Number::of(value).map(Number::as_f64) {
            Some(metres) if metres >= 0.0 => Ok(Some(metres)),
            _ => Err(Error::invalid(format!(
                "'{name}' is a number of metres from 0, not {}",
                show(value)
            ))),
        },
    }
}

fn geometry(operand: &RawDocument) -> Result<Geometry> {
    match operand.get("$geometry").map_err(malformed)? {
        Some(RawBsonRef::Document(document)) => Geometry::parse(document),
        Some(other) => Err(Error::invalid(format!(
            "'$geometry' is a {}; it takes GeoJSON",
            type_name(other)
        ))),
        None => Err(Error::invalid("needs a '$geometry' with GeoJSON")),
    }
}

pub(crate) fn only_point(geometry: &Geometry) -> Result<Point> {
    match geometry.points[..] {
        [point] if geometry.lines.is_empty() && geometry.polygons.is_empty() => Ok(point),
        _ => Err(Error::invalid("takes one Point to measure from")),
    }
}

/// Refuses members that are not understood: flat shapes and pairs of numbers mean another geometry.
fn only(operand: &RawDocument, known: &[&str]) -> Result<()> {
    for element in operand.iter() {
        let (name, _) = element.map_err(malformed)?;
        if !known.contains(&name.as_str()) {
            return Err(Error::operator(format!(
                "does not take '{}'; use {}",
                name.as_str(),
                known.join(" or ")
            )));
        }
    }
    Ok(())
}

impl Filter {
    /// Whether the filter orders a result by distance.
    pub fn orders_by_distance(&self) -> bool {
        self.near().is_some()
    }

    /// The path and the point by whose distance the result is ordered.
    pub(crate) fn near(&self) -> Option<(&str, &Near)> {
        near_of(&self.root)
    }

    /// The same filter with a query by distance on `path`, as a `$geoNear` stage asks it.
    pub(crate) fn and_near(self, path: Path, near: Near) -> Result<Self> {
        let condition = Condition::Test(Test::Geo(Box::new(GeoTest::Near(near))));
        let node = Node::Field { path, condition };
        let filter = Self {
            root: Node::All(vec![node, self.root]),
        };
        filter.check_near()?;
        Ok(filter)
    }

    /// Refuses more than one query by distance, and one that concerns only a part of the query.
    pub(super) fn check_near(&self) -> Result<()> {
        match (count(&self.root), self.near().is_some()) {
            (0, _) | (1, true) => Ok(()),
            (1, false) => Err(Error::operator(
                "'$near' orders the whole result, so it cannot stand in '$or', '$nor', '$not' or '$elemMatch'; use '$geoWithin' with '$centerSphere' there",
            )),
            _ => Err(Error::operator(
                "a query has one '$near' or '$nearSphere'; use '$geoWithin' for the others",
            )),
        }
    }

    /// The key ranges of a geo index on `path` that hold every match, like `constraints`.
    pub(crate) fn geo_constraints(&self, path: &str) -> Vec<Interval> {
        let mut tests = Vec::new();
        collect(&self.root, path, &mut tests);
        // Two conditions may hold for two geometries of an array, so only one of them counts: the narrowest.
        tests
            .into_iter()
            .map(|test| cell::ranges(&test.caps()))
            .min_by_key(|ranges| {
                let spans = ranges.iter().map(|(low, high)| high - low);
                spans.fold(0_i64, i64::saturating_add)
            })
            .and_then(|ranges| intervals(&ranges).ok())
            .unwrap_or_else(|| vec![Interval::all()])
    }
}

/// Ranges of cells as ranges of keys.
pub(crate) fn intervals(ranges: &[(i64, i64)]) -> Result<Vec<Interval>> {
    ranges
        .iter()
        .map(|(low, high)| Interval::of_numbers(*low, *high))
        .collect()
}

fn near_of(node: &Node) -> Option<(&str, &Near)> {
    match node {
        Node::All(nodes) => nodes.iter().find_map(near_of),
        Node::Field { path, condition } => near_in(condition).map(|near| (path.as_str(), near)),
        _ => None,
    }
}

fn near_in(condition: &Condition) -> Option<&Near> {
    match condition {
        Condition::All(conditions) => conditions.iter().find_map(near_in),
        Condition::Test(Test::Geo(test)) => match &**test {
            GeoTest::Near(near) => Some(near),
            _ => None,
        },
        _ => None,
    }
}

fn count(node: &Node) -> usize {
    match node {
        Node::All(nodes) | Node::Any(nodes) | Node::Nor(nodes) => nodes.iter().map(count).sum(),
        Node::Field { condition, .. } => count_in(condition),
        Node::Expression(_) | Node::Schema(_) => 0,
    }
}

fn count_in(condition: &Condition) -> usize {
    match condition {
        Condition::All(conditions) => conditions.iter().map(count_in).sum(),
        Condition::Not(condition) => count_in(condition),
        Condition::Test(Test::AnyElement(condition)) => count_in(condition),
        Condition::Test(Test::AnyDocument(node)) => count(node),
        Condition::Test(Test::Geo(_)) => usize::from(near_in(condition).is_some()),
        Condition::Test(_) => 0,
    }
}

fn collect<'a>(node: &'a Node, path: &str, tests: &mut Vec<&'a GeoTest>) {
    match node {
        Node::All(nodes) => nodes.iter().for_each(|node| collect(node, path, tests)),
        Node::Field {
            path: at,
            condition,
        } if at.as_str() == path => collect_in(condition, tests),
        _ => {}
    }
}

fn collect_in<'a>(condition: &'a Condition, tests: &mut Vec<&'a GeoTest>) {
    match condition {
        Condition::All(conditions) => conditions
            .iter()
            .for_each(|condition| collect_in(condition, tests)),
        Condition::Test(Test::Geo(test)) => tests.push(test),
        _ => {}
    }
}
