//! `yunbase cluster`: joining, leaving, leadership, and whether replicas hold the same.

use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::json;
use tonic::Code;
use yunbase_client::proto::remove_node_response::State;
use yunbase_client::proto::{
    GroupStatus, JoinTokenRequest, RemoveNodeRequest, StatusRequest, StatusResponse,
    TransferLeaderRequest,
};

use super::exit::Exit;
use super::failure::CliError;
use super::management::{Management, ManagementArgs};
use super::output::{ChangeArgs, Printed, would};
use super::replica_digests::compare;

/// Pause between looks whether a node has left.
const REMOVAL_PAUSE: Duration = Duration::from_millis(300);

/// Members and leadership.
#[derive(Debug, Args)]
pub struct ClusterCommand {
    #[command(flatten)]
    shared: ManagementArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the line that lets a new node join; bare unless -o asks for JSON
    Token,
    /// Hand the leadership of a group to another of its voters
    Transfer {
        /// The group
        group: u32,
        /// The node that shall lead
        node: u64,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Take a node out for good, dead or alive, and wait until it is: its groups move to the others first
    Remove {
        /// The node
        node: u64,
        /// Seconds to wait until its groups have moved; asking again goes on waiting
        #[arg(long, default_value_t = 120, value_name = "SECONDS")]
        wait: u64,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Compare all replicas by a hash of what they hold at the same place of the log
    Digest {
        /// Only this group
        #[arg(long)]
        group: Option<u32>,
        /// How often to ask until all replicas are at one place
        #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        attempts: u32,
    },
}

impl ClusterCommand {
    /// Carries out the command.
    pub async fn run(self) -> Exit {
        let Self { shared, verb } = self;
        if let Verb::Digest { group, attempts } = verb {
            return shared
                .run_to_verdict(async |management| compare(management, group, attempts).await)
                .await;
        }
        shared
            .run(async |management| carry_out(verb, management).await)
            .await
    }
}

async fn carry_out(verb: Verb, management: &mut Management) -> Result<Printed, CliError> {
    match verb {
        Verb::Token => {
            let token = management.join_token(JoinTokenRequest {}).await?.token;
            Ok(Printed::Text("token", token))
        }
        Verb::Transfer {
            group,
            node,
            change,
        } => {
            if change.dry_run {
                let status = management.status(StatusRequest {}).await?;
                return transfer(&status, group, node);
            }
            management
                .transfer_leader(TransferLeaderRequest { group, node })
                .await?;
            Ok(Printed::Value(json!({ "group": group, "leader": node })))
        }
        Verb::Remove { node, wait, change } => {
            if change.dry_run {
                let dry_run = true;
                let request = RemoveNodeRequest { node, dry_run };
                management.remove_node(request).await?;
                return Ok(would(format!("remove node {node} from the cluster")));
            }
            remove(management, node, Duration::from_secs(wait)).await
        }
        Verb::Digest { group, attempts } => {
            let (printed, verdict) = compare(management, group, attempts).await?;
            verdict.map(|()| printed)
        }
    }
}

/// Asks for the removal until it is done.
async fn remove(
    management: &mut Management,
    node: u64,
    wait: Duration,
) -> Result<Printed, CliError> {
    let given_up = Instant::now() + wait;
    let mut groups = None;
    loop {
        let dry_run = false;
        let asked = management.remove_node(RemoveNodeRequest { node, dry_run });
        match asked.await {
            Ok(removal) if removal.state() == State::Removed => {
                return Ok(Printed::Value(json!({ "removed": node })));
            }
            Ok(removal) => groups = Some(removal.groups),
            // Leaders change in the course of it.
            Err(status) if groups.is_some() && status.code() == Code::Unavailable => {}
            Err(status) => return Err(status.into()),
        }
        if Instant::now() >= given_up {
            return Err(CliError::new(
                Exit::Unavailable,
                format!(
                    "node {node} is leaving, and groups {:?} have it still; it goes on: ask again",
                    groups.unwrap_or_default()
                ),
            ));
        }
        tokio::time::sleep(REMOVAL_PAUSE).await;
    }
}

/// What a transfer would do, judged by the status.
fn transfer(status: &StatusResponse, group: u32, node: u64) -> Result<Printed, CliError> {
    let not_found = |message: String| CliError::new(Exit::NotFound, message);
    let found: &GroupStatus = status
        .groups
        .iter()
        .find(|known| known.id == group)
        .ok_or_else(|| not_found(format!("there is no group {group}")))?;
    if !found
        .replicas
        .iter()
        .any(|replica| replica.voter && replica.node == node)
    {
        return Err(not_found(format!(
            "node {node} is no voter of group {group}"
        )));
    }
    let what = match found.leader {
        0 => format!("make node {node} the leader of group {group}, which has none at this moment"),
        leader if leader == node => {
            format!("change nothing: node {node} leads group {group} already")
        }
        leader => format!("move the leadership of group {group} from node {leader} to node {node}"),
    };
    Ok(would(what))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::management_fake::Fake;
    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        cluster: ClusterCommand,
    }

    async fn cluster(fake: &Fake, words: &[&str]) -> Result<Printed, CliError> {
        let parsed = Cli::try_parse_from(["cluster"].iter().chain(words));
        let command = parsed.map_err(|error| CliError::usage(error.to_string()))?;
        carry_out(command.cluster.verb, &mut fake.management().await).await
    }

    #[tokio::test]
    async fn a_token_is_a_bare_line() {
        let fake = Fake::start().await;
        let printed = cluster(&fake, &["token"]).await.unwrap();
        assert_eq!(printed, Printed::Text("token", "yb1.token".into()));
    }

    #[tokio::test]
    async fn a_dry_transfer_tells_and_refuses_what_cannot_be() {
        let fake = Fake::start().await;
        let exit = async |words: &[&str]| cluster(&fake, words).await.unwrap_err().exit;
        let transfer = ["transfer", "1", "2", "--dry-run"];
        let printed = cluster(&fake, &transfer).await.unwrap();
        assert!(printed.to_string().contains("from node 1 to node 2"));
        let same = ["transfer", "1", "1", "--dry-run"];
        let printed = cluster(&fake, &same).await.unwrap();
        assert!(printed.to_string().contains("change nothing"));
        assert_eq!(
            exit(&["transfer", "7", "2", "--dry-run"]).await,
            Exit::NotFound
        );
        assert_eq!(
            exit(&["transfer", "1", "7", "--dry-run"]).await,
            Exit::NotFound
        );
        assert_eq!(fake.changes(), 0);
        let printed = cluster(&fake, &["transfer", "1", "2"]).await.unwrap();
        assert_eq!(printed, Printed::Value(json!({ "group": 1, "leader": 2 })));
        assert_eq!(fake.changes(), 1);
    }

    #[tokio::test]
    async fn a_removal_is_asked_for_until_it_is_done() {
        let fake = Fake::start().await;
        let printed = cluster(&fake, &["remove", "3", "--dry-run"]).await.unwrap();
        assert!(printed.to_string().contains("remove node 3"), "{printed}");
        assert_eq!(fake.changes(), 0);
        let late = cluster(&fake, &["remove", "3", "--wait", "0"]).await;
        let late = late.unwrap_err();
        assert_eq!(late.exit, Exit::Unavailable);
        assert!(late.message.contains("[1]"), "{late}");
        let printed = cluster(&fake, &["remove", "3"]).await.unwrap();
        assert_eq!(printed, Printed::Value(json!({ "removed": 3 })));
        assert_eq!(fake.changes(), 1);
        for words in [&["remove", "1"][..], &["remove", "1", "--dry-run"]] {
            let refused = cluster(&fake, words).await.unwrap_err();
            assert_eq!(refused.exit, Exit::Unsafe, "{refused}");
        }
    }
}
