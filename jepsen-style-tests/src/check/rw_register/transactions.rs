//! The transactions of a history of registers, and what contradicts itself without any graph.

use std::collections::HashMap;

use super::super::findings::{Findings, main_event};
use super::super::graph::Node;
use crate::history::{History, Kind, Operation, Value};

const SHAPE: &str = "a txn of [[:w key value] [:r key value] ...]";

/// `nil` to every key.
const ABSENT: &Value = &Value::Nil;

/// What a transaction did to a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touch<'h> {
    pub(super) key: u32,
    /// What it read before it wrote.
    pub(super) read: Option<&'h Value>,
    /// What it left.
    pub(super) written: Option<&'h Value>,
}

/// A transaction.
#[derive(Debug)]
pub(super) struct Transaction<'h> {
    pub(super) node: Node,
    pub(super) outcome: Kind,
    /// By key; reads only of done ones.
    pub(super) touches: Vec<Touch<'h>>,
    /// A read that contradicts an earlier step: key, expected, seen.
    contradiction: Option<(u32, &'h Value, &'h Value)>,
}

/// Who wrote a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer {
    pub(super) transaction: u32,
    /// The last that this transaction wrote to this key.
    pub(super) last: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Transactions<'h> {
    pub(super) all: Vec<Transaction<'h>>,
    pub(super) keys: Vec<&'h Value>,
    pub(super) writers: HashMap<(u32, &'h Value), Writer>,
    key_numbers: HashMap<&'h Value, u32>,
}

impl<'h> Transactions<'h> {
    /// Reads a history.
    pub(super) fn read(history: &'h History, findings: &mut Findings) -> Self {
        let mut transactions = Self::default();
        for operation in history.operations() {
            if transactions.add(&operation, findings).is_none() {
                findings.strange(operation.completion.unwrap_or(operation.invoke), SHAPE);
            }
        }
        for at in 0..transactions.all.len() {
            if transactions.all[at].outcome != Kind::Ok {
                continue;
            }
            for touch in transactions.all[at].touches.clone() {
                let writer = touch
                    .read
                    .and_then(|value| transactions.writers.get(&(touch.key, value)));
                if let Some(writer) = writer {
                    let writer = &mut transactions.all[writer.transaction as usize];
                    // Somebody saw it, so it took effect.
                    writer.node.committed |= writer.outcome == Kind::Info;
                }
            }
        }
        transactions
    }

    fn add(&mut self, operation: &Operation<'h>, findings: &mut Findings) -> Option<()> {
        let steps = operation
            .value()
            .as_list()
            .filter(|_| operation.invoke.f == "txn")?;
        let outcome = operation.outcome();
        let at = self.all.len() as u32;
        let mut touches: Vec<Touch<'h>> = Vec::new();
        let mut contradiction = None;
        for step in steps {
            let [f, key, value] = step.as_list()? else {
                return None;
            };
            let keys = &mut self.keys;
            let key = *self.key_numbers.entry(key).or_insert_with(|| {
                keys.push(key);
                keys.len() as u32 - 1
            });
            let place = touches
                .iter()
                .position(|touch| touch.key == key)
                .unwrap_or_else(|| {
                    touches.push(Touch {
                        key,
                        read: None,
                        written: None,
                    });
                    touches.len() - 1
                });
            let touch = &mut touches[place];
            match f.as_word()? {
                "w" if value != ABSENT => {
                    let writer = Writer {
                        transaction: at,
                        last: true,
                    };
                    if self.writers.insert((key, value), writer).is_some() {
                        let key = self.keys[key as usize];
                        findings.unknown(format!("the workload wrote {value} to {key} twice: values of a key must be unique"));
                    }
                    if let Some(before) = touch.written.filter(|before| *before != value)
                        && let Some(writer) = self.writers.get_mut(&(key, before))
                    {
                        writer.last = false;
                    }
                    touch.written = Some(value);
                }
                "r" if outcome == Kind::Ok => match touch.written.or(touch.read) {
                    Some(expected) if expected != value => {
                        contradiction = Some((key, expected, value));
                    }
                    Some(_) => {}
                    None => touch.read = Some(value),
                },
                "r" => {}
                _ => return None,
            }
        }
        self.all.push(Transaction {
            node: Node {
                event: main_event(operation),
                invoke: operation.invoke.index,
                end: operation
                    .completion
                    .filter(|_| outcome == Kind::Ok)
                    .map(|event| event.index),
                process: operation.invoke.process,
                committed: outcome == Kind::Ok,
            },
            outcome,
            touches,
            contradiction,
        });
        Some(())
    }

    /// Contradictions within a transaction and between a write and its outcome.
    pub(super) fn report_direct(&self, findings: &mut Findings) {
        let mut updates: HashMap<(u32, &Value), u64> = HashMap::new();
        for transaction in self.all.iter().filter(|one| one.outcome == Kind::Ok) {
            let event = transaction.node.event;
            if let Some((key, expected, seen)) = transaction.contradiction {
                let key = self.keys[key as usize];
                let text = format!(
                    "event {event} read {seen} from {key}, where its steps before leave {expected}"
                );
                findings.anomaly("internal", text, vec![event]);
            }
            for touch in &transaction.touches {
                let Some(value) = touch.read else { continue };
                self.report_read(touch.key, value, event, findings);
                if touch.written.is_none() {
                    continue;
                }
                if let Some(other) = updates.insert((touch.key, value), event) {
                    let key = self.keys[touch.key as usize];
                    let text = format!(
                        "events {other} and {event} both read {value} from {key} and overwrote it"
                    );
                    findings.anomaly("lost update", text, vec![other, event]);
                }
            }
        }
    }

    fn report_read(&self, key: u32, value: &Value, event: u64, findings: &mut Findings) {
        if value == ABSENT {
            return;
        }
        let name = self.keys[key as usize];
        let Some(writer) = self.writers.get(&(key, value)) else {
            let text = format!("event {event} read {value} from {name}, which nobody wrote");
            findings.anomaly("garbage", text, vec![event]);
            return;
        };
        let other = &self.all[writer.transaction as usize];
        let at = other.node.event;
        if other.outcome == Kind::Fail {
            let text = format!(
                "event {event} read {value} from {name}, but its transaction failed (event {at})"
            );
            findings.anomaly("G1a", text, vec![at, event]);
        } else if !writer.last {
            let text = format!(
                "event {event} read {value} from {name}, in the middle of the transaction of event {at}"
            );
            findings.anomaly("G1b", text, vec![at, event]);
        }
    }
}
