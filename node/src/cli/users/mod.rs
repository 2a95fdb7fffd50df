//! `yunbase user` and `yunbase auth`: end users of an environment, and what their sign-in needs.
//!
//! Passwords and secrets come from a file, standard input or a variable, never from an argument: the list of processes
//! shows arguments to everybody.

mod auth;
mod connection;
pub(super) mod secret;
mod user;

pub use auth::AuthCommand;
pub use user::UserCommand;
pub(super) use user::time;

use clap::Args;

use super::environment::{Environment, EnvironmentArgs};
use super::output::OutputArgs;

/// Flags of all verbs; they may stand before or after the verb.
#[derive(Debug, Args)]
struct Shared {
    #[command(flatten)]
    target: EnvironmentArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Say what would change, change nothing
    #[arg(long, global = true)]
    dry_run: bool,
}

impl Shared {
    /// Says what would be done, and whether it is only to be said.
    fn only_say(&self, target: &Environment, what: &str) -> bool {
        if self.dry_run {
            eprintln!("dry run: would {what} in {}", target.describe());
        }
        self.dry_run
    }
}
