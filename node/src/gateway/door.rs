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

use super::body::HeldBody;
use super::envelope::{self, Answer};
use super::large::LARGE_BODY_BYTES;
use super::{GatewayState, admin, body, codes, head, rest, storage, web};
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
    /// The same, for files.
    Storages,
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

/// A request without its body.
struct Head {
    protocol: Protocol,
    parts: Parts,
    request_id: String,
    deadline: Instant,
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

    async fn serve(self: Arc<Self>, protocol: Protocol, request: Request) -> Response<Body> {
        let began = Instant::now();
        let (parts, body) = request.into_parts();
        let request_id = head::request_id(&parts, self.state.limits.request_id_bytes_max);
        let head = Arc::new(Head {
            protocol,
            parts,
            request_id,
            deadline: began + self.state.limits.request_deadline,
        });
        let mut trace = Trace::default();
        let outcome = Box::pin(self.answer(&head, body, &mut trace)).await;
        log(&outcome, &head.request_id, &trace, began);
        match protocol {
            Protocol::Admin | Protocol::Web => {
                envelope::respond(&outcome, &head.request_id, &head.parts.headers)
            }
            Protocol::Rest | Protocol::Storages => rest::respond(outcome, &head.request_id),
        }
    }

    /// Carries out a request: here, or aside when its body is large.
    async fn carry_out(
        self: &Arc<Self>,
        head: &Arc<Head>,
        body: &Arc<HeldBody>,
        trace: &mut Trace,
    ) -> Result<Answer, Failure> {
        if body.bytes.len() < LARGE_BODY_BYTES {
            return self.carry_out_here(head, &body.bytes, trace).await;
        }
        let (door, head, body) = (self.clone(), head.clone(), body.clone());
        let aside = self.state.large_requests.run(async move {
            let mut trace = Trace::default();
            let outcome = door.carry_out_here(&head, &body.bytes, &mut trace).await;
            (outcome, trace)
        });
        let (outcome, seen) = aside.await?;
        *trace = seen;
        outcome
    }

    async fn carry_out_here(
        &self,
        head: &Head,
        body: &[u8],
        trace: &mut Trace,
    ) -> Result<Answer, Failure> {
        let (state, parts, id) = (&self.state, &head.parts, head.request_id.as_str());
        match head.protocol {
            Protocol::Admin => admin::answer(state, parts, body, id, head.deadline, trace).await,
            Protocol::Web => web::answer(state, parts, body, id, head.deadline, trace).await,
            Protocol::Rest => rest::answer(state, parts, body, id, head.deadline, trace).await,
            Protocol::Storages => {
                storage::answer(state, parts, body, id, head.deadline, trace).await
            }
        }
    }

    /// Carries out one request within its permits and its time.
    async fn answer(
        self: &Arc<Self>,
        head: &Arc<Head>,
        body: Body,
        trace: &mut Trace,
    ) -> Result<Answer, Failure> {
        let limits = &self.state.limits;
        let Ok(_permit) = self.requests.try_acquire() else {
            let message = "the server works on as many requests as it may: try again shortly";
            return Err(Failure::new(
                codes::EXCEED_CONCURRENT_REQUEST_LIMIT,
                message,
                Retry::Safe,
            ));
        };
        let work = async {
            let body = Arc::new(body::read(body, limits, &self.body_memory).await?);
            match self.carry_out(head, &body, trace).await {
                // Perhaps it was made on another node a moment ago. Nothing has happened yet.
                Err(failure) if failure.code == codes::INVALID_ENV => {
                    self.state.keys.catch_up(head.deadline).await;
                    self.carry_out(head, &body, trace).await
                }
                outcome => outcome,
            }
        };
        let guarded = AssertUnwindSafe(work).catch_unwind();
        let given_up = head.deadline + limits.request_deadline_grace;
        match tokio::time::timeout_at(given_up.into(), guarded).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_panic)) => {
                let request_id = head.request_id.as_str();
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

/// Everything below `/v1/storages`.
pub(super) async fn storages(State(door): State<Arc<Door>>, request: Request) -> Response<Body> {
    door.serve(Protocol::Storages, request).await
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
