//! The public gRPC surface: documents for the Rust SDK and the command line, many requests on one stream.

mod door;
mod wire;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};
use yunbase_client::proto::data_server::{Data, DataServer};
use yunbase_client::proto::{self, RequestFrame, ResponseFrame};

pub(crate) use door::key_id;
pub use door::{Admitted, admit};
pub use wire::with_id;

use crate::call::{Call, Execute, Failure, Retry};
use crate::identity::random_id;
use crate::multiplex::{StreamLimits, serve};
use crate::operators::door::Door;
use crate::operators::gate::Gate;
use crate::operators::roles::{Action, Place};
use crate::transactions::Transact;

const CALL: &str = "/yunbase.v1.Data/Call";
const EXECUTE: &str = "/yunbase.v1.Data/Execute";
/// Largest message: a frame of requests, or one document of 16 MiB with its update.
const MESSAGE_BYTES_MAX: usize = 40 << 20;

/// A session being opened: its id and window.
pub type SessionFuture = Pin<Box<dyn Future<Output = Result<(u64, u32), Failure>> + Send>>;

/// Opens sessions for callers that keep their own.
pub trait OpenSessions: Send + Sync + 'static {
    /// A new session in the group of `env`: its id and window.
    fn open_session(&self, env: String, deadline: Instant) -> SessionFuture;
}

/// Knows where writes are decided.
pub trait NameLeader: Send + Sync + 'static {
    /// HTTP address of the leader of `env`'s group, when it is known and another node.
    fn leader_elsewhere(&self, env: &str) -> Option<String>;
}

/// The `Data` service.
#[derive(Clone)]
pub struct DataService {
    execute: Arc<dyn Execute>,
    sessions: Arc<dyn OpenSessions>,
    leaders: Arc<dyn NameLeader>,
    transactions: Arc<dyn Transact>,
    door: Door,
    timeout_max: Duration,
    limits: StreamLimits,
    stopping: watch::Receiver<bool>,
}

impl DataService {
    /// A service in front of `execute`; no request waits longer than `timeout_max`, and streams end once
    /// `stopping` says so.
    pub fn new(
        execute: Arc<dyn Execute>,
        sessions: Arc<dyn OpenSessions>,
        leaders: Arc<dyn NameLeader>,
        transactions: Arc<dyn Transact>,
        door: Door,
        timeout_max: Duration,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            execute,
            sessions,
            leaders,
            transactions,
            door,
            timeout_max,
            limits: StreamLimits::default(),
            stopping,
        }
    }

    /// The service as tonic mounts it.
    pub fn into_server(self) -> DataServer<Self> {
        DataServer::new(self)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    async fn answer(self, admitted: Admitted, request: proto::Request) -> proto::Response {
        let id = request.id;
        let request_id = if request.request_id.is_empty() {
            random_id()
        } else {
            request.request_id.clone()
        };
        // Only what changes something is decided by the leader; reads are better spread over all nodes.
        let leader = (request.sequence != 0)
            .then(|| self.leaders.leader_elsewhere(&request.env))
            .flatten()
            .unwrap_or_default();
        let result = match self.carry_out(admitted, request, request_id.clone()).await {
            Ok(result) => result,
            Err(failure) => wire::failed(failure, request_id),
        };
        proto::Response {
            id,
            result: Some(result),
            leader,
        }
    }

    async fn carry_out(
        &self,
        mut admitted: Admitted,
        request: proto::Request,
        request_id: String,
    ) -> Result<proto::response::Result, Failure> {
        let wanted = Duration::from_millis(u64::from(request.deadline_ms));
        let timeout = if wanted.is_zero() {
            self.timeout_max
        } else {
            wanted.min(self.timeout_max)
        };
        let deadline = Instant::now() + timeout;
        let keys = self.door.keys();
        if !keys.has_env(&request.env) {
            keys.catch_up(deadline).await;
        }
        admitted.check_env(&**keys, &request.env)?;
        self.door.again(&mut admitted).await?;
        let read_level = wire::read_level(request.read_level());
        let op = request.op.ok_or_else(|| {
            Failure::new(
                "INVALID_ACTION",
                "the request names no operation that this node knows",
                Retry::Never,
            )
        })?;
        match wire::asked(op)? {
            wire::Asked::OpenSession => {
                let place = Place::Environment(&request.env);
                admitted.access.check(Action::SchemaView, place)?;
                let (session, window) = self.sessions.open_session(request.env, deadline).await?;
                Ok(proto::response::Result::SessionOpened(
                    proto::SessionOpened { session, window },
                ))
            }
            wire::Asked::Op(op) => {
                let session = (request.session != 0).then_some(crate::call::SessionSequence {
                    session: request.session,
                    sequence: request.sequence,
                });
                let call = Call {
                    caller: admitted.caller,
                    env: request.env,
                    op,
                    session,
                    read_level,
                    deadline,
                    request_id,
                };
                let gate = Gate::new(
                    self.execute.clone(),
                    self.transactions.clone(),
                    Some(self.door.operators().clone()),
                    admitted.access,
                    admitted.address,
                );
                gate.execute(call).await.map(wire::replied)
            }
        }
    }
}

#[tonic::async_trait]
impl Data for DataService {
    type CallStream = Pin<Box<dyn Stream<Item = Result<ResponseFrame, Status>> + Send>>;

    async fn call(
        &self,
        request: Request<Streaming<RequestFrame>>,
    ) -> Result<Response<Self::CallStream>, Status> {
        let admitted = self.door.admit(&request, CALL).await?;
        let frames = request
            .into_inner()
            .take_while(|frame| std::future::ready(frame.is_ok()))
            .filter_map(|frame| std::future::ready(frame.ok().map(|frame| frame.requests)));
        let service = self.clone();
        let mut stopping = self.stopping.clone();
        let stop = async move {
            // An error means that the node has gone, which comes to the same.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        };
        let answers = serve(frames, self.limits, wire::size_of, stop, move |request| {
            service.clone().answer(admitted.clone(), request)
        });
        Ok(Response::new(Box::pin(
            answers.map(|responses| Ok(ResponseFrame { responses })),
        )))
    }

    async fn execute(
        &self,
        request: Request<proto::Request>,
    ) -> Result<Response<proto::Response>, Status> {
        let admitted = self.door.admit(&request, EXECUTE).await?;
        Ok(Response::new(
            self.clone().answer(admitted, request.into_inner()).await,
        ))
    }
}
