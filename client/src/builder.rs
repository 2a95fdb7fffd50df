//! How a client comes to be: addresses, credentials, environment, times.

use std::path::Path;
use std::time::Duration;

use crate::auth::Credentials;
use crate::client::{Client, Core};
use crate::dev_json::DevJson;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::{Error, Result};
use crate::limits::{ENDPOINTS_MAX, Options};

/// Describes a client; [`connect`](Self::connect) makes it.
#[derive(Debug, Clone, Default)]
pub struct ClientBuilder {
    endpoints: Vec<String>,
    credentials: Option<Credentials>,
    env: String,
    ca_certificate_pem: Option<String>,
    first_endpoint: Option<usize>,
    options: Options,
}

impl ClientBuilder {
    /// Adds the address of a node, for example `http://127.0.0.1:7600`. Any node will do; with several, the
    /// client moves to another when one fails.
    pub fn endpoint(mut self, uri: impl Into<String>) -> Self {
        self.endpoints.push(uri.into());
        self
    }

    /// Adds several addresses.
    pub fn endpoints<U: Into<String>>(mut self, uris: impl IntoIterator<Item = U>) -> Self {
        self.endpoints.extend(uris.into_iter().map(Into::into));
        self
    }

    /// Signs with a secret key, which is itself never sent.
    pub fn credentials(
        mut self,
        secret_id: impl Into<String>,
        secret_key: impl Into<String>,
    ) -> Self {
        self.credentials = Some(Credentials::SecretKey {
            secret_id: secret_id.into(),
            secret_key: secret_key.into(),
        });
        self
    }

    /// Sends an API key.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.credentials = Some(Credentials::ApiKey(key.into()));
        self
    }

    /// The environment to act on.
    pub fn env(mut self, env: impl Into<String>) -> Self {
        self.env = env.into();
        self
    }

    /// How long a request waits for its answer, all attempts together.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = deadline;
        self
    }

    /// All times at once.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Trusts this authority for `https` endpoints.
    pub fn ca_certificate_pem(mut self, pem: impl Into<String>) -> Self {
        self.ca_certificate_pem = Some(pem.into());
        self
    }

    /// Begins with the endpoint at this place, instead of one chosen at random to spread clients over the nodes.
    pub fn first_endpoint(mut self, index: usize) -> Self {
        self.first_endpoint = Some(index);
        self
    }

    /// Takes addresses, environment and key from the `dev.json` of a development cluster (the file or its folder).
    pub fn dev_json(self, path: impl AsRef<Path>) -> Result<Self> {
        let dev = DevJson::read(path)?;
        Ok(self
            .endpoints(dev.http)
            .env(dev.env)
            .credentials(dev.secret_id, dev.secret_key))
    }

    /// Makes the client and its first connection; fails when no endpoint can be reached by the deadline.
    pub async fn connect(self) -> Result<Client> {
        let client = self.connect_lazily()?;
        client.connect().await?;
        Ok(client)
    }

    /// Makes the client; it connects with its first request.
    pub fn connect_lazily(self) -> Result<Client> {
        if self.endpoints.is_empty() {
            return Err(Error::invalid("a client needs at least one endpoint"));
        }
        if self.endpoints.len() > ENDPOINTS_MAX {
            return Err(Error::invalid(format!(
                "a client takes at most {ENDPOINTS_MAX} endpoints"
            )));
        }
        if self.env.is_empty() {
            return Err(Error::invalid("name the environment with env()"));
        }
        let ca_certificate_pem = self.ca_certificate_pem.as_deref();
        let endpoints: Result<Vec<Endpoint>> = self
            .endpoints
            .iter()
            .map(|uri| Endpoint::new(uri, ca_certificate_pem, &self.options))
            .collect();
        let first = self
            .first_endpoint
            .unwrap_or_else(|| usize::from(rand::random::<u16>()));
        let core = Core::new(Endpoints::new(endpoints?, first), self.credentials);
        Ok(Client::new(core, self.env, self.options.deadline))
    }
}

impl Client {
    /// A client of the development cluster that `path` describes: a `dev.json` or its folder.
    pub async fn from_dev_json(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().dev_json(path)?.connect().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let message =
            |builder: ClientBuilder| builder.connect_lazily().unwrap_err().message().to_owned();
        assert!(message(Client::builder().env("e")).contains("endpoint"));
        assert!(message(Client::builder().endpoint("http://a:1")).contains("env()"));
        assert!(message(Client::builder().env("e").endpoint("a:1")).contains("http://"));
        let many = Client::builder()
            .env("e")
            .endpoints((0..100).map(|n| format!("http://a:{n}")));
        assert!(message(many).contains("at most"));
    }

    #[test]
    fn the_builder_shows_no_secret() {
        let text = format!("{:?}", Client::builder().credentials("id", "hush"));
        assert!(text.contains("id") && !text.contains("hush"), "{text}");
    }
}
