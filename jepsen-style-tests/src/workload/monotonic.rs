//! `monotonic`: what a process reads of a number that only grows never goes back, whatever replica answers.

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::bson::Document;
use yunbase_client::{filter, update};

use super::counter::{COLLECTION, make, of, read, value};
use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, monotonic};
use crate::history::Value;

const COUNTER: &str = "growing";

/// See the module.
pub(super) struct Monotonic;

impl Workload for Monotonic {
    fn name(&self) -> &'static str {
        "monotonic"
    }

    fn about(&self) -> &'static str {
        "no process sees the past after the present, whatever replica it reads"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(make(session, COUNTER))
    }

    fn next(&self, rng: &mut StdRng, _place: Place) -> Step {
        match rng.random_bool(0.7) {
            true => read(COUNTER),
            false => Step::new("inc", of(COUNTER, Value::Nil)),
        }
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let outcome = match step.f {
                "inc" => session
                    .client
                    .collection::<Document>(COLLECTION)
                    .update_one(filter::id(COUNTER), update::inc("n", 1_i64))
                    .await
                    .map(|_| step.value.clone()),
                _ => value(session, COUNTER)
                    .await
                    .map(|n| of(COUNTER, Value::Int(n))),
            };
            outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![read(COUNTER)]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(monotonic::Monotonic::across_processes())
    }
}
