//! The refusals of rules. None holds anything of a document.

use crate::call::{Failure, Retry};

/// The code of everything that rules do not allow.
pub const DENIED: &str = "DATABASE_PERMISSION_DENIED";

/// Not allowed.
pub fn denied(message: impl Into<String>) -> Failure {
    Failure::new(DENIED, message, Retry::Never)
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "its shape is that of `map_err`"
)]
pub(crate) fn malformed(error: bson::error::Error) -> Failure {
    Failure::new(
        "INVALID_PARAM",
        format!("malformed bson: {error}; send a well-formed document"),
        Retry::Never,
    )
}
