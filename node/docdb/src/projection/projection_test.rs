//! What projections keep and what they refuse.

#![allow(clippy::unwrap_used, clippy::needless_pass_by_value)]

use bson::{Document, RawDocumentBuf, doc};

use super::Projection;
use crate::error::ErrorCode;

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn project(projection: Document, document: Document) -> Document {
    let parsed = Projection::parse(&raw(&projection)).unwrap();
    Document::try_from(parsed.apply(&raw(&document)).unwrap()).unwrap()
}

#[test]
fn including_and_excluding() {
    let document = doc! { "_id": 1, "a": 2, "b": { "c": 3, "d": 4 }, "e": 5 };
    assert_eq!(project(doc! {}, document.clone()), document);
    assert_eq!(
        project(doc! { "a": 1 }, document.clone()),
        doc! { "_id": 1, "a": 2 }
    );
    assert_eq!(
        project(doc! { "a": true, "_id": 0 }, document.clone()),
        doc! { "a": 2 }
    );
    assert_eq!(
        project(doc! { "_id": 1 }, document.clone()),
        doc! { "_id": 1 }
    );
    assert_eq!(
        project(doc! { "_id": 0 }, document.clone()),
        doc! { "a": 2, "b": { "c": 3, "d": 4 }, "e": 5 }
    );
    assert_eq!(
        project(doc! { "a": 0, "b.c": 0 }, document.clone()),
        doc! { "_id": 1, "b": { "d": 4 }, "e": 5 }
    );
    assert_eq!(
        project(doc! { "a": 0, "_id": 1 }, document.clone()),
        doc! { "_id": 1, "b": { "c": 3, "d": 4 }, "e": 5 }
    );
    assert_eq!(
        project(doc! { "b": { "d": 1 } }, document.clone()),
        doc! { "_id": 1, "b": { "d": 4 } }
    );
    // Fields stay in the document's order.
    assert_eq!(
        project(doc! { "e": 1, "a": 1 }, document),
        doc! { "_id": 1, "a": 2, "e": 5 }
    );
}

#[test]
fn paths_enter_arrays() {
    let document = doc! { "a": [1, { "b": 2, "c": 3 }, [{ "b": 4 }], {}] };
    assert_eq!(
        project(doc! { "a.b": 1 }, document.clone()),
        doc! { "a": [{ "b": 2 }, [{ "b": 4 }], {}] }
    );
    assert_eq!(
        project(doc! { "a.b": 0 }, document),
        doc! { "a": [1, { "c": 3 }, [{}], {}] }
    );
    assert_eq!(project(doc! { "a.b": 1 }, doc! { "a": 5 }), doc! {});
    assert_eq!(
        project(doc! { "a.b": 1 }, doc! { "a": {} }),
        doc! { "a": {} }
    );
}

#[test]
fn slices() {
    let document = doc! { "x": 1, "a": [1, 2, 3, 4] };
    let slice =
        |operand: bson::Bson| project(doc! { "a": { "$slice": operand } }, document.clone());
    assert_eq!(slice(2.into()), doc! { "x": 1, "a": [1, 2] });
    assert_eq!(slice((-3).into()), doc! { "x": 1, "a": [2, 3, 4] });
    assert_eq!(slice(0.into()), doc! { "x": 1, "a": [] });
    assert_eq!(slice(bson::bson!([1, 2])), doc! { "x": 1, "a": [2, 3] });
    assert_eq!(slice(bson::bson!([-2, 5])), doc! { "x": 1, "a": [3, 4] });
    assert_eq!(slice(bson::bson!([-9, 1])), doc! { "x": 1, "a": [1] });
    assert_eq!(slice(bson::bson!([9, 1])), doc! { "x": 1, "a": [] });
    assert_eq!(
        project(doc! { "x": 1, "a": { "$slice": 1 } }, document.clone()),
        doc! { "x": 1, "a": [1] }
    );
    assert_eq!(
        project(doc! { "a": { "$slice": 1 } }, doc! { "a": "text" }),
        doc! { "a": "text" }
    );
    assert_eq!(
        project(
            doc! { "d.a": { "$slice": 1 } },
            doc! { "d": { "a": [1, 2], "b": 3 } }
        ),
        doc! { "d": { "a": [1], "b": 3 } }
    );
}

#[test]
fn first_matching_elements() {
    let document = doc! { "_id": 7, "x": 1, "a": [{ "b": 1 }, { "b": 2, "c": 1 }, { "b": 2 }], "n": [1, 5, 9] };
    assert_eq!(
        project(doc! { "a": { "$elemMatch": { "b": 2 } } }, document.clone()),
        doc! { "_id": 7, "a": [{ "b": 2, "c": 1 }] }
    );
    assert_eq!(
        project(
            doc! { "a": { "$elemMatch": { "b": 9 } }, "x": 1 },
            document.clone()
        ),
        doc! { "_id": 7, "x": 1 }
    );
    assert_eq!(
        project(
            doc! { "n": { "$elemMatch": { "$gt": 3 } }, "_id": 0 },
            document
        ),
        doc! { "n": [5] }
    );
}

#[test]
fn impossible_projections_are_refused() {
    let refused = |projection: Document| Projection::parse(&raw(&projection)).unwrap_err();
    for projection in [
        doc! { "a": 1, "b": 0 },
        doc! { "a": 1, "a.b": 1 },
        doc! { "a.b": 1, "a": 1 },
        doc! { "a": "x" },
        doc! { "a": {} },
        doc! { "a..b": 1 },
        doc! { "a": { "$slice": "x" } },
        doc! { "a": { "$slice": [1, 0] } },
        doc! { "a": { "$slice": [1] } },
        doc! { "a": { "$elemMatch": 1 } },
    ] {
        assert_eq!(
            refused(projection.clone()).code,
            ErrorCode::InvalidParam,
            "{projection}"
        );
    }
    for projection in [
        doc! { "a.$": 1 },
        doc! { "a": { "$meta": "x" } },
        doc! { "a.b": { "$elemMatch": {} } },
    ] {
        assert_eq!(
            refused(projection.clone()).code,
            ErrorCode::InvalidOperator,
            "{projection}"
        );
    }
}
