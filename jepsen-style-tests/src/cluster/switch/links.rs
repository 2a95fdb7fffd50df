//! The links between hosts: what is done to the frames of each, and what has been done to them so far.

use std::collections::BTreeMap;
use std::ops::{AddAssign, Sub};
use std::time::Duration;

use parking_lot::Mutex;

/// A direction between two hosts; nodes are counted from 1, the clients are [`CLIENTS`](super::CLIENTS).
pub type Link = (usize, usize);

/// What happens to the frames of a link. The default lets them pass.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Effect {
    /// None passes.
    pub cut: bool,
    /// Share of frames that vanish, 0 to 1.
    pub loss: f64,
    /// Share of frames that come twice.
    pub duplication: f64,
    /// Share of frames with one bit flipped behind the headers.
    pub corruption: f64,
    /// Share of frames that are held back until others have overtaken them.
    pub reordering: f64,
    /// Every frame comes this much later.
    pub delay: Duration,
    /// And up to this much later still.
    pub jitter: Duration,
    /// No more than this many bytes a second.
    pub bytes_per_second: Option<u64>,
}

impl Effect {
    /// Both at once.
    fn and(self, other: Self) -> Self {
        // Two independent chances to be hit.
        let either = |a: f64, b: f64| a + b - a * b;
        Self {
            cut: self.cut || other.cut,
            loss: either(self.loss, other.loss),
            duplication: either(self.duplication, other.duplication),
            corruption: either(self.corruption, other.corruption),
            reordering: either(self.reordering, other.reordering),
            delay: self.delay + other.delay,
            jitter: self.jitter + other.jitter,
            bytes_per_second: match (self.bytes_per_second, other.bytes_per_second) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

/// Frames, by what happened to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Arrived.
    pub passed: u64,
    /// Did not, because the link is cut.
    pub cut: u64,
    /// Did not, by chance.
    pub lost: u64,
    /// Came twice.
    pub duplicated: u64,
    /// Came with a bit flipped.
    pub corrupted: u64,
    /// Came after one that was sent later.
    pub reordered: u64,
    /// Came later than they could have.
    pub delayed: u64,
    /// Waited for, or were dropped in front of, a slow link.
    pub throttled: u64,
    /// Dropped because the switch holds too many.
    pub overflowed: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.cut += other.cut;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.corrupted += other.corrupted;
        self.reordered += other.reordered;
        self.delayed += other.delayed;
        self.throttled += other.throttled;
        self.overflowed += other.overflowed;
    }
}

impl Sub for Counters {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            passed: self.passed - earlier.passed,
            cut: self.cut - earlier.cut,
            lost: self.lost - earlier.lost,
            duplicated: self.duplicated - earlier.duplicated,
            corrupted: self.corrupted - earlier.corrupted,
            reordered: self.reordered - earlier.reordered,
            delayed: self.delayed - earlier.delayed,
            throttled: self.throttled - earlier.throttled,
            overflowed: self.overflowed - earlier.overflowed,
        }
    }
}

/// A set of effects that is in force until it is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EffectId(u64);

/// Effects and counters of all links. Faults that overlap add up, and each takes away only its own.
#[derive(Debug, Default)]
pub struct Links {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    in_force: BTreeMap<EffectId, Vec<(Link, Effect)>>,
    /// What they add up to.
    sums: BTreeMap<Link, Effect>,
    counters: BTreeMap<Link, Counters>,
}

impl State {
    fn add_up(&mut self) {
        self.sums.clear();
        for (link, effect) in self.in_force.values().flatten() {
            let sum = self.sums.entry(*link).or_default();
            *sum = sum.and(*effect);
        }
    }
}

impl Links {
    /// Puts effects in force, all at the same moment.
    pub fn add(&self, effects: Vec<(Link, Effect)>) -> EffectId {
        let mut state = self.state.lock();
        let id = EffectId(state.next);
        state.next += 1;
        state.in_force.insert(id, effects);
        state.add_up();
        id
    }

    /// Takes them away again.
    pub fn remove(&self, id: EffectId) {
        let mut state = self.state.lock();
        state.in_force.remove(&id);
        state.add_up();
    }

    /// What has happened on these links together.
    pub fn counters(&self, links: impl IntoIterator<Item = Link>) -> Counters {
        let state = self.state.lock();
        let mut sum = Counters::default();
        for link in links {
            sum += state.counters.get(&link).copied().unwrap_or_default();
        }
        sum
    }

    /// What happens to the frames of a link now.
    pub(super) fn effect(&self, link: Link) -> Effect {
        self.state
            .lock()
            .sums
            .get(&link)
            .copied()
            .unwrap_or_default()
    }

    /// Counts frames of a link.
    pub(super) fn count(&self, link: Link, by: Counters) {
        *self.state.lock().counters.entry(link).or_default() += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_effects_add_up_and_each_removes_only_its_own() {
        let links = Links::default();
        let cut = Effect {
            cut: true,
            ..Effect::default()
        };
        let slow = Effect {
            loss: 0.5,
            delay: Duration::from_millis(20),
            bytes_per_second: Some(1000),
            ..Effect::default()
        };
        let first = links.add(vec![((1, 2), cut), ((1, 3), slow)]);
        let second = links.add(vec![((1, 2), slow), ((1, 3), slow)]);
        assert!(links.effect((1, 2)).cut);
        let both = links.effect((1, 3));
        assert_eq!((both.loss, both.delay.as_millis()), (0.75, 40));
        links.remove(first);
        assert_eq!(links.effect((1, 2)), slow);
        assert_eq!(links.effect((1, 3)), slow);
        assert_eq!(links.effect((2, 1)), Effect::default());
        links.remove(second);
        assert_eq!(links.effect((1, 2)), Effect::default());
    }

    #[test]
    fn counters_are_of_the_links_asked_for() {
        let links = Links::default();
        let one_lost = Counters {
            lost: 1,
            ..Counters::default()
        };
        links.count((1, 2), one_lost);
        let before = links.counters([(1, 2), (2, 1)]);
        links.count((2, 1), one_lost);
        links.count((3, 1), one_lost);
        assert_eq!((links.counters([(1, 2), (2, 1)]) - before).lost, 1);
    }
}
