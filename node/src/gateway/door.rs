//! Around each request: permits, the deadline, the catching of panics, the access log.
//!
//! Whatever happens inside, the client gets an answer of the protocol, and by the deadline.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Response;
use axum::http::request::Parts;
use futures::FutureExt;
use tokio::sync::Semaphore;

use super::aside::stepping_aside;
use super::envelope::{self, Answer};
use super::{GatewayState, admin, body, codes, head, rest, web};
use crate::call::{Failure, Retry};

/// How a request is read and answered.
#[derive(Debug, Clone, Copy)]
enum Protocol {
    /// Signed actions.
    Admin,
    /// Actions with an access token.
    Web,
    /// Paths and methods.
    Rest,
}

/// What the access log says about a request besides its outcome.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// The public half of a key, or the id of a user.
    pub(super) caller: String,
    pub(super) env: String,
    pub(super) action: String,
}

impl Trace {
    /// Longest action that a log line repeats; all real ones are shorter.
    const ACTION_CHARS_MAX: usize = 64;

    /// Takes over a name that came from outside.
    pub(super) fn name_action(&mut self, action: &str) {
        let plain = action.chars().filter(char::is_ascii_graphic);
        self.action = plain.take(Self::ACTION_CHARS_MAX).collect();
    }
}

/// The gateway's state with its permits.
pub(super) struct Door {
    state: GatewayState,
    requests: Semaphore,
    body_memory: Arc<Semaphore>,
}

impl Door {
    pub(super) fn new(state: GatewayState) -> Self {
        Self {
            requests: Semaphore::new(state.limits.requests_in_flight_max),
            body_memory: Arc::new(Semaphore::new(state.limits.body_bytes_in_flight_max)),
            state,
        }
    }

    async fn serve(&self, protocol: Protocol, request: Request) -> Response<Body> {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let request_id = head::request_id(&parts, self.state.limits.request_id_bytes_max);
        let mut trace = Trace::default();
        let outcome = Box::pin(self.answer(protocol, &parts, body, &request_id, &mut trace)).await;
        log(&outcome, &request_id, &trace, began);
        match protocol {
            Protocol::Admin | Protocol::Web => {
                envelope::respond(&outcome, &request_id, &parts.headers)
            }
            Protocol::Rest => rest::respond(outcome, &request_id),
        }
    }

    async fn carry_out(
        &self,
        protocol: Protocol,
        parts: &Parts,
        body: &[u8],
        request_id: &str,
        deadline: Instant,
        trace: &mut Trace,
    ) -> Result<Answer, Failure> {
        let state = &self.state;
        match protocol {
            Protocol::Admin => admin::answer(state, parts, body, request_id, deadline, trace).await,
            Protocol::Web => web::answer(state, parts, body, request_id, deadline, trace).await,
            Protocol::Rest => rest::answer(state, parts, body, request_id, deadline, trace).await,
        }
    }

    /// Carries out one request within its permits and its time.
    async fn answer(
        &self,
        protocol: Protocol,
        parts: &Parts,
        body: Body,
        request_id: &str,
        trace: &mut Trace,
    ) -> Result<Answer, Failure> {
        let limits = &self.state.limits;
        let began = Instant::now();
        let Ok(_permit) = self.requests.try_acquire() else {
            let message = "the server works on as many requests as it may: try again shortly";
            return Err(Failure::new(
                codes::EXCEED_CONCURRENT_REQUEST_LIMIT,
                message,
                Retry::Safe,
            ));
        };
        let deadline = began + limits.request_deadline;
        let work = async {
            let held = body::read(body, limits, &self.body_memory).await?;
            let (state, body) = (&self.state, &held.bytes);
            let carried_out = self.carry_out(protocol, parts, body, request_id, deadline, trace);
            match stepping_aside(body.len(), carried_out).await {
                // Perhaps it was made on another node a moment ago. Nothing has happened yet.
                Err(failure) if failure.code == codes::INVALID_ENV => {
                    state.keys.catch_up(deadline).await;
                    let again = self.carry_out(protocol, parts, body, request_id, deadline, trace);
                    stepping_aside(body.len(), again).await
                }
                outcome => outcome,
            }
        };
        let guarded = AssertUnwindSafe(work).catch_unwind();
        match tokio::time::timeout_at((deadline + limits.request_deadline_grace).into(), guarded)
            .await
        {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => {
                tracing::error!(request_id, "a request panicked");
                let message = format!("the server failed: report the request id {request_id}");
                Err(Failure::new(codes::SYS_ERR, message, Retry::SameSequence))
            }
            Err(_elapsed) => {
                let message = "the server did not finish in time: if this was a write, it may or may not have happened";
                Err(Failure::new(
                    codes::SERVER_TIMEOUT,
                    message,
                    Retry::SameSequence,
                ))
            }
        }
    }
}

/// `POST /admin`.
pub(super) async fn admin(State(door): State<Arc<Door>>, request: Request) -> Response<Body> {
    door.serve(Protocol::Admin, request).await
}

/// `POST /web`.
pub(super) async fn web(State(door): State<Arc<Door>>, request: Request) -> Response<Body> {
    door.serve(Protocol::Web, request).await
}

/// Everything below `/v1/database`.
pub(super) async fn rest(State(door): State<Arc<Door>>, request: Request) -> Response<Body> {
    door.serve(Protocol::Rest, request).await
}

/// One line for each request, without any content of it.
fn log(outcome: &Result<Answer, Failure>, request_id: &str, trace: &Trace, began: Instant) {
    let (action, env, caller) = (
        trace.action.as_str(),
        trace.env.as_str(),
        trace.caller.as_str(),
    );
    let duration_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    match outcome {
        Ok(answer) => {
            let answer_bytes = answer.data.len();
            tracing::debug!(
                request_id,
                action,
                env,
                caller,
                duration_us,
                answer_bytes,
                "request answered"
            );
        }
        Err(failure) => {
            let code = failure.code.as_ref();
            tracing::info!(
                request_id,
                action,
                env,
                caller,
                duration_us,
                code,
                "request refused"
            );
        }
    }
}
