//! From a client's projection document to what happens at each field.

use bson::{RawBsonRef, RawDocument};

use super::{Action, Branch, Projection, Slice};
use crate::error::{Error, Result};
use crate::filter::Parser;
use crate::limits::PROJECTION_FIELDS_MAX;
use crate::value::compare::Number;
use crate::value::{Path, check_document, malformed, type_name};

/// What the fields seen so far decide.
#[derive(Default)]
struct Seen {
    /// A field that makes the projection one that includes.
    included: Option<String>,
    /// A field that makes it one that excludes.
    excluded: Option<String>,
    /// Includes, unless something excludes.
    first_match: bool,
    id: Option<bool>,
    fields: usize,
}

impl Projection {
    /// Parses a projection as clients send it; an empty one returns whole documents.
    pub fn parse(projection: &RawDocument) -> Result<Self> {
        check_document(projection)?;
        let mut root = Branch::default();
        let mut seen = Seen::default();
        for element in projection.iter() {
            let (key, value) = element.map_err(malformed)?;
            member(key.as_str(), value, &mut root, &mut seen)?;
        }
        if let (Some(included), Some(excluded)) = (&seen.included, &seen.excluded) {
            return Err(Error::invalid(format!(
                "the projection includes '{included}' and excludes '{excluded}'; do one of them (only '_id' may differ)"
            )));
        }
        let inclusive = seen.excluded.is_none()
            && (seen.included.is_some() || seen.first_match || seen.id == Some(true));
        match seen.id {
            Some(false) => root.insert("_id", "_id", Action::Exclude)?,
            _ if inclusive && root.position("_id").is_err() => {
                root.insert("_id", "_id", Action::Include)?;
            }
            _ => {}
        }
        let empty = root.fields.is_empty();
        Ok(Self {
            root,
            inclusive,
            empty,
        })
    }
}

fn member(path: &str, value: RawBsonRef<'_>, root: &mut Branch, seen: &mut Seen) -> Result<()> {
    seen.fields += 1;
    if seen.fields > PROJECTION_FIELDS_MAX {
        return Err(Error::invalid(format!(
            "the projection has more than {PROJECTION_FIELDS_MAX} fields; drop some"
        )));
    }
    Path::parse(path)?;
    if path.split('.').any(str::is_empty) {
        return Err(Error::invalid(format!(
            "projection field '{path}' has an empty component; use a dotted path"
        )));
    }
    if path.split('.').any(|part| part.starts_with('$')) {
        return Err(Error::operator(format!(
            "projection field '{path}' is positional, which is not supported yet; use '$elemMatch' or '$slice'"
        )));
    }
    let action = match value {
        RawBsonRef::Document(document) => match operator(path, document, seen)? {
            Some(action) => Some(action),
            None => {
                // `{a: {b: 1}}` means `{"a.b": 1}`.
                for element in document.iter() {
                    let (key, value) = element.map_err(malformed)?;
                    member(&format!("{path}.{}", key.as_str()), value, root, seen)?;
                }
                return Ok(());
            }
        },
        RawBsonRef::Boolean(include) => simple(path, include, seen),
        other => match Number::of(other) {
            Some(number) => simple(path, number.as_f64() != 0.0, seen),
            None => {
                return Err(Error::invalid(format!(
                    "projection field '{path}' is a {}; use 1, 0, '$slice' or '$elemMatch'",
                    type_name(other)
                )));
            }
        },
    };
    match action {
        Some(action) => root.insert(path, path, action),
        None => Ok(()),
    }
}

/// `_id` alone may be left out of a projection that includes.
fn simple(path: &str, include: bool, seen: &mut Seen) -> Option<Action> {
    if path == "_id" {
        seen.id = Some(include);
        return None;
    }
    let side = if include {
        &mut seen.included
    } else {
        &mut seen.excluded
    };
    side.get_or_insert_with(|| path.to_owned());
    Some(if include {
        Action::Include
    } else {
        Action::Exclude
    })
}

/// `None`: a plain object of further fields.
fn operator(path: &str, document: &RawDocument, seen: &mut Seen) -> Result<Option<Action>> {
    let mut members = document.iter();
    let Some(first) = members.next() else {
        return Err(Error::invalid(format!(
            "projection field '{path}' is an empty object; use 1 or 0"
        )));
    };
    let (key, value) = first.map_err(malformed)?;
    if !key.as_str().starts_with('$') {
        return Ok(None);
    }
    if members.next().is_some() {
        return Err(Error::operator(format!(
            "projection field '{path}' has several operators; use one"
        )));
    }
    Ok(Some(match key.as_str() {
        "$slice" => Action::Slice(slice(path, value)?),
        "$elemMatch" => {
            if path.contains('.') {
                return Err(Error::operator(format!(
                    "projection field '{path}': '$elemMatch' works on top-level fields only"
                )));
            }
            seen.first_match = true;
            Action::FirstMatch(Box::new(Parser::new(0).elem_match(path, value)?))
        }
        other => {
            return Err(Error::operator(format!(
                "projection operator '{other}' in field '{path}' is not supported; use '$slice' or '$elemMatch'"
            )));
        }
    }))
}

fn slice(path: &str, value: RawBsonRef<'_>) -> Result<Slice> {
    let refused = || {
        Error::invalid(format!(
            "projection field '{path}': '$slice' takes a whole number or [skip, count] with count above 0"
        ))
    };
    let whole = |value| Number::of(value).and_then(Number::truncate_i64);
    let RawBsonRef::Array(pair) = value else {
        let count = whole(value).ok_or_else(refused)?;
        return Ok(if count < 0 {
            Slice::Last(count.unsigned_abs())
        } else {
            Slice::First(count.unsigned_abs())
        });
    };
    let mut numbers = Vec::with_capacity(2);
    for element in pair {
        numbers.push(whole(element.map_err(malformed)?).ok_or_else(refused)?);
    }
    match numbers[..] {
        [skip, count] if count > 0 => Ok(Slice::From(skip, count.unsigned_abs())),
        _ => Err(refused()),
    }
}

impl Branch {
    /// Puts `action` at `path` below this level; `whole` is the path for messages.
    fn insert(&mut self, path: &str, whole: &str, action: Action) -> Result<()> {
        let collision = || {
            Error::invalid(format!(
                "projection field '{whole}' collides with another on the same path; keep one"
            ))
        };
        let (first, rest) = path
            .split_once('.')
            .map_or((path, None), |(first, rest)| (first, Some(rest)));
        match (self.position(first), rest) {
            (Ok(_), None) => Err(collision()),
            (Err(at), None) => {
                self.fields.insert(at, (first.into(), action));
                Ok(())
            }
            (Ok(at), Some(rest)) => match &mut self.fields[at].1 {
                Action::Inside(branch) => branch.insert(rest, whole, action),
                _ => Err(collision()),
            },
            (Err(at), Some(rest)) => {
                let mut branch = Branch::default();
                branch.insert(rest, whole, action)?;
                self.fields
                    .insert(at, (first.into(), Action::Inside(branch)));
                Ok(())
            }
        }
    }
}
