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
use super::target::TargetArgs;

#[derive(Debug, Subcommand)]
enum ClusterAction {
    /// Print the line that lets a new node join.
    Token {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Hand the leadership of a group to another of its voters.
    Transfer {
        /// The group.
        group: u32,
        /// The node that shall lead.
        node: u64,
        #[command(flatten)]
        target: TargetArgs,
    },
}

#[derive(Debug, Subcommand)]
enum EnvAction {
    /// Create an environment; one that exists stays as it is.
    Create {
        /// Its name.
        name: String,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// List environments and the groups that hold them.
    List {
        #[command(flatten)]
        target: TargetArgs,
    },
}

#[derive(Debug, Subcommand)]
enum KeyAction {
    /// Create a secret key; its secret half is printed once, here.
    Create(CreateKey),
    /// List keys, without their secret halves.
    List {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Revoke a key.
    Delete {
        /// Its public half.
        #[arg(id = "key", value_name = "SECRET_ID")]
        secret_id: String,
        #[command(flatten)]
        target: TargetArgs,
    },
}

#[derive(Debug, Args)]
struct CreateKey {
    /// The one environment that it opens; without it the key opens all.
    #[arg(long)]
    only_env: Option<String>,
    #[command(flatten)]
    target: TargetArgs,
}

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
            let mut management = Management::of(&target.resolve()?).await?;
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
            let mut management = Management::of(&target.resolve()?).await?;
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
            let mut management = Management::of(&target.resolve()?).await?;
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
            let mut management = Management::of(&target.resolve()?).await?;
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

async fn key(action: KeyAction) -> Result<(), CliError> {
    match action {
        KeyAction::Create(CreateKey { only_env, target }) => {
            let mut management = Management::of(&target.resolve()?).await?;
            let key = management
                .create_key(CreateKeyRequest {
                    env: only_env.unwrap_or_default(),
                })
                .await?;
            line(format_args!("{}\t{}", key.secret_id, key.secret_key));
        }
        KeyAction::List { target } => {
            let mut management = Management::of(&target.resolve()?).await?;
            for key in management.list_keys(ListKeysRequest {}).await?.keys {
                let env = if key.env.is_empty() {
                    "(all)"
                } else {
                    &key.env
                };
                line(format_args!("{}\t{env}", key.secret_id));
            }
        }
        KeyAction::Delete { secret_id, target } => {
            let mut management = Management::of(&target.resolve()?).await?;
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
