//! Any node takes any call: finds the group of its environment, reads here or has the leader write, and
//! keeps trying within the deadline while leaders change.
//!
//! Calls of end users are held to the access rules here, before anything is read or planned (`user`).
//!
//! A call that changes something carries an exactly-once name before its first attempt, the caller's own or
//! one of this node's session, so every retry here is safe whatever became of the attempt before.

mod transaction;
mod user;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use yunbase_consensus::{GroupId, NodeId};
use yunbase_docdb::op::{Op, OpReply};

use crate::audit::append_only;
use crate::call::{
    Call, CallFuture, Caller, Execute, Failure, ReadLevel, Retry, SessionSequence,
    check_collection, check_environment,
};
use crate::cluster::map::SharedMap;
use crate::data_service::{NameLeader, OpenSessions, SessionFuture};
use crate::forward::codec::{
    ForwardBody, ForwardRequest, ForwardResponse, failure, level, level_code,
};
use crate::forward::{ForwardError, ForwardPool, Leader};
use crate::group_runtime::{Attempt, GroupRuntime, WriteRequest};
use crate::leader_hints::LeaderHints;
use crate::node::now_ms;
use crate::realtime;
use crate::rules::{Denials, RuleCache, Rules};
use crate::sessions::SessionPool;
use crate::storage::record::FILES;
use crate::transactions::{Registry, Transact};

pub use transaction::TransactionCall;

/// First pause after an attempt that found no leader; doubles up to the second. A vote takes some
/// milliseconds, so the first retries come soon; a watch on the leader cuts the pause short anyway.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(5);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(200);
/// Longest one forwarded attempt may take before it is tried again: a leader that has just been cut off
/// would otherwise hold calls until their deadline.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(3000);

/// Routes calls.
pub struct Router {
    node_id: NodeId,
    map: SharedMap,
    groups: RwLock<HashMap<GroupId, Arc<GroupRuntime>>>,
    forward: ForwardPool,
    sessions: SessionPool,
    hints: LeaderHints,
    rules: RuleCache,
    denials: Denials,
    transactions: Registry,
    timeout: Duration,
}

impl Router {
    /// A router without groups.
    pub fn new(
        node_id: NodeId,
        map: SharedMap,
        forward: ForwardPool,
        timeout: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            node_id,
            map,
            groups: RwLock::default(),
            forward,
            sessions: SessionPool::default(),
            hints: LeaderHints::default(),
            rules: RuleCache::default(),
            denials: Denials::default(),
            transactions: Registry::default(),
            timeout,
        })
    }

    /// Makes a group of this node known.
    pub fn add_group(&self, group: Arc<GroupRuntime>) {
        self.groups.write().insert(group.id(), group);
    }

    /// Lets go of all groups: the node is stopping.
    pub fn close(&self) {
        self.groups.write().clear();
    }

    /// The groups of this node.
    pub fn groups(&self) -> Vec<Arc<GroupRuntime>> {
        let mut groups: Vec<_> = self.groups.read().values().cloned().collect();
        groups.sort_by_key(|group| group.id());
        groups
    }

    /// One group of this node.
    pub fn group(&self, id: GroupId) -> Option<Arc<GroupRuntime>> {
        self.groups.read().get(&id).cloned()
    }

    /// The last refusals by access rules on this node.
    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    async fn run(&self, call: Call) -> Result<OpReply, Failure> {
        // Here and not at each door, so that no door can forget it.
        check_collection(&call.caller, &call.op)?;
        check_environment(&call.caller, &call.env)?;
        append_only::check(&call.env, &call.op, now_ms())?;
        let group = self.group_of(&call.env)?;
        if let Caller::User(user) = &call.caller {
            let user = user.clone();
            return self.run_for_user(group, call, &user).await;
        }
        if let Op::SetAccess { access, .. } = &call.op {
            // Only rules that can be evaluated are ever set.
            Rules::parse(access)
                .map_err(|error| Failure::new("INVALID_PARAM", error.to_string(), Retry::Never))?;
        }
        if call.op.is_read() {
            return self.read(group, call).await;
        }
        if matches!(&call.op, Op::SetAccess { collection, .. } if collection == FILES) {
            self.make_files(group, &call).await?;
        }
        self.run_write(group, &call).await
    }

    /// Makes the collection of files, which else comes to be with the first file: rules may be set before.
    async fn make_files(&self, group: GroupId, call: &Call) -> Result<(), Failure> {
        let make = Call {
            caller: Caller::System,
            op: Op::CreateCollection {
                collection: FILES.to_owned(),
            },
            session: None,
            ..call.clone()
        };
        match self.run_write(group, &make).await {
            Err(failure) if failure.code != "DATABASE_COLLECTION_ALREADY_EXIST" => Err(failure),
            _ => Ok(()),
        }
    }

    /// Has a write done under its exactly-once name.
    async fn run_write(&self, group: GroupId, call: &Call) -> Result<OpReply, Failure> {
        if let Some(session) = call.session {
            return self.write_held(group, call, session).await;
        }
        let request_id = call.request_id.clone();
        let deadline = call.deadline;
        for _ in 0..2 {
            let sequence = self
                .sessions
                .acquire(group, || {
                    self.session_opened(group, deadline, request_id.clone())
                })
                .await?;
            let name = sequence.name();
            match self.write_held(group, call, name).await {
                // No attempt of this call has done anything; after one in doubt it would not be `Safe`.
                Err(failure)
                    if failure.code == "SESSION_EXPIRED" && failure.retry == Retry::Safe =>
                {
                    self.sessions.forget(group, name.session);
                }
                outcome => return outcome,
            }
        }
        Err(Failure::new(
            "SYS_ERR",
            "the node's own session expired twice in a row; try again",
            Retry::Safe,
        ))
    }

    /// The group that holds an environment.
    pub(crate) fn group_of(&self, env: &str) -> Result<GroupId, Failure> {
        self.map.get().group_of(env).ok_or_else(|| {
            Failure::new(
                "INVALID_ENV",
                format!("there is no environment `{env}`"),
                Retry::Never,
            )
        })
    }

    /// The group on this node, whether or not it has a replica here.
    pub(crate) fn local(&self, group: GroupId) -> Result<Arc<GroupRuntime>, Failure> {
        self.group(group).ok_or_else(|| {
            Failure::new(
                "RESOURCE_NOT_INITIAL",
                format!("this node has not opened group {group} yet"),
                Retry::Safe,
            )
        })
    }

    async fn read(&self, group: GroupId, call: Call) -> Result<OpReply, Failure> {
        let local = self.local(group)?;
        let op = Arc::new(call.op);
        let mut pause = Pause::new(call.deadline);
        loop {
            // A replica that only starts to follow cannot answer; the leader can.
            let attempt = if self.lives_here(&local) || call.read_level == ReadLevel::Stale {
                local
                    .read(&call.env, op.clone(), call.read_level, call.deadline)
                    .await
            } else {
                let body = ForwardBody::Read {
                    op: (*op).clone(),
                    level: level_code(call.read_level),
                };
                self.attempt_elsewhere(
                    &local,
                    self.request(group, &call.env, body, None, &call.request_id),
                    call.deadline,
                )
                .await
            };
            match attempt {
                Attempt::Done(outcome) => return outcome,
                Attempt::NotLeader(_) | Attempt::Unknown(_) => pause.wait(&local).await?,
            }
        }
    }

    async fn write(
        &self,
        group: GroupId,
        call: &Call,
        session: SessionSequence,
    ) -> Result<OpReply, Failure> {
        let local = self.local(group)?;
        let mut pause = Pause::new(call.deadline);
        let mut doubtful = false;
        loop {
            let attempt = if local.is_leader() {
                let request = WriteRequest {
                    env: call.env.clone(),
                    op: call.op.clone(),
                    session,
                    deadline: call.deadline,
                };
                local.write(request).await
            } else {
                let body = ForwardBody::Write(call.op.clone());
                let request = self.request(group, &call.env, body, Some(session), &call.request_id);
                self.attempt_elsewhere(&local, request, call.deadline).await
            };
            match attempt {
                Attempt::Done(outcome) => {
                    return outcome.map_err(|failure| doubt(failure, doubtful));
                }
                Attempt::NotLeader(_) => {}
                Attempt::Unknown(_) => doubtful = true,
            }
            pause
                .wait(&local)
                .await
                .map_err(|failure| doubt(failure, doubtful))?;
        }
    }

    /// Whether this node holds a replica that follows the group. One that the group has moved away from may not
    /// have learned of it, and would wait for a leader for ever.
    pub(crate) fn lives_here(&self, local: &GroupRuntime) -> bool {
        local.is_replica() && self.map.get().belongs(local.id(), self.node_id)
    }

    fn request(
        &self,
        group: GroupId,
        env: &str,
        body: ForwardBody,
        session: Option<SessionSequence>,
        request_id: &str,
    ) -> ForwardRequest {
        ForwardRequest {
            env: env.to_owned(),
            group: group.0,
            body,
            key_id: None,
            session: session.map(|name| (name.session, name.sequence)),
            remaining_ms: 0,
            request_id: request_id.to_owned(),
        }
    }

    /// Asks whoever leads the group for something that changes nothing, until the deadline.
    pub(crate) async fn ask_leader(
        &self,
        group: GroupId,
        env: &str,
        body: ForwardBody,
        deadline: Instant,
    ) -> Result<ForwardResponse, Failure> {
        let local = self.local(group)?;
        let mut request = self.request(group, env, body, None, "");
        let mut pause = Pause::new(deadline);
        loop {
            match self
                .forward_to_leader::<()>(&local, &mut request, deadline)
                .await
            {
                Ok(ForwardResponse::Failed {
                    code,
                    message,
                    retry,
                }) => {
                    if let Attempt::Done(outcome) = settle(failure(code, message, retry)) {
                        return outcome;
                    }
                }
                Ok(ForwardResponse::NotLeader { .. }) | Err(_) => {}
                Ok(response) => return Ok(response),
            }
            pause.wait(&local).await?;
        }
    }

    /// One attempt on the node that this one takes for the leader.
    async fn attempt_elsewhere(
        &self,
        local: &GroupRuntime,
        mut request: ForwardRequest,
        deadline: Instant,
    ) -> Attempt<OpReply> {
        match self.forward_to_leader(local, &mut request, deadline).await {
            Ok(ForwardResponse::Replied(reply)) => Attempt::Done(Ok(reply)),
            Ok(ForwardResponse::Failed {
                code,
                message,
                retry,
            }) => settle(failure(code, message, retry)),
            Ok(ForwardResponse::NotLeader { leader }) => Attempt::NotLeader(leader),
            Ok(
                ForwardResponse::SessionOpened { .. }
                | ForwardResponse::Watched { .. }
                | ForwardResponse::Changes { .. }
                | ForwardResponse::TooOld { .. },
            ) => Attempt::Unknown("the leader answered something else".to_owned()),
            Err(attempt) => attempt,
        }
    }

    async fn forward_to_leader<T>(
        &self,
        local: &GroupRuntime,
        request: &mut ForwardRequest,
        deadline: Instant,
    ) -> Result<ForwardResponse, Attempt<T>> {
        let lives_here = self.lives_here(local);
        let leader = self.hints.whom_to_ask(
            local.id(),
            self.node_id,
            lives_here,
            local.leader(),
            &self.map.get(),
        );
        let Some(leader) = leader else {
            return Err(Attempt::NotLeader(None));
        };
        let now = Instant::now();
        let attempt_deadline = deadline.min(now + ATTEMPT_TIMEOUT);
        request.remaining_ms =
            u64::try_from(attempt_deadline.saturating_duration_since(now).as_millis()).unwrap_or(0);
        // A leader that was paused or cut off answers nobody; once another leads there is no need to wait for it.
        let answer = tokio::select! {
            answer = self.forward.call(leader, request, attempt_deadline) => answer,
            () = local.led_by_another(leader), if lives_here => {
                let reason = "another node leads now".to_owned();
                return Err(Attempt::Unknown(reason));
            }
        };
        self.hints.learn(
            local.id(),
            match &answer {
                Ok(ForwardResponse::NotLeader { leader }) => *leader,
                Ok(_) => Some(leader),
                Err(_) => None,
            },
        );
        answer.map_err(|error| match error {
            ForwardError::NotSent(..) => Attempt::NotLeader(None),
            ForwardError::Unknown(_) => Attempt::Unknown(error.to_string()),
        })
    }

    async fn session_opened(
        &self,
        group: GroupId,
        deadline: Instant,
        request_id: String,
    ) -> Result<(u64, u32), Failure> {
        let local = self.local(group)?;
        let window = local.session_window();
        let mut pause = Pause::new(deadline);
        loop {
            let attempt = if local.is_leader() {
                local.open_session(deadline).await
            } else {
                let mut request =
                    self.request(group, "", ForwardBody::OpenSession, None, &request_id);
                match self.forward_to_leader(&local, &mut request, deadline).await {
                    Ok(ForwardResponse::SessionOpened { session }) => Attempt::Done(Ok(session)),
                    Ok(ForwardResponse::Failed {
                        code,
                        message,
                        retry,
                    }) => settle(failure(code, message, retry)),
                    Ok(ForwardResponse::NotLeader { leader }) => Attempt::NotLeader(leader),
                    Ok(_) => Attempt::Unknown("the leader answered something else".to_owned()),
                    Err(attempt) => attempt,
                }
            };
            match attempt {
                Attempt::Done(outcome) => return outcome.map(|session| (session, window)),
                // A session that was opened without our knowing is simply never used.
                Attempt::NotLeader(_) | Attempt::Unknown(_) => pause.wait(&local).await?,
            }
        }
    }

    async fn lead(&self, request: ForwardRequest) -> ForwardResponse {
        let deadline =
            Instant::now() + Duration::from_millis(request.remaining_ms).min(self.timeout);
        let step = match &request.body {
            ForwardBody::Transaction { id, step } => Some((id, step, None)),
            ForwardBody::UserTransaction { id, step, user } => Some((id, step, Some(user))),
            _ => None,
        };
        if let Some((id, step, user)) = step {
            let caller = match user {
                None => Caller::Administrator {
                    key_id: String::new(),
                },
                Some(user) => Caller::User(Arc::new(user.user())),
            };
            let call = TransactionCall {
                id: id.clone(),
                step: step.clone(),
                caller,
                env: request.env,
                deadline,
                request_id: request.request_id,
            };
            return match Box::pin(self.transact_here(call)).await {
                Ok(reply) => ForwardResponse::Replied(reply),
                Err(failure) => failure.into(),
            };
        }
        let group = GroupId(request.group);
        let Some(local) = self.group(group) else {
            return ForwardResponse::NotLeader { leader: None };
        };
        if !local.is_leader() {
            // A replica that the group has moved away from names the leader that it last heard of: better none.
            let leader = local.leader().filter(|_| self.lives_here(&local));
            return ForwardResponse::NotLeader { leader };
        }
        let session = request.session();
        let outcome = match request.body {
            ForwardBody::OpenSession => {
                return match local.open_session(deadline).await {
                    Attempt::Done(Ok(session)) => ForwardResponse::SessionOpened { session },
                    Attempt::Done(Err(failure)) => failure.into(),
                    Attempt::NotLeader(leader) => ForwardResponse::NotLeader { leader },
                    Attempt::Unknown(reason) => unknown(reason).into(),
                };
            }
            ForwardBody::Transaction { .. } | ForwardBody::UserTransaction { .. } => {
                Attempt::Done(Err(unknown_body()))
            }
            ForwardBody::Write(op) => match session {
                Some(session) => {
                    local
                        .write(WriteRequest {
                            env: request.env,
                            op,
                            session,
                            deadline,
                        })
                        .await
                }
                None => Attempt::Done(Err(Failure::new(
                    "INVALID_PARAM",
                    "a forwarded write needs a session",
                    Retry::Never,
                ))),
            },
            body @ (ForwardBody::Watch { .. } | ForwardBody::Changes { .. }) => {
                return realtime::serve(&local, request.env, body, deadline).await;
            }
            ForwardBody::Read { op, level: code } => {
                local
                    .read(&request.env, Arc::new(op), level(code), deadline)
                    .await
            }
        };
        match outcome {
            Attempt::Done(Ok(reply)) => ForwardResponse::Replied(reply),
            Attempt::Done(Err(failure)) => failure.into(),
            Attempt::NotLeader(leader) => ForwardResponse::NotLeader { leader },
            Attempt::Unknown(reason) => unknown(reason).into(),
        }
    }
}

fn unknown_body() -> Failure {
    Failure::new(
        "SYS_ERR",
        "a step of a transaction reached a group",
        Retry::Never,
    )
}

fn unknown(reason: String) -> Failure {
    Failure::new("SERVER_TIMEOUT", reason, Retry::SameSequence)
}

/// A failure that a leader reported: unknown outcomes are tried again here, everything else is final.
fn settle<T>(failure: Failure) -> Attempt<T> {
    match failure.retry {
        Retry::SameSequence => Attempt::Unknown(failure.message),
        Retry::Never | Retry::Safe => Attempt::Done(Err(failure)),
    }
}

/// A time-out after an attempt of unknown outcome must not read as "nothing happened".
fn doubt(failure: Failure, doubtful: bool) -> Failure {
    if doubtful && failure.retry == Retry::Safe {
        Failure {
            retry: Retry::SameSequence,
            ..failure
        }
    } else {
        failure
    }
}

/// The pauses between the attempts of one call.
struct Pause {
    next: Duration,
    deadline: Instant,
}

impl Pause {
    fn new(deadline: Instant) -> Self {
        Self {
            next: RETRY_PAUSE_MIN,
            deadline,
        }
    }

    /// Waits for another leader, at most for the pause; fails once the deadline has come.
    async fn wait(&mut self, group: &GroupRuntime) -> Result<(), Failure> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::new(
                "SERVER_TIMEOUT",
                format!(
                    "group {} had no leader that could answer in time; try again",
                    group.id()
                ),
                Retry::Safe,
            ));
        }
        group.leader_changed(self.next.min(left)).await;
        self.next = (self.next * 2).min(RETRY_PAUSE_MAX);
        Ok(())
    }
}

/// The router as its users see it.
#[derive(Clone)]
pub struct RouterHandle(pub Arc<Router>);

impl Execute for RouterHandle {
    fn execute(&self, call: Call) -> CallFuture {
        let router = self.0.clone();
        Box::pin(async move { router.run(call).await })
    }
}

impl Transact for RouterHandle {
    fn begin(&self, env: &str, caller: &Caller) -> Result<String, Failure> {
        self.0.begin_transaction(env, caller)
    }

    fn step(&self, call: TransactionCall) -> CallFuture {
        let router = self.0.clone();
        Box::pin(async move { router.transact(call).await })
    }
}

impl NameLeader for RouterHandle {
    fn leader_elsewhere(&self, env: &str) -> Option<String> {
        let router = &self.0;
        let map = router.map.get();
        let leader = router.group(map.group_of(env)?)?.leader()?;
        if leader == router.node_id {
            return None;
        }
        map.nodes.get(&leader).map(|node| node.http_address.clone())
    }
}

impl OpenSessions for RouterHandle {
    fn open_session(&self, env: String, deadline: Instant) -> SessionFuture {
        let router = self.0.clone();
        Box::pin(async move {
            let group = router.group_of(&env)?;
            router.session_opened(group, deadline, String::new()).await
        })
    }
}

impl Leader for RouterHandle {
    fn lead(
        &self,
        request: ForwardRequest,
    ) -> std::pin::Pin<Box<dyn Future<Output = ForwardResponse> + Send>> {
        let router = self.0.clone();
        Box::pin(async move { router.lead(request).await })
    }
}
