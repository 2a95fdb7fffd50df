//! How a file is written, as its name or its beginning says.

use std::io::{self, BufRead};
use std::path::Path;

use clap::ValueEnum;

/// Some programs begin a file with this.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How gzip begins: its two bytes and the only method there is.
const GZIP_MAGIC: &[u8] = b"\x1f\x8b\x08";

/// How a file is written; each may be compressed by gzip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
    /// Comma-separated values; the first line names the fields.
    Csv,
    /// BSON documents one behind the other, as mongodump writes them.
    Bson,
}

impl Format {
    /// What the name of a file says, with or without `.gz`. `.json` may be an array or lines.
    pub fn of_name(path: &Path) -> Option<Self> {
        match plain_name(path)?.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "bson" => Some(Self::Bson),
            _ => None,
        }
    }

    /// What the first character says that is not white space; nothing is consumed. BSON is told by its name only.
    pub(super) fn of_beginning(reader: &mut impl BufRead) -> io::Result<Self> {
        let buffer = reader.fill_buf()?;
        let first = buffer
            .iter()
            .find(|byte| !byte.is_ascii_whitespace() && !BYTE_ORDER_MARK.contains(byte));
        Ok(match first {
            Some(b'[') => Self::Json,
            Some(b'{') | None => Self::Jsonl,
            Some(_) => Self::Csv,
        })
    }
}

/// The name of a file in lower case, without `.gz`.
pub(in crate::cli) fn plain_name(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    Some(name.strip_suffix(".gz").map_or(name.clone(), str::to_owned))
}

/// Whether the name says that the file is compressed.
pub(in crate::cli) fn is_gzip_name(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

/// Whether the beginning of a file says that it is compressed. The length of a BSON document may look the same.
pub(super) fn is_gzip(beginning: &[u8]) -> bool {
    beginning.starts_with(GZIP_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_format_also_of_compressed_files() {
        for (name, format) in [
            ("a.jsonl", Some(Format::Jsonl)),
            ("a.NDJSON.gz", Some(Format::Jsonl)),
            ("dir.csv/a.bson.gz", Some(Format::Bson)),
            ("a.csv", Some(Format::Csv)),
            ("a.json", None),
            ("bson", None),
        ] {
            assert_eq!(Format::of_name(Path::new(name)), format, "{name}");
        }
        assert!(is_gzip_name(Path::new("a.bson.GZ")) && !is_gzip_name(Path::new("a.bson")));
    }
}
