//! Where chunks belong: weighted rendezvous hashing over the nodes of a cluster, zones first.
//!
//! Each node is ranked for each of [`GROUPS`] groups of chunks by `-weight / ln(u)`, where `u` is drawn from node and
//! group (Thaler and Ravishankar 1998; weighted after Schindelhauer and Schomaker 2005). The best `replicas` of the ranking
//! hold the group's chunks. A node that comes takes over its share and moves nothing else; one that goes leaves its share
//! to the next of each ranking.
//!
//! The rest of a ranking is of use too: where holders are down, writers go on along it, and readers find what they wrote
//! there. It also makes earlier layouts dispensable: whoever held a chunk before nodes came or went is close behind those
//! who shall hold it now, so reads succeed while data moves, and nobody has to know when all of it has moved.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::chunk::ChunkHash;

/// Bits of a chunk's name that decide its group.
const GROUP_BITS: u32 = 12;
/// Groups of chunks: enough that nodes of equal weight differ by some percent, few enough to be kept ranked.
pub const GROUPS: u32 = 1 << GROUP_BITS;
/// Most nodes of a layout.
pub const HOSTS_MAX: usize = 256;

/// A node that holds chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageHost {
    /// Its id.
    pub id: u64,
    /// Its failure domain; empty = one of its own.
    pub zone: String,
    /// Its share: proportional to its room. 0 = it shall hold nothing, and is the last to be asked.
    pub weight: u32,
}

/// Who holds what; by default nobody anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    copies: usize,
    hosts: Vec<StorageHost>,
    /// For each group all hosts, the best first, by their place in `hosts`.
    ranked: Vec<u8>,
}

/// A layout that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a layout of {hosts} nodes: at most {HOSTS_MAX} are possible")]
pub struct TooManyHosts {
    hosts: usize,
}

impl Layout {
    /// A layout of `hosts` in which each chunk has `replicas` copies, or as many as there are hosts.
    pub fn new(replicas: usize, mut hosts: Vec<StorageHost>) -> Result<Self, TooManyHosts> {
        hosts.sort_by_key(|host| host.id);
        hosts.dedup_by_key(|host| host.id);
        if hosts.len() > HOSTS_MAX {
            return Err(TooManyHosts { hosts: hosts.len() });
        }
        let mut ranked = Vec::with_capacity(hosts.len() * GROUPS as usize);
        let able = hosts.iter().filter(|host| host.weight > 0).count();
        let copies = replicas.min(able);
        for group in 0..GROUPS {
            rank(group, &hosts, copies, &mut ranked);
        }
        Ok(Self {
            copies,
            hosts,
            ranked,
        })
    }

    /// Its hosts, by id.
    pub fn hosts(&self) -> &[StorageHost] {
        &self.hosts
    }

    /// Copies that each chunk shall have.
    pub fn copies(&self) -> usize {
        self.copies
    }

    /// All hosts for a chunk, the best first, those that shall hold nothing last.
    pub fn ranked(&self, hash: &ChunkHash) -> impl Iterator<Item = u64> + '_ {
        let at = hash.prefix(GROUP_BITS) as usize * self.hosts.len();
        self.ranked[at..at + self.hosts.len()]
            .iter()
            .map(|host| self.hosts[usize::from(*host)].id)
    }

    /// The hosts that shall hold a chunk, the best first.
    pub fn holders(&self, hash: &ChunkHash) -> impl Iterator<Item = u64> + '_ {
        self.ranked(hash).take(self.copies())
    }

    /// Whether a host shall hold a chunk.
    pub fn holds(&self, host: u64, hash: &ChunkHash) -> bool {
        self.holders(hash).any(|holder| holder == host)
    }
}

/// Appends the ranking of one group: by falling score, but the first `copies` from as many zones as there are.
fn rank(group: u32, hosts: &[StorageHost], copies: usize, ranked: &mut Vec<u8>) {
    let mut scored: Vec<(f64, usize)> = hosts
        .iter()
        .enumerate()
        .map(|(place, host)| (score(group, host), place))
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut order: Vec<usize> = scored.into_iter().map(|(_, place)| place).collect();
    let mut taken = 0;
    while taken < copies {
        let mut zones = BTreeSet::new();
        order.retain(|place| {
            let host = &hosts[*place];
            let is_new =
                host.weight > 0 && (host.zone.is_empty() || zones.insert(host.zone.as_str()));
            let takes = is_new && taken < copies;
            if takes {
                taken += 1;
                // A place is below `HOSTS_MAX`.
                ranked.push(*place as u8);
            }
            !takes
        });
    }
    ranked.extend(order.into_iter().map(|place| place as u8));
}

fn score(group: u32, host: &StorageHost) -> f64 {
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(&group.to_le_bytes())
        .update(&host.id.to_le_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    // Uniform in (0, 1).
    let uniform = ((u64::from_le_bytes(first) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    f64::from(host.weight) / -uniform.ln()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn hosts(of: &[(&str, u32)]) -> Vec<StorageHost> {
        of.iter()
            .zip(1..)
            .map(|((zone, weight), id)| StorageHost {
                id,
                zone: (*zone).to_owned(),
                weight: *weight,
            })
            .collect()
    }

    fn layout(of: &[(&str, u32)]) -> Layout {
        Layout::new(3, hosts(of)).expect("few hosts")
    }

    fn names() -> impl Iterator<Item = ChunkHash> {
        (0..GROUPS).map(|group| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&(group << (32 - GROUP_BITS)).to_be_bytes());
            ChunkHash::from_bytes(bytes)
        })
    }

    #[test]
    fn there_are_as_many_holders_as_asked_for_and_possible() {
        for (count, copies) in [(0, 0), (1, 1), (2, 2), (3, 3), (7, 3)] {
            let layout = layout(&vec![("", 1); count]);
            for name in names() {
                let holders: BTreeSet<u64> = layout.holders(&name).collect();
                assert_eq!(holders.len(), copies);
                assert_eq!(layout.ranked(&name).count(), count);
                assert!(holders.iter().all(|host| layout.holds(*host, &name)));
            }
        }
    }

    #[test]
    fn zones_are_used_up_before_one_is_used_twice() {
        let layout = layout(&[("a", 9), ("a", 9), ("b", 1), ("c", 1), ("a", 9)]);
        for name in names() {
            let zones: BTreeSet<&str> = layout
                .holders(&name)
                .map(|id| layout.hosts()[id as usize - 1].zone.as_str())
                .collect();
            assert_eq!(zones.len(), 3);
        }
        let one_zone = self::layout(&[("a", 1), ("a", 1), ("a", 1)]);
        assert!(names().all(|name| one_zone.holders(&name).count() == 3));
    }

    #[test]
    fn shares_follow_weights() {
        let layout = Layout::new(1, hosts(&[("", 1), ("", 2), ("", 4), ("", 0)])).expect("few");
        let mut shares = BTreeMap::new();
        for name in names() {
            for holder in layout.holders(&name) {
                *shares.entry(holder).or_insert(0_u32) += 1;
            }
        }
        assert!(!shares.contains_key(&4), "{shares:?}");
        for (id, weight) in [(1, 1), (2, 2), (3, 4)] {
            let fair = GROUPS * weight / 7;
            let share = shares[&id];
            assert!(share.abs_diff(fair) < fair / 5, "{id}: {share} of {fair}");
        }
    }

    #[test]
    fn a_new_host_takes_its_share_and_moves_nothing_else() {
        let before = layout(&[("", 1); 5]);
        let after = layout(&[("", 1); 6]);
        let mut moved = 0_usize;
        for name in names() {
            let old: BTreeSet<u64> = before.holders(&name).collect();
            let new: BTreeSet<u64> = after.holders(&name).collect();
            for gone in old.difference(&new) {
                moved += 1;
                assert!(new.contains(&6));
                // Whoever had it comes next: readers find what has not been moved.
                assert_eq!(after.ranked(&name).nth(3), Some(*gone));
            }
        }
        let fair = GROUPS as usize * 3 / 6;
        assert!(moved.abs_diff(fair) < fair / 5, "{moved} of {fair}");
    }
}
