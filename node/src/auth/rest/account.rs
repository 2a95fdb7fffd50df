//! What users see and change of themselves.

use serde_json::{Map, Value, json};

use super::request::Request;
use crate::auth::access_token::ANONYMOUS;
use crate::auth::error::{AuthError, AuthResult};
use crate::auth::records::{IdentityRecord, Profile, SessionRecord, UserRecord};
use crate::auth::store::Scope;
use crate::auth::users::Identity;
use crate::auth::{Auth, Reason};
use crate::call::EndUser;

/// Most users that one question names.
const QUERY_USERS_MAX: usize = 50;

pub(super) async fn me(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let caller = request.caller(auth).await?;
    shown(auth, &request.scope, &caller).await
}

async fn shown(auth: &Auth, scope: &Scope, caller: &EndUser) -> AuthResult<Value> {
    let user = owner(auth, scope, caller).await?;
    let identities = auth.identities(scope, &user.uid).await?;
    Ok(user_object(&user, &identities, caller))
}

/// The user of a session: one that has just been deleted has none.
async fn owner(auth: &Auth, scope: &Scope, caller: &EndUser) -> AuthResult<UserRecord> {
    auth.user(scope, &caller.uid)
        .await?
        .ok_or_else(|| AuthError::unauthenticated("the user has been deleted"))
}

fn user_object(user: &UserRecord, identities: &[IdentityRecord], caller: &EndUser) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        object.insert(name.to_owned(), value);
    };
    put("sub", json!(user.uid));
    put("name", json!(shown_name(user)));
    put("username", json!(user.username));
    put("picture", json!(user.profile.picture));
    put("gender", json!(user.profile.gender));
    put("birthdate", json!(user.profile.birthdate));
    put("locale", json!(user.profile.locale));
    put("zoneinfo", json!(user.profile.zoneinfo));
    put("description", json!(user.profile.description));
    put("providers", provider_list(identities));
    put("groups", json!([]));
    put("created_from", json!(user.created_from));
    put("created_at", json!(timestamp(user.created_at_ms)));
    put("updated_at", json!(timestamp(user.updated_at_ms)));
    put("has_password", json!(user.password.is_some()));
    put("loginType", json!(caller.login_type.as_str()));
    object.retain(|_, value| !value.is_null());
    Value::Object(object)
}

/// The clients take the name `anonymous` for the mark of an anonymous user.
fn shown_name(user: &UserRecord) -> &str {
    if user.anonymous {
        return ANONYMOUS;
    }
    let own = user.profile.name.as_deref().or(user.username.as_deref());
    own.unwrap_or_default()
}

pub(super) fn provider_list(identities: &[IdentityRecord]) -> Value {
    let linked = identities.iter().filter_map(|identity| {
        let provider = identity.provider.as_deref()?;
        Some(json!({
            "id": provider,
            "provider_user_id": identity.provider_user_id,
            "name": provider,
        }))
    });
    Value::Array(linked.collect())
}

fn timestamp(ms: i64) -> String {
    bson::DateTime::from_millis(ms)
        .try_to_rfc3339_string()
        .unwrap_or_default()
}

pub(super) async fn sign_out(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let caller = request.caller(auth).await?;
    auth.end_session(&request.scope, &caller.session).await?;
    Ok(json!({}))
}

pub(super) async fn revoke_all(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let caller = request.caller(auth).await?;
    auth.end_sessions(&request.scope, &caller.uid, None).await?;
    Ok(json!({}))
}

pub(super) async fn edit(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let scope = &request.scope;
    let caller = request.caller(auth).await?;
    let user = owner(auth, scope, &caller).await?;
    for member in ["email", "phone"] {
        if request.text(member)?.is_some() {
            return Err(AuthError::new(
                Reason::ProviderNotEnabled,
                format!(
                    "`{member}` has to be verified, which needs an SMS or e-mail sender, and this version has none"
                ),
            ));
        }
    }
    let profile = Profile {
        name: owned(request.text("nickname")?),
        picture: owned(request.text("avatar_url")?),
        gender: owned(request.text("gender")?),
        description: owned(request.text("description")?),
        ..Profile::default()
    };
    if let Some(new) = request.text("new_password")? {
        if user.password.is_some() {
            let old = request.required("password")?;
            auth.prove_password(scope, &user, old).await?;
        }
        let keep = Some(caller.session.as_str());
        auth.set_password(scope, &user.uid, new, keep).await?;
    }
    if let Some(username) = request.text("username")? {
        auth.rename_user(scope, &user, username).await?;
    }
    auth.edit_profile(scope, &user.uid, &profile).await?;
    Ok(json!({}))
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

pub(super) async fn profile(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let caller = request.caller(auth).await?;
    let profile: Profile = request.members()?;
    auth.edit_profile(&request.scope, &caller.uid, &profile)
        .await?;
    shown(auth, &request.scope, &caller).await
}

pub(super) async fn sudo(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let scope = &request.scope;
    let caller = request.caller(auth).await?;
    let user = owner(auth, scope, &caller).await?;
    if request.text("verification_token")?.is_some() {
        return Err(AuthError::new(
            Reason::InvalidVerificationCode,
            "verification codes need an SMS or e-mail sender, and this version has none: send `password`",
        ));
    }
    let password = request.text("password")?.unwrap_or_default();
    auth.prove_password(scope, &user, password).await?;
    let token = auth.open_sudo(scope, &caller).await?;
    Ok(json!({ "sudo_token": token }))
}

/// Lets through who has just given the password, here or through `user/sudo`; a user without one has none to give.
async fn prove_again(
    auth: &Auth,
    scope: &Scope,
    user: &UserRecord,
    session: &SessionRecord,
    sudo_token: Option<&str>,
    password: Option<&str>,
) -> AuthResult<()> {
    if user.password.is_none() {
        return Ok(());
    }
    if let Some(password) = password {
        return auth.prove_password(scope, user, password).await;
    }
    if sudo_token.is_some_and(|token| auth.holds_sudo(scope, session, token)) {
        return Ok(());
    }
    Err(AuthError::new(
        Reason::PermissionDenied,
        "this needs the password once more: get a `sudo_token` from /auth/v1/user/sudo",
    ))
}

pub(super) async fn set_password(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let scope = &request.scope;
    let caller = request.caller(auth).await?;
    let user = owner(auth, scope, &caller).await?;
    let session = auth.session_of(scope, &caller).await?;
    let (sudo, old) = (request.text("sudo_token")?, request.text("old_password")?);
    let new = request.required("new_password")?;
    prove_again(auth, scope, &user, &session, sudo, old).await?;
    auth.set_password(scope, &user.uid, new, Some(&caller.session))
        .await?;
    Ok(json!({}))
}

pub(super) async fn delete(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let scope = &request.scope;
    let caller = request.caller(auth).await?;
    let user = owner(auth, scope, &caller).await?;
    let session = auth.session_of(scope, &caller).await?;
    let sudo = request.asked("sudo_token").or(request.text("sudo_token")?);
    prove_again(auth, scope, &user, &session, sudo, None).await?;
    let identities = auth.identities(scope, &user.uid).await?;
    let gone = user_object(&user, &identities, &caller);
    auth.delete_user(scope, &user.uid).await?;
    Ok(gone)
}

pub(super) async fn exists(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let name = request.asked("username");
    let name = name.ok_or_else(|| AuthError::argument("`username` is missing"))?;
    let identity = Identity::Name(name.to_owned());
    let user = auth.user_by(&request.scope, &identity).await?;
    Ok(json!({ "exist": user.is_some() }))
}

/// What users may see of each other: what a page shows beside a name, and nothing to sign in with or write to.
pub(super) async fn query(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let scope = &request.scope;
    let caller = request.caller(auth).await?;
    if caller.login_type == crate::call::LoginType::Anonymous {
        return Err(AuthError::new(
            Reason::PermissionDenied,
            "looking up users needs a user who is not anonymous",
        ));
    }
    let ids = request.asked_all("id");
    if ids.len() > QUERY_USERS_MAX {
        return Err(AuthError::argument(format!(
            "one query names at most {QUERY_USERS_MAX} users"
        )));
    }
    let mut found = Vec::new();
    for id in ids {
        found.extend(auth.user(scope, id).await?);
    }
    if let Some(name) = request.asked("username") {
        let identity = Identity::Name(name.to_owned());
        found.extend(auth.user_by(scope, &identity).await?);
    }
    let data: Vec<Value> = found
        .iter()
        .map(|user| {
            json!({
                "sub": user.uid,
                "name": shown_name(user),
                "picture": user.profile.picture,
                "gender": user.profile.gender,
                "locale": user.profile.locale,
            })
        })
        .collect();
    Ok(json!({ "total": data.len(), "data": data }))
}
