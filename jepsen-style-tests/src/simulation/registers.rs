//! The replicated state of the simulation: registers with sessions, as plain data and one function.
//! Both the simulated replicas and the model that judges them hold it; the judge applies each command
//! once, in the order of the log.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};

use super::command::{Action, Place, SimCommand, SimReply};

/// The registers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Registers {
    /// The values; a key that is not there holds 0.
    pub(super) values: BTreeMap<u64, u64>,
    /// For each client its last command and the reply to it.
    pub(super) sessions: BTreeMap<u64, (u64, SimReply)>,
    /// The last command applied.
    pub(super) last: Option<Place>,
    /// A hash of all commands so far and the replies to them, in order.
    pub(super) digest: u64,
}

impl Registers {
    /// Applies a command.
    pub(super) fn apply(&mut self, place: Place, command: &SimCommand) -> SimReply {
        let reply = self.reply(place, command);
        let mut hasher = DefaultHasher::new();
        (self.digest, place, command.encode(), reply.encode()).hash(&mut hasher);
        self.digest = hasher.finish();
        self.last = Some(place);
        reply
    }

    fn reply(&mut self, place: Place, command: &SimCommand) -> SimReply {
        if let Some((number, reply)) = self.sessions.get(&command.client)
            && *number >= command.number
        {
            return *reply;
        }
        let before = self.values.get(&command.key).copied().unwrap_or(0);
        let after = match command.action {
            Action::Write(value) => Some(value),
            Action::CompareAndSet(expected, value) => (before == expected).then_some(value),
        };
        if let Some(after) = after {
            self.values.insert(command.key, after);
        }
        let reply = SimReply {
            effect: place,
            changed: after.is_some(),
            before,
        };
        self.sessions
            .insert(command.client, (command.number, reply));
        reply
    }

    /// A register's value.
    pub(super) fn value(&self, key: u64) -> u64 {
        self.values.get(&key).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_command_takes_effect_once() {
        let mut registers = Registers::default();
        let command = SimCommand {
            client: 1,
            number: 1,
            attempt: 0,
            key: 3,
            action: Action::CompareAndSet(0, 5),
        };
        let first = registers.apply((1, 0), &command);
        let again = SimCommand {
            attempt: 1,
            ..command
        };
        assert_eq!(registers.apply((2, 0), &again), first);
        assert!(first.changed && registers.value(3) == 5);
        assert_eq!(registers.last, Some((2, 0)));
    }
}
