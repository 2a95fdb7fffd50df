//! Users and what they sign in with.
//!
//! Each way to sign in is an identity: a document whose `_id` is the name, device, ticket id or openid itself, so that
//! the database keeps it unique. The user's document comes first and the identity second: after a crash in between
//! there is a user nobody can reach, never a name nobody can use.

use bson::doc;

use super::Auth;
use super::error::{AuthError, AuthResult, Reason};
use super::limits::AuthLimits;
use super::random;
use super::records::{IDENTITIES, IdentityRecord, Profile, USERS, UserRecord};
use super::store::{PAGE_MAX, Scope, Search};
use super::throttle::keyed_hash;
use crate::call::LoginType;
use crate::gateway::document_id;

/// What a user signs in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// A user name; upper and lower case are the same.
    Name(String),
    /// The secret id of a device, by its keyed hash.
    Device(String),
    /// The id that the developer's own server knows the user by.
    Custom(String),
    /// A WeChat user in one Mini Program.
    Openid { appid: String, openid: String },
    /// A WeChat user across an owner's Mini Programs.
    Unionid { appid: String, unionid: String },
    /// A WeChat user in one Mini Program who wants to stay anonymous.
    AnonymousOpenid { appid: String, openid: String },
}

impl Identity {
    /// A device, of which only a hash is kept: its id alone signs in.
    pub(super) fn device(secret: &[u8], id: &str) -> Self {
        Self::Device(hex::encode(keyed_hash(secret, "device", id)))
    }

    fn id(&self) -> String {
        match self {
            Self::Name(name) => format!("name:{}", name.to_lowercase()),
            Self::Device(hash) => format!("device:{hash}"),
            Self::Custom(id) => format!("custom:{id}"),
            Self::Openid { appid, openid } => format!("wechat:{appid}:{openid}"),
            Self::Unionid { unionid, .. } => format!("wechat_union:{unionid}"),
            Self::AnonymousOpenid { appid, openid } => {
                format!("wechat_anonymous:{appid}:{openid}")
            }
        }
    }

    fn provider(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::Openid { appid, openid } => (Some(appid.clone()), Some(openid.clone())),
            Self::Unionid { appid, unionid } => (Some(appid.clone()), Some(unionid.clone())),
            Self::Custom(id) => (Some("custom".to_owned()), Some(id.clone())),
            _ => (None, None),
        }
    }
}

impl Auth {
    /// The user with this id.
    pub(super) async fn user(&self, scope: &Scope, uid: &str) -> AuthResult<Option<UserRecord>> {
        self.store.get(scope, USERS, uid).await
    }

    /// The user with this id, or the refusal.
    pub(super) async fn require_user(&self, scope: &Scope, uid: &str) -> AuthResult<UserRecord> {
        self.user(scope, uid).await?.ok_or_else(no_user)
    }

    /// The user who signs in with `identity`.
    pub(super) async fn user_by(
        &self,
        scope: &Scope,
        identity: &Identity,
    ) -> AuthResult<Option<UserRecord>> {
        let known: Option<IdentityRecord> =
            self.store.get(scope, IDENTITIES, &identity.id()).await?;
        match known {
            Some(known) => self.user(scope, &known.uid).await,
            None => Ok(None),
        }
    }

    /// A new user, not yet written.
    pub(super) fn new_user(&self, scope: &Scope, created_from: LoginType) -> UserRecord {
        UserRecord {
            uid: document_id(scope.now_ms),
            anonymous: created_from == LoginType::Anonymous,
            created_from: created_from.as_str().to_owned(),
            created_at_ms: scope.now_ms,
            updated_at_ms: scope.now_ms,
            ..UserRecord::default()
        }
    }

    /// Writes a new user who signs in with `identity`. When somebody has it already: `None`, and nothing was written.
    pub(super) async fn add_user(
        &self,
        scope: &Scope,
        user: &UserRecord,
        identity: &Identity,
    ) -> AuthResult<Option<UserRecord>> {
        if !self.store.insert(scope, USERS, user).await? {
            return Err(AuthError::internal("a new user id exists already"));
        }
        let claimed = self.claim(scope, identity, &user.uid).await;
        if matches!(claimed, Ok(true)) {
            return Ok(Some(user.clone()));
        }
        let filter = doc! { "_id": &user.uid };
        self.store.remove(scope, USERS, filter, false).await?;
        claimed.map(|_| None)
    }

    /// The user with `identity`, made by `make` when there is none.
    pub(super) async fn user_by_or_new(
        &self,
        scope: &Scope,
        identity: &Identity,
        make: impl Fn() -> UserRecord,
    ) -> AuthResult<UserRecord> {
        if let Some(known) = self.user_by(scope, identity).await? {
            return Ok(known);
        }
        if let Some(new) = self.add_user(scope, &make(), identity).await? {
            return Ok(new);
        }
        // Another request of the same user was faster.
        self.user_by(scope, identity).await?.ok_or_else(|| {
            AuthError::new(
                Reason::Unavailable,
                "the user is being changed at this moment: try again",
            )
        })
    }

    /// Makes `identity` lead to `uid`; `false` when it leads to another user.
    pub(super) async fn claim(
        &self,
        scope: &Scope,
        identity: &Identity,
        uid: &str,
    ) -> AuthResult<bool> {
        let (provider, provider_user_id) = identity.provider();
        let record = IdentityRecord {
            id: identity.id(),
            uid: uid.to_owned(),
            provider,
            provider_user_id,
            created_at_ms: scope.now_ms,
        };
        if self.store.insert(scope, IDENTITIES, &record).await? {
            return Ok(true);
        }
        let known: Option<IdentityRecord> = self.store.get(scope, IDENTITIES, &record.id).await?;
        let Some(known) = known else {
            return Ok(false);
        };
        if known.uid == uid {
            return Ok(true);
        }
        if self.user(scope, &known.uid).await?.is_some() {
            return Ok(false);
        }
        // Left over from a deletion that broke off: the user it led to is gone.
        let filter = doc! { "_id": &record.id, "uid": &known.uid };
        let taken: Option<IdentityRecord> = self
            .store
            .update(scope, IDENTITIES, filter, doc! { "$set": { "uid": uid } })
            .await?;
        Ok(taken.is_some())
    }

    /// Takes the identity with this `_id` away from `uid`.
    pub(super) async fn release(&self, scope: &Scope, id: &str, uid: &str) -> AuthResult<()> {
        let filter = doc! { "_id": id, "uid": uid };
        self.store
            .remove(scope, IDENTITIES, filter, false)
            .await
            .map(drop)
    }

    /// What a user signs in with.
    pub(super) async fn identities(
        &self,
        scope: &Scope,
        uid: &str,
    ) -> AuthResult<Vec<IdentityRecord>> {
        let search = Search {
            filter: doc! { "uid": uid },
            limit: PAGE_MAX,
            ..Search::default()
        };
        self.store.find(scope, IDENTITIES, search).await
    }

    /// Changes a user's document.
    pub(super) async fn change_user(
        &self,
        scope: &Scope,
        uid: &str,
        mut set: bson::Document,
    ) -> AuthResult<UserRecord> {
        set.insert("updated_at_ms", scope.now_ms);
        self.store
            .update(scope, USERS, doc! { "_id": uid }, doc! { "$set": set })
            .await?
            .ok_or_else(no_user)
    }

    /// Gives a user another name to sign in with, or the first one. An anonymous user is one no longer, and the
    /// device that it began on opens it no longer.
    pub(super) async fn rename_user(
        &self,
        scope: &Scope,
        user: &UserRecord,
        username: &str,
    ) -> AuthResult<()> {
        check_username(username, &self.limits)?;
        if user.username.as_deref() == Some(username) {
            return Ok(());
        }
        let identity = Identity::Name(username.to_owned());
        if !self.claim(scope, &identity, &user.uid).await? {
            return Err(AuthError::new(
                Reason::AlreadyExists,
                "another user has this name: choose another",
            ));
        }
        let set = doc! { "username": username, "anonymous": false };
        self.change_user(scope, &user.uid, set).await?;
        if let Some(old) = &user.username
            && !old.eq_ignore_ascii_case(username)
        {
            let old = Identity::Name(old.clone()).id();
            self.release(scope, &old, &user.uid).await?;
        }
        self.forget_devices(scope, &user.uid).await
    }

    /// Takes away the ways in that prove nothing.
    pub(super) async fn forget_devices(&self, scope: &Scope, uid: &str) -> AuthResult<()> {
        let filter = doc! { "uid": uid, "$or": [
            { "_id": { "$gte": "device:", "$lt": "device;" } },
            { "_id": { "$gte": "wechat_anonymous:", "$lt": "wechat_anonymous;" } },
        ] };
        self.store
            .remove(scope, IDENTITIES, filter, true)
            .await
            .map(drop)
    }

    /// Sets a password; all sessions but `keep` end.
    pub(super) async fn set_password(
        &self,
        scope: &Scope,
        uid: &str,
        password: &str,
        keep: Option<&str>,
    ) -> AuthResult<()> {
        super::passwords::check_new(password, &self.limits)?;
        let hash = self.passwords.hash(password.to_owned()).await?;
        let user: UserRecord = self
            .store
            .update(
                scope,
                USERS,
                doc! { "_id": uid },
                doc! {
                    "$set": { "password": hash, "updated_at_ms": scope.now_ms },
                    "$inc": { "credential_version": 1_i64 },
                },
            )
            .await?
            .ok_or_else(no_user)?;
        if let Some(keep) = keep {
            let set = doc! { "$set": { "credential_version": user.credential_version } };
            let filter = doc! { "_id": keep, "uid": uid };
            self.store
                .update::<bson::Document>(scope, super::records::SESSIONS, filter, set)
                .await?;
        }
        self.end_sessions(scope, uid, keep).await.map(drop)
    }

    /// Lets a user sign in or not; ends all sessions of one that may not.
    pub async fn set_disabled(
        &self,
        scope: &Scope,
        uid: &str,
        disabled: bool,
    ) -> AuthResult<UserRecord> {
        let user = self
            .change_user(scope, uid, doc! { "disabled": disabled })
            .await?;
        if disabled {
            self.end_sessions(scope, uid, None).await?;
        }
        Ok(user)
    }

    /// Removes a user with all sessions and identities. May be repeated after it broke off.
    pub async fn delete_user(&self, scope: &Scope, uid: &str) -> AuthResult<()> {
        // First of all nobody may sign in any more; the document goes last, so that a repetition finds the user.
        self.set_disabled(scope, uid, true).await?;
        let filter = doc! { "uid": uid };
        self.store.remove(scope, IDENTITIES, filter, true).await?;
        let filter = doc! { "_id": uid };
        self.store.remove(scope, USERS, filter, false).await?;
        Ok(())
    }

    /// Writes what a user says of itself; members that are `None` stay as they are.
    pub(super) async fn edit_profile(
        &self,
        scope: &Scope,
        uid: &str,
        profile: &Profile,
    ) -> AuthResult<UserRecord> {
        let members = bson::serialize_to_document(profile).map_err(AuthError::internal)?;
        let mut set = bson::Document::new();
        for (name, value) in members {
            let chars = value.as_str().map_or(0, |text| text.chars().count());
            if chars > self.limits.profile_chars_max {
                return Err(AuthError::argument(format!(
                    "`{name}` may have at most {} characters",
                    self.limits.profile_chars_max
                )));
            }
            set.insert(format!("profile.{name}"), value);
        }
        self.change_user(scope, uid, set).await
    }

    /// A new secret id for a device that has none.
    pub(super) fn new_device_id(&self) -> String {
        random::hex::<16>(&*self.random)
    }
}

pub(super) fn no_user() -> AuthError {
    AuthError::new(Reason::UserNotFound, "there is no such user")
}

/// User names are short and plain, and cannot be taken for a phone number or an e-mail address.
pub(super) fn check_username(name: &str, limits: &AuthLimits) -> AuthResult<()> {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let lettered = name.chars().any(|c| c.is_ascii_alphabetic());
    if plain && lettered && limits.username_chars.contains(&name.len()) {
        return Ok(());
    }
    Err(AuthError::argument(format!(
        "a user name needs {} to {} letters, digits, `_`, `-` and `.`, at least one letter",
        limits.username_chars.start(),
        limits.username_chars.end()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_plain() {
        let limits = AuthLimits::default();
        for good in ["alice", "user_1", "a.b-c1"] {
            assert!(check_username(good, &limits).is_ok(), "{good}");
        }
        for bad in [
            "abcd",
            "12345678",
            "a@example.com",
            "+86 138",
            "$alice",
            "\u{e9}lise",
            &"a".repeat(25),
        ] {
            assert!(check_username(bad, &limits).is_err(), "{bad}");
        }
    }
}
