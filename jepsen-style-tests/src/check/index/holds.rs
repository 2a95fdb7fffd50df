//! Which document has which key, as far as a history tells.

use std::collections::{BTreeMap, HashMap};

use super::super::findings::certain_end;
use crate::history::{Kind, Operation, Value};

/// That a document certainly has a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold<'h> {
    /// The document.
    pub(super) id: &'h Value,
    /// The event that acknowledged it.
    pub(super) from: u64,
    /// The event with which it may end; the largest number when there is none.
    pub(super) until: u64,
}

impl Hold<'_> {
    /// Whether it is so all the time between two events.
    pub(super) fn lasts(&self, (begin, end): (u64, u64)) -> bool {
        self.from < begin && end < self.until
    }
}

/// Something that gives a key to a document or takes it away, and did not fail.
struct Act {
    invoke: u64,
    /// Behind it it has certainly happened.
    certain: u64,
}

#[derive(Default)]
struct Acts {
    taken: Vec<Act>,
    freed: Vec<Act>,
}

/// All that happened to documents and keys.
#[derive(Default)]
pub(super) struct Holds<'h> {
    acts: HashMap<(&'h Value, &'h Value), Acts>,
}

impl<'h> Holds<'h> {
    /// Takes note of an insert, update or remove; `false` when it is none.
    pub(super) fn note(&mut self, operation: &Operation<'h>) -> bool {
        let Some([id, keys @ ..]) = operation.invoke.value.as_list() else {
            return false;
        };
        let (taken, freed): (&[Value], &[Value]) = match (operation.invoke.f.as_str(), keys) {
            ("insert", [_]) => (keys, &[]),
            ("remove", [_, ..]) => (&[], keys),
            ("update", [old, new]) if old == new => (&[], &[]),
            ("update", [_, _]) => (&keys[1..], &keys[..1]),
            _ => return false,
        };
        if operation.outcome() == Kind::Fail {
            return true;
        }
        let act = || Act {
            invoke: operation.invoke.index,
            certain: certain_end(operation),
        };
        for key in taken {
            self.acts.entry((id, key)).or_default().taken.push(act());
        }
        for key in freed {
            self.acts.entry((id, key)).or_default().freed.push(act());
        }
        true
    }

    /// For each key the documents that certainly had it, in the order in which they were given it.
    pub(super) fn certain(&self) -> BTreeMap<&'h Value, Vec<Hold<'h>>> {
        let mut held: BTreeMap<&Value, Vec<Hold<'_>>> = BTreeMap::new();
        for (&(id, key), acts) in &self.acts {
            for taken in acts.taken.iter().filter(|act| act.certain != u64::MAX) {
                let ends = acts.freed.iter().map(|act| act.invoke);
                let until = ends.filter(|end| *end > taken.invoke).min();
                let hold = Hold {
                    id,
                    from: taken.certain,
                    until: until.unwrap_or(u64::MAX),
                };
                if hold.from < hold.until {
                    held.entry(key).or_default().push(hold);
                }
            }
        }
        for holds in held.values_mut() {
            holds.sort_unstable_by_key(|hold| hold.from);
        }
        held
    }

    /// The event behind which a document certainly has not a key any more, when that is before `place`.
    pub(super) fn gone_before(&self, id: &Value, key: &Value, place: u64) -> Option<u64> {
        let acts = self.acts.get(&(id, key))?;
        // Given more than once, it may have been given again.
        let [_] = acts.taken.as_slice() else {
            return None;
        };
        let gone = acts.freed.iter().map(|act| act.certain).min()?;
        (gone < place).then_some(gone)
    }
}
