//! A node whose disk is gone: it is taken out of the cluster, and its host joins again as a new node under load.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use rand::rngs::StdRng;

use super::{Fault, Needs, Nemesis, NemesisError, Proof, not_started, prove, targets};
use crate::cluster::{Cluster, ClusterError, Status};

/// What `yunbase serve` ends with when it refuses to run because that would be unsafe.
const UNSAFE: i32 = 6;
/// How long a node that has lost its log may take to refuse to run.
const REFUSAL_MAX: Duration = Duration::from_secs(20);
/// How long the others may take to be able to do without it: an election.
const POSSIBLE_MAX: Duration = Duration::from_secs(10);
/// How long they may take to have taken it out.
const REMOVED_MAX: Duration = Duration::from_secs(60);
/// How long the new node may take to be filled and vote.
const VOTES_MAX: Duration = Duration::from_secs(60);
/// Replicas of a group, where there are as many nodes.
const REPLICAS: usize = 3;
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wiped {
    /// All that the node had.
    Everything,
    /// Its Raft log, and so its votes; it still knows who it was, and is started.
    Log,
}

/// Wipes a node, removes it, and lets its host join again.
struct Replacement {
    wiped: Wiped,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    node: usize,
    old: u64,
    members: Vec<u64>,
    facts: Vec<String>,
}

pub(super) fn all() -> Vec<Box<dyn Nemesis>> {
    [Wiped::Everything, Wiped::Log]
        .into_iter()
        .map(|wiped| {
            let under_way = None;
            Box::new(Replacement { wiped, under_way }) as Box<dyn Nemesis>
        })
        .collect()
}

/// Removes a folder and says what was in it.
fn wipe(folder: &Path) -> std::io::Result<String> {
    let (mut files, mut bytes) = (0_u64, 0_u64);
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => {
                    files += 1;
                    bytes += entry.metadata()?.len();
                }
            }
        }
    }
    std::fs::remove_dir_all(folder)?;
    Ok(format!("{files} files with {bytes} bytes wiped"))
}

fn ids(status: &Status) -> Vec<u64> {
    status.nodes.iter().map(|member| member.id).collect()
}

impl Replacement {
    /// Kills and wipes. On an error before anything was wiped the node runs again as it was; from then on the end is to
    /// replace it, whatever else goes wrong.
    async fn strike(&mut self, cluster: &Arc<Cluster>, node: usize) -> Result<(), NemesisError> {
        let status = cluster.status().await?;
        let old = status.id_of(node).ok_or_else(|| {
            NemesisError::NotAvailable(format!("node {node} is no member at this moment"))
        })?;
        cluster.kill(node)?;
        if let Err(error) = possible(cluster, node, old).await {
            cluster.start_node(node)?;
            return Err(error.into());
        }
        let data = cluster.data_dir(node)?;
        let under_way = self.under_way.insert(UnderWay {
            node,
            old,
            members: ids(&status),
            facts: Vec::new(),
        });
        match self.wiped {
            Wiped::Everything => under_way.facts.push(wipe(&data)?),
            Wiped::Log => {
                under_way.facts.push(wipe(&data.join("consensus"))?);
                under_way.facts.push(refusal(cluster, node).await?);
            }
        }
        Ok(())
    }
}

/// Starts a node that has lost its log: it must end by itself, and say that this is for safety.
async fn refusal(cluster: &Cluster, node: usize) -> Result<String, NemesisError> {
    cluster.start_node(node)?;
    let ended = cluster.wait_ended(node, REFUSAL_MAX).await;
    cluster.kill(node)?;
    match ended.and_then(|status| status.code()) {
        Some(UNSAFE) => Ok(format!(
            "it refused to run as the one that it was (exit code {UNSAFE})"
        )),
        other => Err(NemesisError::Violation(format!(
            "node {node} was started without its Raft log, and did not refuse to run: {other:?}"
        ))),
    }
}

/// Waits until the others could do without a dead node.
async fn possible(cluster: &Cluster, node: usize, old: u64) -> Result<(), ClusterError> {
    let given_up = Instant::now() + POSSIBLE_MAX;
    loop {
        let through = another(cluster, node);
        let id = old.to_string();
        let asked = match through {
            Ok(through) => {
                let remove = ["cluster", "remove", &id, "--dry-run"];
                cluster.operate(through, &remove).await
            }
            Err(error) => Err(error),
        };
        match asked {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > given_up => return Err(error),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

fn another(cluster: &Cluster, node: usize) -> Result<usize, ClusterError> {
    cluster
        .numbers()
        .into_iter()
        .find(|k| *k != node && cluster.is_running(*k))
        .ok_or_else(|| ClusterError::Cluster("has no other node that runs".to_owned()))
}

/// Takes the node out, through whoever can do it.
async fn remove(cluster: &Cluster, node: usize, old: u64) -> Result<(), ClusterError> {
    let given_up = Instant::now() + REMOVED_MAX;
    let id = old.to_string();
    loop {
        let through = another(cluster, node)?;
        let remove = ["cluster", "remove", &id, "--wait", "5"];
        match cluster.operate(through, &remove).await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > given_up => return Err(error),
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// Waits until the new node votes, and tells how the members are then.
async fn votes(cluster: &Cluster, under_way: &UnderWay) -> Result<String, NemesisError> {
    let UnderWay {
        node, old, members, ..
    } = under_way;
    let given_up = Instant::now() + VOTES_MAX;
    // With more nodes than replicas it votes where placement has it.
    let everywhere = cluster.size() <= REPLICAS;
    loop {
        let seen = match cluster.status().await {
            Ok(status) => {
                let new = status.id_of(*node).filter(|new| new != old);
                let votes = |group: &&crate::cluster::Group| group.voters().contains(node);
                let of = status.groups.len();
                let in_groups = status.groups.iter().filter(votes).count();
                let enough = in_groups == of || (!everywhere && in_groups > 0);
                let now = ids(&status);
                match new {
                    Some(new) if enough && of > 0 && !now.contains(old) => {
                        return Ok(format!(
                            "the members were {members:?}, are {now:?}: {new} in the place of {old}, and it votes in {in_groups} of {of} groups"
                        ));
                    }
                    _ => format!("members {now:?}, votes in {in_groups} of {of} groups"),
                }
            }
            Err(error) => error.to_string(),
        };
        prove(Instant::now() < given_up, || {
            format!("node {node} has not taken the place of id {old}: {seen}")
        })?;
        tokio::time::sleep(POLL).await;
    }
}

impl Nemesis for Replacement {
    fn name(&self) -> &'static str {
        match self.wiped {
            Wiped::Everything => "replace-node",
            Wiped::Log => "wipe-restart",
        }
    }

    fn about(&self) -> &'static str {
        match self.wiped {
            Wiped::Everything => {
                "a node is killed and its disk wiped; it is removed, and a fresh one joins in its place"
            }
            Wiped::Log => {
                "a node loses its Raft log and must refuse to run; it is removed, and a fresh one joins in its place"
            }
        }
    }

    fn needs(&self) -> Needs {
        Needs::nodes(3)
    }

    fn start<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
        rng: &'a mut StdRng,
    ) -> BoxFuture<'a, Result<Fault, NemesisError>> {
        Box::pin(async move {
            let node = targets::leader_or_any(cluster, rng).await?;
            self.under_way = None;
            self.strike(cluster, node).await?;
            let what = match self.wiped {
                Wiped::Everything => format!("node {node} killed and wiped"),
                Wiped::Log => format!("node {node} killed, and its Raft log wiped"),
            };
            Ok(Fault::new([node], what))
        })
    }

    fn stop<'a>(
        &'a mut self,
        cluster: &'a Arc<Cluster>,
    ) -> BoxFuture<'a, Result<Proof, NemesisError>> {
        Box::pin(async move {
            let under_way = self.under_way.take().ok_or_else(not_started)?;
            let removed = remove(cluster, under_way.node, under_way.old).await;
            // Whatever came of that, the host needs a node again; an id of its own is safe in any case.
            cluster.rejoin(under_way.node).await?;
            removed?;
            let votes = votes(cluster, &under_way).await?;
            let mut facts = under_way.facts;
            facts.push(votes);
            Ok(Proof { facts })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_folder_is_gone_and_was_not_empty() {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path().join("data");
        std::fs::create_dir_all(data.join("state/0")).expect("folders");
        std::fs::write(data.join("identity"), [1; 10]).expect("write");
        std::fs::write(data.join("state/0/a"), [1; 5]).expect("write");
        assert_eq!(wipe(&data).expect("wipe"), "2 files with 15 bytes wiped");
        assert!(!data.exists());
        assert!(wipe(&data).is_err(), "nothing to wipe proves nothing");
    }
}
