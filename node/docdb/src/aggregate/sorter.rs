//! Sorting any number of rows in bounded memory: sorted runs are spilled and merged.
//!
//! Rows lie one behind the other in one buffer. With a limit only the first rows are kept: whenever twice
//! as many have gathered, the worse half is thrown away, and what sorts behind the last kept row is not
//! taken any more. Rows with equal keys keep the order in which they came.

use super::resources::{Memory, Resources};
use super::runs::{Merge, RunWriter, Runs};
use crate::error::Result;
use crate::limits::SPILL_RUN_BYTES_MIN;

/// Fewer rows than this are not cut, whatever the limit.
const CUT_ROWS_MIN: usize = 1024;

/// Where a row lies in the buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    start: usize,
    key_end: usize,
    end: usize,
}

impl Row {
    fn bytes(self) -> usize {
        self.end - self.start + size_of::<Self>()
    }
}

pub(super) struct Sorter<'a> {
    resources: &'a Resources<'a>,
    memory: Memory<'a>,
    limit: Option<usize>,
    buffer: Vec<u8>,
    rows: Vec<Row>,
    /// Makes keys unique and the order of equal ones that of their coming.
    sequence: u64,
    /// The largest key that may still be among the first.
    last_key: Option<Vec<u8>>,
    runs: Runs<'a>,
}

impl<'a> Sorter<'a> {
    pub(super) fn new(resources: &'a Resources<'a>, limit: Option<u64>) -> Self {
        Self {
            resources,
            memory: Memory::new(resources),
            limit: limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            buffer: Vec::new(),
            rows: Vec::new(),
            sequence: 0,
            last_key: None,
            runs: Runs::new(resources),
        }
    }

    /// Takes a row. No key may be the beginning of another.
    pub(super) fn push(&mut self, key: &[u8], payload: &[u8]) -> Result<()> {
        let sequence = self.sequence;
        self.sequence += 1;
        // Of equal keys the one that came first stays.
        if self.last_key.as_deref().is_some_and(|last| key >= last) {
            return Ok(());
        }
        let start = self.buffer.len();
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(&sequence.to_be_bytes());
        let key_end = self.buffer.len();
        self.buffer.extend_from_slice(payload);
        let row = Row {
            start,
            key_end,
            end: self.buffer.len(),
        };
        self.rows.push(row);
        let fits = self.memory.grow(row.bytes());
        if let Some(limit) = self.limit
            && self.rows.len() >= CUT_ROWS_MIN.max(limit.saturating_mul(2))
        {
            self.cut(limit);
        } else if !fits && self.memory.bytes() >= self.spill_bytes_min() {
            self.spill()?;
        }
        Ok(())
    }

    fn spill_bytes_min(&self) -> usize {
        SPILL_RUN_BYTES_MIN.min(self.resources.budget.aggregate_memory_bytes_max)
    }

    fn sort(&mut self) {
        let buffer = &self.buffer;
        self.rows
            .sort_unstable_by(|a, b| buffer[a.start..a.key_end].cmp(&buffer[b.start..b.key_end]));
    }

    /// Keeps the first rows only.
    fn cut(&mut self, limit: usize) {
        self.sort();
        self.rows.truncate(limit);
        let mut kept = Vec::with_capacity(self.buffer.len() / 2);
        let mut bytes = 0;
        for row in &mut self.rows {
            let start = kept.len();
            kept.extend_from_slice(&self.buffer[row.start..row.end]);
            *row = Row {
                start,
                key_end: start + row.key_end - row.start,
                end: kept.len(),
            };
            bytes += row.bytes();
        }
        self.buffer = kept;
        self.memory
            .shrink(self.memory.bytes().saturating_sub(bytes));
        if let Some(last) = self.rows.last()
            && self.rows.len() == limit
        {
            let key = &self.buffer[last.start..last.key_end - size_of::<u64>()];
            self.last_key = Some(key.to_vec());
        }
    }

    fn spill(&mut self) -> Result<()> {
        match self.limit {
            Some(limit) if self.rows.len() > limit => self.cut(limit),
            _ => self.sort(),
        }
        let mut run = RunWriter::new(self.resources)?;
        for row in &self.rows {
            run.record(
                &self.buffer[row.start..row.key_end],
                &self.buffer[row.key_end..row.end],
            )?;
        }
        self.runs.add(run)?;
        self.rows.clear();
        self.buffer.clear();
        self.memory.clear();
        Ok(())
    }

    /// All rows in order.
    pub(super) fn finish(mut self) -> Result<Sorted<'a>> {
        if !self.runs.is_empty() {
            if !self.rows.is_empty() {
                self.spill()?;
            }
            return Ok(Sorted::Merged {
                left: self.limit.unwrap_or(usize::MAX),
                merge: self.runs.merge()?,
            });
        }
        self.sort();
        if let Some(limit) = self.limit {
            self.rows.truncate(limit);
        }
        Ok(Sorted::InMemory {
            _memory: self.memory,
            buffer: self.buffer,
            rows: self.rows.into_iter(),
        })
    }
}

/// Rows in order.
pub(super) enum Sorted<'a> {
    InMemory {
        /// Held until the rows are gone.
        _memory: Memory<'a>,
        buffer: Vec<u8>,
        rows: std::vec::IntoIter<Row>,
    },
    Merged {
        left: usize,
        merge: Merge,
    },
}

impl Sorted<'_> {
    /// The payload of the next row.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
        match self {
            Self::InMemory { buffer, rows, .. } => {
                Ok(rows.next().map(|row| &buffer[row.key_end..row.end]))
            }
            Self::Merged { left: 0, .. } => Ok(None),
            Self::Merged { left, merge } => {
                *left -= 1;
                Ok(merge.next()?.map(|(_, payload)| payload))
            }
        }
    }
}
