//! `/v1/database/…`: one request of an app by path and method, from its head and body to its outcome.
//!
//! Serves `@cloudbase/js-sdk` 3 in browsers, Node.js and, with its adapter, Mini Programs. Gathers what the path, the
//! query and the body say into the members of an action, so that nothing here differs from the other doors but the
//! form. Members that no call of this table has are left alone, since the clients send some of their own.

mod commands;
mod respond;
mod route;

use std::borrow::Cow;
use std::time::Instant;

use axum::extract::Query;
use axum::http::request::Parts;
use bson::Bson;

pub(super) use respond::respond;

use self::route::{Address, Route};
use super::actions::{self, CallContext, Family};
use super::bearer::{self, Identity};
use super::body::Members;
use super::door::Trace;
use super::ejson::write_json_string;
use super::envelope::Answer;
use super::environment::Named;
use super::params::{Params, wrong};
use super::signature::{self, SignedRequest};
use super::{GatewayState, codes, head, operator};
use crate::call::{Failure, Retry};

/// Finds out who asks, and carries out the call.
pub(super) async fn answer(
    state: &GatewayState,
    parts: &Parts,
    body: &[u8],
    request_id: &str,
    deadline: Instant,
    trace: &mut Trace,
) -> Result<Answer, Failure> {
    let now_unix_ms = state.clock.now_unix_ms();
    head::check_headers(&parts.headers, state.limits.header_bytes_max)?;
    let credentials = credentials(parts)?;
    // Many calls have no body, and some clients then send nothing at all.
    let members = if body.iter().all(u8::is_ascii_whitespace) {
        Members::from_entries(Vec::new())
    } else {
        Members::parse(body, &state.limits)?
    };
    let request = Proving {
        state,
        parts,
        body,
        credentials,
        members: &members,
        now_unix_ms,
    };
    let identity = request.identity(request_id, deadline, trace).await?;
    let address = route::parse(method(parts), parts.uri.path())?;
    trace.name_action(address.route.name());
    let gate = operator::gate(state, parts, identity.access);
    let context = CallContext {
        execute: &gate,
        transactions: &gate,
        caller: identity.caller,
        env: identity.env,
        deadline,
        request_id,
    };
    let gathered = Gathered::of(&address, &members, parts)?;
    let own = gathered.members();
    let params = Params::new(&own, &state.limits, now_unix_ms);
    match &address.route {
        Route::Get { id, .. } => actions::get_one(&ids_of(id), params, &context).await,
        Route::UpdateOne { id, .. } => actions::update_one(&ids_of(id), params, &context).await,
        Route::RunCommands => commands::run(&params, &context).await,
        Route::Find { .. } if params.flag("count")? == Some(true) => {
            actions::dispatch_as(Family::Rest, "database.calculateDocument", params, &context).await
        }
        other => actions::dispatch_as(Family::Rest, other.name(), params, &context).await,
    }
}

/// The `Authorization` header; one without content is as good as none.
pub(super) fn credentials(parts: &Parts) -> Result<&str, Failure> {
    let authorization = head::text(&parts.headers, "authorization").unwrap_or_default();
    if matches!(authorization.trim(), "" | "Bearer") {
        let message =
            "the request carries no credentials: sign in first, or give the client an accessKey";
        return Err(Failure::new(
            codes::MISSING_CREDENTIALS,
            message,
            Retry::Never,
        ));
    }
    Ok(authorization)
}

/// A request whose sender is to be found out.
pub(super) struct Proving<'a> {
    pub(super) state: &'a GatewayState,
    pub(super) parts: &'a Parts,
    pub(super) body: &'a [u8],
    /// Its [`credentials`].
    pub(super) credentials: &'a str,
    /// Those of the body; none where it is no object.
    pub(super) members: &'a Members<'a>,
    pub(super) now_unix_ms: i64,
}

impl Proving<'_> {
    /// Who sent it: somebody whose session has not ended.
    pub(super) async fn identity(
        &self,
        request_id: &str,
        deadline: Instant,
        trace: &mut Trace,
    ) -> Result<Identity, Failure> {
        let identity = match operator::identify(self.state, self.parts, || self.named()).await? {
            Some(identity) => identity,
            None => self.holder()?,
        };
        identity.name().clone_into(&mut trace.caller);
        trace.env.clone_from(&identity.env);
        self.state
            .check_session(&identity.caller, &identity.env, request_id, deadline)
            .await?;
        Ok(identity)
    }

    fn named(&self) -> Result<Named, Failure> {
        let params = Params::new(self.members, &self.state.limits, self.now_unix_ms);
        Ok(Named::of(self.state, self.parts, params.text("envName")?))
    }

    /// The holder of a token or a key.
    fn holder(&self) -> Result<Identity, Failure> {
        let named = self.named()?;
        if let Some(token) = self.credentials.strip_prefix("Bearer ") {
            return bearer::identify(self.state, token.trim(), named, self.now_unix_ms);
        }
        let request = SignedRequest {
            method: self.parts.method.as_str(),
            host: head::host(self.parts),
            path: self.parts.uri.path(),
            raw_query: self.parts.uri.query().unwrap_or_default(),
            headers: &self.parts.headers,
            body: self.body,
            members: self.members,
            whole_body: true,
        };
        let limits = &self.state.limits;
        let proven =
            signature::authenticate(&request, &*self.state.keys, self.now_unix_ms, limits)?;
        Identity::administrator(self.state, proven, named)
    }
}

/// The method meant: some platforms can send POST only and name the real one in a header.
pub(super) fn method(parts: &Parts) -> &str {
    let own = parts.method.as_str();
    match head::text(&parts.headers, "x-http-method-override") {
        Some(other @ ("PATCH" | "PUT" | "DELETE")) if own == "POST" => other,
        _ => own,
    }
}

/// What an id in a path may stand for. The clients write numbers and strings alike, so a text that reads as a number is
/// looked for as both; where both exist, the string is meant.
fn ids_of(text: &str) -> Vec<Bson> {
    let mut ids = vec![Bson::String(text.to_owned())];
    if let Ok(whole) = text.parse::<i64>()
        && whole.to_string() == text
    {
        ids.push(Bson::Int64(whole));
    } else if let Ok(number) = text.parse::<f64>()
        && number.is_finite()
        && number.to_string() == text
    {
        ids.push(Bson::Double(number));
    }
    ids
}

/// The members of an action, gathered from path, query and body.
struct Gathered<'a> {
    written: Vec<(String, String)>,
    taken: Vec<(&'static str, &'a str)>,
}

impl<'a> Gathered<'a> {
    fn of(address: &Address<'_>, body: &Members<'a>, parts: &Parts) -> Result<Self, Failure> {
        let mut gathered = Self {
            written: Vec::new(),
            taken: Vec::new(),
        };
        gathered.write("instance", &address.instance);
        gathered.write("database", &address.database);
        match &address.route {
            Route::CreateCollection => gathered.take(body, &["collectionName"]),
            Route::Add { collection } => {
                gathered.write("collectionName", collection);
                gathered.take(body, &["data", "transactionId"]);
            }
            Route::Find { collection } | Route::Get { collection, .. } => {
                gathered.write("collectionName", collection);
                gathered.take_query(parts)?;
            }
            Route::Update { collection } => {
                gathered.write("collectionName", collection);
                gathered.take(body, &["query", "data", "multi", "upsert", "transactionId"]);
                let replace = body.raw("replaceMode") == Some("true");
                gathered
                    .taken
                    .push(("merge", if replace { "false" } else { "true" }));
            }
            Route::UpdateOne { collection, .. } => {
                gathered.write("collectionName", collection);
                gathered.take(body, &["data", "returnDoc", "transactionId"]);
            }
            Route::Remove { collection } => {
                gathered.write("collectionName", collection);
                gathered.take(body, &["query", "multi", "transactionId"]);
            }
            Route::Aggregate { collection } => {
                gathered.write("collectionName", collection);
                gathered.take(body, &["pipeline", "transactionId"]);
            }
            Route::StartTransaction => {}
            Route::Commit { transaction } | Route::Rollback { transaction } => {
                gathered.write("transactionId", transaction);
            }
            Route::RunCommands => gathered.take(body, &["commands", "transactionId"]),
        }
        Ok(gathered)
    }

    fn write(&mut self, name: &str, text: &str) {
        let mut raw = String::with_capacity(text.len() + 2);
        write_json_string(&mut raw, text);
        self.written.push((name.to_owned(), raw));
    }

    fn take(&mut self, body: &Members<'a>, names: &[&'static str]) {
        let present = names
            .iter()
            .filter_map(|name| body.raw(name).map(|raw| (*name, raw)));
        self.taken.extend(present);
    }

    /// The parameters of a GET: numbers and truth values as they are, everything else as text.
    fn take_query(&mut self, parts: &Parts) -> Result<(), Failure> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| wrong("the query of the URL", &error.to_string()))?;
        for (name, value) in pairs {
            let known = [
                "count",
                "limit",
                "offset",
                "order",
                "projection",
                "query",
                "transactionId",
            ];
            if !known.contains(&name.as_str()) {
                continue;
            }
            if self.written.iter().any(|(own, _)| *own == name) {
                return Err(wrong(&name, "to stand in the query once"));
            }
            let literal = match name.as_str() {
                "count" => matches!(value.as_str(), "true" | "false"),
                "limit" | "offset" => value.parse::<u64>().is_ok(),
                _ => false,
            };
            if literal {
                self.written.push((name, value));
            } else {
                self.write(&name, &value);
            }
        }
        Ok(())
    }

    fn members(&self) -> Members<'_> {
        let written = self
            .written
            .iter()
            .map(|(name, raw)| (Cow::Borrowed(name.as_str()), raw.as_str()));
        let taken = self
            .taken
            .iter()
            .map(|(name, raw)| (Cow::Borrowed(*name), *raw));
        Members::from_entries(written.chain(taken).collect())
    }
}
