//! Points on the unit sphere as vectors, angles between them, and edges.
//!
//! Everything about an edge is computed from differences of its ends, so that edges of a metre are as exact as
//! edges of a thousand kilometres.

/// A point on the unit sphere.
pub(crate) type Vector = [f64; 3];

/// The radius by which metres and radians are converted, MongoDB's.
pub(crate) const EARTH_RADIUS_METRES: f64 = 6_378_100.0;

/// What is closer than this many radians (some micrometres on the earth) touches.
const TOUCH: f64 = 1e-12;

/// The point at a longitude and latitude in degrees.
pub(crate) fn point(longitude: f64, latitude: f64) -> Vector {
    let (longitude, latitude) = (longitude.to_radians(), latitude.to_radians());
    let ring = libm::cos(latitude);
    [
        ring * libm::cos(longitude),
        ring * libm::sin(longitude),
        libm::sin(latitude),
    ]
}

/// Longitude and latitude in degrees.
pub(crate) fn degrees(point: Vector) -> (f64, f64) {
    let ring = libm::sqrt(point[0] * point[0] + point[1] * point[1]);
    (
        libm::atan2(point[1], point[0]).to_degrees(),
        libm::atan2(point[2], ring).to_degrees(),
    )
}

pub(crate) fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn cross(a: Vector, b: Vector) -> Vector {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

fn minus(a: Vector, b: Vector) -> Vector {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(crate) fn length(a: Vector) -> f64 {
    libm::sqrt(dot(a, a))
}

/// The vector in the same direction on the sphere; `None` for one of no length.
pub(crate) fn unit(a: Vector) -> Option<Vector> {
    let length = length(a);
    (length > 1e-9).then(|| [a[0] / length, a[1] / length, a[2] / length])
}

/// The angle between two points in radians.
pub(crate) fn angle(a: Vector, b: Vector) -> f64 {
    libm::atan2(length(cross(a, minus(b, a))), dot(a, b))
}

/// Volume of the three points with the centre: positive when `c` is to the left of the way from `a` to `b`.
fn orientation(a: Vector, b: Vector, c: Vector) -> f64 {
    dot(cross(minus(b, a), minus(c, a)), a)
}

/// Whether the point of the edge's great circle that is closest to `p` lies on the edge.
fn is_beside(p: Vector, a: Vector, b: Vector) -> bool {
    let along = minus(b, a);
    let at_a = minus(along, scaled(a, dot(along, a)));
    let at_b = minus(scaled(b, dot(along, b)), along);
    dot(at_a, minus(p, a)) >= 0.0 && dot(at_b, minus(p, b)) >= 0.0
}

fn scaled(a: Vector, by: f64) -> Vector {
    [a[0] * by, a[1] * by, a[2] * by]
}

/// The angle from `p` to the closest point of the edge from `a` to `b`.
pub(crate) fn angle_to_edge(p: Vector, a: Vector, b: Vector) -> f64 {
    let normal = length(cross(a, minus(b, a)));
    if normal > 0.0 && is_beside(p, a, b) {
        return libm::asin((libm::fabs(orientation(a, b, p)) / normal).min(1.0));
    }
    angle(p, a).min(angle(p, b))
}

/// Whether `p` lies on the edge.
pub(crate) fn is_on_edge(p: Vector, a: Vector, b: Vector) -> bool {
    angle_to_edge(p, a, b) <= TOUCH
}

/// Whether two points are the same.
pub(crate) fn is_same(a: Vector, b: Vector) -> bool {
    angle(a, b) <= TOUCH
}

/// Whether two edges cross at a point that is inside both.
pub(crate) fn edges_cross((a, b): (Vector, Vector), (c, d): (Vector, Vector)) -> bool {
    let acb = -orientation(a, b, c);
    let bda = orientation(a, b, d);
    if acb * bda <= 0.0 {
        return false;
    }
    let cbd = -orientation(c, d, b);
    let dac = orientation(c, d, a);
    acb * cbd > 0.0 && acb * dac > 0.0
}

/// Whether two edges have a point in common.
pub(crate) fn edges_meet(one: (Vector, Vector), other: (Vector, Vector)) -> bool {
    edges_cross(one, other)
        || is_on_edge(one.0, other.0, other.1)
        || is_on_edge(one.1, other.0, other.1)
        || is_on_edge(other.0, one.0, one.1)
        || is_on_edge(other.1, one.0, one.1)
}
