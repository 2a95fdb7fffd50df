//! Exactly-once: retries return the first outcome, across steps, refusals and overwritten slots.

use bson::doc;
use yunbase_docdb::limits::{
    SESSION_IDLE_MS_MAX, SESSION_IDLE_WHEN_FULL_MS_MAX, SESSION_WINDOW, SESSIONS_MAX,
    STEP_DOCUMENTS_MAX,
};
use yunbase_docdb::op::{Op, OpReply, UpdateOp};
use yunbase_docdb::{ErrorCode, SessionSequence, Step, WritePlan};

use super::harness::{Db, ENV, insert, memory, raw, update};

fn request(session: u64, sequence: u64) -> Option<SessionSequence> {
    Some(SessionSequence { session, sequence })
}

fn count_up(db: &Db, name: Option<SessionSequence>) -> yunbase_docdb::Result<OpReply> {
    let update = update(doc! { "kind": "counter" }, doc! { "$inc": { "n": 1 } });
    db.write_in(
        ENV,
        Op::Update {
            collection: "c".into(),
            update,
        },
        name,
    )
}

fn counter() -> (Db, u64) {
    let db = memory();
    db.create("c");
    db.insert("c", &[doc! { "_id": 1, "kind": "counter", "n": 0 }])
        .unwrap();
    let session = db.open_session();
    (db, session)
}

#[test]
fn a_retry_returns_the_first_outcome_and_writes_nothing() {
    let (db, session) = counter();
    let first = count_up(&db, request(session, 1)).unwrap();
    assert_eq!(count_up(&db, request(session, 1)).unwrap(), first);
    assert_eq!(db.find("c", doc! { "n": 1 }).len(), 1);
    count_up(&db, request(session, 2)).unwrap();
    assert_eq!(count_up(&db, request(session, 1)).unwrap(), first);
    assert_eq!(db.find("c", doc! { "n": 2 }).len(), 1);
}

#[test]
fn a_retried_refusal_stays_a_refusal() {
    let (db, session) = counter();
    let one = insert("c", &[doc! { "_id": 1 }]);
    let error = db
        .write_in(ENV, one.clone(), request(session, 1))
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::DuplicateWrite);
    db.remove("c", doc! { "_id": 1 }, false);
    assert_eq!(
        db.write_in(ENV, one, request(session, 1)).unwrap_err(),
        error
    );
    assert_eq!(db.count("c", doc! {}), 0);
}

#[test]
fn unknown_sessions_and_overwritten_slots_are_refused() {
    let (db, session) = counter();
    assert_eq!(
        count_up(&db, request(session + 1, 1)).unwrap_err().code,
        ErrorCode::SessionExpired
    );
    count_up(&db, request(session, 5)).unwrap();
    count_up(&db, request(session, 5 + u64::from(SESSION_WINDOW))).unwrap();
    assert_eq!(
        count_up(&db, request(session, 5)).unwrap_err().code,
        ErrorCode::SessionExpired
    );
    assert_eq!(db.find("c", doc! { "n": 2 }).len(), 1);
}

#[test]
fn idle_sessions_make_room_and_used_ones_stay() {
    let (db, used) = counter();
    let idle = db.open_session();
    db.advance_ms(SESSION_IDLE_MS_MAX);
    count_up(&db, request(used, 1)).unwrap();
    db.advance_ms(1000);
    db.open_session();
    count_up(&db, request(used, 2)).unwrap();
    assert_eq!(
        count_up(&db, request(idle, 1)).unwrap_err().code,
        ErrorCode::SessionExpired
    );
}

/// Each run of a script opens a session and never closes it: the place of one that has ended is given away once it is
/// needed, and a session in use is not touched.
#[test]
fn while_there_is_no_place_the_longest_idle_session_makes_room_after_minutes() {
    let (db, used) = counter();
    let sessions = || db.database.stats().unwrap().sessions;
    let oldest = db.open_session();
    db.advance_ms(1);
    let next = db.open_session();
    for _ in sessions()..SESSIONS_MAX as u64 {
        db.open_session();
    }
    let refused = || {
        let open = yunbase_docdb::command::open_session(db.now()).unwrap();
        let reply = db.apply(&[open]).remove(0);
        yunbase_docdb::command::decode_reply(&reply).map_err(|error| error.code)
    };
    assert_eq!(refused().unwrap_err(), ErrorCode::RequestFailed);
    db.advance_ms(SESSION_IDLE_WHEN_FULL_MS_MAX - 1);
    count_up(&db, request(used, 1)).unwrap();
    assert_eq!(refused().unwrap_err(), ErrorCode::RequestFailed);

    db.advance_ms(1);
    db.open_session();
    assert_eq!(sessions(), SESSIONS_MAX as u64, "one for one");
    let gone = count_up(&db, request(oldest, 1)).unwrap_err();
    assert_eq!(gone.code, ErrorCode::SessionExpired);
    count_up(&db, request(used, 2)).unwrap();
    count_up(&db, request(next, 1)).unwrap();
    assert_eq!(db.find("c", doc! { "n": 3 }).len(), 1);
}

#[test]
fn a_long_write_resumes_where_a_lost_leader_stopped() {
    let (db, session) = counter();
    let size = 2 * STEP_DOCUMENTS_MAX as i32 + 100;
    for first in (0..size).step_by(500) {
        let documents: Vec<_> = (first..size.min(first + 500))
            .map(|i| doc! { "_id": format!("{i:05}"), "n": 0 })
            .collect();
        db.insert("c", &documents).unwrap();
    }
    let op = Op::Update {
        collection: "c".into(),
        update: UpdateOp {
            multi: true,
            ..update(doc! { "n": { "$gte": 0 } }, doc! { "$inc": { "n": 1 } })
        },
    };
    let mut lost = WritePlan::new(ENV, op.clone(), request(session, 1)).unwrap();
    let Step::Propose(first_step) = db.propose(&mut lost).unwrap() else {
        panic!("nothing to do")
    };
    db.apply(std::slice::from_ref(&first_step));
    // A duplicate of the step in the log, as after a timeout, must not count twice.
    db.apply(&[first_step]);
    let total = u64::try_from(size).unwrap() + 1;
    let expected = OpReply::Updated {
        matched: total,
        modified: total,
        upserted_id: None,
        document: None,
    };
    assert_eq!(
        db.write_in(ENV, op.clone(), request(session, 1)).unwrap(),
        expected
    );
    assert_eq!(db.write_in(ENV, op, request(session, 1)).unwrap(), expected);
    assert_eq!(db.count("c", doc! { "n": 1 }), total);
}

#[test]
fn a_retry_by_field_finds_its_outcome_although_nothing_matches_any_more() {
    let (db, session) = counter();
    let op = |name| {
        let update = update(doc! { "n": 0 }, doc! { "$set": { "n": 1 } });
        db.write_in(
            ENV,
            Op::Update {
                collection: "c".into(),
                update,
            },
            name,
        )
    };
    let first = op(request(session, 1)).unwrap();
    assert_eq!(
        first,
        OpReply::Updated {
            matched: 1,
            modified: 1,
            upserted_id: None,
            document: None
        }
    );
    assert_eq!(op(request(session, 1)).unwrap(), first);
    db.write(Op::DropCollection {
        collection: "c".into(),
    })
    .unwrap();
    assert_eq!(op(request(session, 1)).unwrap(), first);
}

#[test]
fn outcomes_too_large_to_keep_are_owned_up_to() {
    let (db, session) = counter();
    db.insert("c", &[doc! { "_id": "big", "text": "x".repeat(100_000) }])
        .unwrap();
    let op = Op::Update {
        collection: "c".into(),
        update: UpdateOp {
            return_document: true,
            ..update(doc! { "_id": "big" }, doc! { "$inc": { "n": 1 } })
        },
    };
    db.write_in(ENV, op.clone(), request(session, 1)).unwrap();
    assert_eq!(
        db.write_in(ENV, op, request(session, 1)).unwrap_err().code,
        ErrorCode::RequestFailed
    );
    assert_eq!(db.count("c", doc! { "_id": "big", "n": 1 }), 1);
}

#[test]
fn a_single_write_is_planned_again_when_its_document_changed() {
    let (db, session) = counter();
    db.insert("c", &[doc! { "_id": 2, "kind": "spare", "n": 0 }])
        .unwrap();
    let op = Op::Remove {
        collection: "c".into(),
        filter: raw(&doc! { "kind": "counter" }),
        multi: false,
    };
    let mut plan = WritePlan::new(ENV, op, request(session, 1)).unwrap();
    let Step::Propose(command) = db.propose(&mut plan).unwrap() else {
        panic!("nothing to do")
    };
    db.update(
        "c",
        update(doc! { "_id": 1 }, doc! { "$set": { "kind": "spare" } }),
    )
    .unwrap();
    db.update(
        "c",
        update(doc! { "_id": 2 }, doc! { "$set": { "kind": "counter" } }),
    )
    .unwrap();
    plan.feed(&db.apply(&[command])[0]).unwrap();
    let Step::Propose(command) = db.propose(&mut plan).unwrap() else {
        panic!("not planned again")
    };
    plan.feed(&db.apply(&[command])[0]).unwrap();
    assert_eq!(
        db.propose(&mut plan).unwrap(),
        Step::Done(OpReply::Removed { removed: 1 })
    );
    assert_eq!(db.count("c", doc! { "_id": 2 }), 0);
}
