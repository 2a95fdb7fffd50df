//! Meets documents by their distance from a point, through an index of cells: looks at growing discs around the
//! point, and gives out what is certainly nearer than everything not yet seen.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use bson::RawDocument;

use crate::catalog::Index;
use crate::error::{Error, Result};
use crate::executor::{Scan, Visit};
use crate::filter::geo_intervals;
use crate::geo::cell;
use crate::geo::sphere::EARTH_RADIUS_METRES;
use crate::index_entries;
use crate::keys;
use crate::kv::{Direction, Family, KeyRange};
use crate::limits::GEO_NEAR_FIRST_METRES;
use crate::planner;
use crate::query::exceeded;
use crate::value::{Path, malformed};

/// Half the way around the earth: nothing is farther.
const FARTHEST_METRES: f64 = EARTH_RADIUS_METRES * std::f64::consts::PI;

/// A match that something nearer may still precede: its distance as bits, which order like the number, its encoded
/// `_id`, the document.
type Waiting = (u64, Vec<u8>, Vec<u8>);

impl Scan<'_> {
    /// Calls `visit` for each match, nearest first and equally near ones by `_id`, until it answers false.
    pub(crate) fn near(
        &mut self,
        index: &Index,
        prefixes: &[Vec<u8>],
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let filter = self.filter;
        let Some((path, near)) = filter.near() else {
            return Err(Error::internal("a plan by distance without a point"));
        };
        let path = Path::parse(path)?;
        let mut seen = HashSet::new();
        let mut waiting: BinaryHeap<Reverse<Waiting>> = BinaryHeap::new();
        let mut bytes = 0;
        let bytes_max = self.budget.memory_bytes_max;
        let mut metres = GEO_NEAR_FIRST_METRES.max(near.distance_min * 2.0);
        loop {
            let reach = metres.min(near.distance_max);
            let intervals = geo_intervals(&cell::ranges(&[near.cap(reach)]))?;
            for range in planner::ranges(prefixes, &intervals) {
                self.unseen(index, &range, &mut seen, &mut |id, document| {
                    let Some((distance, _)) = near.closest(document, &path)? else {
                        return Ok(true);
                    };
                    bytes += id.len() + document.as_bytes().len();
                    if bytes > bytes_max {
                        let limit =
                            format!("the limit of {bytes_max} bytes held to sort by distance");
                        return Err(exceeded(
                            &limit,
                            "set a '$maxDistance' or narrow the filter",
                        ));
                    }
                    waiting.push(Reverse((
                        distance.to_bits(),
                        id.to_vec(),
                        document.as_bytes().to_vec(),
                    )));
                    Ok(true)
                })?;
            }
            let is_last = reach >= near.distance_max || reach >= FARTHEST_METRES;
            while let Some(Reverse((distance, ..))) = waiting.peek() {
                if !is_last && f64::from_bits(*distance) > reach {
                    break;
                }
                let Some(Reverse((_, id, document))) = waiting.pop() else {
                    break;
                };
                bytes -= id.len() + document.len();
                if !visit(&id, RawDocument::from_bytes(&document).map_err(malformed)?)? {
                    return Ok(());
                }
            }
            if is_last {
                return Ok(());
            }
            metres *= 4.0;
        }
    }

    /// Calls `visit` for the matches in a range of entries that were not seen before.
    fn unseen(
        &mut self,
        index: &Index,
        range: &KeyRange,
        seen: &mut HashSet<Vec<u8>>,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let mut cursor = self.view.scan(Family::Index, range, Direction::Forward);
        while cursor.advance()? {
            self.effort.keys_examined += 1;
            self.budget.check_time(self.effort.keys_examined)?;
            let id = index_entries::entry_id(index, cursor.key(), cursor.value())?;
            if seen.contains(id) {
                continue;
            }
            seen.insert(id.to_vec());
            let key = keys::document(self.collection.id, id);
            let Some(document) = self.view.get(Family::Docs, &key)? else {
                return Err(Error::internal(format!(
                    "index '{}' names a document that does not exist",
                    index.spec.name
                )));
            };
            self.examine(id, &document, visit)?;
        }
        Ok(())
    }
}
