//! What there is to import: one file, the files of a folder that mongodump wrote, or an archive of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::archive::{Blocks, Described, read_prelude};
use super::checkpoint::Checkpoint;
use super::format::Format;
use super::metadata::{Metadata, stem};
use super::rows::{self, Place, Rows, RowsOptions};
use super::source::{self, Position};
use crate::cli::exit::Exit;
use crate::cli::failure::CliError;

/// Databases that every MongoDB has, for itself.
const OWN_DATABASES: [&str; 3] = ["admin", "config", "local"];

/// A collection that documents are imported into.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) name: Arc<str>,
    pub(super) metadata: Metadata,
}

/// A file to import.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    /// One, but for an archive.
    pub(super) targets: Vec<Target>,
    /// The database of an archive.
    archive_of: Option<String>,
}

/// What of a dump is wanted.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    pub(super) db: Option<&'a str>,
    /// Empty: all.
    pub(super) collections: &'a [String],
}

/// The rows of a part, and how far its file has been read if that is another matter than where rows end.
pub(super) struct OpenPart {
    pub(super) rows: Rows<Box<dyn io::BufRead + Send>>,
    pub(super) position: Option<Position>,
}

impl Part {
    /// One file for one collection.
    pub(super) fn file(path: &Path, collection: &str, format: Option<Format>) -> io::Result<Self> {
        let metadata = match format {
            Some(Format::Bson) => Metadata::beside(path)?,
            _ => Metadata::default(),
        };
        Ok(Self {
            path: path.to_owned(),
            targets: vec![Target {
                name: collection.into(),
                metadata,
            }],
            archive_of: None,
        })
    }

    pub(super) fn is_stdin(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    pub(super) fn size_bytes(&self) -> Option<u64> {
        let meta = (!self.is_stdin()).then(|| std::fs::metadata(&self.path));
        Some(meta?.ok()?.len())
    }

    /// Opens it behind the rows that are settled.
    pub(super) fn open(
        &self,
        mut options: RowsOptions,
        checkpoint: &Checkpoint,
    ) -> io::Result<OpenPart> {
        if let Some(db) = &self.archive_of {
            let mut source = source::open(&self.path, None, 0)?;
            read_prelude(&mut source.reader)?;
            let names = self.targets.iter().map(|target| target.name.clone());
            let blocks = Blocks::new(db, names);
            return Ok(OpenPart {
                rows: Rows::of_archive(source.reader, options, blocks, checkpoint.rows)?,
                position: source.position,
            });
        }
        options.format = options.format.or_else(|| Format::of_name(&self.path));
        let format = options.format;
        let mut place = Place::default();
        if checkpoint.offset > 0 {
            // The beginning of the file says what the rest is.
            let beginning = source::open(&self.path, format, 0)?;
            place = Place {
                offset: checkpoint.offset,
                rows: checkpoint.rows,
                head: Some(rows::head(beginning.reader, &options)?),
            };
        }
        let source = source::open(&self.path, format, checkpoint.offset)?;
        let collection = self.targets[0].name.clone();
        Ok(OpenPart {
            rows: Rows::new(source.reader, options, collection, place)?,
            position: source.position,
        })
    }
}

/// The files of a dump at `path`, and what of it cannot be imported.
pub(super) fn parts(
    path: &Path,
    selection: &Selection<'_>,
) -> Result<(Vec<Part>, Vec<String>), CliError> {
    let failed =
        |error: io::Error| CliError::failed(format!("cannot read {}: {error}", path.display()));
    let mut left_out = Vec::new();
    let parts = if path.is_dir() {
        let folder = database_folder(path, selection.db)?;
        files(&folder, selection, &mut left_out).map_err(failed)?
    } else {
        let mut source = source::open(path, None, 0).map_err(failed)?;
        let described = read_prelude(&mut source.reader).map_err(failed)?;
        vec![archive(path, described, selection, &mut left_out)?]
    };
    for wanted in selection.collections {
        let mut targets = parts.iter().flat_map(|part| &part.targets);
        if !targets.any(|target| *target.name == **wanted) {
            let message = format!("there is no collection {wanted} in {}", path.display());
            return Err(CliError::new(Exit::NotFound, message));
        }
    }
    Ok((parts, left_out))
}

/// The folder with the files of the one database.
fn database_folder(path: &Path, db: Option<&str>) -> Result<PathBuf, CliError> {
    let entries = |path: &Path| {
        let entries = std::fs::read_dir(path).map_err(|error| {
            CliError::failed(format!("cannot read {}: {error}", path.display()))
        })?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        Ok::<_, CliError>(paths)
    };
    let is_of_a_database =
        |path: &Path| stem(path).is_some_and(|stem| stem != "oplog") && path.is_file();
    if let Some(db) = db {
        let folder = path.join(db);
        return if folder.is_dir() {
            Ok(folder)
        } else {
            let message = format!("there is no database {db} in {}", path.display());
            Err(CliError::new(Exit::NotFound, message))
        };
    }
    let inside = entries(path)?;
    if inside.iter().any(|path| is_of_a_database(path)) {
        return Ok(path.to_owned());
    }
    let mut databases = Vec::new();
    for folder in inside.iter().filter(|path| path.is_dir()) {
        let name = folder.file_name().and_then(|name| name.to_str());
        if let Some(name) = name.filter(|name| !OWN_DATABASES.contains(name))
            && entries(folder)?.iter().any(|path| is_of_a_database(path))
        {
            databases.push(name.to_owned());
        }
    }
    Ok(path.join(only(databases, path)?))
}

/// The one database there is; with several somebody has to choose.
fn only(mut databases: Vec<String>, path: &Path) -> Result<String, CliError> {
    match databases.len() {
        1 => Ok(databases.remove(0)),
        0 => Err(CliError::new(
            Exit::NotFound,
            format!("{} holds no collection", path.display()),
        )),
        _ => Err(CliError::usage(format!(
            "{} holds several databases; choose one with --db: {}",
            path.display(),
            databases.join(", ")
        ))),
    }
}

fn files(
    folder: &Path,
    selection: &Selection<'_>,
    left_out: &mut Vec<String>,
) -> io::Result<Vec<Part>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        paths.push(entry?.path());
    }
    paths.sort();
    let mut parts = Vec::new();
    for path in paths {
        let Some(stem) = stem(&path).filter(|stem| *stem != "oplog" && path.is_file()) else {
            continue;
        };
        let metadata = Metadata::beside(&path)?;
        let name = metadata
            .collection
            .clone()
            .unwrap_or_else(|| percent_decode_str(stem).decode_utf8_lossy().into_owned());
        if !is_wanted(&name, metadata.kind.as_deref(), selection, left_out) {
            continue;
        }
        parts.push(Part {
            targets: vec![Target {
                name: name.into(),
                metadata,
            }],
            path,
            archive_of: None,
        });
    }
    Ok(parts)
}

fn archive(
    path: &Path,
    described: Vec<Described>,
    selection: &Selection<'_>,
    left_out: &mut Vec<String>,
) -> Result<Part, CliError> {
    let db = match selection.db {
        Some(db) => db.to_owned(),
        None => {
            let mut databases: Vec<String> = described.iter().map(|one| one.db.clone()).collect();
            databases.retain(|db| !db.is_empty() && !OWN_DATABASES.contains(&db.as_str()));
            databases.sort();
            databases.dedup();
            only(databases, path)?
        }
    };
    let mut targets = Vec::new();
    for one in described.into_iter().filter(|one| one.db == db) {
        let metadata = Metadata::parse(&one.metadata).map_err(|reason| {
            CliError::failed(format!("the metadata of {} {reason}", one.collection))
        })?;
        let kind = Some(one.kind.as_str()).filter(|kind| !kind.is_empty());
        let kind = kind.or(metadata.kind.as_deref());
        if is_wanted(&one.collection, kind, selection, left_out) {
            targets.push(Target {
                name: one.collection.into(),
                metadata,
            });
        }
    }
    Ok(Part {
        path: path.to_owned(),
        targets,
        archive_of: Some(db),
    })
}

/// Whether a collection is to be imported; notes one that somebody may miss.
fn is_wanted(
    name: &str,
    kind: Option<&str>,
    selection: &Selection<'_>,
    left_out: &mut Vec<String>,
) -> bool {
    let is_chosen =
        selection.collections.is_empty() || selection.collections.iter().any(|one| one == name);
    if !is_chosen {
        return false;
    }
    match kind {
        Some(kind @ ("view" | "timeseries")) => {
            left_out.push(format!("{name}: a {kind} cannot be carried over"));
            false
        }
        _ if name.starts_with("system.") => {
            left_out.push(format!("{name}: belongs to MongoDB itself"));
            false
        }
        _ => true,
    }
}

#[cfg(test)]
#[path = "dump_test.rs"]
mod tests;
