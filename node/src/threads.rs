//! How a node shares its cores out to its two runtimes: the doors (requests, reads, plans) and Raft (messages between
//! nodes). The log writer and the apply threads come on top; they mostly wait for the disk or for Raft.
//!
//! Fewer threads are better here than many: one that has work wakes another to help, and on a machine with few cores
//! the waking costs more than the help is worth (two more switches a request, measured).

/// Cores for each thread of the Raft runtime, whose tasks only pass messages on.
const CORES_PER_RAFT_THREAD: usize = 4;
/// More would only contend: a group's core is one task.
const RAFT_THREADS_MAX: usize = 8;

/// Threads of the Raft runtime.
pub fn raft() -> usize {
    raft_of(cores())
}

/// Threads of the doors' runtime.
pub fn doors() -> usize {
    doors_of(cores())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn raft_of(cores: usize) -> usize {
    (cores / CORES_PER_RAFT_THREAD).clamp(1, RAFT_THREADS_MAX)
}

fn doors_of(cores: usize) -> usize {
    cores.saturating_sub(raft_of(cores)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runtimes_have_a_thread_and_together_they_fill_the_machine() {
        let shares: Vec<_> = [1, 2, 4, 8, 64]
            .map(|cores| (doors_of(cores), raft_of(cores)))
            .into();
        assert_eq!(shares, [(1, 1), (1, 1), (3, 1), (6, 2), (56, 8)]);
    }
}
