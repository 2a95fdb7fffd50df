//! Pins: which chunks an upload relies on, until its lease ends. A pinned chunk is not collected.
//!
//! They are kept in memory. After a restart nothing is collected for the length of a lease, so that every pin
//! from before has expired by then, or been set again.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::chunk::ChunkHash;
use crate::error::PinError;

/// What names an upload: chosen by whoever runs it, at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UploadId(pub u128);

#[derive(Debug)]
struct Upload {
    expires: Duration,
    hashes: HashSet<ChunkHash>,
}

/// The pins. Time is that of the monotonic clock.
#[derive(Debug)]
pub(crate) struct Pins {
    uploads: HashMap<UploadId, Upload>,
    /// How many uploads rely on a chunk.
    counts: HashMap<ChunkHash, u32>,
    total: usize,
    uploads_max: usize,
    total_max: usize,
}

impl Pins {
    pub(crate) fn new(uploads_max: usize, total_max: usize) -> Self {
        Self {
            uploads: HashMap::new(),
            counts: HashMap::new(),
            total: 0,
            uploads_max,
            total_max,
        }
    }

    /// Pins chunks for an upload, and makes all its pins last until `expires`. All or none.
    pub(crate) fn pin(
        &mut self,
        upload: UploadId,
        hashes: &[ChunkHash],
        now: Duration,
        expires: Duration,
    ) -> Result<(), PinError> {
        if self.uploads.len() >= self.uploads_max || self.total + hashes.len() > self.total_max {
            self.expire(now);
        }
        if self
            .uploads
            .get(&upload)
            .is_some_and(|pins| pins.expires <= now)
        {
            // What it relied on may be gone: pins that have ended do not come back.
            self.release(upload);
        }
        if !self.uploads.contains_key(&upload) && self.uploads.len() >= self.uploads_max {
            return Err(PinError::TooManyUploads {
                count_max: self.uploads_max,
            });
        }
        if self.total + hashes.len() > self.total_max {
            return Err(PinError::TooManyPins {
                count_max: self.total_max,
            });
        }
        let pins = self.uploads.entry(upload).or_insert_with(|| Upload {
            expires,
            hashes: HashSet::new(),
        });
        pins.expires = pins.expires.max(expires);
        for hash in hashes {
            if pins.hashes.insert(*hash) {
                *self.counts.entry(*hash).or_default() += 1;
                self.total += 1;
            }
        }
        Ok(())
    }

    /// Makes the pins of an upload last until `expires`; `false` if it has none, so that it must ask for its
    /// chunks again.
    pub(crate) fn renew(&mut self, upload: UploadId, now: Duration, expires: Duration) -> bool {
        match self.uploads.get_mut(&upload) {
            Some(pins) if pins.expires > now => {
                pins.expires = pins.expires.max(expires);
                true
            }
            _ => false,
        }
    }

    /// Ends the pins of an upload.
    pub(crate) fn release(&mut self, upload: UploadId) {
        let Some(pins) = self.uploads.remove(&upload) else {
            return;
        };
        self.total -= pins.hashes.len();
        for hash in pins.hashes {
            if let Some(count) = self.counts.get_mut(&hash) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&hash);
                }
            }
        }
    }

    /// Ends the pins whose time is over.
    pub(crate) fn expire(&mut self, now: Duration) {
        let over: Vec<_> = self
            .uploads
            .iter()
            .filter(|(_, pins)| pins.expires <= now)
            .map(|(upload, _)| *upload)
            .collect();
        for upload in over {
            self.release(upload);
        }
    }

    /// Whether an upload relies on a chunk. Call [`Self::expire`] before.
    pub(crate) fn contains(&self, hash: &ChunkHash) -> bool {
        self.counts.contains_key(hash)
    }

    /// Uploads, and their pins together.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.uploads.len(), self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: UploadId = UploadId(1);
    const B: UploadId = UploadId(2);

    fn hash(number: u8) -> ChunkHash {
        ChunkHash::from_bytes([number; 32])
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_pin_lasts_as_long_as_one_upload_relies_on_the_chunk() {
        let mut pins = Pins::new(9, 99);
        pins.pin(A, &[hash(1), hash(2), hash(1)], at(0), at(10))
            .unwrap();
        pins.pin(B, &[hash(2)], at(5), at(15)).unwrap();
        assert_eq!(pins.counts(), (2, 3));
        pins.expire(at(9));
        assert!(pins.contains(&hash(1)) && pins.contains(&hash(2)));
        pins.expire(at(10));
        assert!(!pins.contains(&hash(1)) && pins.contains(&hash(2)));
        assert!(!pins.renew(A, at(10), at(20)));
        assert!(pins.renew(B, at(14), at(24)));
        // A renewal that was overtaken does not shorten the lease.
        assert!(pins.renew(B, at(14), at(16)));
        pins.expire(at(23));
        assert!(pins.contains(&hash(2)));
        pins.release(B);
        pins.release(B);
        assert_eq!(pins.counts(), (0, 0));
        assert!(!pins.contains(&hash(2)));
    }

    #[test]
    fn pins_are_bounded_and_expired_ones_make_room() {
        let mut pins = Pins::new(1, 3);
        pins.pin(A, &[hash(1), hash(2)], at(0), at(10)).unwrap();
        let refused = pins.pin(B, &[hash(1)], at(9), at(19));
        assert_eq!(refused, Err(PinError::TooManyUploads { count_max: 1 }));
        let refused = pins.pin(A, &[hash(3), hash(4)], at(9), at(19));
        assert_eq!(refused, Err(PinError::TooManyPins { count_max: 3 }));
        assert!(!pins.contains(&hash(3)));
        pins.pin(B, &[hash(3)], at(10), at(20)).unwrap();
        assert_eq!(pins.counts(), (1, 1));
    }
}
