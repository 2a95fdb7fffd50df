//! `watch`: a subscriber rebuilds a collection from the events of a watch alone, over any number of sockets and nodes, and
//! in the end has what the collection has.
//!
//! The subscriber lives beside the clients, so this workload does keep something: the subscriber's copy.

mod subscriber;

use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::bson::{Bson, Document, doc};
use yunbase_client::filter;

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, rebuilt};
use crate::history::Value;
use subscriber::Subscriber;

const COLLECTION: &str = "watched";
const DOCUMENTS: i64 = 50;
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

/// `[[id value] ...]`, ascending.
fn pairs(pairs: impl IntoIterator<Item = (i64, i64)>) -> Value {
    let mut pairs: Vec<Value> = pairs.into_iter().map(|(id, v)| Value::ints([id, v])).collect();
    pairs.sort();
    Value::List(pairs)
}

impl Watch {
    /// What the subscriber has, once it has seen the seal.
    async fn rebuilt(&self) -> Outcome {
        let given_up = tokio::time::Instant::now() + SEAL_MAX;
        loop {
            let copy = self.subscriber.lock().as_ref().map(Subscriber::copy);
            match copy {
                Some(copy) if copy.documents.contains_key(&SEAL) => {
                    if let Some(problem) = copy.problem {
                        return Outcome::Ok(Value::Text(problem));
                    }
                    return Outcome::Ok(pairs(copy.documents));
                }
                _ if tokio::time::Instant::now() > given_up => {
                    return Outcome::Fail("the subscriber has not seen the last write".into());
                }
                _ => tokio::time::sleep(SEAL_PAUSE).await,
            }
        }
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
                *subscriber = Some(Subscriber::start(session.http.clone(), session.client.env(), COLLECTION));
            }
            Ok(())
        })
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        let id = rng.random_range(0..DOCUMENTS);
        match rng.random_ratio(1, 5) {
            true => Step::new("remove", Value::Int(id)),
            false => Step::new("put", Value::ints([id, place.unique()])),
        }
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let watched = session.client.collection::<Document>(COLLECTION);
            let put = |id: i64, v: i64| {
                let watched = watched.clone();
                async move { watched.put(id, &doc! { "_id": id, "v": v }).await.map(drop) }
            };
            let outcome = match (step.f, step.value.as_list()) {
                ("put", Some([Value::Int(id), Value::Int(v)])) => {
                    put(*id, *v).await.map(|()| step.value.clone())
                }
                ("remove", _) => {
                    let id = step.value.as_int().unwrap_or_default();
                    let removed = watched.delete_one(filter::id(id)).await;
                    removed.map(|_| step.value.clone())
                }
                ("seal", _) => put(SEAL, 0).await.map(|()| Value::Nil),
                ("rebuilt", _) => return self.rebuilt().await,
                _ => watched.find(filter::all()).all().await.map(|documents| {
                    let pair = |document: &Document| {
                        let number = |name| document.get(name).and_then(Bson::as_i64);
                        Some((number("_id")?, number("v")?))
                    };
                    pairs(documents.iter().filter_map(pair))
                }),
            };
            outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        ["seal", "read", "rebuilt"].map(Step::bare).into()
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(rebuilt::Rebuilt)
    }
}
