//! `yunbase audit`: reads the audit logs.

use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bson::{Document, doc};
use clap::Args;
use yunbase_client::proto::{AuditEntry, ReadAuditRequest};

use super::connection::Connection;
use super::login::shown_time;
use crate::cli::exit::Exit;
use crate::cli::failure::{CliError, conclude};
use crate::cli::output::{Format, OutputArgs, line};
use crate::cli::target::TargetArgs;

/// How often a log that is followed is asked for more.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// How far entries may come late: nodes write them, and their clocks differ.
const LATE_MS: i64 = 60_000;
/// Entries that are asked for at one time while following.
const FOLLOW_PAGE: u32 = 1000;

/// Reads an audit log: who did what, when, from where, and what came of it.
#[derive(Debug, Args)]
pub struct AuditCommand {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The log of this environment; without it that of the cluster
    // Not from YUNBASE_ENV: which log is read shall not depend on a variable that nobody thinks of.
    #[arg(long, short = 'e')]
    env: Option<String>,
    /// Only from then on: a time such as 2026-01-31T12:00:00Z, or how long ago: 90s, 30m, 2h, 7d
    #[arg(long, value_parser = parse_since)]
    since: Option<Since>,
    /// Only what this operator or key did: `alice`, `operator:alice`, `key:AKID…`
    #[arg(long, default_value = "")]
    by: String,
    /// Only this action, or all of a kind: `key.create`, `key`
    #[arg(long, default_value = "")]
    action: String,
    /// Print at most this many entries, the newest
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on with new entries until interrupted
    #[arg(long, short = 'f')]
    follow: bool,
}

/// A point in time, as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// Milliseconds since 1970.
    At(i64),
    /// Milliseconds before now.
    Ago(i64),
}

impl Since {
    fn unix_ms(self) -> i64 {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now_ms().saturating_sub(ago),
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| {
            i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
        })
}

fn parse_since(text: &str) -> Result<Since, String> {
    if let Ok(time) = bson::DateTime::parse_rfc3339_str(text) {
        return Ok(Since::At(time.timestamp_millis()));
    }
    let wrong =
        || "a time such as 2026-01-31T12:00:00Z, or how long ago: 90s, 30m, 2h, 7d".to_owned();
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Since::Ago(i64::from(count) * seconds * 1000))
}

impl AuditCommand {
    /// Carries out the command.
    pub async fn run(self) -> Exit {
        conclude(self.try_run().await)
    }

    async fn try_run(self) -> Result<(), CliError> {
        let since_ms = self.since.map_or(0, Since::unix_ms);
        let mut connection = Connection::of(&self.target.resolve()?).await?;
        let request = self.request(since_ms, self.limit);
        let entries = connection.read_audit(request).await?.entries;
        if !self.follow {
            let rows = entries.iter().map(shown).collect();
            return self.output.documents(rows);
        }
        let mut follower = Follower::default();
        self.print_each(follower.new_ones(entries));
        loop {
            tokio::time::sleep(FOLLOW_INTERVAL).await;
            let request = self.request(follower.since_ms(), FOLLOW_PAGE);
            let entries = match connection.read_audit(request.clone()).await {
                Ok(answer) => answer.entries,
                // The token has ended, or the node has: once more with a fresh one, through another.
                Err(error) if matches!(error.exit, Exit::Auth | Exit::Unavailable) => {
                    connection = Connection::of(&self.target.resolve()?).await?;
                    connection.read_audit(request).await?.entries
                }
                Err(error) => return Err(error),
            };
            self.print_each(follower.new_ones(entries));
        }
    }

    fn request(&self, since_ms: i64, limit: u32) -> ReadAuditRequest {
        ReadAuditRequest {
            env: self.env.clone().unwrap_or_default(),
            since_ms,
            until_ms: 0,
            by: self.by.clone(),
            action: self.action.clone(),
            limit,
        }
    }

    /// One line each, since nobody knows how wide the columns of what is to come are.
    fn print_each(&self, entries: Vec<AuditEntry>) {
        for entry in entries {
            let shown = shown(&entry);
            match self.output.format() {
                Format::Table => {
                    let cells = shown.values().filter_map(|value| value.as_str());
                    let cells: Vec<&str> = cells.filter(|cell| !cell.is_empty()).collect();
                    line(cells.join("  "));
                }
                Format::Json | Format::Jsonl => {
                    line(bson::Bson::Document(shown).into_relaxed_extjson());
                }
            }
        }
    }
}

/// What of a log has been printed.
#[derive(Default)]
struct Follower {
    newest_ms: i64,
    /// Entries that may be answered once more.
    seen: HashSet<String>,
}

impl Follower {
    /// From when on to ask: a little before the newest, for those that come late.
    fn since_ms(&self) -> i64 {
        (self.newest_ms - LATE_MS).max(0)
    }

    fn new_ones(&mut self, entries: Vec<AuditEntry>) -> Vec<AuditEntry> {
        let fresh: Vec<AuditEntry> = entries
            .iter()
            .filter(|entry| !self.seen.contains(&entry.id))
            .cloned()
            .collect();
        let newest_ms = entries.iter().map(|entry| entry.at_ms).max();
        self.newest_ms = self.newest_ms.max(newest_ms.unwrap_or(0));
        // Only what the next answer may hold again.
        self.seen = entries.into_iter().map(|entry| entry.id).collect();
        fresh
    }
}

fn shown(entry: &AuditEntry) -> Document {
    doc! {
        "at": shown_time(entry.at_ms),
        "by": &entry.by,
        "action": &entry.action,
        "target": &entry.target,
        "outcome": &entry.outcome,
        "from": &entry.from,
        "detail": &entry.detail,
        "request_id": &entry.request_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_how_long_ago() {
        assert_eq!(parse_since("90s"), Ok(Since::Ago(90_000)));
        assert_eq!(parse_since("2h"), Ok(Since::Ago(7_200_000)));
        assert_eq!(parse_since("7d"), Ok(Since::Ago(604_800_000)));
        assert_eq!(parse_since("1970-01-01T00:00:01Z"), Ok(Since::At(1000)));
        for bad in ["", "h", "2", "2w", "-2h", "2é", "yesterday"] {
            assert!(parse_since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_follower_prints_each_entry_once_and_late_ones_too() {
        let entry = |id: &str, at_ms| AuditEntry {
            id: id.into(),
            at_ms,
            ..AuditEntry::default()
        };
        let mut follower = Follower::default();
        let ids = |entries: Vec<AuditEntry>| -> Vec<String> {
            entries.into_iter().map(|entry| entry.id).collect()
        };
        let first = follower.new_ones(vec![entry("a", 100_000), entry("b", 200_000)]);
        assert_eq!(ids(first), ["a", "b"]);
        assert_eq!(follower.since_ms(), 140_000);
        let late = vec![entry("late", 190_000), entry("b", 200_000)];
        assert_eq!(ids(follower.new_ones(late.clone())), ["late"]);
        assert!(follower.new_ones(late).is_empty());
    }
}
