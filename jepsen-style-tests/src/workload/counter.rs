//! `counter`: increments of one number; each read lies between what was acknowledged and what may have happened.

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::bson::{Bson, Document, doc};
use yunbase_client::{filter, update};

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, counter};
use crate::history::Value;

pub(super) const COLLECTION: &str = "counters";
const COUNTER: &str = "c";
const AMOUNT_MAX: i64 = 5;

/// See the module.
pub(super) struct Counter;

/// `[counter value]`
pub(super) fn of(counter: &str, value: Value) -> Value {
    Value::List(vec![Value::Text(counter.to_owned()), value])
}

/// Reads a counter.
pub(super) fn read(counter: &str) -> Step {
    Step::new("read", of(counter, Value::Nil))
}

/// What a counter holds.
pub(super) async fn value(session: &Session, id: &str) -> yunbase_client::Result<i64> {
    let found = session
        .client
        .collection::<Document>(COLLECTION)
        .get(id)
        .await?;
    let value = found.and_then(|document| document.get("n").and_then(Bson::as_i64));
    Ok(value.unwrap_or(0))
}

/// Makes a counter that holds nothing.
pub(super) async fn make(session: &Session, id: &str) -> yunbase_client::Result<()> {
    session.client.create_collection(COLLECTION).await?;
    let counters = session.client.collection::<Document>(COLLECTION);
    let zero = doc! { "_id": id, "n": 0_i64 };
    counters.put(id, &zero).await.map(drop)
}

impl Workload for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn about(&self) -> &'static str {
        "increments are neither lost nor counted twice"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(make(session, COUNTER))
    }

    fn next(&self, rng: &mut StdRng, _place: Place) -> Step {
        match rng.random_bool(0.3) {
            true => read(COUNTER),
            false => Step::new(
                "inc",
                of(COUNTER, Value::Int(rng.random_range(1..=AMOUNT_MAX))),
            ),
        }
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let outcome = match step.value.as_list() {
                Some([_, Value::Int(amount)]) => session
                    .client
                    .collection::<Document>(COLLECTION)
                    .update_one(filter::id(COUNTER), update::inc("n", *amount))
                    .await
                    .map(|_| step.value.clone()),
                _ => value(session, COUNTER)
                    .await
                    .map(|n| of(COUNTER, Value::Int(n))),
            };
            outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![read(COUNTER)]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(counter::Counter)
    }
}
