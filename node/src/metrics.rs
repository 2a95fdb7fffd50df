//! Readiness and metrics of a node, put together when somebody asks.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use yunbase_consensus::{DiskRoom, Host, LogEngine, NodeId};

use crate::cluster::map::SharedMap;
use crate::realtime::metrics::Counters;
use crate::router::Router;
use crate::surface::health::Health;
use crate::surface::peer::resident_bytes;

/// The node as `/readyz` and `/metrics` show it.
pub struct NodeHealth {
    node_id: NodeId,
    router: Arc<Router>,
    map: SharedMap,
    host: Host,
    log: LogEngine,
    realtime: Arc<Counters>,
    wanted: Wanted,
}

/// What the configuration asks the cluster to have.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// An environment.
    pub env: Option<String>,
    /// The public half of a key.
    pub key: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupLabel {
    group: u32,
}

type GroupGauge = Family<GroupLabel, Gauge<i64, AtomicI64>>;
type GroupCounter = Family<GroupLabel, Counter>;

impl NodeHealth {
    /// Health of node `node_id`.
    pub fn new(
        node_id: NodeId,
        router: Arc<Router>,
        map: SharedMap,
        host: Host,
        log: LogEngine,
        realtime: Arc<Counters>,
        wanted: Wanted,
    ) -> Self {
        Self {
            node_id,
            router,
            map,
            host,
            log,
            realtime,
            wanted,
        }
    }
}

impl Health for NodeHealth {
    fn ready(&self) -> Result<(), String> {
        let map = self.map.get();
        if map.settings.is_none() {
            return Err("the cluster map has not arrived yet".to_owned());
        }
        if !map.nodes.contains_key(&self.node_id) {
            return Err("this node is not in the cluster map yet".to_owned());
        }
        // What this node's own configuration asks for; a cluster without environments is ready for its first one.
        if let Some(env) = &self.wanted.env
            && map.group_of(env).is_none()
        {
            return Err(format!("environment {env} has not been created yet"));
        }
        if let Some(key) = &self.wanted.key
            && !map.keys.contains_key(key)
        {
            return Err("the key of the configuration has not been created yet".to_owned());
        }
        for group in self.router.groups() {
            let id = group.id();
            let Some(placement) = map.placement(id).filter(|_| map.belongs(id, self.node_id))
            else {
                // Of groups that live elsewhere this node needs nothing.
                continue;
            };
            if group.leader().is_none() {
                return Err(format!("group {id} has no leader"));
            }
            let members = group.status().members;
            if placement.voters.contains(&self.node_id) && !members.voters.contains(&self.node_id) {
                return Err(format!("group {id} is still being copied to this node"));
            }
            if members.changing {
                return Err(format!("group {id} is changing its members"));
            }
        }
        Ok(())
    }

    fn metrics(&self) -> String {
        let mut registry = Registry::with_prefix("yunbase");
        let process: Gauge<i64, AtomicI64> = Gauge::default();
        process.set(i64::try_from(resident_bytes()).unwrap_or(i64::MAX));
        registry.register_with_unit(
            "resident_memory",
            "Resident memory of the process",
            Unit::Bytes,
            process,
        );
        let room: Gauge<i64, AtomicI64> = Gauge::default();
        room.set(match self.host.disk_room() {
            DiskRoom::Enough => 0,
            DiskRoom::Low => 1,
            DiskRoom::Full => 2,
        });
        registry.register(
            "disk_shortage",
            "0 = enough free space, 1 = writes are refused, 2 = nothing is stored",
            room,
        );
        let ready: Gauge<i64, AtomicI64> = Gauge::default();
        ready.set(i64::from(self.ready().is_ok()));
        registry.register("ready", "Whether the node can take requests", ready);
        self.group_metrics(&mut registry);
        self.log_metrics(&mut registry);
        self.realtime.register(&mut registry);
        let mut text = String::new();
        match encode(&mut text, &registry) {
            Ok(()) => text,
            // Writing to a string does not fail; an empty page would at least be noticed.
            Err(_) => String::new(),
        }
    }
}

impl NodeHealth {
    fn group_metrics(&self, registry: &mut Registry) {
        let leading = GroupGauge::default();
        let term = GroupGauge::default();
        let committed = GroupGauge::default();
        let applied = GroupGauge::default();
        let commands = GroupCounter::default();
        let entries = GroupCounter::default();
        let reads = GroupCounter::default();
        let expired = GroupCounter::default();
        let warnings = GroupCounter::default();
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        for group in self.router.groups() {
            let label = GroupLabel {
                group: group.id().0,
            };
            let status = group.status();
            leading
                .get_or_create(&label)
                .set(i64::from(group.is_leader()));
            term.get_or_create(&label)
                .set(signed(status.leadership.term));
            committed
                .get_or_create(&label)
                .set(signed(status.committed.unwrap_or(0)));
            applied
                .get_or_create(&label)
                .set(signed(status.applied.unwrap_or(0)));
            let counted = group.group().metrics();
            commands.get_or_create(&label).inc_by(counted.commands);
            entries.get_or_create(&label).inc_by(counted.entries);
            reads.get_or_create(&label).inc_by(counted.reads);
            let effects = group.database().applied_effects();
            expired
                .get_or_create(&label)
                .inc_by(effects.expired_documents);
            warnings
                .get_or_create(&label)
                .inc_by(effects.validation_warnings);
        }
        registry.register(
            "group_leading",
            "Whether this node leads the group",
            leading,
        );
        registry.register("group_term", "Raft term of the group", term);
        registry.register(
            "group_committed_index",
            "Last committed log index known here",
            committed,
        );
        registry.register(
            "group_applied_index",
            "Last log index applied here",
            applied,
        );
        registry.register("group_commands", "Commands proposed here", commands);
        registry.register("group_entries", "Log entries that carried them", entries);
        registry.register("group_reads", "Read barriers asked for here", reads);
        registry.register(
            "group_validation_warnings",
            "Documents stored here although they break the schema of a collection that only warns",
            warnings,
        );
        registry.register(
            "group_expired_documents",
            "Documents that time-to-live indexes removed here",
            expired,
        );
    }

    fn log_metrics(&self, registry: &mut Registry) {
        let stats = self.log.stats();
        let syncs = Counter::<u64>::default();
        syncs.inc_by(stats.syncs);
        registry.register("log_syncs", "Times the Raft log was synced to disk", syncs);
        let entries = Counter::<u64>::default();
        entries.inc_by(stats.entries);
        registry.register("log_entries", "Entries written to the Raft log", entries);
    }
}
