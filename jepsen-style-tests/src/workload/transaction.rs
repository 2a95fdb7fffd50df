//! Carries out transactions of micro-operations over documents of several collections.

use futures::future::BoxFuture;

use rand::Rng as _;
use rand::rngs::StdRng;

use super::{Place, Step};
use crate::access::{Failed, Http, Outcome, Session, Transaction};
use crate::history::Value;

/// Keys that are in use at one time.
const KEYS: i64 = 5;
const MICROS_MAX: usize = 4;

/// Collections over which the keys are spread: a transaction is atomic across them.
const COLLECTIONS: [&str; 3] = ["txn_a", "txn_b", "txn_c"];

/// Where a key lives.
pub(super) fn home(key: i64) -> (&'static str, String) {
    let at = usize::try_from(key.rem_euclid(COLLECTIONS.len() as i64)).unwrap_or(0);
    (COLLECTIONS[at], format!("k{key}"))
}

/// Makes the collections.
pub(super) async fn make_collections(session: &Session) -> yunbase_client::Result<()> {
    for collection in COLLECTIONS {
        session.client.create_collection(collection).await?;
    }
    Ok(())
}

/// A transaction of some micro-operations, half of them reads and half of them `write`s of something unique, on keys
/// from `keys_from` on, of which there are others after each `steps` steps.
pub(super) fn draw(
    rng: &mut StdRng,
    place: Place,
    write: &'static str,
    keys_from: i64,
    steps: i64,
) -> Step {
    let generation = place.progress() / steps;
    let micros = (0..rng.random_range(1..=MICROS_MAX)).map(|at| {
        let key = Value::Int(keys_from + generation * KEYS + rng.random_range(0..KEYS));
        let (f, argument) = match rng.random_bool(0.5) {
            true => {
                let unique = place.unique() * MICROS_MAX as i64 + at as i64;
                (write, Value::Int(unique))
            }
            false => ("r", Value::Nil),
        };
        Value::List(vec![Value::keyword(f), key, argument])
    });
    Step::new("txn", Value::List(micros.collect()))
}

/// One micro-operation inside an open transaction: `[f k v]` to the same with its result.
pub(super) type Micro<'a> = dyn for<'t> Fn(&'t Transaction<'t>, &'t str, i64, &'t Value) -> BoxFuture<'t, Result<Value, Failed>>
    + Send
    + Sync
    + 'a;

/// Carries out `[[f k v] ...]` and commits.
pub(super) async fn carry_out(http: &Http, micros: &Value, micro: &Micro<'_>) -> Outcome {
    let transaction = match http.begin().await {
        Ok(transaction) => transaction,
        // Nothing was written, whatever became of the request.
        Err(failed) => return certain(failed),
    };
    let mut results = Vec::new();
    for each in micros.as_list().unwrap_or_default() {
        let Some([f, Value::Int(key), argument]) = each.as_list() else {
            return Outcome::Fail("not a micro-operation".into());
        };
        match micro(
            &transaction,
            f.as_word().unwrap_or_default(),
            *key,
            argument,
        )
        .await
        {
            Ok(result) => results.push(Value::List(vec![f.clone(), Value::Int(*key), result])),
            Err(failed) => {
                transaction.rollback().await;
                return certain(failed);
            }
        }
    }
    match transaction.commit().await {
        Ok(()) => Outcome::Ok(Value::List(results)),
        Err(failed) => Outcome::of_failed(failed),
    }
}

/// A transaction that was never asked to commit never does.
fn certain(failed: Failed) -> Outcome {
    match failed {
        Failed::Refused(reason) | Failed::Unknown(reason) => Outcome::Fail(reason),
    }
}
