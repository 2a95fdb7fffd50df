//! The last refusals by rules on this node, for whoever wonders why an app does not work. Bounded; holds nothing
//! of any document.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::limits::{DENIAL_REASON_CHARACTERS_MAX, DENIALS_MAX};

/// One refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// The request's id.
    pub request_id: String,
    /// The environment.
    pub env: String,
    /// The collection; empty when the operation names none.
    pub collection: String,
    /// `read`, `create`, `update`, `delete` or `administration`.
    pub operation: &'static str,
    /// The user's id.
    pub uid: String,
    /// Why, as the caller was told.
    pub reason: String,
}

/// The last refusals, oldest first.
#[derive(Default)]
pub struct Denials(Mutex<VecDeque<Denial>>);

impl Denials {
    /// Remembers one and forgets the oldest beyond the limit.
    pub fn record(&self, mut denial: Denial) {
        if let Some((end, _)) = denial
            .reason
            .char_indices()
            .nth(DENIAL_REASON_CHARACTERS_MAX)
        {
            denial.reason.truncate(end);
            denial.reason.push('…');
        }
        let mut denials = self.0.lock();
        if denials.len() >= DENIALS_MAX {
            denials.pop_front();
        }
        denials.push_back(denial);
    }

    /// The last `count_max` of an environment (all of them if `env` is empty), newest first.
    pub fn recent(&self, env: &str, count_max: usize) -> Vec<Denial> {
        self.0
            .lock()
            .iter()
            .rev()
            .filter(|denial| env.is_empty() || denial.env == env)
            .take(count_max)
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denial(number: i64, env: &str) -> Denial {
        Denial {
            at_ms: number,
            request_id: format!("r{number}"),
            env: env.into(),
            collection: "c".into(),
            operation: "read",
            uid: "u".into(),
            reason: "é".repeat(DENIAL_REASON_CHARACTERS_MAX + 1),
        }
    }

    #[test]
    fn the_oldest_are_forgotten_and_reasons_cut() {
        let denials = Denials::default();
        for number in 0..DENIALS_MAX as i64 + 5 {
            denials.record(denial(number, if number % 2 == 0 { "even" } else { "odd" }));
        }
        let all = denials.recent("", usize::MAX);
        assert_eq!(all.len(), DENIALS_MAX);
        assert_eq!((all[0].at_ms, all[DENIALS_MAX - 1].at_ms), (1004, 5));
        assert_eq!(
            all[0].reason.chars().count(),
            DENIAL_REASON_CHARACTERS_MAX + 1
        );
        let odd = denials.recent("odd", 2);
        assert_eq!((odd[0].at_ms, odd[1].at_ms), (1003, 1001));
    }
}
