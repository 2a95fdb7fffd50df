//! The transactions of a history of lists, with keys as numbers.

use std::collections::HashMap;

use super::super::findings::{Findings, main_event};
use crate::history::{Event, History, Kind, Operation, Value};

const SHAPE: &str = "a txn of [[:append key element] [:r key list] ...]";

/// A step of a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step<'h> {
    Append { key: u32, element: &'h Value },
    Read { key: u32, seen: &'h [Value] },
}

/// A transaction. What it read is only meaningful when it is done.
#[derive(Debug)]
pub(super) struct Transaction<'h> {
    pub(super) invoke: &'h Event,
    pub(super) end: Option<u64>,
    pub(super) event: u64,
    pub(super) outcome: Kind,
    pub(super) steps: Vec<Step<'h>>,
}

/// Who appended an element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writer {
    pub(super) transaction: u32,
    /// The last that this transaction appended to this key.
    pub(super) last: bool,
}

/// A done read of a list.
#[derive(Debug, Clone, Copy)]
pub(super) struct Read<'h> {
    pub(super) transaction: u32,
    pub(super) key: u32,
    pub(super) seen: &'h [Value],
    /// How many elements the transaction itself had appended before.
    pub(super) own: usize,
    /// The first read of this key in its transaction: later ones say nothing new.
    pub(super) first: bool,
    /// It agrees with the steps of its transaction before it.
    pub(super) consistent: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Transactions<'h> {
    pub(super) all: Vec<Transaction<'h>>,
    pub(super) keys: Vec<&'h Value>,
    pub(super) writers: HashMap<(u32, &'h Value), Writer>,
    pub(super) reads: Vec<Read<'h>>,
    key_numbers: HashMap<&'h Value, u32>,
}

impl<'h> Transactions<'h> {
    /// Reads a history.
    pub(super) fn read(history: &'h History, findings: &mut Findings) -> Self {
        let mut transactions = Self::default();
        for operation in history.operations() {
            let Some(steps) = transactions.steps(&operation) else {
                findings.strange(operation.completion.unwrap_or(operation.invoke), SHAPE);
                continue;
            };
            let outcome = operation.outcome();
            transactions.all.push(Transaction {
                invoke: operation.invoke,
                end: operation
                    .completion
                    .filter(|_| outcome == Kind::Ok)
                    .map(|event| event.index),
                event: main_event(&operation),
                outcome,
                steps,
            });
        }
        transactions.find_writers(findings);
        transactions.find_reads();
        transactions
    }

    /// Whether it certainly took effect.
    pub(super) fn is_done(&self, transaction: u32) -> bool {
        self.all[transaction as usize].outcome == Kind::Ok
    }

    fn steps(&mut self, operation: &Operation<'h>) -> Option<Vec<Step<'h>>> {
        if operation.invoke.f != "txn" {
            return None;
        }
        let steps = operation.value().as_list()?;
        steps.iter().map(|step| self.step(step)).collect()
    }

    fn step(&mut self, step: &'h Value) -> Option<Step<'h>> {
        let [f, key, value] = step.as_list()? else {
            return None;
        };
        let keys = &mut self.keys;
        let key = *self.key_numbers.entry(key).or_insert_with(|| {
            keys.push(key);
            keys.len() as u32 - 1
        });
        match (f.as_word()?, value) {
            ("append", element) => Some(Step::Append { key, element }),
            ("r", Value::Nil) => Some(Step::Read { key, seen: &[] }),
            ("r", Value::List(seen)) => Some(Step::Read { key, seen }),
            _ => None,
        }
    }

    fn find_writers(&mut self, findings: &mut Findings) {
        for (at, transaction) in self.all.iter().enumerate() {
            let mut last_of_key: Vec<(u32, &'h Value)> = Vec::new();
            for step in &transaction.steps {
                let Step::Append { key, element } = *step else {
                    continue;
                };
                let writer = Writer {
                    transaction: at as u32,
                    last: true,
                };
                if self.writers.insert((key, element), writer).is_some() {
                    let key = self.keys[key as usize];
                    findings.unknown(format!(
                        "the workload appended {element} to {key} twice: elements of a key must be unique"
                    ));
                }
                if let Some(before) = last_of_key.iter_mut().find(|(other, _)| *other == key) {
                    if let Some(writer) = self.writers.get_mut(&(key, before.1)) {
                        writer.last = before.1 == element;
                    }
                    before.1 = element;
                } else {
                    last_of_key.push((key, element));
                }
            }
        }
    }

    fn find_reads(&mut self) {
        for (at, transaction) in self.all.iter().enumerate() {
            if transaction.outcome != Kind::Ok {
                continue;
            }
            for (place, step) in transaction.steps.iter().enumerate() {
                let Step::Read { key, seen } = *step else {
                    continue;
                };
                self.reads.push(read_after(
                    &transaction.steps[..place],
                    at as u32,
                    key,
                    seen,
                ));
            }
        }
    }
}

/// A read, compared with the steps before it.
fn read_after<'h>(before: &[Step<'h>], transaction: u32, key: u32, seen: &'h [Value]) -> Read<'h> {
    let mut known: Option<&[Value]> = None;
    let mut since: Vec<&Value> = Vec::new();
    let mut own = 0;
    for step in before {
        match *step {
            Step::Append {
                key: other,
                element,
            } if other == key => {
                since.push(element);
                own += 1;
            }
            Step::Read { key: other, seen } if other == key => {
                known = Some(seen);
                since.clear();
            }
            _ => {}
        }
    }
    let split = seen.len().checked_sub(since.len());
    let consistent = split.is_some_and(|split| {
        let (start, end) = seen.split_at(split);
        known.is_none_or(|known| known == start) && end.iter().eq(since)
    });
    Read {
        transaction,
        key,
        seen,
        own,
        first: known.is_none(),
        consistent,
    }
}
