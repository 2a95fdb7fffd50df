//! A value that a command keeps in a file beside its work: read where there is one, replaced at once.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::CliError;

/// The value at `path`; `None` when there is no such file. `what` names it in errors: "a checkpoint".
pub(super) fn load<T: DeserializeOwned>(path: &Path, what: &str) -> Result<Option<T>, CliError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let message = format!("cannot read {}: {error}", path.display());
            return Err(CliError::failed(message));
        }
    };
    let value = serde_json::from_slice(&text)
        .map_err(|error| CliError::failed(format!("{} is not {what}: {error}", path.display())))?;
    Ok(Some(value))
}

/// Replaces what is at `path`: a crash leaves the old value or the new one.
pub(super) fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), CliError> {
    let failed =
        |error: io::Error| CliError::failed(format!("cannot write {}: {error}", path.display()));
    let partial = path.with_added_extension("partial");
    let text = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
    fs::write(&partial, text).map_err(failed)?;
    fs::rename(&partial, path).map_err(failed)
}
