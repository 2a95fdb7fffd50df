//! `watch`: a subscriber rebuilds a collection from the events of a watch alone, over any number of sockets and nodes, and
//! in the end has what the collection has.
//!
//! The subscriber lives beside the clients, so this workload does keep something: the subscriber's copy.

mod subscriber;

use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use yunbase_client::bson::{Bson, Document, doc};
use yunbase_client::{Collection, filter, update};

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, rebuilt};
use crate::history::Value;
use subscriber::Subscriber;

const COLLECTION: &str = "watched";
/// Versions of a document: it comes with the first and, unless it is one of those that stay, goes with the last.
const VERSIONS: u64 = 4;
/// One document in so many stays.
const STAYS: i64 = 5;
/// The last write, which the subscriber must have seen.
const SEAL: i64 = -1;
/// How long the subscriber may take to see it.
const SEAL_MAX: Duration = Duration::from_secs(10);
const SEAL_PAUSE: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Default)]
pub(super) struct Watch {
    subscriber: Mutex<Option<Subscriber>>,
}

impl Watch {
    /// What the subscriber was told, once it has seen the seal.
    async fn told(&self) -> Outcome {
        let given_up = tokio::time::Instant::now() + SEAL_MAX;
        loop {
            let told = self
                .subscriber
                .lock()
                .as_ref()
                .and_then(|one| one.told(SEAL));
            match told {
                Some(Ok(events)) => return Outcome::Ok(Value::List(events)),
                // Nothing that may be: the judge does not know such an event.
                Some(Err(problem)) => return Outcome::Ok(Value::Text(problem)),
                None if tokio::time::Instant::now() > given_up => {
                    return Outcome::Fail("the subscriber has not seen the last write".into());
                }
                None => tokio::time::sleep(SEAL_PAUSE).await,
            }
        }
    }
}

/// The last write.
fn seal() -> Value {
    Value::ints([SEAL, 1])
}

/// What happens to the documents.
async fn change(watched: &Collection<Document>, step: &Step) -> Outcome {
    let Some([Value::Int(id), Value::Int(version)]) = step.value.as_list() else {
        return Outcome::Fail("not a step of this workload".into());
    };
    let changed = match (step.f, version) {
        ("remove", _) => watched.delete_one(filter::id(*id)).await,
        (_, 1) => watched
            .insert_one(&doc! { "_id": *id, "v": *version })
            .await
            .map(|_| 1),
        _ => watched
            .update_one(filter::id(*id), update::set("v", *version))
            .await
            .map(|updated| updated.matched),
    };
    match changed {
        Ok(0) => Outcome::Fail("it is not there".into()),
        Ok(_) => Outcome::Ok(step.value.clone()),
        Err(error) => Outcome::of_error(&error),
    }
}

impl Workload for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn about(&self) -> &'static str {
        "what a subscriber rebuilds from events is the collection: none lost, repeated, reordered"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move {
            session.client.create_collection(COLLECTION).await?;
            let mut subscriber = self.subscriber.lock();
            if subscriber.is_none() {
                *subscriber = Some(Subscriber::start(
                    session.http.clone(),
                    session.client.env(),
                    COLLECTION,
                ));
            }
            Ok(())
        })
    }

    fn next(&self, _rng: &mut StdRng, place: Place) -> Step {
        let turn = place.step / VERSIONS;
        let version = place.step % VERSIONS + 1;
        let id = Place {
            step: turn,
            ..place
        }
        .unique();
        let f = match version == VERSIONS && id % STAYS != 0 {
            true => "remove",
            false => "write",
        };
        Step::new(f, Value::ints([id, version as i64]))
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let watched = session.client.collection::<Document>(COLLECTION);
            let found = match (step.f, &step.value) {
                // Once for each node, so it may be there already.
                ("write", value) if *value == seal() => {
                    let sealed = watched.put(SEAL, &doc! { "_id": SEAL, "v": 1_i64 }).await;
                    sealed.map(|_| seal())
                }
                ("watch", _) => return self.told().await,
                ("final-read", _) => watched.find(filter::all()).all().await.map(|documents| {
                    let pair = |document: &Document| {
                        let number = |name| document.get(name).and_then(Bson::as_i64);
                        Some(Value::ints([number("_id")?, number("v")?]))
                    };
                    Value::List(documents.iter().filter_map(pair).collect())
                }),
                _ => return change(&watched, step).await,
            };
            found.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![
            Step::new("write", seal()),
            Step::bare("final-read"),
            Step::bare("watch"),
        ]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(rebuilt::Rebuilt::default())
    }
}
