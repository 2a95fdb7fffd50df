//! Temporary files for queries that need more room than their memory: nameless files in the data folder,
//! which the operating system removes with their last handle, also when the process dies.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;

use yunbase_docdb::spill::{Spill, SpillRun};

/// Makes temporary files in one folder.
#[derive(Debug, Clone)]
pub struct SpillFolder(PathBuf);

impl SpillFolder {
    /// Uses `folder`, which is made when it does not exist.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Self(folder))
    }
}

impl Spill for SpillFolder {
    fn run(&self) -> io::Result<Box<dyn SpillRun>> {
        Ok(Box::new(Run(tempfile::tempfile_in(&self.0)?)))
    }
}

struct Run(File);

impl SpillRun for Run {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn read(mut self: Box<Self>) -> io::Result<Box<dyn Read>> {
        self.0.rewind()?;
        Ok(Box::new(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_read_back_and_leave_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("spill");
        let spill = SpillFolder::open(folder.clone()).unwrap();
        let mut runs: Vec<_> = (0..3).map(|_| spill.run().unwrap()).collect();
        for round in 0..4_u8 {
            for (number, run) in (0..).zip(&mut runs) {
                run.append(&[number, round]).unwrap();
            }
        }
        for (number, run) in (0..).zip(runs) {
            let mut bytes = Vec::new();
            run.read().unwrap().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, [number, 0, number, 1, number, 2, number, 3]);
        }
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
    }
}
