//! What an object is, to the judge of linearizability: a state, calls, and what a call does to the state.

use std::fmt;
use std::hash::Hash;

use crate::history::Value;

/// What an operation means to a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning<C> {
    /// A call with its result.
    Call(C),
    /// It changes nothing and nobody knows what it saw: nothing can be learned from it.
    Nothing,
    /// It is no operation of this model.
    Strange,
}

/// A sequential object. Steps must be deterministic: the same state and call always give the same state.
pub trait Model: Send + Sync {
    /// All that later results depend on.
    type State: Clone + Eq + Hash + fmt::Display;
    /// An operation with its argument and, as far as it is known, its result.
    type Call: Clone + fmt::Display;

    /// Before the first operation.
    fn initial(&self) -> Self::State;

    /// Reads an operation. `result` is `None` when nobody knows whether it took effect.
    fn meaning(&self, f: &str, argument: &Value, result: Option<&Value>) -> Meaning<Self::Call>;

    /// The state behind the call, or `None` when the call cannot have had its result in this state.
    fn step(&self, state: &Self::State, call: &Self::Call) -> Option<Self::State>;

    /// Whether `witness` may need that `call` has taken effect.
    ///
    /// A call of unknown outcome that no other call may need is left out of the search, so this must be true when in
    /// doubt: leaving it out must never make an explainable history inexplicable.
    fn may_need(&self, witness: &Self::Call, call: &Self::Call) -> bool {
        let _ = (witness, call);
        true
    }

    /// What the expected operations are, for the message about a strange one.
    fn shape(&self) -> &'static str;
}

/// A register with `read`, `write` and `cas`; an absent value is `nil`.
///
/// Without the key: `read` ends with the value, `write` has the value, `cas` has `[old new]`.
#[derive(Debug, Clone, Default)]
pub struct Register;

/// A call of a [`Register`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegisterCall {
    /// It saw this.
    Read(Value),
    /// It left this.
    Write(Value),
    /// It saw the first and left the second.
    Cas(Value, Value),
}

impl fmt::Display for RegisterCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(value) => write!(f, "read {value}"),
            Self::Write(value) => write!(f, "write {value}"),
            Self::Cas(old, new) => write!(f, "cas {old} to {new}"),
        }
    }
}

impl Model for Register {
    type State = Value;
    type Call = RegisterCall;

    fn initial(&self) -> Value {
        Value::Nil
    }

    fn meaning(&self, f: &str, argument: &Value, result: Option<&Value>) -> Meaning<RegisterCall> {
        match (f, result) {
            ("read", Some(seen)) => Meaning::Call(RegisterCall::Read(seen.clone())),
            ("read", None) => Meaning::Nothing,
            ("write", _) => Meaning::Call(RegisterCall::Write(argument.clone())),
            ("cas", _) => match argument.as_list() {
                Some([old, new]) => Meaning::Call(RegisterCall::Cas(old.clone(), new.clone())),
                _ => Meaning::Strange,
            },
            _ => Meaning::Strange,
        }
    }

    fn step(&self, state: &Value, call: &RegisterCall) -> Option<Value> {
        match call {
            RegisterCall::Read(seen) => (seen == state).then(|| state.clone()),
            RegisterCall::Write(value) => Some(value.clone()),
            RegisterCall::Cas(old, new) => (old == state).then(|| new.clone()),
        }
    }

    /// The next call behind a write that nobody saw is another write, which does not care what it replaces.
    fn may_need(&self, witness: &RegisterCall, call: &RegisterCall) -> bool {
        let (RegisterCall::Write(left) | RegisterCall::Cas(_, left)) = call else {
            return false;
        };
        match witness {
            RegisterCall::Read(seen) | RegisterCall::Cas(seen, _) => seen == left,
            RegisterCall::Write(_) => false,
        }
    }

    fn shape(&self) -> &'static str {
        "a read, write or cas with a value [key value]; that of a cas is [key [old new]]"
    }
}
