//! End users through routers: one node with the only replica of a group, one without that forwards to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bson::doc;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use yunbase_consensus::{
    ClusterId, GrpcNetwork, Host, HostOptions, LogEngine, LogOptions, Peer, RaftOptions,
    plain_endpoints,
};
use yunbase_docdb::memory::MemoryStore;
use yunbase_docdb::{Database, Options};

use super::*;
use crate::call::Execute as _;
use crate::cluster::map::{ClusterMap, SharedMap};
use crate::forward::{ForwardPool, ForwardServer};
use crate::group_runtime::GroupRuntime;
use crate::peer_proto::forward_server;
use crate::router::RouterHandle;
use crate::rules::testing::{ENV, find, found, insert, raw, remove, update_all, user};
use crate::scan_threads::ScanThreads;
use crate::spill::SpillFolder;
use crate::state_bridge::DatabaseState;

const GROUP: GroupId = GroupId(1);

pub(in crate::router) struct Side {
    pub(in crate::router) router: Arc<Router>,
    _host: Host,
}

/// A router with one group, of which it has a replica if it is the first node.
async fn side(id: u64, folder: &Path, forward: ForwardPool) -> Side {
    let folder = folder.join(id.to_string());
    std::fs::create_dir_all(&folder).expect("a folder");
    let log = LogEngine::open(&folder.join("log"), LogOptions::default()).expect("a log");
    let network = Arc::new(GrpcNetwork::new(plain_endpoints()));
    let mut options = HostOptions::new(id, ClusterId([7; 16]), network, folder.join("snapshots"));
    options.raft = RaftOptions {
        heartbeat: Duration::from_millis(100),
        election_min: Duration::from_millis(300),
        election_max: Duration::from_millis(600),
        ..RaftOptions::default()
    };
    let host = Host::start(options, log).expect("a host");
    let database =
        Database::open(Box::new(MemoryStore::new()), Options::default()).expect("a database");
    let database = Arc::new(database);
    let state = Arc::new(DatabaseState::new(database.clone()));
    let applied = state.watch_applied();
    let group = host.open_group(GROUP, state).await.expect("a group");
    if id == 1 {
        let own = Peer {
            address: "127.0.0.1:1".into(),
        };
        group
            .bootstrap(BTreeMap::from([(id, own)]))
            .await
            .expect("founded");
    }
    let map = SharedMap::default();
    map.set(ClusterMap {
        environments: BTreeMap::from([(ENV.to_owned(), GROUP)]),
        ..ClusterMap::default()
    });
    let router = Router::new(id, map, forward, Duration::from_secs(10));
    let spill = SpillFolder::open(folder.join("spill")).expect("a folder");
    router.add_group(GroupRuntime::new(
        group,
        database,
        applied,
        ScanThreads::new(),
        spill,
        now_ms,
    ));
    Side {
        router,
        _host: host,
    }
}

pub(in crate::router) struct Pair {
    pub(in crate::router) near: Side,
    /// Has no replica.
    pub(in crate::router) far: Side,
    _folder: tempfile::TempDir,
}

pub(in crate::router) async fn pair() -> Pair {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = ForwardPool::new(Arc::new(|_| Err("no peers".to_owned())));
    let near = side(1, folder.path(), nowhere).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let service = forward_server::ForwardServer::new(ForwardServer::new(Arc::new(RouterHandle(
        near.router.clone(),
    ))));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener)),
    );
    let to_near = ForwardPool::new(Arc::new(move |_| {
        tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| error.to_string())
    }));
    let far = side(2, folder.path(), to_near).await;
    far.router.hints.learn(GROUP, Some(1));
    Pair {
        near,
        far,
        _folder: folder,
    }
}

pub(in crate::router) async fn call(
    side: &Side,
    caller: Caller,
    op: Op,
) -> Result<OpReply, Failure> {
    RouterHandle(side.router.clone())
        .execute(Call {
            caller,
            env: ENV.into(),
            op,
            session: None,
            read_level: ReadLevel::Linearizable,
            deadline: Instant::now() + Duration::from_secs(10),
            request_id: "r1".into(),
        })
        .await
}

pub(in crate::router) async fn as_admin(side: &Side, op: Op) -> OpReply {
    let caller = Caller::Administrator {
        key_id: "AK".into(),
    };
    call(side, caller, op).await.expect("done")
}

pub(in crate::router) async fn as_user(
    side: &Side,
    name: &str,
    op: Op,
) -> Result<OpReply, Failure> {
    call(side, Caller::User(Arc::new(user(name))), op).await
}

async fn set_access(side: &Side, access: Document) {
    let set = Op::SetAccess {
        collection: "c".into(),
        access: raw(&access),
    };
    as_admin(side, set).await;
}

async fn create(side: &Side) {
    as_admin(
        side,
        Op::CreateCollection {
            collection: "c".into(),
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_hold_on_every_node_from_their_commit_on() {
    let pair = pair().await;
    create(&pair.near).await;
    as_user(&pair.near, "me", insert("c", &[doc! { "_id": 1 }]))
        .await
        .expect("inserted");
    as_user(&pair.far, "you", insert("c", &[doc! { "_id": 2 }]))
        .await
        .expect("inserted");
    let all = as_admin(&pair.far, find("c", doc! {})).await;
    assert_eq!(
        found(all),
        [
            doc! { "_id": 1, "_openid": "me" },
            doc! { "_id": 2, "_openid": "you" }
        ]
    );
    // Back and forth, each node asked right after a change through the other.
    for round in 0..10 {
        let (setter, asked) = if round % 2 == 0 {
            (&pair.near, &pair.far)
        } else {
            (&pair.far, &pair.near)
        };
        set_access(setter, doc! { "mode": "READONLY" }).await;
        let seen = as_user(asked, "me", find("c", doc! {}))
            .await
            .expect("read");
        assert_eq!(found(seen).len(), 2, "round {round}");
        set_access(setter, doc! {}).await;
        let seen = as_user(asked, "me", find("c", doc! {}))
            .await
            .expect("read");
        assert_eq!(found(seen).len(), 1, "round {round}");
        set_access(setter, doc! { "mode": "ADMINONLY" }).await;
        for op in [
            find("c", doc! { "_id": 1 }),
            update_all("c", doc! {}, doc! { "$set": { "a": round } }),
            remove("c", doc! {}, true),
            insert("c", &[doc! { "_id": 3 }]),
        ] {
            let refused = as_user(asked, "me", op).await.expect_err("refused");
            assert_eq!(refused.code, DENIED, "round {round}");
        }
    }
    let denials = pair.far.router.denials().recent(ENV, 100);
    assert_eq!(denials.len(), 20);
    let last = &denials[0];
    assert_eq!(
        (
            last.request_id.as_str(),
            last.collection.as_str(),
            last.operation,
            last.uid.as_str()
        ),
        ("r1", "c", "create", "me")
    );
}

/// Nobody sees a document that was written after the rules had been closed.
#[tokio::test(flavor = "multi_thread")]
async fn no_read_slips_through_a_change_of_rules() {
    let pair = Arc::new(pair().await);
    create(&pair.near).await;
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|number| {
            let (pair, stop) = (pair.clone(), stop.clone());
            tokio::spawn(async move {
                let side = if number % 2 == 0 {
                    &pair.near
                } else {
                    &pair.far
                };
                let by_id = number < 2;
                let mut answers = 0;
                while !stop.load(Ordering::Relaxed) {
                    // A refusal may come without any wait, and others need the threads too.
                    tokio::task::yield_now().await;
                    let filter = if by_id {
                        doc! { "_id": 1 }
                    } else {
                        doc! {}
                    };
                    match as_user(side, "me", find("c", filter)).await {
                        Ok(reply) => {
                            for document in found(reply) {
                                assert_eq!(document.get_bool("secret").ok(), Some(false));
                            }
                            answers += 1;
                        }
                        Err(failure) => assert_eq!(failure.code, DENIED),
                    }
                }
                answers
            })
        })
        .collect();
    as_admin(
        &pair.near,
        insert("c", &[doc! { "_id": 1, "secret": false }]),
    )
    .await;
    for _ in 0..15 {
        set_access(&pair.near, doc! { "mode": "READONLY" }).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        set_access(&pair.near, doc! { "mode": "ADMINONLY" }).await;
        for secret in [true, false] {
            let change = doc! { "$set": { "secret": secret } };
            as_admin(&pair.near, update_all("c", doc! {}, change)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut answers = 0;
    for reader in readers {
        answers += reader.await.expect("no secret was seen");
    }
    assert!(answers > 0, "nothing was ever read");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_rules_that_make_sense_are_set_and_get_reads_through_the_cluster() {
    let pair = pair().await;
    create(&pair.near).await;
    let caller = Caller::Administrator {
        key_id: "AK".into(),
    };
    let nonsense = Op::SetAccess {
        collection: "c".into(),
        access: raw(&doc! { "mode": "CUSTOM", "rule": { "read": "doc.a ==" } }),
    };
    let refused = call(&pair.far, caller, nonsense)
        .await
        .expect_err("refused");
    assert_eq!(refused.code, "INVALID_PARAM");
    assert!(refused.message.contains("at character 9"), "{refused}");
    let rule = doc! { "read": "get(`database.users.${auth.uid}`).admin == true" };
    set_access(&pair.near, doc! { "mode": "CUSTOM", "rule": rule }).await;
    for side in [&pair.near, &pair.far] {
        let refused = as_user(side, "me", find("c", doc! {})).await;
        assert_eq!(refused.expect_err("no users yet").code, DENIED);
    }
    as_admin(
        &pair.far,
        Op::CreateCollection {
            collection: "users".into(),
        },
    )
    .await;
    as_admin(
        &pair.far,
        insert("users", &[doc! { "_id": "me", "admin": true }]),
    )
    .await;
    for side in [&pair.near, &pair.far] {
        as_user(side, "me", find("c", doc! {})).await.expect("read");
        let refused = as_user(side, "you", find("c", doc! {})).await;
        assert_eq!(refused.expect_err("no admin").code, DENIED);
    }
}
