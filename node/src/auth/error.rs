//! Why login refuses: one name for each reason, as the clients know it, and how each surface spells it.

use axum::http::StatusCode;

use crate::call::{Failure, Retry};

/// A reason. The name on `/auth` is what the clients act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// No access token, or one that opens nothing (any more). Clients drop what they hold.
    Unauthenticated,
    /// The access token's time has passed. On `/auth` the same as [`Reason::Unauthenticated`].
    TokenExpired,
    /// The refresh token opens nothing (any more).
    InvalidGrant,
    /// The ticket of custom login is not valid.
    InvalidTicket,
    /// Unknown user or wrong password; which of them is not told.
    InvalidUsernameOrPassword,
    /// The present password is wrong.
    InvalidPassword,
    /// The user has no password.
    PasswordNotSet,
    /// There is no such user.
    UserNotFound,
    /// There is no such thing.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// Too many tries.
    ResourceExhausted,
    /// A value is missing or malformed.
    InvalidArgument,
    /// An administrator has disabled the user.
    UserBlocked,
    /// A verification code or token that nobody gave out.
    InvalidVerificationCode,
    /// What it takes (a sender, an appid) has not been set up.
    ProviderNotEnabled,
    /// Not in this state of things.
    FailedPrecondition,
    /// Not part of this version.
    Unimplemented,
    /// Our own fault.
    Internal,
    /// Try again shortly.
    Unavailable,
}

impl Reason {
    /// The member `error` of an answer on `/auth`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unauthenticated | Self::TokenExpired => "unauthenticated",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidUsernameOrPassword => "invalid_username_or_password",
            Self::InvalidPassword => "invalid_password",
            Self::PasswordNotSet => "password_not_set",
            Self::UserNotFound => "user_not_found",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::PermissionDenied => "permission_denied",
            Self::ResourceExhausted => "resource_exhausted",
            Self::InvalidArgument | Self::InvalidTicket => "invalid_argument",
            Self::UserBlocked => "user_blocked",
            Self::InvalidVerificationCode => "invalid_verification_code",
            Self::ProviderNotEnabled => "provider_not_enabled",
            Self::FailedPrecondition => "failed_precondition",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The member `error_code`: the number of the class, as gRPC numbers them.
    pub fn number(self) -> i32 {
        match self {
            Self::Unauthenticated | Self::TokenExpired => 16,
            Self::InvalidGrant
            | Self::InvalidTicket
            | Self::InvalidUsernameOrPassword
            | Self::InvalidPassword
            | Self::InvalidVerificationCode
            | Self::InvalidArgument => 3,
            Self::UserNotFound | Self::NotFound => 5,
            Self::AlreadyExists => 6,
            Self::PermissionDenied | Self::UserBlocked => 7,
            Self::ResourceExhausted => 8,
            Self::PasswordNotSet | Self::ProviderNotEnabled | Self::FailedPrecondition => 9,
            Self::Unimplemented => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
        }
    }

    /// The HTTP status on `/auth`.
    pub fn status(self) -> StatusCode {
        match self.number() {
            16 => StatusCode::UNAUTHORIZED,
            5 => StatusCode::NOT_FOUND,
            6 => StatusCode::CONFLICT,
            7 => StatusCode::FORBIDDEN,
            8 => StatusCode::TOO_MANY_REQUESTS,
            12 => StatusCode::NOT_IMPLEMENTED,
            13 => StatusCode::INTERNAL_SERVER_ERROR,
            14 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The code of the action protocol (`/web`, `/admin`) and behind the doors.
    pub fn action_code(self) -> &'static str {
        match self {
            Self::TokenExpired => "ACCESS_TOKEN_EXPIRED",
            Self::Unauthenticated => "INVALID_ACCESS_TOKEN",
            Self::InvalidGrant => "INVALID_REFRESH_TOKEN",
            Self::InvalidTicket => "AUTH_INVALID_CUSTOM_LOGIN_TICKET",
            Self::InvalidUsernameOrPassword
            | Self::InvalidPassword
            | Self::PasswordNotSet
            | Self::UserNotFound => "INVALID_CREDENTIALS",
            Self::PermissionDenied | Self::UserBlocked => "PERMISSION_DENIED",
            Self::ResourceExhausted => "EXCEED_RATELIMIT",
            Self::ProviderNotEnabled => "LOGIN_MANNER_UNREGISTED",
            Self::Unimplemented => "INVALID_ACTION",
            Self::InvalidArgument | Self::InvalidVerificationCode => "INVALID_PARAM",
            Self::NotFound | Self::AlreadyExists | Self::FailedPrecondition => "OPERATION_FAIL",
            Self::Internal => "SYS_ERR",
            Self::Unavailable => "SERVER_TIMEOUT",
        }
    }
}

/// A refusal of login.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", reason.name())]
pub struct AuthError {
    /// Why.
    pub reason: Reason,
    /// One sentence that says what to do. Never holds a secret.
    pub message: String,
    /// When trying again makes sense, where that is known.
    pub retry_after_s: Option<u64>,
}

/// Result of a step of login.
pub type AuthResult<T> = Result<T, AuthError>;

impl AuthError {
    /// A refusal for `reason`.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            retry_after_s: None,
        }
    }

    /// A value is missing or malformed.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidArgument, message)
    }

    /// Our own fault; the cause goes to the log, not to the client.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "login failed");
        Self::new(
            Reason::Internal,
            "the server failed: its log tells why under this request id",
        )
    }

    /// The access token opens nothing.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(Reason::Unauthenticated, message)
    }
}

impl From<Failure> for AuthError {
    fn from(failure: Failure) -> Self {
        match failure.code.as_ref() {
            "SERVER_TIMEOUT"
            | "RESOURCE_NOT_INITIAL"
            | "RESOURCE_INSUFFICIENT"
            | "EXCEED_CONCURRENT_REQUEST_LIMIT" => Self::new(Reason::Unavailable, failure.message),
            "EXCEED_REQUEST_SIZE_LIMIT" | "INVALID_PARAM" | "INVALID_ENV" => {
                Self::argument(failure.message)
            }
            "ACCESS_TOKEN_EXPIRED" => Self::new(Reason::TokenExpired, failure.message),
            "INVALID_ACCESS_TOKEN" => Self::unauthenticated(failure.message),
            _ => Self::internal(failure),
        }
    }
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        let retry = match error.reason {
            Reason::Unavailable => Retry::Safe,
            _ => Retry::Never,
        };
        Self::new(error.reason.action_code(), error.message, retry)
    }
}
