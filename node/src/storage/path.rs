//! Names of files: `/`-separated paths without any trick in them.

use std::fmt;

use super::error::StorageError;
use super::limits::PATH_BYTES_MAX;

/// The name of a file within its environment.
///
/// What could mean another place on some system is refused: empty segments, `.` and `..`, a `/` in front, control
/// characters. All other characters are allowed, however they look: whoever shows a name shows it as text. A `/` at the
/// end is allowed too: tools make empty files of such names to stand for folders.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(String);

impl FilePath {
    /// Checks a path.
    pub fn parse(path: &str) -> Result<Self, StorageError> {
        let refuse = |why: &str| {
            let shown: String = path.chars().filter(|c| !c.is_control()).take(64).collect();
            Err(StorageError::Invalid(format!(
                "`{shown}` cannot be the path of a file: {why}"
            )))
        };
        if path.is_empty() {
            return refuse("it is empty");
        }
        if path.len() > PATH_BYTES_MAX {
            return refuse("it is longer than 1024 bytes");
        }
        if path.chars().any(char::is_control) {
            return refuse("it has control characters");
        }
        let body = path.strip_suffix('/').unwrap_or(path);
        for segment in body.split('/') {
            match segment {
                "" => return refuse("it begins with `/`, or has two of them in a row"),
                "." | ".." => return refuse("it has a segment `.` or `..`"),
                _ => {}
            }
        }
        Ok(Self(path.to_owned()))
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        let body = self.0.strip_suffix('/').unwrap_or(&self.0);
        body.rsplit('/').next().unwrap_or(body)
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_one_place() {
        for good in [
            "a",
            "a/b.txt",
            "图片/一 二.png",
            "folder/",
            "...",
            "a/..b",
            "~",
            "a\\b",
            "%2e%2e",
            "a\u{202e}b\u{200d}",
        ] {
            assert_eq!(FilePath::parse(good).map(|p| p.0), Ok(good.to_owned()));
        }
        let long = "a".repeat(PATH_BYTES_MAX + 1);
        for bad in [
            "", "/", "/a", "a//b", ".", "..", "a/../b", "../a", "a/..", "a/.", "a\0b", "a\nb",
            "a\u{85}b", "//", &long,
        ] {
            assert!(FilePath::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(FilePath::parse("a/b/").expect("good").name(), "b");
    }
}
