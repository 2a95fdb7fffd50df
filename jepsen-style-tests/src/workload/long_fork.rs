//! `long-fork`: single writes, and reads of a few keys by one query; no two reads disagree on which write came first.

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::bson::{Bson, Document, doc};
use yunbase_client::filter;

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, long_fork};
use crate::history::Value;

const COLLECTION: &str = "forks";
/// Keys that are read together.
const GROUP: i64 = 3;
/// Steps for which a group is read.
const STEPS_PER_GROUP: i64 = 60;

/// See the module.
pub(super) struct LongFork;

fn id(key: i64) -> String {
    format!("f{key}")
}

/// The keys of a group with their values, `[[k v] ...]`.
async fn read(session: &Session, keys: &[i64]) -> yunbase_client::Result<Value> {
    let names: Vec<String> = keys.iter().copied().map(id).collect();
    let found = session
        .client
        .collection::<Document>(COLLECTION)
        .find(filter::is_in("_id", names))
        .all()
        .await?;
    let of_key = |key: i64| {
        let is_it =
            |document: &&Document| document.get_str("_id").is_ok_and(|name| name == id(key));
        let document = found.iter().find(is_it);
        document.and_then(|document| document.get("v").and_then(Bson::as_i64))
    };
    let each = |key: &i64| {
        let value = of_key(*key).map_or(Value::Nil, Value::Int);
        Value::List(vec![Value::Int(*key), value])
    };
    Ok(Value::List(keys.iter().map(each).collect()))
}

impl Workload for LongFork {
    fn name(&self) -> &'static str {
        "long-fork"
    }

    fn about(&self) -> &'static str {
        "no two readers disagree on the order of two writes"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move { session.client.create_collection(COLLECTION).await })
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        let group = place.progress() / STEPS_PER_GROUP;
        // Each key is written once: by the client whose turn it is in this round of the group.
        let round = place.progress() % STEPS_PER_GROUP / i64::try_from(place.clients).unwrap_or(1);
        let key = group * GROUP + i64::try_from(place.client).unwrap_or(0);
        let may_write = i64::try_from(place.client).unwrap_or(0) < GROUP && round == 1;
        if may_write {
            return Step::new("write", Value::ints([key, 1]));
        }
        // Now and then an older group, whose order must stay as it was.
        let group = match rng.random_bool(0.1) {
            true => (group - 1).max(0),
            false => group,
        };
        let reads = (group * GROUP..(group + 1) * GROUP)
            .map(|key| Value::List(vec![Value::Int(key), Value::Nil]));
        Step::new("read", Value::List(reads.collect()))
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let outcome = match (step.f, step.value.as_list()) {
                ("write", Some([Value::Int(key), value])) => session
                    .client
                    .collection(COLLECTION)
                    .put(id(*key), &doc! { "_id": id(*key), "v": value.as_int() })
                    .await
                    .map(|_| step.value.clone()),
                (_, reads) => {
                    let key = |read: &Value| read.as_list()?.first()?.as_int();
                    let keys = reads.unwrap_or_default().iter().filter_map(key);
                    read(session, &keys.collect::<Vec<_>>()).await
                }
            };
            outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        Vec::new()
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(long_fork::LongFork)
    }
}
