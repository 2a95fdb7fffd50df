//! Why a command failed, and the exit code that says so to scripts.

use yunbase_client::ErrorKind;

use super::exit::Exit;
use crate::cluster::service::{REASON, REASON_UNSAFE};

/// A failed command: what to print on standard error and how to end.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// How the process ends.
    pub exit: Exit,
    /// One sentence that says what to do.
    pub message: String,
}

impl CliError {
    /// Ends with `exit` after saying `message`.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something outside, such as a file, does not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }
}

impl From<yunbase_client::Error> for CliError {
    fn from(error: yunbase_client::Error) -> Self {
        Self::new(exit_of(&error), error.to_string())
    }
}

impl From<tonic::Status> for CliError {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code;
        let is_unsafe = |value: &tonic::metadata::AsciiMetadataValue| value == REASON_UNSAFE;
        let exit = match status.code() {
            Code::FailedPrecondition if status.metadata().get(REASON).is_some_and(is_unsafe) => {
                Exit::Unsafe
            }
            Code::Unauthenticated | Code::PermissionDenied => Exit::Auth,
            Code::NotFound => Exit::NotFound,
            Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Exit::Conflict,
            Code::ResourceExhausted => Exit::Limit,
            Code::Unavailable | Code::DeadlineExceeded => Exit::Unavailable,
            Code::InvalidArgument => Exit::Usage,
            _ => Exit::Failed,
        };
        Self::new(exit, status.message())
    }
}

/// The exit that suits an error of the SDK.
pub fn exit_of(error: &yunbase_client::Error) -> Exit {
    match error.kind() {
        ErrorKind::Unauthenticated => Exit::Auth,
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => Exit::Unavailable,
        ErrorKind::InvalidArgument => Exit::Usage,
        _ => Exit::of_code(error.code()),
    }
}

/// Prints what went wrong, if anything did, and gives the exit.
pub fn conclude(result: Result<(), CliError>) -> Exit {
    match result {
        Ok(()) => Exit::Ok,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit
        }
    }
}
