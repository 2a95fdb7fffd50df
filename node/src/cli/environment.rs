//! Which environment a command acts on: of which cluster, and as whom.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use yunbase_client::{Client, ClientBuilder, DevJson};

use super::exit::Exit;
use super::failure::CliError;

/// Where a development cluster lives unless told otherwise.
const DEV_DIRECTORY: &str = ".yunbase";

/// The flags that every command with a target takes.
#[derive(Debug, Clone, Args)]
pub struct EnvironmentArgs {
    /// A development cluster's folder, or URLs of nodes separated by commas [default: ./.yunbase]
    #[arg(long, value_name = "DIR_OR_URL", global = true, env = "YUNBASE_TARGET")]
    pub target: Option<String>,
    /// The environment [default: the one that dev.json names]
    #[arg(long, short = 'e', global = true, env = "YUNBASE_ENV")]
    pub env: Option<String>,
    /// Public half of the secret key [default: the one that dev.json names]
    #[arg(long, global = true, env = "YUNBASE_SECRET_ID", hide_env_values = true)]
    pub secret_id: Option<String>,
    /// Seconds to wait for each answer
    #[arg(long, global = true, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
}

/// An environment of a cluster, resolved.
#[derive(Debug, Clone)]
pub struct Environment {
    /// URLs of its nodes.
    pub endpoints: Vec<String>,
    /// The environment.
    pub env: String,
    /// Node processes on this machine, when they are known.
    pub pids: Vec<u32>,
    credentials: Option<(String, Secret)>,
    deadline: Duration,
}

/// Keeps a secret out of `Debug`.
#[derive(Clone)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl EnvironmentArgs {
    /// Finds the cluster. The secret half of a key comes from `YUNBASE_SECRET_KEY` only, so that it never
    /// stands in a process list.
    pub fn resolve(&self) -> Result<Environment, CliError> {
        self.resolve_with(std::env::var("YUNBASE_SECRET_KEY").ok())
    }

    fn resolve_with(&self, secret_key: Option<String>) -> Result<Environment, CliError> {
        let deadline = Duration::from_secs(self.timeout);
        let named = self
            .target
            .clone()
            .unwrap_or_else(|| DEV_DIRECTORY.to_owned());
        let given = self.secret_id.clone().zip(secret_key.map(Secret));
        if named.starts_with("http://") || named.starts_with("https://") {
            let Some(env) = self.env.clone() else {
                return Err(CliError::usage(
                    "a target given by URL needs --env (or YUNBASE_ENV)",
                ));
            };
            let endpoints = named
                .split(',')
                .map(|url| url.trim().to_owned())
                .filter(|url| !url.is_empty())
                .collect();
            return Ok(Environment {
                endpoints,
                env,
                pids: Vec::new(),
                credentials: given,
                deadline,
            });
        }
        let folder = PathBuf::from(&named);
        if !holds_dev_json(&folder) {
            let message = format!(
                "there is no dev.json in {}: start `yunbase dev --dir {0}`, or name a node with --target http://...",
                folder.display()
            );
            return Err(CliError::new(Exit::NotFound, message));
        }
        let dev = DevJson::read(&folder)?;
        Ok(Environment {
            endpoints: dev.http,
            env: self.env.clone().unwrap_or(dev.env),
            pids: dev.nodes.iter().map(|node| node.pid).collect(),
            credentials: given.or(Some((dev.secret_id, Secret(dev.secret_key)))),
            deadline,
        })
    }
}

fn holds_dev_json(path: &Path) -> bool {
    path.is_file() || path.join("dev.json").is_file()
}

impl Environment {
    /// A client builder with everything that is known.
    pub fn builder(&self) -> ClientBuilder {
        let builder = Client::builder()
            .endpoints(self.endpoints.iter().cloned())
            .env(&self.env)
            .deadline(self.deadline);
        match &self.credentials {
            Some((id, Secret(secret))) => builder.credentials(id, secret),
            None => builder,
        }
    }

    /// A connected client.
    pub async fn connect(&self) -> Result<Client, CliError> {
        Ok(self.builder().connect().await?)
    }

    /// The key in the form in which apps present it.
    pub fn api_key(&self) -> Option<String> {
        let (id, Secret(secret)) = self.credentials.as_ref()?;
        Some(format!("{id}.{secret}"))
    }

    /// For messages: what a command acts on.
    pub fn describe(&self) -> String {
        format!("environment {} at {}", self.env, self.endpoints.join(", "))
    }
}

#[cfg(test)]
impl Environment {
    /// A stand-in cluster as target.
    pub(crate) fn of_fake(fake: &yunbase_client::testing::fake::Fake) -> Self {
        use yunbase_client::testing::fake::{SECRET_ID, SECRET_KEY};
        Self {
            endpoints: fake.urls(),
            env: "demo".into(),
            pids: Vec::new(),
            credentials: Some((SECRET_ID.into(), Secret(SECRET_KEY.into()))),
            deadline: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(target: &str, env: Option<&str>) -> EnvironmentArgs {
        EnvironmentArgs {
            target: Some(target.into()),
            env: env.map(Into::into),
            secret_id: Some("id".into()),
            timeout: 5,
        }
    }

    #[test]
    fn urls_need_an_environment_and_may_be_several() {
        let error = args("http://a:1", None).resolve_with(None).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        let target = args("http://a:1, http://b:2", Some("demo"))
            .resolve_with(Some("hush".into()))
            .unwrap();
        assert_eq!(target.endpoints, ["http://a:1", "http://b:2"]);
        assert!(!format!("{target:?}").contains("hush"));
    }

    #[test]
    fn a_folder_brings_everything_and_flags_win() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        assert_eq!(
            args(path, None).resolve_with(None).unwrap_err().exit,
            Exit::NotFound
        );
        let text = r#"{"env":"demo","http":["http://127.0.0.1:7600"],"secretId":"i","secretKey":"k",
            "nodes":[{"id":1,"pid":42,"http":"127.0.0.1:7600"}]}"#;
        std::fs::write(folder.path().join("dev.json"), text).unwrap();
        let target = args(path, None).resolve_with(None).unwrap();
        assert_eq!(
            (target.env.as_str(), target.pids.as_slice()),
            ("demo", &[42][..])
        );
        assert_eq!(
            args(path, Some("other")).resolve_with(None).unwrap().env,
            "other"
        );
    }
}
