//! The command line: one binary for the node, the development cluster, and everything that talks to them.
//!
//! Results go to standard output, everything else to standard error; nothing prompts; each command ends with
//! one of the codes of [`exit::Exit`].

pub mod bench;
pub mod cluster;
pub mod config;
pub mod db;
pub mod dev;
mod ejson;
pub mod env;
pub mod environment;
pub mod exit;
pub mod export;
pub mod failure;
pub mod import;
mod index_wait;
mod json_file;
pub mod key;
pub mod management;
#[cfg(test)]
mod management_fake;
pub mod operators;
pub mod output;
mod progress;
mod replica_digests;
pub mod rules;
pub mod serve;
pub mod status;
pub mod storage;
pub mod target;
pub mod users;

use std::future::Future;

use clap::{ArgMatches, Args as _, Command};

use exit::Exit;

fn command() -> Command {
    Command::new("yunbase")
        .about("The Mini Program cloud that you own: document database, files, functions and console in one binary")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve::command())
        .subcommand(dev::DevCommand::augment_args(Command::new("dev").about("Run a development cluster on this machine")))
        .subcommand(status::StatusCommand::augment_args(Command::new("status").about("Show nodes, groups, leaders and lag")))
        .subcommand(db::DbCommand::augment_args(Command::new("db").about("Documents, indexes, import and export")))
        .subcommand(storage::StorageCommand::augment_args(Command::new("storage").about("Files of an environment")))
        .subcommand(users::UserCommand::augment_args(Command::new("user").about("End users of an environment")))
        .subcommand(users::AuthCommand::augment_args(Command::new("auth").about("What the sign-in of end users needs")))
        .subcommand(rules::RulesCommand::augment_args(Command::new("rules").about("What end users may do with collections")))
        .subcommand(bench::BenchCommand::augment_args(Command::new("bench").about("Measure a cluster")))
        .subcommand(cluster::ClusterCommand::augment_args(Command::new("cluster").about("Members and leadership")))
        .subcommand(env::EnvCommand::augment_args(Command::new("env").about("Environments")))
        .subcommand(key::KeyCommand::augment_args(Command::new("key").about("Secret keys")))
        .subcommand(operators::LoginCommand::augment_args(Command::new("login").about("Sign in as an operator")))
        .subcommand(operators::LogoutCommand::augment_args(Command::new("logout").about("End that sign-in")))
        .subcommand(operators::WhoAmICommand::augment_args(Command::new("whoami").about("Say who commands are carried out as")))
        .subcommand(operators::OperatorCommand::augment_args(Command::new("operator").about("Who runs the cluster or builds on it")))
        .subcommand(operators::AuditCommand::augment_args(Command::new("audit").about("Who did what, when and from where")))
        .subcommand(config::command())
}

/// Runs the command line of this process.
pub fn run() -> Exit {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            };
        }
    };
    match matches.subcommand() {
        Some(("serve", matches)) => serve::run(matches),
        Some(("config", matches)) => match matches.subcommand() {
            Some(("explain", matches)) => config::explain(matches),
            _ => Exit::Usage,
        },
        Some(("dev", matches)) => parsed(matches, dev::DevCommand::run),
        Some(("db", matches)) => parsed(matches, db::DbCommand::run),
        Some(("storage", matches)) => parsed(matches, storage::StorageCommand::run),
        Some(("user", matches)) => parsed(matches, users::UserCommand::run),
        Some(("auth", matches)) => parsed(matches, users::AuthCommand::run),
        Some(("rules", matches)) => parsed(matches, rules::RulesCommand::run),
        Some(("bench", matches)) => parsed(matches, bench::BenchCommand::run),
        Some(("status", matches)) => parsed(matches, status::StatusCommand::run),
        Some(("cluster", matches)) => parsed(matches, cluster::ClusterCommand::run),
        Some(("env", matches)) => parsed(matches, env::EnvCommand::run),
        Some(("key", matches)) => parsed(matches, key::KeyCommand::run),
        Some(("login", matches)) => parsed(matches, operators::LoginCommand::run),
        Some(("logout", matches)) => parsed(matches, operators::LogoutCommand::run),
        Some(("whoami", matches)) => parsed(matches, operators::WhoAmICommand::run),
        Some(("operator", matches)) => parsed(matches, operators::OperatorCommand::run),
        Some(("audit", matches)) => parsed(matches, operators::AuditCommand::run),
        _ => Exit::Usage,
    }
}

fn parsed<C, F>(matches: &ArgMatches, run: fn(C) -> F) -> Exit
where
    C: clap::FromArgMatches,
    F: Future<Output = Exit>,
{
    match C::from_arg_matches(matches) {
        Ok(command) => in_runtime(run(command)),
        Err(error) => {
            let _ = error.print();
            Exit::Usage
        }
    }
}

/// Runs a client-side command on a runtime of its own.
fn in_runtime(command: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => {
            eprintln!("error: start the runtime: {error}");
            Exit::Failed
        }
    }
}
