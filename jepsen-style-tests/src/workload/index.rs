//! `index`: inserts, moves and removals under a unique index; it never holds two, and in the end says the same as a scan.

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use yunbase_client::bson::{Bson, Document, doc};
use yunbase_client::{Collection, Index as Definition, filter, update};

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, index};
use crate::history::Value;

const COLLECTION: &str = "seats";
const SEATS: i64 = 200;
/// Every seat is below it and above its negative, so a query by the index finds all.
const ALL: i64 = 1_000_000;

/// See the module.
pub(super) struct Index;

/// `[[id seat] ...]`
pub(super) fn pairs(documents: &[Document]) -> Value {
    let number = |document: &Document, name| document.get(name).and_then(Bson::as_i64);
    let pair = |document: &Document| {
        let pair = [number(document, "_id")?, number(document, "seat")?];
        Some(Value::ints(pair))
    };
    Value::List(documents.iter().filter_map(pair).collect())
}

/// The same documents, seen in both ways.
pub(super) fn both(scan: &[Document], index: &[Document]) -> Value {
    let members = [("scan", pairs(scan)), ("index", pairs(index))];
    Value::Map(members.map(|(name, pairs)| (name.to_owned(), pairs)).into())
}

/// What a client does next: each of its documents comes, moves to another seat, and mostly goes, whatever became of the step
/// before. So it needs nothing but its place to know what it asks for.
pub(super) fn next(place: Place, seats: std::ops::Range<i64>) -> Step {
    let (turn, phase) = (place.step / 3, place.step % 3);
    let id = Place {
        step: turn,
        ..place
    }
    .unique();
    // Two seats that the number alone decides.
    let seat = |of: i64| {
        let mixed = (id * 2 + of)
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .rotate_right(33);
        seats.start + mixed.rem_euclid(seats.end - seats.start)
    };
    match phase {
        0 => Step::new("insert", Value::ints([id, seat(0)])),
        1 => Step::new("update", Value::ints([id, seat(0), seat(1)])),
        _ => Step::new("remove", Value::ints([id, seat(1)])),
    }
}

/// Does it.
pub(super) async fn carry_out(seats: &Collection<Document>, step: &Step) -> Outcome {
    let held = |id: &i64, seat: &i64| filter::id(*id).and(filter::eq("seat", *seat));
    let changed = match (step.f, step.value.as_list()) {
        ("insert", Some([Value::Int(id), Value::Int(seat)])) => seats
            .insert_one(&doc! { "_id": *id, "seat": *seat })
            .await
            .map(|_| 1),
        ("update", Some([Value::Int(id), Value::Int(old), Value::Int(new)])) => seats
            .update_one(held(id, old), update::set("seat", *new))
            .await
            .map(|updated| updated.matched),
        ("remove", Some([Value::Int(id), Value::Int(seat)])) => {
            seats.delete_one(held(id, seat)).await
        }
        _ => return Outcome::Fail("not a step of this workload".into()),
    };
    match changed {
        Ok(0) => Outcome::Fail("it is not there".into()),
        Ok(_) => Outcome::Ok(step.value.clone()),
        Err(error) => Outcome::of_error(&error),
    }
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
            seats
                .create_index(&Definition::ascending("seat").unique())
                .await
        })
    }

    fn next(&self, _rng: &mut StdRng, place: Place) -> Step {
        // Negative ones too: their order in the index is a case of its own.
        next(place, -SEATS..SEATS)
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let seats = session.client.collection::<Document>(COLLECTION);
            if step.f != "check" {
                return carry_out(&seats, step).await;
            }
            let by_index = filter::gt("seat", -ALL).and(filter::lt("seat", ALL));
            let both_ways = async {
                let scan = seats.find(filter::all()).all().await?;
                let index = seats.find(by_index).sort_by("seat").all().await?;
                Ok(both(&scan, &index))
            };
            let outcome: yunbase_client::Result<Value> = both_ways.await;
            outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![Step::bare("check")]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(index::Index::default())
    }
}
