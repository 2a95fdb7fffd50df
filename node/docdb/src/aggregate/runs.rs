//! Sorted runs in temporary storage, and reading them back as one sorted sequence.
//!
//! A record is a key and a payload: two lengths of 4 bytes, then the bytes. Records with equal keys come
//! back in the order of their runs.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io::{self, BufReader, Read};

use super::resources::Resources;
use crate::error::{Error, Result};
use crate::limits::{SPILL_BUFFER_BYTES, SPILL_RUNS_MAX};
use crate::spill::SpillRun;

fn failed(error: &io::Error) -> Error {
    Error::internal(format!("use a temporary file: {error}"))
}

/// One run being written. Its records must come in order.
pub(super) struct RunWriter<'a> {
    resources: &'a Resources<'a>,
    run: Box<dyn SpillRun>,
    buffer: Vec<u8>,
}

impl<'a> RunWriter<'a> {
    pub(super) fn new(resources: &'a Resources<'a>) -> Result<Self> {
        Ok(Self {
            resources,
            run: resources.spill_run()?,
            buffer: Vec::with_capacity(SPILL_BUFFER_BYTES),
        })
    }

    pub(super) fn record(&mut self, key: &[u8], payload: &[u8]) -> Result<()> {
        let bytes = 8 + key.len() + payload.len();
        self.resources.take_spill(bytes)?;
        if self.buffer.len() + bytes > SPILL_BUFFER_BYTES {
            self.flush()?;
        }
        self.buffer
            .extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.buffer
            .extend_from_slice(&(payload.len() as u32).to_le_bytes());
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(payload);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.run
            .append(&self.buffer)
            .map_err(|error| failed(&error))?;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<RunReader> {
        self.flush()?;
        let source = self.run.read().map_err(|error| failed(&error))?;
        Ok(RunReader {
            source: BufReader::with_capacity(SPILL_BUFFER_BYTES, source),
            key: Vec::new(),
            payload: Vec::new(),
        })
    }
}

struct RunReader {
    source: BufReader<Box<dyn Read>>,
    key: Vec<u8>,
    payload: Vec<u8>,
}

impl RunReader {
    /// Reads the next record; false at the end.
    fn advance(&mut self) -> Result<bool> {
        let mut lengths = [0; 8];
        match self.source.read_exact(&mut lengths[..1]) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            other => other.map_err(|error| failed(&error))?,
        }
        self.source
            .read_exact(&mut lengths[1..])
            .map_err(|error| failed(&error))?;
        let [a, b, c, d, e, f, g, h] = lengths;
        self.key
            .resize(u32::from_le_bytes([a, b, c, d]) as usize, 0);
        self.payload
            .resize(u32::from_le_bytes([e, f, g, h]) as usize, 0);
        self.source
            .read_exact(&mut self.key)
            .map_err(|error| failed(&error))?;
        self.source
            .read_exact(&mut self.payload)
            .map_err(|error| failed(&error))
            .map(|()| true)
    }
}

/// Runs, oldest first.
pub(super) struct Runs<'a> {
    resources: &'a Resources<'a>,
    runs: Vec<RunReader>,
}

impl<'a> Runs<'a> {
    pub(super) fn new(resources: &'a Resources<'a>) -> Self {
        Self {
            resources,
            runs: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Adds a run that is complete.
    pub(super) fn add(&mut self, run: RunWriter<'a>) -> Result<()> {
        if self.runs.len() >= SPILL_RUNS_MAX {
            let mut whole = RunWriter::new(self.resources)?;
            let mut merge = Merge::new(std::mem::take(&mut self.runs))?;
            let mut count = 0;
            while let Some((key, payload)) = merge.next()? {
                whole.record(key, payload)?;
                count += 1;
                self.resources.budget.check_time(count)?;
            }
            self.runs.push(whole.finish()?);
        }
        self.runs.push(run.finish()?);
        Ok(())
    }

    /// All records in order.
    pub(super) fn merge(self) -> Result<Merge> {
        Merge::new(self.runs)
    }
}

/// The records of several runs in the order of their keys.
pub(super) struct Merge {
    heads: BinaryHeap<Head>,
    /// The record that was given out last; its run is read on before the next is chosen.
    current: Option<Head>,
}

struct Head {
    run: RunReader,
    number: usize,
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Head {
    /// Reversed: the heap has its largest on top.
    fn cmp(&self, other: &Self) -> Ordering {
        let own = (&self.run.key, self.number);
        (&other.run.key, other.number).cmp(&own)
    }
}

impl Merge {
    fn new(runs: Vec<RunReader>) -> Result<Self> {
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (number, mut run) in runs.into_iter().enumerate() {
            if run.advance()? {
                heads.push(Head { run, number });
            }
        }
        Ok(Self {
            heads,
            current: None,
        })
    }

    /// The next record: key and payload.
    pub(super) fn next(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        if let Some(mut head) = self.current.take()
            && head.run.advance()?
        {
            self.heads.push(head);
        }
        self.current = self.heads.pop();
        Ok(self
            .current
            .as_ref()
            .map(|head| (head.run.key.as_slice(), head.run.payload.as_slice())))
    }
}
