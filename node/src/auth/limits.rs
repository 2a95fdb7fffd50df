//! Every lifetime and bound of login, in one place.

use std::time::Duration;

/// Lifetimes and bounds of login. Times are in milliseconds where they go into documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthLimits {
    /// Life of an access token, as the original documents it.
    pub access_token_ms: i64,
    /// Life of a refresh token since its last use, as the original documents it.
    pub refresh_token_ms: i64,
    /// How far apart the clocks of two nodes, or of a node and a ticket's maker, may be.
    pub clock_skew_ms: i64,
    /// Within this the refresh token before the current one is answered once more with the current one: the answer
    /// may have been lost, and two tabs of one browser share a token.
    pub refresh_repeat_ms: i64,
    /// How many generations back a reused refresh token is recognised: a month of refreshes every ten minutes.
    pub refresh_generations_max: u64,
    /// Age at which a signing key gets a successor.
    pub signing_key_ms: i64,
    /// A new signing key is published this long before it signs, so that every node knows it by then.
    pub signing_key_lead_ms: i64,
    /// Longest access token that is looked at.
    pub access_token_bytes_max: usize,
    /// Longest refresh token, ticket or provider token that is looked at.
    pub credential_bytes_max: usize,
    /// Sessions of one user; the oldest ends when one more begins.
    pub sessions_per_user_max: u64,
    /// Life of the proof that a user has just given the password.
    pub sudo_ms: i64,
    /// Life of a provider token: the time between asking WeChat and signing in.
    pub provider_token_ms: i64,
    /// Life of a custom login whose ticket does not say.
    pub custom_login_ms: i64,
    /// Ticket keys of one environment.
    pub ticket_keys_max: usize,
    /// Characters of a user name.
    pub username_chars: std::ops::RangeInclusive<usize>,
    /// Characters of a password.
    pub password_chars: std::ops::RangeInclusive<usize>,
    /// Characters of each text in a profile.
    pub profile_chars_max: usize,
    /// Largest body of a login request.
    pub body_bytes_max: usize,
    /// Login requests that a node works on at one time; more are refused.
    pub requests_in_flight_max: usize,
    /// A login request is answered by then.
    pub request_deadline: Duration,
    /// Memory of one password hash in KiB, as OWASP recommends for argon2id.
    pub argon2_memory_kib: u32,
    /// Passes of one password hash.
    pub argon2_passes: u32,
    /// Password hashes that wait for a processor; more are refused.
    pub password_hashes_waiting_max: usize,
    /// Longest wait for WeChat.
    pub wechat_timeout: Duration,
    /// Largest answer of WeChat; real ones have some 200 bytes.
    pub wechat_answer_bytes_max: usize,
    /// Questions to WeChat at one time.
    pub wechat_requests_max: usize,
    /// Counter documents of each kind of throttle. Two names or addresses may share one; which, nobody outside can tell.
    pub throttle_buckets: u64,
    /// Failures of one user name before it has to wait.
    pub throttle_name_free: i64,
    /// Failures from one address before it has to wait: many people may share one.
    pub throttle_address_free: i64,
    /// New users from one address before it has to wait.
    pub throttle_create_free: i64,
    /// First wait; doubles with each failure.
    pub throttle_delay_ms: i64,
    /// Longest wait. Also bounds how long a stranger can keep a user out.
    pub throttle_delay_ms_max: i64,
    /// A counter that was not touched for this long starts anew.
    pub throttle_memory_ms: i64,
    /// Private keys and settings kept in memory.
    pub cache_entries_max: u64,
    /// How often ended sessions and old counters are removed.
    pub sweep_interval: Duration,
}

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

impl Default for AuthLimits {
    fn default() -> Self {
        Self {
            access_token_ms: 120 * MINUTE_MS,
            refresh_token_ms: 31 * DAY_MS,
            clock_skew_ms: MINUTE_MS,
            refresh_repeat_ms: 10_000,
            refresh_generations_max: 4464,
            signing_key_ms: 30 * DAY_MS,
            signing_key_lead_ms: 5 * MINUTE_MS,
            access_token_bytes_max: 4096,
            credential_bytes_max: 8192,
            sessions_per_user_max: 100,
            sudo_ms: 10 * MINUTE_MS,
            provider_token_ms: 5 * MINUTE_MS,
            custom_login_ms: 7 * DAY_MS,
            ticket_keys_max: 16,
            username_chars: 5..=24,
            password_chars: 8..=32,
            profile_chars_max: 1024,
            body_bytes_max: 64 << 10,
            requests_in_flight_max: 1024,
            request_deadline: Duration::from_millis(12_000),
            argon2_memory_kib: 19_456,
            argon2_passes: 2,
            password_hashes_waiting_max: 128,
            wechat_timeout: Duration::from_secs(5),
            wechat_answer_bytes_max: 16 << 10,
            wechat_requests_max: 64,
            throttle_buckets: 1 << 16,
            throttle_name_free: 5,
            throttle_address_free: 50,
            throttle_create_free: 1000,
            throttle_delay_ms: 1000,
            throttle_delay_ms_max: 5 * MINUTE_MS,
            throttle_memory_ms: 60 * MINUTE_MS,
            cache_entries_max: 4096,
            sweep_interval: Duration::from_secs(600),
        }
    }
}
