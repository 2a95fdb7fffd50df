//! `yunbase user`: the end users of an environment.

use std::path::PathBuf;

use bson::{Document, doc};
use clap::{Args, Subcommand};
use serde_json::json;
use yunbase_client::proto::{
    CreateUserRequest, DeleteUserRequest, EndUser, ListSessionsRequest, ListUsersRequest,
    ResetPasswordRequest, RevokeSessionsRequest, SetUserDisabledRequest,
};

use super::connection::Connection;
use super::{Shared, secret};
use crate::cli::environment::Environment;
use crate::cli::exit::Exit;
use crate::cli::failure::{CliError, conclude};

/// Users that are printed unless told otherwise.
const LIST_USERS_DEFAULT: u32 = 100;

/// The end users of an environment.
#[derive(Debug, Args)]
pub struct UserCommand {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print users, in order of their ids
    List(ListArgs),
    /// Create a user with a name and a password
    Create(CreateArgs),
    /// Keep a user from signing in, and end all its sessions
    Disable(Who),
    /// Let a user sign in again
    Enable(Who),
    /// Remove a user with all sessions and ways to sign in; its documents stay
    Delete(Who),
    /// Set a new password and end all sessions
    ResetPassword(ResetArgs),
    /// Print the sessions of a user that are in force
    Sessions(Who),
    /// End the sessions of a user
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only the user of this name
    #[arg(long)]
    username: Option<String>,
    /// Continue after the user with this id
    #[arg(long, default_value = "")]
    after: String,
    /// Print at most this many users
    #[arg(long, default_value_t = LIST_USERS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=999))]
    limit: u32,
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The name to sign in with
    username: String,
    /// Shown name
    #[arg(long, default_value = "")]
    name: String,
    /// File whose first line is the password, `-` for standard input; without it one is made up and printed
    #[arg(long)]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ResetArgs {
    #[command(flatten)]
    who: Who,
    /// File whose first line is the password, `-` for standard input; without it one is made up and printed
    #[arg(long)]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    #[command(flatten)]
    who: Who,
    /// Only this session
    #[arg(long, default_value = "")]
    session: String,
}

#[derive(Debug, Args)]
struct Who {
    /// Name of the user, or with --id its id
    user: String,
    /// USER is an id
    #[arg(long)]
    id: bool,
}

impl Who {
    /// Id and name, one of them empty.
    fn split(self) -> (String, String) {
        if self.id {
            (self.user, String::new())
        } else {
            (String::new(), self.user)
        }
    }
}

impl UserCommand {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        conclude(self.try_run().await)
    }

    async fn try_run(self) -> Result<(), CliError> {
        let Self { shared, verb } = self;
        let target = shared.target.resolve()?;
        let connection = Connection::of(&target).await?;
        let mut session = Session {
            connection,
            target,
            shared,
        };
        match verb {
            Verb::List(args) => session.list(args).await,
            Verb::Create(args) => session.create(args).await,
            Verb::Disable(who) => session.set_disabled(who, true).await,
            Verb::Enable(who) => session.set_disabled(who, false).await,
            Verb::Delete(who) => session.delete(who).await,
            Verb::ResetPassword(args) => session.reset_password(args).await,
            Verb::Sessions(who) => session.sessions(who).await,
            Verb::Revoke(args) => session.revoke(args).await,
        }
    }
}

struct Session {
    connection: Connection,
    target: Environment,
    shared: Shared,
}

impl Session {
    fn env(&self) -> String {
        self.target.env.clone()
    }

    async fn list(&mut self, args: ListArgs) -> Result<(), CliError> {
        let request = ListUsersRequest {
            env: self.env(),
            username: args.username.unwrap_or_default(),
            after: args.after,
            limit: args.limit,
        };
        let page = self.connection.list_users(request).await?;
        if let (true, Some(last)) = (page.more, page.users.last()) {
            eprintln!("there are more: continue with --after {}", last.uid);
        }
        let users = page.users.iter().map(shown).collect();
        self.shared.output.documents(users)
    }

    async fn create(&mut self, args: CreateArgs) -> Result<(), CliError> {
        let what = format!("create the user {}", args.username);
        if self.shared.only_say(&self.target, &what) {
            return Ok(());
        }
        let (password, made_up) = secret::password(args.password_file.as_deref())?;
        let request = CreateUserRequest {
            env: self.env(),
            username: args.username,
            password: password.clone(),
            name: args.name,
        };
        let user = self.connection.create_user(request).await?.user;
        let user = user.unwrap_or_default();
        let mut result = json!({ "uid": user.uid, "username": user.username });
        if made_up {
            result["password"] = json!(password);
        }
        self.shared.output.value(&result)
    }

    async fn set_disabled(&mut self, who: Who, disabled: bool) -> Result<(), CliError> {
        let verb = if disabled { "disable" } else { "enable" };
        let what = format!("{verb} the user {}", who.user);
        if self.shared.only_say(&self.target, &what) {
            return Ok(());
        }
        let (uid, username) = who.split();
        let request = SetUserDisabledRequest {
            env: self.env(),
            uid,
            username,
            disabled,
        };
        let user = self.connection.set_user_disabled(request).await?.user;
        let user = user.unwrap_or_default();
        let result = json!({ "uid": user.uid, "disabled": user.disabled });
        self.shared.output.value(&result)
    }

    async fn delete(&mut self, who: Who) -> Result<(), CliError> {
        let what = format!("delete the user {}", who.user);
        if self.shared.only_say(&self.target, &what) {
            return Ok(());
        }
        let (uid, username) = who.split();
        let request = DeleteUserRequest {
            env: self.env(),
            uid,
            username,
        };
        let uid = self.connection.delete_user(request).await?.uid;
        let result = json!({ "uid": uid, "deleted": true });
        self.shared.output.value(&result)
    }

    async fn reset_password(&mut self, args: ResetArgs) -> Result<(), CliError> {
        let what = format!("set a new password of the user {}", args.who.user);
        if self.shared.only_say(&self.target, &what) {
            return Ok(());
        }
        let (password, made_up) = secret::password(args.password_file.as_deref())?;
        let (uid, username) = args.who.split();
        let request = ResetPasswordRequest {
            env: self.env(),
            uid,
            username,
            password: password.clone(),
        };
        let uid = self.connection.reset_password(request).await?.uid;
        let mut result = json!({ "uid": uid });
        if made_up {
            result["password"] = json!(password);
        }
        self.shared.output.value(&result)
    }

    async fn sessions(&mut self, who: Who) -> Result<(), CliError> {
        let (uid, username) = who.split();
        let request = ListSessionsRequest {
            env: self.env(),
            uid,
            username,
        };
        let found = self.connection.list_sessions(request).await?.sessions;
        let sessions = found.into_iter().map(|session| {
            doc! {
                "session": session.id,
                "loginType": session.login_type,
                "begun": time(session.created_at_ms),
                "refreshed": time(session.refreshed_at_ms),
                "ends": time(session.expires_at_ms),
            }
        });
        self.shared.output.documents(sessions.collect())
    }

    async fn revoke(&mut self, args: RevokeArgs) -> Result<(), CliError> {
        let what = format!("end sessions of the user {}", args.who.user);
        if self.shared.only_say(&self.target, &what) {
            return Ok(());
        }
        let (uid, username) = args.who.split();
        let request = RevokeSessionsRequest {
            env: self.env(),
            uid,
            username,
            session: args.session,
        };
        let revoked = self.connection.revoke_sessions(request).await?.revoked;
        self.shared.output.value(&json!({ "revoked": revoked }))
    }
}

fn shown(user: &EndUser) -> Document {
    doc! {
        "uid": &user.uid,
        "username": &user.username,
        "name": &user.name,
        "from": &user.created_from,
        "customId": &user.custom_id,
        "openid": &user.openid,
        "disabled": user.disabled,
        "created": time(user.created_at_ms),
    }
}

/// A time as people read it.
pub(in crate::cli) fn time(ms: i64) -> String {
    bson::DateTime::from_millis(ms)
        .try_to_rfc3339_string()
        .unwrap_or_default()
}
