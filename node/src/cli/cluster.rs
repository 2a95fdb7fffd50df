//! `yunbase cluster`: joining and leadership.

use clap::{Args, Subcommand};
use serde_json::json;
use yunbase_client::proto::{
    GroupStatus, JoinTokenRequest, StatusRequest, StatusResponse, TransferLeaderRequest,
};

use super::exit::Exit;
use super::failure::CliError;
use super::management::{Management, ManagementArgs};
use super::output::{ChangeArgs, Printed, would};

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
}

impl ClusterCommand {
    /// Carries out the command.
    pub async fn run(self) -> Exit {
        let Self { shared, verb } = self;
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
}
