//! `index-build`: an index is made, dropped and made again while documents come and go, and nodes die; whenever it is
//! there, it finds what was written while it was built, and says the same as a scan.

use std::time::Duration;

use futures::future::BoxFuture;
use rand::rngs::StdRng;
use yunbase_client::bson::{Document, doc};
use yunbase_client::{Collection, Index as Definition, filter};

use super::index::{NAME, Turns, both_ways, carry_out, compared};
use super::{Place, Step, Workload};
use crate::access::{Outcome, Session};
use crate::check::{Checker, index};
use crate::history::Value;

const COLLECTION: &str = "built";
/// There before the first index, so that building it takes a while.
const DOCUMENTS: i64 = 10_000;
const BATCH: i64 = 1000;
/// Seats that are looked for at once: so few that the index is the better way.
const PART: i64 = 500;
/// The index is made anew every so many steps of one client.
const REBUILD_STEPS: u64 = 20;
/// One document of so many never goes, so that the end shows what a build has missed.
const KEPT_EVERY: u64 = 3;
/// How long a build is waited for in the end.
const BUILD_PAUSE: Duration = Duration::from_millis(200);

/// See the module.
pub(super) struct IndexBuild;

fn definition() -> Definition {
    Definition::ascending("seat").named(NAME)
}

impl IndexBuild {
    fn turns() -> Turns {
        Turns {
            seats: 0..DOCUMENTS,
            kept_every: KEPT_EVERY,
            // A build goes through the `_id`s upwards, so it has passed these with its first step: an index that does not
            // hear of writes while it is built never learns of them.
            id: |number| -1 - number,
        }
    }
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
        match (place.client, place.step % REBUILD_STEPS) {
            (0, 0) => Step::bare("drop-index"),
            (0, 1) => Step::bare("create-index"),
            _ => Self::turns().next(rng, place),
        }
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let built = session.client.collection::<Document>(COLLECTION);
            let outcome = match step.f {
                "create-index" => built.create_index(&definition()).await,
                "drop-index" => built.drop_index(NAME).await,
                "check" => return compared(check(&built).await),
                _ => return carry_out(&built, step).await,
            };
            outcome.map_or_else(
                |error| Outcome::of_error(&error),
                |()| Outcome::Ok(Value::Nil),
            )
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![Step::bare("check")]
    }

    fn checker(&self) -> Box<dyn Checker> {
        Box::new(index::Index::with_repeating_keys())
    }
}

/// All documents both ways. The index is made if it is not there, and waited for until queries use it.
async fn check(built: &Collection<Document>) -> yunbase_client::Result<Option<Value>> {
    let is_it = |index: &Document| index.get_str("name").is_ok_and(|name| name == NAME);
    if !built.list_indexes().await?.iter().any(is_it) {
        built.create_index(&definition()).await?;
    }
    let compared = both_ways(built, 0..DOCUMENTS, PART).await?;
    if compared.is_none() {
        // It is still being built; the look is repeated.
        tokio::time::sleep(BUILD_PAUSE).await;
    }
    Ok(compared)
}
