//! `rw-register`: transactions that read and write registers, over documents of three collections. Weaker evidence than
//! `list-append`, by other paths: whole values instead of pushes.

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use serde_json::json;

use super::transaction::{carry_out, draw, home, make_collections};
use super::{Place, Step, Workload};
use crate::access::{Outcome, Session, number};
use crate::check::{Checker, rw_register};
use crate::history::Value;

/// Steps until the next keys.
const STEPS_PER_GENERATION: i64 = 300;
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
        Box::pin(make_collections(session))
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        draw(rng, place, "w", KEYS_FROM, STEPS_PER_GENERATION)
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
