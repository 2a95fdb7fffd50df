//! `--types`: values that a file carries as text become numbers, truth values, dates, ObjectIds, and whatever JSON is.
//!
//! Each conversion takes the whole text or says what is wrong with it; a value that is not text stays as it is.

use std::str::FromStr;

use bson::oid::ObjectId;
use bson::{Bson, Document};

/// What the text of a field is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Int,
    Double,
    Bool,
    Date,
    ObjectId,
    Json,
}

/// The type of one top-level field, written `field:type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldType {
    field: String,
    wanted: Type,
}

impl FromStr for FieldType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (field, wanted) = text
            .rsplit_once(':')
            .filter(|(field, _)| !field.is_empty())
            .ok_or_else(|| format!("{text:?} is not of the form FIELD:TYPE"))?;
        let wanted = match wanted {
            "int" => Type::Int,
            "double" => Type::Double,
            "bool" => Type::Bool,
            "date" => Type::Date,
            "objectid" => Type::ObjectId,
            "json" => Type::Json,
            other => {
                return Err(format!(
                    "{other:?} is not int, double, bool, date, objectid or json"
                ));
            }
        };
        Ok(Self {
            field: field.to_owned(),
            wanted,
        })
    }
}

impl FieldType {
    /// Converts the field where it is text.
    pub(super) fn apply(&self, document: &mut Document) -> Result<(), String> {
        let Some(Bson::String(text)) = document.get(&self.field) else {
            return Ok(());
        };
        let converted = convert(text.trim(), self.wanted).ok_or_else(|| {
            let wanted = format!("{:?}", self.wanted).to_lowercase();
            format!("its field {:?} cannot be read as {wanted}", self.field)
        })?;
        document.insert(&self.field, converted);
        Ok(())
    }
}

fn convert(text: &str, wanted: Type) -> Option<Bson> {
    match wanted {
        Type::Int => text
            .parse::<i32>()
            .map(Bson::Int32)
            .or_else(|_| text.parse::<i64>().map(Bson::Int64))
            .ok(),
        // "nan" and "inf" are names as often as numbers, and no number that was measured.
        Type::Double => text
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map(Bson::Double),
        Type::Bool => text.parse::<bool>().ok().map(Bson::Boolean),
        Type::Date => bson::DateTime::parse_rfc3339_str(text)
            .ok()
            .map(Bson::DateTime),
        Type::ObjectId => ObjectId::parse_str(text).ok().map(Bson::ObjectId),
        Type::Json => {
            let value: serde_json::Value = serde_json::from_str(text).ok()?;
            Bson::try_from(value).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    fn typed(types: &str, mut document: Document) -> Result<Document, String> {
        for one in types.split(',') {
            one.parse::<FieldType>()?.apply(&mut document)?;
        }
        Ok(document)
    }

    #[test]
    fn text_becomes_what_is_asked_for() {
        let document = doc! {"lat": "-1.50", "n": " 7", "big": "5000000000", "on": "true", "at": "2020-01-02T03:04:05Z", "s": "9"};
        let read = typed("lat:double,n:int,big:int,on:bool,at:date", document).unwrap();
        assert_eq!(read.get_f64("lat").unwrap(), -1.5);
        assert_eq!(read.get_i32("n").unwrap(), 7);
        assert_eq!(read.get_i64("big").unwrap(), 5_000_000_000);
        assert!(read.get_bool("on").unwrap());
        assert_eq!(
            read.get_datetime("at").unwrap().timestamp_millis(),
            1_577_934_245_000
        );
        assert_eq!(read.get_str("s").unwrap(), "9");
        let document = doc! {"id": "507f1f77bcf86cd799439011", "j": "{\"a\":[1]}"};
        let read = typed("id:objectid,j:json", document).unwrap();
        assert!(read.get_object_id("id").is_ok());
        assert_eq!(read.get_document("j").unwrap(), &doc! {"a": [1]});
    }

    #[test]
    fn what_is_no_text_stays_and_what_cannot_be_read_is_named() {
        assert_eq!(typed("a:int", doc! {"a": 1.5}), Ok(doc! {"a": 1.5}));
        assert_eq!(typed("b:int", doc! {"a": "x"}), Ok(doc! {"a": "x"}));
        for bad in ["", "1x", "nan"] {
            let reason = typed("a:double", doc! {"a": bad}).unwrap_err();
            assert!(
                reason.contains("\"a\"") && reason.contains("double"),
                "{reason}"
            );
        }
        for bad in ["a", ":int", "a:float"] {
            assert!(bad.parse::<FieldType>().is_err(), "{bad}");
        }
    }
}
