//! `bank`: money moves between accounts in transactions; every read of all accounts finds the same total.

use futures::future::BoxFuture;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::json;
use yunbase_client::bson::{Document, doc};

use super::{Place, Step, Workload};
use crate::access::{Failed, Http, Outcome, Session, number};
use crate::check::{Checker, bank};
use crate::history::Value;

const COLLECTION: &str = "accounts";
const ACCOUNTS: i64 = 8;
const MONEY: i64 = 100;
const AMOUNT_MAX: i64 = 9;

/// See the module.
pub(super) struct Bank;

fn id(account: i64) -> String {
    format!("a{account}")
}

/// All accounts by one query of one transaction.
async fn read(http: &Http) -> Result<Value, Failed> {
    let transaction = http.begin().await?;
    let accounts = transaction.find(COLLECTION, &json!({})).await?;
    transaction.commit().await?;
    let balance = |account: &serde_json::Value| {
        let name = account["_id"].as_str()?.strip_prefix('a')?;
        Some(Value::ints([
            name.parse().ok()?,
            number(&account["money"])?,
        ]))
    };
    let mut balances: Vec<_> = accounts.iter().filter_map(balance).collect();
    balances.sort();
    Ok(Value::List(balances))
}

/// Moves `amount`; `None` when there is not so much.
async fn transfer(
    http: &Http,
    from: i64,
    to: i64,
    amount: i64,
) -> Result<Option<()>, (Failed, bool)> {
    let certain = |failed| (failed, true);
    let transaction = http.begin().await.map_err(certain)?;
    let mut money = [0; 2];
    for (at, account) in [from, to].into_iter().enumerate() {
        let found = transaction
            .get(COLLECTION, &id(account))
            .await
            .map_err(certain)?;
        money[at] = number(&found.unwrap_or_default()["money"]).unwrap_or(0);
    }
    if money[0] < amount {
        transaction.rollback().await;
        return Ok(None);
    }
    for (account, money) in [(from, money[0] - amount), (to, money[1] + amount)] {
        let update = json!({ "$set": { "money": money } });
        let changed = transaction.upsert(COLLECTION, &id(account), update).await;
        changed.map_err(certain)?;
    }
    let committed = transaction.commit().await;
    committed.map(Some).map_err(|failed| (failed, false))
}

impl Workload for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn about(&self) -> &'static str {
        "money moves in transactions, the total stays: read skew, lost updates, torn transactions"
    }

    fn prepare<'a>(&'a self, session: &'a Session) -> BoxFuture<'a, yunbase_client::Result<()>> {
        Box::pin(async move {
            session.client.create_collection(COLLECTION).await?;
            let accounts = session.client.collection::<Document>(COLLECTION);
            for account in 0..ACCOUNTS {
                let document = doc! { "_id": id(account), "money": MONEY };
                accounts.put(id(account), &document).await?;
            }
            Ok(())
        })
    }

    fn next(&self, rng: &mut StdRng, _place: Place) -> Step {
        if rng.random_bool(0.4) {
            return Step::bare("read");
        }
        let from = rng.random_range(0..ACCOUNTS);
        let to = (from + rng.random_range(1..ACCOUNTS)) % ACCOUNTS;
        let amount = rng.random_range(1..=AMOUNT_MAX);
        let members = [("from", from), ("to", to), ("amount", amount)];
        let members = members.map(|(name, value)| (name.to_owned(), Value::Int(value)));
        Step::new("transfer", Value::Map(members.into()))
    }

    fn carry_out<'a>(&'a self, session: &'a Session, step: &'a Step) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            if step.f == "read" {
                return match read(&session.http).await {
                    Ok(balances) => Outcome::Ok(balances),
                    Err(Failed::Refused(reason) | Failed::Unknown(reason)) => Outcome::Fail(reason),
                };
            }
            let member = |name| step.value.get(name).and_then(Value::as_int).unwrap_or(0);
            match transfer(
                &session.http,
                member("from"),
                member("to"),
                member("amount"),
            )
            .await
            {
                Ok(Some(())) => Outcome::Ok(step.value.clone()),
                Ok(None) => Outcome::Fail("there is not so much on the account".into()),
                Err((failed, false)) => Outcome::of_failed(failed),
                Err((Failed::Refused(reason) | Failed::Unknown(reason), true)) => {
                    Outcome::Fail(reason)
                }
            }
        })
    }

    fn last(&self) -> Vec<Step> {
        vec![Step::bare("read")]
    }

    fn checker(&self) -> Box<dyn Checker> {
        let accounts = (0..ACCOUNTS).map(Value::Int);
        Box::new(bank::Bank::new(accounts, ACCOUNTS * MONEY))
    }
}
