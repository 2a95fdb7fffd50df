//! `yunbase auth`: what the sign-in of an environment's users needs.

use std::path::PathBuf;

use bson::doc;
use clap::{Args, Subcommand};
use serde_json::json;
use yunbase_client::proto::{
    CreateTicketKeyRequest, DeleteTicketKeyRequest, ListTicketKeysRequest, RotateSigningKeyRequest,
    SetWechatRequest,
};

use super::connection::Connection;
use super::user::time;
use super::{Shared, secret};
use crate::cli::environment::Environment;
use crate::cli::exit::Exit;
use crate::cli::failure::{CliError, conclude};

/// What the sign-in of an environment's users needs.
#[derive(Debug, Args)]
pub struct AuthCommand {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Keys that a server of your own signs login tickets with
    #[command(subcommand)]
    TicketKey(TicketKeyVerb),
    /// Mini Programs whose users sign in
    #[command(subcommand)]
    Wechat(WechatVerb),
    /// Withdraw the key that access tokens are signed with; clients refresh theirs
    RotateSigningKey,
}

#[derive(Debug, Subcommand)]
enum TicketKeyVerb {
    /// Make a key pair and print the key file, once
    Create,
    /// Print the ids of all ticket keys
    List,
    /// Withdraw a ticket key
    Delete {
        /// Its `private_key_id`
        private_key_id: String,
    },
}

#[derive(Debug, Subcommand)]
enum WechatVerb {
    /// Set the secret of a Mini Program
    Set {
        /// Its appid
        appid: String,
        /// File whose first line is the app's secret, `-` for standard input
        #[arg(long)]
        secret_file: PathBuf,
        /// Where WeChat is reached, for a proxy or a stand-in [default: https://api.weixin.qq.com]
        #[arg(long, default_value = "")]
        base_url: String,
    },
    /// Let nobody sign in through a Mini Program any more
    Remove {
        /// Its appid
        appid: String,
    },
}

impl AuthCommand {
    /// Runs the command.
    pub async fn run(self) -> Exit {
        conclude(self.try_run().await)
    }

    async fn try_run(self) -> Result<(), CliError> {
        let Self { shared, verb } = self;
        let target = shared.target.resolve()?;
        let mut connection = Connection::of(&target).await?;
        match verb {
            Verb::TicketKey(verb) => ticket_key(&mut connection, &target, &shared, verb).await,
            Verb::Wechat(verb) => wechat(&mut connection, &target, &shared, verb).await,
            Verb::RotateSigningKey => {
                if shared.only_say(&target, "withdraw the signing key") {
                    return Ok(());
                }
                let env = target.env.clone();
                let request = RotateSigningKeyRequest { env };
                let kid = connection.rotate_signing_key(request).await?.kid;
                shared.output.value(&json!({ "kid": kid }))
            }
        }
    }
}

async fn ticket_key(
    connection: &mut Connection,
    target: &Environment,
    shared: &Shared,
    verb: TicketKeyVerb,
) -> Result<(), CliError> {
    let env = target.env.clone();
    match verb {
        TicketKeyVerb::Create => {
            if shared.only_say(target, "make a ticket key") {
                return Ok(());
            }
            let request = CreateTicketKeyRequest { env: env.clone() };
            let key = connection.create_ticket_key(request).await?;
            // The file that the server-side packages read, whatever the form of other results is.
            shared.output.value(&json!({
                "private_key_id": key.private_key_id,
                "private_key": key.private_key,
                "env_id": env,
            }))
        }
        TicketKeyVerb::List => {
            let request = ListTicketKeysRequest { env };
            let keys = connection.list_ticket_keys(request).await?.keys;
            let keys = keys.into_iter().map(|key| {
                doc! { "private_key_id": key.private_key_id, "created": time(key.created_at_ms) }
            });
            shared.output.documents(keys.collect())
        }
        TicketKeyVerb::Delete { private_key_id } => {
            let what = format!("withdraw the ticket key {private_key_id}");
            if shared.only_say(target, &what) {
                return Ok(());
            }
            let request = DeleteTicketKeyRequest {
                env,
                private_key_id: private_key_id.clone(),
            };
            if !connection.delete_ticket_key(request).await?.deleted {
                let message = format!("there is no ticket key {private_key_id}");
                return Err(CliError::new(Exit::NotFound, message));
            }
            let result = json!({ "private_key_id": private_key_id, "deleted": true });
            shared.output.value(&result)
        }
    }
}

async fn wechat(
    connection: &mut Connection,
    target: &Environment,
    shared: &Shared,
    verb: WechatVerb,
) -> Result<(), CliError> {
    let (appid, secret, base_url) = match verb {
        WechatVerb::Set {
            appid,
            secret_file,
            base_url,
        } => {
            if shared.only_say(target, &format!("set the Mini Program {appid}")) {
                return Ok(());
            }
            (appid, secret::read(&secret_file)?, base_url)
        }
        WechatVerb::Remove { appid } => {
            if shared.only_say(target, &format!("remove the Mini Program {appid}")) {
                return Ok(());
            }
            (appid, String::new(), String::new())
        }
    };
    let request = SetWechatRequest {
        env: target.env.clone(),
        appid: appid.clone(),
        secret,
        base_url,
    };
    connection.set_wechat(request).await?;
    shared.output.value(&json!({ "appid": appid }))
}
