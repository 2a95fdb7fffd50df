//! The head of one part of a form: what the part is called.

use crate::storage::error::{StorageError, StorageResult};

/// What the head of a part says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PartHead {
    /// The name of the field.
    pub(super) name: String,
    /// The media type of the content.
    pub(super) content_type: Option<String>,
}

impl PartHead {
    /// Reads the lines of a head.
    pub(super) fn parse(head: &[u8]) -> StorageResult<Self> {
        // Browsers write names of files in UTF-8; others' bytes do no harm.
        let head = String::from_utf8_lossy(head);
        let mut read = Self::default();
        for line in head.split("\r\n").filter(|line| !line.is_empty()) {
            let Some((name, value)) = line.split_once(':') else {
                return Err(StorageError::Invalid(
                    "a part of the form has a line in its head that is no header".to_owned(),
                ));
            };
            match name.trim().to_ascii_lowercase().as_str() {
                "content-disposition" => {
                    read.name = parameter(value, "name").unwrap_or_default();
                }
                "content-type" => read.content_type = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        Ok(read)
    }
}

/// The delimiter of a form by its `Content-Type`; `None` when that is of no form.
pub(super) fn boundary_of(content_type: &str) -> Option<String> {
    /// Longest boundary that is looked at; the standard allows 70 characters.
    const BOUNDARY_BYTES_MAX: usize = 200;
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(content_type, "boundary")
        .filter(|boundary| !boundary.is_empty() && boundary.len() <= BOUNDARY_BYTES_MAX)
}

/// A parameter of a header, as in `form-data; name="a b"; filename=c`.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = value_of(behind.trim_start());
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = behind.split_once(';')?.1;
    }
}

/// The value that a text begins with, in quotes or not, and what comes behind it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(';').unwrap_or(text.len());
        return (text[..end].trim().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            // Some put backslashes of file names as they are, so only what needs one loses it.
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => {
                value.extend(characters.next().map(|(_, c)| c));
            }
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_name_their_part() {
        let head = "Content-Disposition: form-data; filename=\"a;name=\\\"x\\\".png\"; name=\"file\"\r\ncontent-type: image/png\r\nX: y";
        assert_eq!(
            PartHead::parse(head.as_bytes()).unwrap(),
            PartHead {
                name: "file".to_owned(),
                content_type: Some("image/png".to_owned()),
            }
        );
        let plain = PartHead::parse(b"Content-Disposition: form-data; name=key").unwrap();
        assert_eq!((plain.name.as_str(), plain.content_type), ("key", None));
        assert_eq!(PartHead::parse(b"").unwrap(), PartHead::default());
        assert_eq!(
            PartHead::parse(b"\xff: \xff\r\n").unwrap(),
            PartHead::default()
        );
        assert!(PartHead::parse(b"no header").is_err());
    }

    #[test]
    fn boundaries_are_found() {
        for (content_type, boundary) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            (
                "Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"",
                Some("a b"),
            ),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json", None),
        ] {
            assert_eq!(
                boundary_of(content_type).as_deref(),
                boundary,
                "{content_type}"
            );
        }
    }
}
