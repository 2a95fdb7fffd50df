//! Signing in, signing up, refreshing, revoking.

use serde_json::{Value, json};

use super::request::{Request, answer};
use crate::auth::error::{AuthError, AuthResult};
use crate::auth::records::Profile;
use crate::auth::sign_in::NewUser;
use crate::auth::{Auth, Reason};

pub(super) async fn anonymously(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let scope = &request.scope;
    let credentials = match request.text("provider_token")? {
        Some(token) => auth.sign_in_anonymously_with_grant(scope, token).await?,
        None => {
            let device = request.device_id.as_deref();
            auth.sign_in_anonymously(scope, device, true).await?
        }
    };
    answer(&credentials)
}

pub(super) async fn with_password(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let username = request.required("username")?;
    if request.text("verification_token")?.is_some() {
        return Err(no_codes());
    }
    if request.text("password")?.is_none() && request.text("params")?.is_some() {
        return Err(AuthError::new(
            Reason::Unimplemented,
            "encrypted parameters are not supported: use TLS and send `password`",
        ));
    }
    let password = request.required("password")?;
    let scope = &request.scope;
    answer(
        &auth
            .sign_in_with_password(scope, username, password, true)
            .await?,
    )
}

pub(super) async fn sign_up(auth: &Auth, request: &Request) -> AuthResult<Value> {
    for member in ["verification_token", "verification_code"] {
        if request.text(member)?.is_some() {
            return Err(no_codes());
        }
    }
    for member in ["phone_number", "email"] {
        if request.text(member)?.is_some() {
            return Err(AuthError::new(
                Reason::ProviderNotEnabled,
                format!(
                    "`{member}` has to be verified, which needs an SMS or e-mail sender, and this version has none: sign up with `username` and `password`"
                ),
            ));
        }
    }
    if let Some(token) = request.text("provider_token")? {
        return answer(&auth.sign_in_with_grant(&request.scope, token).await?);
    }
    let profile: Profile = request.members()?;
    let new = NewUser {
        username: request.required("username")?.to_owned(),
        password: Some(request.required("password")?.to_owned()),
        profile,
    };
    let credentials = match request.text("anonymous_token")? {
        Some(token) => auth.convert_anonymous(&request.scope, token, new).await?,
        None => auth.sign_up(&request.scope, new, true).await?,
    };
    answer(&credentials)
}

fn no_codes() -> AuthError {
    AuthError::new(
        Reason::InvalidVerificationCode,
        "verification codes need an SMS or e-mail sender, and this version has none",
    )
}

pub(super) async fn with_ticket(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let ticket = request.required("ticket")?;
    answer(
        &auth
            .sign_in_with_ticket(&request.scope, ticket, true)
            .await?,
    )
}

pub(super) async fn with_provider(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let token = request.required("provider_token")?;
    answer(&auth.sign_in_with_grant(&request.scope, token).await?)
}

pub(super) async fn refresh(auth: &Auth, request: &Request) -> AuthResult<Value> {
    match request.required("grant_type")? {
        "refresh_token" => {}
        "client_credentials" => {
            return Err(AuthError::new(
                Reason::Unimplemented,
                "servers sign their requests with a secret key instead of `client_credentials`",
            ));
        }
        _ => {
            return Err(AuthError::argument("`grant_type` needs `refresh_token`"));
        }
    }
    let token = request.required("refresh_token")?;
    answer(&auth.refresh(&request.scope, token).await?)
}

pub(super) async fn revoke(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let token = request.required("token")?;
    auth.revoke(&request.scope, token).await?;
    Ok(json!({}))
}
