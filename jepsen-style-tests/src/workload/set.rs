//! `set`: adds documents; none that was acknowledged may be missing at the end, on any node. Cheap, so it always tells.

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::bson::{Bson, Document, doc};
use yunbase_client::filter;

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, set};
use crate::history::Value;

const COLLECTION: &str = "elements";

/// See the module.
pub(super) struct Set;

/// The values of the field `n` of all documents of a collection, ascending.
pub(super) async fn numbers(
    session: &Session,
    collection: &str,
) -> yunbase_client::Result<Vec<i64>> {
    let documents = session
        .client
        .collection::<Document>(collection)
        .find(filter::all())
        .all()
        .await?;
    let number = |document: &Document| document.get("n").and_then(Bson::as_i64);
    let mut numbers: Vec<i64> = documents.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

impl Workload for Set {
    fn name(&self) -> &'static str {
        "set"
    }

    fn about(&self) -> &'static str {
        "inserts; none that was acknowledged is missing at the end, none comes back to life"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move { session.client.create_collection(COLLECTION).await })
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        match rng.random_ratio(1, 50) {
            true => Step::bare("read"),
            false => Step::new("add", Value::Int(place.unique())),
        }
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let outcome = match step.value.as_int() {
                Some(n) => session
                    .client
                    .collection(COLLECTION)
                    .insert_one(&doc! { "_id": format!("e{n}"), "n": n })
                    .await
                    .map(|_| step.value.clone()),
                None => numbers(session, COLLECTION).await.map(Value::ints),
            };
            outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![Step::bare("final-read")]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(set::Set)
    }
}
