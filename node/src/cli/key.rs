//! `yunbase key`: secret keys of a cluster.

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use yunbase_client::proto::{CreateKeyRequest, DeleteKeyRequest, Key, ListKeysRequest};

use super::env::environments;
use super::exit::Exit;
use super::failure::CliError;
use super::management::{Management, ManagementArgs};
use super::output::{ChangeArgs, Printed, would};
use crate::cluster::keys::TEMPORARY_KEY_LIFE_MAX;

/// Most hours that a temporary key may live.
const HOURS_MAX: i64 = (TEMPORARY_KEY_LIFE_MAX.as_secs() / 3600) as i64;

/// Secret keys.
#[derive(Debug, Args)]
pub struct KeyCommand {
    #[command(flatten)]
    shared: ManagementArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a secret key; its secret half is printed once, here
    Create {
        /// The one environment that it opens; without it the key opens all
        // Not from YUNBASE_ENV: what a key opens shall not depend on a variable that nobody thinks of.
        #[arg(long, short = 'e', alias = "only-env")]
        env: Option<String>,
        /// Make a key that ends by itself and counts only together with its session token
        #[arg(long, requires = "hours")]
        temporary: bool,
        /// Life of a temporary key
        #[arg(long, requires = "temporary", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=HOURS_MAX))]
        hours: Option<u32>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// List keys, without their secret halves; one without an environment opens all
    List {
        /// Only those that open this environment
        #[arg(long, short = 'e')]
        env: Option<String>,
    },
    /// Revoke a key
    Delete {
        /// Its public half
        #[arg(id = "key", value_name = "SECRET_ID")]
        id: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

impl KeyCommand {
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
        Verb::Create { env, change, .. } if change.dry_run => {
            let Some(env) = env else {
                return Ok(would("create a key that opens all environments"));
            };
            let known = environments(management).await?;
            if known.iter().any(|known| known.name == env) {
                return Ok(would(format!("create a key that opens environment {env}")));
            }
            let message = format!("there is no environment `{env}`");
            Err(CliError::new(Exit::NotFound, message))
        }
        Verb::Create { env, hours, .. } => {
            let request = CreateKeyRequest {
                env: env.clone().unwrap_or_default(),
                temporary_hours: hours.unwrap_or(0),
            };
            let key = management.create_key(request).await?;
            let mut printed = json!({
                "secret_id": key.secret_id, "secret_key": key.secret_key, "environment": env,
            });
            if !key.session_token.is_empty() {
                printed["session_token"] = key.session_token.into();
            }
            Ok(Printed::Value(printed))
        }
        Verb::List { env } => {
            let opens = |key: &Key| {
                env.as_ref()
                    .is_none_or(|env| key.env.is_empty() || key.env == *env)
            };
            let rows = keys(management).await?.into_iter().filter(opens);
            Ok(Printed::Rows(rows.map(|key| row(&key)).collect()))
        }
        Verb::Delete { id, change } => {
            let exists = if change.dry_run {
                let known = keys(management).await?;
                known.iter().any(|key| key.secret_id == id)
            } else {
                let request = DeleteKeyRequest {
                    secret_id: id.clone(),
                };
                management.delete_key(request).await?.deleted
            };
            match (exists, change.dry_run) {
                (false, _) => Err(CliError::new(
                    Exit::NotFound,
                    format!("there is no key {id}"),
                )),
                (true, true) => Ok(would(format!("revoke key {id}"))),
                (true, false) => Ok(Printed::Value(json!({ "revoked": id }))),
            }
        }
    }
}

async fn keys(management: &mut Management) -> Result<Vec<Key>, CliError> {
    Ok(management.list_keys(ListKeysRequest {}).await?.keys)
}

/// A time of day as `2026-01-31T12:00:00Z`, or its number when it is out of range.
fn utc_time(unix_ms: i64) -> String {
    bson::DateTime::from_millis(unix_ms)
        .try_to_rfc3339_string()
        .unwrap_or_else(|_| unix_ms.to_string())
}

/// `environment` is null for a key that opens all, `until` for one that does not end by itself.
fn row(key: &Key) -> Value {
    let env = Some(&key.env).filter(|env| !env.is_empty());
    let until = (key.expires_at_ms != 0).then(|| utc_time(key.expires_at_ms));
    json!({ "secret_id": key.secret_id, "environment": env, "until": until })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::management_fake::Fake;
    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        key: KeyCommand,
    }

    async fn key(fake: &Fake, words: &[&str]) -> Result<Printed, CliError> {
        let parsed = Cli::try_parse_from(["key"].iter().chain(words));
        let command = parsed.map_err(|error| CliError::usage(error.to_string()))?;
        carry_out(command.key.verb, &mut fake.management().await).await
    }

    #[tokio::test]
    async fn keys_are_created_listed_by_what_they_open_and_revoked() {
        let fake = Fake::start().await;
        fake.add_env("shop");
        fake.add_env("lab");
        for env in [
            &["create"][..],
            &["create", "--env", "shop"],
            &["create", "--only-env", "lab"],
        ] {
            let Printed::Value(created) = key(&fake, env).await.unwrap() else {
                panic!("a value")
            };
            assert!(created["secret_key"].is_string());
        }
        let Printed::Rows(all) = key(&fake, &["list"]).await.unwrap() else {
            panic!("rows")
        };
        assert_eq!(all.len(), 3);
        assert!(all.iter().all(|key| key.get("secret_key").is_none()));
        let Printed::Rows(opening) = key(&fake, &["list", "-e", "shop"]).await.unwrap() else {
            panic!("rows")
        };
        let opened: Vec<&Value> = opening.iter().map(|key| &key["environment"]).collect();
        assert_eq!(opened, [&Value::Null, &json!("shop")]);
        let id = all[0]["secret_id"].as_str().unwrap();
        key(&fake, &["delete", id]).await.unwrap();
        let again = key(&fake, &["delete", id]).await.unwrap_err();
        assert_eq!(again.exit, Exit::NotFound);
    }

    #[tokio::test]
    async fn a_dry_run_tells_and_changes_nothing() {
        let fake = Fake::start().await;
        fake.add_env("shop");
        key(&fake, &["create"]).await.unwrap();
        let Printed::Rows(known) = key(&fake, &["list"]).await.unwrap() else {
            panic!("rows")
        };
        let id = known[0]["secret_id"].as_str().unwrap();
        let changes = fake.changes();
        for (words, expected) in [
            (&["create"][..], "opens all environments"),
            (&["create", "--env", "shop"], "opens environment shop"),
            (&["delete", id], "revoke key"),
        ] {
            let words: Vec<&str> = words.iter().copied().chain(["--dry-run"]).collect();
            let printed = key(&fake, &words).await.unwrap();
            assert!(printed.to_string().contains(expected), "{printed}");
        }
        for words in [&["create", "--env", "no"][..], &["delete", "no"]] {
            let words: Vec<&str> = words.iter().copied().chain(["--dry-run"]).collect();
            let refused = key(&fake, &words).await.unwrap_err();
            assert_eq!(refused.exit, Exit::NotFound);
        }
        assert_eq!(fake.changes(), changes);
    }
}
