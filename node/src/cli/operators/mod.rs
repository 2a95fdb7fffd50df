//! Operators from the shell: `yunbase login`, `logout` and `whoami`, `yunbase operator`, and `yunbase audit`.

mod audit;
mod connection;
mod credentials;
mod login;
mod note;
mod operator;

pub use audit::AuditCommand;
pub use login::{LoginCommand, LogoutCommand, WhoAmICommand};
pub use operator::OperatorCommand;

pub(super) use login::stored;
pub(super) use note::{Movement, note};

#[cfg(test)]
mod cli_test;
