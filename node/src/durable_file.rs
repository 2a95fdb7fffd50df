//! Small files that must survive a crash whole: written to a partial name, synced, renamed, folder synced.
//!
//! A reader finds the old or the new content, never a mixture. Content carries a magic word, a format
//! version and a BLAKE3 checksum, so a damaged file is an error with words and never a wrong value.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// First word of every such file.
const MAGIC: &str = "yunbase";
/// Owner only: these files may hold keys.
const MODE: u32 = 0o600;

/// Replaces `path` with `bytes`, durably and atomically.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .ok_or_else(|| io::Error::other("a durable file needs a parent folder"))?;
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&partial, path)?;
    File::open(folder)?.sync_all()
}

/// Replaces `path` with `value` in the checked format of this module; `kind` names what it holds.
pub fn write<T: Serialize>(path: &Path, kind: &str, version: u32, value: &T) -> io::Result<()> {
    let body = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    let checksum = blake3::hash(body.as_bytes()).to_hex();
    write_bytes(
        path,
        format!("{MAGIC} {kind} {version} {checksum}\n{body}\n").as_bytes(),
    )
}

/// Reads what [`write`] wrote; `None` when there is no such file.
pub fn read<T: DeserializeOwned>(path: &Path, kind: &str, version: u32) -> io::Result<Option<T>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = |what: &str| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{}: {what}; restore this file from the disk's backup or give the node an empty data folder",
                path.display()
            ),
        )
    };
    let (head, body) = text
        .split_once('\n')
        .ok_or_else(|| damaged("no header line"))?;
    let body = body.strip_suffix('\n').unwrap_or(body);
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) || words.next() != Some(kind) {
        return Err(damaged(&format!("not a yunbase {kind} file")));
    }
    if words.next() != Some(version.to_string().as_str()) {
        return Err(damaged(&format!(
            "written in a format other than version {version}"
        )));
    }
    if words.next() != Some(blake3::hash(body.as_bytes()).to_hex().as_str()) {
        return Err(damaged("checksum mismatch"));
    }
    serde_json::from_str(body)
        .map(Some)
        .map_err(|error| damaged(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("identity");
        assert_eq!(
            read::<Vec<u32>>(&path, "numbers", 1).expect("absent is fine"),
            None
        );
        write(&path, "numbers", 1, &vec![1, 2, 3]).expect("write");
        assert_eq!(
            read::<Vec<u32>>(&path, "numbers", 1).expect("read"),
            Some(vec![1, 2, 3])
        );
        assert!(read::<Vec<u32>>(&path, "numbers", 2).is_err());
        assert!(read::<Vec<u32>>(&path, "letters", 1).is_err());

        let mut text = fs::read_to_string(&path).expect("text");
        text = text.replace('2', "7");
        fs::write(&path, text).expect("damage it");
        let error = read::<Vec<u32>>(&path, "numbers", 1).expect_err("damage is found");
        assert!(error.to_string().contains("checksum mismatch"), "{error}");
    }
}
