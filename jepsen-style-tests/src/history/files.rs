//! Histories on disk: `history.edn` for Jepsen's own tools, `history.jsonl` for everybody else and for reading back.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use super::{Event, History, Kind, Value};

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line that is no event.
    #[error("line {line}: {reason}")]
    Line {
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        [Self::Invoke, Self::Ok, Self::Fail, Self::Info]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

impl Event {
    /// With Jepsen's keys.
    pub fn to_value(&self) -> Value {
        let int = |value: u64| Value::Int(i64::try_from(value).unwrap_or(i64::MAX));
        let mut members = vec![
            ("index".to_owned(), int(self.index)),
            ("time".to_owned(), int(self.time)),
            ("type".to_owned(), Value::keyword(self.kind.word())),
            ("process".to_owned(), int(self.process)),
            ("f".to_owned(), Value::keyword(&self.f)),
            ("value".to_owned(), self.value.clone()),
        ];
        if let Some(error) = &self.error {
            members.push(("error".to_owned(), Value::Text(error.clone())));
        }
        Value::Map(members)
    }

    fn of_value(value: &Value) -> Option<Self> {
        let count = |name| u64::try_from(value.get(name)?.as_int()?).ok();
        Some(Self {
            index: count("index")?,
            time: count("time")?,
            kind: Kind::of_word(value.get("type")?.as_word()?)?,
            process: count("process")?,
            f: value.get("f")?.as_word()?.to_owned(),
            value: value.get("value")?.clone(),
            error: value
                .get("error")
                .and_then(Value::as_word)
                .map(str::to_owned),
        })
    }
}

/// Writes both files into `folder`.
pub fn write(history: &History, folder: &Path) -> io::Result<()> {
    let mut edn = BufWriter::new(File::create(folder.join("history.edn"))?);
    let mut jsonl = BufWriter::new(File::create(folder.join("history.jsonl"))?);
    for event in &history.events {
        let value = event.to_value();
        writeln!(edn, "{value}")?;
        writeln!(jsonl, "{}", value.to_json())?;
    }
    edn.flush()?;
    jsonl.flush()
}

/// Reads a `history.jsonl`.
pub fn read(file: &Path) -> Result<History, FileError> {
    let mut history = History::default();
    for (at, line) in BufReader::new(File::open(file)?).lines().enumerate() {
        let wrong = |reason: String| FileError::Line {
            line: at + 1,
            reason,
        };
        let json: serde_json::Value =
            serde_json::from_str(&line?).map_err(|error| wrong(error.to_string()))?;
        let event = Event::of_value(&Value::from_json(&json))
            .ok_or_else(|| wrong("it has not the members of an event".to_owned()))?;
        history.push(event);
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_read_as_it_was_written() {
        let mut history = History::default();
        for (kind, error) in [
            (Kind::Invoke, None),
            (Kind::Info, Some("timeout".to_owned())),
        ] {
            history.push(Event {
                index: 0,
                time: 5,
                kind,
                process: 2,
                f: "write".into(),
                value: Value::ints([1, 2]),
                error,
            });
        }
        let folder = tempfile::tempdir().unwrap();
        write(&history, folder.path()).unwrap();
        assert_eq!(read(&folder.path().join("history.jsonl")).unwrap(), history);
        let edn = std::fs::read_to_string(folder.path().join("history.edn")).unwrap();
        assert!(edn.starts_with(
            "{:index 0, :time 5, :type :invoke, :process 2, :f :write, :value [1 2]}\n"
        ));
    }
}
