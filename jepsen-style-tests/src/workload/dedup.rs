//! `dedup`: appends that would show if one took effect twice. The SDK repeats requests whose answers were lost; each counts
//! once.

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use yunbase_client::bson::{Bson, Document, doc};
use yunbase_client::{filter, update};

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, dedup};
use crate::history::Value;

const COLLECTION: &str = "requests";
const LISTS: i64 = 16;

/// See the module.
pub(super) struct Dedup;

fn id(list: i64) -> String {
    format!("q{list}")
}

/// What all lists hold.
async fn read(session: &Session) -> yunbase_client::Result<Value> {
    let lists = session
        .client
        .collection::<Document>(COLLECTION)
        .find(filter::all())
        .all()
        .await?;
    let of_list = |document: &Document| match document.get("list") {
        Some(Bson::Array(list)) => list.iter().filter_map(Bson::as_i64).collect(),
        _ => Vec::new(),
    };
    Ok(Value::ints(lists.iter().flat_map(of_list)))
}

impl Workload for Dedup {
    fn name(&self) -> &'static str {
        "dedup"
    }

    fn about(&self) -> &'static str {
        "a request that is repeated because its answer was lost takes effect once"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move {
            session.client.create_collection(COLLECTION).await?;
            let lists = session.client.collection::<Document>(COLLECTION);
            for list in 0..LISTS {
                let empty = doc! { "_id": id(list), "list": [] };
                lists.put(id(list), &empty).await?;
            }
            Ok(())
        })
    }

    fn next(&self, _rng: &mut StdRng, place: Place) -> Step {
        Step::new("request", Value::Int(place.unique()))
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let outcome = match step.value.as_int() {
                Some(request) => session
                    .client
                    .collection::<Document>(COLLECTION)
                    .update_one(
                        filter::id(id(request % LISTS)),
                        update::push("list", request),
                    )
                    .await
                    .map(|_| step.value.clone()),
                None => read(session).await,
            };
            outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![Step::bare("final-read")]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(dedup::Dedup)
    }
}
