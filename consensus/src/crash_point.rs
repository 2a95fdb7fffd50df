//! Named points at which a process can be told to abort, so that a test can kill it exactly between
//! two steps of a durable operation and then check what a restart finds.
//!
//! This is a test seam that is compiled into every build, so that what is tested is what is shipped.
//! It is armed only by the environment variable `YUNBASE_CRASH_POINT=name[:n]`, read when the log
//! engine opens: the process aborts when the point `name` is passed for the `n`th time (1 by default).
//! Unarmed, a point costs one relaxed load of an atomic.

use std::sync::atomic::{AtomicU32, Ordering};

/// Arms a crash point in this process.
pub(crate) const VARIABLE: &str = "YUNBASE_CRASH_POINT";

macro_rules! crash_points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The points, in the order of the code paths they sit in.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum CrashPoint {
            $($(#[$doc])* $variant,)*
        }

        impl CrashPoint {
            /// Every point.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that arms it.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

crash_points! {
    /// A batch with entries is encoded, nothing is written.
    AppendBeforeWrite = "append-before-write",
    /// The batch is in the page cache.
    AppendBeforeSync = "append-before-sync",
    /// The batch is durable, nobody has been told.
    AppendAfterSync = "append-after-sync",
    /// A batch with a vote is encoded, nothing is written.
    VoteBeforeWrite = "vote-before-write",
    /// The vote is in the page cache.
    VoteBeforeSync = "vote-before-sync",
    /// The vote is durable, nobody has been told.
    VoteAfterSync = "vote-after-sync",
    /// A batch with a purge is encoded, nothing is written.
    PurgeBeforeWrite = "purge-before-write",
    /// The purge is written, not synced.
    PurgeAfterWrite = "purge-after-write",
    /// Commands are about to be applied.
    ApplyBefore = "apply-before",
    /// Commands are applied, nobody has been told.
    ApplyAfter = "apply-after",
    /// The state machine has written its checkpoint.
    BuildAfterCheckpoint = "build-after-checkpoint",
    /// The files are hashed, the manifest is not written.
    BuildBeforeManifest = "build-before-manifest",
    /// The snapshot is complete under its temporary name.
    BuildBeforeRename = "build-before-rename",
    /// A received snapshot is complete and durable, not installed.
    InstallAfterStaging = "install-after-staging",
    /// The state machine is about to be replaced.
    InstallBeforeRestore = "install-before-restore",
    /// The state machine is replaced, the snapshot is not yet the current one.
    InstallAfterRestore = "install-after-restore",
}

/// Number of the armed point plus one; 0 when unarmed.
static ARMED: AtomicU32 = AtomicU32::new(0);
/// Passes left until the armed point aborts.
static PASSES_LEFT: AtomicU32 = AtomicU32::new(0);

/// Reads [`VARIABLE`] and arms the point it names. An unknown name is reported and ignored.
pub(crate) fn arm_from_environment() {
    let Ok(value) = std::env::var(VARIABLE) else {
        return;
    };
    match parse(&value) {
        Some((point, passes)) => {
            tracing::warn!(
                point = point.name(),
                passes,
                "crash point armed: this process will abort on purpose"
            );
            PASSES_LEFT.store(passes, Ordering::Relaxed);
            ARMED.store(point as u32 + 1, Ordering::Release);
        }
        None => tracing::warn!(
            value,
            "{VARIABLE} names no crash point; expected name or name:n"
        ),
    }
}

fn parse(value: &str) -> Option<(CrashPoint, u32)> {
    let (name, passes) = match value.split_once(':') {
        Some((name, passes)) => (name, passes.parse().ok().filter(|passes| *passes > 0)?),
        None => (value, 1),
    };
    let point = CrashPoint::ALL.iter().find(|point| point.name() == name)?;
    Some((*point, passes))
}

/// Aborts the process if `point` is armed, this is the pass that was asked for, and `relevant`.
#[inline]
pub(crate) fn crash_point(point: CrashPoint, relevant: bool) {
    if ARMED.load(Ordering::Relaxed) != 0 && relevant {
        pass(point);
    }
}

#[cold]
fn pass(point: CrashPoint) {
    if ARMED.load(Ordering::Acquire) == point as u32 + 1
        && PASSES_LEFT.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_parse() {
        for (number, point) in CrashPoint::ALL.iter().enumerate() {
            assert_eq!(*point as usize, number);
            assert_eq!(parse(point.name()), Some((*point, 1)));
            assert_eq!(parse(&format!("{}:7", point.name())), Some((*point, 7)));
        }
        for nonsense in [
            "",
            "append",
            "apply-before:0",
            "apply-before:x",
            "apply-before:",
        ] {
            assert_eq!(parse(nonsense), None);
        }
    }
}
