//! `yunbase env`: environments of a cluster.

use clap::{Args, Subcommand};
use serde_json::json;
use yunbase_client::proto::{CreateEnvironmentRequest, Environment, ListEnvironmentsRequest};

use super::exit::Exit;
use super::failure::CliError;
use super::management::{Management, ManagementArgs};
use super::output::{ChangeArgs, Printed, would};
use crate::cluster::founding::check_env_name;

/// Environments.
#[derive(Debug, Args)]
pub struct EnvCommand {
    #[command(flatten)]
    shared: ManagementArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create an environment; one that exists stays as it is
    Create {
        /// Its name
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// List environments and the groups that hold them
    List,
}

impl EnvCommand {
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
        Verb::Create { name, change } if change.dry_run => {
            check_env_name(&name).map_err(|failure| CliError::usage(failure.message))?;
            let known = environments(management).await?;
            Ok(would(match known.iter().find(|env| env.name == name) {
                Some(env) => format!(
                    "change nothing: environment {name} exists already in group {}",
                    env.group
                ),
                None => format!("create environment {name}"),
            }))
        }
        Verb::Create { name, .. } => {
            let request = CreateEnvironmentRequest { name: name.clone() };
            let answer = management.create_environment(request).await?;
            Ok(Printed::Value(json!({
                "environment": name, "group": answer.group, "created": answer.created,
            })))
        }
        Verb::List => {
            let rows = environments(management).await?.into_iter();
            Ok(Printed::Rows(
                rows.map(|env| json!({ "environment": env.name, "group": env.group }))
                    .collect(),
            ))
        }
    }
}

/// All environments of a cluster.
pub(super) async fn environments(
    management: &mut Management,
) -> Result<Vec<Environment>, CliError> {
    let listed = management.list_environments(ListEnvironmentsRequest {});
    Ok(listed.await?.environments)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::management_fake::Fake;
    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        env: EnvCommand,
    }

    async fn env(fake: &Fake, words: &[&str]) -> Result<Printed, CliError> {
        let parsed = Cli::try_parse_from(["env"].iter().chain(words));
        let command = parsed.map_err(|error| CliError::usage(error.to_string()))?;
        carry_out(command.env.verb, &mut fake.management().await).await
    }

    #[tokio::test]
    async fn environments_are_created_once_and_listed() {
        let fake = Fake::start().await;
        for created in [true, false] {
            let printed = env(&fake, &["create", "shop"]).await.unwrap();
            let expected = json!({ "environment": "shop", "group": 1, "created": created });
            assert_eq!(printed, Printed::Value(expected));
        }
        let listed = env(&fake, &["list"]).await.unwrap();
        let expected = vec![json!({ "environment": "shop", "group": 1 })];
        assert_eq!(listed, Printed::Rows(expected));
    }

    #[tokio::test]
    async fn a_dry_run_tells_and_changes_nothing() {
        let fake = Fake::start().await;
        let create = ["create", "shop", "--dry-run"];
        let printed = env(&fake, &create).await.unwrap();
        assert!(printed.to_string().contains("create environment shop"));
        assert_eq!(fake.changes(), 0);
        env(&fake, &["create", "shop"]).await.unwrap();
        let printed = env(&fake, &create).await.unwrap();
        assert!(printed.to_string().contains("exists already in group 1"));
        let refused = env(&fake, &["create", "_shop", "--dry-run"]).await;
        assert_eq!(refused.unwrap_err().exit, Exit::Usage);
        let nothing_to_change = env(&fake, &["list", "--dry-run"]).await;
        assert_eq!(nothing_to_change.unwrap_err().exit, Exit::Usage);
        assert_eq!(fake.changes(), 1);
    }
}
