//! Measures one group of three hosts in one process over loopback gRPC, with the log synced to disk:
//! writes and read barriers a second, latencies, processor time.
//!
//! `cargo run --release --workspace --example bench_group -- [--seconds 3] [--dir DIR] [--idle GROUPS]`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::transport::server::TcpIncoming;
use yunbase_consensus::{
    ClusterId, Command, Group, GroupId, GrpcNetwork, Host, HostOptions, LogEngine, LogOptions,
    NodeId, Peer, StateMachine, plain_endpoints,
};

const VALUE_BYTES: usize = 1024;
const CLUSTER: ClusterId = ClusterId([1; 16]);

/// Counts commands and stores nothing: what is measured is consensus.
#[derive(Default)]
struct Nothing {
    progress: parking_lot::Mutex<Option<Vec<u8>>>,
}

impl StateMachine for Nothing {
    fn progress(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.progress.lock().clone())
    }
    fn apply(&self, commands: &[Command], progress: &[u8]) -> io::Result<Vec<Bytes>> {
        *self.progress.lock() = Some(progress.to_vec());
        Ok(vec![Bytes::from_static(b"ok"); commands.len()])
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn checkpoint(&self, _into: &Path) -> io::Result<()> {
        Ok(())
    }
    fn checkpoint_progress(&self, _checkpoint: &Path) -> io::Result<Option<Vec<u8>>> {
        self.progress()
    }
    fn restore(&self, _from: &Path) -> io::Result<()> {
        Ok(())
    }
}

struct Args {
    seconds: u64,
    dir: Option<PathBuf>,
    pipeline: Option<usize>,
    idle_groups: Option<u32>,
    heartbeat: Option<Duration>,
}

fn args() -> Args {
    let mut args = Args {
        seconds: 3,
        dir: None,
        pipeline: None,
        idle_groups: None,
        heartbeat: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(flag) = words.next() {
        let value = words.next().unwrap();
        match flag.as_str() {
            "--seconds" => args.seconds = value.parse().unwrap(),
            "--dir" => args.dir = Some(value.into()),
            "--pipeline" => args.pipeline = Some(value.parse().unwrap()),
            "--heartbeat" => args.heartbeat = Some(Duration::from_millis(value.parse().unwrap())),
            "--idle" => args.idle_groups = Some(value.parse().unwrap()),
            other => panic!("unknown flag {other}"),
        }
    }
    args
}

/// Processor time of this process so far, user and system.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

async fn start(dir: &Path, args: &Args) -> Vec<Host> {
    let groups = args.idle_groups.unwrap_or(1);
    let mut hosts = Vec::new();
    let mut members = BTreeMap::new();
    for node in 1..=3 {
        let folder = dir.join(format!("node{node}"));
        std::fs::create_dir_all(&folder).unwrap();
        let log = LogEngine::open(&folder.join("log"), LogOptions::default()).unwrap();
        let network = Arc::new(GrpcNetwork::new(plain_endpoints()));
        let mut options = HostOptions::new(node, CLUSTER, network, folder.join("snapshots"));
        if let Some(entries) = args.pipeline {
            options.proposals.pipeline_entries = entries;
        }
        if let Some(heartbeat) = args.heartbeat {
            options.raft.heartbeat = heartbeat;
        }
        let host = Host::start(options, log).unwrap();
        for group in 0..groups {
            host.open_group(GroupId(group), Arc::new(Nothing::default()))
                .await
                .unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        members.insert(
            node as NodeId,
            Peer {
                address: listener.local_addr().unwrap().to_string(),
            },
        );
        let service = host.peer_service();
        host.runtime().spawn(async move {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        hosts.push(host);
    }
    for group in 0..groups {
        let host = &hosts[group as usize % 3];
        host.group(GroupId(group))
            .unwrap()
            .bootstrap(members.clone())
            .await
            .unwrap();
    }
    hosts
}

async fn leader(hosts: &[Host], group: GroupId) -> usize {
    loop {
        for (number, host) in hosts.iter().enumerate() {
            if host.group(group).unwrap().watch_leader().borrow().here {
                return number;
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[derive(Clone, Copy)]
enum Work {
    Write,
    Read,
}

async fn measure(name: &str, group: &Group, clients: usize, seconds: u64, work: Work) {
    let stop = Arc::new(AtomicBool::new(false));
    let (cpu_before, before, began) = (cpu(), group.metrics(), Instant::now());
    let clients_running: Vec<_> = (0..clients)
        .map(|_| {
            let (group, stop) = (group.clone(), stop.clone());
            tokio::spawn(async move {
                let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
                let mut latencies = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let deadline = began + Duration::from_secs(10);
                    match work {
                        Work::Write => drop(group.propose(value.clone(), deadline).await.unwrap()),
                        Work::Read => drop(group.read_barrier(deadline).await.unwrap()),
                    }
                    latencies.push(u32::try_from(began.elapsed().as_micros()).unwrap());
                }
                latencies
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for client in clients_running {
        latencies.extend(client.await.unwrap());
    }
    let (elapsed, cpu) = (began.elapsed(), cpu() - cpu_before);
    latencies.sort_unstable();
    let count = latencies.len();
    let after = group.metrics();
    let batch = match work {
        Work::Write => {
            (after.commands - before.commands) as f64 / (after.entries - before.entries) as f64
        }
        Work::Read => {
            (after.reads - before.reads) as f64
                / (after.read_rounds - before.read_rounds).max(1) as f64
        }
    };
    println!(
        "{name:<14} {clients:>4} clients {:>8.0}/s  p50 {:>6} us  p99 {:>6} us  batch {batch:>6.1}  cpu {:>5.1} us/op",
        count as f64 / elapsed.as_secs_f64(),
        latencies[count / 2],
        latencies[count * 99 / 100],
        cpu.as_micros() as f64 / count as f64,
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args = args();
    let temporary = tempfile::tempdir().unwrap();
    let dir = args
        .dir
        .clone()
        .unwrap_or_else(|| temporary.path().to_owned());
    let hosts = start(&dir, &args).await;
    let number = leader(&hosts, GroupId(0)).await;
    let leading = hosts[number].group(GroupId(0)).unwrap();
    let following = hosts[(number + 1) % 3].group(GroupId(0)).unwrap();
    if args.idle_groups.is_some() {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let (cpu_before, began) = (cpu(), Instant::now());
        tokio::time::sleep(Duration::from_secs(args.seconds)).await;
        let share = (cpu() - cpu_before).as_secs_f64() / began.elapsed().as_secs_f64();
        println!(
            "idle: {:.2} % of a core for each of three hosts",
            share * 100.0 / 3.0
        );
        return;
    }
    // The first leader may still be on its way in.
    while leading
        .propose(
            Bytes::from_static(b"first"),
            Instant::now() + Duration::from_secs(1),
        )
        .await
        .is_err()
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for clients in [1, 64, 256] {
        measure("write", &leading, clients, args.seconds, Work::Write).await;
    }
    for clients in [1, 64, 256] {
        measure("read leader", &leading, clients, args.seconds, Work::Read).await;
        measure(
            "read follower",
            &following,
            clients,
            args.seconds,
            Work::Read,
        )
        .await;
    }
}
