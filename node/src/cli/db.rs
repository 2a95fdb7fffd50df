//! `yunbase db`: documents and indexes from the shell.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::time::Duration;

use bson::{Document, doc};
use clap::{Args, Subcommand};
use futures::TryStreamExt;
use serde_json::json;
use yunbase_client::filter::Filter;
use yunbase_client::proto::ValidationLevel;
use yunbase_client::{Client, Collection, Index, Updated};

use super::ejson::{self, parse_document};
use super::environment::{Environment, EnvironmentArgs};
use super::exit::Exit;
use super::export::ExportArgs;
use super::failure::{CliError, conclude};
use super::import::ImportArgs;
use super::index_wait;
use super::operators::{Movement, note};
use super::output::{OutputArgs, would};

/// Largest text that is read as documents of `db insert`; larger ones are imported.
const INSERT_BYTES_MAX: u64 = 32 << 20;
/// Documents that `db find` prints unless told otherwise.
const FIND_DOCUMENTS_DEFAULT: u64 = 20;

/// Documents, indexes, import and export.
#[derive(Debug, Args)]
pub struct DbCommand {
    #[command(flatten)]
    shared: Shared,
    #[command(subcommand)]
    verb: Verb,
}

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

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the documents that match
    Find(FindArgs),
    /// Insert a document or an array of documents
    Insert(InsertArgs),
    /// Change the first document that matches, or all
    Update(UpdateArgs),
    /// Remove the first document that matches, or all
    Delete(DeleteArgs),
    /// Count the documents that match
    Count(FilterArgs),
    /// Send documents through a pipeline and print what comes out
    Aggregate(AggregateArgs),
    /// Show how a query would be carried out
    Explain(FindArgs),
    /// Indexes of a collection
    #[command(subcommand)]
    Index(IndexVerb),
    /// Collections of the environment
    #[command(subcommand, visible_alias = "collections")]
    Collection(CollectionVerb),
    /// Read documents from a file into a collection
    Import(ImportArgs),
    /// Write the documents of a collection to a file
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct FilterArgs {
    /// The collection
    collection: String,
    /// Which documents, as Extended JSON
    #[arg(default_value = "{}")]
    filter: String,
}

#[derive(Debug, Args)]
struct FindArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Order, as `{"path": 1, "other": -1}`
    #[arg(long, default_value = "{}")]
    sort: String,
    /// Leave out this many matches
    #[arg(long, default_value_t = 0)]
    skip: u64,
    /// Print at most this many documents; 0 = all
    #[arg(long, default_value_t = FIND_DOCUMENTS_DEFAULT)]
    limit: u64,
    /// Which fields, as `{"path": 1}`
    #[arg(long, default_value = "{}")]
    project: String,
}

#[derive(Debug, Args)]
struct AggregateArgs {
    /// The collection
    collection: String,
    /// The stages, as an array of Extended JSON such as `[{"$match": {"a": 1}}]`; `-` reads standard input
    #[arg(default_value = "[]")]
    pipeline: String,
    /// Show the plan and what each stage took instead of the result
    #[arg(long)]
    explain: bool,
}

#[derive(Debug, Args)]
struct InsertArgs {
    /// The collection
    collection: String,
    /// A document or an array, as Extended JSON; `-` reads standard input
    #[arg(required_unless_present = "file")]
    documents: Option<String>,
    /// Read the documents from a file
    #[arg(long, conflicts_with = "documents")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct UpdateArgs {
    /// The collection
    collection: String,
    /// Which documents, as Extended JSON
    filter: String,
    /// Update operators such as `{"$set": {"a": 1}}`, or with --replace the new document
    update: String,
    /// Change all matches
    #[arg(long)]
    many: bool,
    /// Create a document when none matches
    #[arg(long)]
    upsert: bool,
    /// Put a whole new document in place of the first match
    #[arg(long, conflicts_with = "many")]
    replace: bool,
}

#[derive(Debug, Args)]
struct DeleteArgs {
    /// The collection
    collection: String,
    /// Which documents, as Extended JSON
    filter: String,
    /// Remove all matches
    #[arg(long)]
    many: bool,
    /// Really remove every document when the filter is empty
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, Subcommand)]
enum IndexVerb {
    /// Start to build an index
    Create {
        /// The collection
        collection: String,
        /// Paths in order of significance; `path:-1` for largest first
        #[arg(required = true)]
        fields: Vec<String>,
        #[command(flatten)]
        options: IndexArgs,
        /// Come back when it is built, or cannot be
        #[arg(long)]
        wait: bool,
    },
    /// Describe the indexes
    List {
        /// The collection
        collection: String,
    },
    /// Remove an index
    Drop {
        /// The collection
        collection: String,
        /// Its name
        name: String,
    },
}

/// How strictly a schema is taken.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum LevelArg {
    /// They are refused
    Strict,
    /// They are stored and counted
    Warn,
    /// Nothing is checked
    Off,
}

/// What an index may have beyond its paths.
#[derive(Debug, Default, Args)]
struct IndexArgs {
    /// No two documents may have an equal key
    #[arg(long)]
    unique: bool,
    /// Leave out documents that have none of the fields
    #[arg(long)]
    sparse: bool,
    /// Only documents that match this filter, as Extended JSON
    #[arg(long, value_name = "JSON")]
    partial: Option<String>,
    /// Remove documents this long after the date at the path
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u32>,
    /// The first path holds GeoJSON
    #[arg(long)]
    geo: bool,
    /// Its name [default: made of the paths]
    #[arg(long)]
    name: Option<String>,
}

#[derive(Debug, Subcommand)]
enum CollectionVerb {
    /// Describe the collections
    List,
    /// Create an empty collection
    Create {
        /// Its name
        collection: String,
    },
    /// Give a collection another name
    Rename {
        /// Its name
        collection: String,
        /// Its new name
        to: String,
    },
    /// Documents, bytes and indexes of one collection
    Stats {
        /// Its name
        collection: String,
    },
    /// Say what documents must be like from now on
    Validator {
        /// The collection
        collection: String,
        /// A JSON schema (draft 4 with bsonType)
        #[arg(default_value = "{}")]
        schema: String,
        /// What happens to documents that do not satisfy it
        #[arg(long, default_value = "strict")]
        level: LevelArg,
    },
    /// Remove a collection with all its documents
    Drop {
        /// Its name
        collection: String,
        /// Really do it
        #[arg(long)]
        yes: bool,
    },
}

impl DbCommand {
    /// Carries out the command.
    pub async fn run(self) -> Exit {
        conclude(self.try_run().await)
    }

    async fn try_run(self) -> Result<(), CliError> {
        let Self { shared, verb } = self;
        let target = shared.target.resolve()?;
        if let Verb::Import(args) = verb {
            let moved = args.moved();
            if !shared.dry_run {
                note(&target, Movement::Import, &moved, None).await;
            }
            let report = args.run(&target, shared.dry_run).await?;
            if !shared.dry_run {
                note(&target, Movement::Import, &moved, Some(report.written)).await;
            }
            shared.output.value(&report.to_json())?;
            return report.conclude();
        }
        let session = Session {
            client: target.connect().await?,
            target,
            shared,
        };
        match verb {
            Verb::Find(args) => session.find(&args).await,
            Verb::Insert(args) => session.insert(&args).await,
            Verb::Update(args) => session.update(&args).await,
            Verb::Delete(args) => session.delete(&args).await,
            Verb::Count(args) => {
                let filter = Filter::from(parse_document("FILTER", &args.filter)?);
                let count = session.collection(&args.collection).count(filter).await?;
                session.shared.output.value(&json!({ "count": count }))
            }
            Verb::Aggregate(args) => session.aggregate(&args).await,
            Verb::Explain(args) => {
                let plan = session.query(&args)?.explain().await?;
                session.shared.output.value(&ejson::to_json(plan))
            }
            Verb::Index(verb) => session.index(verb).await,
            Verb::Collection(verb) => session.collections(verb).await,
            Verb::Export(args) => {
                let moved = args.moved();
                let dry_run = session.shared.dry_run;
                let done = args.run(&session.client, dry_run).await?;
                if !dry_run {
                    let documents = Some(done.documents);
                    note(&session.target, Movement::Export, &moved, documents).await;
                }
                let report = done.report;
                report.map_or(Ok(()), |report| session.shared.output.value(&report))
            }
            Verb::Import(_) => Ok(()),
        }
    }
}

struct Session {
    client: Client,
    target: Environment,
    shared: Shared,
}

impl Session {
    fn collection(&self, name: &str) -> Collection<Document> {
        self.client.collection(name)
    }

    /// Prints what would happen; true when that is all that shall happen.
    fn only_say(&self, what: &str) -> Result<bool, CliError> {
        if self.shared.dry_run {
            let what = format!("{what} in {}", self.target.describe());
            self.shared.output.printed(would(what))?;
        }
        Ok(self.shared.dry_run)
    }

    fn query(&self, args: &FindArgs) -> Result<yunbase_client::Find<Document>, CliError> {
        let filter = parse_document("FILTER", &args.filter.filter)?;
        let find = self
            .collection(&args.filter.collection)
            .find(filter)
            .sort(parse_document("--sort", &args.sort)?)
            .project(parse_document("--project", &args.project)?)
            .skip(args.skip);
        Ok(if args.limit == 0 {
            find
        } else {
            find.limit(args.limit)
        })
    }

    async fn find(&self, args: &FindArgs) -> Result<(), CliError> {
        let documents: Vec<Document> = self.query(args)?.stream().try_collect().await?;
        self.shared.output.documents(documents)
    }

    async fn aggregate(&self, args: &AggregateArgs) -> Result<(), CliError> {
        let text = match args.pipeline.as_str() {
            "-" => read_stdin("the pipeline")?,
            given => given.to_owned(),
        };
        let stages = ejson::parse_documents("PIPELINE", &text)?;
        let aggregate = self.collection(&args.collection).aggregate(stages);
        if args.explain {
            let plan = aggregate.explain().await?;
            return self.shared.output.value(&ejson::to_json(plan));
        }
        self.shared.output.documents(aggregate.all().await?)
    }

    async fn insert(&self, args: &InsertArgs) -> Result<(), CliError> {
        let documents = ejson::parse_documents("the input", &args.text()?)?;
        if self.only_say(&format!(
            "insert {} documents into {}",
            documents.len(),
            args.collection
        ))? {
            return Ok(());
        }
        let ids = self
            .collection(&args.collection)
            .insert_many(&documents)
            .await?;
        self.shared
            .output
            .documents(ids.into_iter().map(|id| doc! {"_id": id}).collect())
    }

    async fn update(&self, args: &UpdateArgs) -> Result<(), CliError> {
        let filter = parse_document("FILTER", &args.filter)?;
        let update = parse_document("UPDATE", &args.update)?;
        let collection = self.collection(&args.collection);
        if self.shared.dry_run {
            let matches = collection.count(filter).await?;
            let changed = if args.many { matches } else { matches.min(1) };
            return self
                .only_say(&format!(
                    "change {changed} of {matches} matching documents of {}",
                    args.collection
                ))
                .map(drop);
        }
        if args.upsert && args.many {
            return Err(CliError::usage(
                "--upsert creates one document: leave out --many",
            ));
        }
        let updated = match (args.replace, args.upsert, args.many) {
            (true, true, _) => {
                let Some(id) = filter.get("_id").filter(|_| filter.len() == 1) else {
                    return Err(CliError::usage(
                        "--replace --upsert needs a filter of the form {\"_id\": ...}",
                    ));
                };
                collection.put(id.clone(), &update).await?
            }
            (true, false, _) => collection.replace_one(filter, &update).await?,
            (false, true, _) => collection.upsert(filter, update).await?,
            (false, false, true) => collection.update_many(filter, update).await?,
            (false, false, false) => collection.update_one(filter, update).await?,
        };
        let Updated {
            matched,
            modified,
            upserted_id,
        } = updated;
        let mut result = doc! {"matched": matched as i64, "modified": modified as i64};
        if let Some(id) = upserted_id {
            result.insert("upserted_id", id);
        }
        self.shared.output.value(&ejson::to_json(result))
    }

    async fn delete(&self, args: &DeleteArgs) -> Result<(), CliError> {
        let filter = parse_document("FILTER", &args.filter)?;
        let collection = self.collection(&args.collection);
        if self.shared.dry_run {
            let matches = collection.count(filter).await?;
            let removed = if args.many { matches } else { matches.min(1) };
            return self
                .only_say(&format!(
                    "remove {removed} of {matches} matching documents of {}",
                    args.collection
                ))
                .map(drop);
        }
        if args.many && filter.is_empty() && !args.yes {
            let message = format!(
                "this would remove every document of {}: add --yes if you mean it",
                args.collection
            );
            return Err(CliError::new(Exit::Unsafe, message));
        }
        let removed = if args.many {
            // An emptied collection the cluster notes by itself.
            let to_note = !filter.is_empty();
            let removed = collection.delete_many(filter).await?;
            if to_note {
                let documents = Some(removed);
                note(&self.target, Movement::Delete, &args.collection, documents).await;
            }
            removed
        } else {
            collection.delete_one(filter).await?
        };
        self.shared.output.value(&json!({ "removed": removed }))
    }

    async fn index(&self, verb: IndexVerb) -> Result<(), CliError> {
        match verb {
            IndexVerb::Create {
                collection,
                fields,
                options,
                wait,
            } => {
                let index = parse_index(&fields, options)?;
                if self.only_say(&format!("build index {} of {collection}", index.name()))? {
                    return Ok(());
                }
                let (collection, name) = (self.collection(&collection), index.name());
                collection.create_index(&index).await?;
                let mut result = json!({ "index": name });
                if wait {
                    index_wait::built(&collection, &name).await?;
                    result["state"] = "ready".into();
                }
                self.shared.output.value(&result)
            }
            IndexVerb::List { collection } => self
                .shared
                .output
                .documents(self.collection(&collection).list_indexes().await?),
            IndexVerb::Drop { collection, name } => {
                if self.only_say(&format!("remove index {name} of {collection}"))? {
                    return Ok(());
                }
                self.collection(&collection).drop_index(&name).await?;
                self.shared.output.value(&json!({ "dropped": name }))
            }
        }
    }

    async fn collections(&self, verb: CollectionVerb) -> Result<(), CliError> {
        match verb {
            CollectionVerb::List => self
                .shared
                .output
                .documents(self.client.list_collections().await?),
            CollectionVerb::Create { collection } => {
                if self.only_say(&format!("create collection {collection}"))? {
                    return Ok(());
                }
                self.client.create_collection(&collection).await?;
                self.shared.output.value(&json!({ "created": collection }))
            }
            CollectionVerb::Rename { collection, to } => {
                if self.only_say(&format!("rename {collection} to {to}"))? {
                    return Ok(());
                }
                self.client.rename_collection(&collection, &to).await?;
                self.shared
                    .output
                    .value(&json!({ "renamed": collection, "to": to }))
            }
            CollectionVerb::Stats { collection } => {
                let mut collections = self.client.list_collections().await?;
                collections.retain(|one| one.get_str("name").is_ok_and(|name| name == collection));
                match collections.pop() {
                    Some(one) => self.shared.output.value(&ejson::to_json(one)),
                    None => Err(CliError::new(
                        Exit::NotFound,
                        format!("collection {collection} does not exist"),
                    )),
                }
            }
            CollectionVerb::Validator {
                collection,
                schema,
                level,
            } => {
                let schema = parse_document("SCHEMA", &schema)?;
                if self.only_say(&format!("set the schema of {collection}"))? {
                    return Ok(());
                }
                let level = match level {
                    LevelArg::Strict => ValidationLevel::Strict,
                    LevelArg::Warn => ValidationLevel::Warn,
                    LevelArg::Off => ValidationLevel::Off,
                };
                self.client
                    .set_validator(&collection, &schema, level)
                    .await?;
                self.shared
                    .output
                    .value(&json!({ "collection": collection, "level": level.as_str_name().to_lowercase() }))
            }
            CollectionVerb::Drop { collection, yes } => {
                if self.only_say(&format!("remove collection {collection}"))? {
                    return Ok(());
                }
                if !yes {
                    let message = format!(
                        "this would remove {collection} with all documents: add --yes if you mean it"
                    );
                    return Err(CliError::new(Exit::Unsafe, message));
                }
                self.client.drop_collection(&collection).await?;
                self.shared.output.value(&json!({ "dropped": collection }))
            }
        }
    }
}

/// Standard input, up to a byte more than what is inserted at once.
fn read_stdin(what: &str) -> Result<String, CliError> {
    if std::io::stdin().is_terminal() {
        eprintln!("reading {what} from standard input");
    }
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(INSERT_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| CliError::failed(format!("cannot read {what}: {error}")))?;
    Ok(text)
}

impl InsertArgs {
    fn text(&self) -> Result<String, CliError> {
        let failed =
            |error: std::io::Error| CliError::failed(format!("cannot read the documents: {error}"));
        let mut text = String::new();
        match (&self.file, self.documents.as_deref()) {
            (Some(path), _) => {
                let file = std::fs::File::open(path).map_err(failed)?;
                file.take(INSERT_BYTES_MAX + 1)
                    .read_to_string(&mut text)
                    .map_err(failed)?;
            }
            (None, Some("-")) => text = read_stdin("documents")?,
            (None, given) => text.push_str(given.unwrap_or_default()),
        }
        if text.len() as u64 > INSERT_BYTES_MAX {
            return Err(CliError::new(
                Exit::Limit,
                "the documents are larger than 32 MiB: use `db import`",
            ));
        }
        Ok(text)
    }
}

/// `path:-1` means largest first, `path` and `path:1` smallest first.
fn parse_index(fields: &[String], options: IndexArgs) -> Result<Index, CliError> {
    let mut index: Option<Index> = None;
    for field in fields {
        let (path, descending) = match field.rsplit_once(':') {
            Some((path, "-1")) => (path, true),
            Some((path, "1")) => (path, false),
            _ => (field.as_str(), false),
        };
        if path.is_empty() {
            return Err(CliError::usage(format!("{field:?} is no path of an index")));
        }
        index = Some(match (index, descending) {
            (None, false) if options.geo => Index::geo(path),
            (None, false) => Index::ascending(path),
            (None, true) => Index::descending(path),
            (Some(index), false) => index.then_ascending(path),
            (Some(index), true) => index.then_descending(path),
        });
    }
    let mut index = index.ok_or_else(|| CliError::usage("name at least one path"))?;
    if options.unique {
        index = index.unique();
    }
    if options.sparse {
        index = index.sparse();
    }
    if let Some(partial) = options.partial {
        index = index.partial(parse_document("--partial", &partial)?);
    }
    if let Some(seconds) = options.ttl {
        index = index.expire_after(Duration::from_secs(seconds.into()));
    }
    if let Some(name) = options.name {
        index = index.named(name);
    }
    Ok(index)
}

#[cfg(test)]
#[path = "db_test.rs"]
mod tests;
