//! `yunbase db export`: the documents of a collection as a file, or all collections as mongodump writes them.
//!
//! The documents are read page by page in the order of their `_id`s, one page ahead of the file. Each page is a query
//! of its own: a document that changes meanwhile is there as it was before or after its change.

mod checkpoint;
mod dump;
mod output;
mod writer;

use std::io;
use std::path::{Path, PathBuf};

use bson::Document;
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use yunbase_client::{Client, Find, Page};

use super::ejson::parse_document;
use super::failure::CliError;
use super::import::{Format, is_gzip_name, moved, plain_name};
use super::progress::{Progress, Unit};

use checkpoint::{Checkpoint, Current};
use output::Output;
use writer::{DocumentWriter, Precision};

/// A checkpoint is written when this much has been exported since the last one.
const CHECKPOINT_BYTES: u64 = 16 << 20;

/// Collections that belong to the system (users, keys) are listed, but nobody may read them.
const SYSTEM_PREFIX: &str = "_sys.";

/// Writes the documents of a collection to a file.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The collection
    #[arg(required_unless_present = "dump", conflicts_with = "dump")]
    collection: Option<String>,
    /// The file; compressed when its name ends in `.gz` [default: standard output]
    #[arg(long, short = 'f', value_name = "FILE", conflicts_with = "dump")]
    file: Option<PathBuf>,
    /// Write all collections with their indexes into this folder instead, as mongodump does
    #[arg(long, value_name = "FOLDER")]
    dump: Option<PathBuf>,
    /// Which collections the dump has [default: all]
    #[arg(long, requires = "dump", value_delimiter = ',')]
    collections: Vec<String>,
    /// Compress by gzip
    #[arg(long)]
    gzip: bool,
    /// How to write it [default: by the file's name, else jsonl]
    #[arg(long, value_enum, conflicts_with = "dump")]
    format: Option<Format>,
    /// Which documents, as Extended JSON
    #[arg(long, default_value = "{}", conflicts_with = "dump")]
    filter: String,
    /// Write at most this many documents of each collection
    #[arg(long)]
    limit: Option<u64>,
    /// Columns of CSV, or which fields JSON and BSON have; `a.b` is a field in a document [default of CSV: the fields of the first document]
    #[arg(long, value_delimiter = ',', conflicts_with = "dump")]
    fields: Vec<String>,
    /// How exact JSON values are
    #[arg(long, value_enum, default_value = "relaxed", conflicts_with = "dump")]
    precision: Precision,
    /// Remember progress in this file and go on from it
    #[arg(long, value_name = "CHECKPOINT")]
    resume: Option<PathBuf>,
}

/// Where an export stands.
struct Export<'a> {
    client: &'a Client,
    args: &'a ExportArgs,
    checkpoint: Checkpoint,
    progress: Progress,
    /// Documents of the collections before, and of this one.
    documents: u64,
}

/// What an export has come to.
#[derive(Debug)]
pub struct Exported {
    /// Documents written.
    pub documents: u64,
    /// What to say of it; `None` when the documents themselves are the output.
    pub report: Option<Value>,
}

impl ExportArgs {
    /// The collections that move, in a few words.
    pub(super) fn moved(&self) -> String {
        moved(self.collection.as_deref(), &self.collections)
    }

    /// Carries out the export. A file is complete or not there.
    pub async fn run(self, client: &Client, dry_run: bool) -> Result<Exported, CliError> {
        if self.resume.is_some() && self.file.is_none() && self.dump.is_none() {
            return Err(CliError::usage(
                "--resume needs a file: what went to standard output is not kept",
            ));
        }
        let known = client.list_collections().await?;
        let collections = self.collections(&known)?;
        let total = self.total(&known, &collections);
        if dry_run {
            let report = self.foresee(client, &collections, total).await?;
            return Ok(Exported {
                documents: 0,
                report: Some(report),
            });
        }
        let checkpoint = match &self.resume {
            Some(path) => Checkpoint::load(path, &self.described(client))?,
            None => Checkpoint::default(),
        };
        let before = checkpoint.finished.values().sum::<u64>();
        let current = checkpoint.current.as_ref();
        let first = before + current.map_or(0, |current| current.documents);
        let mut export = Export {
            client,
            args: &self,
            checkpoint,
            progress: Progress::new(Unit::Documents, total, first, first),
            documents: before,
        };
        let mut outcome = Ok(());
        for collection in &collections {
            outcome = export.collection(collection).await;
            if outcome.is_err() {
                break;
            }
        }
        export.progress.finish(export.documents);
        outcome?;
        let documents = export.documents;
        let report = match (&self.dump, &self.file) {
            (Some(folder), _) => Some(
                json!({"documents": documents, "collections": collections.len(), "folder": folder.display().to_string()}),
            ),
            (None, Some(file)) => {
                Some(json!({"documents": documents, "file": file.display().to_string()}))
            }
            (None, None) => None,
        };
        Ok(Exported { documents, report })
    }

    /// Which collections, in order.
    fn collections(&self, known: &[Document]) -> Result<Vec<String>, CliError> {
        let wanted = match &self.collection {
            Some(collection) => vec![collection.clone()],
            None if !self.collections.is_empty() => self.collections.clone(),
            None => {
                let names = known.iter().filter_map(|one| one.get_str("name").ok());
                let own = names.filter(|name| !name.starts_with(SYSTEM_PREFIX));
                return Ok(own.map(str::to_owned).collect());
            }
        };
        for name in &wanted {
            if find(known, name).is_none() {
                let message = format!("there is no collection {name}");
                return Err(CliError::new(super::exit::Exit::NotFound, message));
            }
        }
        Ok(wanted)
    }

    /// How many documents there will be, where that is known without counting.
    fn total(&self, known: &[Document], collections: &[String]) -> Option<u64> {
        if self.filter.trim() != "{}" {
            return self.limit;
        }
        let counts = collections.iter().map(|name| {
            let count = match find(known, name)?.get("count") {
                Some(bson::Bson::Int64(count)) => u64::try_from(*count).ok(),
                Some(bson::Bson::Int32(count)) => u64::try_from(*count).ok(),
                _ => None,
            };
            Some(count?.min(self.limit.unwrap_or(u64::MAX)))
        });
        counts.sum()
    }

    async fn foresee(
        &self,
        client: &Client,
        collections: &[String],
        total: Option<u64>,
    ) -> Result<Value, CliError> {
        let documents = match total {
            Some(total) if self.filter.trim() == "{}" => total,
            _ => {
                let filter = parse_document("--filter", &self.filter)?;
                let matching = client
                    .collection::<Document>(&collections[0])
                    .count(filter)
                    .await?;
                matching.min(self.limit.unwrap_or(u64::MAX))
            }
        };
        let target = self.dump.as_ref().or(self.file.as_ref());
        let target = target.map_or_else(
            || "standard output".to_owned(),
            |path| path.display().to_string(),
        );
        let what = format!(
            "write {documents} documents of {} to {target}",
            collections.join(", ")
        );
        Ok(json!({"dry_run": true, "would": what}))
    }

    /// What a checkpoint belongs to: the same words, the same export.
    fn described(&self, client: &Client) -> String {
        format!(
            "{} {:?} {:?} {:?} {:?} {:?} {} {} {:?} {:?} {:?}",
            client.env(),
            self.collection,
            self.collections,
            self.file,
            self.dump,
            self.format(),
            self.gzip,
            self.filter,
            self.limit,
            self.fields,
            self.precision,
        )
    }

    fn format(&self) -> Format {
        if self.dump.is_some() {
            return Format::Bson;
        }
        let by_name = || {
            let file = self.file.as_ref()?;
            Format::of_name(file)
                .or_else(|| plain_name(file)?.ends_with(".json").then_some(Format::Json))
        };
        self.format.or_else(by_name).unwrap_or(Format::Jsonl)
    }

    fn query(&self, client: &Client, collection: &str) -> Result<Find<Document>, CliError> {
        let find = client
            .collection::<Document>(collection)
            .find(parse_document("--filter", &self.filter)?);
        let mut projection: Document = self
            .fields
            .iter()
            .map(|field| (field.clone(), 1.into()))
            .collect();
        if !projection.is_empty() && !self.fields.iter().any(|field| field == "_id") {
            projection.insert("_id", 0);
        }
        Ok(find.project(projection))
    }
}

impl Export<'_> {
    async fn collection(&mut self, collection: &str) -> Result<(), CliError> {
        if self.checkpoint.finished.contains_key(collection) {
            return Ok(());
        }
        let args = self.args;
        let current = self.checkpoint.current.take();
        let current = current.filter(|current| current.collection == collection);
        let current = current.unwrap_or_default();
        let path = match &args.dump {
            Some(folder) => Some(self.dump_file(folder, collection).await?),
            None => args.file.clone(),
        };
        let gzip = args.gzip || path.as_deref().is_some_and(is_gzip_name);
        let shown = path
            .as_deref()
            .map_or("standard output".into(), Path::to_string_lossy);
        let failed = |error: io::Error| CliError::failed(format!("cannot write {shown}: {error}"));
        let mut out = match &path {
            Some(path) => Output::file(path, gzip, current.bytes).map_err(failed)?,
            None => Output::stdout(gzip),
        };
        let columns = if current.columns.is_empty() {
            args.fields.clone()
        } else {
            current.columns.clone()
        };
        let mut writer =
            DocumentWriter::new(args.format(), args.precision, columns, current.documents);
        let after = hex::decode(&current.after)
            .map_err(|_| CliError::failed("the checkpoint holds no place in the collection"))?;
        let left = args
            .limit
            .map(|limit| limit.saturating_sub(current.documents));
        let mut pages = Pages::new(args.query(self.client, collection)?, after.into(), left);
        let mut since_checkpoint = 0;
        while let Some(documents) = pages.next().await? {
            for document in &documents {
                writer.write(&mut out, document).map_err(failed)?;
                since_checkpoint += document.len() as u64;
            }
            let documents = self.documents + writer.count();
            self.progress.show(documents, documents, 0);
            if let Some(checkpoint) = &args.resume
                && since_checkpoint >= CHECKPOINT_BYTES
            {
                since_checkpoint = 0;
                self.checkpoint.current = Some(Current {
                    collection: collection.to_owned(),
                    after: hex::encode(&pages.after),
                    bytes: out.cut().map_err(failed)?,
                    documents: writer.count(),
                    columns: writer.columns().to_vec(),
                });
                self.checkpoint.save(checkpoint)?;
            }
        }
        writer.finish(&mut out).map_err(failed)?;
        out.finish().map_err(failed)?;
        let missed: Vec<&str> = writer.missed().collect();
        if !missed.is_empty() {
            self.progress.say(&format!(
                "not in the file, because the first document has no such fields: {}; choose columns with --fields",
                missed.join(", ")
            ));
        }
        self.documents += writer.count();
        self.checkpoint
            .finished
            .insert(collection.to_owned(), writer.count());
        self.checkpoint.current = None;
        args.resume
            .as_deref()
            .map_or(Ok(()), |path| self.checkpoint.save(path))
    }

    /// Where the documents of a collection go, with its metadata written beside.
    async fn dump_file(&self, folder: &Path, collection: &str) -> Result<PathBuf, CliError> {
        let path = dump::documents_path(folder, self.client.env(), collection, self.args.gzip);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|error| {
                CliError::failed(format!("cannot create {}: {error}", parent.display()))
            })?;
        }
        let indexes = self.client.collection::<Document>(collection);
        let indexes = indexes.list_indexes().await?;
        dump::write_metadata(&path, collection, &indexes)?;
        Ok(path)
    }
}

/// The description of a collection.
fn find<'a>(known: &'a [Document], name: &str) -> Option<&'a Document> {
    let is_it = |one: &&Document| one.get_str("name").is_ok_and(|known| known == name);
    known.iter().find(is_it)
}

/// The pages of a query. While one is written, the next is on its way.
struct Pages {
    find: Find<Document>,
    /// Where the page behind the last one given begins.
    after: Bytes,
    left: Option<u64>,
    under_way: Option<JoinHandle<yunbase_client::Result<Page<Bytes>>>>,
}

impl Pages {
    fn new(find: Find<Document>, after: Bytes, left: Option<u64>) -> Self {
        let mut pages = Self {
            find,
            after,
            left,
            under_way: None,
        };
        pages.ask();
        pages
    }

    fn ask(&mut self) {
        if self.left == Some(0) {
            return;
        }
        let find = self.find.clone().after(self.after.clone());
        let find = match self.left {
            Some(left) => find.limit(left),
            None => find,
        };
        self.under_way = Some(tokio::spawn(async move { find.page_raw().await }));
    }

    async fn next(&mut self) -> Result<Option<Vec<Bytes>>, CliError> {
        let Some(under_way) = self.under_way.take() else {
            return Ok(None);
        };
        let page = under_way
            .await
            .map_err(|error| CliError::failed(format!("a page was lost: {error}")))??;
        let count = page.documents.len() as u64;
        self.left = self.left.map(|left| left.saturating_sub(count));
        // A place without progress would be asked for again for ever.
        let ended = page.next.is_empty() || (count == 0 && page.next == self.after);
        self.after = page.next;
        if !ended {
            self.ask();
        }
        Ok(Some(page.documents))
    }
}

#[cfg(test)]
#[path = "export_test.rs"]
mod tests;
