//! `yunbase cluster|env|key`: members, environments and keys.

use std::future::Future;

use clap::{ArgMatches, Args, Command, Subcommand};
use yunbase_client::proto::{
    CreateEnvironmentRequest, CreateKeyRequest, DeleteKeyRequest, JoinTokenRequest,
    ListEnvironmentsRequest, ListKeysRequest, TransferLeaderRequest,
};

use super::exit::Exit;
use super::failure::CliError;
use super::management::Management;
use super::output::line;
use super::target::Target;
use crate::cluster::keys::TEMPORARY_KEY_LIFE_MAX;

#[derive(Debug, Subcommand)]
enum ClusterAction {
    /// Print the line that lets a new node join.
    Token {
        #[command(flatten)]
        target: Target,
    },
    /// Hand the leadership of a group to another of its voters.
    Transfer {
        /// The group.
        group: u32,
        /// The node that shall lead.
        node: u64,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
enum EnvAction {
    /// Create an environment; one that exists stays as it is.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        target: Target,
    },
    /// List environments and the groups that hold them.
    List {
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Subcommand)]
enum KeyAction {
    /// Create a secret key; its secret half (and a temporary key's session token) is printed once, here.
    Create(CreateKey),
    /// List keys, without their secret halves.
    List {
        #[command(flatten)]
        target: Target,
    },
    /// Revoke a key.
    Delete {
        /// Its public half.
        secret_id: String,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, Args)]
struct CreateKey {
    /// The one environment that it opens; without it the key opens all.
    #[arg(long)]
    only_env: Option<String>,
    /// Make a key that ends by itself and counts only together with its session token.
    #[arg(long, requires = "hours")]
    temporary: bool,
    /// Life of a temporary key.
    #[arg(long, requires = "temporary", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=HOURS_MAX))]
    hours: Option<u32>,
    #[command(flatten)]
    target: Target,
}

/// Most hours that a temporary key may live.
const HOURS_MAX: i64 = (TEMPORARY_KEY_LIFE_MAX.as_secs() / 3600) as i64;

/// The commands of this file, by the name they are called with.
pub fn commands() -> [Command; 3] {
    [
        ClusterAction::augment_subcommands(
            Command::new("cluster")
                .about("Members and leadership")
                .subcommand_required(true),
        ),
        EnvAction::augment_subcommands(
            Command::new("env")
                .about("Environments")
                .subcommand_required(true),
        ),
        KeyAction::augment_subcommands(
            Command::new("key")
                .about("Secret keys")
                .subcommand_required(true),
        ),
    ]
}

/// Runs one of [`commands`] in a runtime that `block_on` provides.
pub fn run(
    name: &str,
    matches: &ArgMatches,
    block_on: fn(std::pin::Pin<Box<dyn Future<Output = Exit>>>) -> Exit,
) -> Exit {
    fn parsed<A: clap::FromArgMatches>(matches: &ArgMatches) -> Result<A, Exit> {
        A::from_arg_matches(matches).map_err(|error| {
            let _ = error.print();
            Exit::Usage
        })
    }
    let work: std::pin::Pin<Box<dyn Future<Output = Result<(), CliError>>>> = match name {
        "cluster" => match parsed::<ClusterAction>(matches) {
            Ok(action) => Box::pin(cluster(action)),
            Err(exit) => return exit,
        },
        "env" => match parsed::<EnvAction>(matches) {
            Ok(action) => Box::pin(env(action)),
            Err(exit) => return exit,
        },
        "key" => match parsed::<KeyAction>(matches) {
            Ok(action) => Box::pin(key(action)),
            Err(exit) => return exit,
        },
        _ => return Exit::Usage,
    };
    block_on(Box::pin(async move {
        match work.await {
            Ok(()) => Exit::Ok,
            Err(problem) => super::failure::conclude(Err(problem)),
        }
    }))
}

async fn cluster(action: ClusterAction) -> Result<(), CliError> {
    match action {
        ClusterAction::Token { target } => {
            let mut management = Management::of(&target).await?;
            line(format_args!(
                "{}",
                management.join_token(JoinTokenRequest {}).await?.token
            ));
        }
        ClusterAction::Transfer {
            group,
            node,
            target,
        } => {
            let mut management = Management::of(&target).await?;
            management
                .transfer_leader(TransferLeaderRequest { group, node })
                .await?;
            eprintln!("node {node} leads group {group}");
        }
    }
    Ok(())
}

async fn env(action: EnvAction) -> Result<(), CliError> {
    match action {
        EnvAction::Create { name, target } => {
            let mut management = Management::of(&target).await?;
            let answer = management
                .create_environment(CreateEnvironmentRequest { name: name.clone() })
                .await?;
            let what = if answer.created {
                "created"
            } else {
                "exists already"
            };
            eprintln!("environment {name} {what} in group {}", answer.group);
        }
        EnvAction::List { target } => {
            let mut management = Management::of(&target).await?;
            for env in management
                .list_environments(ListEnvironmentsRequest {})
                .await?
                .environments
            {
                line(format_args!("{}\t{}", env.name, env.group));
            }
        }
    }
    Ok(())
}

/// A time of day as `2026-01-31T12:00:00Z`, or its number when it is out of range.
fn utc_time(unix_ms: i64) -> String {
    bson::DateTime::from_millis(unix_ms)
        .try_to_rfc3339_string()
        .unwrap_or_else(|_| unix_ms.to_string())
}

async fn key(action: KeyAction) -> Result<(), CliError> {
    match action {
        KeyAction::Create(CreateKey {
            only_env,
            hours,
            target,
            ..
        }) => {
            let mut management = Management::of(&target).await?;
            let key = management
                .create_key(CreateKeyRequest {
                    env: only_env.unwrap_or_default(),
                    temporary_hours: hours.unwrap_or(0),
                })
                .await?;
            let (id, secret, token) = (&key.secret_id, &key.secret_key, &key.session_token);
            match token.is_empty() {
                true => line(format_args!("{id}\t{secret}")),
                false => line(format_args!("{id}\t{secret}\t{token}")),
            }
        }
        KeyAction::List { target } => {
            let mut management = Management::of(&target).await?;
            for key in management.list_keys(ListKeysRequest {}).await?.keys {
                let env = if key.env.is_empty() {
                    "(all)"
                } else {
                    &key.env
                };
                match key.expires_at_ms {
                    0 => line(format_args!("{}\t{env}", key.secret_id)),
                    end => line(format_args!(
                        "{}\t{env}\tuntil {}",
                        key.secret_id,
                        utc_time(end)
                    )),
                }
            }
        }
        KeyAction::Delete { secret_id, target } => {
            let mut management = Management::of(&target).await?;
            if !management
                .delete_key(DeleteKeyRequest {
                    secret_id: secret_id.clone(),
                })
                .await?
                .deleted
            {
                return Err(CliError::new(
                    Exit::NotFound,
                    format!("there is no key {secret_id}"),
                ));
            }
            eprintln!("key {secret_id} is revoked");
        }
    }
    Ok(())
}
