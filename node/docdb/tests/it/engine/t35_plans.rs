//! Plans: whichever is chosen, the result is that of a scan; the cheap one is chosen; budgets hold.

use bson::{Document, doc};
use yunbase_docdb::op::{FindOp, Op};
use yunbase_docdb::sort::Sort;
use yunbase_docdb::{Budget, ErrorCode};

use super::generate::Generator;
use super::harness::{Db, find, memory, raw};

fn query(filter: Document, sort: Document) -> FindOp {
    FindOp {
        filter: raw(&filter),
        sort: raw(&sort),
        ..FindOp::default()
    }
}

/// The same documents, with and without indexes, must answer every query the same.
#[test]
fn any_index_gives_the_result_of_a_scan() {
    for seed in 0..40 {
        let mut generator = Generator::new(seed);
        let (plain, indexed) = (memory(), memory());
        plain.create("c");
        indexed.create("c");
        for _ in 0..4 {
            let (fields, _) = generator.index();
            indexed.index("c", &fields, false).unwrap();
        }
        for _ in 0..150 {
            let document = generator.document();
            // Refused for parallel arrays or a duplicate _id: then in neither.
            if indexed.insert("c", std::slice::from_ref(&document)).is_ok() {
                plain.insert("c", &[document]).unwrap();
            }
        }
        for _ in 0..150 {
            let (filter, sort) = (generator.filter(), generator.sort());
            let context = format!("seed {seed}, filter {filter}, sort {sort}");
            let expected = sorted(&plain, &filter, &sort);
            assert_eq!(sorted(&indexed, &filter, &sort), expected, "{context}");
            assert_eq!(
                indexed.count("c", filter.clone()),
                expected.len() as u64,
                "{context}"
            );
            let plan = indexed.explain(find("c", query(filter.clone(), sort.clone())));
            assert_eq!(
                plan.get_i64("documentsReturned").unwrap(),
                expected.len() as i64
            );
            let (skip, limit) = (generator.below(4) as u64, 1 + generator.below(6) as u64);
            let page = FindOp {
                skip,
                limit: Some(limit),
                ..query(filter, sort.clone())
            };
            let (expected, _) = plain.find_op("c", page.clone()).unwrap();
            let (found, _) = indexed.find_op("c", page).unwrap();
            assert_eq!(keys(&found, &sort), keys(&expected, &sort), "{context}");
        }
    }
}

/// A result in its order, where equal keys have none.
fn sorted(db: &Db, filter: &Document, sort: &Document) -> Vec<(Vec<u8>, Document)> {
    let (found, _) = db
        .find_op("c", query(filter.clone(), sort.clone()))
        .unwrap();
    let keys = keys(&found, sort);
    assert!(keys.is_sorted(), "{filter} {sort}");
    let mut rows: Vec<_> = keys.into_iter().zip(found).collect();
    rows.sort_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.to_string().cmp(&y.to_string())));
    rows
}

fn keys(documents: &[Document], sort: &Document) -> Vec<Vec<u8>> {
    let sort = Sort::parse(&raw(sort)).unwrap();
    documents
        .iter()
        .map(|document| sort.key(&raw(document)).unwrap())
        .collect()
}

fn people() -> Db {
    let db = memory();
    db.create("c");
    let documents: Vec<_> = (0..900)
        .map(|i| doc! { "_id": i, "city": format!("city-{}", i % 30), "age": i % 90, "code": i })
        .collect();
    db.insert("c", &documents).unwrap();
    db.index("c", &[("city", false), ("age", true)], false)
        .unwrap();
    db.index("c", &[("code", false)], true).unwrap();
    db.finish_builds();
    db
}

fn bounds(plan: &Document) -> Vec<&str> {
    plan.get_array("bounds")
        .unwrap()
        .iter()
        .map(|range| range.as_str().unwrap())
        .collect()
}

#[test]
fn bounds_are_shown_in_words() {
    let db = people();
    for (filter, expected) in [
        (
            doc! { "code": { "$gte": 5, "$lt": 9 } },
            "[code: 5 .. code: 9)",
        ),
        (
            doc! { "code": { "$gt": 5, "$lte": 9 } },
            "(code: 5 .. code: 9]",
        ),
        (doc! { "code": 7 }, "code: 7"),
        (
            doc! { "city": "city-1", "age": { "$gt": 80 } },
            "[city: \"city-1\", age: the next type .. city: \"city-1\", age: 80)",
        ),
        (
            doc! { "code": { "$gt": 890 } },
            "(code: 890 .. code: the next type)",
        ),
    ] {
        let plan = db.explain(find("c", query(filter.clone(), doc! {})));
        assert_eq!(bounds(&plan), [expected], "{filter}");
    }
}

#[test]
fn the_cheap_plan_is_chosen_and_explained() {
    let db = people();
    let explained = |filter: Document, sort: Document, limit: Option<u64>| {
        db.explain(find(
            "c",
            FindOp {
                limit,
                ..query(filter, sort)
            },
        ))
    };
    let plan = explained(doc! { "city": "city-3" }, doc! {}, None);
    assert_eq!(
        (
            plan.get_str("stage").unwrap(),
            plan.get_str("index").unwrap()
        ),
        ("index scan", "city_1_age_-1")
    );
    assert_eq!(plan.get_i64("keysExamined").unwrap(), 30);
    assert_eq!(plan.get_i64("documentsReturned").unwrap(), 30);
    assert_eq!(bounds(&plan), ["city: \"city-3\""]);
    assert!(!plan.get_array("otherPlans").unwrap().is_empty());

    let plan = explained(doc! { "city": "city-3" }, doc! { "age": 1 }, Some(5));
    assert_eq!(
        (
            plan.get_str("sort").unwrap(),
            plan.get_str("direction").unwrap()
        ),
        ("by index", "backward")
    );
    assert!(plan.get_i64("documentsExamined").unwrap() <= 6, "{plan}");

    let plan = explained(doc! { "age": 5 }, doc! { "code": -1 }, Some(3));
    assert_eq!(
        (
            plan.get_str("sort").unwrap(),
            plan.get_str("direction").unwrap()
        ),
        ("by index", "backward")
    );

    let plan = explained(doc! { "city": { "$gte": "city-0" } }, doc! {}, Some(5));
    assert_eq!(plan.get_str("stage").unwrap(), "collection scan");

    let plan = explained(doc! { "code": { "$lt": 10 } }, doc! { "age": 1 }, None);
    assert_eq!(
        (
            plan.get_str("stage").unwrap(),
            plan.get_str("sort").unwrap()
        ),
        ("index scan", "in memory")
    );

    let plan = explained(
        doc! { "$and": [{ "code": { "$lt": 1 } }, { "code": { "$gt": 5 } }] },
        doc! {},
        None,
    );
    assert_eq!(plan.get_str("stage").unwrap(), "nothing");

    let plan = db.explain(Op::Count {
        collection: "c".into(),
        filter: raw(&doc! { "_id": 5 }),
    });
    assert_eq!(plan.get_str("stage").unwrap(), "id lookup");

    let plan = explained(
        doc! { "_id": { "$in": [5, 7, 5000] } },
        doc! { "_id": -1 },
        None,
    );
    assert_eq!(plan.get_str("stage").unwrap(), "id lookup");
    assert_eq!(plan.get_i64("documentsExamined").unwrap(), 2);

    let plan = explained(doc! { "_id": { "$gte": 5, "$lt": 10 } }, doc! {}, None);
    assert_eq!(plan.get_str("stage").unwrap(), "id range scan");
    assert_eq!(plan.get_i64("documentsExamined").unwrap(), 5);
}

#[test]
fn budgets_end_a_query_with_the_limit_in_words() {
    let db = people();
    let refused = |find_op: FindOp, budget: &Budget<'_>| {
        let error = db
            .database
            .read("env-1", &find("c", find_op), budget, 0)
            .unwrap_err();
        assert_eq!(error.code, ErrorCode::ExceedBudget);
        error.message
    };
    let in_time = || false;
    let by_age = query(doc! {}, doc! { "age": 1 });
    let budget = Budget {
        documents_examined_max: 100,
        ..Budget::new(&in_time)
    };
    assert!(refused(by_age.clone(), &budget).contains("100 documents examined"));
    let budget = Budget {
        memory_bytes_max: 5000,
        ..Budget::new(&in_time)
    };
    assert!(refused(by_age.clone(), &budget).contains("5000 bytes sorted in memory"));
    let budget = Budget {
        result_bytes_max: 5000,
        ..Budget::new(&in_time)
    };
    assert!(refused(by_age, &budget).contains("5000 bytes in a result"));
    let late = || true;
    assert!(refused(query(doc! {}, doc! {}), &Budget::new(&late)).contains("time"));
}

#[test]
fn results_in_id_order_are_cut_and_continued() {
    let db = people();
    let in_time = || false;
    let budget = Budget {
        result_bytes_max: 10_000,
        result_documents_max: 200,
        ..Budget::new(&in_time)
    };
    let (mut seen, mut after) = (0, Vec::new());
    loop {
        let page = FindOp {
            after,
            ..FindOp::default()
        };
        let reply = db
            .database
            .read("env-1", &find("c", page), &budget, 0)
            .unwrap();
        let yunbase_docdb::op::OpReply::Found { documents, next } = reply else {
            panic!()
        };
        assert!(
            documents
                .iter()
                .map(|document| document.as_bytes().len())
                .sum::<usize>()
                <= 10_000
        );
        seen += documents.len();
        if next.is_empty() {
            break;
        }
        after = next;
    }
    assert_eq!(seen, 900);
    let misplaced = FindOp {
        after: vec![1],
        ..query(doc! {}, doc! { "age": 1 })
    };
    assert_eq!(
        db.find_op("c", misplaced).unwrap_err().code,
        ErrorCode::InvalidParam
    );
}
