//! Asking a cluster how it is, from the clients' host and by the commands that an operator has.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;

use super::error::{ClusterError, While as _};
use super::node::Node;
use super::status::{Group, ReplicaDigest, Status};
use super::{Cluster, founding, http};

/// How long one node may think about how the cluster is; it asks the others itself.
const STATUS_SECONDS: u32 = 3;
/// How often replicas are asked until all of a group are at one place: some ten seconds.
const DIGEST_ATTEMPTS: u32 = 40;
const POLL: Duration = Duration::from_millis(25);

/// How an operator's command is run.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    binary: PathBuf,
    secret_key: String,
}

impl Operator {
    fn run(&self, url: &str, arguments: &[String]) -> io::Result<Output> {
        Command::new(&self.binary)
            .args(arguments)
            .args(["--target", url])
            .env("YUNBASE_SECRET_ID", founding::SECRET_ID)
            .env("YUNBASE_SECRET_KEY", &self.secret_key)
            .stdin(Stdio::null())
            .output()
    }
}

impl Cluster {
    /// Runs `yunbase ARGUMENTS` as the operator, through node `k`; returns what it prints.
    pub async fn operate(&self, k: usize, arguments: &[&str]) -> Result<String, ClusterError> {
        let output = self.command(k, arguments).await?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(ClusterError::Command {
                what: format!("yunbase {} through node {k}", arguments.join(" ")),
                output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            }),
        }
    }

    async fn command(&self, k: usize, arguments: &[&str]) -> Result<Output, ClusterError> {
        let url = self.url(k)?;
        let operator = Operator {
            binary: self.options.binary.clone(),
            secret_key: self.secret_key.clone(),
        };
        let arguments: Vec<String> = arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect();
        self.on_clients(move || operator.run(&url, &arguments))
            .await
            .during(|| "run yunbase".to_owned())
    }

    /// How the cluster is in the eyes of node `k`.
    pub async fn status_of(&self, k: usize) -> Result<Status, ClusterError> {
        let seconds = STATUS_SECONDS.to_string();
        let arguments = ["status", "-o", "json", "--timeout", &seconds];
        let output = self.command(k, &arguments).await?;
        let hosts: Vec<String> = self
            .all()
            .iter()
            .map(|node| node.http.to_string())
            .collect();
        // It also answers when it is not well, and then ends with an error.
        let answer =
            serde_json::from_slice(&output.stdout).map(|status: Status| status.numbered(&hosts));
        answer.map_err(|_| ClusterError::Command {
            what: format!("yunbase status through node {k}"),
            output: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// How the cluster is in the eyes of the node that knows the latest term of the environment's group.
    pub async fn status(&self) -> Result<Status, ClusterError> {
        let running: Vec<usize> = self
            .numbers()
            .into_iter()
            .filter(|k| self.is_running(*k))
            .collect();
        let answers = join_all(running.iter().map(|k| self.status_of(*k))).await;
        let mut best: Option<(u64, bool, u64, Status)> = None;
        let mut why = "has no running node".to_owned();
        for answer in answers {
            match answer {
                Ok(status) => {
                    let Some(group) = status.group_of(founding::ENV) else {
                        continue;
                    };
                    let (term, has_leader, committed) =
                        (group.term, group.leader.is_some(), group.committed);
                    if best
                        .as_ref()
                        .is_none_or(|best| (best.0, best.1, best.2) < (term, has_leader, committed))
                    {
                        best = Some((term, has_leader, committed, status));
                    }
                }
                Err(error) => why = format!("does not say how it is: {error}"),
            }
        }
        best.map(|(.., status)| status)
            .ok_or(ClusterError::Cluster(why))
    }

    /// What each replica of each group holds, as a hash: at one place of the log, if they get there.
    pub async fn digests(&self) -> Result<Vec<ReplicaDigest>, ClusterError> {
        let mut why = "has no running node".to_owned();
        for k in self.numbers().into_iter().filter(|k| self.is_running(*k)) {
            let attempts = DIGEST_ATTEMPTS.to_string();
            let arguments = ["cluster", "digest", "-o", "json", "--attempts", &attempts];
            let output = self.command(k, &arguments).await?;
            // What differs is printed too, and then it ends with an error.
            match serde_json::from_slice(&output.stdout) {
                Ok(digests) => return Ok(digests),
                Err(_) => {
                    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                    why = format!("gives no digests through node {k}: {said}");
                }
            }
        }
        Err(ClusterError::Cluster(why))
    }

    /// The group that holds the environment's documents.
    pub async fn group(&self) -> Result<Group, ClusterError> {
        let status = self.status().await?;
        status
            .group_of(founding::ENV)
            .cloned()
            .ok_or_else(|| ClusterError::Cluster("has no group for the environment".to_owned()))
    }

    /// The node that leads the environment's group, if one is known to a node that can be asked.
    pub async fn leader(&self) -> Option<usize> {
        self.group().await.ok()?.leader
    }

    /// The voters of the environment's group that do not lead it.
    pub async fn followers(&self) -> Result<Vec<usize>, ClusterError> {
        let group = self.group().await?;
        let mut followers = group.voters();
        followers.retain(|k| Some(*k) != group.leader);
        Ok(followers)
    }

    /// Waits until node `k` says that it is ready.
    pub async fn wait_ready(&self, k: usize, at_most: Duration) -> Result<(), ClusterError> {
        let node = self.node(k)?;
        let given_up = Instant::now() + at_most;
        loop {
            let why = match self.ready(&node).await {
                Ok(()) => return Ok(()),
                Err(why) => why,
            };
            if node.process(&self.undo).is_none() {
                let how = node
                    .ended(&self.undo)
                    .map_or_else(String::new, |status| format!(" ({status})"));
                return Err(node.error(format!("has ended{how}")));
            }
            if Instant::now() > given_up {
                return Err(node.error(format!("is not ready after {at_most:?}: {why}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn ready(&self, node: &Arc<Node>) -> io::Result<()> {
        let address = node.http;
        self.on_clients(move || http::ready(address)).await
    }

    /// Waits until all nodes are ready and the environment's group has a leader.
    pub async fn wait_all_ready(&self, at_most: Duration) -> Result<(), ClusterError> {
        let given_up = Instant::now() + at_most;
        for k in self.numbers() {
            self.wait_ready(k, given_up.saturating_duration_since(Instant::now()))
                .await?;
        }
        while self.leader().await.is_none() {
            if Instant::now() > given_up {
                return Err(ClusterError::Cluster(format!(
                    "has no leader after {at_most:?}"
                )));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}
