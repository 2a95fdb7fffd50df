//! Bytes from outside never panic: whatever is sent is parsed, matched and encoded, or refused.

use bson::{Bson, Document, RawDocument, doc};
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_docdb::filter::{Filter, FilterContext};
use yunbase_docdb::projection::Projection;
use yunbase_docdb::sort::Sort;
use yunbase_docdb::update::{Update, UpdateContext, replace};
use yunbase_docdb::value::{
    Path, check_document, compare, decode_value, encode_value, index_values, skip_value,
};

use crate::generate::expressions::expression;
use crate::generate::requests::{document, filter, projection, sort, update};
use crate::generate::{raw, rng};

const SEED: u64 = 7_201;

/// Runs everything that takes bytes from outside. Documents that did not pass the check are included.
fn feed(bytes: &[u8], target: &RawDocument) {
    let Ok(sent) = RawDocument::from_bytes(bytes) else {
        return;
    };
    let _ = check_document(sent);
    for document in [target, sent] {
        if let Ok(filter) = Filter::parse(sent, &FilterContext { now_ms: 5 }) {
            let _ = filter.matches(document);
            let _ = filter.constraints("a", true);
            let _ = filter.constraints("a.b", false);
            let _ = filter.equality_document();
            let _ = filter.id_equality();
        }
        if let Ok(update) = Update::parse(sent, &UpdateContext { now_ms: 5 }) {
            let _ = update.apply(document, false);
        }
        if let Ok(projection) = Projection::parse(sent) {
            let _ = projection.apply(document);
        }
        if let Ok(sort) = Sort::parse(sent) {
            let _ = sort.key(document);
        }
        let _ = replace(Some(document), sent);
    }
    let _ = index_values(sent, &Path::parse("a.0.b").unwrap());
    for element in sent.iter().flatten() {
        let _ = compare(element.1, element.1);
        let _ = encode_value(element.1, true, &mut Vec::new());
    }
    let _ = skip_value(bytes, false);
    let _ = decode_value(bytes, true);
}

fn mutate(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[at] = rng.random(),
            1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes.insert(at, rng.random()),
            _ if bytes.len() > 5 => {
                bytes.remove(at);
            }
            _ => {}
        }
    }
    // Keep the outer frame plausible so that the inside is read.
    let length = i32::try_from(bytes.len()).unwrap();
    if bytes.len() >= 5 {
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        *bytes.last_mut().unwrap() = 0;
    }
}

#[test]
fn mutated_requests_are_refused_or_served() {
    let mut rng = rng(SEED);
    let target = raw(&document(&mut rng));
    for round in 0..30_000 {
        let request = match round % 6 {
            0 => filter(&mut rng, 3),
            1 => update(&mut rng),
            2 => projection(&mut rng),
            3 => sort(&mut rng),
            4 => doc! { "$expr": expression(&mut rng, 3) },
            _ => document(&mut rng),
        };
        let mut bytes = raw(&request).into_bytes();
        mutate(&mut rng, &mut bytes);
        feed(&bytes, &target);
    }
}

#[test]
fn random_bytes_are_refused_or_served() {
    let mut rng = rng(SEED + 1);
    let target = raw(&document(&mut rng));
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..rng.random_range(5..60)).map(|_| rng.random()).collect();
        let _ = skip_value(&bytes, true);
        let _ = decode_value(&bytes, false);
        mutate(&mut rng, &mut bytes);
        feed(&bytes, &target);
    }
}

#[test]
fn deep_nesting_is_refused_without_recursing_into_it() {
    let target = raw(&doc! { "a": 1 });
    let mut and = doc! { "a": 1 };
    let mut plain = Document::new();
    let mut array = Bson::Int32(1);
    for _ in 0..150 {
        and = doc! { "$and": [and] };
        plain = doc! { "a": plain };
        array = Bson::Array(vec![array]);
    }
    for request in [
        and.clone(),
        plain.clone(),
        doc! { "a": array },
        doc! { "$set": plain },
        doc! { "$pull": { "a": and } },
    ] {
        let request = raw(&request);
        assert!(Filter::parse(&request, &FilterContext::default()).is_err());
        assert!(Update::parse(&request, &UpdateContext::default()).is_err());
        assert!(Projection::parse(&request).is_err());
        assert!(check_document(&request).is_err());
        feed(request.as_bytes(), &target);
    }
}

#[test]
fn very_deep_bytes_do_not_exhaust_the_stack() {
    // {"a": {"a": ...}} built by hand, 100,000 levels.
    let mut bytes: Vec<u8> = vec![5, 0, 0, 0, 0];
    let levels = 100_000;
    let mut head = Vec::with_capacity(levels * 7);
    let mut length = bytes.len();
    for _ in 0..levels {
        length += 8;
        let mut level = i32::try_from(length).unwrap().to_le_bytes().to_vec();
        level.extend_from_slice(&[3, b'a', 0]);
        head.push(level);
    }
    let mut whole: Vec<u8> = head.into_iter().rev().flatten().collect();
    whole.append(&mut bytes);
    whole.extend(std::iter::repeat_n(0, levels));
    feed(&whole, &raw(&doc! { "a": { "a": 1 } }));
    let encoded: Vec<u8> = std::iter::repeat_n(0x28, levels).collect();
    assert!(skip_value(&encoded, false).is_err());
    assert!(decode_value(&encoded, false).is_err());
}
