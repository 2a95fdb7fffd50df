//! `index`: inserts, moves and removals under a unique index; it never holds two, and in the end says the same as a scan.

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::bson::{Bson, Document, doc};
use yunbase_client::{Index as Definition, filter, update};

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, index};
use crate::history::Value;

const COLLECTION: &str = "seats";
const SEATS: i64 = 40;
/// Every seat is below it and above its negative, so a query by the index finds all.
const ALL: i64 = 1_000_000;

/// See the module.
pub(super) struct Index;

/// `[[id seat] ...]`, ascending.
fn pairs(documents: &[Document]) -> Value {
    let pair = |document: &Document| {
        let id = document.get_str("_id").ok()?.strip_prefix('p')?.parse().ok()?;
        let seat = document.get("seat").and_then(Bson::as_i64)?;
        Some(Value::ints([id, seat]))
    };
    let mut pairs: Vec<Value> = documents.iter().filter_map(pair).collect();
    pairs.sort();
    Value::List(pairs)
}

impl Workload for Index {
    fn name(&self) -> &'static str {
        "index"
    }

    fn about(&self) -> &'static str {
        "a unique index never holds two, and says the same as a scan of the documents"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move {
            session.client.create_collection(COLLECTION).await?;
            let seats = session.client.collection::<Document>(COLLECTION);
            seats.create_index(&Definition::ascending("seat").unique()).await
        })
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        // Negative ones too: their order in the index is a case of its own.
        let seat = rng.random_range(-SEATS..SEATS);
        let other = rng.random_range(0..=place.progress().max(1));
        match rng.random_range(0..20) {
            0..8 => Step::new("insert", Value::ints([place.unique(), seat])),
            8..11 => Step::new("move", Value::ints([other, seat])),
            11..17 => Step::new("remove", Value::Int(seat)),
            17 | 18 => Step::bare("read-by-index"),
            _ => Step::bare("read-by-scan"),
        }
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let seats = session.client.collection::<Document>(COLLECTION);
            let outcome = match (step.f, step.value.as_list()) {
                ("insert", Some([Value::Int(id), Value::Int(seat)])) => seats
                    .insert_one(&doc! { "_id": format!("p{id}"), "seat": *seat })
                    .await
                    .map(|_| step.value.clone()),
                ("move", Some([Value::Int(id), Value::Int(seat)])) => {
                    let whose = filter::id(format!("p{id}"));
                    match seats.update_one(whose, update::set("seat", *seat)).await {
                        Ok(updated) if updated.matched == 0 => {
                            return Outcome::Fail("nobody of that name".into());
                        }
                        moved => moved.map(|_| step.value.clone()),
                    }
                }
                ("remove", _) => {
                    let seat = step.value.as_int().unwrap_or_default();
                    let removed = seats.delete_one(filter::eq("seat", seat)).await;
                    removed.map(|_| step.value.clone())
                }
                ("read-by-index", _) => {
                    let by_index = filter::gt("seat", -ALL).and(filter::lt("seat", ALL));
                    let found = seats.find(by_index).sort_by("seat").all().await;
                    found.map(|documents| pairs(&documents))
                }
                _ => {
                    let found = seats.find(filter::all()).all().await;
                    found.map(|documents| pairs(&documents))
                }
            };
            outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![Step::bare("read-by-index"), Step::bare("read-by-scan")]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(index::Index)
    }
}
