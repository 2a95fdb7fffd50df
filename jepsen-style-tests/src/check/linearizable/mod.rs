//! Judges whether each object of a history is linearizable: every operation seems to take effect at one moment between
//! its invocation and its completion.
//!
//! Values are `[key value]`, as those of Jepsen's independent keys. Linearizability is local (Herlihy and Wing), so that
//! each key is judged alone. A key's history is cut where no operation with a known outcome is open: only the states
//! that are possible there, and which operations of unknown outcome they took, are carried on.
//!
//! * `fail`: certainly without effect, left out.
//! * `info`: may take effect at any moment behind its invocation, or never. Those that only read are left out.

mod model;
mod search;

#[cfg(test)]
mod linearizable_test;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::findings::{Findings, pair};
use super::{Checker, Verdict};
use crate::history::{History, Kind, Value};

pub use model::{Meaning, Model, Register, RegisterCall};
use search::{Configuration, Outcome, Search, Stuck, Taken, Timed, no_bits};

/// Steps of one key's search; some seconds.
pub const STEPS_OF_A_KEY_MAX: u64 = 10_000_000;

/// Steps of all keys together; about a minute. Keys behind it are unknown.
pub const STEPS_OF_A_HISTORY_MAX: u64 = 200_000_000;

/// Operations that stood open beside the inexplicable one and are told of.
const OPEN_SHOWN_MAX: usize = 8;

/// The judge.
#[derive(Debug, Clone)]
pub struct Linearizable<M> {
    model: M,
    steps_of_a_key_max: u64,
}

impl<M: Model> Linearizable<M> {
    /// Judges each key by `model`.
    pub fn new(model: M) -> Self {
        Self {
            model,
            steps_of_a_key_max: STEPS_OF_A_KEY_MAX,
        }
    }

    /// With another bound of the search.
    #[must_use]
    pub fn with_steps_max(mut self, steps: u64) -> Self {
        self.steps_of_a_key_max = steps;
        self
    }
}

/// One key's calls, by invocation.
struct KeyHistory<C> {
    certain: Vec<Timed<C>>,
    maybe: Vec<Timed<C>>,
}

/// What came of one key.
enum KeyOutcome<S, C> {
    Linearizable,
    /// With the stretch in which it stuck.
    Stuck(Stuck<S>, Vec<Timed<C>>, Vec<Timed<C>>),
    OutOfBounds(&'static str),
}

impl<M: Model> Checker for Linearizable<M> {
    fn check(&self, history: &History) -> Verdict {
        let mut findings = Findings::default();
        let keys = self.keys(history, &mut findings);
        let mut steps_left = STEPS_OF_A_HISTORY_MAX;
        findings.note(format!("linearizable: {} keys", keys.len()));
        for (key, calls) in keys {
            let mut steps = self.steps_of_a_key_max.min(steps_left);
            let before = steps;
            let operations = calls.certain.len() + calls.maybe.len();
            match self.judge(calls, &mut steps) {
                KeyOutcome::Linearizable => {}
                KeyOutcome::Stuck(stuck, certain, maybe) => {
                    let (explanation, events) = explain(key, &stuck, &certain, &maybe);
                    findings.anomaly("nonlinearizable", explanation, events);
                }
                KeyOutcome::OutOfBounds(why) => findings.unknown(format!(
                    "key {key} with {operations} operations: {why}; use fewer operations a key"
                )),
            }
            steps_left -= before - steps;
        }
        findings.verdict()
    }
}

impl<M: Model> Linearizable<M> {
    fn keys<'h>(
        &self,
        history: &'h History,
        findings: &mut Findings,
    ) -> BTreeMap<&'h Value, KeyHistory<M::Call>> {
        let mut keys: BTreeMap<&Value, KeyHistory<M::Call>> = BTreeMap::new();
        for operation in history.operations() {
            let outcome = operation.outcome();
            if outcome == Kind::Fail {
                continue;
            }
            let Some((key, argument)) = pair(&operation.invoke.value) else {
                findings.strange(operation.invoke, self.model.shape());
                continue;
            };
            let completion = operation.completion.filter(|_| outcome == Kind::Ok);
            let result = match completion.map(|event| (event, pair(&event.value))) {
                None => None,
                Some((_, Some((same, result)))) if same == key => Some(result),
                Some((event, _)) => {
                    findings.strange(event, self.model.shape());
                    continue;
                }
            };
            let calls = keys.entry(key).or_insert_with(|| KeyHistory {
                certain: Vec::new(),
                maybe: Vec::new(),
            });
            match self.model.meaning(&operation.invoke.f, argument, result) {
                Meaning::Call(call) => {
                    let invoke = operation.invoke.index;
                    match completion {
                        Some(event) => calls.certain.push(Timed {
                            call,
                            invoke,
                            end: event.index,
                        }),
                        None => calls.maybe.push(Timed {
                            call,
                            invoke,
                            end: u64::MAX,
                        }),
                    }
                }
                Meaning::Nothing => {}
                Meaning::Strange => findings.strange(operation.invoke, self.model.shape()),
            }
        }
        keys
    }

    fn judge(&self, calls: KeyHistory<M::Call>, steps: &mut u64) -> KeyOutcome<M::State, M::Call> {
        let maybe = self.needed(&calls.certain, calls.maybe);
        let mut configurations = vec![Configuration {
            state: self.model.initial(),
            taken: no_bits(maybe.len()),
        }];
        let mut stretches = quiet_cuts(calls.certain).into_iter().peekable();
        while let Some(certain) = stretches.next() {
            let last = stretches.peek().is_none();
            match Search::new(&self.model, &certain, &maybe).run(&configurations, last, steps) {
                Outcome::Ends(ends) => configurations = ends,
                Outcome::Stuck(stuck) => return KeyOutcome::Stuck(stuck, certain, maybe),
                Outcome::OutOfBounds(why) => return KeyOutcome::OutOfBounds(why),
            }
        }
        KeyOutcome::Linearizable
    }

    /// Leaves out calls of unknown outcome that nothing needs, until none is left to leave out.
    fn needed(
        &self,
        certain: &[Timed<M::Call>],
        mut maybe: Vec<Timed<M::Call>>,
    ) -> Vec<Timed<M::Call>> {
        loop {
            let keep: Vec<bool> = (0..maybe.len())
                .map(|at| {
                    let others = (0..maybe.len())
                        .filter(|other| *other != at)
                        .map(|other| &maybe[other]);
                    certain
                        .iter()
                        .chain(others)
                        .any(|witness| self.model.may_need(&witness.call, &maybe[at].call))
                })
                .collect();
            let before = maybe.len();
            let mut keep = keep.into_iter();
            maybe.retain(|_| keep.next().unwrap_or(true));
            if maybe.len() == before {
                return maybe;
            }
        }
    }
}

/// Cuts calls (by invocation) where none is open.
fn quiet_cuts<C>(certain: Vec<Timed<C>>) -> Vec<Vec<Timed<C>>> {
    let mut stretches: Vec<Vec<Timed<C>>> = Vec::new();
    let mut open_until = 0;
    for call in certain {
        if call.invoke > open_until || stretches.is_empty() {
            stretches.push(Vec::new());
        }
        open_until = open_until.max(call.end);
        if let Some(stretch) = stretches.last_mut() {
            stretch.push(call);
        }
    }
    stretches
}

fn explain<S: std::fmt::Display, C: std::fmt::Display>(
    key: &Value,
    stuck: &Stuck<S>,
    certain: &[Timed<C>],
    maybe: &[Timed<C>],
) -> (String, Vec<u64>) {
    let show = |call: &Timed<C>| match call.end {
        u64::MAX => format!("{} (event {}, outcome unknown)", call.call, call.invoke),
        end => format!("{} (events {} to {end})", call.call, call.invoke),
    };
    let list = |calls: Vec<String>| calls.join(", ");
    let mut text = format!("key {key}: ");
    let path: Vec<String> = stuck
        .path
        .iter()
        .map(|taken| match taken {
            Taken::Certain(at) => show(&certain[*at]),
            Taken::Maybe(at) => show(&maybe[*at]),
        })
        .collect();
    if !path.is_empty() {
        let _ = write!(text, "behind {} ", list(path));
    }
    let _ = write!(text, "the value is {}", stuck.state);
    let mut events = Vec::new();
    if let Some((first, rest)) = stuck.open.split_first() {
        let _ = write!(text, ", and nothing explains {}", show(&certain[*first]));
        if !rest.is_empty() {
            let beside = rest
                .iter()
                .take(OPEN_SHOWN_MAX)
                .map(|at| show(&certain[*at]))
                .collect();
            let _ = write!(text, "; open beside it: {}", list(beside));
        }
        for at in stuck.open.iter().take(OPEN_SHOWN_MAX + 1) {
            events.extend([certain[*at].invoke, certain[*at].end]);
        }
    }
    (text, events)
}

/// Each key's register; see [`Register`] for the operations.
pub fn registers() -> Linearizable<Register> {
    Linearizable::new(Register)
}
