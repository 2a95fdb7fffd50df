//! Setting and removing one field of a raw document while it is copied.

use bson::RawDocument;

use crate::error::Result;
use crate::value::element::{DOCUMENT, elements};
use crate::value::writer::Writer;

/// Writes an element of this name, or nothing.
pub(super) type WriteField<'w> = dyn FnMut(&mut Writer, &[u8]) -> Result<()> + 'w;

/// Copies the fields of `document`, with `write` in the place of the one at `path`. Fields that are
/// missing on the way, and values on the way that are no documents, become documents.
pub(super) fn set(
    document: &RawDocument,
    path: &[Box<str>],
    out: &mut Writer,
    write: &mut WriteField<'_>,
) -> Result<()> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(());
    };
    let mut is_set = false;
    for element in elements(document) {
        let element = element?;
        if element.name != first.as_bytes() || is_set {
            out.raw(element.whole);
            continue;
        }
        is_set = true;
        if rest.is_empty() {
            write(out, element.name)?;
            continue;
        }
        let start = out.open_document(element.name);
        match element.nested()? {
            Some(inner) if element.kind == DOCUMENT => set(inner, rest, out, write)?,
            _ => create(rest, out, write)?,
        }
        out.close(start)?;
    }
    if !is_set {
        create(path, out, write)?;
    }
    Ok(())
}

fn create(path: &[Box<str>], out: &mut Writer, write: &mut WriteField<'_>) -> Result<()> {
    match path.split_first() {
        None => Ok(()),
        Some((last, [])) => write(out, last.as_bytes()),
        Some((first, rest)) => {
            let start = out.open_document(first.as_bytes());
            create(rest, out, write)?;
            out.close(start)
        }
    }
}

/// Copies the fields of `document` with `write` in the place of the one at `path`, which must be there.
pub(super) fn replace(
    document: &RawDocument,
    path: &[Box<str>],
    out: &mut Writer,
    write: &mut WriteField<'_>,
) -> Result<()> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(());
    };
    for element in elements(document) {
        let element = element?;
        if element.name != first.as_bytes() {
            out.raw(element.whole);
        } else if rest.is_empty() {
            write(out, element.name)?;
        } else if let Some(inner) = element.nested()?.filter(|_| element.kind == DOCUMENT) {
            let start = out.open_document(element.name);
            replace(inner, rest, out, write)?;
            out.close(start)?;
        } else {
            out.raw(element.whole);
        }
    }
    Ok(())
}
