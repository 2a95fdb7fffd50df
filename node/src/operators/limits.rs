//! Every lifetime and bound of operators, in one place.

/// Lifetimes and bounds of operators. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorLimits {
    /// Life of an access token; commands fetch the next one by themselves.
    pub access_token_ms: i64,
    /// How long the access token before the current one still counts: commands that run beside each other share one.
    pub access_overlap_ms: i64,
    /// Life of a sign-in since its last use.
    pub idle_ms: i64,
    /// Life of a sign-in in all.
    pub session_ms: i64,
    /// Within this the refresh token before the current one is answered once more: the answer may have been lost.
    pub refresh_repeat_ms: i64,
    /// How many generations back a reused refresh token is recognised.
    pub refresh_generations_max: u64,
    /// Sign-ins of one operator; the oldest ends when one more begins.
    pub sessions_max: usize,
    /// Operators of a cluster.
    pub operators_max: usize,
    /// Roles of one operator.
    pub grants_max: usize,
    /// Longest name.
    pub name_bytes_max: usize,
    /// Longest password that is looked at.
    pub password_bytes_max: usize,
    /// Shortest password. People who run a cluster may be asked for more than end users.
    pub password_chars_min: usize,
    /// Longest token that is looked at.
    pub token_bytes_max: usize,
    /// How often a change is tried again that another one came in between of.
    pub rounds_max: usize,
    /// The same refused change of the same operator is written down once in this time.
    pub refusal_interval_s: u64,
    /// Refusals that are remembered for that.
    pub refusals_max: u64,
}

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

impl Default for OperatorLimits {
    fn default() -> Self {
        Self {
            access_token_ms: 30 * MINUTE_MS,
            access_overlap_ms: MINUTE_MS,
            idle_ms: 7 * DAY_MS,
            session_ms: 30 * DAY_MS,
            refresh_repeat_ms: 10_000,
            refresh_generations_max: 1024,
            sessions_max: 20,
            operators_max: 1000,
            grants_max: 64,
            name_bytes_max: 32,
            password_bytes_max: 256,
            password_chars_min: 10,
            token_bytes_max: 256,
            rounds_max: 4,
            refusal_interval_s: 60,
            refusals_max: 10_000,
        }
    }
}
