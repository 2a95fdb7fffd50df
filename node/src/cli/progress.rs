//! Shows how far an import is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Report;

/// How often a line is printed where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// When the first one is: who waits wants to know soon that something happens.
const FIRST_LINE_AFTER: Duration = Duration::from_secs(1);

/// Progress by the place in the file.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    size_bytes: Option<u64>,
    first_offset: u64,
    furthest: u64,
    begun: Instant,
    line_at: Instant,
}

impl Progress {
    /// Begins at `first_offset` of a file of `size_bytes`, if it has a known size.
    pub(super) fn new(size_bytes: Option<u64>, first_offset: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let (bar, template) = match size_bytes {
                Some(size_bytes) => (
                    ProgressBar::new(size_bytes),
                    "{bar:30} {percent}% {bytes}/{total_bytes} {msg} eta {eta}",
                ),
                None => (ProgressBar::new_spinner(), "{spinner} {bytes} {msg}"),
            };
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.with_style(style).with_position(first_offset)
        });
        let now = Instant::now();
        Self {
            bar,
            size_bytes,
            first_offset,
            furthest: first_offset,
            begun: now,
            line_at: now + FIRST_LINE_AFTER,
        }
    }

    /// Rows up to `offset` are done.
    pub(super) fn show(&mut self, offset: u64, report: &Report) {
        self.furthest = self.furthest.max(offset);
        let now = Instant::now();
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.furthest);
                bar.set_message(format!(
                    "{} rows, {:.0}/s",
                    report.rows,
                    self.rate(report.rows)
                ));
            }
            None if now >= self.line_at => {
                self.line_at = now + LINE_INTERVAL;
                eprintln!("{}", self.line(report));
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
    pub(super) fn finish(&self, report: &Report) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!(
            "{} rows in {:.1} s, {:.0}/s",
            report.rows,
            self.elapsed_s(),
            self.rate(report.rows)
        );
    }

    fn line(&self, report: &Report) -> String {
        let eta = self.size_bytes.and_then(|size_bytes| {
            let done = self.furthest.saturating_sub(self.first_offset);
            let left = size_bytes.saturating_sub(self.furthest);
            (done > 0).then(|| self.elapsed_s() * left as f64 / done as f64)
        });
        let eta = eta.map_or_else(String::new, |eta| format!(", {eta:.0} s left"));
        format!(
            "{} rows, {} rejected, {:.0}/s{eta}",
            report.rows,
            report.rejected,
            self.rate(report.rows)
        )
    }

    fn rate(&self, rows: u64) -> f64 {
        rows as f64 / self.elapsed_s()
    }

    fn elapsed_s(&self) -> f64 {
        self.begun.elapsed().as_secs_f64().max(0.001)
    }
}
