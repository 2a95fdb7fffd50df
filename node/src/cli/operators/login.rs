//! `yunbase login`, `logout` and `whoami`, and how other commands come by the tokens.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::json;
use tokio::runtime::{Handle, RuntimeFlavor};
use yunbase_client::auth::Credentials;
use yunbase_client::proto::{
    RefreshRequest, Role, SignInRequest, SignInResponse, SignOutRequest, WhoAmIRequest,
    WhoAmIResponse,
};

use super::connection::Connection;
use super::credentials::{CredentialsFile, Login};
use crate::cli::dev::{DevJson, Layout};
use crate::cli::exit::Exit;
use crate::cli::failure::{CliError, conclude};
use crate::cli::output::{OutputArgs, Printed};
use crate::cli::target::{Target, TargetArgs};
use crate::cli::users::{secret, time};

/// The operator that `yunbase dev` makes.
const DEFAULT_OPERATOR: &str = "root";
/// A token that ends within this is exchanged before it is used.
const RENEW_BEFORE_MS: i64 = 60_000;

/// Sign in as an operator; later commands with this target are carried out as that one.
#[derive(Debug, Args)]
pub struct LoginCommand {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Name of the operator [default: --operator, else root]
    #[arg(long)]
    username: Option<String>,
    /// File whose first line is the password, `-` for standard input [default: YUNBASE_OPERATOR_PASSWORD, else that of dev.json]
    #[arg(long)]
    password_file: Option<PathBuf>,
}

/// Sign out: ends the sign-in in the cluster and forgets it here.
#[derive(Debug, Args)]
pub struct LogoutCommand {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Say who commands with this target are carried out as.
#[derive(Debug, Args)]
pub struct WhoAmICommand {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl LoginCommand {
    /// Carries out the command.
    pub async fn run(self) -> Exit {
        conclude(self.try_run().await)
    }

    async fn try_run(self) -> Result<(), CliError> {
        let file = CredentialsFile::of_user()?;
        let target = self.target.resolve_with(None)?;
        let name = self.username.as_deref();
        let name = name.or(self.target.operator.as_deref());
        let name = name.unwrap_or(DEFAULT_OPERATOR);
        let password = match &self.password_file {
            Some(path) => secret::read(path)?,
            None => self.known_password(name)?,
        };
        let printed = login(&file, &target, name, password).await?;
        self.output.printed(printed)
    }

    fn known_password(&self, name: &str) -> Result<String, CliError> {
        if let Ok(password) = std::env::var("YUNBASE_OPERATOR_PASSWORD") {
            return Ok(password);
        }
        let folder = self.target.folder();
        let dev = folder
            .and_then(|folder| Layout::new(&folder).ok())
            .and_then(|layout| DevJson::read(&layout).ok().flatten())
            .map(|dev| dev.operator)
            .filter(|operator| operator.username == name);
        dev.map(|operator| operator.password).ok_or_else(|| {
            CliError::usage(format!(
                "give the password of {name} with --password-file or YUNBASE_OPERATOR_PASSWORD"
            ))
        })
    }
}

/// Signs in and keeps what that gives.
pub(super) async fn login(
    file: &CredentialsFile,
    target: &Target,
    name: &str,
    password: String,
) -> Result<Printed, CliError> {
    let mut connection = Connection::to(&target.endpoints, target.deadline, None).await?;
    let request = SignInRequest {
        name: name.to_owned(),
        password,
    };
    let answer = connection.sign_in(request).await?;
    let printed = json!({ "operator": answer.name, "roles": shown_roles(&answer.roles) });
    file.put(kept(&target.endpoints, answer))?;
    Ok(Printed::Value(printed))
}

fn kept(endpoints: &[String], answer: SignInResponse) -> Login {
    Login {
        endpoints: endpoints.to_vec(),
        operator: answer.name,
        access_token: answer.access_token,
        access_until_ms: answer.access_until_ms,
        refresh_token: answer.refresh_token,
    }
}

impl LogoutCommand {
    /// Carries out the command.
    pub async fn run(self) -> Exit {
        conclude(self.try_run().await)
    }

    async fn try_run(self) -> Result<(), CliError> {
        let file = CredentialsFile::of_user()?;
        let target = self.target.resolve_with(None)?;
        let printed = logout(&file, &target, self.target.operator.as_deref()).await?;
        self.output.printed(printed)
    }
}

/// Ends a sign-in and forgets it, also when the cluster has done so long ago.
pub(super) async fn logout(
    file: &CredentialsFile,
    target: &Target,
    operator: Option<&str>,
) -> Result<Printed, CliError> {
    let Some(login) = file.find(&target.endpoints, operator)? else {
        let message = format!("nobody is signed in at {}", target.endpoints.join(", "));
        return Err(CliError::new(Exit::NotFound, message));
    };
    let ended = async {
        let login = renewed(file, login.clone(), target).await?;
        let token = Some(Credentials::ApiKey(login.access_token));
        let mut connection = Connection::to(&target.endpoints, target.deadline, token).await?;
        connection.sign_out(SignOutRequest {}).await.map(drop)
    };
    match ended.await {
        Err(error) if error.exit != Exit::Auth => return Err(error),
        _ => file.forget(&target.endpoints, Some(&login.operator))?,
    }
    Ok(Printed::Value(json!({ "signed_out": login.operator })))
}

impl WhoAmICommand {
    /// Carries out the command.
    pub async fn run(self) -> Exit {
        conclude(self.try_run().await)
    }

    async fn try_run(self) -> Result<(), CliError> {
        let mut connection = Connection::of(&self.target.resolve()?).await?;
        self.output.printed(whoami(&mut connection).await?)
    }
}

/// Asks the cluster who the caller is.
pub(super) async fn whoami(connection: &mut Connection) -> Result<Printed, CliError> {
    let WhoAmIResponse {
        operator,
        secret_id,
        roles,
        env,
        session,
    } = connection.who_am_i(WhoAmIRequest {}).await?;
    Ok(Printed::Value(if operator.is_empty() {
        let env = Some(env).filter(|env| !env.is_empty());
        json!({ "secret_id": secret_id, "environment": env })
    } else {
        json!({ "operator": operator, "roles": shown_roles(&roles), "session": session })
    }))
}

/// Roles in words, such as `developer@shop, viewer`.
pub(super) fn shown_roles(roles: &[Role]) -> String {
    let shown = |role: &Role| match role.env.as_str() {
        "" => role.role.clone(),
        env => format!("{}@{env}", role.role),
    };
    roles.iter().map(shown).collect::<Vec<_>>().join(", ")
}

/// The token of an operator who has signed in at this target, fresh enough to be used.
pub(in crate::cli) fn stored(
    target: &Target,
    operator: Option<&str>,
) -> Result<Option<Credentials>, CliError> {
    let file = match CredentialsFile::of_user() {
        Ok(file) => file,
        // Whoever has no place for sign-ins has none.
        Err(_) if operator.is_none() => return Ok(None),
        Err(error) => return Err(error),
    };
    let Some(login) = file.find(&target.endpoints, operator)? else {
        return match operator {
            None => Ok(None),
            Some(operator) => Err(CliError::new(
                Exit::Auth,
                format!(
                    "{operator} is not signed in at {}: run `yunbase login --operator {operator}`",
                    target.endpoints.join(", ")
                ),
            )),
        };
    };
    if !is_stale(&login) {
        return Ok(Some(Credentials::ApiKey(login.access_token)));
    }
    // Commands resolve their target before they do anything else, on a runtime with several threads.
    let renewing = match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(|| handle.block_on(renewed(&file, login, target)))
        }
        _ => Ok(login),
    };
    Ok(Some(Credentials::ApiKey(renewing?.access_token)))
}

fn is_stale(login: &Login) -> bool {
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(0));
    login.access_until_ms - now_ms < RENEW_BEFORE_MS
}

/// The same sign-in with tokens that are good for a while.
pub(super) async fn renewed(
    file: &CredentialsFile,
    login: Login,
    target: &Target,
) -> Result<Login, CliError> {
    if !is_stale(&login) {
        return Ok(login);
    }
    let mut connection = Connection::to(&target.endpoints, target.deadline, None).await?;
    let request = RefreshRequest {
        refresh_token: login.refresh_token.clone(),
    };
    let answer = connection.refresh(request).await.map_err(|mut error| {
        if error.exit == Exit::Auth {
            error.message = format!(
                "the sign-in of {} has ended: run `yunbase login` again, or `yunbase logout` to go on without",
                login.operator
            );
        }
        error
    })?;
    let fresh = kept(&login.endpoints, answer);
    file.renew(&login, fresh.clone())?;
    Ok(fresh)
}

/// A time as people read it; nothing for none.
pub(super) fn shown_time(ms: i64) -> String {
    if ms == 0 { String::new() } else { time(ms) }
}
