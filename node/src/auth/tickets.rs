//! Custom login: tickets that a developer's own server signs for its users, and the keys for them.
//!
//! A ticket is `<private_key_id>/@@/<JWT>`, RS256, and all its times are in milliseconds. The cluster makes the key
//! pair, tells the private half once and keeps the public one.

use bson::doc;
use rsa::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use serde::Deserialize;

use super::Auth;
use super::error::{AuthError, AuthResult, Reason};
use super::random;
use super::records::{TICKET_KEYS, TicketKeyRecord};
use super::store::{PAGE_MAX, Scope, Search};
use super::{jws, sessions::Credentials, sessions::SignIn, users::Identity};
use crate::call::LoginType;

/// Between the key's id and the JWT.
const SEPARATOR: &str = "/@@/";
/// Size of new keys; what the original gives out is smaller.
const KEY_BITS: usize = 2048;
/// Characters that an id of the developer's own may have besides letters and digits, and how many characters.
const CUSTOM_ID_MARKS: &str = "_-#@~=*(){}[]:.,<>+";
const CUSTOM_ID_CHARS: std::ops::RangeInclusive<usize> = 4..=32;

/// What a ticket says; times in milliseconds.
#[derive(Debug, Deserialize)]
struct Ticket {
    env: String,
    uid: String,
    exp: f64,
    iat: Option<f64>,
    /// When the login ends whatever happens.
    expire: Option<f64>,
}

/// The key file that a developer's server needs.
pub struct TicketKey {
    /// `private_key_id`.
    pub id: String,
    /// PKCS#8 in PEM. Told once.
    pub private_key: String,
}

impl Auth {
    /// Signs in the user whom a ticket vouches for; the first time makes the user.
    pub async fn sign_in_with_ticket(
        &self,
        scope: &Scope,
        ticket: &str,
        rotates: bool,
    ) -> AuthResult<Credentials> {
        let ticket = self.check_ticket(scope, ticket).await?;
        let identity = Identity::Custom(ticket.uid.clone());
        let user = self
            .user_by_or_new(scope, &identity, || {
                let mut user = self.new_user(scope, LoginType::Custom);
                user.custom_id = Some(ticket.uid.clone());
                user
            })
            .await?;
        let ends_at_ms = ticket
            .expire
            .map_or(scope.now_ms + self.limits.custom_login_ms, |expire| {
                expire as i64
            });
        let sign_in = SignIn {
            ends_at_ms: Some(ends_at_ms),
            rotates,
            ..SignIn::by(LoginType::Custom)
        };
        self.begin_session(scope, &user, sign_in).await
    }

    /// The custom id that a ticket vouches for.
    pub(super) async fn ticket_owner(&self, scope: &Scope, ticket: &str) -> AuthResult<String> {
        Ok(self.check_ticket(scope, ticket).await?.uid)
    }

    async fn check_ticket(&self, scope: &Scope, text: &str) -> AuthResult<Ticket> {
        let refused = |why: &str| {
            AuthError::new(
                Reason::InvalidTicket,
                format!("the ticket is not valid: {why}"),
            )
        };
        if text.len() > self.limits.credential_bytes_max {
            return Err(refused("it is too long"));
        }
        let (key_id, token) = text
            .split_once(SEPARATOR)
            .ok_or_else(|| refused("it names no key"))?;
        let key: Option<TicketKeyRecord> = self.store.get(scope, TICKET_KEYS, key_id).await?;
        let key = key.ok_or_else(|| {
            refused("its key is not one of this environment; make one with `yunbase auth ticket-key create`")
        })?;
        let ticket: Ticket = jws::verify_rs256(token, &key.public_key)
            .map_err(|_| refused("its signature does not match its key"))?;
        let (now, skew) = (scope.now_ms as f64, self.limits.clock_skew_ms as f64);
        if ticket.env != scope.env {
            return Err(refused("it is for another environment"));
        }
        // JSON has no number that is neither more nor less than another, so plain comparisons leave no gap.
        if ticket.exp + skew <= now {
            return Err(refused("it has expired: make a new one"));
        }
        if ticket.iat.is_some_and(|iat| iat > now + skew) {
            return Err(refused(
                "it is from the future: check the clock of the machine that made it",
            ));
        }
        if ticket.expire.is_some_and(|expire| expire <= now) {
            return Err(refused("the login that it grants has ended"));
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || CUSTOM_ID_MARKS.contains(c);
        if !CUSTOM_ID_CHARS.contains(&ticket.uid.len()) || !ticket.uid.chars().all(fits) {
            return Err(refused("its uid needs 4 to 32 plain characters"));
        }
        Ok(ticket)
    }

    /// Makes a key pair for tickets.
    pub async fn create_ticket_key(&self, scope: &Scope) -> AuthResult<TicketKey> {
        if self.ticket_keys(scope).await?.len() >= self.limits.ticket_keys_max {
            return Err(AuthError::new(
                Reason::ResourceExhausted,
                format!(
                    "the environment has {} ticket keys, the most there may be: delete one",
                    self.limits.ticket_keys_max
                ),
            ));
        }
        let (private_key, public_key) = tokio::task::spawn_blocking(generate)
            .await
            .map_err(AuthError::internal)??;
        let record = TicketKeyRecord {
            id: random::hex::<16>(&*self.random),
            public_key,
            created_at_ms: scope.now_ms,
        };
        self.store.insert(scope, TICKET_KEYS, &record).await?;
        Ok(TicketKey {
            id: record.id,
            private_key,
        })
    }

    /// The environment's ticket keys, public halves only.
    pub async fn ticket_keys(&self, scope: &Scope) -> AuthResult<Vec<TicketKeyRecord>> {
        let search = Search {
            limit: PAGE_MAX,
            ..Search::default()
        };
        self.store.find(scope, TICKET_KEYS, search).await
    }

    /// Withdraws a ticket key; `false` when there is none of this id.
    pub async fn delete_ticket_key(&self, scope: &Scope, id: &str) -> AuthResult<bool> {
        let removed = self
            .store
            .remove(scope, TICKET_KEYS, doc! { "_id": id }, false)
            .await?;
        Ok(removed > 0)
    }
}

/// A new pair: private half and public half in PEM.
fn generate() -> AuthResult<(String, String)> {
    let key =
        rsa::PrivateKey::new(&mut getrandom::SysRng, KEY_BITS).map_err(AuthError::internal)?;
    let private = key
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(AuthError::internal)?;
    let public = key
        .to_public_key()
        .to_public_key_pem(LineEnding::LF)
        .map_err(AuthError::internal)?;
    Ok((private.to_string(), public))
}
