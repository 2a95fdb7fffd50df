//! What one aggregation holds and has spilled, counted over all its stages.

use std::cell::Cell;

use crate::error::{Error, Result};
use crate::query::{Budget, exceeded};
use crate::spill::SpillRun;

/// Shared by all stages of one aggregation.
pub(super) struct Resources<'a> {
    pub(super) budget: &'a Budget<'a>,
    memory_bytes: Cell<usize>,
    spilled_bytes: Cell<u64>,
}

impl<'a> Resources<'a> {
    pub(super) fn new(budget: &'a Budget<'a>) -> Self {
        Self {
            budget,
            memory_bytes: Cell::new(0),
            spilled_bytes: Cell::new(0),
        }
    }

    /// A new run, when there is a place to spill to.
    pub(super) fn spill_run(&self) -> Result<Box<dyn SpillRun>> {
        let Some(spill) = self.budget.spill else {
            return Err(self.out_of_memory());
        };
        spill
            .run()
            .map_err(|error| Error::internal(format!("begin a temporary file: {error}")))
    }

    /// Counts bytes that go to a run.
    pub(super) fn take_spill(&self, bytes: usize) -> Result<()> {
        let spilled = self.spilled_bytes.get() + bytes as u64;
        if spilled > self.budget.spill_bytes_max {
            let limit = format!(
                "the limit of {} bytes in temporary files",
                self.budget.spill_bytes_max
            );
            return Err(exceeded(
                &limit,
                "filter earlier, project fewer fields or add an index for the sort",
            ));
        }
        self.spilled_bytes.set(spilled);
        Ok(())
    }

    pub(super) fn spilled_bytes(&self) -> u64 {
        self.spilled_bytes.get()
    }

    fn out_of_memory(&self) -> Error {
        let limit = format!(
            "the limit of {} bytes held by an aggregation",
            self.budget.aggregate_memory_bytes_max
        );
        exceeded(&limit, "filter earlier or keep fewer fields and elements")
    }
}

/// Memory that one stage holds; given back when it is dropped.
pub(super) struct Memory<'a> {
    resources: &'a Resources<'a>,
    bytes: usize,
}

impl<'a> Memory<'a> {
    pub(super) fn new(resources: &'a Resources<'a>) -> Self {
        Self {
            resources,
            bytes: 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes so many more bytes; false when that goes over the limit, in which case they are taken all the
    /// same and the stage should spill.
    pub(super) fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let held = self.resources.memory_bytes.get() + bytes;
        self.resources.memory_bytes.set(held);
        held <= self.resources.budget.aggregate_memory_bytes_max
    }

    /// The same for a stage that cannot spill.
    pub(super) fn grow_or_refuse(&mut self, bytes: usize) -> Result<()> {
        if self.grow(bytes) {
            Ok(())
        } else {
            Err(self.resources.out_of_memory())
        }
    }

    /// Gives so many bytes back.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        let held = self.resources.memory_bytes.get();
        self.resources.memory_bytes.set(held.saturating_sub(bytes));
    }

    /// Gives everything back.
    pub(super) fn clear(&mut self) {
        self.shrink(self.bytes);
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}
