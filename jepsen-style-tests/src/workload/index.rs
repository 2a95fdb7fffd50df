//! `index`: inserts, moves and removals under a unique index; it never holds two, finds what is there, and in the end says
//! the same as a scan.

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::bson::{Bson, Document, doc};
use yunbase_client::{Collection, Index as Definition, filter, update};

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, index};
use crate::history::Value;

const COLLECTION: &str = "seats";
/// Name of the index, here and in `index-build`.
pub(super) const NAME: &str = "by_seat";
const SEATS: i64 = 200;
/// Seats that are looked for at once: so few that the index is the better way.
const PART: i64 = 10;
/// Documents that come with each answer: a busy machine must get through all of them within a step.
const PAGE_DOCUMENTS: u64 = 1000;
/// A document goes so many turns after it came: until then whoever wants its seat is refused, and what the index lost
/// is missed.
const STAYS_TURNS: u64 = 8;
/// In one turn of so many all clients want the same seat.
const RUSH_EVERY: u64 = 4;
/// Steps of a turn.
const PHASES: u64 = 4;

/// See the module.
pub(super) struct Index;

/// What clients do with their documents.
pub(super) struct Turns {
    /// The seats.
    pub(super) seats: std::ops::Range<i64>,
    /// One document of so many never goes; 0: all go.
    pub(super) kept_every: u64,
    /// The `_id` of the document of this number.
    pub(super) id: fn(i64) -> i64,
}

/// `[[id seat] ...]`
fn pairs(documents: &[Document]) -> Value {
    let number = |document: &Document, name| document.get(name).and_then(Bson::as_i64);
    let pair = |document: &Document| {
        let pair = [number(document, "_id")?, number(document, "seat")?];
        Some(Value::ints(pair))
    };
    Value::List(documents.iter().filter_map(pair).collect())
}

/// A document of a client: its `_id`, the seat it comes with and the one it moves to.
struct Guest {
    id: i64,
    seats: [i64; 2],
}

impl Turns {
    /// The document that the client has in this turn. Its place alone decides everything about it, so that a client knows
    /// what it asks for whatever became of the steps before.
    fn guest(&self, place: Place, turn: u64) -> Guest {
        let number = Place {
            step: turn,
            ..place
        }
        .unique();
        let seat = |from: i64| {
            let mixed = from.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_right(33);
            self.seats.start + mixed.rem_euclid(self.seats.end - self.seats.start)
        };
        let first = match turn % RUSH_EVERY {
            0 => seat(-1 - i64::try_from(turn).unwrap_or(0)),
            _ => seat(number * 2),
        };
        Guest {
            id: (self.id)(number),
            seats: [first, seat(number * 2 + 1)],
        }
    }

    /// What a client does next: each of its documents comes, moves to another seat, and mostly goes a few turns later;
    /// meanwhile it is looked for by its seat.
    pub(super) fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        let (turn, phase) = (place.step / PHASES, place.step % PHASES);
        let Guest {
            id,
            seats: [first, second],
        } = self.guest(place, turn);
        match phase {
            0 => return Step::new("insert", Value::ints([id, first])),
            1 => return Step::new("update", Value::ints([id, first, second])),
            _ => {}
        }
        if phase == 3
            && let Some(gone) = turn.checked_sub(STAYS_TURNS)
            && (self.kept_every == 0 || gone % self.kept_every != 0)
        {
            let Guest { id, seats } = self.guest(place, gone);
            return Step::new("remove", Value::ints([id, seats[0], seats[1]]));
        }
        let back = rng.random_range(0..STAYS_TURNS);
        let sought = self.guest(place, turn.saturating_sub(back)).seats[1];
        Step::new("find", Value::List(vec![Value::Int(sought), Value::Nil]))
    }
}

/// Does it.
pub(super) async fn carry_out(seats: &Collection<Document>, step: &Step) -> Outcome {
    let changed = match (step.f, step.value.as_list()) {
        ("find", Some([Value::Int(seat), _])) => return find(seats, *seat).await,
        ("insert", Some([Value::Int(id), Value::Int(seat)])) => seats
            .insert_one(&doc! { "_id": *id, "seat": *seat })
            .await
            .map(|_| 1),
        ("update", Some([Value::Int(id), Value::Int(old), Value::Int(new)])) => {
            let held = filter::id(*id).and(filter::eq("seat", *old));
            let updated = seats.update_one(held, update::set("seat", *new)).await;
            updated.map(|updated| updated.matched)
        }
        ("remove", Some([Value::Int(id), ..])) => seats.delete_one(filter::id(*id)).await,
        _ => return Outcome::Fail("not a step of this workload".into()),
    };
    match changed {
        Ok(0) => Outcome::Fail("it is not there".into()),
        Ok(_) => Outcome::Ok(step.value.clone()),
        Err(error) => Outcome::of_error(&error),
    }
}

async fn find(seats: &Collection<Document>, seat: i64) -> Outcome {
    match seats.find(filter::eq("seat", seat)).all().await {
        Ok(found) => {
            let ids = found
                .iter()
                .filter_map(|document| document.get("_id").and_then(Bson::as_i64));
            Outcome::Ok(Value::List(vec![Value::Int(seat), Value::ints(ids)]))
        }
        Err(error) if is_broken(&error) => {
            let said = Value::Text(error.to_string());
            Outcome::Ok(Value::List(vec![Value::Int(seat), said]))
        }
        Err(error) => Outcome::of_error(&error),
    }
}

/// What a node says of an index that names a document that is not there.
const NAMES_NOTHING: &str = "names a document that does not exist";

/// Whether a node says that the index is broken. It says so for good: this is no fault of the network or of a disk.
fn is_broken(error: &yunbase_client::Error) -> bool {
    error.message().contains(NAMES_NOTHING)
}

/// All documents by the index, a few seats at a time, and by a scan; `None` when a part did not go by the index.
pub(super) async fn both_ways(
    documents: &Collection<Document>,
    seats: std::ops::Range<i64>,
    part: i64,
) -> yunbase_client::Result<Option<Value>> {
    let mut index = Vec::new();
    for from in seats.step_by(usize::try_from(part).unwrap_or(1)) {
        let narrow = filter::gte("seat", from).and(filter::lt("seat", from + part));
        let found = documents
            .find(narrow)
            .sort_by("seat")
            .page_documents(PAGE_DOCUMENTS);
        let read = async {
            let plan = found.explain().await?;
            Ok((plan, found.all().await?))
        };
        let (plan, found) = match read.await {
            Ok(read) => read,
            Err(error) if is_broken(&error) => {
                let said = ("broken".to_owned(), Value::Text(error.to_string()));
                return Ok(Some(Value::Map(vec![said])));
            }
            Err(error) => return Err(error),
        };
        if plan.get_str("index").ok() != Some(NAME) {
            return Ok(None);
        }
        index.extend(found);
    }
    let scan = documents
        .find(filter::all())
        .page_documents(PAGE_DOCUMENTS)
        .all()
        .await?;
    let members = [("scan", pairs(&scan)), ("index", pairs(&index))];
    let named = members.map(|(name, pairs)| (name.to_owned(), pairs));
    Ok(Some(Value::Map(named.into())))
}

/// What came of [`both_ways`].
pub(super) fn compared(outcome: yunbase_client::Result<Option<Value>>) -> Outcome {
    match outcome {
        Ok(Some(value)) => Outcome::Ok(value),
        Ok(None) => Outcome::Fail("the query did not go by the index".into()),
        Err(error) => Outcome::of_error(&error),
    }
}

impl Index {
    fn turns() -> Turns {
        Turns {
            // Negative ones too: their order in the index is a case of its own.
            seats: -SEATS..SEATS,
            kept_every: 0,
            id: |number| number,
        }
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
                .create_index(&Definition::ascending("seat").named(NAME).unique())
                .await
        })
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        Self::turns().next(rng, place)
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let seats = session.client.collection::<Document>(COLLECTION);
            match step.f {
                "check" => compared(both_ways(&seats, -SEATS..SEATS, PART).await),
                _ => carry_out(&seats, step).await,
            }
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![Step::bare("check")]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(index::Index::default())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    const CLIENTS: u64 = 3;

    fn steps(turns: &Turns, client: u64, count: u64) -> Vec<Step> {
        let mut rng = StdRng::seed_from_u64(1);
        let place = |step| Place {
            client,
            clients: CLIENTS,
            step,
        };
        (0..count)
            .map(|step| turns.next(&mut rng, place(step)))
            .collect()
    }

    fn of<'s>(steps: &'s [Step], f: &str) -> Vec<&'s [Value]> {
        let chosen = steps.iter().filter(|step| step.f == f);
        chosen.filter_map(|step| step.value.as_list()).collect()
    }

    #[test]
    fn a_document_goes_some_turns_after_it_came_but_for_those_that_stay() {
        let turns = Turns {
            kept_every: 3,
            ..Index::turns()
        };
        let steps = steps(&turns, 1, 40 * PHASES);
        let came = of(&steps, "insert");
        let gone = of(&steps, "remove");
        let expected = came.iter().zip(0..40 - STAYS_TURNS);
        let expected = expected.filter(|(_, turn)| turn % 3 != 0);
        let expected: Vec<&Value> = expected.map(|(came, _)| &came[0]).collect();
        let ids: Vec<&Value> = gone.iter().map(|gone| &gone[0]).collect();
        assert_eq!(ids, expected);
        for ((came, moved), turn) in came.iter().zip(of(&steps, "update")).zip(0..) {
            assert_eq!(came[..], moved[..2], "turn {turn}");
        }
        assert!(of(&steps, "find").len() > 40);
    }

    #[test]
    fn in_a_rush_all_clients_want_the_same_seat() {
        let wanted = |client| {
            let steps = steps(&Index::turns(), client, 20 * PHASES);
            let seats: Vec<Value> = of(&steps, "insert")
                .iter()
                .map(|came| came[1].clone())
                .collect();
            seats
        };
        let (one, other) = (wanted(0), wanted(2));
        let same = one.iter().zip(&other).map(|(one, other)| one == other);
        let same: Vec<bool> = same.collect();
        assert!(same.iter().step_by(RUSH_EVERY as usize).all(|same| *same));
        assert!(same.iter().filter(|same| **same).count() < 10);
    }
}
