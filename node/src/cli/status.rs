//! `yunbase status`: nodes, groups, leaders, lag, and how it is in one sentence.

use clap::Args;
use yunbase_client::proto::{ChunksStatus, StatusRequest, StatusResponse};

use super::exit::Exit;
use super::failure::{CliError, conclude};
use super::management::Management;
use super::output::line;
use super::target::TargetArgs;

/// Shows how a cluster is.
#[derive(Debug, Args)]
pub struct StatusCommand {
    #[command(flatten)]
    target: TargetArgs,
    /// Form of the result.
    #[arg(short = 'o', value_parser = ["table", "json", "jsonl"], default_value = "table")]
    output: String,
}

impl StatusCommand {
    /// Runs the command: ok when every group can serve, else unavailable.
    pub async fn run(self) -> Exit {
        match self.ask().await {
            Ok(status) => {
                match self.output.as_str() {
                    "json" => line(format_args!("{:#}", to_json(&status))),
                    "jsonl" => line(to_json(&status)),
                    _ => print_table(&status),
                }
                if status.healthy {
                    Exit::Ok
                } else {
                    Exit::Unavailable
                }
            }
            Err(problem) => conclude(Err(problem)),
        }
    }

    async fn ask(&self) -> Result<StatusResponse, CliError> {
        let mut management = Management::of(&self.target.resolve()?).await?;
        Ok(management.status(StatusRequest {}).await?)
    }
}

fn to_json(status: &StatusResponse) -> serde_json::Value {
    let nodes: Vec<_> = status
        .nodes
        .iter()
        .map(|node| {
            serde_json::json!({
                "id": node.id, "http": node.http_address, "peer": node.peer_address, "zone": node.zone,
                "reachable": node.reachable, "version": node.version, "uptime_s": node.uptime_s,
                "resident_bytes": node.resident_bytes, "groups_led": node.groups_led, "leaving": node.leaving,
                "chunks": node.chunks.as_ref().map(chunks_to_json),
            })
        })
        .collect();
    let groups: Vec<_> = status
        .groups
        .iter()
        .map(|group| {
            let replicas: Vec<_> = group
                .replicas
                .iter()
                .map(|replica| {
                    serde_json::json!({
                        "node": replica.node, "voter": replica.voter, "reachable": replica.reachable,
                        "applied": replica.applied, "lag": replica.lag,
                    })
                })
                .collect();
            let leader = (group.leader != 0).then_some(group.leader);
            serde_json::json!({
                "id": group.id, "leader": leader, "term": group.term, "committed": group.committed,
                "environments": group.environments, "replicas": replicas,
            })
        })
        .collect();
    serde_json::json!({
        "cluster_id": status.cluster_id, "healthy": status.healthy, "sentence": status.sentence,
        "nodes": nodes, "groups": groups,
    })
}

fn chunks_to_json(chunks: &ChunksStatus) -> serde_json::Value {
    serde_json::json!({
        "chunks": chunks.chunks, "plain_bytes": chunks.plain_bytes, "stored_bytes": chunks.stored_bytes,
        "free_bytes": chunks.free_bytes, "total_bytes": chunks.total_bytes,
        "damaged_chunks": chunks.damaged_chunks, "missing_copies": chunks.missing_copies,
        "repaired_copies": chunks.repaired_copies, "audits": chunks.audits,
        "audited_files": chunks.audited_files, "lost_chunks": chunks.lost_chunks, "problems": chunks.problems,
    })
}

fn print_chunks(status: &StatusResponse) {
    line(format_args!(
        "\n{:<5} {:>10} {:>12} {:>12} {:>12} {:>9} {:>9} {:>10}",
        "NODE", "CHUNKS", "CONTENT", "ON DISK", "FREE", "DAMAGED", "MISSING", "REPAIRED"
    ));
    for node in &status.nodes {
        let Some(chunks) = &node.chunks else {
            continue;
        };
        line(format_args!(
            "{:<5} {:>10} {:>8} MiB {:>8} MiB {:>8} GiB {:>9} {:>9} {:>10}",
            node.id,
            chunks.chunks,
            chunks.plain_bytes >> 20,
            chunks.stored_bytes >> 20,
            chunks.free_bytes >> 30,
            chunks.damaged_chunks,
            chunks.missing_copies,
            chunks.repaired_copies
        ));
        for problem in &chunks.problems {
            line(format_args!("      {problem}"));
        }
    }
}

fn print_table(status: &StatusResponse) {
    line(format_args!("{}\n", status.sentence));
    line(format_args!(
        "{:<5} {:<22} {:<13} {:>10} {:>10} {:>7}",
        "NODE", "HTTP", "STATE", "UPTIME", "MEMORY", "LEADS"
    ));
    for node in &status.nodes {
        let state = match (node.reachable, node.leaving) {
            (true, false) => "up",
            (false, false) => "down",
            (true, true) => "leaving",
            (false, true) => "leaving, down",
        };
        line(format_args!(
            "{:<5} {:<22} {:<13} {:>9}s {:>6} MiB {:>7}",
            node.id,
            node.http_address,
            state,
            node.uptime_s,
            node.resident_bytes >> 20,
            node.groups_led
        ));
    }
    line(format_args!(
        "\n{:<6} {:<7} {:<6} {:>12}  {:<40} ENVIRONMENTS",
        "GROUP", "LEADER", "TERM", "COMMITTED", "REPLICAS (lag)"
    ));
    for group in &status.groups {
        let leader = if group.leader == 0 {
            "none".to_owned()
        } else {
            group.leader.to_string()
        };
        let replicas: Vec<String> = group
            .replicas
            .iter()
            .map(|replica| {
                let kind = if replica.voter { "" } else { "learner " };
                if replica.reachable {
                    format!("{kind}{} ({})", replica.node, replica.lag)
                } else {
                    format!("{kind}{} (down)", replica.node)
                }
            })
            .collect();
        line(format_args!(
            "{:<6} {:<7} {:<6} {:>12}  {:<40} {}",
            group.id,
            leader,
            group.term,
            group.committed,
            replicas.join(", "),
            group.environments.join(", ")
        ));
    }
    print_chunks(status);
}
