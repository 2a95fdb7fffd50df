//! `index-build`: an index is made, dropped and made again while documents come and go, and nodes die; whenever it is
//! there, it says the same as a scan.

use std::time::Duration;

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::bson::{Bson, Document, doc};
use yunbase_client::{Index as Definition, filter, update};

use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, index};
use crate::history::Value;

const COLLECTION: &str = "built";
/// There before the first index, so that building it takes a while.
const DOCUMENTS: i64 = 20_000;
const BATCH: i64 = 1000;
const ALL: i64 = i64::MAX / 2;
/// Numbers of documents that come later.
const LATER: i64 = 10_000_000;
/// How long a build is waited for in the end.
const BUILD_PAUSE: Duration = Duration::from_millis(200);

/// See the module.
pub(super) struct IndexBuild;

fn definition() -> Definition {
    Definition::ascending("seat").named("by_seat")
}

/// `[[id seat] ...]`, ascending, of the documents that came later, and how many there were before.
fn pairs(documents: &[Document]) -> Value {
    let pair = |document: &Document| {
        let id = document.get("_id").and_then(Bson::as_i64)?;
        let seat = document.get("seat").and_then(Bson::as_i64)?;
        Some(Value::ints([id, seat]))
    };
    let mut pairs: Vec<Value> = documents.iter().filter_map(pair).collect();
    pairs.sort();
    Value::List(pairs)
}

impl Workload for IndexBuild {
    fn name(&self) -> &'static str {
        "index-build"
    }

    fn about(&self) -> &'static str {
        "an index that is built under writes and deaths says the same as a scan"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move {
            session.client.create_collection(COLLECTION).await?;
            let built = session.client.collection::<Document>(COLLECTION);
            let there = built.count(filter::all()).await?;
            for first in (i64::try_from(there).unwrap_or(0)..DOCUMENTS).step_by(BATCH as usize) {
                let batch: Vec<Document> = (first..(first + BATCH).min(DOCUMENTS))
                    .map(|id| doc! { "_id": id, "seat": id * 7 % DOCUMENTS })
                    .collect();
                built.insert_many(&batch).await?;
            }
            Ok(())
        })
    }

    fn next(&self, rng: &mut StdRng, place: Place) -> Step {
        let seat = rng.random_range(0..DOCUMENTS);
        let id = rng.random_range(0..DOCUMENTS);
        match (place.client, rng.random_range(0..20)) {
            (0, 0) => Step::bare("create-index"),
            (0, 1) => Step::bare("drop-index"),
            (_, 0..8) => Step::new("insert", Value::ints([LATER + place.unique(), seat])),
            (_, 8..16) => Step::new("move", Value::ints([id, seat])),
            _ => Step::new("remove", Value::Int(seat)),
        }
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let built = session.client.collection::<Document>(COLLECTION);
            let outcome = match (step.f, step.value.as_list()) {
                ("create-index", _) => built.create_index(&definition()).await.map(|()| Value::Nil),
                ("drop-index", _) => built.drop_index("by_seat").await.map(|()| Value::Nil),
                ("insert", Some([Value::Int(id), Value::Int(seat)])) => built
                    .insert_one(&doc! { "_id": *id, "seat": *seat })
                    .await
                    .map(|_| step.value.clone()),
                ("move", Some([Value::Int(id), Value::Int(seat)])) => {
                    match built.update_one(filter::id(*id), update::set("seat", *seat)).await {
                        Ok(updated) if updated.matched == 0 => {
                            return Outcome::Fail("it is not there".into());
                        }
                        moved => moved.map(|_| step.value.clone()),
                    }
                }
                ("remove", _) => {
                    let seat = step.value.as_int().unwrap_or_default();
                    let removed = built.delete_one(filter::eq("seat", seat)).await;
                    removed.map(|_| step.value.clone())
                }
                ("read-by-index", _) => by_index(session).await,
                _ => built.find(filter::all()).all().await.map(|documents| pairs(&documents)),
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

/// All documents by the index, which is made if it is not there and waited for until queries use it.
async fn by_index(session: &Session) -> yunbase_client::Result<Value> {
    let built = session.client.collection::<Document>(COLLECTION);
    let is_there = |index: &Document| index.get_str("name") == Ok("by_seat");
    if !built.list_indexes().await?.iter().any(is_there) {
        built.create_index(&definition()).await?;
    }
    let query = || {
        let all = filter::gt("seat", -ALL).and(filter::lt("seat", ALL));
        built.find(all).sort_by("seat")
    };
    // The caller's own bound ends this, should it never come.
    while !query().explain().await?.to_string().contains("by_seat") {
        tokio::time::sleep(BUILD_PAUSE).await;
    }
    query().all().await.map(|documents| pairs(&documents))
}
