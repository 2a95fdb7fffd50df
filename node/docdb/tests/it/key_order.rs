//! Encoded keys sort as the values compare, say where they end, and give the values back.

use std::cmp::Ordering;

use bson::{Bson, RawBson};
use yunbase_docdb::value::{compare, decode_value, encode_value, skip_value};

use crate::generate::{any_value, raw_value, rng};

const SEED: u64 = 7_001;

fn encoded(value: &RawBson, descending: bool) -> Vec<u8> {
    let mut key = Vec::new();
    encode_value(value.as_raw_bson_ref(), descending, &mut key).unwrap();
    key
}

#[test]
fn key_bytes_sort_as_values_compare() {
    let mut rng = rng(SEED);
    let values: Vec<RawBson> = (0..700)
        .map(|_| raw_value(&any_value(&mut rng, 3)))
        .collect();
    let keys: Vec<[Vec<u8>; 2]> = values
        .iter()
        .map(|value| [encoded(value, false), encoded(value, true)])
        .collect();
    for (i, a) in values.iter().enumerate() {
        for (j, b) in values.iter().enumerate() {
            let order = compare(a.as_raw_bson_ref(), b.as_raw_bson_ref());
            assert_eq!(
                keys[i][0].cmp(&keys[j][0]),
                order,
                "seed {SEED}: {a:?} and {b:?}"
            );
            assert_eq!(
                keys[i][1].cmp(&keys[j][1]),
                order.reverse(),
                "seed {SEED}: descending {a:?} and {b:?}"
            );
        }
    }
}

#[test]
fn comparison_is_a_total_order() {
    let mut rng = rng(SEED + 1);
    let mut values: Vec<RawBson> = (0..400)
        .map(|_| raw_value(&any_value(&mut rng, 2)))
        .collect();
    values.sort_by(|a, b| compare(a.as_raw_bson_ref(), b.as_raw_bson_ref()));
    for (i, a) in values.iter().enumerate() {
        for b in &values[i..] {
            let order = compare(a.as_raw_bson_ref(), b.as_raw_bson_ref());
            assert_ne!(
                order,
                Ordering::Greater,
                "seed {}: {a:?} before {b:?}",
                SEED + 1
            );
            assert_eq!(
                compare(b.as_raw_bson_ref(), a.as_raw_bson_ref()),
                order.reverse()
            );
        }
    }
}

#[test]
fn keys_end_where_they_say_and_decode_to_equal_values() {
    let mut rng = rng(SEED + 2);
    for round in 0..5_000 {
        let value = raw_value(&any_value(&mut rng, 3));
        for descending in [false, true] {
            let mut key = encoded(&value, descending);
            let length = key.len();
            key.extend_from_slice(&[0xff, 0x00, 0x7f]);
            assert_eq!(
                skip_value(&key, descending).unwrap(),
                length,
                "seed {} round {round}: {value:?}",
                SEED + 2
            );
            let (decoded, used) = decode_value(&key, descending).unwrap();
            assert_eq!(used, length, "seed {} round {round}: {value:?}", SEED + 2);
            // Duplicate field names collapse in a decoded document; they are not generated.
            let back = raw_value(&decoded);
            assert!(
                compare(value.as_raw_bson_ref(), back.as_raw_bson_ref()).is_eq(),
                "seed {} round {round}: {value:?} became {decoded:?}",
                SEED + 2
            );
            for cut in 0..length {
                assert!(skip_value(&key[..cut], descending).is_err());
                assert!(decode_value(&key[..cut], descending).is_err());
            }
        }
    }
}

#[test]
fn neighbouring_fields_do_not_disturb_the_order() {
    let mut rng = rng(SEED + 3);
    for round in 0..20_000 {
        let (a1, a2) = (any_value(&mut rng, 1), any_value(&mut rng, 1));
        let (b1, b2) = (
            if round % 2 == 0 {
                a1.clone()
            } else {
                any_value(&mut rng, 1)
            },
            any_value(&mut rng, 1),
        );
        let tuple = |first: &Bson, second: &Bson| {
            let mut key = encoded(&raw_value(first), false);
            key.extend(encoded(&raw_value(second), true));
            key
        };
        let by = |a: &Bson, b: &Bson| {
            compare(
                raw_value(a).as_raw_bson_ref(),
                raw_value(b).as_raw_bson_ref(),
            )
        };
        let expected = by(&a1, &b1).then_with(|| by(&b2, &a2));
        assert_eq!(
            tuple(&a1, &a2).cmp(&tuple(&b1, &b2)),
            expected,
            "seed {} round {round}",
            SEED + 3
        );
    }
}
