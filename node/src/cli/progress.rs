//! Shows how far an import or export is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a line is printed where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// When the first one is: who waits wants to know soon that something happens.
const FIRST_LINE_AFTER: Duration = Duration::from_secs(1);

/// What positions and the total count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Documents,
}

/// How far something is whose end may be known.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    total: Option<u64>,
    first: u64,
    furthest: u64,
    /// Rows of earlier runs, which say nothing about speed.
    rows_before: u64,
    begun: Instant,
    line_at: Instant,
}

impl Progress {
    /// Begins at position `first` of `total`, if that is known, after `rows_before` rows of earlier runs.
    pub(super) fn new(unit: Unit, total: Option<u64>, first: u64, rows_before: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let (bar, template) = match (total, unit) {
                (Some(total), Unit::Bytes) => (
                    ProgressBar::new(total),
                    "{bar:30} {percent}% {bytes}/{total_bytes} {msg} eta {eta}",
                ),
                (Some(total), Unit::Documents) => (
                    ProgressBar::new(total),
                    "{bar:30} {percent}% {pos}/{len} {msg} eta {eta}",
                ),
                (None, Unit::Bytes) => (ProgressBar::new_spinner(), "{spinner} {bytes} {msg}"),
                (None, Unit::Documents) => (ProgressBar::new_spinner(), "{spinner} {msg}"),
            };
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.with_style(style).with_position(first)
        });
        let now = Instant::now();
        Self {
            bar,
            total,
            first,
            furthest: first,
            rows_before,
            begun: now,
            line_at: now + FIRST_LINE_AFTER,
        }
    }

    /// All up to `position` is done: `rows`, of which `rejected` were set aside.
    pub(super) fn show(&mut self, position: u64, rows: u64, rejected: u64) {
        self.furthest = self.furthest.max(position);
        let now = Instant::now();
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.furthest);
                bar.set_message(format!("{rows} rows, {:.0}/s", self.rate(rows)));
            }
            None if now >= self.line_at => {
                self.line_at = now + LINE_INTERVAL;
                eprintln!("{}", self.line(rows, rejected));
            }
            None => {}
        }
    }

    /// Prints a message without tearing the bar.
    pub(super) fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None => eprintln!("{message}"),
        }
    }

    /// Ends the bar and sums up.
    pub(super) fn finish(&self, rows: u64) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!(
            "{rows} rows in {:.1} s, {:.0}/s",
            self.elapsed_s(),
            self.rate(rows)
        );
    }

    fn line(&self, rows: u64, rejected: u64) -> String {
        let eta = self.total.and_then(|total| {
            let done = self.furthest.saturating_sub(self.first);
            let left = total.saturating_sub(self.furthest);
            (done > 0).then(|| self.elapsed_s() * left as f64 / done as f64)
        });
        let eta = eta.map_or_else(String::new, |eta| format!(", {eta:.0} s left"));
        format!(
            "{rows} rows, {rejected} rejected, {:.0}/s{eta}",
            self.rate(rows)
        )
    }

    fn rate(&self, rows: u64) -> f64 {
        rows.saturating_sub(self.rows_before) as f64 / self.elapsed_s()
    }

    fn elapsed_s(&self) -> f64 {
        self.begun.elapsed().as_secs_f64().max(0.001)
    }
}
