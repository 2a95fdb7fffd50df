//! What simulated clients ask of the replicated registers, and what they are told.

use serde::{Deserialize, Serialize};

/// What a command does to its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Action {
    /// Sets the value.
    Write(u64),
    /// Sets the value if it is the first one now.
    CompareAndSet(u64, u64),
}

/// A command. A client repeats one whose outcome it does not know with the same number and another
/// attempt: the state machine must let it take effect once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SimCommand {
    /// Who asks.
    pub(super) client: u64,
    /// The client's number of the command.
    pub(super) number: u64,
    /// How often it was sent before.
    pub(super) attempt: u64,
    /// The register.
    pub(super) key: u64,
    /// What to do.
    pub(super) action: Action,
}

/// Where a command stands in the log: index of its entry, position in the entry.
pub(super) type Place = (u64, u32);

/// The answer to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SimReply {
    /// Where the command took effect: the place of its first attempt that was applied.
    pub(super) effect: Place,
    /// Whether it changed the value.
    pub(super) changed: bool,
    /// The value before.
    pub(super) before: u64,
}

const COMMAND_WORDS: usize = 7;

impl SimCommand {
    /// The command as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (kind, first, second) = match self.action {
            Action::Write(value) => (0, value, 0),
            Action::CompareAndSet(expected, value) => (1, expected, value),
        };
        let words = [
            self.client,
            self.number,
            self.attempt,
            self.key,
            kind,
            first,
            second,
        ];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Reads a command back; `None` when it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let words: Vec<u64> = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .collect();
        let words: [u64; COMMAND_WORDS] = words.try_into().ok()?;
        let [client, number, attempt, key, kind, first, second] = words;
        let action = match kind {
            0 => Action::Write(first),
            1 => Action::CompareAndSet(first, second),
            _ => return None,
        };
        Some(Self {
            client,
            number,
            attempt,
            key,
            action,
        })
    }
}

impl SimReply {
    /// The reply as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let words = [
            self.effect.0,
            u64::from(self.effect.1),
            u64::from(self.changed),
            self.before,
        ];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Reads a reply back; `None` when it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let words: Vec<u64> = bytes
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .collect();
        let [index, position, changed, before] = words.try_into().ok()?;
        Some(Self {
            effect: (index, u32::try_from(position).ok()?),
            changed: changed != 0,
            before,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_replies_round_trip() {
        for action in [Action::Write(7), Action::CompareAndSet(8, 9)] {
            let command = SimCommand {
                client: 1,
                number: 2,
                attempt: 3,
                key: 4,
                action,
            };
            assert_eq!(SimCommand::decode(&command.encode()), Some(command));
        }
        assert_eq!(SimCommand::decode(b"short"), None);
        let reply = SimReply {
            effect: (5, 6),
            changed: true,
            before: 7,
        };
        assert_eq!(SimReply::decode(&reply.encode()), Some(reply));
    }
}
