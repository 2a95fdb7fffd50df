//! What becomes of one frame: pure decisions, and the frames that wait for their moment.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::rngs::StdRng;

use super::links::{Counters, Effect, Link};

/// Most frames that wait at once, 12 MB of them: more than any delay here times what the nodes send.
const WAITING_MAX: usize = 8192;
/// Longest queue in front of a slow link; a router of that speed would hold no more.
const SLOW_QUEUE_MAX: Duration = Duration::from_millis(500);
/// How long frames are held back that others shall overtake.
const HELD_BACK_MS: std::ops::Range<u64> = 2..25;
/// Ethernet, IPv4 and TCP without options: a bit flipped behind them is one that only a checksum finds.
const HEADERS_BYTES: usize = 14 + 20 + 20;

/// A frame and where it goes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    /// Keeps the order of frames that are due at the same moment.
    sequence: u64,
    link: Link,
    frame: Vec<u8>,
}

/// Frames on their way.
#[derive(Debug)]
pub(super) struct Schedule {
    random: StdRng,
    next_sequence: u64,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// When a slow link has sent what it was given.
    busy_until: BTreeMap<Link, Instant>,
    /// Of each link, the latest frame that has arrived.
    latest: BTreeMap<Link, u64>,
}

impl Schedule {
    pub(super) fn new(random: StdRng) -> Self {
        Self {
            random,
            next_sequence: 0,
            waiting: BinaryHeap::new(),
            busy_until: BTreeMap::new(),
            latest: BTreeMap::new(),
        }
    }

    /// Decides about a frame. What shall arrive is kept until it is due; the counters tell what was done.
    pub(super) fn take(
        &mut self,
        link: Link,
        mut frame: Vec<u8>,
        effect: &Effect,
        now: Instant,
    ) -> Counters {
        let mut done = Counters::default();
        if effect.cut {
            done.cut = 1;
            return done;
        }
        if self.chance(effect.loss) {
            done.lost = 1;
            return done;
        }
        if self.chance(effect.corruption) && frame.len() > HEADERS_BYTES {
            let byte = self.random.random_range(HEADERS_BYTES..frame.len());
            frame[byte] ^= 1 << self.random.random_range(0..8);
            done.corrupted = 1;
        }
        let mut due = now;
        if let Some(rate) = effect.bytes_per_second {
            let free = self.busy_until.get(&link).copied().unwrap_or(now).max(now);
            if free - now > SLOW_QUEUE_MAX {
                done.throttled = 1;
                return done;
            }
            let takes = Duration::from_secs_f64(frame.len() as f64 / rate.max(1) as f64);
            due = free + takes;
            self.busy_until.insert(link, due);
            done.throttled = u64::from(free > now);
        }
        let mut late = effect.delay;
        if effect.jitter > Duration::ZERO {
            late += effect.jitter.mul_f64(self.random.random::<f64>());
        }
        done.delayed = u64::from(late > Duration::ZERO);
        if self.chance(effect.reordering) {
            late += Duration::from_millis(self.random.random_range(HELD_BACK_MS));
        }
        due += late;
        let copies = if self.chance(effect.duplication) {
            2
        } else {
            1
        };
        if self.waiting.len() + copies > WAITING_MAX {
            return Counters {
                overflowed: 1,
                ..Counters::default()
            };
        }
        done.duplicated = copies as u64 - 1;
        for _ in 0..copies {
            self.waiting.push(Reverse(Waiting {
                due,
                sequence: self.next_sequence,
                link,
                frame: frame.clone(),
            }));
            self.next_sequence += 1;
        }
        done
    }

    /// The next frame that is due, and what to count for its arrival.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Link, Vec<u8>, Counters)> {
        if self.waiting.peek()?.0.due > now {
            return None;
        }
        let Reverse(next) = self.waiting.pop()?;
        let latest = self.latest.entry(next.link).or_default();
        let done = Counters {
            passed: 1,
            reordered: u64::from(next.sequence < *latest),
            ..Counters::default()
        };
        *latest = next.sequence.max(*latest);
        Some((next.link, next.frame, done))
    }

    /// When the next frame is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(next)| next.due)
    }

    fn chance(&mut self, share: f64) -> bool {
        share > 0.0 && self.random.random::<f64>() < share
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    const LINK: Link = (1, 2);

    /// Sends 1000 numbered frames, one a millisecond; returns what arrived, when, and what was counted.
    fn send(effect: &Effect) -> (Vec<(Vec<u8>, Duration)>, Counters) {
        let mut schedule = Schedule::new(StdRng::seed_from_u64(7));
        let began = Instant::now();
        let mut counted = Counters::default();
        let mut arrived = Vec::new();
        for millisecond in 0..3000u32 {
            let now = began + Duration::from_millis(u64::from(millisecond));
            if millisecond < 1000 {
                let mut frame = vec![0; 100];
                frame[..4].copy_from_slice(&millisecond.to_be_bytes());
                counted += schedule.take(LINK, frame, effect, now);
            }
            while let Some((_, frame, done)) = schedule.due(now) {
                counted += done;
                arrived.push((frame, now - began));
            }
        }
        assert!(schedule.next_due().is_none());
        (arrived, counted)
    }

    #[test]
    fn without_effects_all_frames_arrive_at_once_and_in_order() {
        let (arrived, counted) = send(&Effect::default());
        assert_eq!(counted.passed, 1000);
        assert_eq!(counted.reordered, 0);
        assert!(arrived.is_sorted());
    }

    #[test]
    fn each_effect_hits_what_it_should_and_counts_it() {
        let cut = Effect {
            cut: true,
            ..Effect::default()
        };
        assert_eq!(send(&cut).1.cut, 1000);
        assert!(send(&cut).0.is_empty());
        let loss = Effect {
            loss: 0.3,
            ..Effect::default()
        };
        let (arrived, counted) = send(&loss);
        assert!((200..400).contains(&counted.lost), "{counted:?}");
        assert_eq!(arrived.len() as u64, 1000 - counted.lost);
        let duplication = Effect {
            duplication: 0.2,
            ..Effect::default()
        };
        let (arrived, counted) = send(&duplication);
        assert!((100..300).contains(&counted.duplicated), "{counted:?}");
        assert_eq!(arrived.len() as u64, 1000 + counted.duplicated);
        let corruption = Effect {
            corruption: 0.2,
            ..Effect::default()
        };
        let (arrived, counted) = send(&corruption);
        let damaged = arrived
            .iter()
            .filter(|(frame, _)| frame[4..].iter().any(|byte| *byte != 0))
            .count();
        assert_eq!(damaged as u64, counted.corrupted);
        assert!(damaged > 100);
    }

    #[test]
    fn frames_held_back_are_overtaken() {
        let reordering = Effect {
            reordering: 0.2,
            ..Effect::default()
        };
        let (arrived, counted) = send(&reordering);
        assert_eq!(arrived.len(), 1000);
        assert!(counted.reordered > 100, "{counted:?}");
        let frames: Vec<_> = arrived.iter().map(|(frame, _)| frame).collect();
        assert!(!frames.is_sorted());
    }

    #[test]
    fn a_slow_link_sends_no_more_than_it_can_and_drops_what_does_not_fit() {
        let slow = Effect {
            bytes_per_second: Some(50_000),
            ..Effect::default()
        };
        let (arrived, counted) = send(&slow);
        assert!(counted.throttled > 400, "{counted:?}");
        let (_, last) = arrived.last().expect("some arrive");
        let bytes = arrived.len() as f64 * 100.0;
        assert!(bytes / last.as_secs_f64() < 51_000.0);
    }

    #[test]
    fn a_delay_moves_all_frames() {
        let delay = Effect {
            delay: Duration::from_millis(50),
            ..Effect::default()
        };
        let (arrived, counted) = send(&delay);
        assert_eq!(counted.delayed, 1000);
        assert_eq!(arrived[0].1, Duration::from_millis(50));
        assert_eq!(counted.reordered, 0);
    }
}
