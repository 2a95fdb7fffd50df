//! The planner's ranges never lose a match: whatever a filter matches has an index entry inside them.

use yunbase_docdb::filter::{Filter, FilterContext, Interval};
use yunbase_docdb::value::{Path, encode_value, index_values};

use bson::RawBsonRef;

use crate::generate::requests::{document, filter, path};
use crate::generate::{raw, rng};

const SEED: u64 = 7_101;

fn inside(key: &[u8], intervals: &[Interval]) -> bool {
    intervals.iter().any(|interval| {
        key >= &interval.start[..] && interval.end.as_ref().is_none_or(|end| key < &end[..])
    })
}

#[test]
fn matches_have_an_index_entry_inside_the_constraints() {
    let mut rng = rng(SEED);
    let mut narrowed = 0;
    for round in 0..60_000 {
        let document = raw(&document(&mut rng));
        let query = filter(&mut rng, 2);
        let Ok(parsed) = Filter::parse(&raw(&query), &FilterContext::default()) else {
            continue;
        };
        if !parsed.matches(&document).unwrap() {
            continue;
        }
        // Paths of the filter itself, where the constraints say something, and any other.
        let paths = query
            .keys()
            .filter(|key| !key.starts_with('$'))
            .cloned()
            .chain([path(&mut rng)]);
        for path in paths {
            let entries = index_values(&document, &Path::parse(&path).unwrap()).unwrap();
            for multikey in [true, false] {
                if entries.multikey && !multikey {
                    continue;
                }
                let intervals = parsed.constraints(&path, multikey);
                narrowed += usize::from(!intervals.iter().any(Interval::is_all));
                assert!(intervals.windows(2).all(|pair| {
                    pair[0]
                        .end
                        .as_ref()
                        .is_some_and(|end| *end <= pair[1].start)
                }));
                let descending: Vec<Interval> =
                    intervals.iter().map(Interval::descending).collect();
                let found = |descending: bool, intervals: &[Interval]| {
                    entries.values.iter().any(|value| {
                        let mut key = Vec::new();
                        encode_value(value.unwrap_or(RawBsonRef::Null), descending, &mut key)
                            .unwrap();
                        key.push(0xab);
                        inside(&key, intervals)
                    })
                };
                assert!(
                    found(false, &intervals) && found(true, &descending),
                    "seed {SEED} round {round}: {query} on '{path}' (multikey {multikey}) loses {document:?}"
                );
            }
        }
    }
    assert!(narrowed > 1_000, "the constraints say nothing: {narrowed}");
}
