//! Single changes and the events that they make; random ones are in `follow_test`.

use bson::{RawDocumentBuf, rawdoc};
use yunbase_docdb::change_log::{Change, ChangeKind};

use super::super::event::{DataType, QueueType};
use super::super::query::WatchQuery;
use super::*;

fn evaluation(
    filter: RawDocumentBuf,
    sort: RawDocumentBuf,
    limit: Option<usize>,
    documents: Vec<RawDocumentBuf>,
) -> Evaluation {
    let query = WatchQuery {
        env: "e".into(),
        collection: "c".into(),
        filter,
        restriction: RawDocumentBuf::new(),
        sort,
        limit,
        now_ms: 0,
    };
    let limits = Limits {
        spare_documents: 1,
        documents_max: 4,
        ..Limits::default()
    };
    let compiled = Arc::new(Compiled::new(query).unwrap());
    Evaluation::new(compiled, Position::default(), documents, &limits).unwrap()
}

fn change(
    kind: ChangeKind,
    before: Option<RawDocumentBuf>,
    after: Option<RawDocumentBuf>,
) -> Images {
    Images::new(Change {
        kind,
        env: "e".into(),
        collection: "c".into(),
        now_ms: 0,
        before,
        after,
    })
}

fn at(log_index: u64) -> Position {
    Position { log_index, op: 0 }
}

fn step(evaluation: &mut Evaluation, number: u64, change: &Images) -> Vec<String> {
    let mut events = Vec::new();
    let outcome = evaluation.step(at(number), change, &mut events).unwrap();
    assert_eq!(outcome, Outcome::Done);
    events
        .iter()
        .map(|event| format!("{:?} {:?} {:?}", event.queue, event.data, event.id))
        .collect()
}

#[test]
fn documents_enter_stay_and_leave() {
    let mut watch = evaluation(rawdoc! { "n": { "$gt": 5 } }, rawdoc! {}, None, vec![]);
    let document = |n: i32| Some(rawdoc! { "_id": "a", "n": n });
    let id = r#"String("a")"#;
    let cases = [
        (ChangeKind::Insert, None, document(1), None),
        (
            ChangeKind::Update,
            document(1),
            document(6),
            Some("Enqueue Update"),
        ),
        (
            ChangeKind::Update,
            document(6),
            document(7),
            Some("Update Update"),
        ),
        (
            ChangeKind::Replace,
            document(7),
            document(8),
            Some("Update Replace"),
        ),
        (
            ChangeKind::Update,
            document(8),
            document(2),
            Some("Dequeue Update"),
        ),
        (ChangeKind::Remove, document(2), None, None),
        (ChangeKind::Insert, None, document(9), Some("Enqueue Add")),
        (
            ChangeKind::Remove,
            document(9),
            None,
            Some("Dequeue Remove"),
        ),
    ];
    for (number, (kind, before, after, expected)) in (1..).zip(cases) {
        let expected: Vec<_> = expected
            .map(|event| format!("{event} {id}"))
            .into_iter()
            .collect();
        assert_eq!(
            step(&mut watch, number, &change(kind, before, after)),
            expected
        );
    }
    assert_eq!(watch.count(), 0);
    // What is behind already is not taken twice.
    let again = change(ChangeKind::Insert, None, document(9));
    assert!(step(&mut watch, 7, &again).is_empty());
}

#[test]
fn a_limit_pushes_out_and_pulls_in() {
    let document = |id: &str, n: i32| rawdoc! { "_id": id, "n": n };
    let all = vec![document("a", 1), document("b", 2), document("c", 3)];
    let mut watch = evaluation(rawdoc! {}, rawdoc! { "n": 1 }, Some(2), all);
    let inserted = change(ChangeKind::Insert, None, Some(document("x", 0)));
    assert_eq!(
        step(&mut watch, 1, &inserted),
        [r#"Dequeue Limit String("b")"#, r#"Enqueue Add String("x")"#]
    );
    let moved = change(
        ChangeKind::Update,
        Some(document("x", 0)),
        Some(document("x", 9)),
    );
    assert_eq!(
        step(&mut watch, 2, &moved),
        [
            r#"Dequeue Update String("x")"#,
            r#"Enqueue Limit String("b")"#
        ]
    );
    // One spare document was kept; without it the database must be asked.
    let removed = change(ChangeKind::Remove, Some(document("a", 1)), None);
    let mut events = Vec::new();
    assert_eq!(
        watch.step(at(3), &removed, &mut events).unwrap(),
        Outcome::Refill
    );
    assert!(events.is_empty());
    let rest = vec![document("b", 2), document("c", 3), document("x", 9)];
    watch.refill(at(5), rest, &removed, &mut events).unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.queue, event.data))
        .collect();
    assert_eq!(
        told,
        [
            (QueueType::Dequeue, DataType::Remove),
            (QueueType::Enqueue, DataType::Limit)
        ]
    );
    assert_eq!((watch.count(), watch.position), (2, at(5)));
}

#[test]
fn results_that_grow_too_large_end_the_watch() {
    let mut watch = evaluation(rawdoc! {}, rawdoc! {}, None, vec![]);
    for number in 1..=5 {
        let inserted = change(
            ChangeKind::Insert,
            None,
            Some(rawdoc! { "_id": number as i32 }),
        );
        let outcome = watch.step(at(number), &inserted, &mut Vec::new());
        assert_eq!(outcome.is_err(), number == 5, "{outcome:?}");
    }
}
