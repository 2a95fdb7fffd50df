//! Which cluster a command is about, and the key that opens it.
//!
//! The one place that understands `--target`: a development cluster's folder brings addresses and key with it, URLs
//! need the key from outside. The secret half of a key is never a flag, so that it stands in no process list.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use yunbase_client::DevJson;
use yunbase_client::auth::Credentials;

use super::exit::Exit;
use super::failure::CliError;
use super::operators::stored;

/// Where a development cluster lives unless told otherwise.
const DEV_DIRECTORY: &str = ".yunbase";

/// The flags that every command with a target takes.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// A development cluster's folder, or URLs of nodes separated by commas [default: ./.yunbase]
    #[arg(long, value_name = "DIR_OR_URL", global = true, env = "YUNBASE_TARGET")]
    pub target: Option<String>,
    /// Public half of the secret key; the other half comes from YUNBASE_SECRET_KEY [default: the one that dev.json names]
    #[arg(long, global = true, env = "YUNBASE_SECRET_ID", hide_env_values = true)]
    pub secret_id: Option<String>,
    /// Act as this operator, who has signed in with `yunbase login` [default: the given key, else who signed in last, else the key of dev.json]
    #[arg(long, value_name = "NAME", global = true, env = "YUNBASE_OPERATOR")]
    pub operator: Option<String>,
    /// Seconds to wait for each answer
    #[arg(long, global = true, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// A cluster, resolved.
#[derive(Debug, Clone)]
pub struct Target {
    /// URLs of its nodes.
    pub endpoints: Vec<String>,
    /// The environment that its `dev.json` names.
    pub env: Option<String>,
    /// Node processes on this machine, when they are known.
    pub pids: Vec<u32>,
    /// The key, when one is known.
    pub credentials: Option<Credentials>,
    /// Longest wait for an answer.
    pub deadline: Duration,
}

impl TargetArgs {
    /// Finds the cluster, and the key or the operator.
    pub fn resolve(&self) -> Result<Target, CliError> {
        let secret_key = std::env::var("YUNBASE_SECRET_KEY").ok();
        let given = self.secret_id.is_some() && secret_key.is_some();
        let target = self.resolve_with(secret_key)?;
        if given && self.operator.is_none() {
            return Ok(target);
        }
        let token = stored(&target, self.operator.as_deref())?;
        Ok(Target {
            credentials: token.or(target.credentials),
            ..target
        })
    }

    /// The folder of the development cluster, if the target is one.
    pub(super) fn folder(&self) -> Option<PathBuf> {
        let named = self.target.as_deref().unwrap_or(DEV_DIRECTORY);
        let is_url = named.starts_with("http://") || named.starts_with("https://");
        (!is_url).then(|| PathBuf::from(named))
    }

    pub(super) fn resolve_with(&self, secret_key: Option<String>) -> Result<Target, CliError> {
        let deadline = Duration::from_secs(self.timeout);
        let named = self.target.as_deref().unwrap_or(DEV_DIRECTORY);
        let given = self.secret_id.clone().zip(secret_key);
        let given = given.map(|(secret_id, secret_key)| Credentials::SecretKey {
            secret_id,
            secret_key,
        });
        if named.starts_with("http://") || named.starts_with("https://") {
            let endpoints = named
                .split(',')
                .map(|url| url.trim().to_owned())
                .filter(|url| !url.is_empty())
                .collect();
            return Ok(Target {
                endpoints,
                env: None,
                pids: Vec::new(),
                credentials: given,
                deadline,
            });
        }
        let folder = PathBuf::from(named);
        if !holds_dev_json(&folder) {
            let message = format!(
                "there is no dev.json in {}: start `yunbase dev --dir {0}`, or name a node with --target http://...",
                folder.display()
            );
            return Err(CliError::new(Exit::NotFound, message));
        }
        let dev = DevJson::read(&folder)?;
        Ok(Target {
            endpoints: dev.http,
            env: Some(dev.env),
            pids: dev.nodes.iter().map(|node| node.pid).collect(),
            credentials: given.or(Some(Credentials::SecretKey {
                secret_id: dev.secret_id,
                secret_key: dev.secret_key,
            })),
            deadline,
        })
    }
}

impl Target {
    /// The key, for what cannot be asked without one.
    pub fn require_credentials(&self) -> Result<Credentials, CliError> {
        self.credentials.clone().ok_or_else(|| {
            let message = format!(
                "run `yunbase login`, or set YUNBASE_SECRET_ID and YUNBASE_SECRET_KEY, to reach {}",
                self.endpoints.join(", ")
            );
            CliError::new(Exit::Auth, message)
        })
    }
}

fn holds_dev_json(path: &Path) -> bool {
    path.is_file() || path.join("dev.json").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(target: &str) -> TargetArgs {
        TargetArgs {
            target: Some(target.into()),
            secret_id: Some("id".into()),
            operator: None,
            timeout: 5,
        }
    }

    #[test]
    fn urls_may_be_several_and_need_a_key_only_where_one_is_used() {
        let target = args("http://a:1, http://b:2").resolve_with(None).unwrap();
        assert_eq!(target.endpoints, ["http://a:1", "http://b:2"]);
        let error = target.require_credentials().unwrap_err();
        assert_eq!(error.exit, Exit::Auth);
        assert!(error.message.contains("YUNBASE_SECRET_KEY"));
        let target = args("http://a:1")
            .resolve_with(Some("hush".into()))
            .unwrap();
        assert!(target.require_credentials().is_ok());
        assert!(!format!("{target:?}").contains("hush"));
    }

    #[test]
    fn a_folder_brings_everything_and_a_given_key_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let missing = args(path).resolve_with(None).unwrap_err();
        assert_eq!(missing.exit, Exit::NotFound);
        let text = r#"{"env":"demo","http":["http://127.0.0.1:7600"],"secretId":"i","secretKey":"k",
            "nodes":[{"id":1,"pid":42,"http":"127.0.0.1:7600"}]}"#;
        std::fs::write(folder.path().join("dev.json"), text).unwrap();
        let target = args(path).resolve_with(None).unwrap();
        assert_eq!(target.env.as_deref(), Some("demo"));
        assert_eq!(target.pids, [42]);
        let key_of = |target: &Target| format!("{:?}", target.require_credentials().unwrap());
        assert!(key_of(&target).contains("(i)"));
        let target = args(path).resolve_with(Some("other".into())).unwrap();
        assert!(key_of(&target).contains("(id)"));
    }
}
