//! `ttl`: documents under a time-to-live index vanish after their time and never before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::bson::{DateTime, Document, doc};
use yunbase_client::{Index as Definition, filter};

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, ttl};
use crate::history::Value;

const COLLECTION: &str = "fleeting";
/// How long documents live after their time stamp.
const LIFE: Duration = Duration::from_secs(4);
/// How long after their time they may still be found: passes of the sweep, an election, and a busy machine.
const GRACE: Duration = Duration::from_secs(30);

/// See the module.
pub(super) struct Ttl;

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

impl Workload for Ttl {
    fn name(&self) -> &'static str {
        "ttl"
    }

    fn about(&self) -> &'static str {
        "documents vanish after their time, and none before"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move {
            session.client.create_collection(COLLECTION).await?;
            let fleeting = session.client.collection::<Document>(COLLECTION);
            fleeting.create_index(&Definition::ascending("at").expire_after(LIFE)).await
        })
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        match rng.random_ratio(1, 10) {
            true => Step::bare("read"),
            // Some live longer than the run, and must all be there in the end.
            false => {
                let lives_ms = match rng.random_bool(0.3) {
                    true => 3_600_000,
                    false => rng.random_range(0..3000),
                };
                Step::new("add", Value::ints([place.unique(), lives_ms]))
            }
        }
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let fleeting = session.client.collection::<Document>(COLLECTION);
            let outcome = match step.value.as_list() {
                Some([Value::Int(id), Value::Int(lives_ms)]) => {
                    let at = now_ms() + lives_ms;
                    let at = DateTime::from_millis(at);
                    let document = doc! { "_id": *id, "at": at };
                    let due = at.timestamp_millis() + LIFE.as_millis() as i64;
                    fleeting
                        .insert_one(&document)
                        .await
                        .map(|_| Value::ints([*id, due]))
                }
                _ => {
                    let (began, found) = (now_ms(), fleeting.find(filter::all()).all().await);
                    found.map(|documents| {
                        let ids = documents.iter().filter_map(|document| document.get_i64("_id").ok());
                        let members = [("from", Value::Int(began)), ("to", Value::Int(now_ms())), ("ids", Value::ints(ids))];
                        Value::Map(members.map(|(name, value)| (name.to_owned(), value)).into())
                    })
                }
            };
            outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![Step::bare("read")]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(ttl::Ttl { grace_ms: GRACE.as_millis() as i64 })
    }
}
