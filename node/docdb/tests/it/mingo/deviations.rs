//! Where mingo is known to differ from MongoDB, and why ours is MongoDB's way.

use bson::{Bson, Document};

use yunbase_docdb::value::equal;

use super::Case;
use super::oracle::Answer;
use crate::generate::raw_value;

/// A known difference: cases it may explain, and the reason.
struct Deviation {
    name: &'static str,
    reason: &'static str,
    applies: fn(&Case, &Answer) -> bool,
}

const DEVIATIONS: [Deviation; 11] = [
    Deviation {
        name: "order of null, arrays and objects",
        reason: "mingo does not let $lte/$gte null match missing fields, sorts arrays and field names before it \
                 compares them, and compares single elements with an array operand",
        applies: |case, _| {
            has_condition(case, |condition| {
                matches!(condition.operator, "$lt" | "$lte" | "$gt" | "$gte")
                    && matches!(
                        condition.operand,
                        Bson::Null | Bson::Array(_) | Bson::Document(_)
                    )
            })
        },
    },
    Deviation {
        name: "$mod of what is not a number",
        reason: "mingo divides booleans, dates and strings as JavaScript does; MongoDB only numbers",
        applies: |case, _| has_condition(case, |condition| condition.operator == "$mod"),
    },
    Deviation {
        name: "$type of elements",
        reason: "mingo looks at an array itself, MongoDB also at its elements",
        applies: |case, _| has_condition(case, |condition| condition.operator == "$type"),
    },
    Deviation {
        name: "$all is equality",
        reason: "in MongoDB each value of $all is tried as by $eq: it may equal a field that is no array, null matches \
                 a missing field, an array the whole field; mingo looks at the elements of an array only",
        applies: |case, _| {
            has_condition(case, |condition| {
                let array = value_at(document(case), &condition.path).and_then(Bson::as_array);
                condition.operator == "$all"
                    && condition.operand.as_array().is_some_and(|list| {
                        array.is_none() || list.iter().any(|value| value.as_array().is_some())
                    })
            })
        },
    },
    Deviation {
        name: "$not of an empty string",
        reason: "mingo's $not takes an empty string for false, as JavaScript does; in MongoDB it is true",
        applies: |case, _| {
            let fields = [Some(document(case)), document(case).get_document("d").ok()];
            let empty = |fields: &Document| fields.get_str("v").is_ok_and(str::is_empty);
            let expression = case.question.get("expression").map(ToString::to_string);
            expression.is_some_and(|text| text.contains("\"$not\""))
                && fields.into_iter().flatten().any(empty)
        },
    },
    Deviation {
        name: "paths through arrays",
        reason: "mingo resolves a path through an array to one flattened array: elements without the field are lost, \
                 an empty result counts as a value, nested arrays are entered; MongoDB tries each element that is an \
                 object by itself and enters no nested array",
        applies: |case, _| {
            has_condition(case, |condition| {
                crosses_array(document(case), &condition.path)
            })
        },
    },
    Deviation {
        name: "nested arrays",
        reason: "mingo flattens an array in an array when it looks for a value or a pattern; MongoDB enters only one level",
        applies: |case, _| {
            has_condition(case, |condition| {
                value_at(document(case), &condition.path).is_some_and(holds_array_in_array)
            })
        },
    },
    Deviation {
        name: "$in of an array",
        reason: "mingo looks for the field's elements in the list only; MongoDB also for the whole array",
        applies: |case, _| {
            has_condition(case, |condition| {
                matches!(condition.operator, "$in" | "$nin")
                    && condition
                        .operand
                        .as_array()
                        .is_some_and(|list| list.iter().any(|value| value.as_array().is_some()))
            })
        },
    },
    Deviation {
        name: "modifiers of $push to a missing field",
        reason: "mingo ignores $sort and $slice when the field does not exist",
        applies: |case, _| {
            changes(case, "$push").any(|(path, operand)| {
                operand.as_document().is_some_and(|operand| {
                    operand.contains_key("$sort") || operand.contains_key("$slice")
                }) && value_at(document(case), path).is_none()
            })
        },
    },
    Deviation {
        name: "duplicates and $addToSet",
        reason: "mingo removes duplicates that were in the array before or adds nothing to such an array, and keeps \
                 duplicates of $each in a new one",
        applies: |case, _| {
            changes(case, "$addToSet").any(|(path, operand)| {
                let listed = operand
                    .as_document()
                    .is_some_and(|operand| operand.contains_key("$each"));
                listed || value_at(document(case), path).is_some_and(holds_duplicates)
            })
        },
    },
    Deviation {
        name: "exclusion inside nested arrays",
        reason: "mingo does not enter arrays in arrays when it excludes a field, and fails on null elements",
        applies: |case, _| {
            case.question
                .get_document("projection")
                .is_ok_and(|projection| {
                    projection.iter().any(|(path, value)| {
                        *value == Bson::Int32(0)
                            && path.contains('.')
                            && crosses_array(document(case), path)
                    })
                })
        },
    },
];

/// The same for whole pipelines.
const PIPELINE_DEVIATIONS: [Deviation; 7] = [
    Deviation {
        name: "$count of nothing",
        reason: "mingo makes a document with 0; MongoDB makes none",
        applies: |case, _| mentions(case, "\"$facet\"") && mentions(case, "\"$count\": \""),
    },
    Deviation {
        name: "$bucket of a value that is a boundary",
        reason: "mingo puts it into the bucket below; in MongoDB a boundary begins its bucket",
        applies: |case, _| mentions(case, "\"$bucket\""),
    },
    Deviation {
        name: "$lookup of an array with duplicates",
        reason: "mingo finds a document once for each of its elements that is equal; MongoDB once",
        applies: |case, _| mentions(case, "\"foreignField\": \"m\""),
    },
    Deviation {
        name: "$lookup by the elements of an array",
        reason: "mingo adds null for each element that finds nothing and lets an empty array find nothing; in MongoDB \
                 an empty array looks for null",
        applies: |case, _| mentions(case, "\"localField\": \"i\""),
    },
    Deviation {
        name: "$push of a missing field",
        reason: "mingo pushes null; MongoDB pushes nothing",
        applies: |case, _| mentions(case, "\"$push\": \"$gone"),
    },
    Deviation {
        name: "standard deviations",
        reason: "mingo goes over the numbers twice and rounds the last digit otherwise than MongoDB's one pass; of no number \
                 at all $stdDevSamp is 0 in mingo, null in MongoDB",
        applies: |case, _| mentions(case, "\"$stdDev"),
    },
    Deviation {
        name: "$addFields of an object",
        reason: "mingo puts the object in the place of the field; in MongoDB it names fields to set inside",
        applies: |case, _| mentions(case, "\"kept\"") || mentions(case, "\"b\": \"$gone\""),
    },
];

/// Whether the text of a pipeline holds `part`.
fn mentions(case: &Case, part: &str) -> bool {
    let pipeline = case.question.get("pipeline").map(ToString::to_string);
    pipeline.is_some_and(|text| text.contains(part))
}

/// The name and reason of the listed deviation that explains a difference.
pub(crate) fn explain(case: &Case, theirs: &Answer) -> Option<(&'static str, &'static str)> {
    let table: &[Deviation] = if case.question.contains_key("pipeline") {
        &PIPELINE_DEVIATIONS
    } else {
        &DEVIATIONS
    };
    let found = table
        .iter()
        .find(|deviation| (deviation.applies)(case, theirs));
    found.map(|deviation| (deviation.name, deviation.reason))
}

/// One operator of a filter, with the path from the document's root.
struct Condition<'a> {
    path: String,
    operator: &'a str,
    operand: &'a Bson,
}

fn has_condition(case: &Case, holds: impl Fn(&Condition<'_>) -> bool) -> bool {
    let mut conditions = Vec::new();
    if let Ok(filter) = case.question.get_document("filter") {
        collect(filter, "", &mut conditions);
    }
    conditions.iter().any(holds)
}

fn collect<'a>(filter: &'a Document, prefix: &str, conditions: &mut Vec<Condition<'a>>) {
    for (key, value) in filter {
        if matches!(&**key, "$and" | "$or" | "$nor") {
            for branch in value.as_array().into_iter().flatten() {
                collect(branch.as_document().unwrap(), prefix, conditions);
            }
            continue;
        }
        let path = if prefix.is_empty() {
            key.clone()
        } else {
            format!("{prefix}.{key}")
        };
        match value {
            Bson::Document(operators) if operators.keys().any(|name| name.starts_with('$')) => {
                collect_operators(operators, &path, conditions);
            }
            operand => conditions.push(Condition {
                path,
                operator: "$eq",
                operand,
            }),
        }
    }
}

fn collect_operators<'a>(operators: &'a Document, path: &str, conditions: &mut Vec<Condition<'a>>) {
    for (operator, operand) in operators {
        conditions.push(Condition {
            path: path.to_owned(),
            operator,
            operand,
        });
        if let Bson::Document(inner) = operand {
            match &**operator {
                "$elemMatch"
                    if inner.keys().any(|key| {
                        !key.starts_with('$') || matches!(&**key, "$and" | "$or" | "$nor")
                    }) =>
                {
                    collect(inner, path, conditions);
                }
                "$elemMatch" | "$not" => collect_operators(inner, path, conditions),
                _ => {}
            }
        }
    }
}

fn changes<'a>(case: &'a Case, operator: &str) -> impl Iterator<Item = (&'a String, &'a Bson)> {
    let change = case
        .question
        .get_document("change")
        .and_then(|change| change.get_document(operator));
    change.into_iter().flatten()
}

fn document(case: &Case) -> &Document {
    match case.question.get_array("documents") {
        Ok(documents) => documents[0].as_document().unwrap(),
        Err(_) => case.question.get_document("document").unwrap(),
    }
}

/// The value at a path of fields.
fn value_at<'a>(document: &'a Document, path: &str) -> Option<&'a Bson> {
    let mut parts = path.split('.');
    let mut value = document.get(parts.next()?)?;
    for part in parts {
        value = value.as_document()?.get(part)?;
    }
    Some(value)
}

/// Whether an array lies on the path before its end.
fn crosses_array(document: &Document, path: &str) -> bool {
    path.match_indices('.')
        .any(|(at, _)| matches!(value_at(document, &path[..at]), Some(Bson::Array(_))))
}

fn holds_array_in_array(value: &Bson) -> bool {
    value.as_array().is_some_and(|array| {
        array
            .iter()
            .any(|element| matches!(element, Bson::Array(_)))
    })
}

fn holds_duplicates(value: &Bson) -> bool {
    let elements: Vec<_> = value
        .as_array()
        .into_iter()
        .flatten()
        .map(raw_value)
        .collect();
    elements.iter().enumerate().any(|(i, a)| {
        elements[..i]
            .iter()
            .any(|b| equal(a.as_raw_bson_ref(), b.as_raw_bson_ref()))
    })
}
