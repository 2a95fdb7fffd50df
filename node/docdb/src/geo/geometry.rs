//! GeoJSON geometries: read from documents, checked, and taken apart into points, lines and polygons.
//!
//! A polygon is the part of the earth inside its outer ring and outside its holes, by the even-odd rule; it
//! must fit into a hemisphere. Inside a hemisphere, great circles become straight lines on the plane that
//! touches its middle, and there the question whether a point is inside is the one of the plane.

use bson::{RawArray, RawBsonRef, RawDocument};

use super::sphere::{Vector, angle, cross, degrees, dot, is_on_edge, point, unit};
use crate::error::{Error, Result};
use crate::limits::{GEOMETRY_COLLECTIONS_DEPTH_MAX, GEOMETRY_POSITIONS_MAX};
use crate::value::compare::Number;
use crate::value::{malformed, type_name};

/// Added to every radius, so that rounding never loses a point: some millimetres.
const MARGIN_RADIANS: f64 = 1e-9;

/// The points within an angle of a centre.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cap {
    pub(crate) center: Vector,
    /// In radians; from a quarter turn on, edges between points inside may leave the cap.
    pub(crate) radius: f64,
}

/// A point with the coordinates that it was given by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) longitude: f64,
    pub(crate) latitude: f64,
    pub(crate) at: Vector,
}

/// A chain of edges.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) vertices: Vec<Vector>,
    pub(crate) cap: Cap,
}

/// An area with holes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Polygon {
    /// The outer one first; the last vertex is not the first again.
    rings: Vec<Vec<Vector>>,
    /// The rings on the plane that touches the sphere in the cap's centre.
    flat: Vec<Vec<[f64; 2]>>,
    axes: [Vector; 2],
    pub(crate) cap: Cap,
}

/// Any GeoJSON geometry.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Geometry {
    pub(crate) points: Vec<Point>,
    pub(crate) lines: Vec<Line>,
    pub(crate) polygons: Vec<Polygon>,
}

impl Cap {
    /// A cap that holds the points; not the smallest, but close to it.
    pub(crate) fn around(points: &[Vector]) -> Self {
        let mut low = [f64::INFINITY; 3];
        let mut high = [f64::NEG_INFINITY; 3];
        for point in points {
            for axis in 0..3 {
                low[axis] = low[axis].min(point[axis]);
                high[axis] = high[axis].max(point[axis]);
            }
        }
        let middle = [0, 1, 2].map(|axis| low[axis] + high[axis]);
        let center = unit(middle).unwrap_or([1.0, 0.0, 0.0]);
        let radius = points
            .iter()
            .map(|point| angle(center, *point))
            .fold(0.0, f64::max);
        Self {
            center,
            radius: radius + MARGIN_RADIANS,
        }
    }

    /// Whether the caps have a point in common.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        angle(self.center, other.center) <= self.radius + other.radius
    }
}

impl Point {
    fn new(longitude: f64, latitude: f64) -> Self {
        Self {
            longitude,
            latitude,
            at: point(longitude, latitude),
        }
    }
}

impl Line {
    fn new(vertices: Vec<Vector>) -> Result<Self> {
        check_edges(&vertices)?;
        let mut cap = Cap::around(&vertices);
        if cap.radius >= std::f64::consts::FRAC_PI_2 {
            cap.radius = std::f64::consts::PI;
        }
        Ok(Self { vertices, cap })
    }

    pub(crate) fn edges(&self) -> impl Iterator<Item = (Vector, Vector)> {
        self.vertices.windows(2).map(|edge| (edge[0], edge[1]))
    }
}

impl Polygon {
    fn new(rings: Vec<Vec<Vector>>) -> Result<Self> {
        let cap = Cap::around(&rings[0]);
        let too_large = rings
            .iter()
            .flatten()
            .any(|vertex| dot(*vertex, cap.center) <= 1e-6);
        if too_large {
            return Err(Error::invalid(
                "a polygon must fit into a hemisphere; split it or list its positions [longitude, latitude]",
            ));
        }
        rings.iter().try_for_each(|ring| check_edges(ring))?;
        let aside = if libm::fabs(cap.center[2]) < 0.9 {
            [0.0, 0.0, 1.0]
        } else {
            [1.0, 0.0, 0.0]
        };
        let first = unit(cross(cap.center, aside)).unwrap_or(aside);
        let axes = [first, cross(cap.center, first)];
        let flat = rings
            .iter()
            .map(|ring| {
                ring.iter()
                    .map(|vertex| flattened(cap.center, axes, *vertex))
                    .collect()
            })
            .collect();
        Ok(Self {
            rings,
            flat,
            axes,
            cap,
        })
    }

    /// The edges of all rings.
    pub(crate) fn edges(&self) -> impl Iterator<Item = (Vector, Vector)> {
        self.rings.iter().flat_map(|ring| ring_edges(ring))
    }

    /// The vertices of the outer ring.
    pub(crate) fn outer(&self) -> &[Vector] {
        &self.rings[0]
    }

    /// The vertices of the holes.
    pub(crate) fn holes(&self) -> &[Vec<Vector>] {
        &self.rings[1..]
    }

    /// Whether a point is inside or on the border.
    pub(crate) fn contains(&self, p: Vector) -> bool {
        angle(self.cap.center, p) <= self.cap.radius
            && (self.is_inside(p) || self.edges().any(|(a, b)| is_on_edge(p, a, b)))
    }

    /// Whether a point is inside, disregarding what lies on the border.
    pub(crate) fn is_inside(&self, p: Vector) -> bool {
        if dot(p, self.cap.center) <= 0.0 {
            return false;
        }
        let [x, y] = flattened(self.cap.center, self.axes, p);
        let mut inside = false;
        for ring in &self.flat {
            let mut before = ring[ring.len() - 1];
            for &at in ring {
                if (at[1] > y) != (before[1] > y)
                    && x < (before[0] - at[0]) * (y - at[1]) / (before[1] - at[1]) + at[0]
                {
                    inside = !inside;
                }
                before = at;
            }
        }
        inside
    }
}

fn ring_edges(ring: &[Vector]) -> impl Iterator<Item = (Vector, Vector)> {
    let behind = ring.iter().cycle().skip(1);
    ring.iter().copied().zip(behind.copied())
}

fn flattened(center: Vector, axes: [Vector; 2], p: Vector) -> [f64; 2] {
    let depth = dot(p, center);
    [dot(p, axes[0]) / depth, dot(p, axes[1]) / depth]
}

fn check_edges(vertices: &[Vector]) -> Result<()> {
    match vertices
        .windows(2)
        .any(|edge| dot(edge[0], edge[1]) < -1.0 + 1e-12)
    {
        true => Err(Error::invalid(
            "two positions that follow each other are opposite points of the earth; put one between them",
        )),
        false => Ok(()),
    }
}

impl Geometry {
    /// Reads a GeoJSON geometry; refuses what is none, with what is wrong.
    pub(crate) fn parse(document: &RawDocument) -> Result<Self> {
        let mut reader = Reader {
            geometry: Self::default(),
            positions: 0,
        };
        reader.geometry(document, 0)?;
        Ok(reader.geometry)
    }

    /// The geometry of a value that is one: of a document that is GeoJSON.
    pub(crate) fn of_value(value: RawBsonRef<'_>) -> Option<Self> {
        match value {
            RawBsonRef::Document(document) => Self::parse(document).ok(),
            _ => None,
        }
    }

    /// Caps that hold the parts.
    pub(crate) fn caps(&self) -> Vec<Cap> {
        let of_point = |point: &Point| Cap {
            center: point.at,
            radius: MARGIN_RADIANS,
        };
        let points = self.points.iter().map(of_point);
        let lines = self.lines.iter().map(|line| line.cap);
        let polygons = self.polygons.iter().map(|polygon| polygon.cap);
        points.chain(lines).chain(polygons).collect()
    }
}

struct Reader {
    geometry: Geometry,
    positions: usize,
}

impl Reader {
    fn geometry(&mut self, document: &RawDocument, depth: usize) -> Result<()> {
        let kind = match document.get("type").map_err(malformed)? {
            Some(RawBsonRef::String(kind)) => kind,
            _ => {
                return Err(Error::invalid(
                    "a geometry needs a 'type' such as \"Point\" beside its 'coordinates'",
                ));
            }
        };
        if document.get("crs").map_err(malformed)?.is_some() {
            return Err(Error::invalid(
                "'crs' is not supported: coordinates are longitude and latitude; leave it out",
            ));
        }
        if kind == "GeometryCollection" {
            return self.collection(document, depth);
        }
        let coordinates = match document.get("coordinates").map_err(malformed)? {
            Some(RawBsonRef::Array(array)) => array,
            Some(other) => {
                return Err(Error::invalid(format!(
                    "the 'coordinates' of a {kind} are an array, not a {}",
                    type_name(other)
                )));
            }
            None => {
                return Err(Error::invalid(format!("a {kind} needs 'coordinates'")));
            }
        };
        match kind {
            "Point" => self.point(coordinates),
            "MultiPoint" => each(kind, coordinates, |part| self.point(part)),
            "LineString" => self.line(coordinates),
            "MultiLineString" => each(kind, coordinates, |part| self.line(part)),
            "Polygon" => self.polygon(coordinates),
            "MultiPolygon" => each(kind, coordinates, |part| self.polygon(part)),
            other => {
                let shown: String = other.chars().take(40).collect();
                Err(Error::invalid(format!(
                    "'{shown}' is no type of geometry; use Point, LineString, Polygon, MultiPoint, MultiLineString, MultiPolygon or GeometryCollection"
                )))
            }
        }
    }

    fn collection(&mut self, document: &RawDocument, depth: usize) -> Result<()> {
        if depth >= GEOMETRY_COLLECTIONS_DEPTH_MAX {
            return Err(Error::invalid(format!(
                "geometry collections nest deeper than {GEOMETRY_COLLECTIONS_DEPTH_MAX} levels; flatten them"
            )));
        }
        let Some(RawBsonRef::Array(parts)) = document.get("geometries").map_err(malformed)? else {
            return Err(Error::invalid(
                "a GeometryCollection needs an array of 'geometries'",
            ));
        };
        let mut is_empty = true;
        for part in parts {
            let RawBsonRef::Document(part) = part.map_err(malformed)? else {
                return Err(Error::invalid("'geometries' holds what is no geometry"));
            };
            self.geometry(part, depth + 1)?;
            is_empty = false;
        }
        if is_empty {
            return Err(Error::invalid("'geometries' is empty; give it a geometry"));
        }
        Ok(())
    }

    fn point(&mut self, coordinates: &RawArray) -> Result<()> {
        let point = self.position(coordinates)?;
        self.geometry.points.push(point);
        Ok(())
    }

    fn line(&mut self, coordinates: &RawArray) -> Result<()> {
        let vertices = self.positions(coordinates)?;
        if vertices.len() < 2 {
            return Err(Error::invalid("a LineString needs at least two positions"));
        }
        let line = Line::new(vertices)?;
        self.geometry.lines.push(line);
        Ok(())
    }

    fn polygon(&mut self, coordinates: &RawArray) -> Result<()> {
        let mut rings = Vec::new();
        each("Polygon", coordinates, |ring| {
            let mut ring = self.positions(ring)?;
            let is_closed = ring.first() == ring.last();
            ring.pop();
            if !is_closed || ring.len() < 3 {
                return Err(Error::invalid(
                    "a ring of a Polygon needs at least four positions, the last the same as the first",
                ));
            }
            rings.push(ring);
            Ok(())
        })?;
        let polygon = Polygon::new(rings)?;
        self.geometry.polygons.push(polygon);
        Ok(())
    }

    fn positions(&mut self, coordinates: &RawArray) -> Result<Vec<Vector>> {
        let mut positions = Vec::new();
        for position in coordinates {
            match position.map_err(malformed)? {
                RawBsonRef::Array(position) => positions.push(self.position(position)?.at),
                other => return Err(no_position(other)),
            }
        }
        Ok(positions)
    }

    fn position(&mut self, coordinates: &RawArray) -> Result<Point> {
        self.positions += 1;
        if self.positions > GEOMETRY_POSITIONS_MAX {
            return Err(Error::invalid(format!(
                "a geometry has more than {GEOMETRY_POSITIONS_MAX} positions; simplify or split it"
            )));
        }
        position(coordinates)
    }
}

/// `[longitude, latitude]` in degrees, perhaps with a height that means nothing here.
pub(crate) fn position(coordinates: &RawArray) -> Result<Point> {
    let mut numbers = [0.0; 2];
    let mut count = 0;
    for number in coordinates {
        let number = number.map_err(malformed)?;
        let Some(number) = Number::of(number).map(Number::as_f64) else {
            return Err(no_position(number));
        };
        if let Some(place) = numbers.get_mut(count) {
            *place = number;
        }
        count += 1;
    }
    let [longitude, latitude] = numbers;
    if !(2..=3).contains(&count) {
        return Err(Error::invalid(format!(
            "a position is [longitude, latitude], two numbers, not {count}"
        )));
    }
    if !(-180.0..=180.0).contains(&longitude) || !(-90.0..=90.0).contains(&latitude) {
        return Err(Error::invalid(format!(
            "[{longitude}, {latitude}] is no position: the longitude is from -180 to 180, then the latitude from -90 to 90"
        )));
    }
    Ok(Point::new(longitude, latitude))
}

fn no_position(found: RawBsonRef<'_>) -> Error {
    Error::invalid(format!(
        "a position is [longitude, latitude], not a {}",
        type_name(found)
    ))
}

fn each<'a>(
    kind: &str,
    parts: &'a RawArray,
    mut read: impl FnMut(&'a RawArray) -> Result<()>,
) -> Result<()> {
    let mut is_empty = true;
    for part in parts {
        match part.map_err(malformed)? {
            RawBsonRef::Array(part) => read(part)?,
            other => {
                return Err(Error::invalid(format!(
                    "the 'coordinates' of a {kind} hold a {} where an array should be",
                    type_name(other)
                )));
            }
        }
        is_empty = false;
    }
    if is_empty {
        return Err(Error::invalid(format!(
            "the 'coordinates' of a {kind} are empty"
        )));
    }
    Ok(())
}

/// Longitude and latitude of the middle of a cap, in degrees.
pub(crate) fn middle(cap: &Cap) -> (f64, f64) {
    degrees(cap.center)
}
