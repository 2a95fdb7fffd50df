//! Slows down whoever guesses: failed tries are counted in documents, so changing the node does not help.
//!
//! Each try is charged before it is carried out and given back when it succeeds, and one try takes one turn of its
//! counter, so a thousand tries at once are not a way around it. Names and addresses are mapped to a bounded number of
//! counters by a keyed hash.

use std::net::IpAddr;

use bson::doc;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::Auth;
use super::error::{AuthError, AuthResult, Reason};
use super::limits::AuthLimits;
use super::records::{THROTTLE, ThrottleRecord};
use super::store::Scope;

/// How often a try asks for a turn that others take from it.
const ROUNDS_MAX: usize = 8;

/// What is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Wrong passwords of one user name.
    Name(String),
    /// Failures from one address.
    Address(IpAddr),
    /// New users from one address.
    Creation(IpAddr),
}

impl Counted {
    fn kind(&self) -> &'static str {
        match self {
            Self::Name(_) => "name",
            Self::Address(_) => "address",
            Self::Creation(_) => "creation",
        }
    }

    fn value(&self) -> String {
        match self {
            Self::Name(name) => name.to_lowercase(),
            Self::Address(address) | Self::Creation(address) => network_of(*address),
        }
    }

    fn free(&self, limits: &AuthLimits) -> i64 {
        match self {
            Self::Name(_) => limits.throttle_name_free,
            Self::Address(_) => limits.throttle_address_free,
            Self::Creation(_) => limits.throttle_create_free,
        }
    }
}

/// One holder of IPv6 has a whole /64.
fn network_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// A try that has been charged.
#[derive(Debug)]
#[must_use]
pub(crate) struct Charged {
    ids: Vec<(String, bool)>,
}

impl Auth {
    /// Charges a try to each of `counted`; refuses it while one of them has to wait.
    pub(crate) async fn charge(&self, scope: &Scope, counted: &[Counted]) -> AuthResult<Charged> {
        let secret = self.secret(scope).await?;
        let mut ids = Vec::new();
        for one in counted {
            let id = bucket(&secret, one, self.limits.throttle_buckets);
            let charged = self.charge_one(scope, &id, one.free(&self.limits)).await;
            if let Err(error) = charged {
                self.give_back(scope, Charged { ids }).await;
                return Err(error);
            }
            ids.push((id, matches!(one, Counted::Name(_))));
        }
        Ok(Charged { ids })
    }

    /// The try succeeded. The name starts anew; an address only gets this try back, or its owner could guess between
    /// sign-ins of its own.
    pub(crate) async fn give_back(&self, scope: &Scope, charged: Charged) {
        for (id, starts_anew) in charged.ids {
            let outcome = if starts_anew {
                let filter = doc! { "_id": &id };
                self.store
                    .remove(scope, THROTTLE, filter, false)
                    .await
                    .map(drop)
            } else {
                let update = doc! { "$inc": { "failures": -1_i64, "version": 1_i64 } };
                let filter = doc! { "_id": &id, "failures": { "$gt": 0_i64 } };
                self.store
                    .update::<ThrottleRecord>(scope, THROTTLE, filter, update)
                    .await
                    .map(drop)
            };
            // The counter is one too high then, which only the next failure will feel.
            if let Err(error) = outcome {
                tracing::debug!(%error, "give back a try");
            }
        }
    }

    async fn charge_one(&self, scope: &Scope, id: &str, free: i64) -> AuthResult<()> {
        for _ in 0..ROUNDS_MAX {
            let now_ms = self.clock.now_unix_ms();
            let known: Option<ThrottleRecord> = self.store.get(scope, THROTTLE, id).await?;
            let Some(known) = known else {
                let first = ThrottleRecord {
                    id: id.to_owned(),
                    failures: 1,
                    last_ms: now_ms,
                    version: 1,
                };
                if self.store.insert(scope, THROTTLE, &first).await? {
                    return Ok(());
                }
                continue;
            };
            let forgotten = now_ms - known.last_ms > self.limits.throttle_memory_ms;
            let failures = if forgotten { 0 } else { known.failures };
            let wait_ms = known.last_ms + delay_ms(failures, free, &self.limits) - now_ms;
            if wait_ms > 0 {
                return Err(wait(wait_ms));
            }
            let set = doc! { "$set": {
                "failures": failures + 1, "last_ms": now_ms, "version": known.version + 1,
            } };
            let filter = doc! { "_id": id, "version": known.version };
            let taken: Option<ThrottleRecord> =
                self.store.update(scope, THROTTLE, filter, set).await?;
            if taken.is_some() {
                return Ok(());
            }
        }
        Err(wait(self.limits.throttle_delay_ms))
    }
}

/// How long after the last of `failures` the next try may come.
fn delay_ms(failures: i64, free: i64, limits: &AuthLimits) -> i64 {
    let over = failures - free;
    if over < 0 {
        return 0;
    }
    let doublings = u32::try_from(over).unwrap_or(u32::MAX).min(32);
    limits
        .throttle_delay_ms
        .saturating_mul(1_i64 << doublings)
        .min(limits.throttle_delay_ms_max)
}

fn wait(wait_ms: i64) -> AuthError {
    let seconds = u64::try_from(wait_ms).unwrap_or(0).div_ceil(1000).max(1);
    AuthError {
        reason: Reason::ResourceExhausted,
        message: format!("too many tries: wait {seconds} s"),
        retry_after_s: Some(seconds),
    }
}

fn bucket(secret: &[u8], counted: &Counted, buckets: u64) -> String {
    let kind = counted.kind();
    let digest = keyed_hash(secret, kind, &counted.value());
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest[..8]);
    format!("{kind}:{}", u64::from_be_bytes(first) % buckets.max(1))
}

/// A hash of `value` that only this environment can make.
pub(super) fn keyed_hash(secret: &[u8], kind: &str, value: &str) -> [u8; 32] {
    // HMAC takes keys of any length, so this cannot fail.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret)
        .unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()));
    mac.update(kind.as_bytes());
    mac.update(&[0]);
    mac.update(value.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_are_bounded() {
        let limits = AuthLimits::default();
        let delays: Vec<i64> = (0..9).map(|n| delay_ms(n, 5, &limits)).collect();
        assert_eq!(delays, [0, 0, 0, 0, 0, 1000, 2000, 4000, 8000]);
        assert_eq!(delay_ms(i64::MAX, 5, &limits), limits.throttle_delay_ms_max);
    }

    #[test]
    fn counters_are_bounded_and_keyed() {
        let name = Counted::Name("alice".into());
        assert_eq!(bucket(b"k", &name, 1), "name:0");
        assert_ne!(
            bucket(b"k", &name, u64::MAX),
            bucket(b"other", &name, u64::MAX)
        );
        assert_eq!(
            bucket(b"k", &name, u64::MAX),
            bucket(b"k", &Counted::Name("ALICE".into()), u64::MAX)
        );
        let a = Counted::Address("2001:db8::1".parse().unwrap());
        let b = Counted::Address("2001:db8::ffff".parse().unwrap());
        assert_eq!(bucket(b"k", &a, u64::MAX), bucket(b"k", &b, u64::MAX));
    }
}
