//! CPU time and memory of the node processes, as the kernel counts them.

use std::fs;

use crate::cli::failure::CliError;

/// Unit of the times in `/proc/<pid>/stat`: fixed by the kernel's interface on every architecture we build for.
const TICKS_A_SECOND: u64 = 100;
/// Size of the pages in `/proc/<pid>/stat` on x86-64 and the usual arm64.
const PAGE_BYTES: u64 = 4096;

/// What processes have used so far, all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, in user and kernel mode.
    pub cpu_us: u64,
    /// Memory held now, shared pages counted for each process.
    pub resident_bytes: u64,
}

/// Adds up the usage of `pids`.
pub fn usage(pids: &[u32]) -> Result<Usage, CliError> {
    let mut total = Usage::default();
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).map_err(|error| {
            CliError::failed(format!("cannot read {path}: {error}; is the node running?"))
        })?;
        let usage =
            parse(&text).ok_or_else(|| CliError::failed(format!("{path} has an unknown form")))?;
        total.cpu_us += usage.cpu_us;
        total.resident_bytes += usage.resident_bytes;
    }
    Ok(total)
}

/// Reads one line of `stat`. The name of the process may contain spaces and brackets, so counting begins behind it.
fn parse(text: &str) -> Option<Usage> {
    let (_, rest) = text.rsplit_once(')')?;
    let members: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| members.get(index)?.parse::<u64>().ok();
    let ticks = number(11)?.checked_add(number(12)?)?;
    let cpu_us = ticks.checked_mul(1_000_000 / TICKS_A_SECOND)?;
    Some(Usage {
        cpu_us,
        resident_bytes: number(21)?.checked_mul(PAGE_BYTES)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_behind_any_name() {
        let text = "42 (a (b) c) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 9 0 1000 50000000 2560 184";
        assert_eq!(
            parse(text),
            Some(Usage {
                cpu_us: 2_000_000,
                resident_bytes: 2560 * 4096
            })
        );
        for wrong in [
            "",
            "42 (x",
            "42 (x) S 1",
            "1 (x) S a b c d e f g h i j k l m n o p q r s t u v",
        ] {
            assert_eq!(parse(wrong), None);
        }
    }

    #[test]
    fn this_process_has_memory_and_a_dead_one_is_an_error() {
        assert!(usage(&[std::process::id()]).unwrap().resident_bytes > 0);
        assert!(usage(&[u32::MAX]).is_err());
    }
}
