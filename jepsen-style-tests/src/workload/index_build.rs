//! `index-build`: an index is made, dropped and made again while documents come and go, and nodes die; whenever it is
//! there, it says the same as a scan.

use std::time::Duration;

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use yunbase_client::bson::{Document, doc};
use yunbase_client::{Collection, Index as Definition, filter};

use super::index::{both, carry_out, next};
use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, index};
use crate::history::Value;

const COLLECTION: &str = "built";
/// There before the first index, so that building it takes a while.
const DOCUMENTS: i64 = 10_000;
const BATCH: i64 = 1000;
/// Seats that are looked for at once.
const PART: i64 = 500;
const NAME: &str = "by_seat";
/// Numbers of documents that come later.
const LATER: i64 = 10_000_000;
/// How long a build is waited for in the end.
const BUILD_PAUSE: Duration = Duration::from_millis(200);

/// See the module.
pub(super) struct IndexBuild;

fn definition() -> Definition {
    Definition::ascending("seat").named(NAME)
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
        match (place.client, rng.random_range(0..20)) {
            (0, 0) => Step::bare("create-index"),
            (0, 1) => Step::bare("drop-index"),
            _ => later(&next(place, 0..DOCUMENTS)),
        }
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let built = session.client.collection::<Document>(COLLECTION);
            let outcome = match step.f {
                "create-index" => built.create_index(&definition()).await.map(|()| Value::Nil),
                "drop-index" => built.drop_index(NAME).await.map(|()| Value::Nil),
                "check" => check(&built).await,
                _ => return carry_out(&built, step).await,
            };
            outcome.map_or_else(|error| Outcome::of_error(&error), Outcome::Ok)
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![Step::bare("check")]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(index::Index::with_repeating_keys())
    }
}

/// The same step with a document that was not there before.
fn later(step: &Step) -> Step {
    let parts = step.value.as_list().unwrap_or_default().iter();
    let moved = parts.enumerate().map(|(at, part)| match (at, part) {
        (0, Value::Int(id)) => Value::Int(LATER + id),
        (_, part) => part.clone(),
    });
    Step::new(step.f, Value::List(moved.collect()))
}

/// All documents both ways. The index is made if it is not there, and waited for until queries use it.
async fn check(built: &Collection<Document>) -> yunbase_client::Result<Value> {
    let is_it = |index: &Document| index.get_str("name").is_ok_and(|name| name == NAME);
    if !built.list_indexes().await?.iter().any(is_it) {
        built.create_index(&definition()).await?;
    }
    // Narrow enough that the index is the better way.
    let part = |from: i64| {
        let narrow = filter::gte("seat", from).and(filter::lt("seat", from + PART));
        built.find(narrow).sort_by("seat")
    };
    // The caller's own bound ends this, should it never come.
    while !part(0).explain().await?.to_string().contains(NAME) {
        tokio::time::sleep(BUILD_PAUSE).await;
    }
    let mut index = Vec::new();
    for from in (0..DOCUMENTS).step_by(PART as usize) {
        index.extend(part(from).all().await?);
    }
    let scan = built.find(filter::all()).all().await?;
    Ok(both(&scan, &index))
}
