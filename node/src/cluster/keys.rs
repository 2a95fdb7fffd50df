//! New keys: permanent ones for people and servers, temporary ones for what runs for hours.
//!
//! A temporary key counts only with its session token and until its end. Whoever makes one also clears away those
//! that have ended, so their number stays in proportion to how many are in force.

use std::time::Duration;

use super::changes::{Changes, Kept};
use super::records::{KEYS, KeyRecord};
use super::store::ClusterStore;
use crate::audit::Audit;
use crate::audit::record::{Act, Origin};
use crate::call::{Failure, Retry};
use crate::identity::random_id;

/// Longest life of a temporary key: a week. What must live longer deserves a permanent one.
pub const TEMPORARY_KEY_LIFE_MAX: Duration = Duration::from_secs(168 * 3600);

/// How often a revocation is tried again that another change came in between of.
const ROUNDS_MAX: usize = 4;

/// Makes a key that opens `env` (`None` = all environments), for good or for `life`; in one commit with its entry in the
/// audit log.
pub async fn create(
    store: &ClusterStore,
    audit: &Audit,
    origin: &Origin,
    env: Option<String>,
    life: Option<Duration>,
    now_ms: i64,
) -> Result<KeyRecord, Failure> {
    let record = new_record(env, life, now_ms)?;
    if record.expires_at_ms.is_some() {
        let ended = bson::doc! { "expires_at_ms": { "$lte": now_ms } };
        store.remove_all(KEYS, ended).await?;
    }
    let opens = match &record.env {
        Some(env) => format!("opens {env}"),
        None => "opens all environments".to_owned(),
    };
    let temporary = record.expires_at_ms.map_or("", |_| ", temporary");
    let act = Act::new("key.create", &record.id).with(opens + temporary);
    let mut changes = Changes::default();
    changes.add(KEYS, &record.id, &record)?;
    changes.tell(audit.entry(origin, &act)?);
    if store.commit(changes).await? {
        return Ok(record);
    }
    Err(Failure::new(
        "SYS_ERR",
        "a new key has the id of another one: try again",
        Retry::Safe,
    ))
}

/// Revokes a key, in one commit with its entry in the audit log; says whether there was one.
pub async fn delete(
    store: &ClusterStore,
    audit: &Audit,
    origin: &Origin,
    id: &str,
) -> Result<bool, Failure> {
    for _ in 0..ROUNDS_MAX {
        let known: Option<Kept<KeyRecord>> = store.kept_one(KEYS, id).await?;
        let Some(known) = known else {
            return Ok(false);
        };
        let mut changes = Changes::default();
        changes.expect(KEYS, &known)?;
        changes.remove(KEYS, id);
        changes.tell(audit.entry(origin, &Act::new("key.delete", id))?);
        if store.commit(changes).await? {
            return Ok(true);
        }
    }
    Err(Failure::new(
        "SERVER_TIMEOUT",
        "others change this key at this moment: try again",
        Retry::Safe,
    ))
}

fn new_record(
    env: Option<String>,
    life: Option<Duration>,
    now_ms: i64,
) -> Result<KeyRecord, Failure> {
    if life.is_some_and(|life| life.is_zero() || life > TEMPORARY_KEY_LIFE_MAX) {
        let hours_max = TEMPORARY_KEY_LIFE_MAX.as_secs() / 3600;
        let message = format!("a temporary key lives at least one and at most {hours_max} hours");
        return Err(Failure::new("INVALID_PARAM", message, Retry::Never));
    }
    let end =
        |life: Duration| now_ms.saturating_add(i64::try_from(life.as_millis()).unwrap_or(i64::MAX));
    Ok(KeyRecord {
        id: format!("AKID{}", random_id()),
        secret: random_id(),
        env,
        created_at_ms: now_ms,
        session_token: life.map(|_| random_id() + &random_id()),
        expires_at_ms: life.map(end),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_keys_have_a_token_and_an_end() {
        let hour = Duration::from_secs(3600);
        let key = new_record(Some("demo".into()), Some(hour), 1_000).expect("allowed");
        assert_eq!(key.expires_at_ms, Some(3_601_000));
        assert!(key.session_token.is_some_and(|token| token.len() >= 32));
        let permanent = new_record(None, None, 1_000).expect("allowed");
        assert_eq!(
            (permanent.session_token, permanent.expires_at_ms),
            (None, None)
        );
        for life in [Duration::ZERO, TEMPORARY_KEY_LIFE_MAX + hour] {
            let refused = new_record(None, Some(life), 0).err().expect("refused");
            assert_eq!(refused.code, "INVALID_PARAM");
        }
    }
}
