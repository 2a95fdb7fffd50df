//! How places are spelled on the command line: `:dir/a.txt` in the cluster, `./dir/a.txt` on this machine.

use std::path::PathBuf;

use crate::cli::failure::CliError;

/// A place in the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remote {
    /// The environment, where the place names one.
    pub(super) env: Option<String>,
    /// The path of a file, or what the paths of several begin with.
    pub(super) path: String,
}

/// Where something is or shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Standard input or output.
    Standard,
    /// On this machine.
    Local(PathBuf),
    /// In the cluster.
    Remote(Remote),
}

impl Place {
    /// Reads a place that may be anywhere.
    pub(super) fn parse(text: &str) -> Result<Self, CliError> {
        if text == "-" {
            return Ok(Self::Standard);
        }
        if let Some(rest) = text.strip_prefix("cloud://") {
            return Remote::of_id(text, rest).map(Self::Remote);
        }
        if let Some(path) = text.strip_prefix(':') {
            return Ok(Self::Remote(Remote::of_path(path)));
        }
        if text.is_empty() {
            return Err(CliError::usage("an empty name is no place"));
        }
        Ok(Self::Local(PathBuf::from(text)))
    }
}

impl Remote {
    /// Reads a place that can only be in the cluster, where the colon may be left out.
    pub(super) fn parse(text: &str) -> Result<Self, CliError> {
        match Place::parse(text) {
            Ok(Place::Remote(remote)) => Ok(remote),
            Ok(Place::Local(_) | Place::Standard) => Ok(Self::of_path(text)),
            // An empty path is everything.
            Err(_) if text.is_empty() => Ok(Self::of_path(text)),
            Err(error) => Err(error),
        }
    }

    fn of_path(path: &str) -> Self {
        Self {
            env: None,
            // Paths begin without a slash; who thinks of folders writes one.
            path: path.strip_prefix('/').unwrap_or(path).to_owned(),
        }
    }

    fn of_id(text: &str, rest: &str) -> Result<Self, CliError> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // An environment has one bucket, so its name says nothing more.
        let env = authority.split_once('.').map_or(authority, |(env, _)| env);
        if env.is_empty() {
            return Err(CliError::usage(format!(
                "`{text}` names no environment: it has the form cloud://environment.bucket/path"
            )));
        }
        Ok(Self {
            env: Some(env.to_owned()),
            path: path.to_owned(),
        })
    }

    /// Whether it can only be a folder.
    pub(super) fn is_folder(&self) -> bool {
        self.path.is_empty() || self.path.ends_with('/')
    }

    /// What the paths of everything below it begin with.
    pub(super) fn folder(&self) -> String {
        folder(&self.path)
    }

    /// Its last segment.
    pub(super) fn name(&self) -> &str {
        name(&self.path)
    }
}

/// A path as that of a folder.
pub(super) fn folder(path: &str) -> String {
    if path.is_empty() || path.ends_with('/') {
        path.to_owned()
    } else {
        format!("{path}/")
    }
}

/// The last segment of a path.
pub(super) fn name(path: &str) -> &str {
    let path = path.strip_suffix('/').unwrap_or(path);
    path.rsplit('/').next().unwrap_or(path)
}

/// The one environment that places name, if any does.
pub(super) fn environment_of<'a>(
    remotes: impl IntoIterator<Item = &'a Remote>,
) -> Result<Option<&'a str>, CliError> {
    let mut named: Option<&str> = None;
    let mut is_left_out = false;
    for remote in remotes {
        match (&remote.env, named) {
            (None, _) => is_left_out = true,
            (Some(env), Some(other)) if env != other => {
                return Err(CliError::usage(format!(
                    "`{other}` and `{env}` are two environments: a command is about one"
                )));
            }
            (Some(env), _) => named = Some(env),
        }
    }
    if is_left_out && named.is_some() {
        return Err(CliError::usage(
            "name the environment in all of the places or in none, with --env",
        ));
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;

    fn remote(env: Option<&str>, path: &str) -> Remote {
        Remote {
            env: env.map(str::to_owned),
            path: path.to_owned(),
        }
    }

    #[test]
    fn places_are_told_apart() {
        let cases = [
            ("-", Place::Standard),
            ("./:a", Place::Local("./:a".into())),
            ("a/b", Place::Local("a/b".into())),
            (":", Place::Remote(remote(None, ""))),
            (":a/b", Place::Remote(remote(None, "a/b"))),
            (":/a", Place::Remote(remote(None, "a"))),
            ("::a", Place::Remote(remote(None, ":a"))),
            (
                "cloud://demo.demo/a/b",
                Place::Remote(remote(Some("demo"), "a/b")),
            ),
            ("cloud://demo", Place::Remote(remote(Some("demo"), ""))),
        ];
        for (text, place) in cases {
            assert_eq!(Place::parse(text).unwrap(), place, "{text}");
        }
        for wrong in ["", "cloud://", "cloud:///a", "cloud://.b/a"] {
            assert_eq!(Place::parse(wrong).unwrap_err().exit, Exit::Usage);
        }
        assert_eq!(Remote::parse("a/b").unwrap(), remote(None, "a/b"));
        assert_eq!(Remote::parse("").unwrap(), remote(None, ""));
        assert_eq!(Remote::parse("-").unwrap(), remote(None, "-"));
    }

    #[test]
    fn a_command_is_about_one_environment() {
        let (shop, demo, none) = (
            remote(Some("shop"), "a"),
            remote(Some("demo"), "a"),
            remote(None, "a"),
        );
        assert_eq!(environment_of([&shop, &shop]).unwrap(), Some("shop"));
        assert_eq!(environment_of([&none]).unwrap(), None);
        assert!(environment_of([&shop, &demo]).is_err());
        assert!(environment_of([&shop, &none]).is_err());
    }

    #[test]
    fn folders_and_names() {
        assert_eq!(
            (
                folder("a").as_str(),
                folder("a/").as_str(),
                folder("").as_str()
            ),
            ("a/", "a/", "")
        );
        assert_eq!((name("a/b"), name("a/b/"), name("a")), ("b", "b", "a"));
    }
}
