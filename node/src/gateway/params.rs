//! Typed access to the members of an action.
//!
//! The EJSON family sends queries and documents as strings of EJSON, the JSON family as JSON values;
//! both are taken everywhere. Absent, `null` and the empty string mean "not given".

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};
use serde_json::value::RawValue;
use yunbase_docdb::limits::AGGREGATE_STAGES_MAX;

use super::body::{Members, string_of};
use super::codes;
use super::ejson::{self, Context, Root};
use super::limits::Limits;
use crate::call::{Failure, Retry};

/// The members of one request, and what reading them depends on.
pub(crate) struct Params<'a> {
    members: &'a Members<'a>,
    /// Bounds of the gateway.
    pub(crate) limits: &'a Limits,
    /// The one time of this request: server dates and new ids.
    pub(crate) now_unix_ms: i64,
}

impl<'a> Params<'a> {
    /// The members of a request that arrived at `now_unix_ms`.
    pub(crate) fn new(members: &'a Members<'a>, limits: &'a Limits, now_unix_ms: i64) -> Self {
        Self {
            members,
            limits,
            now_unix_ms,
        }
    }

    /// A member as sent; `null` and `""` are as good as absent.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a str> {
        self.members
            .raw(name)
            .filter(|raw| !matches!(*raw, "null" | r#""""#))
    }

    /// A string.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let text = string_of(raw).ok_or_else(|| wrong(name, "a string"))?;
        Ok(Some(text.into_owned()))
    }

    /// The environment that a client names. wx-server-sdk sends its configuration `{database, storage, functions, default}`
    /// as it is when its `init` got environments per service.
    pub(crate) fn env_name(&self) -> Result<Option<String>, Failure> {
        #[derive(serde::Deserialize)]
        struct PerService {
            database: Option<String>,
            storage: Option<String>,
            default: Option<String>,
        }
        match self.raw("envName") {
            Some(raw) if raw.starts_with('{') => {
                let envs: PerService = serde_json::from_str(raw)
                    .map_err(|_| wrong("envName", "a string, or strings for services"))?;
                let of_files = self
                    .raw("action")
                    .is_some_and(|raw| raw.starts_with("\"storage."));
                let own = if of_files {
                    envs.storage
                } else {
                    envs.database
                };
                let named = own.or(envs.default);
                Ok(named.filter(|name| !name.is_empty()))
            }
            _ => self.text("envName"),
        }
    }

    /// The name of the action.
    pub(crate) fn action(&self) -> Result<String, Failure> {
        self.text("action")?
            .ok_or_else(|| wrong("action", "the name of an action"))
    }

    /// The name of a collection, within the bounds of any name; the database judges the rest.
    pub(crate) fn collection(&self) -> Result<String, Failure> {
        let name = self
            .text("collectionName")?
            .ok_or_else(|| wrong("collectionName", "the name of a collection"))?;
        if name.len() > self.limits.name_bytes_max {
            return Err(wrong(
                "collectionName",
                &format!("at most {} bytes", self.limits.name_bytes_max),
            ));
        }
        Ok(name)
    }

    /// A truth value.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.raw(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(wrong(name, "true or false")),
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn count(&self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let whole = raw.parse::<u64>().ok().or_else(|| {
            let number: f64 = serde_json::from_str(raw).ok()?;
            (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
        });
        whole
            .map(Some)
            .ok_or_else(|| wrong(name, "a whole number that is not negative"))
    }

    /// A document, from a string of EJSON or a JSON object.
    pub(crate) fn document(&self, name: &str) -> Result<Option<RawDocumentBuf>, Failure> {
        match self.raw(name) {
            None => Ok(None),
            Some(raw) => self.document_of(name, raw).map(Some),
        }
    }

    /// The documents of an array (or the one document) in `name`, each a string of EJSON or a JSON object.
    pub(crate) fn documents(&self, name: &str) -> Result<Vec<RawDocumentBuf>, Failure> {
        let raw = self
            .raw(name)
            .ok_or_else(|| wrong(name, "a document or an array of documents"))?;
        if !raw.starts_with('[') {
            return Ok(vec![self.document_of(name, raw)?]);
        }
        let elements: Vec<&RawValue> =
            serde_json::from_str(raw).map_err(|error| wrong(name, &error.to_string()))?;
        if elements.is_empty() || elements.len() > self.limits.insert_documents_max {
            return Err(wrong(
                name,
                &format!("1 to {} documents", self.limits.insert_documents_max),
            ));
        }
        elements
            .into_iter()
            .map(|element| self.document_of(name, element.get()))
            .collect()
    }

    /// The order of a result: `{path: 1 | -1}` or `[{field, direction}]`.
    pub(crate) fn order(&self) -> Result<RawDocumentBuf, Failure> {
        let Some(raw) = self.raw("order") else {
            return Ok(RawDocumentBuf::new());
        };
        let mut sort = RawDocumentBuf::new();
        match self.decode("order", raw)? {
            Root::Document(paths) => {
                for path in &paths {
                    let (path, direction) =
                        path.map_err(|error| wrong("order", &error.to_string()))?;
                    sort.append(
                        path,
                        direction_of(direction)
                            .ok_or_else(|| wrong("order", "directions 1 or -1"))?,
                    );
                }
            }
            Root::Array(steps) => {
                for step in &steps {
                    let (_, step) = step.map_err(|error| wrong("order", &error.to_string()))?;
                    let (path, direction) =
                        step.as_document().and_then(order_step).ok_or_else(|| {
                            wrong(
                                "order",
                                r#"elements such as {"field": "age", "direction": "desc"}"#,
                            )
                        })?;
                    let path: &bson::raw::CStr = path
                        .try_into()
                        .map_err(|_| wrong("order", "paths without U+0000"))?;
                    sort.append(path, direction);
                }
            }
        }
        Ok(sort)
    }

    /// The stages of a pipeline: `[{stageKey: '$match', stageValue: '<ejson>'}]`, each as `{$match: value}`.
    /// Values may be scalars; whether a text or the value itself was sent makes no difference to objects.
    pub(crate) fn stages(&self) -> Result<Vec<RawDocumentBuf>, Failure> {
        let Some(raw) = self.raw("stages") else {
            return Ok(Vec::new());
        };
        let stages: Vec<Stage<'_>> =
            serde_json::from_str(raw).map_err(|error| wrong("stages", &error.to_string()))?;
        if stages.len() > AGGREGATE_STAGES_MAX {
            return Err(wrong(
                "stages",
                &format!("at most {AGGREGATE_STAGES_MAX} stages"),
            ));
        }
        stages.iter().map(|stage| self.stage(stage)).collect()
    }

    /// The `pipeline` of an aggregation: a list of stages as they are.
    pub(crate) fn pipeline(&self) -> Result<Vec<RawDocumentBuf>, Failure> {
        let Some(raw) = self.raw("pipeline") else {
            return Ok(Vec::new());
        };
        let text = string_of(raw);
        let Root::Array(stages) = self.decode_deeper("pipeline", text.as_deref().unwrap_or(raw))?
        else {
            return Err(wrong("pipeline", "a list of stages"));
        };
        let stages: Vec<RawDocumentBuf> = stages
            .iter()
            .map(|stage| match stage {
                Ok((_, RawBsonRef::Document(stage))) => Ok(stage.to_owned()),
                _ => Err(wrong("pipeline", "a list of objects, one for each stage")),
            })
            .collect::<Result<_, _>>()?;
        if stages.len() > AGGREGATE_STAGES_MAX {
            let most = format!("at most {AGGREGATE_STAGES_MAX} stages");
            return Err(wrong("pipeline", &most));
        }
        Ok(stages)
    }

    fn stage(&self, stage: &Stage<'_>) -> Result<RawDocumentBuf, Failure> {
        let value = stage.value.get();
        let text = string_of(value);
        // In an array, so that scalars are decoded too; their text may hold one value only.
        let root =
            self.decode_deeper("stages", &format!("[{}]", text.as_deref().unwrap_or(value)))?;
        let Root::Array(values) = root else {
            return Err(wrong("stages", "stage values"));
        };
        let mut values = values.iter();
        let (Some(Ok((_, value))), None) = (values.next(), values.next()) else {
            return Err(wrong("stages", "one value for each stage"));
        };
        let key = bson::raw::CString::try_from(&*stage.key)
            .map_err(|_| wrong("stages", "names without U+0000"))?;
        let mut document = RawDocumentBuf::new();
        document.append(&key, value);
        Ok(document)
    }

    fn document_of(&self, name: &str, raw: &str) -> Result<RawDocumentBuf, Failure> {
        match self.decode(name, raw)? {
            Root::Document(document) => Ok(document),
            Root::Array(_) => Err(wrong(name, "an object, not an array")),
        }
    }

    fn decode(&self, name: &str, raw: &str) -> Result<Root, Failure> {
        let text = string_of(raw);
        self.decode_text(
            name,
            text.as_deref().unwrap_or(raw),
            self.limits.json_depth_max,
        )
    }

    /// Decodes what stands one level deeper than the caller sent it.
    fn decode_deeper(&self, name: &str, text: &str) -> Result<Root, Failure> {
        self.decode_text(name, text, self.limits.json_depth_max + 1)
    }

    fn decode_text(&self, name: &str, text: &str, depth_max: usize) -> Result<Root, Failure> {
        let context = Context {
            now_unix_ms: self.now_unix_ms,
            depth_max,
            bytes_max: self.limits.bson_bytes_max,
        };
        ejson::decode(text, &context).map_err(|error| {
            Failure::new(
                codes::INVALID_PARAM,
                format!("`{name}` is not valid: {error}"),
                Retry::Never,
            )
        })
    }
}

/// One stage as clients send it.
#[derive(serde::Deserialize)]
struct Stage<'a> {
    #[serde(rename = "stageKey")]
    key: std::borrow::Cow<'a, str>,
    #[serde(rename = "stageValue", borrow)]
    value: &'a RawValue,
}

fn direction_of(value: RawBsonRef<'_>) -> Option<i32> {
    match value {
        RawBsonRef::Int32(1) | RawBsonRef::Int64(1) => Some(1),
        RawBsonRef::Int32(-1) | RawBsonRef::Int64(-1) => Some(-1),
        RawBsonRef::Double(number) if number.abs() == 1.0 => Some(number as i32),
        _ => None,
    }
}

fn order_step(step: &RawDocument) -> Option<(&str, i32)> {
    let direction = match step.get_str("direction") {
        Ok("desc") => -1,
        Ok("asc") => 1,
        _ => return None,
    };
    Some((step.get_str("field").ok()?, direction))
}

/// The refusal of a member that has the wrong type or value.
pub(crate) fn wrong(name: &str, expected: &str) -> Failure {
    Failure::new(
        codes::INVALID_PARAM,
        format!("`{name}` needs {expected}"),
        Retry::Never,
    )
}

#[cfg(test)]
#[path = "params_test.rs"]
mod tests;
