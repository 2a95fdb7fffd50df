//! Starting mingo, asking it all questions at once, and telling whether two answers are the same.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bson::{Bson, Document};
use serde_json::{Value, json};
use yunbase_docdb::value::equal;

use super::Case;
use crate::generate::raw_value;

/// What an implementation says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Value(Bson),
    Refused(String),
}

impl From<Result<Bson, yunbase_docdb::Error>> for Answer {
    fn from(result: Result<Bson, yunbase_docdb::Error>) -> Self {
        match result {
            Ok(value) => Self::Value(value),
            Err(error) => Self::Refused(error.to_string()),
        }
    }
}

fn node_modules() -> PathBuf {
    let package = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/mingo");
    let modules = match std::env::var_os("YUNBASE_NPM_DIR") {
        Some(cache) => PathBuf::from(cache).join("node_modules"),
        None => package.join("node_modules"),
    };
    assert!(
        modules.join("mingo").is_dir(),
        "mingo is not installed in {}; run: npm ci --prefix {}",
        modules.display(),
        package.display()
    );
    modules
}

/// mingo's answers, in the order of the cases.
pub(crate) fn ask(cases: &[Case]) -> Vec<Answer> {
    let runner = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/mingo/runner.mjs");
    let mut child = Command::new("node")
        .arg(runner)
        .arg(node_modules())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut stdin = child.stdin.take().unwrap();
    let mut input = String::new();
    for case in cases {
        input.push_str(&to_json(&Bson::Document(case.question.clone())).to_string());
        input.push('\n');
    }
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the runner failed");
    let answers: Vec<Answer> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(answer)
        .collect();
    assert_eq!(answers.len(), cases.len(), "the runner lost answers");
    answers
}

fn answer(line: &[u8]) -> Answer {
    let line: Value = serde_json::from_slice(line).unwrap();
    match line.get("ok") {
        Some(value) => Answer::Value(from_json(value)),
        None => Answer::Refused(line["error"].as_str().unwrap_or_default().to_owned()),
    }
}

/// Canonical extended JSON of the types that are generated.
fn to_json(value: &Bson) -> Value {
    match value {
        Bson::Document(document) => Value::Object(
            document
                .iter()
                .map(|(key, value)| (key.clone(), to_json(value)))
                .collect(),
        ),
        Bson::Array(array) => Value::Array(array.iter().map(to_json).collect()),
        Bson::Int32(v) => json!({ "$numberInt": v.to_string() }),
        Bson::Int64(v) => json!({ "$numberLong": v.to_string() }),
        Bson::Double(v) => json!({ "$numberDouble": v.to_string() }),
        Bson::DateTime(v) => {
            json!({ "$date": { "$numberLong": v.timestamp_millis().to_string() } })
        }
        Bson::RegularExpression(v) => {
            json!({ "$regularExpression": { "pattern": v.pattern.as_str(), "options": v.options.as_str() } })
        }
        Bson::String(v) => json!(v),
        Bson::Boolean(v) => json!(v),
        Bson::Null => Value::Null,
        other => panic!("{other:?} is not generated"),
    }
}

/// JSON to read in a failure message: numbers plain.
pub(crate) fn plain_json(value: &Bson) -> Value {
    match value {
        Bson::Document(document) => Value::Object(
            document
                .iter()
                .map(|(key, value)| (key.clone(), plain_json(value)))
                .collect(),
        ),
        Bson::Array(array) => Value::Array(array.iter().map(plain_json).collect()),
        Bson::Int32(v) => json!(v),
        Bson::Double(v) => json!(v),
        Bson::Undefined => json!("<undefined>"),
        Bson::DateTime(v) => json!(format!("<date {}>", v.timestamp_millis())),
        other => to_json(other),
    }
}

fn from_json(value: &Value) -> Bson {
    match value {
        Value::Null => Bson::Null,
        Value::Bool(v) => Bson::Boolean(*v),
        Value::Number(v) => Bson::Double(v.as_f64().unwrap()),
        Value::String(v) => Bson::String(v.clone()),
        Value::Array(array) => Bson::Array(array.iter().map(from_json).collect()),
        Value::Object(object) => {
            if let Some(number) = object.get("$numberDouble") {
                return Bson::Double(number.as_str().unwrap().parse().unwrap());
            }
            if object.contains_key("$undefined") {
                return Bson::Undefined;
            }
            if let Some(date) = object.get("$date") {
                let millis = date["$numberLong"].as_str().unwrap().parse().unwrap();
                return Bson::DateTime(bson::DateTime::from_millis(millis));
            }
            Bson::Document(
                object
                    .iter()
                    .map(|(key, value)| (key.clone(), from_json(value)))
                    .collect(),
            )
        }
    }
}

/// The same answer: equal values whatever the width of numbers and the order of fields; two refusals
/// are the same whatever they say.
pub(crate) fn same(ours: &Answer, theirs: &Answer) -> bool {
    match (ours, theirs) {
        (Answer::Value(ours), Answer::Value(theirs)) => {
            let (ours, theirs) = (raw_value(&sorted(ours)), raw_value(&sorted(theirs)));
            equal(ours.as_raw_bson_ref(), theirs.as_raw_bson_ref())
        }
        (Answer::Refused(_), Answer::Refused(_)) => true,
        _ => false,
    }
}

fn sorted(value: &Bson) -> Bson {
    match value {
        Bson::Document(document) => {
            let mut fields: Vec<(&String, &Bson)> = document.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields = fields
                .into_iter()
                .map(|(name, value)| (name.clone(), sorted(value)));
            Bson::Document(fields.collect::<Document>())
        }
        Bson::Array(array) => Bson::Array(array.iter().map(sorted).collect()),
        other => other.clone(),
    }
}
