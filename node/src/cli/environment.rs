//! Which environment a command acts on: of which cluster, and as whom.

use clap::Args;
use yunbase_client::auth::Credentials;
use yunbase_client::{Client, ClientBuilder};

use super::failure::CliError;
use super::target::{Target, TargetArgs};

/// The flags that every command on an environment takes.
#[derive(Debug, Clone, Args)]
pub struct EnvironmentArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The environment [default: the one that dev.json names]
    #[arg(long, short = 'e', global = true, env = "YUNBASE_ENV")]
    env: Option<String>,
}

/// An environment of a cluster, resolved.
#[derive(Debug, Clone)]
pub struct Environment {
    /// The cluster.
    pub cluster: Target,
    /// The environment.
    pub env: String,
}

impl EnvironmentArgs {
    /// Finds cluster and environment.
    pub fn resolve(&self) -> Result<Environment, CliError> {
        self.of(self.target.resolve()?)
    }

    /// Likewise, where what the command is about may name its environment itself.
    pub fn resolve_for(&self, named: Option<&str>) -> Result<Environment, CliError> {
        let cluster = self.target.resolve()?;
        match named {
            Some(env) => Ok(Environment {
                cluster,
                env: env.to_owned(),
            }),
            None => self.of(cluster),
        }
    }

    fn of(&self, cluster: Target) -> Result<Environment, CliError> {
        let env = self.env.clone().or_else(|| cluster.env.clone());
        let env = env
            .ok_or_else(|| CliError::usage("a target given by URL needs --env (or YUNBASE_ENV)"))?;
        Ok(Environment { cluster, env })
    }
}

impl Environment {
    /// A client builder with everything that is known.
    pub fn builder(&self) -> ClientBuilder {
        let builder = Client::builder()
            .endpoints(self.cluster.endpoints.iter().cloned())
            .env(&self.env)
            .deadline(self.cluster.deadline);
        match self.cluster.credentials.clone() {
            Some(Credentials::SecretKey {
                secret_id,
                secret_key,
            }) => builder.credentials(secret_id, secret_key),
            Some(Credentials::ApiKey(key)) => builder.api_key(key),
            None => builder,
        }
    }

    /// The key, where one is known.
    pub fn credentials(&self) -> Option<Credentials> {
        self.cluster.credentials.clone()
    }

    /// How long to wait for each answer.
    pub fn deadline(&self) -> std::time::Duration {
        self.cluster.deadline
    }

    /// URLs of the cluster's nodes.
    pub fn endpoints(&self) -> &[String] {
        &self.cluster.endpoints
    }

    /// A connected client.
    pub async fn connect(&self) -> Result<Client, CliError> {
        Ok(self.builder().connect().await?)
    }

    /// The key in the form in which apps present it.
    pub fn api_key(&self) -> Option<String> {
        match self.credentials()? {
            Credentials::SecretKey {
                secret_id,
                secret_key,
            } => Some(format!("{secret_id}.{secret_key}")),
            Credentials::ApiKey(key) => Some(key),
        }
    }

    /// For messages: what a command acts on.
    pub fn describe(&self) -> String {
        format!(
            "environment {} at {}",
            self.env,
            self.cluster.endpoints.join(", ")
        )
    }
}

#[cfg(test)]
impl Environment {
    /// A stand-in cluster as target.
    pub(crate) fn of_fake(fake: &yunbase_client::testing::fake::Fake) -> Self {
        use yunbase_client::testing::fake::{SECRET_ID, SECRET_KEY};
        let cluster = Target {
            endpoints: fake.urls(),
            env: None,
            pids: Vec::new(),
            credentials: Some(Credentials::SecretKey {
                secret_id: SECRET_ID.into(),
                secret_key: SECRET_KEY.into(),
            }),
            deadline: std::time::Duration::from_secs(10),
        };
        Self {
            cluster,
            env: "demo".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::exit::Exit;
    use super::*;

    #[test]
    fn a_flag_wins_over_dev_json_and_without_either_nothing_is_guessed() {
        let args = |env: Option<&str>| EnvironmentArgs {
            target: TargetArgs {
                target: Some("http://a:1".into()),
                secret_id: None,
                operator: None,
                timeout: 5,
            },
            env: env.map(Into::into),
        };
        let cluster = |env: Option<&str>| {
            let target = args(None).target.resolve_with(None).unwrap();
            Target {
                env: env.map(Into::into),
                ..target
            }
        };
        let resolved = |flag, dev_json| args(flag).of(cluster(dev_json));
        assert_eq!(resolved(None, Some("demo")).unwrap().env, "demo");
        assert_eq!(resolved(Some("other"), Some("demo")).unwrap().env, "other");
        assert_eq!(resolved(Some("other"), None).unwrap().env, "other");
        assert_eq!(resolved(None, None).unwrap_err().exit, Exit::Usage);
    }
}
