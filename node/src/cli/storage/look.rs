//! What only looks: `ls`, `url`, `stat`, `verify`; and `restore`, which needs what `ls --deleted` tells.

use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use yunbase_client::storage::{FileQuery, StoredFile, VerifyReport};

use super::copy::existing;
use super::meter::LINE_INTERVAL;
use super::remote::Remote;
use super::{Outcome, Session};
use crate::cli::environment::EnvironmentArgs;
use crate::cli::exit::Exit;
use crate::cli::failure::CliError;
use crate::cli::output::Printed;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// A folder or a file
    #[arg(default_value = ":")]
    place: String,
    /// Everything below it, instead of one level
    #[arg(long, short = 'r')]
    recursive: bool,
    /// Deleted files that can be restored, at whatever level
    #[arg(long, conflicts_with = "recursive")]
    deleted: bool,
    /// Print at most this many; 0 = all
    #[arg(long, default_value_t = 1000)]
    limit: usize,
}

impl ListArgs {
    pub(super) async fn run(self, target: &EnvironmentArgs) -> Result<Outcome, CliError> {
        let place = Remote::parse(&self.place)?;
        let session = Session::of(target, [&place])?;
        if self.deleted {
            return self.deleted(&session, &place.path).await;
        }
        let mut rows = Vec::new();
        if !place.is_folder() {
            let file = session.storage.stat(&place.path).await?;
            rows.extend(file.as_ref().map(row));
        }
        let prefix = place.folder();
        let mut query = match self.recursive {
            true => FileQuery::below(prefix),
            false => FileQuery::level(prefix),
        };
        let limit = match self.limit {
            0 => usize::MAX,
            limit => limit,
        };
        loop {
            let page = session.storage.list(&query).await?;
            let mut level: Vec<(String, Value)> = page
                .prefixes
                .into_iter()
                .map(|path| (path.clone(), json!({ "path": path, "type": "folder" })))
                .collect();
            level.extend(page.files.iter().map(|file| (file.path.clone(), row(file))));
            level.sort_by(|a, b| a.0.cmp(&b.0));
            rows.extend(level.into_iter().map(|(_, row)| row));
            match page.next {
                Some(next) if rows.len() < limit && next > query.after => query.after = next,
                Some(_) => {
                    eprintln!("there are more: --limit 0 prints all");
                    break;
                }
                None => break,
            }
        }
        rows.truncate(limit);
        if rows.is_empty() && !place.path.is_empty() {
            let message = format!("there is nothing at `{}`", place.path);
            return Err(CliError::new(Exit::NotFound, message));
        }
        Ok(Outcome::of(Printed::Rows(rows)))
    }
}

impl ListArgs {
    async fn deleted(&self, session: &Session, prefix: &str) -> Result<Outcome, CliError> {
        let limit = match self.limit {
            0 => usize::MAX,
            limit => limit,
        };
        let (mut rows, mut after) = (Vec::new(), String::new());
        while rows.len() < limit {
            let page = session.storage.deleted(prefix, &after).await?;
            rows.extend(page.files.iter().map(|deleted| {
                json!({
                    "path": deleted.file.path, "version": deleted.file.version, "bytes": deleted.file.bytes,
                    "deleted": time(deleted.deleted_at_ms),
                })
            }));
            match page.next {
                Some(next) if next > after => after = next,
                _ => break,
            }
        }
        rows.truncate(limit);
        Ok(Outcome::of(Printed::Rows(rows)))
    }
}

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The version of the deleted file
    version: String,
    /// Say what would be done, do nothing
    #[arg(long)]
    dry_run: bool,
}

impl RestoreArgs {
    pub(super) async fn run(self, target: &EnvironmentArgs) -> Result<Outcome, CliError> {
        let session = Session::of(target, [])?;
        if self.dry_run {
            return Ok(Outcome::of(Printed::Value(
                json!({ "would_restore": self.version }),
            )));
        }
        let file = session.storage.restore(&self.version).await?;
        Ok(Outcome::of(Printed::Value(json!({
            "restored": file.path, "version": file.version, "bytes": file.bytes,
        }))))
    }
}

/// A file as a row of a listing.
fn row(file: &StoredFile) -> Value {
    json!({
        "path": file.path, "type": file.content_type, "bytes": file.bytes,
        "modified": time(file.modified_at_ms), "etag": file.etag,
    })
}

fn time(ms: i64) -> String {
    let time = bson::DateTime::from_millis(ms);
    time.try_to_rfc3339_string()
        .unwrap_or_else(|_| ms.to_string())
}

#[derive(Debug, Args)]
pub(super) struct UrlArgs {
    /// The file
    place: String,
    /// How long it opens the file: 90s, 30m, 2h, 7d [default: as long as the cluster says]
    #[arg(long, value_parser = parse_life)]
    life: Option<Duration>,
}

fn parse_life(text: &str) -> Result<Duration, String> {
    let wrong = || "a time such as 90s, 30m, 2h, 7d".to_owned();
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)];
    let (count, seconds) = units
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, *seconds)))
        .ok_or_else(wrong)?;
    let count: u32 = count.parse().map_err(|_| wrong())?;
    if count == 0 {
        return Err(wrong());
    }
    Ok(Duration::from_secs(u64::from(count) * seconds))
}

impl UrlArgs {
    pub(super) async fn run(self, target: &EnvironmentArgs) -> Result<Outcome, CliError> {
        let place = Remote::parse(&self.place)?;
        let session = Session::of(target, [&place])?;
        let link = session.storage.link(&place.path, self.life).await?;
        Ok(Outcome::of(Printed::Text("url", link.url)))
    }
}

#[derive(Debug, Args)]
pub(super) struct StatArgs {
    /// The file
    place: String,
}

impl StatArgs {
    pub(super) async fn run(self, target: &EnvironmentArgs) -> Result<Outcome, CliError> {
        let place = Remote::parse(&self.place)?;
        let session = Session::of(target, [&place])?;
        // Says so in this command's own words when there is none.
        existing(&session.storage, &place.path).await?;
        let detail = session.storage.describe(&place.path).await?;
        let file = &detail.file;
        let holders: Vec<String> = detail
            .holders
            .iter()
            .map(|(node, chunks)| format!("node {node}: {chunks}"))
            .collect();
        Ok(Outcome::of(Printed::Value(json!({
            "path": file.path, "id": format!("cloud://{0}.{0}/{1}", session.target.env, file.path),
            "bytes": file.bytes, "type": file.content_type, "etag": file.etag, "version": file.version,
            "modified": time(file.modified_at_ms), "owner": file.owner, "metadata": file.metadata,
            "chunks": detail.chunks, "unique_chunks": detail.unique_chunks, "unique_bytes": detail.unique_bytes,
            "shared_bytes": file.bytes.saturating_sub(detail.unique_bytes), "stored_bytes": detail.stored_bytes,
            "replicas": format!("{} of {}", detail.replicas_min, detail.replicas_wanted), "holders": holders,
        }))))
    }
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Read and hash every copy, instead of asking nodes whether they have it
    #[arg(long)]
    deep: bool,
}

impl VerifyArgs {
    pub(super) async fn run(self, target: &EnvironmentArgs) -> Result<Outcome, CliError> {
        let session = Session::of(target, [])?;
        let mut next = Instant::now() + LINE_INTERVAL;
        let progress = |report: &VerifyReport| {
            if Instant::now() >= next {
                next = Instant::now() + LINE_INTERVAL;
                eprintln!("checked {} files, {} chunks", report.files, report.chunks);
            }
        };
        let report = session.storage.verify(self.deep, progress).await?;
        let verdict = if report.is_clean() {
            Ok(())
        } else {
            Err(CliError::failed(verdict(&report)))
        };
        let printed = json!({
            "clean": report.is_clean(), "files": report.files, "bytes": report.bytes, "chunks": report.chunks,
            "missing_copies": report.missing_copies, "damaged_copies": report.damaged_copies,
            "repaired_copies": report.repaired_copies, "lost_chunks": report.lost_chunks,
            "lost_files": report.lost_files, "unnamed_chunks": report.unnamed_chunks,
            "unreachable": report.unreachable,
        });
        Ok(Outcome {
            printed: Some(Printed::Value(printed)),
            verdict,
        })
    }
}

/// What is wrong, worst first, and what to do about it.
fn verdict(report: &VerifyReport) -> String {
    if report.lost_chunks > 0 {
        return format!(
            "{} chunks have no intact copy on any node that answered: bring back nodes that have been down, or restore the files from a backup",
            report.lost_chunks
        );
    }
    if !report.unreachable.is_empty() {
        let nodes: Vec<String> = report.unreachable.iter().map(u64::to_string).collect();
        return format!("not all nodes could be asked: {}", nodes.join(", "));
    }
    if report.missing_copies + report.damaged_copies > 0 {
        return "some copies are missing or damaged: the cluster makes new ones, check again in a while".to_owned();
    }
    "nodes keep chunks that nothing names: check again in a while".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_times_with_a_unit() {
        assert_eq!(parse_life("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_life("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_life("7d"), Ok(Duration::from_secs(604_800)));
        for wrong in ["", "5", "h", "0s", "-1s", "1.5h", "1y", "é", "1é"] {
            assert!(parse_life(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_worst_is_said_first() {
        let mut report = VerifyReport {
            unnamed_chunks: 1,
            ..VerifyReport::default()
        };
        assert!(verdict(&report).contains("nothing names"));
        report.missing_copies = 1;
        assert!(verdict(&report).contains("new ones"));
        report.unreachable = vec![3];
        assert!(verdict(&report).contains('3'));
        report.lost_chunks = 2;
        assert!(verdict(&report).contains("no intact copy"));
    }
}
