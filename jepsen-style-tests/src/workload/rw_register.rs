//! `rw-register`: transactions that read and write registers, over documents of three collections. Weaker evidence than
//! `list-append`, by other paths: whole values instead of pushes.

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::json;

use super::transaction::{COLLECTIONS, carry_out, home};
use super::{Place, Step, Workload};
use crate::access::{Outcome, Session, number};
use crate::check::{Checker, rw_register};
use crate::history::Value;

/// Keys that are in use at one time.
const KEYS: i64 = 5;
/// Steps until the next keys.
const STEPS_PER_GENERATION: i64 = 300;
const MICROS_MAX: usize = 4;
/// Apart from those of `list-append`, which may have been there before.
const KEYS_FROM: i64 = 1_000_000;

/// See the module.
pub(super) struct RwRegister;

impl Workload for RwRegister {
    fn name(&self) -> &'static str {
        "rw-register"
    }

    fn about(&self) -> &'static str {
        "transactions that read and write whole values across collections"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move {
            for collection in COLLECTIONS {
                session.client.create_collection(collection).await?;
            }
            Ok(())
        })
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        let generation = place.progress() / STEPS_PER_GENERATION;
        let micros = (0..rng.random_range(1..=MICROS_MAX)).map(|at| {
            let key = Value::Int(KEYS_FROM + generation * KEYS + rng.random_range(0..KEYS));
            match rng.random_bool(0.5) {
                true => {
                    let value = place.unique() * MICROS_MAX as i64 + at as i64;
                    Value::List(vec![Value::keyword("w"), key, Value::Int(value)])
                }
                false => Value::List(vec![Value::keyword("r"), key, Value::Nil]),
            }
        });
        Step::new("txn", Value::List(micros.collect()))
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(carry_out(
            &session.http,
            &step.value,
            &|open, f, key, argument| {
                let (collection, id) = home(key);
                Box::pin(async move {
                    if f == "w" {
                        let update = json!({ "$set": { "v": argument.as_int() } });
                        open.upsert(collection, &id, update).await?;
                        return Ok(argument.clone());
                    }
                    let document = open.get(collection, &id).await?.unwrap_or_default();
                    Ok(number(&document["v"]).map_or(Value::Nil, Value::Int))
                })
            },
        ))
    }

    fn last(&self) -> Vec<Step> {
        Vec::new()
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(rw_register::RwRegister::default())
    }
}
