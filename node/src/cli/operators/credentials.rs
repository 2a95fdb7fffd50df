//! The file that keeps sign-ins of operators on this machine, readable by its owner only.
//!
//! Changes are made under a lock, so that commands that run beside each other do not lose each other's tokens.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::failure::CliError;
use crate::durable_file;

/// Format of the file.
const VERSION: u32 = 1;
/// Largest file that is read; a sign-in takes some 400 bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Sign-ins that are kept; the oldest goes when one more comes.
const LOGINS_MAX: usize = 256;

/// A sign-in.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    /// URLs of the cluster's nodes, as they were named then.
    pub(super) endpoints: Vec<String>,
    /// The operator.
    pub(super) operator: String,
    pub(super) access_token: String,
    /// Milliseconds since 1970.
    pub(super) access_until_ms: i64,
    pub(super) refresh_token: String,
}

impl Login {
    fn is_at(&self, endpoints: &[String]) -> bool {
        self.endpoints.iter().any(|own| endpoints.contains(own))
    }

    fn is_of(&self, operator: Option<&str>) -> bool {
        operator.is_none_or(|operator| self.operator == operator.to_lowercase())
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Content {
    version: u32,
    /// The newest last.
    logins: Vec<Login>,
}

/// The file.
#[derive(Debug, Clone)]
pub(super) struct CredentialsFile(PathBuf);

impl CredentialsFile {
    /// The one that the environment names: `YUNBASE_CREDENTIALS`, else below the user's configuration folder.
    pub(super) fn of_user() -> Result<Self, CliError> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(path) = variable("YUNBASE_CREDENTIALS") {
            return Ok(Self(path.into()));
        }
        let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let folder =
            folder.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
        let folder = folder.ok_or_else(|| {
            CliError::usage("set HOME or YUNBASE_CREDENTIALS: sign-ins are kept in a file there")
        })?;
        Ok(Self(folder.join("yunbase").join("credentials.json")))
    }

    /// The one at `path`.
    #[cfg(test)]
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The newest sign-in at one of `endpoints`, of `operator` if one is named.
    pub(super) fn find(
        &self,
        endpoints: &[String],
        operator: Option<&str>,
    ) -> Result<Option<Login>, CliError> {
        let logins = self.read()?.logins.into_iter().rev();
        let mut fitting = logins.filter(|login| login.is_at(endpoints) && login.is_of(operator));
        Ok(fitting.next())
    }

    /// Adds a sign-in in the place of an earlier one of the same operator at the same cluster.
    pub(super) fn put(&self, login: Login) -> Result<(), CliError> {
        self.change(|logins| {
            logins.retain(|known| {
                !(known.is_at(&login.endpoints) && known.is_of(Some(&login.operator)))
            });
            let surplus = (logins.len() + 1).saturating_sub(LOGINS_MAX);
            logins.drain(..surplus);
            logins.push(login);
        })
    }

    /// Puts fresh tokens in the place of those of `before`, should they still be there.
    pub(super) fn renew(&self, before: &Login, after: Login) -> Result<(), CliError> {
        self.change(|logins| {
            if let Some(known) = logins.iter_mut().find(|known| *known == before) {
                *known = after;
            }
        })
    }

    /// Forgets the sign-ins of `operator` at `endpoints`, or of all.
    pub(super) fn forget(
        &self,
        endpoints: &[String],
        operator: Option<&str>,
    ) -> Result<(), CliError> {
        self.change(|logins| {
            logins.retain(|known| !(known.is_at(endpoints) && known.is_of(operator)));
        })
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Login>)) -> Result<(), CliError> {
        let folder = self
            .0
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            let mut builder = fs::DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(folder);
            made.map_err(|error| self.broken(&error))?;
        }
        let _lock = self.lock().map_err(|error| self.broken(&error))?;
        let mut content = self.read()?;
        change(&mut content.logins);
        content.version = VERSION;
        let mut bytes = serde_json::to_vec_pretty(&content)
            .map_err(|error| self.broken(&io::Error::other(error)))?;
        bytes.push(b'\n');
        let path = std::path::absolute(&self.0).map_err(|error| self.broken(&error))?;
        durable_file::write_bytes(&path, &bytes).map_err(|error| self.broken(&error))
    }

    fn lock(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.0.with_extension("lock"))?;
        file.lock()?;
        Ok(file)
    }

    fn read(&self) -> Result<Content, CliError> {
        let meta = match fs::metadata(&self.0) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
            Err(error) => return Err(self.broken(&error)),
        };
        if meta.permissions().mode() & 0o077 != 0 {
            return Err(CliError::failed(format!(
                "others may read {0}, which holds tokens: run `chmod 600 {0}`, and sign in anew if somebody may have",
                self.0.display()
            )));
        }
        if meta.len() > FILE_BYTES_MAX {
            return Err(self.broken(&io::Error::other("it is too large")));
        }
        let bytes = fs::read(&self.0).map_err(|error| self.broken(&error))?;
        let content: Content = serde_json::from_slice(&bytes)
            .map_err(|error| self.broken(&io::Error::other(error)))?;
        if content.version != VERSION {
            let message = format!("it has format {}, not {VERSION}", content.version);
            return Err(self.broken(&io::Error::other(message)));
        }
        Ok(content)
    }

    fn broken(&self, error: &io::Error) -> CliError {
        CliError::failed(format!("use {}: {error}", self.0.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(endpoint: &str, operator: &str, token: &str) -> Login {
        Login {
            endpoints: vec![endpoint.into()],
            operator: operator.into(),
            access_token: token.into(),
            access_until_ms: 5,
            refresh_token: "r".into(),
        }
    }

    #[test]
    fn sign_ins_are_kept_by_cluster_and_operator_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep").join("credentials.json");
        let file = CredentialsFile::at(path.clone());
        let (here, there) = (["http://a:1".to_owned()], ["http://b:1".to_owned()]);
        assert!(file.find(&here, None).unwrap().is_none());
        file.put(login(&here[0], "root", "1")).unwrap();
        file.put(login(&here[0], "ann", "2")).unwrap();
        file.put(login(&there[0], "root", "3")).unwrap();
        let token = |endpoints: &[String], operator| {
            let found = file.find(endpoints, operator).unwrap();
            found.map(|login| login.access_token)
        };
        assert_eq!(token(&here, None).as_deref(), Some("2"), "the newest");
        assert_eq!(token(&here, Some("Root")).as_deref(), Some("1"));
        assert_eq!(token(&there, Some("ann")), None);
        file.put(login(&here[0], "root", "4")).unwrap();
        assert_eq!(token(&here, None).as_deref(), Some("4"));

        let before = file.find(&there, None).unwrap().unwrap();
        file.renew(&before, login(&there[0], "root", "5")).unwrap();
        file.renew(&before, login(&there[0], "root", "6")).unwrap();
        assert_eq!(token(&there, None).as_deref(), Some("5"), "6 came too late");

        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        file.forget(&here, Some("root")).unwrap();
        assert_eq!(token(&here, None).as_deref(), Some("2"));
        file.forget(&here, None).unwrap();
        assert_eq!(token(&here, None), None);
        assert_eq!(token(&there, None).as_deref(), Some("5"));

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = file.find(&there, None).err().unwrap();
        assert!(refused.message.contains("chmod 600"));
    }

    #[test]
    fn a_file_that_is_something_else_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        let file = CredentialsFile::at(path.clone());
        for text in ["{", r#"{"version":2,"logins":[]}"#] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let refused = file.put(login("http://a:1", "root", "1")).unwrap_err();
            assert!(refused.message.contains("credentials.json"));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
