//! The login actions of js-sdk 1, for the door `/web`: each from its parameters to the members of its answer.
//!
//! js-sdk 1 keeps the refresh token of its sign-in, so its sessions do not rotate. The `uuid` of an anonymous user is
//! the secret that brings the user back, and has nothing to do with the user's id.

use serde_json::{Map, Value, json};

use super::error::{AuthError, AuthResult, Reason};
use super::records::{Profile, UserRecord};
use super::sign_in::NewUser;
use super::store::Scope;
use super::users::Identity;
use super::{Auth, Credentials};
use crate::call::{EndUser, Failure};

/// The members of an answer beside `requestId`.
pub(super) type Members = Map<String, Value>;

/// Whether an action belongs here. `auth.wsWebSign` is the realtime door's, `auth.getUserInfoForAdmin` the administrator's.
pub fn is_login_action(action: &str) -> bool {
    action.starts_with("auth.") && !matches!(action, "auth.wsWebSign" | "auth.getUserInfoForAdmin")
}

/// Carries out a login action. `params` is the whole body; `caller` is the user whose access token came along, if the
/// door has found one to be valid and its session in force ([`Auth::end_user`]).
pub async fn web_login_action(
    auth: &Auth,
    scope: &Scope,
    action: &str,
    params: &Map<String, Value>,
    caller: Option<&EndUser>,
) -> Result<Members, Failure> {
    let request = Action {
        auth,
        scope,
        params,
        caller,
    };
    request.carry_out(action).await.map_err(Failure::from)
}

struct Action<'a> {
    auth: &'a Auth,
    scope: &'a Scope,
    params: &'a Map<String, Value>,
    caller: Option<&'a EndUser>,
}

impl Action<'_> {
    async fn carry_out(&self, action: &str) -> AuthResult<Members> {
        match action {
            "auth.signInAnonymously" => self.sign_in_anonymously().await,
            "auth.signInWithTicket" => self.sign_in_with_ticket().await,
            "auth.signIn" => self.sign_in().await,
            "auth.getJwt" | "auth.fetchAccessTokenWithRefreshToken" => self.fetch().await,
            "auth.logout" => self.log_out().await,
            "auth.isUsernameRegistered" => self.is_registered().await,
            "auth.getUserInfo" => self.user_info().await,
            "auth.updateUserInfo" => self.update_profile().await,
            "auth.updateUsername" => self.update_username().await,
            "auth.updatePassword" => self.update_password().await,
            "auth.linkWithTicket" | "auth.linkAndRetrieveDataWithTicket" => self.link().await,
            "auth.signUpWithEmailAndPassword"
            | "auth.activateEndUserMail"
            | "auth.sendPasswordResetEmail"
            | "auth.resetPasswordWithToken"
            | "auth.updateEmail"
            | "auth.sendPhoneCode"
            | "auth.linkOrUpdatePhoneNumber" => Err(AuthError::new(
                Reason::ProviderNotEnabled,
                format!("{action} needs an SMS or e-mail sender, and this version has none"),
            )),
            other => {
                let shown: String = other
                    .chars()
                    .filter(char::is_ascii_graphic)
                    .take(64)
                    .collect();
                Err(AuthError::new(
                    Reason::Unimplemented,
                    format!("the action `{shown}` is not part of this version"),
                ))
            }
        }
    }

    fn text(&self, name: &str) -> AuthResult<Option<&str>> {
        match self.params.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(AuthError::argument(format!("`{name}` needs a text"))),
        }
    }

    fn required(&self, name: &str) -> AuthResult<&str> {
        self.text(name)?
            .ok_or_else(|| AuthError::argument(format!("`{name}` is missing")))
    }

    async fn owner(&self) -> AuthResult<(&EndUser, UserRecord)> {
        let caller = self
            .caller
            .ok_or_else(|| AuthError::unauthenticated("this needs an access token: sign in"))?;
        let user = self.auth.user(self.scope, &caller.uid).await?;
        let user = user.ok_or_else(|| AuthError::unauthenticated("the user has been deleted"))?;
        Ok((caller, user))
    }

    async fn sign_in_anonymously(&self) -> AuthResult<Members> {
        let known = self.text("anonymous_uuid")?;
        let uuid = known.map_or_else(|| self.auth.new_device_id(), str::to_owned);
        let credentials = self
            .auth
            .sign_in_anonymously(self.scope, Some(&uuid), false)
            .await?;
        let mut members = signed_in(&credentials);
        members.insert("uuid".to_owned(), json!(uuid));
        Ok(members)
    }

    async fn sign_in_with_ticket(&self) -> AuthResult<Members> {
        let ticket = self.required("ticket")?;
        let credentials = self
            .auth
            .sign_in_with_ticket(self.scope, ticket, false)
            .await?;
        Ok(signed_in(&credentials))
    }

    async fn sign_in(&self) -> AuthResult<Members> {
        match self.required("loginType")? {
            "USERNAME" => {
                let username = self.required("username")?;
                let password = self.text("password")?.unwrap_or_default();
                let method = self.text("signMethod")?.unwrap_or("SIGNIN");
                if !matches!(method, "SIGNIN" | "SIGNUP") {
                    return Err(AuthError::argument(
                        "`signMethod` needs SIGNIN or SIGNUP with a user name",
                    ));
                }
                if method == "SIGNUP" {
                    let new = NewUser {
                        username: username.to_owned(),
                        password: Some(password.to_owned()),
                        ..NewUser::default()
                    };
                    return Ok(signed_in(&self.auth.sign_up(self.scope, new, false).await?));
                }
                let credentials = self
                    .auth
                    .sign_in_with_password(self.scope, username, password, false)
                    .await?;
                Ok(signed_in(&credentials))
            }
            "WECHAT-OPEN" | "WECHAT-PUBLIC" | "WECHAT" => {
                let appid = self.required("appid")?;
                let code = self.required("loginCredential")?;
                let user = self.auth.wechat_user(self.scope, appid, code).await?;
                let by_union = self.params.get("withUnionId") == Some(&Value::Bool(true));
                let credentials = self
                    .auth
                    .sign_in_with_wechat(
                        self.scope,
                        appid.to_owned(),
                        user.openid,
                        user.unionid,
                        by_union,
                        false,
                    )
                    .await?;
                Ok(signed_in(&credentials))
            }
            "EMAIL" | "PHONE" => Err(AuthError::new(
                Reason::ProviderNotEnabled,
                "signing in by e-mail or phone needs a sender, and this version has none",
            )),
            _ => Err(AuthError::argument(
                "`loginType` needs USERNAME or WECHAT-OPEN",
            )),
        }
    }

    async fn fetch(&self) -> AuthResult<Members> {
        let token = self.required("refresh_token")?;
        let credentials = self.auth.refresh(self.scope, token).await?;
        let mut members = Members::new();
        let lifetime_ms = credentials.expires_in * 1000;
        members.insert("access_token".to_owned(), json!(credentials.access_token));
        members.insert("access_token_expire".to_owned(), json!(lifetime_ms));
        Ok(members)
    }

    async fn log_out(&self) -> AuthResult<Members> {
        if let Some(token) = self.text("refresh_token")? {
            self.auth.revoke(self.scope, token).await?;
        }
        Ok(Members::new())
    }

    async fn is_registered(&self) -> AuthResult<Members> {
        let identity = Identity::Name(self.required("username")?.to_owned());
        let user = self.auth.user_by(self.scope, &identity).await?;
        Ok(data(json!({ "isRegistered": user.is_some() })))
    }

    async fn user_info(&self) -> AuthResult<Members> {
        let (caller, user) = self.owner().await?;
        Ok(data(json!({
            "uid": user.uid,
            "loginType": caller.login_type.as_str(),
            "nickName": user.profile.name,
            "gender": user.profile.gender,
            "avatarUrl": user.profile.picture,
            "username": user.username,
            "customUserId": user.custom_id,
            "wxOpenId": user.openid,
            "wxUnionId": user.unionid,
            "hasPassword": user.password.is_some(),
            "country": user.profile.country,
            "province": user.profile.province,
            "city": user.profile.city,
        })))
    }

    async fn update_profile(&self) -> AuthResult<Members> {
        let (_, user) = self.owner().await?;
        let text = |name: &str| self.text(name).map(|text| text.map(str::to_owned));
        let profile = Profile {
            name: text("nickName")?,
            picture: text("avatarUrl")?,
            gender: text("gender")?,
            country: text("country")?,
            province: text("province")?,
            city: text("city")?,
            ..Profile::default()
        };
        self.auth
            .edit_profile(self.scope, &user.uid, &profile)
            .await?;
        // js-sdk 1 keeps what comes back as what it knows of the user.
        self.user_info().await
    }

    async fn update_username(&self) -> AuthResult<Members> {
        let (_, user) = self.owner().await?;
        let username = self.required("username")?;
        self.auth.rename_user(self.scope, &user, username).await?;
        Ok(Members::new())
    }

    async fn update_password(&self) -> AuthResult<Members> {
        let (caller, user) = self.owner().await?;
        let new = self.required("newPassword")?;
        if user.password.is_some() {
            let old = self.required("oldPassword")?;
            self.auth.prove_password(self.scope, &user, old).await?;
        }
        let keep = Some(caller.session.as_str());
        self.auth
            .set_password(self.scope, &user.uid, new, keep)
            .await?;
        Ok(Members::new())
    }

    /// Links the caller, an anonymous user above all, to the custom id of a ticket.
    async fn link(&self) -> AuthResult<Members> {
        let ticket = self.required("ticket")?;
        let uid = match self.caller {
            Some(caller) => caller.uid.clone(),
            // js-sdk 1 sends the refresh token of the anonymous user here, and sometimes no access token.
            None => {
                let token = self.required("refresh_token")?;
                self.auth.refresh(self.scope, token).await?.sub
            }
        };
        let custom_id = self.auth.ticket_owner(self.scope, ticket).await?;
        let identity = Identity::Custom(custom_id.clone());
        if !self.auth.claim(self.scope, &identity, &uid).await? {
            return Err(AuthError::new(
                Reason::AlreadyExists,
                "the ticket's user exists already and cannot be linked: sign in with the ticket",
            ));
        }
        let set = bson::doc! { "custom_id": custom_id, "anonymous": false };
        self.auth.change_user(self.scope, &uid, set).await?;
        self.auth.forget_devices(self.scope, &uid).await?;
        self.sign_in_with_ticket().await
    }
}

/// Only the refresh token: js-sdk 1 fetches the access token itself, and reads its lifetime there.
fn signed_in(credentials: &Credentials) -> Members {
    let mut members = Members::new();
    members.insert("refresh_token".to_owned(), json!(credentials.refresh_token));
    members
}

fn data(mut value: Value) -> Members {
    if let Value::Object(members) = &mut value {
        members.retain(|_, value| !value.is_null());
    }
    let mut members = Members::new();
    members.insert("data".to_owned(), value);
    members
}
