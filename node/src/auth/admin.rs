//! What an administrator does to users: shared by the gRPC service, the action protocol and the command line.

use bson::doc;
use serde_json::{Value, json};

use super::error::{AuthError, AuthResult};
use super::records::{SESSIONS, SessionRecord, USERS, UserRecord};
use super::store::{PAGE_MAX, Scope, Search};
use super::users::{Identity, no_user};
use super::{Auth, passwords};

/// Which user an administrator means.
#[derive(Debug, Clone, Copy)]
pub enum Named<'a> {
    /// By id.
    Uid(&'a str),
    /// By name.
    Username(&'a str),
}

impl<'a> Named<'a> {
    /// By id where there is one, else by name.
    pub fn of(uid: &'a str, username: &'a str) -> AuthResult<Self> {
        match (uid.is_empty(), username.is_empty()) {
            (false, _) => Ok(Self::Uid(uid)),
            (true, false) => Ok(Self::Username(username)),
            (true, true) => Err(AuthError::argument("name a user by id or by user name")),
        }
    }
}

impl Auth {
    /// The user that is meant.
    pub async fn named(&self, scope: &Scope, named: Named<'_>) -> AuthResult<UserRecord> {
        let found = match named {
            Named::Uid(uid) => self.user(scope, uid).await?,
            Named::Username(name) => {
                let identity = Identity::Name(name.to_owned());
                self.user_by(scope, &identity).await?
            }
        };
        found.ok_or_else(no_user)
    }

    /// A page of users after the id `after`, and whether there are more.
    pub async fn list_users(
        &self,
        scope: &Scope,
        after: &str,
        limit: u64,
    ) -> AuthResult<(Vec<UserRecord>, bool)> {
        let limit = limit.clamp(1, PAGE_MAX - 1);
        let search = Search {
            filter: doc! { "_id": { "$gt": after } },
            sort: doc! { "_id": 1 },
            limit: limit + 1,
            ..Search::default()
        };
        let mut users: Vec<UserRecord> = self.store.find(scope, USERS, search).await?;
        let more = users.len() as u64 > limit;
        users.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok((users, more))
    }

    /// Sets a user's password without the old one; all sessions end.
    pub async fn reset_password(
        &self,
        scope: &Scope,
        user: &UserRecord,
        password: &str,
    ) -> AuthResult<()> {
        passwords::check_new(password, &self.limits)?;
        self.set_password(scope, &user.uid, password, None).await
    }

    /// The sessions of a user that are in force, the newest first.
    pub async fn sessions(&self, scope: &Scope, uid: &str) -> AuthResult<Vec<SessionRecord>> {
        let search = Search {
            filter: doc! { "uid": uid, "expires_at_ms": { "$gt": scope.now_ms } },
            sort: doc! { "created_at_ms": -1 },
            limit: PAGE_MAX,
            ..Search::default()
        };
        self.store.find(scope, SESSIONS, search).await
    }

    /// Ends one session of a user, or all; says how many.
    pub async fn revoke_sessions(
        &self,
        scope: &Scope,
        uid: &str,
        session: Option<&str>,
    ) -> AuthResult<u64> {
        let Some(session) = session else {
            return self.end_sessions(scope, uid, None).await;
        };
        let filter = doc! { "_id": session, "uid": uid };
        self.store.remove(scope, SESSIONS, filter, false).await
    }

    /// The action `auth.getUserInfoForAdmin` of the server-side packages: a user by `uuid`, or by the id at a platform.
    pub async fn user_info_for_admin(
        &self,
        scope: &Scope,
        uuid: Option<&str>,
        platform: Option<&str>,
        platform_id: Option<&str>,
    ) -> AuthResult<Value> {
        let user = match (uuid, platform, platform_id) {
            (Some(uid), ..) => self.named(scope, Named::Uid(uid)).await?,
            (None, Some("USERNAME"), Some(id)) => self.named(scope, Named::Username(id)).await?,
            (None, Some("CUSTOM"), Some(id)) => {
                let identity = Identity::Custom(id.to_owned());
                self.user_by(scope, &identity).await?.ok_or_else(no_user)?
            }
            (None, Some("OPENID" | "WECHAT" | "WECHAT-OPEN"), Some(id)) => {
                self.first_user(scope, doc! { "openid": id }).await?
            }
            (None, Some("UNIONID" | "WECHAT-UNION"), Some(id)) => {
                self.first_user(scope, doc! { "unionid": id }).await?
            }
            _ => {
                return Err(AuthError::argument(
                    "name a user by `uuid`, or by `platform` (USERNAME, CUSTOM, OPENID or UNIONID) and `platformId`",
                ));
            }
        };
        Ok(json!({
            "uuid": user.uid,
            "uid": user.uid,
            "envName": scope.env,
            "loginType": user.created_from,
            "nickName": user.profile.name,
            "gender": user.profile.gender,
            "avatarUrl": user.profile.picture,
            "username": user.username,
            "customUserId": user.custom_id,
            "wxOpenId": user.openid,
            "wxUnionId": user.unionid,
            "isAnonymous": user.anonymous,
            "disabled": user.disabled,
            "hasPassword": user.password.is_some(),
            "country": user.profile.country,
            "province": user.profile.province,
            "city": user.profile.city,
            "createTime": user.created_at_ms,
            "updateTime": user.updated_at_ms,
        }))
    }

    async fn first_user(&self, scope: &Scope, filter: bson::Document) -> AuthResult<UserRecord> {
        let search = Search {
            filter,
            limit: 1,
            ..Search::default()
        };
        let mut found: Vec<UserRecord> = self.store.find(scope, USERS, search).await?;
        found.pop().ok_or_else(no_user)
    }
}
