//! Who is let into a conversation, and that nobody else is heard.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

use super::*;
use crate::grpc_network::{GrpcNetwork, plain_endpoints};
use crate::log_engine::{LogEngine, LogOptions};
use crate::options::HostOptions;
use crate::peer_network::PeerResponse;
use crate::test_state_machine::TestStateMachine;
use crate::types::{GroupId, NodeId, Peer as Member};
use crate::wire::proto::peer_client::PeerClient;
use crate::{Group, Host};

const OURS: [u8; 16] = [7; 16];
const GROUP: GroupId = GroupId(0);
const PATIENCE: Duration = Duration::from_secs(10);

/// The host's own door, with a count of the requests that came through it.
struct Counted {
    door: Arc<dyn PeerHandler>,
    heard: AtomicUsize,
}

impl PeerHandler for Counted {
    fn admit(&self, parties: Parties) -> Result<(), String> {
        self.door.admit(parties)
    }

    fn handle(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'static, PeerResponse> {
        self.heard.fetch_add(1, Ordering::Relaxed);
        self.door.handle(from, request)
    }
}

/// Node 1 of our cluster, alone in its group and so its leader in a term that nothing else moves.
async fn leader(dir: &Path) -> (Host, Group) {
    let log = LogEngine::open(&dir.join("log"), LogOptions::default()).unwrap();
    let network = Arc::new(GrpcNetwork::new(plain_endpoints()));
    let options = HostOptions::new(1, ClusterId(OURS), network, dir.join("snapshots"));
    let host = Host::start(options, log).unwrap();
    let state = Arc::new(TestStateMachine::open(&dir.join("state")).unwrap());
    let group = host.open_group(GROUP, state).await.unwrap();
    let own = Member {
        address: "127.0.0.1:1".to_owned(),
    };
    group.bootstrap([(1, own)].into()).await.unwrap();
    let mut leadership = group.watch_leader();
    let elected = leadership.wait_for(|leadership| leadership.here);
    tokio::time::timeout(PATIENCE, elected)
        .await
        .unwrap()
        .unwrap();
    (host, group)
}

async fn serve(handler: Arc<Counted>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder()
        .add_service(peer_service(handler, Handle::current()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    format!("http://{address}")
}

fn request(id: u64, body: RequestBody) -> proto::Request {
    proto::Request {
        id,
        group: GROUP.0,
        body: Some(body),
    }
}

fn hello(cluster: [u8; 16], from: NodeId, to: NodeId, protocol: u32) -> RequestBody {
    RequestBody::Hello(proto::Hello {
        protocol,
        cluster_id: cluster.to_vec().into(),
        from,
        to,
    })
}

/// What would depose any leader that listened to it: a candidate of a much later term with a longer log.
fn candidacy() -> RequestBody {
    RequestBody::Vote(proto::Vote {
        ballot: Some(proto::Ballot {
            term: 99,
            node: 9,
            committed: false,
        }),
        last_log: Some(proto::LogId {
            term: 98,
            leader: 9,
            index: 1_000_000,
        }),
        leadership_transfer: true,
    })
}

/// Sends `first` and a candidacy without waiting in between, as a sender that pipelines does, and returns the first
/// `answers_max` answers, or fewer when the other side ends the stream before.
async fn converse(url: &str, first: RequestBody, answers_max: usize) -> Vec<ResponseBody> {
    let mut client = PeerClient::connect(url.to_owned()).await.unwrap();
    let requests = futures::stream::iter([request(0, first), request(1, candidacy())]);
    let requests = requests.chain(futures::stream::pending());
    let mut answers = client.exchange(requests).await.unwrap().into_inner();
    let mut said = Vec::new();
    while said.len() < answers_max {
        let next = tokio::time::timeout(PATIENCE, answers.message()).await;
        match next.expect("an answer or the end of the stream") {
            Ok(Some(answer)) => said.extend(answer.body),
            Ok(None) | Err(_) => break,
        }
    }
    said
}

/// Steps: each kind of stranger says hello and asks for a vote that a leader could not resist; it is told why it is
/// refused and nothing else, and the group has heard nothing; then the same from a peer that says who it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_peer_of_ours_that_means_this_node_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let (host, group) = leader(dir.path()).await;
    let handler = Arc::new(Counted {
        door: host.peer_handler(),
        heard: AtomicUsize::new(0),
    });
    let url = serve(handler.clone()).await;
    let before = group.status().leadership;
    let strangers = [
        (
            "another cluster",
            hello([8; 16], 9, 1, PROTOCOL),
            "belongs to cluster",
        ),
        (
            "another node is meant",
            hello(OURS, 9, 2, PROTOCOL),
            "this is node 1, not 2",
        ),
        ("our own id", hello(OURS, 1, 1, PROTOCOL), "node 1 itself"),
        (
            "another protocol",
            hello(OURS, 9, 1, PROTOCOL + 1),
            "speaks peer protocol",
        ),
        ("no hello", candidacy(), "starts with hello"),
    ];
    for (who, first, reason) in strangers {
        let said = converse(&url, first, usize::MAX).await;
        let [ResponseBody::Refused(refusal)] = &said[..] else {
            panic!("{who}: {said:?}")
        };
        assert!(refusal.detail.contains(reason), "{who}: {}", refusal.detail);
        assert_eq!(handler.heard.load(Ordering::Relaxed), 0, "{who}");
        assert_eq!(group.status().leadership, before, "{who}");
    }

    let said = converse(&url, hello(OURS, 9, 1, PROTOCOL), 2).await;
    assert!(
        matches!(said[..], [ResponseBody::Welcome(_), ResponseBody::Vote(_)]),
        "{said:?}"
    );
    assert_eq!(handler.heard.load(Ordering::Relaxed), 1);
    host.shutdown().await.unwrap();
}
