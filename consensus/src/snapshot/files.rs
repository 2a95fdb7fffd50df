//! The file operations that snapshots are made of, each durable when it returns.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::manifest::{FileManifest, Hash, PART_BYTES, is_plain_name};
use super::{SnapshotError, SnapshotOptions};

/// Syncs a folder, so that names made or changed in it survive a crash.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Writes a new file and syncs it.
pub(super) fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes a folder with everything in it; its absence is fine.
pub(super) fn remove_dir(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Renames within one folder and makes the rename durable.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Reads a file that must not be longer than `bytes_max`.
pub(super) fn read_file(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut content)?;
    if content.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is too large", path.display()),
        ));
    }
    Ok(content)
}

/// Hashes and syncs every file of a folder, in order of their names.
pub(super) fn hash_dir(dir: &Path, options: &SnapshotOptions) -> io::Result<Vec<FileManifest>> {
    let mut files = Vec::new();
    for item in fs::read_dir(dir)? {
        let item = item?;
        let name = item.file_name().to_string_lossy().into_owned();
        if !item.file_type()?.is_file() || !is_plain_name(&name) {
            return Err(SnapshotError::Name {
                name: name.escape_debug().to_string(),
            }
            .into());
        }
        files.push(hash_file(&item.path(), name, options)?);
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn hash_file(path: &Path, name: String, options: &SnapshotOptions) -> io::Result<FileManifest> {
    let mut file = File::open(path)?;
    file.sync_all()?;
    let mut whole = blake3::Hasher::new();
    let mut part_hashes = Vec::new();
    let mut length_bytes = 0;
    let mut part = Vec::with_capacity(PART_BYTES as usize);
    loop {
        part.clear();
        file.by_ref().take(PART_BYTES).read_to_end(&mut part)?;
        if part.is_empty() {
            break;
        }
        options.wait_to_read(part.len() as u64);
        whole.update(&part);
        part_hashes.push(hash(&part));
        length_bytes += part.len() as u64;
    }
    Ok(FileManifest {
        name,
        length_bytes,
        hash: *whole.finalize().as_bytes(),
        part_hashes,
    })
}

/// The hash of a part.
pub(super) fn hash(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

/// Checks that the content of `path` has the hash in `manifest`.
pub(super) fn check_file(path: &Path, manifest: &FileManifest) -> io::Result<()> {
    let mut whole = blake3::Hasher::new();
    whole.update_reader(File::open(path)?)?;
    if whole.finalize().as_bytes() != &manifest.hash {
        return Err(SnapshotError::CorruptedFile {
            name: manifest.name.clone(),
        }
        .into());
    }
    Ok(())
}

/// Reads part `part` of a file and checks it.
pub(super) fn read_part(file: &File, manifest: &FileManifest, part: u32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; manifest.part_length_bytes(part) as usize];
    file.read_exact_at(&mut bytes, u64::from(part) * PART_BYTES)?;
    check_part(&bytes, manifest, part)?;
    Ok(bytes)
}

/// Checks length and hash of a part.
pub(super) fn check_part(
    bytes: &[u8],
    manifest: &FileManifest,
    part: u32,
) -> Result<(), SnapshotError> {
    let right = bytes.len() as u64 == manifest.part_length_bytes(part)
        && manifest.part_hashes.get(part as usize) == Some(&hash(bytes));
    if right {
        Ok(())
    } else {
        Err(SnapshotError::Corrupted {
            name: manifest.name.clone(),
            part,
        })
    }
}
