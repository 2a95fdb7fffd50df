//! WeChat identities: tokens for them, and linking them to a user.

use serde_json::{Value, json};

use super::account::provider_list;
use super::request::Request;
use crate::auth::error::{AuthError, AuthResult};
use crate::auth::records::IdentityRecord;
use crate::auth::{Auth, Reason};

pub(super) async fn token(auth: &Auth, request: &Request) -> AuthResult<Value> {
    #[derive(serde::Deserialize, Default)]
    struct Members {
        provider_params: Option<Params>,
    }
    #[derive(serde::Deserialize, Default)]
    struct Params {
        provider_code_type: Option<String>,
        appid: Option<String>,
    }
    let members: Members = request.members()?;
    let params = members.provider_params.unwrap_or_default();
    let by_union = match params.provider_code_type.as_deref() {
        None | Some("open_id") => false,
        Some("union_id") => true,
        Some("phone") => {
            return Err(AuthError::new(
                Reason::ProviderNotEnabled,
                "signing in with the phone number of WeChat is not part of this version: use `open_id` or `union_id`",
            ));
        }
        Some(_) => {
            return Err(AuthError::argument(
                "`provider_code_type` needs `open_id` or `union_id`",
            ));
        }
    };
    let appid = match params.appid {
        Some(appid) if !appid.is_empty() => appid,
        _ => request.required("provider_id")?.to_owned(),
    };
    let code = request.required("provider_code")?;
    let token = auth.grant(&request.scope, &appid, code, by_union).await?;
    Ok(json!({
        "provider_token": token,
        "expires_in": auth.limits.provider_token_ms / 1000,
    }))
}

pub(super) async fn list(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let caller = request.caller(auth).await?;
    let identities = auth.identities(&request.scope, &caller.uid).await?;
    let data = provider_list(&identities);
    Ok(json!({ "total": data.as_array().map_or(0, Vec::len), "data": data }))
}

pub(super) async fn bind(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let scope = &request.scope;
    let caller = request.caller(auth).await?;
    let grant = auth
        .take_grant(scope, request.required("provider_token")?)
        .await?;
    auth.bind_wechat(scope, &caller.uid, grant).await?;
    Ok(json!({}))
}

pub(super) async fn unbind(auth: &Auth, request: &Request, provider: &str) -> AuthResult<Value> {
    let scope = &request.scope;
    let caller = request.caller(auth).await?;
    let user = auth.require_user(scope, &caller.uid).await?;
    let identities = auth.identities(scope, &caller.uid).await?;
    let (linked, others): (Vec<&IdentityRecord>, Vec<&IdentityRecord>) = identities
        .iter()
        .partition(|identity| identity.provider.as_deref() == Some(provider));
    if linked.is_empty() {
        return Err(AuthError::new(
            Reason::NotFound,
            "this provider is not linked to the user",
        ));
    }
    let by_name = user.username.is_some() && user.password.is_some();
    let remains = others.iter().any(|identity| identity.provider.is_some());
    if !by_name && !remains {
        return Err(AuthError::new(
            Reason::FailedPrecondition,
            "this is the user's only way to sign in: set a user name and password first",
        ));
    }
    for identity in linked {
        auth.release(scope, &identity.id, &caller.uid).await?;
    }
    Ok(json!({}))
}
