//! From a client's filter document to the typed tree.
//!
//! Everything that can be wrong with a filter is refused here, with the field or operator named.

use bson::spec::ElementType;
use bson::{RawArray, RawBsonRef, RawDocument};

use super::Node;
use super::condition::{Condition, InList, OrderTest, Test};
use super::geo::GeoTest;
use super::pattern::Pattern;
use super::schema::Schema;
use crate::error::{Error, Result};
use crate::expr::{Bindings, Expression};
use crate::limits::{FILTER_NODES_MAX, IN_VALUES_MAX, NESTING_DEPTH_MAX, REGEXES_PER_FILTER_MAX};
use crate::value::compare::Number;
use crate::value::{Path, malformed, type_name};

/// Operators of MongoDB that this database knows of and does not offer.
const UNSUPPORTED: [&str; 13] = [
    "$where",
    "$text",
    "$search",
    "$language",
    "$geoNear",
    "$geometry",
    "$within",
    "$bitsAllSet",
    "$bitsAllClear",
    "$bitsAnySet",
    "$bitsAnyClear",
    "$sampleRate",
    "$rand",
];

/// Parses one filter and counts what it holds against the limits.
pub(crate) struct Parser<'a> {
    bindings: Bindings<'a>,
    nodes: usize,
    patterns: usize,
    depth: usize,
    /// Whether what is parsed decides about the order of a result.
    may_order: bool,
}

impl Parser<'static> {
    /// A parser for conditions that are no query: what an update or a projection says about elements of arrays.
    pub(crate) fn new(now_ms: i64) -> Self {
        let bindings = Bindings {
            now_ms,
            ..Bindings::default()
        };
        Self {
            may_order: false,
            ..Self::with(bindings)
        }
    }
}

impl<'a> Parser<'a> {
    /// A parser for one filter whose expressions may refer to `bindings`.
    pub(crate) fn with(bindings: Bindings<'a>) -> Self {
        Self {
            bindings,
            nodes: 0,
            patterns: 0,
            depth: 0,
            may_order: true,
        }
    }

    /// A filter document; all its members must hold.
    pub(crate) fn document(&mut self, filter: &RawDocument) -> Result<Node> {
        self.depth += 1;
        if self.depth > NESTING_DEPTH_MAX {
            return Err(Error::invalid(format!(
                "the filter nests deeper than {NESTING_DEPTH_MAX} levels; flatten it"
            )));
        }
        let mut nodes = Vec::new();
        for element in filter.iter() {
            let (key, value) = element.map_err(malformed)?;
            self.member(key.as_str(), value, &mut nodes)?;
        }
        self.depth -= 1;
        Ok(match nodes.len() {
            1 => nodes.remove(0),
            _ => Node::All(nodes),
        })
    }

    fn member(&mut self, key: &str, value: RawBsonRef<'_>, nodes: &mut Vec<Node>) -> Result<()> {
        self.count_node()?;
        match key {
            "$and" => nodes.push(Node::All(self.branches(key, value)?)),
            "$or" => nodes.push(Node::Any(self.branches(key, value)?)),
            "$nor" => nodes.push(Node::Nor(self.branches(key, value)?)),
            "$expr" => nodes.push(self.expression(value)?),
            "$jsonSchema" => match value {
                RawBsonRef::Document(schema) => {
                    nodes.push(Node::Schema(Box::new(Schema::parse(schema)?)));
                }
                other => {
                    return Err(Error::invalid(format!(
                        "'$jsonSchema' takes a schema, an object, not a {}",
                        type_name(other)
                    )));
                }
            },
            "$comment" => {}
            _ if key.starts_with('$') => return Err(unknown(key, None)),
            _ => self.field(key, value, nodes)?,
        }
        Ok(())
    }

    fn branches(&mut self, operator: &str, value: RawBsonRef<'_>) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        for branch in array_operand(operator, None, value)? {
            match branch.map_err(malformed)? {
                RawBsonRef::Document(document) => nodes.push(self.document(document)?),
                other => {
                    return Err(Error::invalid(format!(
                        "'{operator}' holds a {}; it takes an array of filter objects",
                        type_name(other)
                    )));
                }
            }
        }
        if nodes.is_empty() {
            return Err(Error::invalid(format!(
                "'{operator}' is empty; give it at least one filter"
            )));
        }
        Ok(nodes)
    }

    fn expression(&mut self, value: RawBsonRef<'_>) -> Result<Node> {
        Ok(Node::Expression(Box::new(Expression::parse_with(
            value,
            &self.bindings,
        )?)))
    }

    fn field(&mut self, field: &str, value: RawBsonRef<'_>, nodes: &mut Vec<Node>) -> Result<()> {
        let condition = match value {
            RawBsonRef::Document(document) if is_operator_document(document)? => {
                // Clients wrap an expression in the field it was written under; the field means nothing then.
                if let Some(expression) = document.get("$expr").map_err(malformed)? {
                    nodes.push(self.expression(expression)?);
                    if document.iter_elements().count() == 1 {
                        return Ok(());
                    }
                }
                self.operators(field, document)?
            }
            value => self.plain(field, value)?,
        };
        nodes.push(Node::Field {
            path: Path::parse(field)?,
            condition,
        });
        Ok(())
    }

    /// A value that is not an operator object: a regular expression to match or a value to equal.
    pub(crate) fn plain(&mut self, field: &str, value: RawBsonRef<'_>) -> Result<Condition> {
        Ok(Condition::Test(match value {
            RawBsonRef::RegularExpression(regex) => Test::Matches(self.pattern(
                field,
                regex.pattern.as_str(),
                regex.options.as_str(),
            )?),
            value => Test::Equal(value.into()),
        }))
    }

    /// `{$gt: 1, $lt: 5}`: all operators must hold.
    pub(crate) fn operators(&mut self, field: &str, document: &RawDocument) -> Result<Condition> {
        self.depth += 1;
        if self.depth > NESTING_DEPTH_MAX {
            return Err(Error::invalid(format!(
                "field '{field}' nests conditions deeper than {NESTING_DEPTH_MAX} levels"
            )));
        }
        let mut conditions = Vec::new();
        for element in document.iter() {
            let (operator, value) = element.map_err(malformed)?;
            if let Some(condition) = self.operator(field, operator.as_str(), value, document)? {
                self.count_node()?;
                conditions.push(condition);
            }
        }
        self.depth -= 1;
        Ok(match conditions.len() {
            1 => conditions.remove(0),
            _ => Condition::All(conditions),
        })
    }

    fn operator(
        &mut self,
        field: &str,
        operator: &str,
        value: RawBsonRef<'_>,
        siblings: &RawDocument,
    ) -> Result<Option<Condition>> {
        let test = match operator {
            "$eq" => Test::Equal(value.into()),
            "$ne" => {
                refuse_regex(field, operator, value)?;
                return Ok(Some(not(Condition::Test(Test::Equal(value.into())))));
            }
            "$lt" => order_test(field, operator, OrderTest::Less, value)?,
            "$lte" => order_test(field, operator, OrderTest::LessOrEqual, value)?,
            "$gt" => order_test(field, operator, OrderTest::Greater, value)?,
            "$gte" => order_test(field, operator, OrderTest::GreaterOrEqual, value)?,
            "$in" => Test::In(self.in_list(field, operator, value)?),
            "$nin" => {
                return Ok(Some(not(Condition::Test(Test::In(
                    self.in_list(field, operator, value)?,
                )))));
            }
            "$all" => return self.all(field, value).map(Some),
            "$elemMatch" => self.elem_match(field, value)?,
            "$exists" => {
                let exists = Condition::Test(Test::Exists);
                return Ok(Some(if truthy(value) { exists } else { not(exists) }));
            }
            "$size" => Test::Size(size_operand(field, value)?),
            "$mod" => modulo(field, value)?,
            "$type" => Test::Type(types(field, value)?),
            "$near" | "$nearSphere" if !self.may_order => {
                return Err(Error::operator(format!(
                    "field '{field}': '{operator}' orders the result of a query, and there is none here; use '$geoWithin' with '$centerSphere'"
                )));
            }
            "$geoWithin" | "$geoIntersects" | "$near" | "$nearSphere" => {
                Test::Geo(Box::new(GeoTest::parse(field, operator, value)?))
            }
            "$not" => return self.not(field, value).map(Some),
            "$regex" => Test::Matches(self.regex_operator(field, value, siblings)?),
            "$options" if siblings.get("$regex").map_err(malformed)?.is_some() => return Ok(None),
            "$options" => {
                return Err(Error::operator(format!(
                    "field '{field}': '$options' needs a '$regex' beside it"
                )));
            }
            "$comment" | "$expr" => return Ok(None),
            "$jsonSchema" => {
                return Err(Error::operator(format!(
                    "field '{field}': '$jsonSchema' is about whole documents; put it at the top level, with '{field}' among its 'properties'"
                )));
            }
            _ => return Err(unknown(operator, Some(field))),
        };
        Ok(Some(Condition::Test(test)))
    }

    fn in_list(&mut self, field: &str, operator: &str, value: RawBsonRef<'_>) -> Result<InList> {
        let mut values = Vec::new();
        let mut patterns = Vec::new();
        for element in array_operand(operator, Some(field), value)? {
            if values.len() >= IN_VALUES_MAX {
                return Err(Error::invalid(format!(
                    "field '{field}': '{operator}' lists more than {IN_VALUES_MAX} values; split the query"
                )));
            }
            match element.map_err(malformed)? {
                RawBsonRef::RegularExpression(regex) => {
                    patterns.push(self.pattern(
                        field,
                        regex.pattern.as_str(),
                        regex.options.as_str(),
                    )?);
                }
                RawBsonRef::Document(document) if is_operator_document(document)? => {
                    return Err(Error::operator(format!(
                        "field '{field}': '{operator}' lists an operator object; list plain values"
                    )));
                }
                value => values.push(value.into()),
            }
        }
        Ok(InList::new(values, patterns))
    }

    fn all(&mut self, field: &str, value: RawBsonRef<'_>) -> Result<Condition> {
        let mut conditions = Vec::new();
        for element in array_operand("$all", Some(field), value)? {
            if conditions.len() >= IN_VALUES_MAX {
                return Err(Error::invalid(format!(
                    "field '{field}': '$all' lists more than {IN_VALUES_MAX} values"
                )));
            }
            conditions.push(match element.map_err(malformed)? {
                RawBsonRef::Document(document) if is_operator_document(document)? => {
                    match document.get("$elemMatch").map_err(malformed)? {
                        Some(operand) if document.iter_elements().count() == 1 => {
                            self.count_node()?;
                            Condition::Test(self.elem_match(field, operand)?)
                        }
                        _ => {
                            return Err(Error::operator(format!(
                                "field '{field}': '$all' lists an operator object; only '$elemMatch' may stand there"
                            )));
                        }
                    }
                }
                value => self.plain(field, value)?,
            });
        }
        // An empty list is satisfied by nothing, unlike an empty conjunction.
        Ok(if conditions.is_empty() {
            not(Condition::All(conditions))
        } else {
            Condition::All(conditions)
        })
    }

    /// The operand of `$elemMatch`: operators on the element itself, or a filter on it as a document.
    pub(crate) fn elem_match(&mut self, field: &str, value: RawBsonRef<'_>) -> Result<Test> {
        let RawBsonRef::Document(document) = value else {
            return Err(Error::invalid(format!(
                "field '{field}': '$elemMatch' takes an object, not a {}",
                type_name(value)
            )));
        };
        let logical = match document.iter_elements().next() {
            Some(first) => matches!(
                first.map_err(malformed)?.key().as_str(),
                "$and" | "$or" | "$nor" | "$expr"
            ),
            None => true,
        };
        if !logical && is_operator_document(document)? {
            return Ok(Test::AnyElement(Box::new(self.operators(field, document)?)));
        }
        Ok(Test::AnyDocument(Box::new(self.document(document)?)))
    }

    fn not(&mut self, field: &str, value: RawBsonRef<'_>) -> Result<Condition> {
        match value {
            RawBsonRef::RegularExpression(_) => Ok(not(self.plain(field, value)?)),
            RawBsonRef::Document(document) if is_operator_document(document)? => {
                Ok(not(self.operators(field, document)?))
            }
            other => Err(Error::invalid(format!(
                "field '{field}': '$not' takes an operator object or a regular expression, not a {}",
                type_name(other)
            ))),
        }
    }

    fn regex_operator(
        &mut self,
        field: &str,
        value: RawBsonRef<'_>,
        siblings: &RawDocument,
    ) -> Result<Pattern> {
        let options = match siblings.get("$options").map_err(malformed)? {
            None => None,
            Some(RawBsonRef::String(options)) => Some(options),
            Some(other) => {
                return Err(Error::invalid(format!(
                    "field '{field}': '$options' is a {}; it takes a string of flags",
                    type_name(other)
                )));
            }
        };
        match value {
            RawBsonRef::String(pattern) => {
                self.pattern(field, pattern, options.unwrap_or_default())
            }
            RawBsonRef::RegularExpression(regex) => self.pattern(
                field,
                regex.pattern.as_str(),
                options.unwrap_or(regex.options.as_str()),
            ),
            other => Err(Error::invalid(format!(
                "field '{field}': '$regex' is a {}; it takes a string or a regular expression",
                type_name(other)
            ))),
        }
    }

    fn pattern(&mut self, field: &str, pattern: &str, flags: &str) -> Result<Pattern> {
        self.patterns += 1;
        if self.patterns > REGEXES_PER_FILTER_MAX {
            return Err(Error::invalid(format!(
                "the filter has more than {REGEXES_PER_FILTER_MAX} regular expressions; join them with '|'"
            )));
        }
        Pattern::compile(pattern, flags)
            .map_err(|error| Error::new(error.code, format!("field '{field}': {}", error.message)))
    }

    fn count_node(&mut self) -> Result<()> {
        self.nodes += 1;
        if self.nodes > FILTER_NODES_MAX {
            return Err(Error::invalid(format!(
                "the filter has more than {FILTER_NODES_MAX} conditions; use '$in' or split the query"
            )));
        }
        Ok(())
    }
}

/// Whether a value in a filter is an object of operators, as opposed to a value to equal.
pub(crate) fn is_operator_document(document: &RawDocument) -> Result<bool> {
    Ok(match document.iter_elements().next() {
        Some(first) => {
            let first = first.map_err(malformed)?;
            first.key().as_str().starts_with('$')
                && !matches!(first.key().as_str(), "$ref" | "$id" | "$db")
        }
        None => false,
    })
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn unknown(operator: &str, field: Option<&str>) -> Error {
    let place = field.map_or_else(
        || "at the top level".to_owned(),
        |field| format!("in field '{field}'"),
    );
    if UNSUPPORTED.contains(&operator) {
        Error::operator(format!(
            "query operator '{operator}' {place} is not supported yet; leave it out"
        ))
    } else {
        Error::operator(format!(
            "unknown query operator '{operator}' {place}; check its spelling and place"
        ))
    }
}

fn array_operand<'a>(
    operator: &str,
    field: Option<&str>,
    value: RawBsonRef<'a>,
) -> Result<&'a RawArray> {
    match value {
        RawBsonRef::Array(array) => Ok(array),
        other => {
            let place = field.map_or_else(String::new, |field| format!("field '{field}': "));
            Err(Error::invalid(format!(
                "{place}'{operator}' takes an array, not a {}",
                type_name(other)
            )))
        }
    }
}

fn refuse_regex(field: &str, operator: &str, value: RawBsonRef<'_>) -> Result<()> {
    match value {
        RawBsonRef::RegularExpression(_) => Err(Error::invalid(format!(
            "field '{field}': '{operator}' cannot take a regular expression; use '$not' with it"
        ))),
        _ => Ok(()),
    }
}

fn order_test(
    field: &str,
    operator: &str,
    order: OrderTest,
    value: RawBsonRef<'_>,
) -> Result<Test> {
    refuse_regex(field, operator, value)?;
    Ok(Test::Order(order, value.into()))
}

fn truthy(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Boolean(value) => value,
        RawBsonRef::Null => false,
        value => Number::of(value).is_none_or(|number| number.as_f64() != 0.0),
    }
}

fn size_operand(field: &str, value: RawBsonRef<'_>) -> Result<u64> {
    Number::of(value)
        .and_then(Number::as_exact_i64)
        .and_then(|size| u64::try_from(size).ok())
        .ok_or_else(|| {
            Error::invalid(format!(
                "field '{field}': '$size' takes a whole number from 0, not {}",
                show(value)
            ))
        })
}

fn modulo(field: &str, value: RawBsonRef<'_>) -> Result<Test> {
    let refused = || {
        Error::invalid(format!(
            "field '{field}': '$mod' takes [divisor, remainder], two numbers, the divisor not zero"
        ))
    };
    let mut operands = Vec::with_capacity(2);
    for element in array_operand("$mod", Some(field), value)? {
        let number = Number::of(element.map_err(malformed)?).and_then(Number::truncate_i64);
        operands.push(number.ok_or_else(refused)?);
    }
    match operands[..] {
        [divisor, remainder] if divisor != 0 => Ok(Test::Modulo { divisor, remainder }),
        _ => Err(refused()),
    }
}

pub(super) fn types(field: &str, value: RawBsonRef<'_>) -> Result<Vec<ElementType>> {
    let mut types = Vec::new();
    match value {
        RawBsonRef::Array(array) => {
            for element in array {
                add_type(field, element.map_err(malformed)?, &mut types)?;
            }
            if types.is_empty() {
                return Err(Error::invalid(format!(
                    "field '{field}': '$type' is empty; name at least one type"
                )));
            }
        }
        value => add_type(field, value, &mut types)?,
    }
    Ok(types)
}

fn add_type(field: &str, value: RawBsonRef<'_>, types: &mut Vec<ElementType>) -> Result<()> {
    let found = match value {
        RawBsonRef::String("number") => {
            types.extend([
                ElementType::Int32,
                ElementType::Int64,
                ElementType::Double,
                ElementType::Decimal128,
            ]);
            return Ok(());
        }
        RawBsonRef::String(alias) => type_of_alias(alias),
        value => Number::of(value)
            .and_then(Number::as_exact_i64)
            .and_then(|code| match code {
                -1 => Some(ElementType::MinKey),
                127 => Some(ElementType::MaxKey),
                code => u8::try_from(code)
                    .ok()
                    .filter(|code| *code != 0 && *code < 127)
                    .and_then(ElementType::from),
            }),
    };
    types.push(found.ok_or_else(|| {
        Error::invalid(format!(
            "field '{field}': '$type' does not know the type {}; use an alias such as \"string\"",
            show(value)
        ))
    })?);
    Ok(())
}

fn type_of_alias(alias: &str) -> Option<ElementType> {
    Some(match alias {
        "double" => ElementType::Double,
        "string" => ElementType::String,
        "object" => ElementType::EmbeddedDocument,
        "array" => ElementType::Array,
        "binData" => ElementType::Binary,
        "undefined" => ElementType::Undefined,
        "objectId" => ElementType::ObjectId,
        "bool" => ElementType::Boolean,
        "date" => ElementType::DateTime,
        "null" => ElementType::Null,
        "regex" => ElementType::RegularExpression,
        "dbPointer" => ElementType::DbPointer,
        "javascript" => ElementType::JavaScriptCode,
        "symbol" => ElementType::Symbol,
        "javascriptWithScope" => ElementType::JavaScriptCodeWithScope,
        "int" => ElementType::Int32,
        "timestamp" => ElementType::Timestamp,
        "long" => ElementType::Int64,
        "decimal" => ElementType::Decimal128,
        "minKey" => ElementType::MinKey,
        "maxKey" => ElementType::MaxKey,
        _ => return None,
    })
}

/// A short form of a value for messages.
pub(crate) fn show(value: RawBsonRef<'_>) -> String {
    const SHOWN_CHARS_MAX: usize = 40;
    match value {
        RawBsonRef::String(text) => format!(
            "\"{}\"",
            text.chars().take(SHOWN_CHARS_MAX).collect::<String>()
        ),
        RawBsonRef::Int32(v) => v.to_string(),
        RawBsonRef::Int64(v) => v.to_string(),
        RawBsonRef::Double(v) => v.to_string(),
        RawBsonRef::Boolean(v) => v.to_string(),
        value => format!("a {}", type_name(value)),
    }
}
