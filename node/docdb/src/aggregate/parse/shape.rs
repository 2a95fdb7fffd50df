//! The documents of `$project`, `$addFields`, `$set` and `$unset`.

use bson::{RawBsonRef, RawDocument};

use super::{Parser, path, too_deep};
use crate::aggregate::shape::{Field, Kind, Level, Shape};
use crate::error::{Error, Result};
use crate::limits::{NESTING_DEPTH_MAX, PROJECTION_FIELDS_MAX};
use crate::value::compare::Number;
use crate::value::{malformed, type_name};

/// What the fields of a `$project` seen so far decide.
#[derive(Default)]
struct Seen {
    included: Option<String>,
    excluded: Option<String>,
    computed: Option<String>,
    /// Whether `_id` is kept, when it is said.
    id: Option<bool>,
    fields: usize,
}

impl Parser<'_> {
    pub(super) fn project(&self, spec: &RawDocument) -> Result<Shape> {
        if spec.is_empty() {
            return Err(Error::invalid(
                "stage '$project' needs at least one field, such as {name: 1}",
            ));
        }
        let (mut root, mut seen) = (Level::default(), Seen::default());
        self.project_level("", spec, 1, &mut root, &mut seen)?;
        if let (Some(excluded), Some(other)) = (
            &seen.excluded,
            seen.included.as_ref().or(seen.computed.as_ref()),
        ) {
            return Err(Error::invalid(format!(
                "stage '$project' excludes '{excluded}' and includes or computes '{other}'; do one of them (only '_id' may differ)"
            )));
        }
        let only_id = seen.included.is_none() && seen.computed.is_none();
        let kind = if seen.excluded.is_some() || only_id && seen.id == Some(false) {
            Kind::Exclude
        } else {
            Kind::Include
        };
        let id = match (kind, seen.id) {
            (_, Some(false)) => Some(Field::Drop),
            (Kind::Include, _) if !root.has("_id") => Some(Field::Keep),
            _ => None,
        };
        if let Some(id) = id {
            insert("$project", &mut root, "_id", id)?;
        }
        Ok(Shape::new("$project", kind, root))
    }

    fn project_level(
        &self,
        prefix: &str,
        spec: &RawDocument,
        depth: usize,
        root: &mut Level,
        seen: &mut Seen,
    ) -> Result<()> {
        if depth > NESTING_DEPTH_MAX {
            return Err(too_deep());
        }
        for member in spec.iter() {
            let (name, value) = member.map_err(malformed)?;
            let at = format!("{prefix}{}", name.as_str());
            seen.fields += 1;
            check_count("$project", seen.fields)?;
            let keep = match value {
                RawBsonRef::Boolean(keep) => Some(keep),
                RawBsonRef::Document(inner) if !is_operator(inner)? => {
                    if inner.is_empty() {
                        return Err(Error::invalid(format!(
                            "field '{at}' of stage '$project' is an empty object; use 1, 0 or an expression"
                        )));
                    }
                    self.project_level(&format!("{at}."), inner, depth + 1, root, seen)?;
                    continue;
                }
                other => Number::of(other).map(|number| number.as_f64() != 0.0),
            };
            match keep {
                Some(keep) if at == "_id" => {
                    if seen.id.replace(keep).is_some() {
                        return Err(collision("$project", &at));
                    }
                }
                Some(true) => {
                    insert("$project", root, &at, Field::Keep)?;
                    seen.included.get_or_insert(at);
                }
                Some(false) => {
                    insert("$project", root, &at, Field::Drop)?;
                    seen.excluded.get_or_insert(at);
                }
                None => {
                    let expression = self.expression(value)?;
                    insert("$project", root, &at, Field::Computed(expression))?;
                    seen.computed.get_or_insert(at);
                }
            }
        }
        Ok(())
    }

    pub(super) fn add_fields(&self, stage: &'static str, spec: &RawDocument) -> Result<Shape> {
        if spec.is_empty() {
            return Err(Error::invalid(format!(
                "stage '{stage}' needs at least one field, such as {{total: {{$add: ['$a', '$b']}}}}"
            )));
        }
        let (mut root, mut fields) = (Level::default(), 0);
        self.add_level(stage, "", spec, 1, &mut root, &mut fields)?;
        Ok(Shape::new(stage, Kind::Add, root))
    }

    fn add_level(
        &self,
        stage: &str,
        prefix: &str,
        spec: &RawDocument,
        depth: usize,
        root: &mut Level,
        fields: &mut usize,
    ) -> Result<()> {
        if depth > NESTING_DEPTH_MAX {
            return Err(too_deep());
        }
        for member in spec.iter() {
            let (name, value) = member.map_err(malformed)?;
            let at = format!("{prefix}{}", name.as_str());
            *fields += 1;
            check_count(stage, *fields)?;
            match value {
                RawBsonRef::Document(inner) if inner.is_empty() => {
                    return Err(Error::invalid(format!(
                        "field '{at}' of stage '{stage}' is an empty object; use {{$literal: {{}}}}"
                    )));
                }
                RawBsonRef::Document(inner) if !is_operator(inner)? => {
                    self.add_level(stage, &format!("{at}."), inner, depth + 1, root, fields)?;
                }
                value => {
                    let expression = self.expression(value)?;
                    insert(stage, root, &at, Field::Computed(expression))?;
                }
            }
        }
        Ok(())
    }
}

/// A path or an array of paths.
pub(super) fn unset(value: RawBsonRef<'_>) -> Result<Shape> {
    let mut root = Level::default();
    let mut fields = 0;
    let mut add = |value: RawBsonRef<'_>| {
        fields += 1;
        check_count("$unset", fields)?;
        let text = value.as_str().ok_or_else(|| {
            Error::invalid(format!(
                "stage '$unset' takes paths of fields, not a {}",
                type_name(value)
            ))
        })?;
        insert("$unset", &mut root, text, Field::Drop)
    };
    match value {
        RawBsonRef::Array(paths) if !paths.is_empty() => {
            for path in paths {
                add(path.map_err(malformed)?)?;
            }
        }
        value => add(value)?,
    }
    Ok(Shape::new("$unset", Kind::Exclude, root))
}

fn is_operator(document: &RawDocument) -> Result<bool> {
    let first = document.iter_elements().next().transpose();
    let first = first.map_err(malformed)?;
    Ok(first.is_some_and(|first| first.key().as_str().starts_with('$')))
}

fn check_count(stage: &str, fields: usize) -> Result<()> {
    if fields > PROJECTION_FIELDS_MAX {
        return Err(Error::invalid(format!(
            "stage '{stage}' has more than {PROJECTION_FIELDS_MAX} fields; drop some"
        )));
    }
    Ok(())
}

fn insert(stage: &str, root: &mut Level, text: &str, field: Field) -> Result<()> {
    let parts = path(stage, text)?;
    let parts: Vec<&str> = parts.iter().map(|part| &**part).collect();
    if root.insert(&parts, field) {
        Ok(())
    } else {
        Err(collision(stage, text))
    }
}

fn collision(stage: &str, text: &str) -> Error {
    Error::invalid(format!(
        "field '{text}' of stage '{stage}' collides with another on the same path; keep one"
    ))
}
