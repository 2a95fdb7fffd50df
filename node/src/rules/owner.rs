//! `_openid`, the field that says whose a document is, and `{openid}`, its placeholder in queries.

use bson::{Bson, Document, RawDocument, RawDocumentBuf};
use yunbase_docdb::update::{Update, UpdateContext};
use yunbase_docdb::value::check_document;

use super::refusal::{denied, malformed};
use crate::call::{EndUser, Failure};

/// The field that the server sets on the documents of end users.
pub const OWNER: &str = "_openid";
/// Stands for the caller's openid in the queries of end users.
const PLACEHOLDER: &str = "{openid}";

/// A query of an end user with each `{openid}` replaced. Only values are: names of fields stay.
pub fn fill_in(query: &RawDocument, user: &EndUser) -> Result<RawDocumentBuf, Failure> {
    if !mentions_owner(query) {
        return Ok(query.to_owned());
    }
    // Bounds the depth of what is walked next.
    check_document(query)?;
    let mut query = Document::try_from(query).map_err(malformed)?;
    fill_in_document(&mut query, user);
    RawDocumentBuf::try_from(&query).map_err(malformed)
}

/// Whether the placeholder may be anywhere in a document.
pub(super) fn mentions_owner(document: &RawDocument) -> bool {
    let needle = PLACEHOLDER.as_bytes();
    let mut windows = document.as_bytes().windows(needle.len());
    windows.any(|window| window == needle)
}

/// Replaces it in a query of bounded depth.
pub(super) fn fill_in_document(query: &mut Document, user: &EndUser) {
    for (_, value) in query.iter_mut() {
        fill_in_value(value, user);
    }
}

fn fill_in_value(value: &mut Bson, user: &EndUser) {
    match value {
        Bson::String(text) if text == PLACEHOLDER => text.clone_from(&user.openid),
        Bson::Array(values) => values
            .iter_mut()
            .for_each(|value| fill_in_value(value, user)),
        Bson::Document(document) => document
            .iter_mut()
            .for_each(|(_, value)| fill_in_value(value, user)),
        _ => {}
    }
}

/// A new document of an end user: it is the user's.
pub fn owned(document: RawDocumentBuf, user: &EndUser) -> Result<RawDocumentBuf, Failure> {
    let mut owners = 0;
    for element in document.iter() {
        let (name, value) = element.map_err(malformed)?;
        if name.as_str() == OWNER {
            owners += 1;
            // BSON may repeat a name; who reads the document may take either.
            if owners > 1 || value.as_str() != Some(user.openid.as_str()) {
                return Err(forged());
            }
        }
    }
    let mut document = document;
    if owners == 0 {
        document.append(bson::cstr!("_openid"), user.openid.as_str());
    }
    Ok(document)
}

/// Refuses update operators that touch `_openid`, in whichever way.
pub fn check_update(update: &RawDocument) -> Result<(), Failure> {
    if Update::parse(update, &UpdateContext { now_ms: 0 })?.touches(OWNER) {
        return Err(forged());
    }
    Ok(())
}

fn forged() -> Failure {
    denied(format!(
        "field `{OWNER}` says whose a document is and is set by the server; leave it out"
    ))
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::rules::testing::user;

    #[test]
    fn the_placeholder_is_replaced_in_values_at_any_depth() {
        let query = rawdoc! {
            "{openid}": "x", "a": "{openid}", "b": { "$in": ["{openid}", "my {openid}"] },
            "$or": [{ "c": { "$eq": "{openid}" } }],
        };
        assert_eq!(
            fill_in(&query, &user("me")).expect("filled"),
            rawdoc! {
                "{openid}": "x", "a": "me", "b": { "$in": ["me", "my {openid}"] },
                "$or": [{ "c": { "$eq": "me" } }],
            }
        );
    }

    #[test]
    fn new_documents_belong_to_their_author() {
        let me = user("me");
        assert_eq!(
            owned(rawdoc! { "_id": 1 }, &me).expect("owned"),
            rawdoc! { "_id": 1, "_openid": "me" }
        );
        assert!(owned(rawdoc! { "_openid": "me" }, &me).is_ok());
        for forged in [
            rawdoc! { "_openid": "you" },
            rawdoc! { "_openid": null },
            rawdoc! { "_openid": ["me"] },
        ] {
            assert!(owned(forged, &me).is_err());
        }
        let mut twice = rawdoc! { "_openid": "me" };
        twice.append(bson::cstr!("_openid"), "you");
        assert!(owned(twice, &me).is_err());
    }

    #[test]
    fn no_operator_reaches_the_owner() {
        for update in [
            rawdoc! { "$set": { "_openid": "me" } },
            rawdoc! { "$set": { "_openid.x": 1 } },
            rawdoc! { "$setOnInsert": { "_openid": "me" } },
            rawdoc! { "$unset": { "_openid": "" } },
            rawdoc! { "$rename": { "_openid": "o" } },
            rawdoc! { "$rename": { "o": "_openid" } },
            rawdoc! { "$rename": { "o": "_openid.x" } },
            rawdoc! { "$inc": { "_openid": 1 } },
            rawdoc! { "$mul": { "_openid": 1 } },
            rawdoc! { "$min": { "_openid": "a" } },
            rawdoc! { "$max": { "_openid": "z" } },
            rawdoc! { "$bit": { "_openid": { "or": 1 } } },
            rawdoc! { "$push": { "_openid": "z" } },
            rawdoc! { "$addToSet": { "_openid": "z" } },
            rawdoc! { "$pop": { "_openid": 1 } },
            rawdoc! { "$pull": { "_openid": "z" } },
            rawdoc! { "$pullAll": { "_openid": ["z"] } },
            rawdoc! { "$currentDate": { "_openid": true } },
        ] {
            let failure = check_update(&update).expect_err("refused");
            assert_eq!(failure.code, "DATABASE_PERMISSION_DENIED", "{update:?}");
        }
        assert!(check_update(&rawdoc! { "$set": { "a": "_openid" } }).is_ok());
    }
}
