//! What rules say of given documents, and why: for whoever writes rules.
//!
//! The same evaluation as for requests, with the documents at hand instead of a query, so that whatever a query
//! would have to say is left out of account.

use bson::{Bson, RawDocument};

use super::access::{Action, Permission, Rules};
use super::ast::{Expr, Expression};
use super::condition::Condition;
use super::enforce::{Asker, Documents};
use super::fold::{Fetched, Folder, Scope, Stop, Subject, Value};
use super::limits::REQUEST_GETS_MAX;
use super::owner::OWNER;
use super::refusal::denied;
use crate::call::Failure;

/// A request as far as rules look at it.
#[derive(Clone, Copy)]
pub struct Trial<'a> {
    /// What is done.
    pub action: Action,
    /// The document before; not for `create`.
    pub before: Option<&'a RawDocument>,
    /// The document after; for `create` and `update`.
    pub after: Option<&'a RawDocument>,
    /// `request.data`; the document after when there is none.
    pub data: Option<&'a RawDocument>,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the rules allow it.
    pub allowed: bool,
    /// In one sentence.
    pub reason: String,
}

/// One part of an expression and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// How deep it stands in the expression; 0 is the whole.
    pub depth: usize,
    /// Its text.
    pub text: String,
    /// Its value, or why it has none.
    pub value: Result<Bson, String>,
}

impl<'a> Trial<'a> {
    /// The documents that the rule must hold for, by what they are called.
    fn subjects(&self) -> Result<Vec<(&'static str, &'a RawDocument)>, Failure> {
        let missing = |what: &str| {
            Failure::new(
                "INVALID_PARAM",
                format!("`{}` needs the document {what}", self.action.as_str()),
                crate::call::Retry::Never,
            )
        };
        let before = || self.before.ok_or_else(|| missing("before"));
        let after = || self.after.ok_or_else(|| missing("after"));
        Ok(match self.action {
            Action::Read | Action::Delete => vec![("document", before()?)],
            Action::Create => vec![("new document", after()?)],
            Action::Update => match self.after {
                Some(after) => vec![("document before", before()?), ("document after", after)],
                None => vec![("document before", before()?)],
            },
        })
    }

    fn data(&self) -> Option<&'a RawDocument> {
        self.data.or(self.after)
    }
}

/// Whether `rules` allow what is tried.
pub async fn test(
    rules: &Rules,
    asker: Asker<'_>,
    trial: Trial<'_>,
    documents: &dyn Documents,
) -> Result<Verdict, Failure> {
    let verdict = |allowed, reason: String| Ok(Verdict { allowed, reason });
    let (action, mode) = (trial.action.as_str(), rules.mode());
    let subjects = trial.subjects()?;
    if let (Action::Update, Some(before), Some(after)) = (trial.action, trial.before, trial.after)
        && before.get(OWNER).ok() != after.get(OWNER).ok()
    {
        return verdict(false, format!("`{OWNER}` never changes"));
    }
    match rules.permission(trial.action) {
        Permission::Everyone => verdict(true, format!("{mode} allows `{action}` to everyone")),
        Permission::Nobody => verdict(false, format!("{mode} allows `{action}` to no end user")),
        Permission::Owner => {
            let owns = subjects.iter().all(|(_, document)| {
                document
                    .get_str(OWNER)
                    .is_ok_and(|owner| owner == asker.user.openid)
            });
            let is_or_not = if owns { "is" } else { "is not" };
            verdict(
                owns,
                format!("{mode} allows `{action}` to the owner, which the caller {is_or_not}"),
            )
        }
        Permission::When(expression) => {
            for (name, document) in subjects {
                let holds = evaluated(asker, trial, document, documents, &mut |folder| {
                    folder.condition(&expression.root)
                })
                .await?;
                match holds {
                    Ok(Condition::Always) => {}
                    Ok(_) => {
                        return verdict(false, format!("rule `{action}` is false for the {name}"));
                    }
                    Err(reason) => {
                        return verdict(
                            false,
                            format!("rule `{action}` does not fit the {name}: {reason}"),
                        );
                    }
                }
            }
            verdict(true, format!("rule `{action}` is true"))
        }
    }
}

/// The value of each part of `expression` for one document, the whole first.
pub async fn explain(
    expression: &Expression,
    asker: Asker<'_>,
    trial: Trial<'_>,
    document: &RawDocument,
    documents: &dyn Documents,
) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    let mut waiting: Vec<(usize, &Expr)> = vec![(0, &expression.root)];
    while let Some((depth, expr)) = waiting.pop() {
        let value = evaluated(asker, trial, document, documents, &mut |folder| {
            if expr.is_condition() {
                return folder
                    .condition(expr)
                    .map(|condition| Bson::Boolean(condition == Condition::Always));
            }
            folder.value(expr).map(|value| match value {
                Value::Known(value) => value,
                Value::Now(now_ms) => Bson::Int64(now_ms),
                Value::Field(_) | Value::Lost => Bson::Undefined,
            })
        })
        .await?;
        parts.push(Part {
            depth,
            text: expr.span.of(&expression.source).to_owned(),
            value,
        });
        for child in expr.children().into_iter().rev() {
            waiting.push((depth + 1, child));
        }
    }
    Ok(parts)
}

/// Evaluates with the document at hand, fetching what `get()` asks for. The inner error is what does not fit.
async fn evaluated<T>(
    asker: Asker<'_>,
    trial: Trial<'_>,
    document: &RawDocument,
    documents: &dyn Documents,
    evaluate: &mut (dyn FnMut(&mut Folder<'_>) -> Result<T, Stop> + Send),
) -> Result<Result<T, String>, Failure> {
    let mut fetched = Fetched::new();
    loop {
        let scope = Scope {
            user: asker.user,
            now_ms: asker.now_ms,
            data: trial.data(),
            subject: Subject::Document(document),
            fetched: &fetched,
        };
        let key = match evaluate(&mut Folder::new(&scope)) {
            Ok(value) => return Ok(Ok(value)),
            Err(Stop::Senseless(reason)) => return Ok(Err(reason)),
            Err(Stop::Unfixed(path)) => return Ok(Err(format!("`doc.{path}` is not known"))),
            Err(Stop::Fetch(key)) => key,
        };
        if fetched.len() >= REQUEST_GETS_MAX {
            return Err(denied(format!(
                "the rule reads more than {REQUEST_GETS_MAX} documents"
            )));
        }
        let id = Bson::String(key.id.clone());
        let found = documents.document(&key.collection, &id).await?;
        fetched.insert(key, found);
    }
}

#[cfg(test)]
#[path = "trial_test.rs"]
mod tests;
