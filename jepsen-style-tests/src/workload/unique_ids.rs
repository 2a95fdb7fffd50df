//! `unique-ids`: documents without an `_id` get one each, and no two the same.

use futures::future::BoxFuture;
use rand::rngs::StdRng;

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, unique_ids};
use crate::history::Value;

const COLLECTION: &str = "named";

/// See the module.
pub(super) struct UniqueIds;

impl Workload for UniqueIds {
    fn name(&self) -> &'static str {
        "unique-ids"
    }

    fn about(&self) -> &'static str {
        "ids that nodes make are never made twice"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move { session.client.create_collection(COLLECTION).await })
    }

    fn next(&self, _rng: &mut StdRng, _place: Place) -> Step {
        Step::bare("generate")
    }

    fn carry_out<'a>(&'a self, session: &'a Session, _step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            // Over HTTP the node makes the id.
            let body = serde_json::json!({ "data": [{ "n": 1 }] });
            let path = format!("/collections/{COLLECTION}/documents");
            match session.http.call("POST", &path, Some(body)).await {
                Ok(answer) => match first_id(&answer) {
                    Some(id) => Outcome::Ok(Value::Text(id)),
                    None => Outcome::Info(format!("an answer without an id: {answer}")),
                },
                Err(failed) => Outcome::of_failed(failed),
            }
        })
    }

    fn last(&self) -> Vec<Step> {
        Vec::new()
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(unique_ids::UniqueIds)
    }
}

fn first_id(answer: &serde_json::Value) -> Option<String> {
    let id = &answer["insertedIds"][0];
    id.as_str().map(str::to_owned)
}
