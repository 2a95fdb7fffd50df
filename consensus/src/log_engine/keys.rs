//! Keys of the shared log database, as types: big-endian, so that byte order is group order, then
//! index order, and one group's entries are one contiguous range.

use std::io;

use crate::types::GroupId;

/// Key of an entry in the `log` column family: `[group u32 BE][index u64 BE]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogKey {
    /// The entry's group.
    pub(crate) group: GroupId,
    /// The entry's index.
    pub(crate) index: u64,
}

impl LogKey {
    /// Encoded size.
    pub(crate) const BYTES: usize = 12;

    /// The key's bytes.
    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut key = [0; Self::BYTES];
        key[..4].copy_from_slice(&self.group.0.to_be_bytes());
        key[4..].copy_from_slice(&self.index.to_be_bytes());
        key
    }

    /// Reads a key back; anything that is not one is corruption.
    pub(crate) fn decode(key: &[u8]) -> io::Result<Self> {
        let invalid = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("log key of {} bytes", key.len()),
            )
        };
        let (group, index) = key.split_first_chunk::<4>().ok_or_else(invalid)?;
        let index: [u8; 8] = index.try_into().map_err(|_| invalid())?;
        Ok(Self {
            group: GroupId(u32::from_be_bytes(*group)),
            index: u64::from_be_bytes(index),
        })
    }

    /// The smallest key after every entry of `group`; one byte longer than a key, so that it exists
    /// for the last group and index too.
    pub(crate) fn end_of_group(group: GroupId) -> [u8; Self::BYTES + 1] {
        let mut key = [0; Self::BYTES + 1];
        key[..Self::BYTES].copy_from_slice(
            &Self {
                group,
                index: u64::MAX,
            }
            .encode(),
        );
        key
    }
}

/// What a record in the `hard` column family holds. The letters are on disk: never change or reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum HardKind {
    /// Last committed log id known; may lag.
    Committed = b'c',
    /// Log id of the last entry.
    Last = b'l',
    /// Log id up to which entries are purged, inclusive; the log begins after it.
    Purged = b'p',
    /// The vote.
    Vote = b'v',
}

impl HardKind {
    const ALL: [Self; 4] = [Self::Committed, Self::Last, Self::Purged, Self::Vote];
}

/// Key of a record in the `hard` column family: `[group u32 BE][kind u8]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HardKey {
    /// The record's group.
    pub(crate) group: GroupId,
    /// What the record holds.
    pub(crate) kind: HardKind,
}

impl HardKey {
    /// Encoded size.
    pub(crate) const BYTES: usize = 5;

    /// The key's bytes.
    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut key = [0; Self::BYTES];
        key[..4].copy_from_slice(&self.group.0.to_be_bytes());
        key[4] = self.kind as u8;
        key
    }

    /// Reads a key back; anything that is not one is corruption or a later release's record.
    pub(crate) fn decode(key: &[u8]) -> io::Result<Self> {
        let invalid = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("unknown hard-state key {key:02x?}"),
            )
        };
        let (group, kind) = key.split_first_chunk::<4>().ok_or_else(invalid)?;
        let [kind] = *kind else { return Err(invalid()) };
        let kind = HardKind::ALL
            .into_iter()
            .find(|k| *k as u8 == kind)
            .ok_or_else(invalid)?;
        Ok(Self {
            group: GroupId(u32::from_be_bytes(*group)),
            kind,
        })
    }

    /// Every kind of record of `group`.
    pub(crate) fn all_of(group: GroupId) -> impl Iterator<Item = Self> {
        HardKind::ALL
            .into_iter()
            .map(move |kind| Self { group, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_golden_bytes() {
        let key = LogKey {
            group: GroupId(0x0102_0304),
            index: 0x0506_0708_090A_0B0C,
        };
        assert_eq!(key.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(LogKey::decode(&key.encode()).unwrap(), key);
        let key = HardKey {
            group: GroupId(258),
            kind: HardKind::Vote,
        };
        assert_eq!(key.encode(), [0, 0, 1, 2, b'v']);
        assert_eq!(
            HardKey::all_of(GroupId(0))
                .map(|k| k.encode()[4])
                .collect::<Vec<_>>(),
            b"clpv"
        );
        for key in HardKey::all_of(GroupId(9)) {
            assert_eq!(HardKey::decode(&key.encode()).unwrap(), key);
        }
    }

    #[test]
    fn byte_order_is_group_then_index() {
        let groups = [0, 1, 255, 256, u32::MAX];
        let indexes = [0, 1, 255, 256, u64::from(u32::MAX) + 1, u64::MAX];
        let mut keys = Vec::new();
        for group in groups {
            for index in indexes {
                keys.push(
                    LogKey {
                        group: GroupId(group),
                        index,
                    }
                    .encode()
                    .to_vec(),
                );
            }
            keys.push(LogKey::end_of_group(GroupId(group)).to_vec());
        }
        assert!(keys.is_sorted(), "{keys:02x?}");
    }

    #[test]
    fn refuses_what_is_not_a_key() {
        for bytes in [&b""[..], b"abc", b"abcdefghijk", b"abcdefghijklm"] {
            assert!(LogKey::decode(bytes).is_err());
        }
        for bytes in [&b""[..], b"abcd", b"abcdx", b"abcdvv"] {
            assert!(HardKey::decode(bytes).is_err());
        }
    }
}
