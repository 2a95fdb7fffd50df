//! `ttl`: documents under a time-to-live index vanish after their time and never before.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::Index as Definition;
use yunbase_client::bson::{DateTime, Document, doc};

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, ttl};
use crate::history::Value;

const COLLECTION: &str = "fleeting";
/// What the index adds to a document's own time.
const LIFE: Duration = Duration::from_secs(2);
/// Lives in the run, and beyond it.
const LIVES_MS: std::ops::Range<i64> = 2000..6000;
const LONG_LIFE_MS: i64 = 3_600_000;
/// How many steps back documents are looked at.
const STEPS_BACK: u64 = 2000;
/// How early by the history's clock, how late a document may go: the clocks are those of one machine here; passes of the
/// sweep, elections and a busy machine come on top.
const EARLY_MS: u64 = 500;
const LATE_MS: u64 = 60_000;

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
            fleeting
                .create_index(&Definition::ascending("at").expire_after(LIFE))
                .await
        })
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        if place.step > 0 && rng.random_bool(0.5) {
            let back = rng.random_range(1..=place.step.min(STEPS_BACK));
            let client = rng.random_range(0..place.clients);
            let other = Place {
                client,
                step: place.step - back,
                ..place
            };
            return Step::new(
                "read",
                Value::List(vec![Value::Int(other.unique()), Value::Nil]),
            );
        }
        // Some live longer than the run, and must be there to its end.
        let life_ms = match rng.random_bool(0.3) {
            true => LONG_LIFE_MS,
            false => rng.random_range(LIVES_MS),
        };
        Step::new("insert", Value::ints([place.unique(), life_ms]))
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let fleeting = session.client.collection::<Document>(COLLECTION);
            let outcome = match step.value.as_list() {
                Some([Value::Int(id), Value::Int(life_ms)]) => {
                    let at = now_ms() + life_ms - LIFE.as_millis() as i64;
                    let document = doc! { "_id": *id, "at": DateTime::from_millis(at) };
                    let inserted = fleeting.insert_one(&document).await;
                    inserted.map(|_| step.value.clone())
                }
                Some([Value::Int(id), _]) => fleeting
                    .get(*id)
                    .await
                    .map(|found| Value::List(vec![Value::Int(*id), Value::Bool(found.is_some())])),
                _ => return Outcome::Fail("not a step of this workload".into()),
            };
            outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        Vec::new()
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(ttl::Ttl::new(EARLY_MS, LATE_MS))
    }
}
