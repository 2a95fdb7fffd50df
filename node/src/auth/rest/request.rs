//! One request of the login door: its method, environment, members and bearer, whatever way they came.

use axum::body::Body;
use axum::extract::Request as HttpRequest;
use axum::http::{HeaderMap, Method, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::auth::access_token::claimed_env;
use crate::auth::error::{AuthError, AuthResult};
use crate::auth::store::Scope;
use crate::auth::{Auth, Reason};
use crate::call::EndUser;
use crate::surface::client_address::ClientAddress;

/// A request that has been read whole.
pub(super) struct Request {
    /// After `X-HTTP-Method-Override`.
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) scope: Scope,
    /// The stable id of the client's installation.
    pub(super) device_id: Option<String>,
    query: Vec<(String, String)>,
    body: Map<String, Value>,
    bearer: Option<String>,
}

impl Request {
    /// Reads a request and settles which environment it is about.
    pub(super) async fn read(
        auth: &Auth,
        request: HttpRequest,
        request_id: &str,
    ) -> AuthResult<Self> {
        let (parts, body) = request.into_parts();
        let address = parts.extensions.get::<ClientAddress>().map(|one| one.0);
        let body = read_body(body, auth.limits.body_bytes_max).await?;
        let query: Vec<(String, String)> =
            form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let body = parse_body(&body)?;
        let bearer = authorization(&parts.headers, "Bearer ").map(str::to_owned);
        let env = env_of(&query, &body, &parts.headers, bearer.as_deref())?;
        Ok(Self {
            method: method_of(&parts.method, &parts.headers)?,
            path: parts.uri.path().to_owned(),
            scope: auth.scope(&env, request_id, auth.limits.request_deadline, address)?,
            device_id: parts
                .headers
                .get("x-device-id")
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned),
            query,
            body,
            bearer,
        })
    }

    /// The user whose access token came along, with a session in force.
    pub(super) async fn caller(&self, auth: &Auth) -> AuthResult<std::sync::Arc<EndUser>> {
        let bearer = self
            .bearer
            .as_deref()
            .ok_or_else(|| AuthError::unauthenticated("this needs an access token: sign in"))?;
        auth.end_user(&self.scope, bearer).await
    }

    /// A text in the body; absent, `null` and `""` are the same.
    pub(super) fn text(&self, name: &str) -> AuthResult<Option<&str>> {
        match self.body.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(AuthError::argument(format!("`{name}` needs a text"))),
        }
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str) -> AuthResult<&str> {
        self.text(name)?
            .ok_or_else(|| AuthError::argument(format!("`{name}` is missing")))
    }

    /// A text in the query.
    pub(super) fn asked(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(own, value)| own == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// All texts of one name in the query, also as `name[]` and separated by commas.
    pub(super) fn asked_all(&self, name: &str) -> Vec<&str> {
        self.query
            .iter()
            .filter(|(own, _)| own.strip_suffix("[]").unwrap_or(own) == name)
            .flat_map(|(_, value)| value.split(','))
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// The body's members that `T` has.
    pub(super) fn members<T: DeserializeOwned>(&self) -> AuthResult<T> {
        serde_json::from_value(Value::Object(self.body.clone()))
            .map_err(|error| AuthError::argument(format!("the body is malformed: {error}")))
    }
}

/// A record as the answer of a request.
pub(super) fn answer<T: Serialize>(record: &T) -> AuthResult<Value> {
    serde_json::to_value(record).map_err(AuthError::internal)
}

async fn read_body(body: Body, bytes_max: usize) -> AuthResult<Vec<u8>> {
    let collected = Limited::new(body, bytes_max).collect().await;
    collected
        .map(|body| body.to_bytes().to_vec())
        .map_err(|error| {
            let too_large = error.is::<http_body_util::LengthLimitError>();
            AuthError::argument(if too_large {
                format!("the body is larger than {bytes_max} bytes")
            } else {
                "the body broke off".to_owned()
            })
        })
}

/// A JSON object, a form, or nothing. The parser bounds the nesting itself.
fn parse_body(bytes: &[u8]) -> AuthResult<Map<String, Value>> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| AuthError::argument("the body is not UTF-8"))?
        .trim();
    if text.is_empty() || text == "null" {
        return Ok(Map::new());
    }
    if text.starts_with('{') {
        return serde_json::from_str(text)
            .map_err(|error| AuthError::argument(format!("the body is not JSON: {error}")));
    }
    if text.contains('=') {
        let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
        return Ok(pairs.map(|(name, value)| (name, value.into())).collect());
    }
    Err(AuthError::argument("the body must be one JSON object"))
}

fn method_of(method: &Method, headers: &HeaderMap) -> AuthResult<Method> {
    let Some(wanted) = headers.get("x-http-method-override") else {
        return Ok(method.clone());
    };
    match (method, wanted.as_bytes()) {
        (&Method::POST, b"PATCH") => Ok(Method::PATCH),
        (&Method::POST, b"PUT") => Ok(Method::PUT),
        (&Method::POST, b"DELETE") => Ok(Method::DELETE),
        (&Method::POST, b"POST") => Ok(Method::POST),
        _ => Err(AuthError::argument(
            "X-HTTP-Method-Override makes PATCH, PUT or DELETE of a POST and nothing else",
        )),
    }
}

fn authorization<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (own, rest) = value.split_at_checked(scheme.len())?;
    let rest = rest.trim();
    (own.eq_ignore_ascii_case(scheme) && !rest.is_empty()).then_some(rest)
}

/// The environment: what the access token is for, else what the client names. Both must agree.
fn env_of(
    query: &[(String, String)],
    body: &Map<String, Value>,
    headers: &HeaderMap,
    bearer: Option<&str>,
) -> AuthResult<String> {
    let asked = |name: &str| {
        query
            .iter()
            .find(|(own, value)| own == name && !value.is_empty())
            .map(|(_, value)| value.clone())
    };
    let basic = || {
        let decoded = STANDARD.decode(authorization(headers, "Basic ")?).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (client, _) = text.split_once(':')?;
        (!client.is_empty()).then(|| client.to_owned())
    };
    let named = body.get("client_id").and_then(Value::as_str);
    let named = named
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .or_else(|| asked("client_id"))
        .or_else(|| asked("env"))
        .or_else(basic);
    let Some(bearer) = bearer else {
        return named.ok_or_else(|| {
            AuthError::argument("the request names no environment: pass `client_id`")
        });
    };
    let Some(claimed) = claimed_env(bearer) else {
        return Err(AuthError::unauthenticated(
            "the access token is malformed: sign in again",
        ));
    };
    if named.is_some_and(|named| named != claimed) {
        return Err(AuthError::new(
            Reason::Unauthenticated,
            "the access token is of another environment: sign in again",
        ));
    }
    Ok(claimed)
}
