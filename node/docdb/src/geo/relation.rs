//! How geometries lie to each other: distance, inside, in touch. Borders belong to areas.

use super::geometry::{Cap, Geometry, Line, Point, Polygon};
use super::sphere::{Vector, angle, angle_to_edge, edges_cross, edges_meet, is_on_edge, is_same};

/// What `$geoWithin` asks about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Region {
    /// Inside one of some polygons.
    Polygons(Vec<Polygon>),
    /// Within an angle of a point.
    Cap(Cap),
}

impl Region {
    /// Whether every point of the geometry is in the region. A part that only several polygons together hold is
    /// taken to be outside.
    pub(crate) fn contains(&self, geometry: &Geometry) -> bool {
        let holds_point = |point: &Point| self.holds_point(point.at);
        let holds_line = |line: &Line| match self {
            Self::Polygons(polygons) => polygons.iter().any(|polygon| holds_line(polygon, line)),
            Self::Cap(cap) => holds_edges(cap, line.edges()),
        };
        let holds_polygon = |inner: &Polygon| match self {
            Self::Polygons(polygons) => {
                polygons.iter().any(|polygon| holds_polygon(polygon, inner))
            }
            Self::Cap(cap) => {
                // A polygon around the opposite point leaves the cap, though its border may not.
                let opposite = cap.center.map(|axis| -axis);
                holds_edges(cap, inner.edges())
                    && (cap.radius >= std::f64::consts::PI || !inner.contains(opposite))
            }
        };
        geometry.points.iter().all(holds_point)
            && geometry.lines.iter().all(holds_line)
            && geometry.polygons.iter().all(holds_polygon)
    }

    fn holds_point(&self, p: Vector) -> bool {
        match self {
            Self::Polygons(polygons) => polygons.iter().any(|polygon| polygon.contains(p)),
            Self::Cap(cap) => angle(cap.center, p) <= cap.radius,
        }
    }

    /// Caps that hold the region.
    pub(crate) fn caps(&self) -> Vec<Cap> {
        match self {
            Self::Polygons(polygons) => polygons.iter().map(|polygon| polygon.cap).collect(),
            Self::Cap(cap) => vec![*cap],
        }
    }
}

/// The point of an edge that is farthest from a centre is the one closest to the opposite point.
fn holds_edges(cap: &Cap, mut edges: impl Iterator<Item = (Vector, Vector)>) -> bool {
    let opposite = cap.center.map(|axis| -axis);
    let least = std::f64::consts::PI - cap.radius;
    edges.all(|(a, b)| {
        angle(cap.center, a) <= cap.radius
            && angle(cap.center, b) <= cap.radius
            && (cap.radius < std::f64::consts::FRAC_PI_2 || angle_to_edge(opposite, a, b) >= least)
    })
}

fn holds_line(polygon: &Polygon, line: &Line) -> bool {
    line.vertices.iter().all(|vertex| polygon.contains(*vertex))
        && line
            .edges()
            .all(|edge| polygon.edges().all(|border| !edges_cross(edge, border)))
}

fn holds_polygon(polygon: &Polygon, inner: &Polygon) -> bool {
    polygon.cap.meets(&inner.cap)
        && inner.outer().iter().all(|vertex| polygon.contains(*vertex))
        && inner
            .edges()
            .all(|edge| polygon.edges().all(|border| !edges_cross(edge, border)))
        && !polygon.holes().iter().flatten().any(|vertex| {
            inner.is_inside(*vertex) && !inner.edges().any(|(a, b)| is_on_edge(*vertex, a, b))
        })
}

impl Geometry {
    /// Whether the geometries have a point in common.
    pub(crate) fn intersects(&self, other: &Self) -> bool {
        self.points.iter().any(|point| other.touches(point.at))
            || other.points.iter().any(|point| self.touches(point.at))
            || self.lines.iter().any(|line| other.meets_line(line))
            || other.lines.iter().any(|line| self.meets_areas(line))
            || self
                .polygons
                .iter()
                .any(|one| other.polygons.iter().any(|two| polygons_meet(one, two)))
    }

    fn touches(&self, p: Vector) -> bool {
        let on_line = |line: &Line| line.edges().any(|(a, b)| is_on_edge(p, a, b));
        self.points.iter().any(|point| is_same(point.at, p))
            || self.lines.iter().any(on_line)
            || self.polygons.iter().any(|polygon| polygon.contains(p))
    }

    fn meets_line(&self, line: &Line) -> bool {
        self.lines.iter().any(|other| lines_meet(other, line)) || self.meets_areas(line)
    }

    fn meets_areas(&self, line: &Line) -> bool {
        self.polygons.iter().any(|polygon| {
            polygon.cap.meets(&line.cap)
                && (line.vertices.iter().any(|vertex| polygon.contains(*vertex))
                    || borders_meet(polygon.edges(), polygon.cap, line.edges(), line.cap))
        })
    }

    /// The angle in radians from a point to the closest point of the geometry.
    pub(crate) fn angle_from(&self, p: Vector) -> f64 {
        let to_edges = |edges: &mut dyn Iterator<Item = (Vector, Vector)>| {
            edges
                .map(|(a, b)| angle_to_edge(p, a, b))
                .fold(f64::INFINITY, f64::min)
        };
        let points = self.points.iter().map(|point| angle(p, point.at));
        let lines = self.lines.iter().map(|line| to_edges(&mut line.edges()));
        let polygons = self.polygons.iter().map(|polygon| {
            if polygon.contains(p) {
                0.0
            } else {
                to_edges(&mut polygon.edges())
            }
        });
        points
            .chain(lines)
            .chain(polygons)
            .fold(f64::INFINITY, f64::min)
    }
}

fn lines_meet(one: &Line, two: &Line) -> bool {
    one.cap.meets(&two.cap) && borders_meet(one.edges(), one.cap, two.edges(), two.cap)
}

fn polygons_meet(one: &Polygon, two: &Polygon) -> bool {
    one.cap.meets(&two.cap)
        && (one.contains(two.outer()[0])
            || two.contains(one.outer()[0])
            || borders_meet(one.edges(), one.cap, two.edges(), two.cap))
}

/// Whether some edges meet. Edges that are nowhere near the others' cap are passed over first.
fn borders_meet(
    one: impl Iterator<Item = (Vector, Vector)>,
    one_cap: Cap,
    two: impl Iterator<Item = (Vector, Vector)>,
    two_cap: Cap,
) -> bool {
    let near = |edge: &(Vector, Vector), cap: &Cap| {
        angle_to_edge(cap.center, edge.0, edge.1) <= cap.radius
    };
    let one: Vec<_> = one.filter(|edge| near(edge, &two_cap)).collect();
    let two: Vec<_> = two.filter(|edge| near(edge, &one_cap)).collect();
    one.iter()
        .any(|edge| two.iter().any(|other| edges_meet(*edge, *other)))
}
