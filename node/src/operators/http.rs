//! Sign-in of operators over HTTP with JSON, for the console: `POST /operators/v1/sign-in`, `/refresh` and `/sign-out`,
//! `GET /operators/v1/whoami`. The access token then opens `/admin` and `/v1/database` as a bearer token.
//!
//! Errors are `{code, message, requestId}` with a status that fits. No answer may be kept by a cache. Closed to pages of
//! other origins, as all pages of operators are.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::access::{Access, Operator};
use super::roles::Grant;
use super::{Operators, SignedIn};
use crate::audit::record::Origin;
use crate::auth::{AuthError, AuthResult, Reason};
use crate::surface::client_address::ClientAddress;

/// Largest body: none holds more than a name and a password, or a token.
const BODY_BYTES_MAX: usize = 4096;
/// Requests that a node works on at one time; more are refused.
const REQUESTS_MAX: usize = 256;

struct Door {
    operators: Arc<Operators>,
    requests: Semaphore,
}

type Address = Option<Extension<ClientAddress>>;

/// The routes.
pub fn router(operators: Arc<Operators>) -> Router {
    Router::new()
        .route("/operators/v1/sign-in", post(sign_in))
        .route("/operators/v1/refresh", post(refresh))
        .route("/operators/v1/sign-out", post(sign_out))
        .route("/operators/v1/whoami", get(whoami))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(Arc::new(Door {
            operators,
            requests: Semaphore::new(REQUESTS_MAX),
        }))
}

#[derive(Deserialize)]
struct SignIn {
    name: String,
    password: String,
}

#[derive(Deserialize)]
struct Refresh {
    refresh_token: String,
}

fn address_of(address: Address) -> Option<IpAddr> {
    address.map(|Extension(ClientAddress(address))| address)
}

async fn sign_in(
    State(door): State<Arc<Door>>,
    address: Address,
    body: Result<Json<SignIn>, JsonRejection>,
) -> Response {
    let address = address_of(address);
    door.answer(Access::User.origin(address, ""), async |origin| {
        let Json(asked) = body.map_err(malformed)?;
        let operators = &door.operators;
        let signed_in = operators.sign_in(origin, address, &asked.name, &asked.password);
        signed_in.await.map(|signed_in| shown(&signed_in))
    })
    .await
}

async fn refresh(
    State(door): State<Arc<Door>>,
    address: Address,
    body: Result<Json<Refresh>, JsonRejection>,
) -> Response {
    let address = address_of(address);
    door.answer(Access::User.origin(address, ""), async |origin| {
        let Json(asked) = body.map_err(malformed)?;
        let signed_in = door.operators.refresh(origin, &asked.refresh_token);
        signed_in.await.map(|signed_in| shown(&signed_in))
    })
    .await
}

async fn sign_out(State(door): State<Arc<Door>>, address: Address, headers: HeaderMap) -> Response {
    let address = address_of(address);
    door.answer(Access::User.origin(address, ""), async |origin| {
        let operator = door.caller(&headers).await?;
        let access = Access::Operator(operator.clone());
        let origin = access.origin(address, &origin.request_id);
        door.operators.sign_out(&origin, &operator).await?;
        Ok(json!({}))
    })
    .await
}

async fn whoami(State(door): State<Arc<Door>>, headers: HeaderMap) -> Response {
    door.answer(Origin::default(), async |_| {
        let operator = door.caller(&headers).await?;
        Ok(json!({
            "operator": operator.name,
            "roles": shown_roles(&operator.grants),
            "session": operator.session,
        }))
    })
    .await
}

impl Door {
    async fn caller(&self, headers: &HeaderMap) -> AuthResult<Arc<Operator>> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "))
            .ok_or_else(|| {
                AuthError::unauthenticated("this needs an operator's access token: sign in")
            })?;
        self.operators.authenticate(token.trim()).await
    }

    async fn answer(
        &self,
        origin: Origin,
        work: impl AsyncFnOnce(&Origin) -> AuthResult<Value>,
    ) -> Response {
        let request_id = crate::gateway::request_id();
        let origin = Origin {
            request_id: request_id.clone(),
            ..origin
        };
        let outcome = match self.requests.try_acquire() {
            Ok(_permit) => work(&origin).await,
            Err(_) => Err(super::unavailable(
                "the server signs in as many operators as it may: try again shortly",
            )),
        };
        let no_store = [(header::CACHE_CONTROL, "no-store")];
        match outcome {
            Ok(answer) => (StatusCode::OK, no_store, Json(answer)).into_response(),
            Err(error) => {
                let answer = json!({
                    "code": error.reason.action_code(),
                    "message": error.message,
                    "requestId": request_id,
                });
                (status_of(error.reason), no_store, Json(answer)).into_response()
            }
        }
    }
}

fn status_of(reason: Reason) -> StatusCode {
    match reason {
        Reason::InvalidUsernameOrPassword => StatusCode::UNAUTHORIZED,
        reason => reason.status(),
    }
}

#[allow(clippy::needless_pass_by_value)] // The shape that `map_err` wants.
fn malformed(rejection: JsonRejection) -> AuthError {
    AuthError::argument(rejection.body_text())
}

fn shown_roles(grants: &[Grant]) -> Vec<Value> {
    let shown = |grant: &Grant| json!({ "role": grant.role.as_str(), "env": grant.env });
    grants.iter().map(shown).collect()
}

fn shown(signed_in: &SignedIn) -> Value {
    json!({
        "operator": signed_in.operator.name,
        "roles": shown_roles(&signed_in.operator.grants),
        "access_token": signed_in.access_token,
        "access_until_ms": signed_in.access_until_ms,
        "refresh_token": signed_in.refresh_token,
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::auth::test_bed::Bed;
    use crate::operators::roles::Role;
    use crate::operators::test_bed::{PASSWORD, grant, node};

    async fn call(
        operators: &Arc<Operators>,
        method: &str,
        path: &str,
        token: &str,
        body: &str,
    ) -> (u16, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/operators/v1/{path}"))
            .header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer = router(operators.clone()).oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    #[tokio::test]
    async fn operators_sign_in_stay_and_sign_out() {
        let bed = Bed::new();
        let operators = node(&bed);
        operators
            .newcomer(&bed, "root", vec![grant(Role::Owner, None)])
            .await;
        let body = json!({ "name": "root", "password": PASSWORD }).to_string();
        let (status, signed_in) = call(&operators, "POST", "sign-in", "", &body).await;
        assert_eq!(status, 200);
        assert_eq!(
            signed_in["roles"],
            json!([{ "role": "owner", "env": null }])
        );
        let refresh = json!({ "refresh_token": signed_in["refresh_token"] }).to_string();
        let (status, fresh) = call(&operators, "POST", "refresh", "", &refresh).await;
        assert_eq!(status, 200);
        let token = fresh["access_token"].as_str().unwrap();
        let (_, who) = call(&operators, "GET", "whoami", token, "").await;
        assert_eq!(who["operator"], "root");
        assert_eq!(call(&operators, "POST", "sign-out", token, "").await.0, 200);
        let (status, refused) = call(&operators, "GET", "whoami", token, "").await;
        assert_eq!(
            (status, &refused["code"]),
            (401, &json!("INVALID_ACCESS_TOKEN"))
        );
        assert!(refused["requestId"].is_string());
    }

    #[tokio::test]
    async fn everything_else_is_refused_by_name() {
        let bed = Bed::new();
        let operators = node(&bed);
        let long = json!({ "name": "x".repeat(BODY_BYTES_MAX), "password": "p" }).to_string();
        for (method, path, body, expected) in [
            (
                "POST",
                "sign-in",
                r#"{"name": "root", "password": "x"}"#,
                401,
            ),
            ("POST", "sign-in", r#"{"name": "root"}"#, 400),
            (
                "POST",
                "sign-in",
                r#"{"name": {"$ne": 1}, "password": "x"}"#,
                400,
            ),
            ("POST", "sign-in", "{", 400),
            ("POST", "sign-in", long.as_str(), 400),
            ("POST", "refresh", r#"{"refresh_token": "x"}"#, 401),
            ("POST", "sign-out", "", 401),
            ("GET", "whoami", "", 401),
            ("GET", "sign-in", "", 405),
        ] {
            let (status, _) = call(&operators, method, path, "", body).await;
            assert_eq!(status, expected, "{method} {path} {body:.60}");
        }
    }
}
