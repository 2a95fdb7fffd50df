//! The door `/auth/v1/*` and `/auth/v2/*`: login of js-sdk 2 and 3 and of Mini Programs.
//!
//! Real HTTP statuses, errors as `{error, error_code, error_description}`. Bodies are read by what they contain, because
//! browsers label them `text/plain`. Whatever happens inside, there is an answer by the deadline, and no answer of
//! this door may be kept by a cache.

mod account;
mod providers;
mod request;
mod sign_in;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode, header};
use axum::routing::any;
use futures::FutureExt as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use self::request::Request;
use super::error::{AuthError, AuthResult, Reason};
use super::{Auth, AuthLimits};
use crate::gateway::adopt_request_id;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id taken over from a client.
const REQUEST_ID_BYTES_MAX: usize = 128;

struct Door {
    auth: Arc<Auth>,
    requests: Semaphore,
}

/// The routes.
pub fn router(auth: Arc<Auth>) -> Router {
    let requests = Semaphore::new(auth.limits.requests_in_flight_max);
    Router::new()
        .route("/auth/{*path}", any(answer))
        .with_state(Arc::new(Door { auth, requests }))
}

async fn answer(State(door): State<Arc<Door>>, request: HttpRequest) -> Response<Body> {
    let began = Instant::now();
    let offered = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let request_id = adopt_request_id(offered, REQUEST_ID_BYTES_MAX);
    let path = request.uri().path().to_owned();
    let outcome = Box::pin(door.carry_out(request, &request_id)).await;
    let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    // The path holds no secret: tokens travel in bodies and headers (`sudo_token` in a query, which is left out).
    let path: String = path
        .chars()
        .filter(char::is_ascii_graphic)
        .take(80)
        .collect();
    match &outcome {
        Ok(_) => tracing::debug!(request_id, path, duration_us, "login request answered"),
        Err(error) => {
            let error = error.reason.name();
            tracing::info!(
                request_id,
                path,
                duration_us,
                error,
                "login request refused"
            );
        }
    }
    respond(outcome, &request_id)
}

impl Door {
    async fn carry_out(&self, request: HttpRequest, request_id: &str) -> AuthResult<Value> {
        let Ok(_permit) = self.requests.try_acquire() else {
            return Err(AuthError::new(
                Reason::Unavailable,
                "the server works on as many sign-ins as it may: try again shortly",
            ));
        };
        let AuthLimits {
            request_deadline, ..
        } = self.auth.limits;
        let work = async {
            let request = Request::read(&self.auth, request, request_id).await?;
            dispatch(&self.auth, &request).await
        };
        let guarded = AssertUnwindSafe(work).catch_unwind();
        match tokio::time::timeout(request_deadline, guarded).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => Err(AuthError::internal("a login request panicked")),
            Err(_elapsed) => Err(AuthError::new(
                Reason::Unavailable,
                "the server did not finish in time: try again",
            )),
        }
    }
}

/// Carries out one request. Versions 1 and 2 differ only where a path stands for itself.
async fn dispatch(auth: &Auth, request: &Request) -> AuthResult<Value> {
    let path = request.path.as_str();
    let path = path.strip_prefix("/auth").unwrap_or(path);
    let action = path
        .strip_prefix("/v1/")
        .or_else(|| path.strip_prefix("/v2/"))
        .unwrap_or_default()
        .trim_end_matches('/');
    let (get, post) = (Method::GET, Method::POST);
    let (patch, delete) = (Method::PATCH, Method::DELETE);
    let is = |method: &Method, name: &str| request.method == *method && action == name;
    match () {
        () if is(&post, "signin/anonymously") => sign_in::anonymously(auth, request).await,
        () if is(&post, "signin") => sign_in::with_password(auth, request).await,
        () if is(&post, "signup") => sign_in::sign_up(auth, request).await,
        () if is(&post, "signin/custom") => sign_in::with_ticket(auth, request).await,
        () if is(&post, "signin/with/provider") => sign_in::with_provider(auth, request).await,
        () if is(&post, "token") => sign_in::refresh(auth, request).await,
        () if is(&post, "revoke") => sign_in::revoke(auth, request).await,
        () if is(&post, "user/signout") => account::sign_out(auth, request).await,
        () if is(&delete, "user/revoke/all") => account::revoke_all(auth, request).await,
        () if is(&get, "user/me") => account::me(auth, request).await,
        () if is(&delete, "user/me") => account::delete(auth, request).await,
        () if is(&post, "user/basic/edit") => account::edit(auth, request).await,
        () if is(&patch, "user/profile") => account::profile(auth, request).await,
        () if is(&get, "user/profile") => account::me(auth, request).await,
        () if is(&patch, "user/password") => account::set_password(auth, request).await,
        () if is(&post, "user/sudo") => account::sudo(auth, request).await,
        () if is(&get, "user/query") => account::query(auth, request).await,
        () if is(&get, "checkUsername") || is(&get, "checkIfUserExist") => {
            account::exists(auth, request).await
        }
        () if is(&post, "provider/token") => providers::token(auth, request).await,
        () if is(&get, "user/provider") => providers::list(auth, request).await,
        () if is(&post, "user/provider/bind") => providers::bind(auth, request).await,
        () if request.method == delete && action.starts_with("user/provider/") => {
            providers::unbind(auth, request, &action["user/provider/".len()..]).await
        }
        () => Err(missing(&request.method, action)),
    }
}

/// What a request that is not carried out asks for: each names what it would take.
fn missing(method: &Method, action: &str) -> AuthError {
    let sender = "it needs an SMS or e-mail sender, and this version has none";
    let (reason, why) = match action {
        "verification"
        | "verification/verify"
        | "signin/verificationcode"
        | "reset"
        | "signin/password/update"
        | "user/contact" => (Reason::ProviderNotEnabled, sender),
        "captcha/init" | "captcha/data" | "captcha/data/verify" => (
            Reason::ProviderNotEnabled,
            "it needs a captcha service, and this version has none: it asks for none either",
        ),
        "provider/uri" => (
            Reason::ProviderNotEnabled,
            "it needs an OAuth provider with pages of its own, and this version has none",
        ),
        "signin/username" | "signin/publickey" | "signin/publichkey" => (
            Reason::Unimplemented,
            "encrypted parameters are not supported: use TLS and /auth/v1/signin",
        ),
        "token/clientCredential" => (
            Reason::Unimplemented,
            "servers sign their requests with a secret key instead",
        ),
        _ => (Reason::Unimplemented, "it is not part of this version"),
    };
    let shown: String = action
        .chars()
        .filter(char::is_ascii_graphic)
        .take(64)
        .collect();
    AuthError::new(reason, format!("{method} {shown} is refused: {why}"))
}

fn respond(outcome: AuthResult<Value>, request_id: &str) -> Response<Body> {
    let (status, body, retry_after_s) = match outcome {
        Ok(body) => (StatusCode::OK, body, None),
        Err(error) => {
            let mut body = json!({
                "error": error.reason.name(),
                "error_code": error.reason.number(),
                "error_description": error.message,
                "request_id": request_id,
            });
            if let Some(seconds) = error.retry_after_s {
                body["retry_after"] = json!(seconds);
            }
            (error.reason.status(), body, error.retry_after_s)
        }
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    if let Some(seconds) = retry_after_s {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[cfg(test)]
#[path = "rest_test.rs"]
mod tests;
