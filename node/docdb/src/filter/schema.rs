//! JSON Schema as MongoDB has it: draft 4 without references, with `bsonType`. Parsed once, then asked what a
//! document violates.
//!
//! Serves `$jsonSchema` in filters and the validation of collections. The answer names the field, so that who
//! is refused knows what to correct.

use bson::spec::ElementType;
use bson::{RawArray, RawBson, RawBsonRef, RawDocument};

use super::parse::types;
use super::pattern::Pattern;
use crate::error::{Error, Result};
use crate::limits::{
    REGEXES_PER_FILTER_MAX, SCHEMA_DEPTH_MAX, SCHEMA_KEYWORDS_MAX, SCHEMA_UNIQUE_ITEMS_MAX,
};
use crate::value::compare::Number;
use crate::value::key::encoded;
use crate::value::{equal, malformed, type_name};

/// A parsed schema.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schema {
    types: Option<Vec<ElementType>>,
    one_of_values: Option<Vec<RawBson>>,
    object: ObjectRules,
    array: ArrayRules,
    number: NumberRules,
    length: (Option<u64>, Option<u64>),
    pattern: Option<Pattern>,
    all: Vec<Schema>,
    any: Vec<Schema>,
    one: Vec<Schema>,
    not: Option<Box<Schema>>,
}

#[derive(Debug, Clone, Default)]
struct ObjectRules {
    required: Vec<String>,
    properties: Vec<(String, Schema)>,
    patterns: Vec<(Pattern, Schema)>,
    additional: Option<Additional>,
    count: (Option<u64>, Option<u64>),
    dependencies: Vec<(String, Dependency)>,
}

#[derive(Debug, Clone, Default)]
struct ArrayRules {
    each: Option<Box<Schema>>,
    places: Vec<Schema>,
    additional: Option<Additional>,
    count: (Option<u64>, Option<u64>),
    unique: bool,
}

#[derive(Debug, Clone, Default)]
struct NumberRules {
    low: Option<f64>,
    high: Option<f64>,
    above_low: bool,
    below_high: bool,
    multiple_of: Option<RawBson>,
}

/// What holds for members that no other keyword speaks of.
#[derive(Debug, Clone)]
enum Additional {
    None,
    Like(Box<Schema>),
}

#[derive(Debug, Clone)]
enum Dependency {
    Fields(Vec<String>),
    Schema(Box<Schema>),
}

/// What a value does wrong: a sentence's end behind the name of the field.
type Violation = Option<String>;

impl Schema {
    /// Parses a schema; refuses keywords that are unknown or not supported, by name.
    pub(crate) fn parse(schema: &RawDocument) -> Result<Self> {
        let mut parser = Parser {
            keywords: 0,
            patterns: 0,
        };
        parser.schema(schema, 1)
    }

    /// What is wrong with a document, naming the field; `None`: nothing.
    pub(crate) fn violation(&self, document: &RawDocument) -> Result<Violation> {
        self.of_value("", RawBsonRef::Document(document))
    }

    fn of_value(&self, path: &str, value: RawBsonRef<'_>) -> Result<Violation> {
        let wrong = |what: &str| Ok(Some(format!("{} {what}", named(path))));
        if let Some(types) = &self.types
            && !types.contains(&value.element_type())
        {
            return wrong(&format!("is a {}, which is not allowed", type_name(value)));
        }
        if let Some(values) = &self.one_of_values
            && !values.iter().any(|one| equal(one.as_raw_bson_ref(), value))
        {
            return wrong("has none of the values of 'enum'");
        }
        if let Some(number) = Number::of(value)
            && let Some(what) = self.number.violation(number)
        {
            return wrong(&what);
        }
        let inner = match value {
            RawBsonRef::String(text) => {
                if let Some(what) = count_violation(self.length, text.chars().count(), "characters")
                {
                    return wrong(&what);
                }
                if let Some(pattern) = &self.pattern
                    && !pattern.matches(Some(value))?
                {
                    return wrong("does not match 'pattern'");
                }
                None
            }
            RawBsonRef::Document(document) => self.object.violation(path, document)?,
            RawBsonRef::Array(array) => self.array.violation(path, array)?,
            _ => None,
        };
        if inner.is_some() {
            return Ok(inner);
        }
        for schema in &self.all {
            if let Some(violation) = schema.of_value(path, value)? {
                return Ok(Some(violation));
            }
        }
        if !self.any.is_empty() && passed(&self.any, path, value)? == 0 {
            return wrong("satisfies no schema of 'anyOf'");
        }
        if !self.one.is_empty() && passed(&self.one, path, value)? != 1 {
            return wrong("does not satisfy exactly one schema of 'oneOf'");
        }
        if let Some(not) = &self.not
            && not.of_value(path, value)?.is_none()
        {
            return wrong("satisfies the schema of 'not'");
        }
        Ok(None)
    }
}

fn passed(schemas: &[Schema], path: &str, value: RawBsonRef<'_>) -> Result<usize> {
    let mut count = 0;
    for schema in schemas {
        count += usize::from(schema.of_value(path, value)?.is_none());
    }
    Ok(count)
}

fn named(path: &str) -> String {
    if path.is_empty() {
        "the document".to_owned()
    } else {
        format!("field '{path}'")
    }
}

fn inside(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

fn count_violation(
    (least, most): (Option<u64>, Option<u64>),
    count: usize,
    what: &str,
) -> Option<String> {
    let count = count as u64;
    match (least, most) {
        (Some(least), _) if count < least => {
            Some(format!("has {count} {what}, fewer than {least}"))
        }
        (_, Some(most)) if count > most => Some(format!("has {count} {what}, more than {most}")),
        _ => None,
    }
}

impl ObjectRules {
    fn violation(&self, path: &str, document: &RawDocument) -> Result<Violation> {
        for name in &self.required {
            if document.get(name).map_err(malformed)?.is_none() {
                let path = inside(path, name);
                return Ok(Some(format!("field '{path}' is missing")));
            }
        }
        let mut count = 0;
        for element in document.iter() {
            let (name, value) = element.map_err(malformed)?;
            let name = name.as_str();
            count += 1;
            let at = inside(path, name);
            let mut is_known = false;
            for (_, schema) in self.properties.iter().filter(|(known, _)| known == name) {
                is_known = true;
                if let Some(violation) = schema.of_value(&at, value)? {
                    return Ok(Some(violation));
                }
            }
            for (pattern, schema) in &self.patterns {
                if pattern.matches(Some(RawBsonRef::String(name)))? {
                    is_known = true;
                    if let Some(violation) = schema.of_value(&at, value)? {
                        return Ok(Some(violation));
                    }
                }
            }
            match &self.additional {
                Some(Additional::None) if !is_known => {
                    return Ok(Some(format!("field '{at}' is not allowed")));
                }
                Some(Additional::Like(schema)) if !is_known => {
                    if let Some(violation) = schema.of_value(&at, value)? {
                        return Ok(Some(violation));
                    }
                }
                _ => {}
            }
        }
        if let Some(what) = count_violation(self.count, count, "fields") {
            return Ok(Some(format!("{} {what}", named(path))));
        }
        for (name, dependency) in &self.dependencies {
            if document.get(name).map_err(malformed)?.is_none() {
                continue;
            }
            match dependency {
                Dependency::Fields(fields) => {
                    for field in fields {
                        if document.get(field).map_err(malformed)?.is_none() {
                            let (path, name) = (inside(path, field), inside(path, name));
                            return Ok(Some(format!(
                                "field '{path}' is missing, which '{name}' needs"
                            )));
                        }
                    }
                }
                Dependency::Schema(schema) => {
                    let violation = schema.of_value(path, RawBsonRef::Document(document))?;
                    if violation.is_some() {
                        return Ok(violation);
                    }
                }
            }
        }
        Ok(None)
    }
}

impl ArrayRules {
    fn violation(&self, path: &str, array: &RawArray) -> Result<Violation> {
        let mut count = 0;
        let mut keys = Vec::new();
        for element in array {
            let value = element.map_err(malformed)?;
            let at = inside(path, &count.to_string());
            let schema = match (&self.each, self.places.get(count), &self.additional) {
                (Some(each), ..) => Some(&**each),
                (None, Some(place), _) => Some(place),
                (None, None, Some(Additional::Like(schema))) => Some(&**schema),
                (None, None, Some(Additional::None)) => {
                    return Ok(Some(format!("field '{at}' is one element too many")));
                }
                (None, None, None) => None,
            };
            if let Some(schema) = schema
                && let Some(violation) = schema.of_value(&at, value)?
            {
                return Ok(Some(violation));
            }
            count += 1;
            if self.unique {
                if count > SCHEMA_UNIQUE_ITEMS_MAX {
                    return Ok(Some(format!(
                        "{} has more than {SCHEMA_UNIQUE_ITEMS_MAX} elements, too many for 'uniqueItems'",
                        named(path)
                    )));
                }
                keys.push(encoded(value)?);
            }
        }
        if let Some(what) = count_violation(self.count, count, "elements") {
            return Ok(Some(format!("{} {what}", named(path))));
        }
        keys.sort_unstable();
        let is_twice = keys.windows(2).any(|pair| pair[0] == pair[1]);
        Ok(is_twice.then(|| format!("{} holds an element twice", named(path))))
    }
}

impl NumberRules {
    fn violation(&self, number: Number) -> Option<String> {
        let value = number.as_f64();
        if let Some(low) = self.low
            && (value < low || self.above_low && value <= low)
        {
            return Some(format!("is {value}, below the minimum of {low}"));
        }
        if let Some(high) = self.high
            && (value > high || self.below_high && value >= high)
        {
            return Some(format!("is {value}, above the maximum of {high}"));
        }
        let divisor = self.multiple_of.as_ref()?.as_raw_bson_ref();
        let divisor = Number::of(divisor)?;
        let is_multiple = match (number.as_exact_i64(), divisor.as_exact_i64()) {
            (Some(value), Some(divisor)) => value.wrapping_rem(divisor) == 0,
            _ => value % divisor.as_f64() == 0.0,
        };
        (!is_multiple).then(|| format!("is {value}, no multiple of {}", divisor.as_f64()))
    }
}

struct Parser {
    keywords: usize,
    patterns: usize,
}

impl Parser {
    fn schema(&mut self, schema: &RawDocument, depth: usize) -> Result<Schema> {
        if depth > SCHEMA_DEPTH_MAX {
            return Err(Error::invalid(format!(
                "the schema nests deeper than {SCHEMA_DEPTH_MAX} levels; flatten it"
            )));
        }
        let mut parsed = Schema::default();
        for element in schema.iter() {
            let (keyword, value) = element.map_err(malformed)?;
            self.keywords += 1;
            if self.keywords > SCHEMA_KEYWORDS_MAX {
                return Err(Error::invalid(format!(
                    "the schema has more than {SCHEMA_KEYWORDS_MAX} keywords; simplify it"
                )));
            }
            self.keyword(&mut parsed, keyword.as_str(), value, depth)?;
        }
        Ok(parsed)
    }

    fn keyword(
        &mut self,
        schema: &mut Schema,
        keyword: &str,
        value: RawBsonRef<'_>,
        depth: usize,
    ) -> Result<()> {
        match keyword {
            "title" | "description" => {
                text(keyword, value)?;
            }
            "bsonType" => schema.types = Some(types("$jsonSchema", value)?),
            "type" => schema.types = Some(json_types(value)?),
            "enum" => schema.one_of_values = Some(owned(array(keyword, value)?)?),
            "required" => schema.object.required = names(keyword, value)?,
            "properties" => schema.object.properties = self.named(keyword, value, depth)?,
            "patternProperties" => {
                for (pattern, inner) in self.named(keyword, value, depth)? {
                    let pattern = self.pattern(&pattern)?;
                    schema.object.patterns.push((pattern, inner));
                }
            }
            "additionalProperties" => {
                schema.object.additional = self.additional(keyword, value, depth)?;
            }
            "minProperties" => schema.object.count.0 = Some(size(keyword, value)?),
            "maxProperties" => schema.object.count.1 = Some(size(keyword, value)?),
            "dependencies" => {
                for element in object(keyword, value)? {
                    let (name, value) = element.map_err(malformed)?;
                    let dependency = match value {
                        RawBsonRef::Array(_) => Dependency::Fields(names(keyword, value)?),
                        _ => Dependency::Schema(Box::new(self.inner(keyword, value, depth)?)),
                    };
                    let name = name.as_str().to_owned();
                    schema.object.dependencies.push((name, dependency));
                }
            }
            "items" => match value {
                RawBsonRef::Array(_) => schema.array.places = self.list(keyword, value, depth)?,
                _ => schema.array.each = Some(Box::new(self.inner(keyword, value, depth)?)),
            },
            "additionalItems" => {
                schema.array.additional = self.additional(keyword, value, depth)?;
            }
            "minItems" => schema.array.count.0 = Some(size(keyword, value)?),
            "maxItems" => schema.array.count.1 = Some(size(keyword, value)?),
            "uniqueItems" => schema.array.unique = boolean(keyword, value)?,
            "minimum" => schema.number.low = Some(number(keyword, value)?),
            "maximum" => schema.number.high = Some(number(keyword, value)?),
            "exclusiveMinimum" => schema.number.above_low = boolean(keyword, value)?,
            "exclusiveMaximum" => schema.number.below_high = boolean(keyword, value)?,
            "multipleOf" => {
                if number(keyword, value)? <= 0.0 {
                    return Err(wrong(keyword, "a number above 0"));
                }
                schema.number.multiple_of = Some(value.into());
            }
            "minLength" => schema.length.0 = Some(size(keyword, value)?),
            "maxLength" => schema.length.1 = Some(size(keyword, value)?),
            "pattern" => schema.pattern = Some(self.pattern(text(keyword, value)?)?),
            "allOf" => schema.all = self.list(keyword, value, depth)?,
            "anyOf" => schema.any = self.list(keyword, value, depth)?,
            "oneOf" => schema.one = self.list(keyword, value, depth)?,
            "not" => schema.not = Some(Box::new(self.inner(keyword, value, depth)?)),
            "$ref" | "$schema" | "definitions" | "default" | "format" | "id" | "encrypt" => {
                return Err(Error::operator(format!(
                    "the schema keyword '{keyword}' is not supported; leave it out"
                )));
            }
            _ => {
                return Err(Error::operator(format!(
                    "unknown schema keyword '{keyword}'; check its spelling (draft 4)"
                )));
            }
        }
        Ok(())
    }

    fn inner(&mut self, keyword: &str, value: RawBsonRef<'_>, depth: usize) -> Result<Schema> {
        match value {
            RawBsonRef::Document(document) => self.schema(document, depth + 1),
            _ => Err(wrong(keyword, "a schema, an object")),
        }
    }

    fn list(&mut self, keyword: &str, value: RawBsonRef<'_>, depth: usize) -> Result<Vec<Schema>> {
        let mut schemas = Vec::new();
        for element in array(keyword, value)? {
            schemas.push(self.inner(keyword, element.map_err(malformed)?, depth)?);
        }
        if schemas.is_empty() {
            return Err(wrong(keyword, "at least one schema"));
        }
        Ok(schemas)
    }

    fn named(
        &mut self,
        keyword: &str,
        value: RawBsonRef<'_>,
        depth: usize,
    ) -> Result<Vec<(String, Schema)>> {
        let mut schemas = Vec::new();
        for element in object(keyword, value)? {
            let (name, value) = element.map_err(malformed)?;
            let schema = self.inner(keyword, value, depth)?;
            schemas.push((name.as_str().to_owned(), schema));
        }
        Ok(schemas)
    }

    fn additional(
        &mut self,
        keyword: &str,
        value: RawBsonRef<'_>,
        depth: usize,
    ) -> Result<Option<Additional>> {
        Ok(match value {
            RawBsonRef::Boolean(true) => None,
            RawBsonRef::Boolean(false) => Some(Additional::None),
            _ => Some(Additional::Like(Box::new(
                self.inner(keyword, value, depth)?,
            ))),
        })
    }

    fn pattern(&mut self, pattern: &str) -> Result<Pattern> {
        self.patterns += 1;
        if self.patterns > REGEXES_PER_FILTER_MAX {
            return Err(Error::invalid(format!(
                "the schema has more than {REGEXES_PER_FILTER_MAX} patterns; join them with '|'"
            )));
        }
        Pattern::compile(pattern, "")
    }
}

fn json_types(value: RawBsonRef<'_>) -> Result<Vec<ElementType>> {
    let mut found = Vec::new();
    let mut add = |value: RawBsonRef<'_>| {
        found.extend_from_slice(match value {
            RawBsonRef::String("object") => &[ElementType::EmbeddedDocument][..],
            RawBsonRef::String("array") => &[ElementType::Array],
            RawBsonRef::String("number") => {
                &[ElementType::Double, ElementType::Int32, ElementType::Int64]
            }
            RawBsonRef::String("boolean") => &[ElementType::Boolean],
            RawBsonRef::String("string") => &[ElementType::String],
            RawBsonRef::String("null") => &[ElementType::Null],
            _ => {
                return Err(wrong(
                    "type",
                    "object, array, number, boolean, string or null; for others use 'bsonType'",
                ));
            }
        });
        Ok(())
    };
    match value {
        RawBsonRef::Array(array) => {
            for element in array {
                add(element.map_err(malformed)?)?;
            }
        }
        value => add(value)?,
    }
    if found.is_empty() {
        return Err(wrong("type", "at least one type"));
    }
    Ok(found)
}

fn names(keyword: &str, value: RawBsonRef<'_>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for element in array(keyword, value)? {
        names.push(text(keyword, element.map_err(malformed)?)?.to_owned());
    }
    if names.is_empty() {
        return Err(wrong(keyword, "at least one name"));
    }
    Ok(names)
}

fn owned(array: &RawArray) -> Result<Vec<RawBson>> {
    array
        .into_iter()
        .map(|element| Ok(element.map_err(malformed)?.into()))
        .collect()
}

fn array<'a>(keyword: &str, value: RawBsonRef<'a>) -> Result<&'a RawArray> {
    match value {
        RawBsonRef::Array(array) => Ok(array),
        _ => Err(wrong(keyword, "an array")),
    }
}

fn object<'a>(keyword: &str, value: RawBsonRef<'a>) -> Result<&'a RawDocument> {
    match value {
        RawBsonRef::Document(document) => Ok(document),
        _ => Err(wrong(keyword, "an object")),
    }
}

fn text<'a>(keyword: &str, value: RawBsonRef<'a>) -> Result<&'a str> {
    match value {
        RawBsonRef::String(text) => Ok(text),
        _ => Err(wrong(keyword, "text")),
    }
}

fn boolean(keyword: &str, value: RawBsonRef<'_>) -> Result<bool> {
    match value {
        RawBsonRef::Boolean(value) => Ok(value),
        _ => Err(wrong(keyword, "true or false")),
    }
}

fn number(keyword: &str, value: RawBsonRef<'_>) -> Result<f64> {
    match Number::of(value).map(Number::as_f64) {
        Some(number) if number.is_finite() => Ok(number),
        _ => Err(wrong(keyword, "a number")),
    }
}

fn size(keyword: &str, value: RawBsonRef<'_>) -> Result<u64> {
    Number::of(value)
        .and_then(Number::as_exact_i64)
        .and_then(|size| u64::try_from(size).ok())
        .ok_or_else(|| wrong(keyword, "a whole number from 0"))
}

fn wrong(keyword: &str, wanted: &str) -> Error {
    Error::invalid(format!("the schema keyword '{keyword}' takes {wanted}"))
}
