//! Work on many bytes, without the requests of others behind it.
//!
//! The threads of the doors are few, and whatever writes a large answer holds one for many times as long as a small request
//! takes in all. The runtime moves the other tasks of such a thread to another meanwhile.

use tokio::runtime::{Handle, RuntimeFlavor};

/// From here on bytes are work for aside; writing them as JSON takes about a millisecond.
const BYTES_MIN: usize = 64 << 10;

/// Does `work` on so many bytes.
pub(super) fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let has_other_threads = || Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
    if bytes >= BYTES_MIN && has_other_threads() {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}
