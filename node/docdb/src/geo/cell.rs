//! The cells that an index on places is made of: the rectangle of longitude and latitude, quartered again and
//! again, numbered so that a cell and all cells inside it are one range of numbers.
//!
//! Numbers are as in Google's S2: the way down from the whole in base 4, then a one, then zeros; but the cells
//! are those of a geohash (Morton order on longitude and latitude), which needs no trigonometry to place a
//! point. A document has an entry for each cell that covers its geometry, a point for its smallest cell.

use super::geometry::{Cap, Geometry, middle};
use super::sphere::Vector;
use crate::limits::{GEO_DOCUMENT_CELLS_MAX, GEO_QUERY_CELLS_MAX};

/// Quarterings: the smallest cells measure 60 cm at the equator, and numbers stay below 2^53, where an index
/// encodes them shortest.
const LEVELS: u32 = 26;

/// Added on each side of a rectangle against rounding, in degrees.
const MARGIN_DEGREES: f64 = 1e-7;

/// A rectangle of the smallest cells, ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Grid {
    x: (u32, u32),
    y: (u32, u32),
}

/// Numbers of the cells that cover a geometry, at most [`GEO_DOCUMENT_CELLS_MAX`], ascending.
pub(crate) fn of_geometry(geometry: &Geometry) -> Vec<i64> {
    let is_points = geometry.lines.is_empty() && geometry.polygons.is_empty();
    let mut cells: Vec<_> = if is_points && geometry.points.len() <= GEO_DOCUMENT_CELLS_MAX {
        geometry
            .points
            .iter()
            .map(|point| number(LEVELS, column(point.longitude), row(point.latitude)))
            .collect()
    } else {
        let grids = grids(&geometry.caps(), GEO_DOCUMENT_CELLS_MAX);
        covering(&grids, GEO_DOCUMENT_CELLS_MAX)
    };
    cells.sort_unstable();
    cells.dedup();
    cells
}

/// Ranges of numbers, ends included, ascending and disjoint, outside which no geometry that meets one of the caps
/// has a cell.
pub(crate) fn ranges(caps: &[Cap]) -> Vec<(i64, i64)> {
    let mut ranges = Vec::new();
    for cell in covering(&grids(caps, GEO_QUERY_CELLS_MAX), GEO_QUERY_CELLS_MAX) {
        let inside = (cell & -cell) - 1;
        ranges.push((cell - inside, cell + inside));
        let mut around = cell;
        while let Some(parent) = parent(around) {
            ranges.push((parent, parent));
            around = parent;
        }
    }
    ranges.sort_unstable();
    let mut merged: Vec<(i64, i64)> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match merged.last_mut() {
            Some(last) if low <= last.1 + 1 => last.1 = last.1.max(high),
            _ => merged.push((low, high)),
        }
    }
    merged
}

fn parent(cell: i64) -> Option<i64> {
    let low = (cell & -cell) << 2;
    (low <= 1 << (2 * LEVELS)).then_some((cell & -low) | low)
}

fn number(level: u32, x: u32, y: u32) -> i64 {
    let up = LEVELS - level;
    let way = spread(x >> up) << 1 | spread(y >> up);
    ((way << 1 | 1) << (2 * up)) as i64
}

/// Puts a zero between the bits.
fn spread(bits: u32) -> u64 {
    let mut bits = u64::from(bits);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

fn column(longitude: f64) -> u32 {
    place((longitude + 180.0) / 360.0)
}

fn row(latitude: f64) -> u32 {
    place((latitude + 90.0) / 180.0)
}

fn place(share: f64) -> u32 {
    let cells = 1_u32 << LEVELS;
    // The cast cuts off what lies outside.
    ((share * f64::from(cells)) as u32).min(cells - 1)
}

/// Rectangles that hold the caps; one around all when there are too many.
fn grids(caps: &[Cap], cells_max: usize) -> Vec<Grid> {
    if caps.len() * 4 <= cells_max {
        return caps.iter().flat_map(grids_of).collect();
    }
    let centers: Vec<Vector> = caps.iter().map(|cap| cap.center).collect();
    let mut whole = Cap::around(&centers);
    whole.radius += caps.iter().map(|cap| cap.radius).fold(0.0, f64::max);
    grids_of(&whole)
}

/// One rectangle, or two where a cap lies across the 180th meridian.
fn grids_of(cap: &Cap) -> Vec<Grid> {
    let (longitude, latitude) = middle(cap);
    let radius = cap.radius.to_degrees() + MARGIN_DEGREES;
    let (south, north) = (latitude - radius, latitude + radius);
    let y = (row(south), row(north));
    let everywhere = Grid {
        x: (0, (1 << LEVELS) - 1),
        y,
    };
    if south <= -90.0 || north >= 90.0 || cap.radius >= std::f64::consts::FRAC_PI_2 {
        return vec![everywhere];
    }
    let share = libm::sin(radius.to_radians()) / libm::cos(latitude.to_radians());
    let reach = libm::asin(share.min(1.0)).to_degrees() + MARGIN_DEGREES;
    let (west, east) = (longitude - reach, longitude + reach);
    let grid = |west: f64, east: f64| Grid {
        x: (column(west), column(east)),
        y,
    };
    if reach >= 180.0 {
        vec![everywhere]
    } else if west < -180.0 {
        vec![grid(-180.0, east), grid(west + 360.0, 180.0)]
    } else if east > 180.0 {
        vec![grid(west, 180.0), grid(-180.0, east - 360.0)]
    } else {
        vec![grid(west, east)]
    }
}

/// Cells that cover the rectangles, as small as their number allows.
fn covering(grids: &[Grid], cells_max: usize) -> Vec<i64> {
    let each_max = (cells_max / grids.len().max(1)).max(1) as u64;
    let mut cells = Vec::new();
    for grid in grids {
        let count = |level: u32| {
            let up = LEVELS - level;
            let wide = u64::from((grid.x.1 >> up) - (grid.x.0 >> up)) + 1;
            let high = u64::from((grid.y.1 >> up) - (grid.y.0 >> up)) + 1;
            wide.saturating_mul(high)
        };
        let level = (0..=LEVELS)
            .rev()
            .find(|level| count(*level) <= each_max)
            .unwrap_or(0);
        let up = LEVELS - level;
        for x in grid.x.0 >> up..=grid.x.1 >> up {
            for y in grid.y.0 >> up..=grid.y.1 >> up {
                cells.push(number(level, x << up, y << up));
            }
        }
    }
    cells
}
