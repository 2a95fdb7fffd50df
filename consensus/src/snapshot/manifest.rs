//! What a snapshot consists of: plain files cut into parts, each with its hash, and the position in the
//! log that they stand for. The hash of the encoded manifest is the snapshot's identity, so that a
//! transfer interrupted and resumed can never mix two snapshots.
//!
//! A manifest from a peer is validated as a whole before anything of it is used as a name or a size.

use std::collections::HashSet;
use std::io;

use serde::{Deserialize, Serialize};

use super::SnapshotError;
use crate::codec::Format;
use crate::records::{LogIdRecord, Progress, StoredMembershipRecord};
use crate::types::GroupId;

/// Files are hashed, sent and resumed in parts of this size; the last part of a file may be shorter.
pub(crate) const PART_BYTES: u64 = 1 << 20;
/// Largest encoded manifest: 32 bytes a part, so about 2 TiB of state.
pub(crate) const MANIFEST_BYTES_MAX: u64 = 64 << 20;
/// Files in a snapshot; a state database has some thousands at most.
pub(crate) const FILES_MAX: usize = 65_536;
/// Length of a file name.
pub(crate) const NAME_BYTES_MAX: usize = 128;

const MANIFEST: Format = Format {
    what: "snapshot manifest",
    magic: 0xE5,
    version: 1,
    body_bytes_max: MANIFEST_BYTES_MAX,
};

/// A BLAKE3 hash.
pub(crate) type Hash = [u8; 32];

/// One file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileManifest {
    /// Its name, without folders.
    pub(crate) name: String,
    /// Its length.
    pub(crate) length_bytes: u64,
    /// Hash of its content.
    pub(crate) hash: Hash,
    /// Hash of each part.
    pub(crate) part_hashes: Vec<Hash>,
}

impl FileManifest {
    /// Length of part `part`, which must exist.
    pub(crate) fn part_length_bytes(&self, part: u32) -> u64 {
        PART_BYTES.min(self.length_bytes - u64::from(part) * PART_BYTES)
    }
}

/// A part of a snapshot: file number in the manifest, part number in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PartId {
    /// Position of the file in the manifest.
    pub(crate) file: u32,
    /// Position of the part in the file.
    pub(crate) part: u32,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// The group whose state this is.
    pub(crate) group: GroupId,
    /// What the state has applied, and its membership.
    pub(crate) progress: Progress,
    /// The files.
    pub(crate) files: Vec<FileManifest>,
}

impl Manifest {
    /// The bytes that are stored and sent, and hashed into the snapshot's identity.
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        let last_log_id = self.progress.last_applied.as_ref().map(LogIdRecord::from);
        let membership = StoredMembershipRecord::from(&self.progress.membership);
        Ok(MANIFEST.encode(&(self.group, last_log_id, membership, &self.files))?)
    }

    /// Decodes and validates.
    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        type Parts = (
            GroupId,
            Option<LogIdRecord>,
            StoredMembershipRecord,
            Vec<FileManifest>,
        );
        let (group, last_applied, membership, files): Parts = MANIFEST.decode(bytes)?;
        let progress = Progress {
            last_applied: last_applied.map(Into::into),
            membership: membership.try_into()?,
        };
        let manifest = Self {
            group,
            progress,
            files,
        };
        manifest.validate()?;
        Ok(manifest)
    }

    fn validate(&self) -> Result<(), SnapshotError> {
        if self.files.len() > FILES_MAX {
            return Err(SnapshotError::TooManyFiles {
                files: self.files.len(),
            });
        }
        let mut names = HashSet::new();
        for file in &self.files {
            if !is_plain_name(&file.name) || !names.insert(file.name.as_str()) {
                return Err(SnapshotError::Name {
                    name: file.name.escape_debug().to_string(),
                });
            }
            if file.length_bytes.div_ceil(PART_BYTES) != file.part_hashes.len() as u64 {
                let parts = file.part_hashes.len();
                return Err(SnapshotError::PartCount {
                    name: file.name.clone(),
                    length_bytes: file.length_bytes,
                    parts,
                });
            }
        }
        Ok(())
    }

    /// The file and hash of a part, if there is such a part.
    pub(crate) fn part(&self, id: PartId) -> Result<(&FileManifest, &Hash), SnapshotError> {
        let file = self.files.get(id.file as usize);
        file.and_then(|file| Some((file, file.part_hashes.get(id.part as usize)?)))
            .ok_or(SnapshotError::NoSuchPart {
                file: id.file,
                part: id.part,
            })
    }

    /// Every part, in order.
    pub(crate) fn parts(&self) -> impl Iterator<Item = PartId> + '_ {
        (0..).zip(&self.files).flat_map(|(file, manifest)| {
            (0..)
                .zip(&manifest.part_hashes)
                .map(move |(part, _)| PartId { file, part })
        })
    }
}

/// The identity of a snapshot: half of the hash of its encoded manifest, in hex, fit for a folder's name.
pub(crate) fn snapshot_id(manifest: &[u8]) -> String {
    blake3::hash(manifest).to_hex()[..32].to_owned()
}

/// Whether `name` is safe as the name of a file in a folder of ours: no separators, no dot in front,
/// nothing that a shell or another file system reads differently.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(files: Vec<FileManifest>) -> Manifest {
        Manifest {
            group: GroupId(3),
            progress: Progress::default(),
            files,
        }
    }

    fn file(name: &str, length_bytes: u64, parts: usize) -> FileManifest {
        FileManifest {
            name: name.into(),
            length_bytes,
            hash: [1; 32],
            part_hashes: vec![[2; 32]; parts],
        }
    }

    #[test]
    fn round_trips_and_numbers_parts() {
        let manifest = manifest(vec![
            file("a", 0, 0),
            file("b.sst", PART_BYTES, 1),
            file("c", PART_BYTES + 1, 2),
        ]);
        let bytes = manifest.encode().unwrap();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        assert_eq!(snapshot_id(&bytes).len(), 32);
        let parts: Vec<_> = manifest.parts().map(|id| (id.file, id.part)).collect();
        assert_eq!(parts, [(1, 0), (2, 0), (2, 1)]);
        assert_eq!(manifest.files[2].part_length_bytes(0), PART_BYTES);
        assert_eq!(manifest.files[2].part_length_bytes(1), 1);
        assert!(manifest.part(PartId { file: 0, part: 0 }).is_err());
        assert!(manifest.part(PartId { file: 3, part: 0 }).is_err());
    }

    /// The bytes travel between releases.
    #[test]
    fn has_golden_bytes() {
        let bytes = manifest(vec![file("a", 1, 1)]).encode().unwrap();
        let expected = [
            &[0xE5, 1][..],
            &[3, 0, 0, 0, 0, 0],
            &[0; 16],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0, b'a'],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[1; 32],
            &[1, 0, 0, 0, 0, 0, 0, 0],
            &[2; 32],
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn refuses_names_and_sizes_that_lie() {
        let hostile = [
            "",
            ".",
            "..",
            "../a",
            "a/b",
            "/etc/passwd",
            "a\0",
            "a\\b",
            ".hidden",
            "ä",
        ];
        for name in hostile {
            let bytes = manifest(vec![file(name, 1, 1)]).encode().unwrap();
            assert!(Manifest::decode(&bytes).is_err(), "{name:?}");
        }
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        let lists = [
            vec![file(&long, 1, 1)],
            vec![file("a", 1, 1), file("a", 1, 1)],
            vec![file("a", 1, 0)],
            vec![file("a", 1, 2)],
            vec![file("a", u64::MAX, 1)],
        ];
        for files in lists {
            assert!(Manifest::decode(&manifest(files).encode().unwrap()).is_err());
        }
    }
}
