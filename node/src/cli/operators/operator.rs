//! `yunbase operator`: who runs the cluster or builds on it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use yunbase_client::proto::{
    AddOperatorRequest, ListOperatorSessionsRequest, ListOperatorsRequest, Operator,
    RemoveOperatorRequest, RevokeOperatorSessionsRequest, Role, SetOperatorPasswordRequest,
    SetOperatorRolesRequest,
};

use super::connection::Connection;
use super::login::{shown_roles, shown_time};
use crate::cli::exit::Exit;
use crate::cli::failure::{CliError, conclude};
use crate::cli::output::{ChangeArgs, OutputArgs, Printed, would};
use crate::cli::target::TargetArgs;
use crate::cli::users::secret;
use crate::operators::manage::LAST_OWNER;
use crate::operators::roles;

/// Who runs the cluster or builds on it.
#[derive(Debug, Args)]
pub struct OperatorCommand {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add an operator
    Add {
        /// Its name
        name: String,
        /// owner, developer or viewer, for one environment as in `developer@shop`; may be repeated
        #[arg(long = "role", required = true, value_name = "ROLE[@ENV]", value_parser = parse_role)]
        roles: Vec<Role>,
        /// File whose first line is the password, `-` for standard input; without it one is made up and printed
        #[arg(long)]
        password_file: Option<PathBuf>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// List operators and their roles
    List,
    /// Give an operator other roles in the place of those that it has
    Role {
        /// Its name
        name: String,
        /// As for `add`
        #[arg(long = "role", required = true, value_name = "ROLE[@ENV]", value_parser = parse_role)]
        roles: Vec<Role>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Set a password and end all sign-ins of the operator
    Password {
        /// Its name
        name: String,
        /// File whose first line is the new password, `-` for standard input; without it one is made up and printed
        #[arg(long)]
        password_file: Option<PathBuf>,
        /// File whose first line is the present password: operators need it for their own
        #[arg(long)]
        present_password_file: Option<PathBuf>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Remove an operator and end all its sign-ins; the last owner stays
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// List the sign-ins of an operator, or end them
    Sessions {
        /// Its name
        name: String,
        /// End this one
        #[arg(long, value_name = "SESSION", conflicts_with = "end_all")]
        end: Option<String>,
        /// End all of them
        #[arg(long)]
        end_all: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

fn parse_role(text: &str) -> Result<Role, String> {
    let (role, env) = text.split_once('@').unwrap_or((text, ""));
    if roles::Role::of(role).is_none() {
        return Err(
            "a role is owner, developer or viewer, and `developer@shop` is one for an environment"
                .to_owned(),
        );
    }
    Ok(Role {
        role: role.to_owned(),
        env: env.to_owned(),
    })
}

impl OperatorCommand {
    /// Carries out the command.
    pub async fn run(self) -> Exit {
        conclude(self.try_run().await)
    }

    async fn try_run(self) -> Result<(), CliError> {
        let mut connection = Connection::of(&self.target.resolve()?).await?;
        self.output
            .printed(carry_out(self.verb, &mut connection).await?)
    }
}

async fn carry_out(verb: Verb, connection: &mut Connection) -> Result<Printed, CliError> {
    match verb {
        Verb::List => {
            let operators = operators(connection).await?;
            Ok(Printed::Rows(operators.iter().map(row).collect()))
        }
        Verb::Add {
            name,
            roles,
            password_file,
            change,
        } => {
            if change.dry_run {
                let known = operators(connection).await?;
                if known.iter().any(|known| known.name == name.to_lowercase()) {
                    let message = format!("there is an operator {name} already");
                    return Err(CliError::new(Exit::Conflict, message));
                }
                let roles = shown_roles(&roles);
                return Ok(would(format!("add operator {name} as {roles}")));
            }
            let (password, made_up) = secret::password(password_file.as_deref())?;
            let request = AddOperatorRequest {
                name,
                password: password.clone(),
                roles,
            };
            let added = connection.add_operator(request).await?.operator;
            let mut printed = row(&added.unwrap_or_default());
            if made_up {
                printed["password"] = password.into();
            }
            Ok(Printed::Value(printed))
        }
        Verb::Role {
            name,
            roles,
            change,
        } => {
            if change.dry_run {
                let stays_owner = roles.iter().any(|role| role.role == "owner");
                let before = known(connection, &name, !stays_owner).await?;
                let (before, after) = (shown_roles(&before.roles), shown_roles(&roles));
                return Ok(would(format!(
                    "make operator {name} {after} instead of {before}"
                )));
            }
            let request = SetOperatorRolesRequest { name, roles };
            let changed = connection.set_operator_roles(request).await;
            let changed = changed.map_err(unsafe_for_last_owner)?.operator;
            Ok(Printed::Value(row(&changed.unwrap_or_default())))
        }
        Verb::Password {
            name,
            password_file,
            present_password_file,
            change,
        } => {
            if change.dry_run {
                return Ok(would(format!(
                    "set the password of operator {name} and end all its sign-ins"
                )));
            }
            let present = present_password_file.as_deref().map(secret::read);
            let (password, made_up) = secret::password(password_file.as_deref())?;
            let request = SetOperatorPasswordRequest {
                name: name.clone(),
                password: password.clone(),
                present_password: present.transpose()?.unwrap_or_default(),
            };
            connection.set_operator_password(request).await?;
            let mut printed = json!({ "operator": name });
            if made_up {
                printed["password"] = password.into();
            }
            Ok(Printed::Value(printed))
        }
        Verb::Remove { name, change } => {
            if change.dry_run {
                known(connection, &name, true).await?;
                return Ok(would(format!("remove operator {name}")));
            }
            let request = RemoveOperatorRequest { name: name.clone() };
            let removed = connection.remove_operator(request).await;
            removed.map_err(unsafe_for_last_owner)?;
            Ok(Printed::Value(json!({ "removed": name })))
        }
        Verb::Sessions {
            name,
            end,
            end_all,
            change,
        } => sessions(connection, name, end, end_all, change.dry_run).await,
    }
}

async fn sessions(
    connection: &mut Connection,
    name: String,
    end: Option<String>,
    end_all: bool,
    dry_run: bool,
) -> Result<Printed, CliError> {
    let request = ListOperatorSessionsRequest { name: name.clone() };
    let sessions = connection.list_operator_sessions(request).await?.sessions;
    if end.is_none() && !end_all {
        let rows = sessions.into_iter().map(|session| {
            json!({
                "session": session.id, "from": session.from,
                "begun": shown_time(session.created_at_ms),
                "used": shown_time(session.refreshed_at_ms),
                "ends": shown_time(session.expires_at_ms),
            })
        });
        return Ok(Printed::Rows(rows.collect()));
    }
    if let Some(id) = &end
        && !sessions.iter().any(|session| session.id == *id)
    {
        let message = format!("operator {name} has no sign-in {id}");
        return Err(CliError::new(Exit::NotFound, message));
    }
    if dry_run {
        let count = if end.is_some() { 1 } else { sessions.len() };
        return Ok(would(format!("end {count} sign-ins of operator {name}")));
    }
    let request = RevokeOperatorSessionsRequest {
        name,
        session: end.unwrap_or_default(),
    };
    let revoked = connection.revoke_operator_sessions(request).await?.revoked;
    Ok(Printed::Value(json!({ "revoked": revoked })))
}

/// What could lock everybody out is unsafe, rather than a conflict.
fn unsafe_for_last_owner(error: CliError) -> CliError {
    if error.message.contains(LAST_OWNER) {
        return CliError::new(Exit::Unsafe, error.message);
    }
    error
}

async fn operators(connection: &mut Connection) -> Result<Vec<Operator>, CliError> {
    let listed = connection.list_operators(ListOperatorsRequest {});
    Ok(listed.await?.operators)
}

/// An operator as it is, refused as the cluster would when it is the last owner and would cease to be one.
async fn known(
    connection: &mut Connection,
    name: &str,
    ceases: bool,
) -> Result<Operator, CliError> {
    let all = operators(connection).await?;
    let is_owner = |operator: &Operator| operator.roles.iter().any(|role| role.role == "owner");
    let owners = all.iter().filter(|operator| is_owner(operator)).count();
    let found = all
        .into_iter()
        .find(|operator| operator.name == name.to_lowercase())
        .ok_or_else(|| CliError::new(Exit::NotFound, format!("there is no operator {name}")))?;
    if ceases && is_owner(&found) && owners == 1 {
        let message = format!("{LAST_OWNER}: make another operator an owner first");
        return Err(CliError::new(Exit::Unsafe, message));
    }
    Ok(found)
}

fn row(operator: &Operator) -> Value {
    json!({
        "operator": operator.name,
        "roles": shown_roles(&operator.roles),
        "since": shown_time(operator.created_at_ms),
    })
}

/// Parses and carries out a command line, for tests.
#[cfg(test)]
pub(super) async fn run_words(
    connection: &mut Connection,
    words: &[&str],
) -> Result<Printed, CliError> {
    use clap::Parser as _;
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        operator: OperatorCommand,
    }
    let parsed = Cli::try_parse_from(["operator"].iter().chain(words));
    let command = parsed.map_err(|error| CliError::usage(error.to_string()))?;
    carry_out(command.operator.verb, connection).await
}
