//! `--convert`: values of types that the database does not take, or that are better another way, become others by
//! a fixed rule. Without it a document that holds such a value is rejected with its reason.

use bson::{Bson, Document};
use clap::ValueEnum;

/// Decimal digits that every double keeps.
const DOUBLE_DIGITS: usize = 15;

/// One rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Conversion {
    /// decimal128 becomes a double where it has at most 15 digits, else text
    Decimal,
    /// symbol becomes text
    Symbol,
    /// JavaScript code becomes text; code with a scope stays rejected
    Code,
    /// undefined becomes null
    Undefined,
    /// ObjectId becomes its 24 digits as text, so that the clients of yunbase find documents by it
    ObjectId,
}

/// Applies `rules` to each value of `document`, however deep.
pub(super) fn convert(document: Document, rules: &[Conversion]) -> Document {
    document
        .into_iter()
        .map(|(name, value)| (name, converted(value, rules)))
        .collect()
}

fn converted(value: Bson, rules: &[Conversion]) -> Bson {
    let applies = |rule| rules.contains(&rule);
    match value {
        Bson::Document(inner) => Bson::Document(convert(inner, rules)),
        Bson::Array(elements) => Bson::Array(
            elements
                .into_iter()
                .map(|element| converted(element, rules))
                .collect(),
        ),
        Bson::Decimal128(decimal) if applies(Conversion::Decimal) => number(&decimal.to_string()),
        Bson::Symbol(text) if applies(Conversion::Symbol) => Bson::String(text),
        Bson::JavaScriptCode(code) if applies(Conversion::Code) => Bson::String(code),
        Bson::Undefined if applies(Conversion::Undefined) => Bson::Null,
        Bson::ObjectId(id) if applies(Conversion::ObjectId) => Bson::String(id.to_hex()),
        other => other,
    }
}

fn number(decimal: &str) -> Bson {
    let (mantissa, _) = decimal.split_once(['E', 'e']).unwrap_or((decimal, ""));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0').trim_end_matches('0').len();
    match decimal.parse::<f64>() {
        // Out of the range of a double it would be infinite, or zero without being so.
        Ok(number)
            if significant <= DOUBLE_DIGITS
                && (number.is_normal() || (number == 0.0 && significant == 0)) =>
        {
            Bson::Double(number)
        }
        Ok(number) if digits.is_empty() => Bson::Double(number),
        _ => Bson::String(decimal.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use bson::oid::ObjectId;
    use bson::{Decimal128, doc};

    use super::*;

    #[test]
    fn decimals_become_doubles_where_nothing_is_lost() {
        for (decimal, expected) in [
            ("1.50", Bson::Double(1.5)),
            ("-12345678901234.5", Bson::Double(-12_345_678_901_234.5)),
            ("0", Bson::Double(0.0)),
            ("1E+3", Bson::Double(1000.0)),
            ("1.234567890123456789", Bson::from("1.234567890123456789")),
            ("1E+400", Bson::from("1E+400")),
            ("1E-400", Bson::from("1E-400")),
            ("Infinity", Bson::Double(f64::INFINITY)),
        ] {
            let value = Bson::Decimal128(decimal.parse::<Decimal128>().unwrap());
            assert_eq!(
                converted(value, &[Conversion::Decimal]),
                expected,
                "{decimal}"
            );
        }
    }

    #[test]
    fn rules_apply_everywhere_and_only_when_asked_for() {
        let id = ObjectId::parse_str("507f1f77bcf86cd799439011").unwrap();
        let document = doc! {"_id": id, "a": [{"s": Bson::Symbol("x".into())}, Bson::Undefined], "c": Bson::JavaScriptCode("f".into())};
        assert_eq!(convert(document.clone(), &[]), document);
        let all = [
            Conversion::Symbol,
            Conversion::Undefined,
            Conversion::Code,
            Conversion::ObjectId,
        ];
        let expected =
            doc! {"_id": "507f1f77bcf86cd799439011", "a": [{"s": "x"}, Bson::Null], "c": "f"};
        assert_eq!(convert(document, &all), expected);
    }
}
