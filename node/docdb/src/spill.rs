//! The seam to temporary storage: where a query puts what does not fit into its memory.
//!
//! A query writes runs, each from beginning to end, and reads each once, from beginning to end. Nothing
//! of it outlives the query.

use std::io;

/// Hands out runs.
///
/// What correctness demands of an implementation:
/// * runs are independent of each other, and many may be open at once;
/// * what a run holds vanishes with it, also when the process dies.
pub trait Spill {
    /// A new, empty run.
    fn run(&self) -> io::Result<Box<dyn SpillRun>>;
}

/// A run being written.
pub trait SpillRun {
    /// Appends bytes. Callers buffer: each call is large.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Ends writing and gives back what was appended, from the beginning. Callers buffer.
    fn read(self: Box<Self>) -> io::Result<Box<dyn io::Read>>;
}

/// Runs in memory, for tests and simulation.
#[derive(Debug, Default)]
pub struct MemorySpill;

impl Spill for MemorySpill {
    fn run(&self) -> io::Result<Box<dyn SpillRun>> {
        Ok(Box::new(MemoryRun::default()))
    }
}

#[derive(Default)]
struct MemoryRun(Vec<u8>);

impl SpillRun for MemoryRun {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn read(self: Box<Self>) -> io::Result<Box<dyn io::Read>> {
        Ok(Box::new(io::Cursor::new(self.0)))
    }
}
