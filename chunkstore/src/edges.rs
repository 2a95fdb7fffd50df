//! Where time and randomness enter.

use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The clocks and the source of randomness of a store; tests bring their own.
///
/// What correctness demands:
/// * [`monotonic`](Self::monotonic) never goes back and does not jump.
/// * [`unix_ms`](Self::unix_ms) may go back; what a jump forward does is written at `collect`.
/// * [`random`](Self::random) does not repeat, over all stores that ever were.
pub trait Edges: Send + Sync + 'static {
    /// Milliseconds since 1970: what is written down.
    fn unix_ms(&self) -> u64;

    /// Time since some moment of this process: what leases are measured with.
    fn monotonic(&self) -> Duration;

    /// Sixteen random bytes.
    fn random(&self) -> io::Result<[u8; 16]>;
}

/// The machine's clocks and random numbers.
#[derive(Debug)]
pub struct SystemEdges {
    started: Instant,
}

impl Default for SystemEdges {
    fn default() -> Self {
        Self {
            started: Instant::now(),
        }
    }
}

impl Edges for SystemEdges {
    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(bytes)
    }
}
