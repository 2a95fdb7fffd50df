//! One node: puts the parts together, starts them in order, and stops them in the reverse order.
//!
//! `beginning` makes a node and opens its groups, `chunks` opens its disks for files, `opened` lets go of everything, and
//! `write_down` tells the cluster of the node.

mod beginning;
mod chunks;
mod opened;
mod write_down;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use yunbase_consensus::{LogEngine, LogOptions};
use yunbase_docdb::rocks_options::RocksShared;

use self::beginning::{found, found_groups, open_groups, start_host};
use self::opened::Opened;
use self::write_down::write_down;
use crate::audit::Audit;
use crate::audit::service::AuditService;
use crate::auth::service::AuthService;
use crate::auth::{Auth, AuthLimits, SystemRandom, rest, sweep};
use crate::call::{Execute, KeyDirectory};
use crate::cluster::directory::Directory;
use crate::cluster::map::SharedMap;
use crate::cluster::standing::WasRemoved;
use crate::cluster::store::ClusterStore;
use crate::cluster::{join, reconcile, removal, service::ClusterService, standing};
use crate::config::Config;
use crate::data_service::DataService;
use crate::disk_space::Reserve;
use crate::forward::{ForwardPool, ForwardServer};
use crate::gateway;
use crate::identity::DataDir;
use crate::metrics::{NodeHealth, Wanted};
use crate::operators::door::Door;
use crate::operators::service::OperatorsService;
use crate::operators::{OperatorLimits, Operators};
use crate::peer_proto::{chunks_server, forward_server, membership_server};
use crate::realtime;
use crate::router::{Router, RouterHandle};
use crate::scan_threads::ScanThreads;
use crate::storage::blobs::server::ChunkService;
use crate::storage::links::Links;
use crate::storage::s3::{self, S3Door};
use crate::storage::service::StorageService;
use crate::storage::status::StatusBoard;
use crate::storage::transfer::{self, TransferState};
use crate::storage::{FileDoor, StorageAccess};
use crate::surface::peer::{MemberDoor, PeerAddresses, PeerCalls};
use crate::surface::{cors, health, http, lanes};
use crate::tls::NodeCertificates;
use crate::{audit, direct_io, disk_space, maintenance, operators};

/// Largest message between peers.
const PEER_MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A running node.
pub struct Node {
    opened: Opened,
    failure: Failed,
    http: JoinHandle<()>,
    drain_timeout: Duration,
}

/// How the lanes of the peer port are served.
fn peer_server(certificates: &NodeCertificates) -> anyhow::Result<Server> {
    Ok(Server::builder()
        .tls_config(certificates.server())?
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20))
}

/// Tells why a node cannot go on, should that come to pass.
type Failed = watch::Receiver<Option<String>>;

/// Milliseconds since 1970: the clock that commands are stamped with.
pub fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| {
            i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
        })
}

impl Node {
    /// Starts a node and returns once its ports are open; it becomes ready by and by. `None` when `cancelled` came first.
    pub async fn start(
        config: Config,
        cancelled: impl Future<Output = ()>,
    ) -> anyhow::Result<Option<Self>> {
        let mut opened = None;
        let outcome = tokio::select! {
            started = Box::pin(Self::try_start(config, &mut opened)) => started.map(Some),
            () = cancelled => Ok(None),
        };
        match (outcome, opened) {
            (Ok(Some((failure, http, drain_timeout))), Some(opened)) => Ok(Some(Self {
                opened,
                failure,
                http,
                drain_timeout,
            })),
            (outcome, opened) => {
                if let Some(opened) = opened {
                    opened.abandon().await;
                }
                outcome.map(|_| None)
            }
        }
    }

    /// Puts into `opened` what must be closed, as soon as there is anything.
    async fn try_start(
        config: Config,
        opened: &mut Option<Opened>,
    ) -> anyhow::Result<(Failed, JoinHandle<()>, Duration)> {
        let began = Instant::now();
        let data = DataDir::open(&config.data_dir)?;
        let lock = data.lock().await?;
        if let Some(node) = data.removed()? {
            return Err(WasRemoved(node).into());
        }
        // Bound first: a port in use must be known before anything is written.
        let http_listener = TcpListener::bind(&config.http_address)
            .await
            .with_context(|| format!("listen on http_address {}", config.http_address))?;
        let peer_listener = TcpListener::bind(&config.peer_address)
            .await
            .with_context(|| format!("listen on peer_address {}", config.peer_address))?;
        let s3_listener = match &config.s3_address {
            Some(address) => Some(
                TcpListener::bind(address)
                    .await
                    .with_context(|| format!("listen on s3_address {address}"))?,
            ),
            None => None,
        };
        let reserve = Reserve(config.disk_reserve_bytes);
        disk_space::wait_for_room(&config.data_dir, reserve)
            .await
            .with_context(|| format!("look at the free space of {}", config.data_dir.display()))?;
        let identity = match data.identity()? {
            Some(identity) => {
                data.claim_log(Some(&identity.disk_id))?;
                identity
            }
            None if config.bootstrap => found(&config, &data)?,
            None if !config.join.is_empty() => join::join(&config, &data).await?,
            None => anyhow::bail!(
                "{} belongs to no cluster yet: set `bootstrap = true` to found one, or `join` and `join_token` to join one",
                config.data_dir.display()
            ),
        };
        let certificates = NodeCertificates::load(&data.tls())?
            .with_context(|| format!("{} holds no certificates", data.tls().display()))?;

        let map = SharedMap::default();
        let addresses = PeerAddresses::new(
            certificates.clone(),
            identity.cluster_id.clone(),
            map.clone(),
        );
        let log_options = LogOptions {
            direct_writes: direct_io::is_supported(&config.data_dir),
            ..LogOptions::default()
        };
        let chunk_store = chunks::open_store(&config, &data).await?;
        let log = LogEngine::open(&data.consensus(), log_options).context("open the Raft log")?;
        let host = start_host(&config, &data, &identity, &addresses, log.clone())?;
        let router = {
            let addresses = addresses.clone();
            let pool = ForwardPool::new(Arc::new(move |node| addresses.endpoint(node, None)));
            Router::new(identity.node_id, map.clone(), pool, config.request_timeout)
        };
        let (stop, stopping) = watch::channel(false);
        // Of its own: handing leadership over needs the peer port until the end.
        let (stop_peers, mut peer_stopping) = watch::channel(false);
        let opened = opened.insert(Opened {
            host: host.clone(),
            router: router.clone(),
            stop,
            stop_peers,
            tasks: Vec::new(),
            scan_threads: ScanThreads::new(),
            shared: RocksShared::new(config.block_cache_bytes, config.write_buffer_bytes)
                .with_direct_writes(direct_io::is_supported(&config.data_dir)),
            log: log.clone(),
            chunks: chunk_store.clone(),
            _lock: lock,
        });
        let (tasks, scan_threads) = (&mut opened.tasks, opened.scan_threads.clone());
        let handle = RouterHandle(router.clone());
        let execute: Arc<dyn Execute> = Arc::new(handle.clone());
        let store = ClusterStore::new(execute.clone(), config.request_timeout);
        let chunk_disks = chunks::disks_of(&chunk_store).await;
        let files = chunks::files(
            &config,
            &identity,
            chunk_store,
            &map,
            &addresses,
            execute.clone(),
        );
        let chunk_status = StatusBoard::default();
        let peers = Arc::new(PeerCalls::new(
            identity.node_id,
            addresses,
            map.clone(),
            router.clone(),
            chunk_status.clone(),
        ));
        let auth = Arc::new(Auth::new(
            execute.clone(),
            map.clone(),
            Arc::new(gateway::SystemClock),
            Arc::new(SystemRandom),
            AuthLimits {
                request_deadline: config.request_timeout,
                ..AuthLimits::default()
            },
        )?);
        let audit = Arc::new(Audit::new(execute.clone(), Arc::new(gateway::SystemClock)));
        let operators = Arc::new(Operators::new(
            store.clone(),
            auth.clone(),
            audit.clone(),
            Arc::new(gateway::SystemClock),
            OperatorLimits::default(),
            config.request_timeout,
        ));
        let lanes = lanes::split(peer_listener);
        let (failed, failure) = watch::channel(None);

        // Open to peers before the groups are: a group that opens may need them to elect a leader.
        let prompt_server = {
            let door = MemberDoor::new(map.clone());
            let forward = InterceptedService::new(
                forward_server::ForwardServer::new(ForwardServer::new(Arc::new(handle.clone())))
                    .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX),
                door.clone(),
            );
            let raft = InterceptedService::new(host.peer_service(), door);
            let membership =
                membership_server::MembershipServer::new(join::MembershipService::new(
                    store.clone(),
                    map.clone(),
                    peers.clone(),
                    audit.clone(),
                    now_ms,
                ));
            let mut stopping = peer_stopping.clone();
            peer_server(&certificates)?
                .add_service(raft)
                .add_service(forward)
                .add_service(membership)
                .serve_with_incoming_shutdown(lanes.prompt, async move {
                    let _ = stopping.wait_for(|stopping| *stopping).await;
                })
        };
        let bulk_server = {
            let chunks = ChunkService::new(files.blobs().clone(), files.collector().clone());
            let chunks = InterceptedService::new(
                chunks_server::ChunksServer::new(chunks)
                    .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX),
                MemberDoor::new(map.clone()),
            );
            peer_server(&certificates)?
                .add_service(chunks)
                .serve_with_incoming_shutdown(lanes.bulk, async move {
                    let _ = peer_stopping.wait_for(|stopping| *stopping).await;
                })
        };
        tasks.push(host.runtime().spawn(lanes.accept));
        tasks.push(tokio::spawn(async move {
            if let Err(error) = bulk_server.await {
                tracing::error!(%error, "the lane for files of the peer port has failed");
            }
        }));
        tasks.push(host.runtime().spawn(async move {
            if let Err(error) = prompt_server.await {
                tracing::error!(%error, "the peer port has failed");
            }
        }));

        open_groups(
            &data,
            &identity,
            &host,
            &router,
            &map,
            &scan_threads,
            &opened.shared,
            tasks,
            &stopping,
        )
        .await?;
        found_groups(&config, &data, &identity, &router).await?;

        tasks.push(tokio::spawn(disk_space::run(
            config.data_dir.clone(),
            reserve,
            host.clone(),
            stopping.clone(),
        )));
        tasks.push(tokio::spawn(reconcile::run(
            router.clone(),
            map.clone(),
            stopping.clone(),
        )));
        tasks.push(tokio::spawn(removal::run(
            router.clone(),
            map.clone(),
            peers.clone(),
            store.clone(),
            now_ms,
            stopping.clone(),
        )));
        tasks.push(tokio::spawn(standing::run(
            identity.node_id,
            data.clone(),
            map.clone(),
            router.clone(),
            peers.clone(),
            failed.clone(),
            stopping.clone(),
        )));
        tasks.push(tokio::spawn(maintenance::run(
            router.clone(),
            failed.clone(),
            stopping.clone(),
        )));
        tasks.push(tokio::spawn(maintenance::watch_log(log.clone(), failed)));
        tasks.push(tokio::spawn(sweep::run(
            auth.clone(),
            router.clone(),
            stopping.clone(),
        )));
        tasks.push(tokio::spawn(operators::sweep::run(
            operators.clone(),
            router.clone(),
            stopping.clone(),
        )));
        tasks.push(tokio::spawn(audit::sweep::run(
            audit,
            router.clone(),
            map.clone(),
            config.audit_retention_days,
            stopping.clone(),
        )));
        tasks.push(tokio::spawn(write_down(
            store.clone(),
            auth.clone(),
            operators.clone(),
            map.clone(),
            identity.clone(),
            data.clone(),
            config.clone(),
            chunk_disks,
        )));
        tasks.extend(chunks::start(&files, &router, chunk_status, &stopping));

        let keys: Arc<dyn KeyDirectory> = Arc::new(Directory::new(map.clone(), router.clone()));
        let door = Door::new(keys.clone(), operators.clone());
        let watch_limits = realtime::limits::Limits::default();
        let seal = crate::seal::Seal::of_cluster(map.clone());
        let tickets = realtime::Tickets::new(seal.clone(), &watch_limits);
        let realtime = realtime::Realtime::new(
            handle.clone(),
            Arc::new(realtime::by_rules::ByRules::new(
                realtime::access::KeysOnly(keys.clone()),
                router.clone(),
                auth.clone(),
            )),
            keys.clone(),
            seal,
            watch_limits,
            scan_threads.clone(),
            stopping.clone(),
        );
        let data_service = DataService::new(
            execute.clone(),
            Arc::new(handle.clone()),
            Arc::new(handle.clone()),
            Arc::new(handle.clone()),
            door.clone(),
            config.request_timeout,
            stopping.clone(),
        )
        .into_server();
        let cluster_service = ClusterService::new(
            store,
            map.clone(),
            peers.clone(),
            auth.clone(),
            door.clone(),
            now_ms,
        )
        .into_server();
        let auth_service =
            AuthService::new(auth.clone(), door.clone(), config.request_timeout).into_server();
        let operators_service = OperatorsService::new(door.clone()).into_server();
        let audit_service = AuditService::new(door.clone()).into_server();
        let node_health = Arc::new(NodeHealth::new(
            identity.node_id,
            router.clone(),
            map.clone(),
            host.clone(),
            log.clone(),
            realtime.counters(),
            Wanted {
                env: config.bootstrap_env.clone(),
                key: config.bootstrap_secret_id.clone(),
            },
        ));
        let transactions = Arc::new(handle);
        let file_access = StorageAccess::new(execute.clone(), config.request_timeout);
        let links = Links::of_cluster(map.clone());
        let storage_service =
            StorageService::new(files.clone(), links.clone(), door, now_ms).into_server();
        let clock = Arc::new(gateway::SystemClock);
        let s3_door = S3Door::new(files.clone(), keys.clone(), map.clone(), clock.clone());
        let file_door = FileDoor::new(files, links, file_access);
        let transfers = TransferState::new(file_door.clone(), keys.clone(), clock.clone());
        let state = gateway::GatewayState {
            execute,
            keys,
            files: Some(file_door),
            tokens: Arc::new(auth.verifier()),
            transactions,
            auth: Some(auth.clone()),
            operators: Some(operators.clone()),
            tickets,
            large_requests: Arc::new(gateway::LargeRequests::start()?),
            clock,
            limits: gateway::Limits {
                requests_in_flight_max: config.concurrent_requests_max,
                body_bytes_max: config.body_bytes_max,
                request_deadline: config.request_timeout,
                ..gateway::Limits::default()
            },
        };
        // The pages of operators and probes stay closed to other sites: no browser needs them across origins.
        let web = tonic::service::Routes::new(data_service)
            .add_service(cluster_service)
            .add_service(auth_service)
            .add_service(operators_service)
            .add_service(audit_service)
            .add_service(storage_service)
            .into_axum_router()
            .merge(gateway::router(state))
            .merge(transfer::router(transfers))
            .merge(rest::router(auth))
            .merge(realtime.routes())
            .layer(cors::layer(&config.cors_origins))
            .merge(operators::http::router(operators))
            .merge(health::router(node_health));
        let limits = http::HttpLimits {
            connections_max: config.connections_max,
            drain_timeout: config.drain_timeout,
            ..http::HttpLimits::default()
        };
        let s3 = {
            let stopping = stopping.clone();
            async move {
                if let Some(listener) = s3_listener {
                    s3::serve(listener, s3_door, limits, stopping).await;
                }
            }
        };
        let proxies = config.trusted_proxies.clone();
        let http = http::serve(http_listener, web, limits, proxies, stopping);
        let http = tokio::spawn(async move {
            tokio::join!(http, s3);
        });
        tracing::info!(
            node = identity.node_id,
            cluster = identity.cluster_id,
            http = config.http_address,
            peer = config.peer_address,
            s3 = config.s3_address.as_deref(),
            took_ms = began.elapsed().as_millis() as u64,
            "started"
        );
        Ok((failure, http, config.drain_timeout))
    }

    /// Returns why the node cannot go on, should that come to pass.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // The watcher has ended, so no failure will be reported any more.
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes no new requests, lets those in progress finish, hands leadership over, and flushes.
    pub async fn stop(self) {
        let opened = self.opened;
        opened.stop.send_replace(true);
        let mut http = self.http;
        if tokio::time::timeout(self.drain_timeout, &mut http)
            .await
            .is_err()
        {
            http.abort();
            tracing::info!("requests were cut off at the end of the drain time");
        }
        opened.scan_threads.stop();
        if let Err(error) = opened.host.shutdown().await {
            tracing::warn!(%error, "stop consensus");
        }
        for group in opened.router.groups() {
            let database = group.database().clone();
            let flushed = tokio::task::spawn_blocking(move || database.flush()).await;
            if let Ok(Err(error)) = flushed {
                tracing::warn!(group = %group.id(), %error, "flush the state");
            }
        }
        opened.release().await;
    }
}
