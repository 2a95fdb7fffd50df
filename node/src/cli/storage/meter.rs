//! Shows how far transfers are: a bar on a terminal, a line now and then elsewhere. Standard error only.

use std::io::IsTerminal;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use tokio::io::{AsyncRead, ReadBuf};

/// How often a line is printed where there is no terminal.
pub(super) const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Errors that are printed; the others are only counted.
const ERRORS_PRINTED: u64 = 20;

/// Counts what has been transferred. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct Meter {
    bar: Option<ProgressBar>,
    bytes: Arc<AtomicU64>,
    errors: Arc<AtomicU64>,
    total: u64,
    begun: Instant,
}

impl Meter {
    /// One for so many bytes in all.
    pub(super) fn new(total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{bar:30} {percent}% {bytes}/{total_bytes} {bytes_per_sec} eta {eta}";
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style)
        });
        Self {
            bar,
            bytes: Arc::default(),
            errors: Arc::default(),
            total,
            begun: Instant::now(),
        }
    }

    /// So much more is done.
    pub(super) fn count(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// Prints a message without tearing the bar.
    pub(super) fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None => eprintln!("{message}"),
        }
    }

    /// Prints what went wrong, unless that would be too much.
    pub(super) fn complain(&self, message: &str) {
        match self.errors.fetch_add(1, Ordering::Relaxed) {
            errors if errors < ERRORS_PRINTED => self.say(&format!("error: {message}")),
            ERRORS_PRINTED => self.say("further errors are only counted"),
            _ => {}
        }
    }

    /// How far it is, where there is no bar that shows it.
    pub(super) fn line(&self) {
        if self.bar.is_none() {
            let bytes = self.bytes.load(Ordering::Relaxed);
            eprintln!("{} of {}", HumanBytes(bytes), HumanBytes(self.total));
        }
    }

    /// Ends the bar.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Seconds since it began.
    pub(super) fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Counts what is read from `source`.
    pub(super) fn counted<R>(&self, source: R) -> Counted<R> {
        Counted {
            source,
            meter: self.clone(),
        }
    }
}

/// A reader that is counted.
pub(super) struct Counted<R> {
    source: R,
    meter: Meter,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = out.filled().len();
        let read = Pin::new(&mut self.source).poll_read(cx, out);
        let bytes = out.filled().len().saturating_sub(before);
        if bytes > 0 {
            self.meter.count(bytes as u64);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_read_is_counted() {
        let meter = Meter::new(10);
        let mut text = String::new();
        let mut reader = meter.counted(&b"0123456789"[..]);
        reader.read_to_string(&mut text).await.unwrap();
        assert_eq!(meter.bytes.load(Ordering::Relaxed), 10);
        for _ in 0..30 {
            meter.complain("x");
        }
        assert_eq!(meter.errors.load(Ordering::Relaxed), 30);
    }
}
