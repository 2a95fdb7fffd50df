//! `cloud://{env}.{bucket}/{path}`: how clients name files. The clients take it for opaque.

use std::fmt;

use super::error::StorageError;
use super::path::FilePath;

/// An environment and a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileId {
    /// The environment.
    pub env: String,
    /// The file.
    pub path: FilePath,
}

impl FileId {
    /// The id of a file.
    pub fn new(env: &str, path: FilePath) -> Self {
        Self {
            env: env.to_owned(),
            path,
        }
    }

    /// Reads an id. The bucket is not looked at: an environment has one.
    pub fn parse(text: &str) -> Result<Self, StorageError> {
        let parts = text
            .strip_prefix("cloud://")
            .and_then(|rest| rest.split_once('/'));
        let Some((authority, path)) = parts else {
            return Err(StorageError::Invalid(
                "a file id has the form `cloud://environment.bucket/path`".to_owned(),
            ));
        };
        let env = authority.split_once('.').map_or(authority, |(env, _)| env);
        Ok(Self {
            env: env.to_owned(),
            path: FilePath::parse(path)?,
        })
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The bucket has the name of the environment, as on the S3 port.
        write!(f, "cloud://{}.{}/{}", self.env, self.env, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text() {
        let id = FileId::new("demo", FilePath::parse("a/图 b.png").expect("good"));
        assert_eq!(id.to_string(), "cloud://demo.demo/a/图 b.png");
        assert_eq!(FileId::parse(&id.to_string()), Ok(id));
        let other = FileId::parse("cloud://demo.6465-demo-1250000000/x").expect("good");
        assert_eq!((other.env.as_str(), other.path.as_str()), ("demo", "x"));
        for bad in [
            "",
            "demo/a",
            "cloud://demo",
            "cloud://demo.b/",
            "cloud://demo.b/../a",
        ] {
            assert!(FileId::parse(bad).is_err(), "{bad}");
        }
    }
}
