//! `register`: read, write and compare-and-set of single documents; linearizable per key.

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::bson::{Bson, Document, doc};
use yunbase_client::{filter, update};

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, linearizable};
use crate::history::Value;

const COLLECTION: &str = "registers";
/// Keys that are in use at one time.
const KEYS: i64 = 4;
/// Steps until the next keys, so that no history of a key is too long to judge.
const STEPS_PER_GENERATION: i64 = 600;
const VALUES: i64 = 5;

/// See the module.
pub(super) struct Register;

fn id(key: i64) -> String {
    format!("r{key}")
}

impl Workload for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    fn about(&self) -> &'static str {
        "read, write, compare-and-set of single documents: stale reads, lost updates, split brain"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move { session.client.create_collection(COLLECTION).await })
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        let generation = place.progress() / STEPS_PER_GENERATION;
        let key = generation * KEYS + rng.random_range(0..KEYS);
        let of = |value| Value::List(vec![Value::Int(key), value]);
        match rng.random_range(0..5) {
            0 | 1 => Step::new("read", of(Value::Nil)),
            2 | 3 => Step::new("write", of(Value::Int(rng.random_range(0..VALUES)))),
            _ => {
                let values = [rng.random_range(0..VALUES), rng.random_range(0..VALUES)];
                Step::new("cas", of(Value::ints(values)))
            }
        }
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let Some([Value::Int(key), argument]) = step.value.as_list() else {
                return Outcome::Fail("not a register's step".into());
            };
            let registers = session.client.collection::<Document>(COLLECTION);
            let id = id(*key);
            let outcome = match (step.f, argument) {
                ("read", _) => registers.get(id).await.map(|document| {
                    let value =
                        document.and_then(|document| document.get("v").and_then(Bson::as_i64));
                    Ok(value.map_or(Value::Nil, Value::Int))
                }),
                ("write", Value::Int(value)) => registers
                    .put(id.as_str(), &doc! { "_id": id.as_str(), "v": *value })
                    .await
                    .map(|_| Ok(argument.clone())),
                ("cas", Value::List(values)) => {
                    let [Value::Int(old), Value::Int(new)] = values.as_slice() else {
                        return Outcome::Fail("not a compare-and-set".into());
                    };
                    let held = filter::id(id).and(filter::eq("v", *old));
                    let swapped = registers.update_one(held, update::set("v", *new)).await;
                    swapped.map(|updated| match updated.matched {
                        0 => Err("it held another value"),
                        _ => Ok(argument.clone()),
                    })
                }
                _ => return Outcome::Fail("not a register's step".into()),
            };
            match outcome {
                Ok(Ok(value)) => Outcome::Ok(Value::List(vec![Value::Int(*key), value])),
                Ok(Err(mismatch)) => Outcome::Fail(mismatch.into()),
                Err(error) => Outcome::of_error(&error),
            }
        })
    }

    fn last(&self) -> Vec<Step> {
        Vec::new()
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(linearizable::registers())
    }
}
