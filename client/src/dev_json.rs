//! `dev.json`: where a development cluster says how to reach it, for clients, scripts and tests.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// Largest file that is read; a real one has a few kilobytes.
const DEV_JSON_BYTES_MAX: u64 = 1 << 20;

/// A development cluster, as `yunbase dev` describes it. Members that are not named here are ignored.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DevJson {
    /// The environment it has made.
    pub env: String,
    /// URLs of the nodes.
    pub http: Vec<String>,
    /// Public half of its key.
    pub secret_id: String,
    /// Secret half of its key.
    pub secret_key: String,
    /// Its processes.
    #[serde(default)]
    pub nodes: Vec<DevNode>,
}

/// One node process of a development cluster.
#[derive(Debug, Clone, Deserialize)]
pub struct DevNode {
    /// Number of the node, from 1.
    pub id: u64,
    /// Its process.
    pub pid: u32,
    /// Host and port of its HTTP surface.
    pub http: String,
}

impl DevJson {
    /// Reads `path`, which is the file or its folder.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file: PathBuf = if path.is_dir() {
            path.join("dev.json")
        } else {
            path.to_owned()
        };
        let refuse =
            |reason: String| Error::invalid(format!("cannot use {}: {reason}", file.display()));
        let size_bytes = std::fs::metadata(&file)
            .map_err(|error| refuse(error.to_string()))?
            .len();
        if size_bytes > DEV_JSON_BYTES_MAX {
            return Err(refuse(format!(
                "it is larger than {DEV_JSON_BYTES_MAX} bytes"
            )));
        }
        let text = std::fs::read_to_string(&file).map_err(|error| refuse(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))
    }
}

impl fmt::Debug for DevJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevJson")
            .field("env", &self.env)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{ "version": 1, "env": "demo", "http": ["http://127.0.0.1:7600"], "s3": [],
        "secretId": "id", "secretKey": "hush", "operator": {"username": "root", "password": "p"},
        "nodes": [{"id": 1, "pid": 4242, "http": "127.0.0.1:7600", "peer": "127.0.0.1:7601", "dir": "x"}] }"#;

    #[test]
    fn the_contract_s_example_is_understood_and_keeps_its_secret() {
        let parsed: DevJson = serde_json::from_str(TEXT).unwrap();
        assert_eq!((parsed.env.as_str(), parsed.nodes[0].pid), ("demo", 4242));
        assert!(!format!("{parsed:?}").contains("hush"));
    }

    #[test]
    fn folder_and_file_both_name_it() {
        let folder = std::env::temp_dir().join(format!("yunbase-dev-json-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert!(
            DevJson::read(&folder)
                .unwrap_err()
                .message()
                .contains("dev.json")
        );
        std::fs::write(folder.join("dev.json"), TEXT).unwrap();
        assert_eq!(DevJson::read(&folder).unwrap().secret_id, "id");
        assert_eq!(
            DevJson::read(folder.join("dev.json")).unwrap().secret_id,
            "id"
        );
        std::fs::write(folder.join("dev.json"), "{").unwrap();
        assert!(DevJson::read(&folder).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
