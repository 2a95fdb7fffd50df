//! A client: one environment of a cluster, through any of its endpoints.
//!
//! Here one request becomes as many attempts as it needs: over the preferred endpoint, then over others, until
//! an answer, a refusal or the deadline. Clones share everything and cost a reference count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prost::Message;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::auth::Credentials;
use crate::builder::ClientBuilder;
use crate::collection::Collection;
use crate::endpoint::Endpoints;
use crate::error::{Error, ErrorKind, Result};
use crate::leader::Leader;
use crate::limits::{DEADLINE_MARGIN_MAX, FILE_IN_FLIGHT_MAX, IN_FLIGHT_MAX, IN_FLIGHT_UNIT_BYTES};
use crate::proto::request::Op;
use crate::proto::{OpenSession, ReadLevel, Request, response};
use crate::retry::{self, Attempt, Class, Next};
use crate::session::{Session, SessionSlot, Ticket};
use crate::storage::{Parameters, Storage};

/// Handle to one environment of a cluster. See the crate's front page.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
    scope: Arc<Scope>,
    deadline: Duration,
    read_level: ReadLevel,
}

/// What all handles to one cluster share.
pub(crate) struct Core {
    pub(crate) endpoints: Endpoints,
    pub(crate) credentials: Option<Credentials>,
    in_flight: Arc<Semaphore>,
    /// Content of files on its way, apart from documents: a large upload must not make small questions wait.
    files_in_flight: Arc<Semaphore>,
    /// How the cluster cuts files, once it was asked.
    pub(crate) file_parameters: OnceCell<Parameters>,
    /// Makes this client's request ids different from all others'.
    request_prefix: u32,
    requests: AtomicU64,
}

/// What all handles to one environment share.
struct Scope {
    env: String,
    session: SessionSlot,
    /// Where this environment's writes go first.
    leader: Leader,
}

/// What is known about a request between its attempts.
#[derive(Default)]
struct Progress {
    /// An attempt is under way whose answer has not come.
    sent: bool,
    /// An earlier attempt may have taken effect.
    ambiguous: bool,
    /// Why the last attempt failed.
    last: Option<Error>,
}

/// Why a request ended without a result.
enum Ending {
    /// For the caller.
    Failed(Error),
    /// Nothing happened because the session is unknown: a new one may do it.
    SessionGone(Error),
}

impl From<Ending> for Error {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Failed(error) | Ending::SessionGone(error) => error,
        }
    }
}

impl Core {
    pub(crate) fn new(endpoints: Endpoints, credentials: Option<Credentials>) -> Self {
        Self {
            endpoints,
            credentials,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_MAX as usize)),
            files_in_flight: Arc::new(Semaphore::new(FILE_IN_FLIGHT_MAX as usize)),
            file_parameters: OnceCell::new(),
            request_prefix: rand::random(),
            requests: AtomicU64::new(0),
        }
    }

    async fn admit(&self, request_bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = 1 + (request_bytes / IN_FLIGHT_UNIT_BYTES) as u32;
        // The semaphore is never closed; should it be, the bound is lost but not the request.
        self.in_flight
            .clone()
            .acquire_many_owned(units.min(IN_FLIGHT_MAX))
            .await
            .ok()
    }

    /// Waits until so much content of files may be on its way.
    pub(crate) async fn admit_content(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(IN_FLIGHT_UNIT_BYTES)).unwrap_or(u32::MAX);
        // As above.
        self.files_in_flight
            .clone()
            .acquire_many_owned(units.min(FILE_IN_FLIGHT_MAX))
            .await
            .ok()
    }

    /// Where the next attempt goes: what changes something to the leader, if one is known and reachable.
    fn choose(&self, class: Class, leader: &Leader) -> usize {
        leader
            .endpoint()
            .filter(|endpoint| class == Class::Sequenced && self.endpoints.is_awake(*endpoint))
            .unwrap_or_else(|| self.endpoints.pick())
    }

    async fn attempt(
        &self,
        endpoint: usize,
        request: Request,
        leader: &Leader,
        progress: &mut Progress,
    ) -> Attempt {
        let link = match self
            .endpoints
            .get(endpoint)
            .link(self.credentials.as_ref())
            .await
        {
            Ok(link) => link,
            Err(error) => return Attempt::NotSent(error),
        };
        progress.sent = true;
        let answer = link.call(request).await;
        progress.sent = false;
        match answer {
            Ok(response) => {
                if let Some(named) = self.endpoints.find(&response.leader) {
                    leader.learn(named);
                }
                Attempt::Answered(response.result)
            }
            Err(error) => Attempt::Lost(error),
        }
    }

    /// Sends `request` until it is settled. Ends only with an answer or a final error: the caller sets the deadline.
    async fn settle(
        &self,
        request: &Request,
        class: Class,
        leader: &Leader,
        deadline: Instant,
        progress: &mut Progress,
    ) -> Result<response::Result, Ending> {
        let _admitted = self.admit(request.encoded_len()).await;
        for attempt in 0_u32.. {
            let pause = retry::pause(attempt, self.endpoints.len(), &mut rand::rng());
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let endpoint = self.choose(class, leader);
            let request = Request {
                deadline_ms: node_deadline_ms(deadline),
                ..request.clone()
            };
            let outcome = self.attempt(endpoint, request, leader, progress).await;
            match retry::decide(class, progress.ambiguous, outcome) {
                Next::Finish(result) => return Ok(result),
                Next::Again {
                    because,
                    hint,
                    ambiguous,
                } => {
                    tracing::debug!(%because, attempt, "sending a request again");
                    leader.forget(endpoint);
                    if !hint.is_some_and(|hint| self.endpoints.follow(&hint)) {
                        self.endpoints.leave(endpoint);
                    }
                    progress.ambiguous |= ambiguous;
                    progress.last = Some(because);
                }
                Next::Fail(error) => return Err(Ending::Failed(error)),
                Next::NewSession(error) => return Err(Ending::SessionGone(error)),
            }
        }
        Err(Ending::Failed(Error::unavailable(
            "gave up after as many attempts as can be counted",
        )))
    }
}

/// What the node is told: a little less than there is, so that its answer arrives in time.
fn node_deadline_ms(deadline: Instant) -> u32 {
    let left = deadline.saturating_duration_since(Instant::now());
    let left = left.saturating_sub((left / 10).min(DEADLINE_MARGIN_MAX));
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)
}

impl Client {
    /// Begins to describe a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    pub(crate) fn new(core: Core, env: String, deadline: Duration) -> Self {
        let scope = Arc::new(Scope {
            env,
            session: SessionSlot::default(),
            leader: Leader::default(),
        });
        Self {
            core: Arc::new(core),
            scope,
            deadline,
            read_level: ReadLevel::Linearizable,
        }
    }

    /// The environment this handle acts on.
    pub fn env(&self) -> &str {
        &self.scope.env
    }

    /// A handle to another environment over the same connections. Keep and clone it: each call opens its own session.
    pub fn with_env(&self, env: impl Into<String>) -> Self {
        Self {
            scope: Arc::new(Scope {
                env: env.into(),
                session: SessionSlot::default(),
                leader: Leader::default(),
            }),
            ..self.clone()
        }
    }

    /// A handle whose requests wait this long for their answer.
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self {
            deadline,
            ..self.clone()
        }
    }

    /// A handle whose reads are this fresh.
    pub fn with_read_level(&self, read_level: ReadLevel) -> Self {
        Self {
            read_level,
            ..self.clone()
        }
    }

    /// A typed view of a collection; it need not exist yet.
    pub fn collection<T>(&self, name: impl Into<String>) -> Collection<T> {
        Collection::new(self.clone(), name.into())
    }

    /// The files of the environment.
    pub fn storage(&self) -> Storage {
        Storage::new(self.clone())
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Opens a connection to one endpoint now, instead of with the first request.
    pub(crate) async fn connect(&self) -> Result<()> {
        let deadline = Instant::now() + self.deadline;
        let mut progress = Progress::default();
        let connecting = async {
            for attempt in 0_u32.. {
                tokio::time::sleep(retry::pause(
                    attempt,
                    self.core.endpoints.len(),
                    &mut rand::rng(),
                ))
                .await;
                let endpoint = self.core.endpoints.pick();
                let Err(reason) = self
                    .core
                    .endpoints
                    .get(endpoint)
                    .link(self.core.credentials.as_ref())
                    .await
                else {
                    return Ok(());
                };
                match retry::decide(Class::Repeatable, false, Attempt::NotSent(reason)) {
                    Next::Fail(error) => return Err(error),
                    Next::Again { because, .. } => progress.last = Some(because),
                    Next::Finish(_) | Next::NewSession(_) => {}
                }
                self.core.endpoints.leave(endpoint);
            }
            Ok(())
        };
        let connected = tokio::time::timeout_at(deadline, connecting).await;
        connected.unwrap_or_else(|_| {
            let reason = progress
                .last
                .map_or_else(String::new, |error| format!(": {}", error.message()));
            Err(Error::unavailable(format!(
                "no endpoint could be reached within {:?}{reason}",
                self.deadline
            )))
        })
    }

    /// Carries out any operation of the protocol: what the typed methods are made of.
    ///
    /// Reads are repeated freely; everything else is sent under one sequence of this client's session, so
    /// that it takes effect once however often it has to be sent.
    pub async fn execute(&self, op: Op) -> Result<response::Result> {
        let deadline = Instant::now() + self.deadline;
        let sequenced = !is_read(&op);
        let mut request = self.request(op);
        if !sequenced {
            return Ok(self.run(&request, deadline).await?);
        }
        loop {
            let ticket = match tokio::time::timeout_at(deadline, self.ticket(deadline)).await {
                Ok(ticket) => ticket?,
                Err(_) => {
                    return Err(self
                        .too_late(&Progress::default())
                        .with_request_id(&request.request_id));
                }
            };
            request.session = ticket.session.id;
            request.sequence = ticket.sequence;
            match self.run(&request, deadline).await {
                Ok(result) => return Ok(result),
                Err(Ending::SessionGone(error)) => {
                    tracing::debug!(%error, "opening a new session");
                    self.scope.session.discard(ticket.session.id);
                }
                Err(Ending::Failed(error)) => {
                    if error.kind() == ErrorKind::SessionExpired {
                        self.scope.session.discard(ticket.session.id);
                    }
                    return Err(error);
                }
            }
        }
    }

    fn request(&self, op: Op) -> Request {
        let number = self.core.requests.fetch_add(1, Ordering::Relaxed);
        Request {
            env: self.scope.env.clone(),
            read_level: self.read_level.into(),
            request_id: format!("{:08x}-{number:x}", self.core.request_prefix),
            op: Some(op),
            ..Request::default()
        }
    }

    /// Sends `request` until it is settled or the deadline passes.
    async fn run(&self, request: &Request, deadline: Instant) -> Result<response::Result, Ending> {
        let class = if request.session == 0 {
            Class::Repeatable
        } else {
            Class::Sequenced
        };
        let mut progress = Progress::default();
        let settling =
            self.core
                .settle(request, class, &self.scope.leader, deadline, &mut progress);
        let settled = tokio::time::timeout_at(deadline, settling)
            .await
            .unwrap_or_else(|_| {
                let unknown = class == Class::Sequenced && (progress.sent || progress.ambiguous);
                Err(Ending::Failed(
                    self.too_late(&progress).with_unknown(unknown),
                ))
            });
        settled.map_err(|ending| match ending {
            Ending::Failed(error) => Ending::Failed(error.with_request_id(&request.request_id)),
            gone => gone,
        })
    }

    fn too_late(&self, progress: &Progress) -> Error {
        match &progress.last {
            // With no answer under way, the reason is the last failure and the deadline only ended the attempts.
            Some(last) if !progress.sent => {
                let message = format!("{} (tried for {:?})", last.message(), self.deadline);
                Error::new(ErrorKind::Unavailable, last.code().to_owned(), message)
            }
            last => {
                let before = last.as_ref().map_or_else(String::new, |error| {
                    format!("; before that: {}", error.message())
                });
                let message = format!("no answer within {:?}{before}", self.deadline);
                Error::new(ErrorKind::DeadlineExceeded, "DEADLINE_EXCEEDED", message)
            }
        }
    }

    async fn ticket(&self, deadline: Instant) -> Result<Ticket> {
        Ok(self.session(deadline).await?.ticket().await)
    }

    async fn session(&self, deadline: Instant) -> Result<Arc<Session>> {
        if let Some(session) = self.scope.session.current() {
            return Ok(session);
        }
        let _one_at_a_time = self.scope.session.opening.lock().await;
        if let Some(session) = self.scope.session.current() {
            return Ok(session);
        }
        // Sent twice, this opens a session that nobody uses: no harm is done by repeating it.
        let opened = self
            .run(&self.request(Op::OpenSession(OpenSession {})), deadline)
            .await?;
        let response::Result::SessionOpened(opened) = opened else {
            return Err(Error::malformed(
                "the node answered the opening of a session with something else",
            ));
        };
        if opened.session == 0 {
            return Err(Error::malformed(
                "the node opened a session without a number",
            ));
        }
        let session = Arc::new(Session::new(opened.session, opened.window));
        self.scope.session.set(session.clone());
        Ok(session)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("env", &self.scope.env)
            .finish_non_exhaustive()
    }
}

fn is_read(op: &Op) -> bool {
    match op {
        Op::OpenSession(_)
        | Op::ListCollections(_)
        | Op::Find(_)
        | Op::Count(_)
        | Op::ListIndexes(_)
        | Op::GetAccess(_)
        | Op::Explain(_)
        | Op::Aggregate(_) => true,
        Op::CreateCollection(_)
        | Op::SetValidator(_)
        | Op::RenameCollection(_)
        | Op::DropCollection(_)
        | Op::Insert(_)
        | Op::Update(_)
        | Op::Remove(_)
        | Op::CreateIndex(_)
        | Op::DropIndex(_)
        | Op::SetAccess(_) => false,
    }
}
