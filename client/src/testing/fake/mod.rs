//! A stand-in for a cluster: one small store behind several gRPC endpoints that misbehave on command.

mod files;
mod store;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::Stream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request as Call, Response as Reply, Status, Streaming};

use crate::auth::{Authorization, CALL_METHOD};
use crate::proto::data_server::{Data, DataServer};
use crate::proto::request::Op;
use crate::proto::storage_server::StorageServer;
use crate::proto::{Failure, Request, RequestFrame, Response, ResponseFrame, Retry, response};
use crate::{Client, ClientBuilder};

pub use files::{FileFault, FileStore};
pub use store::{Store, failure};

/// The key that the stand-in accepts.
pub const SECRET_ID: &str = "AKIDfake";
/// Its secret half.
pub const SECRET_KEY: &str = "fake-secret";

/// What an endpoint does wrong with one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing.
    None,
    /// Does nothing and says so, perhaps naming a better endpoint.
    Unavailable {
        /// Address of the better endpoint, or empty.
        hint: String,
    },
    /// Does nothing and refuses.
    Refuse {
        /// Code of the refusal.
        code: &'static str,
        /// Its advice.
        retry: Retry,
    },
    /// Does it and never answers.
    DropReply,
    /// Does it and ends the stream instead of answering.
    CutAfter,
    /// Ends the stream without doing it.
    CutBefore,
    /// Does it and answers late.
    Delay(Duration),
    /// Answers without content.
    Empty,
    /// Answers with bytes that are no BSON, under ids that nobody asked for as well.
    Garbage,
}

/// What the stand-in has seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Number of the endpoint.
    pub endpoint: usize,
    /// The request, without its payload.
    pub session: u64,
    /// See [`Request::sequence`].
    pub sequence: u64,
    /// See [`Request::deadline_ms`].
    pub deadline_ms: u32,
    /// Whether it opened a session.
    pub opens_session: bool,
}

#[derive(Default)]
struct Shared {
    store: Mutex<Store>,
    seen: Mutex<Vec<Seen>>,
    frames: Mutex<Vec<usize>>,
    faults: Mutex<Vec<Faults>>,
    /// The endpoint that leads, and its address.
    leader: Mutex<Option<(usize, String)>>,
    files: Mutex<FileStore>,
    file_faults: Mutex<VecDeque<FileFault>>,
}

#[derive(Default)]
struct Faults {
    always: Option<Fault>,
    next: VecDeque<Fault>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running stand-in; ends when dropped.
pub struct Fake {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    stops: Vec<watch::Sender<bool>>,
}

impl Fake {
    /// Starts `endpoints` endpoints over one empty store.
    pub async fn start(endpoints: usize) -> Self {
        let shared = Arc::new(Shared::default());
        let mut fake = Self {
            shared,
            addresses: Vec::new(),
            stops: Vec::new(),
        };
        for endpoint in 0..endpoints {
            let listener = TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a loopback port is free");
            fake.addresses.push(
                listener
                    .local_addr()
                    .expect("a bound socket has an address"),
            );
            lock(&fake.shared.faults).push(Faults::default());
            let (stop, stopped) = watch::channel(false);
            fake.stops.push(stop);
            fake.serve(endpoint, listener, stopped);
        }
        fake
    }

    fn serve(&self, endpoint: usize, listener: TcpListener, stopped: watch::Receiver<bool>) {
        let service = Service {
            endpoint,
            shared: self.shared.clone(),
            stopped: stopped.clone(),
        };
        let incoming = TcpListenerStream::new(listener)
            .map(|socket| socket.inspect(|s| drop(s.set_nodelay(true))));
        let server = tonic::transport::Server::builder()
            .initial_stream_window_size(crate::limits::WINDOW_BYTES)
            .add_service(
                DataServer::new(service)
                    .max_decoding_message_size(crate::limits::MESSAGE_BYTES_MAX),
            )
            .add_service(
                StorageServer::new(files::Service::new(self.shared.clone()))
                    .max_decoding_message_size(crate::limits::MESSAGE_BYTES_MAX),
            )
            .serve_with_incoming_shutdown(incoming, wait(stopped));
        tokio::spawn(server);
    }

    /// Ends an endpoint: its streams break and nobody listens there any more.
    pub fn stop(&self, endpoint: usize) {
        let _ = self.stops[endpoint].send(true);
    }

    /// Lets a stopped endpoint listen again at its address.
    pub async fn restart(&mut self, endpoint: usize) {
        let listener = loop {
            match TcpListener::bind(self.addresses[endpoint]).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let (stop, stopped) = watch::channel(false);
        self.stops[endpoint] = stop;
        self.serve(endpoint, listener, stopped);
    }

    /// Addresses of the endpoints.
    pub fn urls(&self) -> Vec<String> {
        self.addresses
            .iter()
            .map(|address| format!("http://{address}"))
            .collect()
    }

    /// A client builder for all endpoints that begins with the first.
    pub fn builder(&self) -> ClientBuilder {
        Client::builder()
            .endpoints(self.urls())
            .credentials(SECRET_ID, SECRET_KEY)
            .env("demo")
            .first_endpoint(0)
    }

    /// From now on `endpoint` leads, and the others say so in their answers to writes.
    pub fn lead(&self, endpoint: usize) {
        *lock(&self.shared.leader) = Some((endpoint, self.urls()[endpoint].clone()));
    }

    /// The next requests to `endpoint`, one fault each; opening a session is spared.
    pub fn fault_next(&self, endpoint: usize, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.shared.faults)[endpoint].next.extend(faults);
    }

    /// Each request to `endpoint` from now on.
    pub fn fault_always(&self, endpoint: usize, fault: Fault) {
        lock(&self.shared.faults)[endpoint].always = Some(fault);
    }

    /// From now on nothing goes wrong.
    pub fn clear_faults(&self) {
        lock(&self.shared.faults)
            .iter_mut()
            .for_each(|faults| *faults = Faults::default());
    }

    /// Requests so far, in the order they arrived.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// Number of requests in each frame so far.
    pub fn frames(&self) -> Vec<usize> {
        lock(&self.shared.frames).clone()
    }

    /// The next requests about files, to whichever endpoint, one fault each.
    pub fn fault_files(&self, faults: impl IntoIterator<Item = FileFault>) {
        lock(&self.shared.file_faults).extend(faults);
    }

    /// The files that are stored.
    pub fn files(&self) -> MutexGuard<'_, FileStore> {
        lock(&self.shared.files)
    }

    /// What is stored.
    pub fn store(&self) -> MutexGuard<'_, Store> {
        lock(&self.shared.store)
    }
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    // A dropped sender means that the stand-in is gone, which is as good a reason to end.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

struct Service {
    endpoint: usize,
    shared: Arc<Shared>,
    stopped: watch::Receiver<bool>,
}

/// What to do with one request.
enum Outcome {
    Answer(Response),
    Silence,
    Cut,
    Late(Response, Duration),
}

impl Shared {
    fn handle(&self, endpoint: usize, request: Request) -> Outcome {
        let opens_session = matches!(request.op, Some(Op::OpenSession(_)));
        let (session, sequence, deadline_ms) =
            (request.session, request.sequence, request.deadline_ms);
        lock(&self.seen).push(Seen {
            endpoint,
            session,
            sequence,
            deadline_ms,
            opens_session,
        });
        let fault = {
            let faults = &mut lock(&self.faults)[endpoint];
            let next = if opens_session {
                None
            } else {
                faults.next.pop_front()
            };
            next.or_else(|| faults.always.clone())
                .unwrap_or(Fault::None)
        };
        let id = request.id;
        // As a cluster does: who leads is named in answers to writes that came to another node.
        let leader = lock(&self.leader)
            .as_ref()
            .filter(|(leader, _)| *leader != endpoint && sequence != 0)
            .map_or_else(String::new, |(_, url)| url.clone());
        let answer = |result| Response {
            id,
            result,
            leader: leader.clone(),
        };
        let refusal = |code: &str, retry: Retry, hint: String| {
            let failure = Failure {
                code: code.into(),
                retry: retry.into(),
                hint,
                ..failure(code, "as ordered")
            };
            answer(Some(response::Result::Failure(failure)))
        };
        match fault {
            Fault::Unavailable { hint } => {
                Outcome::Answer(refusal("UNAVAILABLE", Retry::Safe, hint))
            }
            Fault::Refuse { code, retry } => Outcome::Answer(refusal(code, retry, String::new())),
            Fault::CutBefore => Outcome::Cut,
            Fault::Empty => Outcome::Answer(answer(None)),
            Fault::Garbage => {
                let documents = vec![vec![7; 9].into(), vec![].into(), vec![255; 40].into()];
                let found = crate::proto::Found {
                    documents,
                    next: vec![1].into(),
                };
                Outcome::Answer(answer(Some(response::Result::Found(found))))
            }
            Fault::None | Fault::DropReply | Fault::CutAfter | Fault::Delay(_) => {
                let done = answer(Some(lock(&self.store).carry_out(request)));
                match fault {
                    Fault::DropReply => Outcome::Silence,
                    Fault::CutAfter => Outcome::Cut,
                    Fault::Delay(delay) => Outcome::Late(done, delay),
                    _ => Outcome::Answer(done),
                }
            }
        }
    }
}

type Frames = Pin<Box<dyn Stream<Item = Result<ResponseFrame, Status>> + Send>>;

#[tonic::async_trait]
impl Data for Service {
    type CallStream = Frames;

    async fn call(&self, call: Call<Streaming<RequestFrame>>) -> Result<Reply<Frames>, Status> {
        let value = call
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        match Authorization::parse(value) {
            Ok(Authorization::Signed(signed))
                if signed.secret_id == SECRET_ID && signed.verify(SECRET_KEY, CALL_METHOD) => {}
            _ => return Err(Status::unauthenticated("the signature does not match")),
        }
        let (answers, outgoing) = mpsc::channel(16);
        let task = serve_stream(
            call.into_inner(),
            answers,
            self.endpoint,
            self.shared.clone(),
        );
        let stopped = self.stopped.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = task => {}
                () = wait(stopped) => {}
            }
        });
        Ok(Reply::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn execute(&self, call: Call<Request>) -> Result<Reply<Response>, Status> {
        match self.shared.handle(self.endpoint, call.into_inner()) {
            Outcome::Answer(response) | Outcome::Late(response, _) => Ok(Reply::new(response)),
            Outcome::Silence | Outcome::Cut => Err(Status::unavailable("cut")),
        }
    }
}

async fn serve_stream(
    mut requests: Streaming<RequestFrame>,
    answers: mpsc::Sender<Result<ResponseFrame, Status>>,
    endpoint: usize,
    shared: Arc<Shared>,
) {
    while let Ok(Some(frame)) = requests.message().await {
        lock(&shared.frames).push(frame.requests.len());
        let mut responses = Vec::new();
        for request in frame.requests {
            match shared.handle(endpoint, request) {
                Outcome::Answer(response) => responses.push(response),
                Outcome::Silence => {}
                Outcome::Cut => return,
                Outcome::Late(response, delay) => {
                    let answers = answers.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        let _ = answers
                            .send(Ok(ResponseFrame {
                                responses: vec![response],
                            }))
                            .await;
                    });
                }
            }
        }
        if !responses.is_empty() && answers.send(Ok(ResponseFrame { responses })).await.is_err() {
            return;
        }
    }
}
