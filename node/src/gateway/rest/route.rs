//! The paths below `/v1/database`, and what each means with which method.
//!
//! Clients put ids and names into the path as they are; their HTTP libraries encode some characters and leave others.
//! So a path is split first and its parts decoded then, and an id takes all the rest of the path.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::call::{Failure, Retry};
use crate::gateway::codes;

const PREFIX: &str = "/v1/database/instances/";

/// A path taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address<'a> {
    /// The database instance that the client names.
    pub(super) instance: Cow<'a, str>,
    /// The database of it.
    pub(super) database: Cow<'a, str>,
    /// What to do there.
    pub(super) route: Route<'a>,
}

/// A call of the REST.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// `POST /collections`
    CreateCollection,
    /// `POST /collections/{c}/documents`
    Add { collection: Cow<'a, str> },
    /// `GET /collections/{c}/documents`: find or count.
    Find { collection: Cow<'a, str> },
    /// `GET /collections/{c}/documents/{id}`
    Get {
        collection: Cow<'a, str>,
        id: Cow<'a, str>,
    },
    /// `PATCH /collections/{c}/documents`
    Update { collection: Cow<'a, str> },
    /// `PATCH /collections/{c}/documents/{id}`
    UpdateOne {
        collection: Cow<'a, str>,
        id: Cow<'a, str>,
    },
    /// `POST /collections/{c}/documents/remove`
    Remove { collection: Cow<'a, str> },
    /// `POST /collections/{c}/documents/aggregations`
    Aggregate { collection: Cow<'a, str> },
    /// `POST /transactions`
    StartTransaction,
    /// `POST /transactions/{id}/commit`
    Commit { transaction: Cow<'a, str> },
    /// `POST /transactions/{id}/rollback`
    Rollback { transaction: Cow<'a, str> },
    /// `POST /commands`
    RunCommands,
}

impl Route<'_> {
    /// For the access log and for refusals.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::CreateCollection => "database.addCollection",
            Self::Add { .. } => "database.insertDocument",
            Self::Find { .. } => "database.getDocument",
            Self::Get { .. } => "database.getDocument.byId",
            Self::Update { .. } => "database.modifyDocument",
            Self::UpdateOne { .. } => "database.modifyDocument.byId",
            Self::Remove { .. } => "database.removeDocument",
            Self::Aggregate { .. } => "database.aggregateDocuments",
            Self::StartTransaction => "database.startTransaction",
            Self::Commit { .. } => "database.commitTransaction",
            Self::Rollback { .. } => "database.abortTransaction",
            Self::RunCommands => "database.runCommands",
        }
    }
}

/// Takes a path apart.
pub(super) fn parse<'a>(method: &str, path: &'a str) -> Result<Address<'a>, Failure> {
    let rest = path.strip_prefix(PREFIX).ok_or_else(no_such_path)?;
    let (instance, rest) = rest.split_once("/databases/").ok_or_else(no_such_path)?;
    let (database, rest) = rest.split_once('/').ok_or_else(no_such_path)?;
    if instance.contains('/') {
        return Err(no_such_path());
    }
    Ok(Address {
        instance: decode(instance),
        database: decode(database),
        route: route(method, rest)?,
    })
}

fn route<'a>(method: &str, path: &'a str) -> Result<Route<'a>, Failure> {
    let post = |route| only("POST", method, route);
    match path {
        "collections" => return post(Route::CreateCollection),
        "transactions" => return post(Route::StartTransaction),
        "commands" => return post(Route::RunCommands),
        _ => {}
    }
    if let Some(rest) = path.strip_prefix("transactions/") {
        let (id, end) = rest.rsplit_once('/').ok_or_else(no_such_path)?;
        let transaction = decode(id);
        return match end {
            "commit" => post(Route::Commit { transaction }),
            "rollback" => post(Route::Rollback { transaction }),
            _ => Err(no_such_path()),
        };
    }
    let rest = path.strip_prefix("collections/").ok_or_else(no_such_path)?;
    let (collection, rest) = rest.split_once('/').ok_or_else(no_such_path)?;
    let collection = decode(collection);
    if rest == "documents" {
        return match method {
            "GET" => Ok(Route::Find { collection }),
            "POST" => Ok(Route::Add { collection }),
            "PATCH" => Ok(Route::Update { collection }),
            _ => Err(wrong_method("GET, POST or PATCH")),
        };
    }
    let rest = rest
        .strip_prefix("documents/")
        .filter(|rest| !rest.is_empty())
        .ok_or_else(no_such_path)?;
    match (method, rest) {
        ("POST", "remove") => Ok(Route::Remove { collection }),
        ("POST", "aggregations") => Ok(Route::Aggregate { collection }),
        ("GET", id) => Ok(Route::Get {
            collection,
            id: decode(id),
        }),
        ("PATCH", id) => Ok(Route::UpdateOne {
            collection,
            id: decode(id),
        }),
        _ => Err(wrong_method("GET or PATCH")),
    }
}

/// A part of a path in plain text; one that is no encoding of any text stands for itself.
fn decode(part: &str) -> Cow<'_, str> {
    percent_decode_str(part)
        .decode_utf8()
        .unwrap_or(Cow::Borrowed(part))
}

fn only<'a>(wanted: &str, method: &str, route: Route<'a>) -> Result<Route<'a>, Failure> {
    if method == wanted {
        Ok(route)
    } else {
        Err(wrong_method(wanted))
    }
}

fn no_such_path() -> Failure {
    let message = "there is nothing at this path: it must read /v1/database/instances/{instance}/databases/{database}/ and go on with collections, transactions or commands";
    Failure::new(codes::PATH_NOT_FOUND, message, Retry::Never)
}

fn wrong_method(wanted: &str) -> Failure {
    let message = format!("this path takes the method {wanted}");
    Failure::new(codes::METHOD_NOT_ALLOWED, message, Retry::Never)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(method: &str, rest: &'a str) -> Route<'a> {
        route(method, rest).unwrap()
    }

    #[test]
    fn ids_and_names_are_plain_or_encoded() {
        let collection = || Cow::Borrowed("c");
        for (path, id) in [
            ("a", "a"),
            ("a/b/c", "a/b/c"),
            ("a%20b", "a b"),
            ("100%", "100%"),
            ("%ff", "%ff"),
            ("%E6%95%B0", "\u{6570}"),
            ("remove", "remove"),
            ("(x)+y", "(x)+y"),
        ] {
            let path = format!("collections/c/documents/{path}");
            let expected = Route::Get {
                collection: collection(),
                id: id.into(),
            };
            assert_eq!(at("GET", &path), expected, "{path}");
        }
        let encoded = "collections/%E6%95%B0%2Fx/documents";
        let collection = Cow::Borrowed("\u{6570}/x");
        assert_eq!(at("GET", encoded), Route::Find { collection });
    }

    #[test]
    fn instances_and_databases_are_read() {
        let path = "/v1/database/instances/(default)/databases/%28default%29/commands";
        let address = parse("POST", path).unwrap();
        assert_eq!(
            (&*address.instance, &*address.database),
            ("(default)", "(default)")
        );
        assert_eq!(address.route, Route::RunCommands);
    }

    #[test]
    fn everything_else_is_nowhere() {
        for path in [
            "",
            "/v1/database",
            "/v1/database/instances/i",
            "/v1/database/instances/i/databases/d",
            "/v1/database/instances/i/databases/d/",
            "/v1/database/instances/i/x/databases/d/commands",
            "/v1/database/instances/i/databases/d/nonsense",
            "/v1/database/instances/i/databases/d/collections/",
            "/v1/database/instances/i/databases/d/collections/c",
            "/v1/database/instances/i/databases/d/collections/c/indexes",
            "/v1/database/instances/i/databases/d/collections/c/documents/",
            "/v1/database/instances/i/databases/d/transactions/t/keep",
        ] {
            assert_eq!(
                parse("POST", path).unwrap_err().code,
                "PATH_NOT_FOUND",
                "{path}"
            );
        }
        for (method, path) in [
            ("GET", "collections"),
            ("DELETE", "collections/c/documents"),
            ("POST", "collections/c/documents/x"),
            ("PUT", "transactions/t/commit"),
            ("GET", "commands"),
        ] {
            let refused = route(method, path).unwrap_err();
            assert_eq!(refused.code, "METHOD_NOT_ALLOWED", "{method} {path}");
        }
    }
}
