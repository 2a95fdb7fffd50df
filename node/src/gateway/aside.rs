//! Work on many bytes, without the requests of others behind it.
//!
//! The threads of the doors are few, and whatever reads a large body or writes a large answer holds one for many times as
//! long as a small request takes in all. The runtime moves the other tasks of such a thread to another meanwhile.

use std::future::{Future, poll_fn};
use std::pin::pin;

use tokio::runtime::{Handle, RuntimeFlavor};

/// From here on bytes are work for aside; reading them as JSON takes about a millisecond.
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

/// The outcome of `work`, each step of which may be work on so many bytes. No thread is held while it waits.
pub(super) async fn stepping_aside<F: Future>(bytes: usize, work: F) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|context| aside(bytes, || work.as_mut().poll(context))).await
}
