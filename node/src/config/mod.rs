//! A node's configuration: one table of keys, each settable in the TOML file, by a flag and by an
//! environment variable, and each able to say where its value came from.
//!
//! Precedence: flag, then variable, then file, then default. The file is flat: `http_address = "…"` is
//! `--http-address` and `YUNBASE_HTTP_ADDRESS`. An unknown key in the file is an error, so that a typing
//! mistake never silently means the default.

mod keys;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

pub use keys::{KEYS, Key};

use crate::audit::limits::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN};
use crate::operators::OperatorLimits;
use crate::operators::manage::{check_name, check_password};
use crate::surface::client_address::TrustedProxies;
use crate::surface::cors::is_origin;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Built in.
    Default,
    /// The TOML file.
    File,
    /// A `YUNBASE_*` variable.
    Environment,
    /// A command line flag.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read configuration {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The file is not TOML.
    #[error("parse configuration {path}: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// A key that does not exist.
    #[error("unknown configuration key `{0}`; `yunbase config explain` lists all keys")]
    UnknownKey(String),
    /// A value of the wrong form.
    #[error("configuration key `{key}` (from {source_name}): {reason}")]
    BadValue {
        /// The key.
        key: String,
        /// Where the value came from.
        source_name: Source,
        /// What is wrong with it.
        reason: String,
    },
}

/// Raw values with their sources, before they are given types.
#[derive(Debug, Default)]
pub struct Layers {
    values: BTreeMap<&'static str, (String, Source)>,
}

impl Layers {
    /// Starts from the defaults.
    pub fn defaults() -> Self {
        Self {
            values: KEYS
                .iter()
                .map(|key| (key.name, (key.default.to_owned(), Source::Default)))
                .collect(),
        }
    }

    /// Lays the keys of a TOML file over what is there.
    pub fn with_file(mut self, path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|reason| ConfigError::Read {
            path: path.to_owned(),
            reason,
        })?;
        let table: toml::Table =
            text.parse()
                .map_err(|error: toml::de::Error| ConfigError::Parse {
                    path: path.to_owned(),
                    reason: error.to_string(),
                })?;
        for (name, value) in table {
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                    value.to_string()
                }
                toml::Value::Array(items) => items
                    .iter()
                    .map(|item| {
                        item.as_str()
                            .map_or_else(|| item.to_string(), str::to_owned)
                    })
                    .collect::<Vec<_>>()
                    .join(","),
                toml::Value::Datetime(_) | toml::Value::Table(_) => {
                    return Err(ConfigError::Parse {
                        path: path.to_owned(),
                        reason: format!(
                            "key `{name}` must be a string, a number, a boolean or a list"
                        ),
                    });
                }
            };
            self.set(&name, text, Source::File)?;
        }
        Ok(self)
    }

    /// Lays `YUNBASE_*` variables over what is there; `lookup` reads the environment.
    pub fn with_environment(
        mut self,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        for key in KEYS {
            if let Some(value) = lookup(&key.variable()) {
                self.set(key.name, value, Source::Environment)?;
            }
        }
        Ok(self)
    }

    /// Sets one key.
    pub fn set(&mut self, name: &str, value: String, source: Source) -> Result<(), ConfigError> {
        let key = KEYS
            .iter()
            .find(|key| key.name == name)
            .ok_or_else(|| ConfigError::UnknownKey(name.to_owned()))?;
        self.values.insert(key.name, (value, source));
        Ok(())
    }

    fn text(&self, name: &str) -> &str {
        self.values.get(name).map_or("", |(value, _)| value)
    }

    fn parse<T: FromStr>(&self, name: &'static str) -> Result<T, ConfigError>
    where
        T::Err: fmt::Display,
    {
        let (value, source) = self
            .values
            .get(name)
            .cloned()
            .unwrap_or((String::new(), Source::Default));
        value
            .parse()
            .map_err(|error: T::Err| ConfigError::BadValue {
                key: name.to_owned(),
                source_name: source,
                reason: format!("`{value}`: {error}"),
            })
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.text(name)
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn optional(&self, name: &str) -> Option<String> {
        Some(self.text(name))
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    }

    /// Every key with its value (secrets masked) and source, in table order.
    pub fn explain(&self) -> Vec<Explained> {
        KEYS.iter()
            .map(|key| {
                let (value, source) = self
                    .values
                    .get(key.name)
                    .cloned()
                    .unwrap_or((String::new(), Source::Default));
                let value = if key.secret && !value.is_empty() {
                    "(hidden)".to_owned()
                } else {
                    value
                };
                Explained {
                    name: key.name,
                    value,
                    source: source.to_string(),
                    help: key.help,
                }
            })
            .collect()
    }
}

/// One line of `yunbase config explain`.
#[derive(Debug, serde::Serialize)]
pub struct Explained {
    /// The key.
    pub name: &'static str,
    /// Its value, masked when secret.
    pub value: String,
    /// Where the value came from.
    pub source: String,
    /// What it does.
    pub help: &'static str,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be `text` or `json`".to_owned()),
        }
    }
}

/// The typed configuration of a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of all durable state.
    pub data_dir: PathBuf,
    /// Where HTTP and public gRPC listen.
    pub http_address: String,
    /// Where peers connect.
    pub peer_address: String,
    /// Where S3 clients connect; `None` = no S3 port.
    pub s3_address: Option<String>,
    /// What other nodes are told to connect to; the listening address unless set.
    pub peer_advertise: String,
    /// What clients are told to connect to.
    pub http_advertise: String,
    /// Found a new cluster when this disk has no identity yet.
    pub bootstrap: bool,
    /// Peer addresses to join through when this disk has no identity yet.
    pub join: Vec<String>,
    /// Proof of the right to join; also carries the cluster's CA certificate.
    pub join_token: Option<String>,
    /// Data groups of a new cluster.
    pub groups: u32,
    /// Copies of each data group.
    pub replicas: u32,
    /// Failure domain.
    pub zone: String,
    /// Environment to create when missing.
    pub bootstrap_env: Option<String>,
    /// Public half of a key to create when missing.
    pub bootstrap_secret_id: Option<String>,
    /// Secret half of that key.
    pub bootstrap_secret_key: Option<String>,
    /// Operator to create as an owner while there is none.
    pub bootstrap_operator: Option<String>,
    /// Its password.
    pub bootstrap_operator_password: Option<String>,
    /// Days for which the audit logs keep entries.
    pub audit_retention_days: i64,
    /// Filter for log lines.
    pub log_level: String,
    /// Form of log lines.
    pub log_format: LogFormat,
    /// Shared cache of RocksDB blocks, in bytes.
    pub block_cache_bytes: usize,
    /// Bound on RocksDB write buffers of all groups, in bytes.
    pub write_buffer_bytes: usize,
    /// Free space below which writes are refused, in bytes.
    pub disk_reserve_bytes: u64,
    /// Folders for chunks; none = one in the data folder.
    pub chunk_dirs: Vec<String>,
    /// Cache of chunks, in bytes.
    pub chunk_cache_bytes: u64,
    /// Free space of a disk for chunks below which it takes no new ones, in bytes.
    pub chunk_reserve_bytes: u64,
    /// How long chunks that nothing names are kept.
    pub chunk_grace: Duration,
    /// How long chunks are kept for an upload that is not heard of.
    pub chunk_pin_lease: Duration,
    /// Pause between two searches for chunks that nothing names.
    pub chunk_collect_interval: Duration,
    /// Pause between two searches for missing copies.
    pub chunk_audit_interval: Duration,
    /// How long deleted files can be restored.
    pub file_retention: Duration,
    /// Most requests in progress on the HTTP surface.
    pub concurrent_requests_max: usize,
    /// Most open connections on the HTTP surface.
    pub connections_max: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// Largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Origins of web pages that may call from a browser; `*` among them = all.
    pub cors_origins: Vec<String>,
    /// Longest a request waits for a leader, a quorum or a slot.
    pub request_timeout: Duration,
    /// Time to hand over leadership and finish requests at a stop.
    pub drain_timeout: Duration,
    /// Raft heartbeat.
    pub raft_heartbeat: Duration,
    /// Shortest silence of a leader after which a follower stands for election.
    pub raft_election_min: Duration,
    /// Longest such silence.
    pub raft_election_max: Duration,
}

impl Config {
    /// Gives the layers their types and checks what belongs together.
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        let millis = |name| layers.parse::<u64>(name).map(Duration::from_millis);
        let seconds = |name| {
            let seconds = layers.parse::<u32>(name)?;
            Ok::<_, ConfigError>(Duration::from_secs(seconds.into()))
        };
        let mebibytes = |name| layers.parse::<usize>(name).map(|count| count << 20);
        let peer_address = layers.text("peer_address").to_owned();
        let http_address = layers.text("http_address").to_owned();
        let config = Self {
            data_dir: layers.text("data_dir").into(),
            peer_advertise: layers
                .optional("peer_advertise")
                .unwrap_or_else(|| peer_address.clone()),
            http_advertise: layers
                .optional("http_advertise")
                .unwrap_or_else(|| http_address.clone()),
            http_address,
            peer_address,
            s3_address: layers.optional("s3_address"),
            bootstrap: layers.parse("bootstrap")?,
            join: layers.list("join"),
            join_token: layers.optional("join_token"),
            groups: layers.parse("groups")?,
            replicas: layers.parse("replicas")?,
            zone: layers.text("zone").to_owned(),
            bootstrap_env: layers.optional("bootstrap_env"),
            bootstrap_secret_id: layers.optional("bootstrap_secret_id"),
            bootstrap_secret_key: layers.optional("bootstrap_secret_key"),
            bootstrap_operator: layers.optional("bootstrap_operator"),
            bootstrap_operator_password: layers.optional("bootstrap_operator_password"),
            audit_retention_days: layers.parse("audit_retention_days")?,
            log_level: layers.text("log_level").to_owned(),
            log_format: layers.parse("log_format")?,
            block_cache_bytes: mebibytes("block_cache_mib")?,
            write_buffer_bytes: mebibytes("write_buffer_mib")?,
            disk_reserve_bytes: u64::from(layers.parse::<u32>("disk_reserve_mib")?) << 20,
            chunk_dirs: layers.list("chunk_dirs"),
            chunk_cache_bytes: u64::from(layers.parse::<u32>("chunk_cache_mib")?) << 20,
            chunk_reserve_bytes: u64::from(layers.parse::<u32>("chunk_reserve_mib")?) << 20,
            chunk_grace: seconds("chunk_grace_s")?,
            chunk_pin_lease: seconds("chunk_pin_lease_s")?,
            chunk_collect_interval: seconds("chunk_collect_interval_s")?,
            chunk_audit_interval: seconds("chunk_audit_interval_s")?,
            file_retention: seconds("file_retention_s")?,
            concurrent_requests_max: layers.parse("concurrent_requests_max")?,
            connections_max: layers.parse("connections_max")?,
            trusted_proxies: TrustedProxies::parse(&layers.list("trusted_proxies")).map_err(
                |reason| ConfigError::BadValue {
                    key: "trusted_proxies".to_owned(),
                    source_name: layers
                        .values
                        .get("trusted_proxies")
                        .map_or(Source::Default, |(_, source)| *source),
                    reason,
                },
            )?,
            body_bytes_max: mebibytes("body_mib_max")?,
            cors_origins: layers.list("cors_origins"),
            request_timeout: millis("request_timeout_ms")?,
            drain_timeout: millis("drain_timeout_ms")?,
            raft_heartbeat: millis("raft_heartbeat_ms")?,
            raft_election_min: millis("raft_election_min_ms")?,
            raft_election_max: millis("raft_election_max_ms")?,
        };
        config.check(layers)?;
        Ok(config)
    }

    fn check(&self, layers: &Layers) -> Result<(), ConfigError> {
        let wrong = |key: &'static str, reason: &str| {
            let source_name = layers
                .values
                .get(key)
                .map_or(Source::Default, |(_, source)| *source);
            Err(ConfigError::BadValue {
                key: key.to_owned(),
                source_name,
                reason: reason.to_owned(),
            })
        };
        if !(1..=64).contains(&self.groups) {
            return wrong("groups", "must be between 1 and 64");
        }
        if !matches!(self.replicas, 1 | 3 | 5) {
            return wrong("replicas", "must be 1, 3 or 5");
        }
        if self.bootstrap && !self.join.is_empty() {
            return wrong(
                "join",
                "a node either founds a cluster (bootstrap) or joins one, not both",
            );
        }
        if !self.join.is_empty() && self.join_token.is_none() {
            return wrong(
                "join_token",
                "joining needs the token that `yunbase cluster token` prints on a member",
            );
        }
        if self.raft_election_min < self.raft_heartbeat * 2
            || self.raft_election_max <= self.raft_election_min
        {
            return wrong(
                "raft_election_min_ms",
                "must be at least twice the heartbeat and below raft_election_max_ms",
            );
        }
        if let Some(wrong_one) = self.cors_origins.iter().find(|one| !is_origin(one)) {
            let reason = format!(
                "`{wrong_one}` is no origin: write `https://app.example.com` without a path, or `*`"
            );
            return wrong("cors_origins", &reason);
        }
        if self.bootstrap_secret_id.is_some() != self.bootstrap_secret_key.is_some() {
            return wrong(
                "bootstrap_secret_key",
                "bootstrap_secret_id and bootstrap_secret_key belong together",
            );
        }
        if self.bootstrap_operator.is_some() != self.bootstrap_operator_password.is_some() {
            return wrong(
                "bootstrap_operator_password",
                "bootstrap_operator and bootstrap_operator_password belong together",
            );
        }
        if let (Some(name), Some(password)) =
            (&self.bootstrap_operator, &self.bootstrap_operator_password)
        {
            let limits = OperatorLimits::default();
            if let Err(error) = check_name(&name.to_lowercase(), &limits) {
                return wrong("bootstrap_operator", &error.message);
            }
            if let Err(error) = check_password(password, &limits) {
                return wrong("bootstrap_operator_password", &error.message);
            }
        }
        if !(RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(&self.audit_retention_days) {
            return wrong("audit_retention_days", "must be between 1 and 36500");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_layers_win_and_say_so() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("yunbase.toml");
        std::fs::write(&path, "http_address = \"10.0.0.1:7600\"\ngroups = 4\njoin = [\"a:1\", \"b:2\"]\njoin_token = \"t\"\n")
            .expect("write");
        let mut layers = Layers::defaults()
            .with_file(&path)
            .expect("file")
            .with_environment(|name| (name == "YUNBASE_GROUPS").then(|| "2".to_owned()))
            .expect("environment");
        layers
            .set("replicas", "1".to_owned(), Source::Flag)
            .expect("flag");
        let config = Config::from_layers(&layers).expect("valid");
        assert_eq!((config.groups, config.replicas), (2, 1));
        assert_eq!(config.join, ["a:1", "b:2"]);
        assert_eq!(config.http_advertise, "10.0.0.1:7600");

        let explained = layers.explain();
        let source = |name: &str| {
            explained
                .iter()
                .find(|line| line.name == name)
                .map(|line| line.source.clone())
        };
        assert_eq!(source("groups").as_deref(), Some("environment"));
        assert_eq!(source("http_address").as_deref(), Some("file"));
        assert_eq!(source("zone").as_deref(), Some("default"));
        let token = explained
            .iter()
            .find(|line| line.name == "join_token")
            .expect("listed");
        assert_eq!(token.value, "(hidden)");
    }

    #[test]
    fn an_empty_address_means_no_s3_port() {
        let mut layers = Layers::defaults();
        let address = |layers: &Layers| Config::from_layers(layers).expect("valid").s3_address;
        assert_eq!(address(&layers).as_deref(), Some("127.0.0.1:7602"));
        layers
            .set("s3_address", String::new(), Source::File)
            .expect("known key");
        assert_eq!(address(&layers), None);
    }

    #[test]
    fn the_retention_of_the_audit_log_has_its_default_and_bounds() {
        let config = |days: &str| {
            let mut layers = Layers::defaults();
            if !days.is_empty() {
                layers.set("audit_retention_days", days.to_owned(), Source::Flag)?;
            }
            Config::from_layers(&layers)
        };
        let days = config("").expect("valid").audit_retention_days;
        assert_eq!(days, crate::audit::limits::RETENTION_DAYS);
        for bad in ["0", "-1", "36501", "x"] {
            assert!(config(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let mut layers = Layers::defaults();
        assert!(matches!(
            layers.set("htp_address", String::new(), Source::Flag),
            Err(ConfigError::UnknownKey(_))
        ));
        layers
            .set("groups", "many".to_owned(), Source::Flag)
            .expect("known key");
        let error = Config::from_layers(&layers)
            .expect_err("not a number")
            .to_string();
        assert!(
            error.contains("groups") && error.contains("flag"),
            "{error}"
        );
        layers
            .set("groups", "65".to_owned(), Source::Flag)
            .expect("known key");
        assert!(Config::from_layers(&layers).is_err());
        let mut layers = Layers::defaults();
        layers
            .set(
                "cors_origins",
                "https://a.example, b.example".to_owned(),
                Source::Flag,
            )
            .expect("known key");
        let error = Config::from_layers(&layers)
            .expect_err("not an origin")
            .to_string();
        assert!(error.contains("`b.example`"), "{error}");
    }
}
