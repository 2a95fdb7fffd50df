//! What an index may have beyond its fields: which options go together, and how an index shows them.
//!
//! An option is part of an index's definition for good: the entries depend on it. What is refused here is
//! refused before a command is made and again when it is applied, so a catalog never holds it.

use bson::Document;

use crate::error::{Error, Result};
use crate::filter::{Filter, FilterContext};
use crate::limits::EXPIRE_AFTER_SECONDS_MAX;
use crate::op::{IndexOptions, IndexSpec};

/// Whether an index of this definition may have these options.
pub(crate) fn check(spec: &IndexSpec, options: &IndexOptions) -> Result<()> {
    if options.sparse && !options.partial.is_empty() {
        return Err(Error::invalid(format!(
            "index '{}' is both sparse and partial; leave out 'sparse' and ask for '$exists: true' in the partial filter",
            spec.name
        )));
    }
    check_expiry(spec, options)?;
    check_geo(spec, options)?;
    partial_filter(options).map_err(|error| {
        Error::new(
            error.code,
            format!("index '{}', partial filter: {}", spec.name, error.message),
        )
    })?;
    Ok(())
}

/// A place has no order and is no key: it can be neither descending nor unique nor a date.
fn check_geo(spec: &IndexSpec, options: &IndexOptions) -> Result<()> {
    let Some(at) = options.geo else {
        return Ok(());
    };
    let field = usize::try_from(at).ok().and_then(|at| spec.fields.get(at));
    let problem = match field {
        None => "the place of the field with GeoJSON is beyond its fields",
        Some(field) if field.descending => "a field with GeoJSON has no order; leave it ascending",
        Some(field) if field.path == "_id" => "'_id' is no field with GeoJSON",
        _ if spec.unique => "places cannot be unique",
        _ if options.expire_after_seconds.is_some() => "a time to live needs a field with a date",
        _ if options.sparse => "an index on places is sparse by itself; leave out 'sparse'",
        _ => return Ok(()),
    };
    Err(Error::invalid(format!(
        "2dsphere index '{}': {problem}",
        spec.name
    )))
}

/// A time to live counts from one date, and is no use to the field that names the document.
fn check_expiry(spec: &IndexSpec, options: &IndexOptions) -> Result<()> {
    let Some(seconds) = options.expire_after_seconds else {
        return Ok(());
    };
    let problem = if spec.fields.len() != 1 {
        "a time to live needs an index on one field"
    } else if spec.fields[0].path == "_id" {
        "a time to live needs a field with a date, and '_id' is none"
    } else if seconds > EXPIRE_AFTER_SECONDS_MAX {
        "a time to live is at most 2147483647 seconds"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "index '{}': {problem}; correct 'expireAfterSeconds'",
        spec.name
    )))
}

/// The parsed partial filter, where there is one.
pub(crate) fn partial_filter(options: &IndexOptions) -> Result<Option<Filter>> {
    if options.partial.is_empty() {
        return Ok(None);
    }
    let filter = Filter::parse(&options.partial, &FilterContext::default())?;
    filter.check_partial()?;
    Ok(Some(filter))
}

/// Adds what differs from a plain index to its description.
pub(crate) fn describe(options: &IndexOptions, description: &mut Document) {
    if options.sparse {
        description.insert("sparse", true);
    }
    if let Ok(partial) = Document::try_from(&*options.partial)
        && !partial.is_empty()
    {
        description.insert("partialFilterExpression", partial);
    }
    if let Some(seconds) = options.expire_after_seconds {
        description.insert("expireAfterSeconds", i64::from(seconds));
    }
}
