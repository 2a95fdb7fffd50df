//! Geometry on the sphere against what is known of the earth, and cells against the geometry itself.

#![allow(clippy::needless_pass_by_value)]

use bson::{Bson, RawDocumentBuf, doc};

use super::geometry::Cap;
use super::sphere::{EARTH_RADIUS_METRES, angle, point};
use super::{Geometry, Region, cell};

fn geometry(kind: &str, coordinates: impl Into<Bson>) -> Geometry {
    parsed(doc! { "type": kind, "coordinates": coordinates.into() }).unwrap()
}

fn parsed(document: bson::Document) -> crate::error::Result<Geometry> {
    Geometry::parse(&RawDocumentBuf::try_from(&document).unwrap())
}

fn positions(positions: &[(f64, f64)]) -> Bson {
    let one = |(x, y): &(f64, f64)| Bson::Array(vec![Bson::Double(*x), Bson::Double(*y)]);
    Bson::Array(positions.iter().map(one).collect())
}

fn polygon(rings: &[&[(f64, f64)]]) -> Geometry {
    geometry(
        "Polygon",
        Bson::Array(rings.iter().map(|ring| positions(ring)).collect()),
    )
}

fn at(x: f64, y: f64) -> Geometry {
    geometry("Point", vec![x, y])
}

fn within(inner: &Geometry, outer: &Geometry) -> bool {
    Region::Polygons(outer.polygons.clone()).contains(inner)
}

const SQUARE: &[(f64, f64)] = &[(0., 0.), (10., 0.), (10., 10.), (0., 10.), (0., 0.)];
const HOLE: &[(f64, f64)] = &[(4., 4.), (6., 4.), (6., 6.), (4., 6.), (4., 4.)];

#[test]
fn distances_are_those_of_the_sphere() {
    let metres = |a: (f64, f64), b: (f64, f64)| {
        angle(point(a.0, a.1), point(b.0, b.1)) * EARTH_RADIUS_METRES
    };
    // Beijing to Shanghai, London to New York on this sphere.
    assert!((metres((116.4074, 39.9042), (121.4737, 31.2304)) - 1_068_500.0).abs() < 1_000.0);
    assert!((metres((-0.1276, 51.5072), (-74.006, 40.7128)) - 5_576_000.0).abs() < 3_000.0);
    assert!(
        (metres((0., 0.), (180., 0.)) - EARTH_RADIUS_METRES * std::f64::consts::PI).abs() < 1e-3
    );
    // A metre is a metre.
    let step = 1.0 / EARTH_RADIUS_METRES;
    assert!((metres((10., 20.), (10., 20. + step.to_degrees())) - 1.0).abs() < 1e-6);
    // The closest point of an edge, and of an area that holds the point.
    let equator = geometry("LineString", positions(&[(-10., 0.), (10., 0.)]));
    assert!((equator.angle_from(point(0., 5.)).to_degrees() - 5.0).abs() < 1e-9);
    assert!((equator.angle_from(point(20., 0.)).to_degrees() - 10.0).abs() < 1e-9);
    assert_eq!(polygon(&[SQUARE]).angle_from(point(5., 5.)), 0.0);
}

#[test]
fn areas_have_an_inside_holes_and_borders() {
    let square = polygon(&[SQUARE, HOLE]);
    assert!(within(&at(1., 1.), &square) && !within(&at(5., 5.), &square));
    assert!(within(&at(0., 5.), &square) && within(&at(4., 5.), &square));
    assert!(!within(&at(11., 5.), &square) && !within(&at(-170., -5.), &square));
    // The northern edge is a great circle: it bulges beyond its parallel.
    assert!(within(&at(5., 10.01), &square) && !within(&at(5., 10.2), &square));
    // Across the 180th meridian and around the pole.
    let fiji = polygon(&[&[
        (177., -20.),
        (-178., -20.),
        (-178., -15.),
        (177., -15.),
        (177., -20.),
    ]]);
    assert!(
        within(&at(180., -17.), &fiji)
            && within(&at(-179., -17.), &fiji)
            && !within(&at(0., -17.), &fiji)
    );
    let arctic = polygon(&[&[(0., 70.), (90., 70.), (180., 70.), (-90., 70.), (0., 70.)]]);
    assert!(
        within(&at(45., 89.), &arctic)
            && within(&at(0., 90.), &arctic)
            && !within(&at(45., 50.), &arctic)
    );
}

#[test]
fn parts_lie_in_each_other() {
    let square = polygon(&[SQUARE, HOLE]);
    let line = |a, b| geometry("LineString", positions(&[a, b]));
    assert!(within(&line((1., 1.), (3., 9.)), &square));
    assert!(!within(&line((1., 5.), (9., 5.)), &square));
    assert!(!within(&line((1., 1.), (11., 1.)), &square));
    let small = polygon(&[&[(1., 1.), (2., 1.), (2., 2.), (1., 1.)]]);
    let around = polygon(&[&[(3., 3.), (7., 3.), (7., 7.), (3., 7.), (3., 3.)]]);
    assert!(within(&small, &square) && !within(&around, &square) && !within(&square, &small));
    for (one, two, meets) in [
        (&square, &small, true),
        (&square, &around, true),
        (&square, &at(5., 5.), false),
        (&square, &at(10., 0.), true),
        (&square, &line((-1., 5.), (11., 5.)), true),
        (&square, &line((-1., 11.), (-1., -1.)), false),
        (&square, &line((4.5, 5.), (5.5, 5.)), false),
        (&small, &around, false),
        (&at(1., 1.), &at(1., 1.), true),
        (&line((0., 0.), (2., 2.)), &line((0., 2.), (2., 0.)), true),
        (
            &line((0., 0.), (2., 2.)),
            &line((10., 2.), (12., 0.)),
            false,
        ),
        (&line((0., 0.), (2., 0.)), &at(1., 0.), true),
    ] {
        assert_eq!(
            (one.intersects(two), two.intersects(one)),
            (meets, meets),
            "{one:?} {two:?}"
        );
    }
    let cap = Region::Cap(Cap {
        center: point(0., 0.),
        radius: 0.2,
    });
    assert!(cap.contains(&small) && cap.contains(&at(11., 0.)) && !cap.contains(&at(12., 0.)));
    let most = Region::Cap(Cap {
        center: point(0., 0.),
        radius: 3.0,
    });
    assert!(most.contains(&square) && !most.contains(&at(179., 0.)));
    assert!(!most.contains(&geometry(
        "LineString",
        positions(&[(160., 0.), (-160., 0.)])
    )));
}

#[test]
fn what_is_no_geometry_is_refused_by_name() {
    for (document, part) in [
        (doc! { "coordinates": [1, 2] }, "'type'"),
        (doc! { "type": "Circle", "coordinates": [1, 2] }, "'Circle'"),
        (doc! { "type": "Point" }, "'coordinates'"),
        (doc! { "type": "Point", "coordinates": [1] }, "two numbers"),
        (doc! { "type": "Point", "coordinates": ["1", 2] }, "string"),
        (
            doc! { "type": "Point", "coordinates": [39.9, 116.4] },
            "longitude",
        ),
        (
            doc! { "type": "Point", "coordinates": [181, 0] },
            "longitude",
        ),
        (
            doc! { "type": "Point", "coordinates": [f64::NAN, 0] },
            "longitude",
        ),
        (
            doc! { "type": "LineString", "coordinates": [[1, 2]] },
            "two positions",
        ),
        (
            doc! { "type": "LineString", "coordinates": [[0, 0], [180, 0]] },
            "opposite",
        ),
        (
            doc! { "type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]] },
            "last the same",
        ),
        (
            doc! { "type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 0]]] },
            "four positions",
        ),
        (doc! { "type": "Polygon", "coordinates": [] }, "empty"),
        (
            doc! { "type": "Polygon", "coordinates": [[[-170, -80], [0, -80], [170, 80], [-10, 80], [-170, -80]]] },
            "hemisphere",
        ),
        (
            doc! { "type": "GeometryCollection", "geometries": [] },
            "empty",
        ),
        (
            doc! { "type": "Point", "coordinates": [1, 2], "crs": {} },
            "crs",
        ),
    ] {
        let error = parsed(document.clone()).unwrap_err();
        assert!(error.message.contains(part), "{document}: {error}");
    }
    let many = positions(&vec![(0.5, 0.5); crate::limits::GEOMETRY_POSITIONS_MAX + 1]);
    assert!(parsed(doc! { "type": "MultiPoint", "coordinates": many }).is_err());
}

/// Whatever meets a region has a cell in the ranges of the region.
#[test]
fn cells_lose_nothing() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    let mut random = StdRng::seed_from_u64(7);
    let mut met = 0;
    for _ in 0..20_000 {
        let size = [0.001, 0.1, 3.0, 40.0][random.random_range(0..4)];
        let (x, y): (f64, f64) = match random.random_range(0..4) {
            0 => (180.0, random.random_range(-80.0..80.0)),
            1 => (random.random_range(-180.0..180.0), 88.0),
            _ => (
                random.random_range(-180.0..180.0),
                random.random_range(-85.0..85.0),
            ),
        };
        let mut near = || {
            let longitude: f64 = x + random.random_range(-size..size);
            let latitude: f64 = y + random.random_range(-size..size);
            (
                (longitude + 540.0).rem_euclid(360.0) - 180.0,
                latitude.clamp(-90.0, 90.0),
            )
        };
        let shape = match near().0.to_bits() % 3 {
            0 => at(near().0, near().1),
            1 => geometry("LineString", positions(&[near(), near(), near()])),
            _ => {
                let (a, b, c) = (near(), near(), near());
                let ring = Bson::Array(vec![positions(&[a, b, c, a])]);
                match parsed(doc! { "type": "Polygon", "coordinates": ring }) {
                    Ok(shape) => shape,
                    Err(_) => continue,
                }
            }
        };
        let (center, edge) = (near(), near());
        let cap = Cap {
            center: point(center.0, center.1),
            radius: angle(point(center.0, center.1), point(edge.0, edge.1)),
        };
        if shape.angle_from(cap.center) > cap.radius {
            continue;
        }
        met += 1;
        let cells = cell::of_geometry(&shape);
        assert!(cells.len() <= crate::limits::GEO_DOCUMENT_CELLS_MAX * 2);
        let ranges = cell::ranges(&[cap]);
        assert!(
            cells.iter().any(|cell| ranges
                .iter()
                .any(|(low, high)| (low..=high).contains(&cell))),
            "{shape:?} {cap:?}"
        );
        assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
    assert!(met > 5_000, "{met}");
}

#[test]
fn cells_have_their_golden_numbers() {
    // They are in every index: another number would need another version of the index.
    assert_eq!(cell::of_geometry(&at(0., 0.)), [0x18_0000_0000_0001]);
    assert_eq!(cell::of_geometry(&at(-180., -90.)), [1]);
    assert_eq!(cell::of_geometry(&at(180., 90.)), [0x1f_ffff_ffff_ffff]);
    assert_eq!(cell::of_geometry(&at(116.4074, 39.9042)).len(), 1);
}
