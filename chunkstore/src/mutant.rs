//! Deliberate bugs, for the chaos harness to find: it is worth what it catches.
//!
//! They exist only under the feature `mutants`, which no release has; without it each test of one is the constant
//! `false`. One is chosen by the environment variable `YUNBASE_MUTANT`.

/// Whether this process has the bug of that name.
#[cfg(feature = "mutants")]
pub(crate) fn has(name: &str) -> bool {
    static CHOSEN: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("YUNBASE_MUTANT").unwrap_or_default());
    *CHOSEN == name
}

/// Never: see the module.
#[cfg(not(feature = "mutants"))]
pub(crate) const fn has(_name: &str) -> bool {
    false
}
