//! Random writes, watched: whoever applies the events has the documents that the query has.

use std::collections::HashMap;
use std::sync::Arc;

use bson::{Document, RawDocumentBuf, doc};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::sync::oneshot;
use yunbase_docdb::Position;
use yunbase_docdb::change_log::Retention;
use yunbase_docdb::op::Op;

use super::bed::{Bed, ENV, NOW_MS, Subscriber as Client, raw};
use super::evaluation::Evaluation;
use super::follow::{Follower, Join};
use super::limits::Limits;
use super::metrics::Counters;
use super::outbox::{Next, Outbox, Subscriber, Watch};
use super::query::{Compiled, WatchQuery};
use super::replay::{self, Replay, Replayed};
use super::source::ChangeSource as _;
use crate::auth::records::SESSIONS;
use crate::call::{EndUser, LoginType};

fn limits() -> Arc<Limits> {
    Arc::new(Limits {
        // Small, so that windows run out and reads stop half-way.
        spare_documents: 2,
        changes_max: 3,
        ..Limits::default()
    })
}

fn query(filter: &Document, sort: &Document, limit: Option<usize>) -> WatchQuery {
    WatchQuery {
        env: ENV.into(),
        collection: "c".into(),
        filter: raw(filter),
        restriction: RawDocumentBuf::new(),
        sort: raw(sort),
        limit,
        now_ms: NOW_MS,
    }
}

fn queries() -> Vec<WatchQuery> {
    let (none, by_n) = (doc! {}, doc! { "n": -1 });
    vec![
        query(&none, &none, None),
        query(&doc! { "n": { "$gte": 3 } }, &by_n, None),
        query(&doc! { "tag": "a" }, &none, None),
        query(&doc! { "_id": 3 }, &none, None),
        query(&doc! { "list": 1, "n": { "$lt": 5 } }, &none, None),
        query(&none, &by_n, Some(3)),
        query(&doc! { "tag": "b" }, &doc! { "n": 1, "o.x": -1 }, Some(1)),
        query(&doc! { "n": { "$ne": 0 } }, &none, Some(4)),
        query(
            &doc! { "$or": [{ "tag": "a" }, { "n": { "$gt": 4 } }] },
            &doc! { "tag": 1 },
            Some(20),
        ),
    ]
}

fn document(rng: &mut SmallRng, id: i32) -> Document {
    let mut document = doc! { "_id": id, "n": rng.random_range(0..7) };
    if rng.random_bool(0.7) {
        document.insert("tag", if rng.random() { "a" } else { "b" });
    }
    if rng.random_bool(0.5) {
        document.insert("o", doc! { "x": rng.random_range(0..3), "y": { "z": 1 } });
    }
    if rng.random_bool(0.5) {
        document.insert("list", vec![rng.random_range(0..3), rng.random_range(0..3)]);
    }
    document
}

fn write(bed: &Bed, rng: &mut SmallRng) {
    let id = rng.random_range(0..12);
    match rng.random_range(0..8) {
        0 | 1 => {
            bed.remove(&doc! { "_id": id });
            bed.insert(&[document(rng, id)]);
        }
        2 => bed.remove(&doc! { "_id": id }),
        3 => {
            let mut replacement = document(rng, id);
            replacement.remove("_id");
            bed.replace(&doc! { "_id": id }, &replacement);
        }
        4 => bed.update(
            &doc! { "_id": id },
            &doc! { "$set": { "n": rng.random_range(0..7), "o.x": rng.random_range(0..3) } },
        ),
        5 => bed.update(
            &doc! { "n": { "$lt": 3 } },
            &doc! { "$inc": { "n": 2 }, "$unset": { "tag": "" } },
        ),
        6 => bed.update(
            &doc! { "_id": id },
            &doc! { "$set": { "tag": "a" }, "$unset": { "o.y": "" } },
        ),
        _ => bed.update(
            &doc! { "n": { "$gt": 5 } },
            &doc! { "$set": { "n": 1, "list": [1] } },
        ),
    }
}

/// A watch under test: what it asks, what its client has, where its events come from.
struct Watched {
    query: WatchQuery,
    client: Client,
    began: Position,
    count: usize,
    watch: Arc<Watch>,
    outbox: Arc<Outbox>,
}

impl Watched {
    /// Reads the first result, as the hub does.
    fn open(bed: &Arc<Bed>, query: WatchQuery, limits: &Arc<Limits>) -> (Self, Join) {
        let compiled = Arc::new(Compiled::new(query.clone()).unwrap());
        let find = query.find(limits.documents_max, limits.spare_documents);
        let late = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let (documents, began) = bed.find(&query, find, limits, late).unwrap();
        let count = documents.len();
        let evaluation = Evaluation::new(compiled, began, documents, limits).unwrap();
        let client = Client {
            documents: bed.result(&query).into_values().collect(),
            current: 1,
        };
        let (watched, subscriber) = Self::with(query, client, began, count, limits);
        (
            watched,
            Join {
                evaluation,
                subscriber,
            },
        )
    }

    fn with(
        query: WatchQuery,
        client: Client,
        began: Position,
        count: usize,
        limits: &Arc<Limits>,
    ) -> (Self, Subscriber) {
        let watch = Watch::new("w".into(), "q".into(), client.current);
        let outbox = Outbox::new(
            limits.clone(),
            Arc::default(),
            Arc::new(Counters::default()),
        );
        let subscriber = Subscriber::new(watch.clone(), outbox.clone(), None);
        let watched = Self {
            query,
            client,
            began,
            count,
            watch,
            outbox,
        };
        (watched, subscriber)
    }

    /// All messages that wait, as they are sent.
    fn texts(&self) -> Vec<String> {
        use futures::FutureExt as _;
        let next = || match self.outbox.next().now_or_never() {
            Some(Next::Send(text)) => Some(text),
            _ => None,
        };
        std::iter::from_fn(next).collect()
    }

    /// Takes all messages that wait.
    fn receive(&mut self) {
        for text in self.texts() {
            let message: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(message["msgType"], "NEXT_EVENT", "{text}");
            self.client.take(&message["msgData"]);
        }
    }

    /// What another node makes of the query id and the client's last event.
    fn resume(self, bed: &Arc<Bed>, limits: &Arc<Limits>) -> (Self, Join) {
        self.watch.close();
        let compiled = Arc::new(Compiled::new(self.query.clone()).unwrap());
        let (answer, mut answered) = oneshot::channel();
        let replay = Replay {
            evaluation: Evaluation::resumed(compiled, self.began, self.count, limits),
            began_with: 1,
            has: self.client.current,
            answer,
        };
        replay::pass(&**bed, limits, vec![replay]);
        let Replayed::All(texts, evaluation) = answered.try_recv().unwrap().unwrap() else {
            panic!("everything is in the log");
        };
        let mut client = self.client;
        let mut list = String::new();
        for (number, text) in (client.current + 1..).zip(texts.iter()) {
            super::event::append(&mut list, number, text);
        }
        let last = client.current + texts.len() as u64;
        client.take(
            &serde_json::from_str(&format!(r#"{{"currEvent":{last},"events":[{list}]}}"#)).unwrap(),
        );
        let (watched, subscriber) = Self::with(self.query, client, self.began, self.count, limits);
        let join = Join {
            evaluation: *evaluation,
            subscriber,
        };
        (watched, join)
    }
}

fn settle(follower: &mut Follower) {
    while follower.work(Vec::new()) {}
}

#[test]
fn whoever_applies_the_events_has_the_result() {
    for seed in 0..60 {
        let mut rng = SmallRng::seed_from_u64(seed);
        let (bed, limits) = (Bed::new(), limits());
        let mut follower = Follower::new(bed.clone(), limits.clone());
        let mut open: Vec<Watched> = Vec::new();
        for _ in 0..10 {
            write(&bed, &mut rng);
        }
        for round in 0..60 {
            match rng.random_range(0..10) {
                0 | 1 => {
                    let queries = queries();
                    let query = queries[rng.random_range(0..queries.len())].clone();
                    let (watched, join) = Watched::open(&bed, query, &limits);
                    // Writes may come between the first result and the place at the log.
                    for _ in 0..rng.random_range(0..4) {
                        write(&bed, &mut rng);
                    }
                    if rng.random() {
                        settle(&mut follower);
                    }
                    follower.work(vec![join]);
                    open.push(watched);
                }
                2 if !open.is_empty() => {
                    let at = rng.random_range(0..open.len());
                    let mut watched = open.swap_remove(at);
                    if rng.random() {
                        watched.receive();
                    }
                    if watched.query.limit.is_none() {
                        let (watched, join) = watched.resume(&bed, &limits);
                        write(&bed, &mut rng);
                        follower.work(vec![join]);
                        open.push(watched);
                    } else {
                        watched.watch.close();
                        follower.sweep();
                    }
                }
                3 => settle(&mut follower),
                _ => write(&bed, &mut rng),
            }
            if round % 20 == 19 {
                settle(&mut follower);
                for watched in &mut open {
                    watched.receive();
                    assert_eq!(
                        watched.client.result(),
                        bed.result(&watched.query),
                        "seed {seed}, round {round}, {:?}",
                        watched.query
                    );
                }
            }
        }
    }
}

#[test]
fn equal_queries_share_an_evaluation_and_keep_numbers_of_their_own() {
    let (bed, limits) = (Bed::new(), limits());
    let mut follower = Follower::new(bed.clone(), limits.clone());
    let all = queries().remove(0);
    let (mut first, join) = Watched::open(&bed, all.clone(), &limits);
    follower.work(vec![join]);
    bed.insert(&[doc! { "_id": 1 }]);
    settle(&mut follower);
    let (mut second, join) = Watched::open(&bed, all, &limits);
    follower.work(vec![join]);
    bed.insert(&[doc! { "_id": 2 }]);
    settle(&mut follower);
    for (watched, current) in [(&mut first, 3), (&mut second, 2)] {
        watched.receive();
        assert_eq!(
            (watched.client.current, watched.client.documents.len()),
            (current, 2)
        );
    }
}

#[test]
fn a_dropped_collection_ends_its_watches() {
    let drop = Op::DropCollection {
        collection: "c".into(),
    };
    ends_watches(3, drop);
}

#[test]
fn a_renamed_collection_ends_its_watches() {
    // With a condition that the name of the collection would fulfil, were it taken for a document, and without.
    for query in [0, 3] {
        let rename = Op::RenameCollection {
            collection: "c".into(),
            to: "d".into(),
        };
        ends_watches(query, rename);
    }
}

fn ends_watches(query: usize, op: Op) {
    let (bed, limits) = (Bed::new(), limits());
    let mut follower = Follower::new(bed.clone(), limits.clone());
    let (watched, join) = Watched::open(&bed, queries().remove(query), &limits);
    follower.work(vec![join]);
    bed.run(op);
    settle(&mut follower);
    use futures::FutureExt as _;
    let Some(Next::Send(text)) = watched.outbox.next().now_or_never() else {
        panic!("told nothing");
    };
    let message: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(message["msgData"]["code"], "DATABASE_COLLECTION_NOT_EXIST");
    assert!(follower.is_idle());
}

#[test]
fn what_the_log_no_longer_holds_cannot_be_resumed_and_the_rest_can() {
    let retention = Retention {
        bytes_max: 2000,
        age_ms_max: i64::MAX,
        segment_bytes: 500,
    };
    let (bed, limits) = (Bed::keeping(retention), limits());
    let all = queries().remove(0);
    let (old, join) = Watched::open(&bed, all.clone(), &limits);
    drop(join);
    for n in 0..100 {
        bed.insert(&[doc! { "_id": n }]);
    }
    let (young, join) = Watched::open(&bed, all, &limits);
    drop(join);
    bed.insert(&[doc! { "_id": "last" }]);
    let mut answers = HashMap::new();
    let mut replays = Vec::new();
    for (name, watched) in [("old", &old), ("young", &young)] {
        let compiled = Arc::new(Compiled::new(watched.query.clone()).unwrap());
        let (answer, answered) = oneshot::channel();
        replays.push(Replay {
            evaluation: Evaluation::resumed(compiled, watched.began, watched.count, &limits),
            began_with: 1,
            has: 1,
            answer,
        });
        answers.insert(name, answered);
    }
    replay::pass(&*bed, &limits, replays);
    let mut answer = |name: &str| answers.remove(name).unwrap().try_recv().unwrap().unwrap();
    assert!(matches!(answer("old"), Replayed::TooOld));
    match answer("young") {
        Replayed::All(texts, _) => assert_eq!(texts.len(), 1),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_long_absence_is_made_up_in_pages() {
    let bed = Bed::new();
    let limits = Arc::new(Limits {
        resumed_events_max: 4,
        ..Limits::default()
    });
    let (watched, join) = Watched::open(&bed, queries().remove(0), &limits);
    drop(join);
    for n in 0..10 {
        bed.insert(&[doc! { "_id": n }]);
    }
    let pages: Vec<usize> = [1_u64, 5, 9, 12]
        .into_iter()
        .map(|has| {
            let compiled = Arc::new(Compiled::new(watched.query.clone()).unwrap());
            let (answer, mut answered) = oneshot::channel();
            let replay = Replay {
                evaluation: Evaluation::resumed(compiled, watched.began, watched.count, &limits),
                began_with: 1,
                has,
                answer,
            };
            replay::pass(&*bed, &limits, vec![replay]);
            match answered.try_recv().unwrap().unwrap() {
                Replayed::Some(texts) => texts.len(),
                Replayed::All(texts, _) => 100 + texts.len(),
                Replayed::Beyond => 999,
                Replayed::TooOld => panic!("kept"),
            }
        })
        .collect();
    assert_eq!(pages, [4, 4, 102, 999]);
}

/// Of two watches of the same query, the end user's ends at the change that takes its right away and gets nothing
/// behind it, wherever in its opening that change comes; the administrator's goes on.
#[test]
fn watches_of_end_users_end_where_the_log_says_so() {
    let ann = Arc::new(EndUser {
        uid: "ann".into(),
        openid: "ann".into(),
        login_type: LoginType::Email,
        session: "s1".into(),
    });
    let rules = |bed: &Bed| {
        bed.run(Op::SetAccess {
            collection: "c".into(),
            access: raw(&doc! { "mode": "PRIVATE" }),
        });
    };
    let sign_out = |id: &str, bed: &Bed| {
        bed.run(Op::Remove {
            collection: SESSIONS.into(),
            filter: raw(&doc! { "_id": id }),
            multi: false,
        });
    };
    type Act<'a> = &'a dyn Fn(&Bed);
    let cases: [(Act<'_>, Option<&str>); 3] = [
        (&rules, Some("QUERYID_INVALID_ERROR")),
        (
            &|bed| sign_out("s1", bed),
            Some("COLLECTION_PERMISSION_DENIED"),
        ),
        (&|bed| sign_out("s2", bed), None),
    ];
    for (act, code) in cases {
        for joined_before in [true, false] {
            let (bed, limits) = (Bed::new(), limits());
            bed.run(Op::CreateCollection {
                collection: SESSIONS.into(),
            });
            bed.run(Op::Insert {
                collection: SESSIONS.into(),
                documents: ["s1", "s2"].map(|id| raw(&doc! { "_id": id })).to_vec(),
            });
            let mut follower = Follower::new(bed.clone(), limits.clone());
            let all = query(&doc! {}, &doc! {}, None);
            let (mut users, mut join) = Watched::open(&bed, all.clone(), &limits);
            join.subscriber.user = Some(ann.clone());
            let (mut administrators, other) = Watched::open(&bed, all, &limits);
            let mut joins = vec![other, join];
            if joined_before {
                follower.work(std::mem::take(&mut joins));
            }
            bed.insert(&[doc! { "_id": "before" }]);
            act(&bed);
            bed.insert(&[doc! { "_id": "behind" }]);
            follower.work(joins);
            settle(&mut follower);
            administrators.receive();
            assert_eq!(administrators.client.documents.len(), 2);
            if let Some(code) = code {
                let messages = users.texts();
                let told = messages.last().expect("the end");
                assert!(told.contains(code), "{told}");
                assert!(
                    messages.iter().all(|text| !text.contains("behind")),
                    "{messages:?}"
                );
            } else {
                users.receive();
                assert_eq!(users.client.documents.len(), 2);
            }
        }
    }
}
