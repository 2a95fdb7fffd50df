//! Extended JSON: the text form of documents on the command line and in files.

use bson::{Bson, Document};
use serde_json::Value;

use super::failure::CliError;

/// A document from text; `name` is what messages call it.
pub(super) fn parse_document(name: &str, text: &str) -> Result<Document, CliError> {
    to_document(text.as_bytes()).map_err(|reason| CliError::usage(format!("{name} {reason}")))
}

/// One or several documents from text: an object, or an array of objects.
pub(super) fn parse_documents(name: &str, text: &str) -> Result<Vec<Document>, CliError> {
    let usage = |reason: String| CliError::usage(format!("{name} {reason}"));
    let value: Value =
        serde_json::from_str(text).map_err(|error| usage(format!("is not JSON: {error}")))?;
    let members = match value {
        Value::Array(members) => members,
        other => vec![other],
    };
    members
        .into_iter()
        .map(|member| from_json(member).map_err(usage))
        .collect()
}

/// A document from the text of one JSON object; the error is a reason without a subject.
pub(super) fn to_document(text: &[u8]) -> Result<Document, String> {
    let value: Value =
        serde_json::from_slice(text).map_err(|error| format!("is not JSON: {error}"))?;
    from_json(value)
}

fn from_json(value: Value) -> Result<Document, String> {
    match Bson::try_from(value) {
        Ok(Bson::Document(document)) => Ok(document),
        Ok(_) => Err("must be a JSON object".to_owned()),
        Err(error) => Err(format!("is not Extended JSON: {error}")),
    }
}

/// Relaxed Extended JSON, in one line.
pub(super) fn to_json(document: Document) -> Value {
    Bson::Document(document).into_relaxed_extjson()
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn extended_values_are_understood() {
        let text = r#"{"_id":{"$oid":"507f1f77bcf86cd799439011"},"at":{"$date":"2020-01-02T03:04:05Z"},
            "n":{"$numberLong":"9"},"i":7,"d":1.5}"#;
        let document = parse_document("document", text).unwrap();
        assert!(matches!(document.get("_id"), Some(Bson::ObjectId(_))));
        assert!(matches!(document.get("at"), Some(Bson::DateTime(_))));
        assert_eq!(document.get("n"), Some(&Bson::Int64(9)));
        assert_eq!(document.get("i"), Some(&Bson::Int32(7)));
        assert_eq!(document.get("d"), Some(&Bson::Double(1.5)));
        assert_eq!(
            parse_document("document", &to_json(document.clone()).to_string())
                .unwrap()
                .get("at"),
            document.get("at")
        );
    }

    #[test]
    fn mistakes_are_named() {
        assert!(
            parse_document("FILTER", "{a:1}")
                .unwrap_err()
                .message
                .starts_with("FILTER is not JSON")
        );
        assert!(
            parse_document("FILTER", "[1]")
                .unwrap_err()
                .message
                .contains("JSON object")
        );
        assert!(parse_document("FILTER", r#"{"$oid":"zz"}"#).is_err());
        assert_eq!(
            parse_documents("x", r#"[{"a":1},{"a":2}]"#).unwrap(),
            [doc! {"a": 1}, doc! {"a": 2}]
        );
    }
}
