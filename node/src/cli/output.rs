//! Results on standard output: a table for people, JSON for programs.

use std::io::{self, IsTerminal, Write};

use bson::Document;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::ejson;
use super::failure::CliError;

/// Widest cell of a table of several rows, in characters; longer values are cut. JSON shows them whole.
const CELL_CHARACTERS_MAX: usize = 48;
/// Most columns of a table.
const COLUMNS_MAX: usize = 12;

/// The flag that every command with a result takes.
#[derive(Debug, Clone, Copy, Args)]
pub struct OutputArgs {
    /// How to print results [default: table on a terminal, else jsonl]
    #[arg(short = 'o', long = "output", global = true, value_enum)]
    pub output: Option<Format>,
}

/// The flag that every command that changes something takes.
#[derive(Debug, Clone, Copy, Args)]
pub struct ChangeArgs {
    /// Say what would change, change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// What a command has to print.
#[derive(Debug, Clone, PartialEq)]
pub enum Printed {
    /// One value with named members.
    Value(Value),
    /// Any number of values of one kind.
    Rows(Vec<Value>),
    /// A text that is pasted elsewhere, and its name where JSON is asked for.
    Text(&'static str, String),
}

/// What a dry run prints: what would be done, in words.
pub fn would(what: impl Into<String>) -> Printed {
    Printed::Value(json!({ "dry_run": true, "would": what.into() }))
}

/// A form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, values cut to fit.
    Table,
    /// One JSON value, indented: an array when there are several documents.
    Json,
    /// One JSON object a line.
    Jsonl,
}

impl OutputArgs {
    /// The form to use.
    pub fn format(self) -> Format {
        let default = if io::stdout().is_terminal() {
            Format::Table
        } else {
            Format::Jsonl
        };
        self.output.unwrap_or(default)
    }

    /// Prints documents.
    pub fn documents(self, documents: Vec<Document>) -> Result<(), CliError> {
        print(self.format(), documents, &mut io::stdout().lock())
    }

    /// Prints one value with named members.
    pub fn value(self, value: &Value) -> Result<(), CliError> {
        print_value(self.format(), value, &mut io::stdout().lock())
    }

    /// Prints what a command has come to.
    pub fn printed(self, printed: Printed) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        match (printed, self.output) {
            (Printed::Value(value), _) => print_value(self.format(), &value, &mut out),
            (Printed::Rows(rows), _) => print_rows(self.format(), &rows, &mut out),
            (Printed::Text(_, text), None | Some(Format::Table)) => settle(writeln!(out, "{text}")),
            (Printed::Text(name, text), Some(format)) => {
                print_value(format, &json!({ name: text }), &mut out)
            }
        }
    }
}

#[cfg(test)]
impl std::fmt::Display for Printed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => write!(f, "{value}"),
            Self::Rows(rows) => write!(f, "{rows:?}"),
            Self::Text(_, text) => f.write_str(text),
        }
    }
}

/// Prints one line of a result.
///
/// A reader that has seen enough (`| head -1`) is no failure, so unlike `println!` this does not panic then.
pub fn line(text: impl std::fmt::Display) {
    let mut out = io::stdout().lock();
    if let Err(error) = writeln!(out, "{text}")
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        eprintln!("error: cannot write to standard output: {error}");
    }
}

/// Writes documents to `out`.
pub fn print(
    format: Format,
    documents: Vec<Document>,
    out: &mut impl Write,
) -> Result<(), CliError> {
    let values: Vec<Value> = documents.into_iter().map(ejson::to_json).collect();
    print_rows(format, &values, out)
}

fn print_rows(format: Format, values: &[Value], out: &mut impl Write) -> Result<(), CliError> {
    let written = match format {
        Format::Jsonl => values.iter().try_for_each(|value| writeln!(out, "{value}")),
        Format::Json => serde_json::to_string_pretty(values)
            .map_err(io::Error::other)
            .and_then(|text| writeln!(out, "{text}")),
        Format::Table => table(values, out),
    };
    settle(written)
}

fn print_value(format: Format, value: &Value, out: &mut impl Write) -> Result<(), CliError> {
    let written = match (format, value) {
        (Format::Table, Value::Object(members)) => members.iter().try_for_each(|(name, value)| {
            let name = name.replace('_', " ");
            writeln!(out, "{name:<16} {}", plain(value))
        }),
        (Format::Json, value) => serde_json::to_string_pretty(value)
            .map_err(io::Error::other)
            .and_then(|text| writeln!(out, "{text}")),
        (_, value) => writeln!(out, "{value}"),
    };
    settle(written)
}

/// A reader that has seen enough is no failure.
fn settle(written: io::Result<()>) -> Result<(), CliError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::failed(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

fn table(values: &[Value], out: &mut impl Write) -> io::Result<()> {
    let mut columns: Vec<&str> = Vec::new();
    for name in values
        .iter()
        .filter_map(Value::as_object)
        .flat_map(serde_json::Map::keys)
    {
        if columns.len() < COLUMNS_MAX && !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    if columns.is_empty() {
        return writeln!(out, "(nothing)");
    }
    let rows: Vec<Vec<String>> = values
        .iter()
        .map(|value| {
            columns
                .iter()
                .map(|name| value.get(name).map_or_else(String::new, cell))
                .collect()
        })
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([columns[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    line(&mut columns.iter().copied())?;
    rows.iter()
        .try_for_each(|row| line(&mut row.iter().map(String::as_str)))
}

/// A value on one line, whole.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace(char::is_control, " "),
        other => other.to_string(),
    }
}

fn cell(value: &Value) -> String {
    let text = plain(value);
    if text.chars().count() <= CELL_CHARACTERS_MAX {
        return text;
    }
    text.chars()
        .take(CELL_CHARACTERS_MAX - 1)
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn printed(format: Format) -> String {
        let mut out = Vec::new();
        let documents = vec![
            doc! {"_id": "a", "n": 1},
            doc! {"_id": "bb", "s": "x".repeat(100)},
        ];
        print(format, documents, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tables_line_up_and_cut_long_values() {
        let text = printed(Format::Table);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "_id  n  s");
        assert_eq!(lines[1], "a    1");
        assert!(lines[2].starts_with("bb      xxx") && lines[2].ends_with('…'));
    }

    #[test]
    fn json_forms_are_json() {
        assert_eq!(printed(Format::Jsonl).lines().count(), 2);
        let value: Value = serde_json::from_str(&printed(Format::Json)).unwrap();
        assert_eq!(value[0]["n"], 1);
    }

    #[test]
    fn a_single_value_is_shown_whole_in_every_form() {
        let long = "x".repeat(CELL_CHARACTERS_MAX * 2);
        for format in [Format::Table, Format::Json, Format::Jsonl] {
            let mut out = Vec::new();
            print_value(format, &json!({ "a_b": long }), &mut out).unwrap();
            assert!(String::from_utf8(out).unwrap().contains(&long));
        }
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let mut out = Vec::new();
        print(Format::Table, Vec::new(), &mut out).unwrap();
        assert_eq!(out, b"(nothing)\n");
    }
}
