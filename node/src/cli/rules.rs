//! `yunbase rules`: what end users may do with collections. `test` and `explain` evaluate the rules that are set,
//! or others that are tried out, here, with the node's own code, and read what `get()` asks for from the cluster.
//! Files have rules too, as those of the collection that holds their records.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use clap::{Args, Subcommand, ValueEnum};
use futures::future::BoxFuture;
use serde_json::json;
use yunbase_client::proto::RecentDenialsRequest;
use yunbase_client::{Client, Collection};

use super::ejson;
use super::environment::{Environment, EnvironmentArgs};
use super::exit::Exit;
use super::failure::{CliError, conclude};
use super::management::Management;
use super::output::OutputArgs;
use crate::call::{EndUser, Failure, LoginType, Retry};
use crate::rules::access::Permission;
use crate::rules::trial::{Part, Trial, explain, test};
use crate::rules::{Action, Asker, Documents, Rules};
use crate::storage::record::FILES;

/// `yunbase rules`
#[derive(Debug, Args)]
pub struct RulesCommand {
    #[command(flatten)]
    target: EnvironmentArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the rules of a collection
    Get {
        /// The collection; `_sys.files` stands for all files
        collection: String,
    },
    /// Set the rules of a collection: in force on every node when this returns
    Set(SetArgs),
    /// Say whether a request would be allowed
    Test(TrialArgs),
    /// Show the value of each part of the rule for a request
    Explain(TrialArgs),
    /// Show the last refusals by rules, of each node of the target
    Denials {
        /// Show at most this many of each node
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

#[derive(Debug, Args)]
struct SetArgs {
    /// The collection; `_sys.files` stands for all files
    collection: String,
    /// Who may do what
    mode: Mode,
    /// For custom: `{"read": ..., "write": ..., "create": ..., "update": ..., "delete": ...}`
    #[arg(long, conflicts_with = "file")]
    rule: Option<String>,
    /// For custom: a file with the same
    #[arg(long)]
    file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    /// Everyone reads, owners write
    Readonly,
    /// Owners read and write
    Private,
    /// Everyone reads, only administrators write
    Adminwrite,
    /// Only administrators read and write
    Adminonly,
    /// Rules of your own
    Custom,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ActionName {
    Read,
    Create,
    Update,
    Delete,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LoginName {
    Anonymous,
    Username,
    Email,
    Phone,
    Custom,
    Wechat,
}

#[derive(Debug, Args)]
struct TrialArgs {
    /// The collection; `_sys.files` stands for all files, each a document `{path, openid, size, type, metadata}`
    collection: String,
    /// What the request does
    action: ActionName,
    /// `auth.openid` of the caller
    #[arg(long, default_value = "somebody")]
    openid: String,
    /// `auth.uid` of the caller [default: the openid]
    #[arg(long)]
    uid: Option<String>,
    /// `auth.loginType` of the caller
    #[arg(long, default_value = "username")]
    login_type: LoginName,
    /// The document before the request, as Extended JSON
    #[arg(long)]
    before: Option<String>,
    /// The document after the request, as Extended JSON
    #[arg(long)]
    after: Option<String>,
    /// `request.data` [default: the document after the request]
    #[arg(long)]
    data: Option<String>,
    /// Try these custom rules instead of those that are set
    #[arg(long)]
    rule: Option<String>,
}

impl RulesCommand {
    /// Carries out the command.
    pub async fn run(self) -> Exit {
        conclude(self.try_run().await)
    }

    async fn try_run(self) -> Result<(), CliError> {
        let target = self.target.resolve()?;
        match self.verb {
            Verb::Get { collection } => {
                let client = target.connect().await?;
                let access = access_of(&client, &collection).await?;
                self.output.value(&ejson::to_json(access))
            }
            Verb::Set(args) => {
                let access = args.access()?;
                collection_of(&target, &args.collection)
                    .await?
                    .set_access(&access)
                    .await?;
                self.output.value(&ejson::to_json(access))
            }
            Verb::Test(args) => {
                let attempt = args.prepare(&target).await?;
                let verdict = test(
                    &attempt.rules,
                    attempt.asker(),
                    attempt.trial(),
                    &attempt.documents,
                )
                .await
                .map_err(of_failure)?;
                self.output
                    .value(&json!({ "allowed": verdict.allowed, "reason": verdict.reason }))
            }
            Verb::Explain(args) => {
                let attempt = args.prepare(&target).await?;
                self.output.documents(attempt.explain().await?)
            }
            Verb::Denials { limit } => self.output.documents(denials(&target, limit).await?),
        }
    }
}

/// The access document of a collection, spelt out where none was set.
async fn access_of(client: &Client, collection: &str) -> Result<Document, CliError> {
    let asked = client.collection::<Document>(collection).access().await;
    let access = match asked {
        // Files come to be with the first of them, and have rules before.
        Err(error) if collection == FILES && error.code() == "DATABASE_COLLECTION_NOT_EXIST" => {
            Document::new()
        }
        asked => asked?,
    };
    if !access.is_empty() {
        return Ok(access);
    }
    let mode = if collection == FILES {
        "READONLY"
    } else {
        "PRIVATE"
    };
    Ok(doc! { "mode": mode })
}

async fn collection_of(target: &Environment, name: &str) -> Result<Collection<Document>, CliError> {
    Ok(target.connect().await?.collection(name))
}

async fn denials(target: &Environment, limit: u32) -> Result<Vec<Document>, CliError> {
    let mut rows: Vec<(i64, Document)> = Vec::new();
    let credentials = target.cluster.require_credentials()?;
    for url in target.endpoints() {
        let connecting = Management::connect(url, credentials.clone(), target.deadline());
        let answer = match connecting.await {
            Ok(mut node) => {
                node.recent_denials(RecentDenialsRequest {
                    env: target.env.clone(),
                    count_max: limit,
                })
                .await?
            }
            Err(status) => {
                eprintln!("{url} does not answer: {}", status.message());
                continue;
            }
        };
        rows.extend(answer.denials.into_iter().map(|denial| {
            let row = doc! {
                "at": bson::DateTime::from_millis(denial.at_ms),
                "node": url,
                "request": denial.request_id,
                "collection": denial.collection,
                "operation": denial.operation,
                "uid": denial.uid,
                "reason": denial.reason,
            };
            (denial.at_ms, row)
        }));
    }
    rows.sort_by_key(|(at_ms, _)| std::cmp::Reverse(*at_ms));
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

impl SetArgs {
    fn access(&self) -> Result<Document, CliError> {
        let rule = match (&self.rule, &self.file) {
            (Some(text), _) => Some(ejson::parse_document("--rule", text)?),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    CliError::failed(format!("cannot read {}: {error}", path.display()))
                })?;
                Some(ejson::parse_document("the file", &text)?)
            }
            (None, None) => None,
        };
        let mode = match self.mode {
            Mode::Readonly => "READONLY",
            Mode::Private => "PRIVATE",
            Mode::Adminwrite => "ADMINWRITE",
            Mode::Adminonly => "ADMINONLY",
            Mode::Custom => "CUSTOM",
        };
        let mut access = doc! { "mode": mode };
        if let Some(rule) = rule {
            access.insert("rule", rule);
        }
        // Refused here already, so that a mistake costs no round trip.
        parse_rules(&access)?;
        Ok(access)
    }
}

fn parse_rules(access: &Document) -> Result<Rules, CliError> {
    Rules::parse(&raw("the rules", access)?).map_err(|error| CliError::usage(error.to_string()))
}

fn raw(name: &str, document: &Document) -> Result<RawDocumentBuf, CliError> {
    RawDocumentBuf::try_from(document).map_err(|error| CliError::usage(format!("{name}: {error}")))
}

/// A request to try, with all that it needs.
struct Attempt {
    rules: Rules,
    user: EndUser,
    now_ms: i64,
    action: Action,
    before: Option<RawDocumentBuf>,
    after: Option<RawDocumentBuf>,
    data: Option<RawDocumentBuf>,
    documents: ClusterDocuments,
}

impl TrialArgs {
    async fn prepare(&self, target: &Environment) -> Result<Attempt, CliError> {
        let document = |name: &str, text: &Option<String>| {
            text.as_ref()
                .map(|text| raw(name, &ejson::parse_document(name, text)?))
                .transpose()
        };
        let client = target.connect().await?;
        let access = match &self.rule {
            Some(rule) => {
                doc! { "mode": "CUSTOM", "rule": ejson::parse_document("--rule", rule)? }
            }
            None => access_of(&client, &self.collection).await?,
        };
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |elapsed| {
                i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
            });
        Ok(Attempt {
            rules: parse_rules(&access)?,
            user: EndUser {
                uid: self.uid.clone().unwrap_or_else(|| self.openid.clone()),
                openid: self.openid.clone(),
                login_type: match self.login_type {
                    LoginName::Anonymous => LoginType::Anonymous,
                    LoginName::Username => LoginType::Username,
                    LoginName::Email => LoginType::Email,
                    LoginName::Phone => LoginType::Phone,
                    LoginName::Custom => LoginType::Custom,
                    LoginName::Wechat => LoginType::Wechat,
                },
                session: String::new(),
            },
            now_ms,
            action: match self.action {
                ActionName::Read => Action::Read,
                ActionName::Create => Action::Create,
                ActionName::Update => Action::Update,
                ActionName::Delete => Action::Delete,
            },
            before: document("--before", &self.before)?,
            after: document("--after", &self.after)?,
            data: document("--data", &self.data)?,
            documents: ClusterDocuments(client),
        })
    }
}

impl Attempt {
    fn asker(&self) -> Asker<'_> {
        Asker {
            user: &self.user,
            now_ms: self.now_ms,
        }
    }

    fn trial(&self) -> Trial<'_> {
        Trial {
            action: self.action,
            before: self.before.as_deref(),
            after: self.after.as_deref(),
            data: self.data.as_deref(),
        }
    }

    async fn explain(&self) -> Result<Vec<Document>, CliError> {
        let Permission::When(expression) = self.rules.permission(self.action) else {
            let verdict = test(&self.rules, self.asker(), self.trial(), &self.documents)
                .await
                .map_err(of_failure)?;
            return Ok(vec![
                doc! { "part": self.rules.mode(), "value": verdict.allowed, "why": verdict.reason },
            ]);
        };
        let subjects: [(&str, Option<&RawDocument>); 2] = [
            ("before", self.before.as_deref()),
            ("after", self.after.as_deref()),
        ];
        let mut rows = Vec::new();
        for (name, document) in subjects {
            let Some(document) = document else { continue };
            let parts = explain(
                expression,
                self.asker(),
                self.trial(),
                document,
                &self.documents,
            )
            .await
            .map_err(of_failure)?;
            rows.extend(parts.into_iter().map(|part| row(name, part)));
        }
        if rows.is_empty() {
            return Err(CliError::usage(
                "give the document that the rule is about with --before or --after",
            ));
        }
        Ok(rows)
    }
}

fn row(name: &str, part: Part) -> Document {
    let value = match part.value {
        // A missing value has no form in JSON.
        Ok(Bson::Undefined) => Bson::String("(nothing)".to_owned()),
        Ok(value) => value,
        Err(reason) => Bson::String(format!("({reason})")),
    };
    doc! { "document": name, "part": format!("{}{}", "  ".repeat(part.depth), part.text), "value": value }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "its shape is that of `map_err`"
)]
fn of_failure(failure: Failure) -> CliError {
    CliError::new(Exit::of_code(&failure.code), failure.to_string())
}

/// Documents of the cluster, for `get()` in rules.
struct ClusterDocuments(Client);

impl Documents for ClusterDocuments {
    fn document<'a>(
        &'a self,
        collection: &'a str,
        id: &'a Bson,
    ) -> BoxFuture<'a, Result<Option<RawDocumentBuf>, Failure>> {
        Box::pin(async move {
            let failed = |error: String| Failure::new("SYS_ERR", error, Retry::Never);
            let found: Vec<Document> = self
                .0
                .collection::<Document>(collection)
                .find(doc! { "_id": id.clone() })
                .limit(1)
                .all()
                .await
                .map_err(|error| failed(error.to_string()))?;
            found
                .first()
                .map(|document| {
                    RawDocumentBuf::try_from(document).map_err(|error| failed(error.to_string()))
                })
                .transpose()
        })
    }
}

#[cfg(test)]
#[path = "rules_test.rs"]
mod tests;
