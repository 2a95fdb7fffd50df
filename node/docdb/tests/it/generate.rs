//! Random BSON from a seed: small names and values, so that conditions often meet what they look for.

pub(crate) mod expressions;
pub(crate) mod pipelines;
pub(crate) mod requests;
pub(crate) mod typed;

use bson::oid::ObjectId;
use bson::spec::BinarySubtype;
use bson::{Binary, Bson, DateTime, Document, RawBson, RawDocumentBuf, Regex, Timestamp};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

/// The generator of a test; the seed is in every failure message.
pub(crate) fn rng(seed: u64) -> StdRng {
    StdRng::seed_from_u64(seed)
}

pub(crate) fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

pub(crate) fn raw_value(value: &Bson) -> RawBson {
    RawBson::try_from(value.clone()).unwrap()
}

/// Any storable value, with the extremes of each type.
pub(crate) fn any_value(rng: &mut StdRng, depth: usize) -> Bson {
    let kinds = if depth == 0 { 14 } else { 16 };
    match rng.random_range(0..kinds) {
        0 => Bson::Null,
        1 => Bson::Int32(
            *[0, 1, -1, i32::MIN, i32::MAX, rng.random()]
                .choose(rng)
                .unwrap(),
        ),
        2 => Bson::Int64(any_i64(rng)),
        3 | 4 => Bson::Double(any_double(rng)),
        5 | 6 => Bson::String(any_text(rng)),
        7 => Bson::Boolean(rng.random()),
        8 => Bson::DateTime(DateTime::from_millis(any_i64(rng))),
        9 => Bson::ObjectId(ObjectId::from_bytes([rng.random_range(0..3); 12])),
        10 => {
            let bytes = (0..rng.random_range(0..4))
                .map(|_| *[0, 1, 255].choose(rng).unwrap())
                .collect();
            Bson::Binary(Binary {
                subtype: BinarySubtype::from(rng.random_range(0..2u8) * 0x80),
                bytes,
            })
        }
        11 => Bson::Timestamp(Timestamp {
            time: rng.random_range(0..3),
            increment: rng.random(),
        }),
        12 => Bson::RegularExpression(Regex {
            pattern: ["a", "ab", "^a"]
                .choose(rng)
                .unwrap()
                .to_string()
                .try_into()
                .unwrap(),
            options: ["", "i"]
                .choose(rng)
                .unwrap()
                .to_string()
                .try_into()
                .unwrap(),
        }),
        13 => [Bson::MinKey, Bson::MaxKey].choose(rng).unwrap().clone(),
        14 => Bson::Array(
            (0..rng.random_range(0..4))
                .map(|_| any_value(rng, depth - 1))
                .collect(),
        ),
        _ => {
            let mut inner = Document::new();
            for _ in 0..rng.random_range(0..4) {
                inner.insert(any_text(rng).replace('\0', "~"), any_value(rng, depth - 1));
            }
            Bson::Document(inner)
        }
    }
}

fn any_i64(rng: &mut StdRng) -> i64 {
    let edge = 1_i64 << rng.random_range(0..63);
    let near = edge.wrapping_add(rng.random_range(-2..=2));
    *[0, 1, -1, i64::MIN, i64::MAX, near, -near, rng.random()]
        .choose(rng)
        .unwrap()
}

fn any_double(rng: &mut StdRng) -> f64 {
    let special = [
        0.0,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        0.5,
    ];
    match rng.random_range(0..3) {
        0 => *special.choose(rng).unwrap(),
        1 => any_i64(rng) as f64,
        _ => f64::from_bits(rng.random()),
    }
}

fn any_text(rng: &mut StdRng) -> String {
    (0..rng.random_range(0..4))
        .map(|_| {
            *['a', 'b', '\0', '\u{1}', 'é', '\u{10ffff}', '~']
                .choose(rng)
                .unwrap()
        })
        .collect()
}
