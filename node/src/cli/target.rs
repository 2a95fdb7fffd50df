//! Which cluster a command is about, and the key that opens it.

use std::path::Path;

use clap::Args;
use yunbase_client::auth::Credentials;

use super::dev::{DevJson, Layout};
use super::exit::Exit;
use super::failure::CliError;

/// Where a cluster is found.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Folder of a development cluster, or URL of a node (with YUNBASE_SECRET_ID and YUNBASE_SECRET_KEY).
    #[arg(long, env = "YUNBASE_TARGET", default_value = "./.yunbase")]
    target: String,
}

impl From<tonic::Status> for CliError {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code;
        let exit = match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Exit::Auth,
            Code::NotFound => Exit::NotFound,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Exit::Conflict,
            Code::ResourceExhausted => Exit::Limit,
            Code::Unavailable | Code::DeadlineExceeded => Exit::Unavailable,
            Code::InvalidArgument => Exit::Usage,
            _ => Exit::Failed,
        };
        Self::new(exit, status.message())
    }
}

impl Target {
    /// URLs of nodes and the key.
    pub fn resolve(&self) -> Result<(Vec<String>, Credentials), CliError> {
        if self.target.starts_with("http://") || self.target.starts_with("https://") {
            let variable = |name: &str| {
                std::env::var(name).map_err(|_| {
                    CliError::new(Exit::Auth, format!("set {name} to reach {}", self.target))
                })
            };
            let credentials = Credentials::SecretKey {
                secret_id: variable("YUNBASE_SECRET_ID")?,
                secret_key: variable("YUNBASE_SECRET_KEY")?,
            };
            return Ok((vec![self.target.clone()], credentials));
        }
        let layout = Layout::new(Path::new(&self.target))
            .map_err(|error| CliError::new(Exit::Failed, error.to_string()))?;
        let json = DevJson::read(&layout)
            .map_err(|error| CliError::new(Exit::Failed, error.to_string()))?
            .ok_or_else(|| {
                CliError::new(
                    Exit::NotFound,
                    format!(
                        "{} holds no dev.json; start a cluster with `yunbase dev`",
                        self.target
                    ),
                )
            })?;
        Ok((
            json.http,
            Credentials::SecretKey {
                secret_id: json.secret_id,
                secret_key: json.secret_key,
            },
        ))
    }
}
