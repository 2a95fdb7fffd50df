//! `list-append`: transactions that append to lists and read them, over documents of three collections. What each read
//! finds proves the order of all appends before it, so that any anomaly can be shown: the strongest workload there is.

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use serde_json::json;

use super::transaction::{carry_out, draw, home, make_collections};
use super::{Place, Step, Workload};
use crate::access::{Outcome, Session, number};
use crate::check::{Checker, append};
use crate::history::Value;

/// Steps until the next keys, so that lists stay short.
const STEPS_PER_GENERATION: i64 = 150;

/// See the module.
pub(super) struct ListAppend;

impl Workload for ListAppend {
    fn name(&self) -> &'static str {
        "list-append"
    }

    fn about(&self) -> &'static str {
        "transactions that append and read across collections: every anomaly, with its proof"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(make_collections(session))
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        draw(rng, place, "append", 0, STEPS_PER_GENERATION)
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(carry_out(
            &session.http,
            &step.value,
            &|open, f, key, argument| {
                let (collection, id) = home(key);
                Box::pin(async move {
                    if f == "append" {
                        let element = argument.as_int();
                        let update = json!({ "$push": { "list": element } });
                        open.upsert(collection, &id, update).await?;
                        return Ok(argument.clone());
                    }
                    let document = open.get(collection, &id).await?.unwrap_or_default();
                    let list = document["list"].as_array().map_or(&[][..], Vec::as_slice);
                    Ok(Value::ints(list.iter().filter_map(number)))
                })
            },
        ))
    }

    fn last(&self) -> Vec<Step> {
        Vec::new()
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(append::ListAppend::default())
    }
}
