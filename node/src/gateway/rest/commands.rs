//! `POST …/commands`: commands as MongoDB's shell knows them, for administrators.
//!
//! All commands are read before the first is carried out, so that a mistake in one leaves nothing half done; they are
//! not a transaction all the same. A member that would change what a command does and is not known is refused by name.

use bson::{RawArray, RawBsonRef, RawDocument, RawDocumentBuf};
use yunbase_docdb::op::{FindOp, Op, OpReply, UpdateOp};

use crate::call::{Failure, Retry};
use crate::gateway::actions::insert::with_id;
use crate::gateway::actions::update::{operators, replacement};
use crate::gateway::actions::{self, CallContext, Family, unexpected_reply, unreadable};
use crate::gateway::envelope::Answer;
use crate::gateway::params::{Params, wrong};
use crate::gateway::{codes, ids};

/// A command, as the operations that it takes.
enum Command {
    Find { op: Op, limit: u64 },
    Count(Op),
    Insert(Op),
    Update(Vec<Op>),
    Delete(Vec<Op>),
}

/// Carries out the member `commands`, one after the other.
pub(super) async fn run(params: &Params<'_>, context: &CallContext<'_>) -> Result<Answer, Failure> {
    context.require_administrator("running commands")?;
    actions::check(params, context)?;
    let commands = params.documents("commands")?;
    let commands_max = params.limits.commands_max;
    if commands.len() > commands_max {
        return Err(wrong(
            "commands",
            &format!("at most {commands_max} commands"),
        ));
    }
    let commands = commands
        .iter()
        .map(|command| parse(command, params))
        .collect::<Result<Vec<_>, _>>()?;
    let mut data = String::from("{\"list\":[");
    for (index, command) in commands.into_iter().enumerate() {
        data.push_str(if index == 0 { "[" } else { ",[" });
        carry_out(command, context, &mut data)
            .await
            .map_err(|mut failure| {
                failure.message = format!("command {index}: {}", failure.message);
                failure
            })?;
        data.push(']');
        if data.len() > params.limits.answer_bytes_max {
            let message = "the results of these commands are too large for one answer: send fewer";
            return Err(Failure::new(
                codes::EXCEED_REQUEST_SIZE_LIMIT,
                message,
                Retry::Never,
            ));
        }
    }
    data.push_str("]}");
    Ok(Answer::of(data))
}

fn parse(command: &RawDocument, params: &Params<'_>) -> Result<Command, Failure> {
    let first = command.iter().next();
    let (name, target) = first
        .ok_or_else(|| wrong("commands", "commands, not empty objects"))?
        .map_err(|error| unreadable(&error))?;
    let name = name.as_str();
    let known: &[&str] = match name {
        "find" => &["filter", "sort", "projection", "skip", "limit"],
        "count" => &["query"],
        "insert" => &["documents", "ordered"],
        "update" => &["updates", "ordered"],
        "delete" => &["deletes", "ordered"],
        _ => {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            let message = format!("the command `{shown}` is not supported by this version");
            return Err(Failure::new(codes::INVALID_ACTION, message, Retry::Never));
        }
    };
    let collection = target
        .as_str()
        .filter(|text| text.len() <= params.limits.name_bytes_max)
        .ok_or_else(|| wrong(name, "the name of a collection"))?
        .to_owned();
    let fields = Fields::of(command, name, known)?;
    if fields
        .get("ordered")
        .is_some_and(|value| value != RawBsonRef::Boolean(true))
    {
        return Err(wrong(
            "ordered",
            "the value true: commands stop at the first failure",
        ));
    }
    Ok(match name {
        "find" => {
            let limit = fields
                .count("limit")?
                .filter(|limit| *limit > 0)
                .unwrap_or(params.limits.find_limit_default)
                .min(params.limits.find_limit_max);
            let find = FindOp {
                filter: fields.document("filter")?.unwrap_or_default(),
                projection: fields.document("projection")?.unwrap_or_default(),
                sort: fields.document("sort")?.unwrap_or_default(),
                skip: fields.count("skip")?.unwrap_or(0),
                limit: Some(limit),
                after: Vec::new(),
            };
            let op = Op::Find { collection, find };
            Command::Find { op, limit }
        }
        "count" => Command::Count(Op::Count {
            collection,
            filter: fields.document("query")?.unwrap_or_default(),
        }),
        "insert" => {
            let documents = fields.documents("documents", params)?;
            let documents = documents
                .iter()
                .map(|document| with_id(document, None, params.now_unix_ms))
                .collect::<Result<_, _>>()?;
            Command::Insert(Op::Insert {
                collection,
                documents,
            })
        }
        "update" => {
            let updates = fields.documents("updates", params)?;
            let op = |update: &RawDocumentBuf| {
                Ok(Op::Update {
                    collection: collection.clone(),
                    update: update_of(update, params)?,
                })
            };
            Command::Update(updates.iter().map(op).collect::<Result<_, Failure>>()?)
        }
        _ => {
            let deletes = fields.documents("deletes", params)?;
            let op = |delete: &RawDocumentBuf| {
                let fields = Fields::of_element(delete, "deletes", &["q", "limit"])?;
                let multi = match fields.count("limit")? {
                    Some(0) => true,
                    Some(1) => false,
                    _ => return Err(wrong("limit", "0 (all matches) or 1")),
                };
                Ok(Op::Remove {
                    collection: collection.clone(),
                    filter: fields.needed("q")?,
                    multi,
                })
            };
            Command::Delete(deletes.iter().map(op).collect::<Result<_, Failure>>()?)
        }
    })
}

fn update_of(update: &RawDocumentBuf, params: &Params<'_>) -> Result<UpdateOp, Failure> {
    let fields = Fields::of_element(update, "updates", &["q", "u", "multi", "upsert"])?;
    let change = fields.needed("u")?;
    let first = change
        .iter()
        .next()
        .transpose()
        .map_err(|error| unreadable(&error))?;
    let replace = !first.is_some_and(|(name, _)| name.as_str().starts_with('$'));
    let multi = fields.flag("multi")?;
    if replace && multi {
        return Err(wrong(
            "multi",
            "the value false when `u` is a whole document",
        ));
    }
    Ok(UpdateOp {
        filter: fields.needed("q")?,
        update: if replace {
            replacement(change)?
        } else {
            operators(&change)?
        },
        replace,
        upsert: fields.flag("upsert")?,
        multi,
        return_document: false,
        sort: RawDocumentBuf::new(),
        upsert_id: ids::document_id(params.now_unix_ms),
    })
}

async fn carry_out(
    command: Command,
    context: &CallContext<'_>,
    out: &mut String,
) -> Result<(), Failure> {
    match command {
        Command::Find { op, limit } => {
            let OpReply::Found { documents, next } = context.run(op).await? else {
                return Err(unexpected_reply());
            };
            if !next.is_empty() && (documents.len() as u64) < limit {
                let message = "the documents asked for do not fit into one result: ask for fewer";
                return Err(Failure::new(
                    codes::EXCEED_REQUEST_SIZE_LIMIT,
                    message,
                    Retry::Never,
                ));
            }
            let mut scratch = String::new();
            for (index, document) in documents.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                actions::write_found(out, &mut scratch, document, Family::Rest)?;
            }
        }
        Command::Count(op) => match context.run(op).await? {
            OpReply::Counted { count } => out.push_str(&format!("{{\"n\":{count},\"ok\":1}}")),
            _ => return Err(unexpected_reply()),
        },
        Command::Insert(op) => match context.run(op).await? {
            OpReply::Inserted { ids } => {
                out.push_str(&format!("{{\"n\":{},\"ok\":1}}", ids.len()));
            }
            _ => return Err(unexpected_reply()),
        },
        Command::Delete(ops) => {
            let mut removed_sum = 0_u64;
            for op in ops {
                match context.run(op).await? {
                    OpReply::Removed { removed } => removed_sum += removed,
                    _ => return Err(unexpected_reply()),
                }
            }
            out.push_str(&format!("{{\"n\":{removed_sum},\"ok\":1}}"));
        }
        Command::Update(ops) => update_all(ops, context, out).await?,
    }
    Ok(())
}

async fn update_all(
    ops: Vec<Op>,
    context: &CallContext<'_>,
    out: &mut String,
) -> Result<(), Failure> {
    let (mut touched, mut changed) = (0_u64, 0_u64);
    let mut upserted = String::new();
    for (index, op) in ops.into_iter().enumerate() {
        let OpReply::Updated {
            matched,
            modified,
            upserted_id,
            ..
        } = context.run(op).await?
        else {
            return Err(unexpected_reply());
        };
        touched += matched;
        changed += modified;
        if let Some(id) = upserted_id {
            touched += 1;
            if !upserted.is_empty() {
                upserted.push(',');
            }
            upserted.push_str(&format!("{{\"index\":{index},\"_id\":"));
            actions::write_id(&mut upserted, &id)?;
            upserted.push('}');
        }
    }
    out.push_str(&format!("{{\"n\":{touched},\"nModified\":{changed}"));
    if !upserted.is_empty() {
        out.push_str(&format!(",\"upserted\":[{upserted}]"));
    }
    out.push_str(",\"ok\":1}");
    Ok(())
}

/// The members of a command or of an element in one, all of them known.
struct Fields<'a>(&'a RawDocument);

impl<'a> Fields<'a> {
    fn of(command: &'a RawDocument, name: &str, known: &[&str]) -> Result<Self, Failure> {
        for member in command.iter().skip(1) {
            let (member, _) = member.map_err(|error| unreadable(&error))?;
            if !known.contains(&member.as_str()) {
                return Err(unknown(name, member.as_str()));
            }
        }
        Ok(Self(command))
    }

    fn of_element(element: &'a RawDocument, list: &str, known: &[&str]) -> Result<Self, Failure> {
        for member in element {
            let (member, _) = member.map_err(|error| unreadable(&error))?;
            if !known.contains(&member.as_str()) {
                return Err(unknown(list, member.as_str()));
            }
        }
        Ok(Self(element))
    }

    fn get(&self, name: &str) -> Option<RawBsonRef<'a>> {
        self.0.get(name).ok().flatten()
    }

    fn document(&self, name: &str) -> Result<Option<RawDocumentBuf>, Failure> {
        match self.get(name) {
            None | Some(RawBsonRef::Null) => Ok(None),
            Some(RawBsonRef::Document(document)) => Ok(Some(document.to_owned())),
            Some(_) => Err(wrong(name, "an object")),
        }
    }

    fn needed(&self, name: &str) -> Result<RawDocumentBuf, Failure> {
        self.document(name)?.ok_or_else(|| wrong(name, "an object"))
    }

    fn documents(&self, name: &str, params: &Params<'_>) -> Result<Vec<RawDocumentBuf>, Failure> {
        let documents_max = params.limits.insert_documents_max;
        let expected = || wrong(name, &format!("1 to {documents_max} objects in an array"));
        let array: &RawArray = self
            .get(name)
            .and_then(RawBsonRef::as_array)
            .ok_or_else(expected)?;
        let documents = array
            .into_iter()
            .map(|element| {
                let element = element.map_err(|error| unreadable(&error))?;
                let document = element.as_document().ok_or_else(expected)?;
                Ok(document.to_owned())
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        if documents.is_empty() || documents.len() > documents_max {
            return Err(expected());
        }
        Ok(documents)
    }

    fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None | Some(RawBsonRef::Null) => Ok(false),
            Some(RawBsonRef::Boolean(value)) => Ok(value),
            Some(_) => Err(wrong(name, "true or false")),
        }
    }

    fn count(&self, name: &str) -> Result<Option<u64>, Failure> {
        let whole = match self.get(name) {
            None | Some(RawBsonRef::Null) => return Ok(None),
            Some(RawBsonRef::Int32(number)) => u64::try_from(number).ok(),
            Some(RawBsonRef::Int64(number)) => u64::try_from(number).ok(),
            Some(RawBsonRef::Double(number))
                if number.fract() == 0.0 && (0.0..9e15).contains(&number) =>
            {
                Some(number as u64)
            }
            Some(_) => None,
        };
        whole
            .map(Some)
            .ok_or_else(|| wrong(name, "a whole number that is not negative"))
    }
}

fn unknown(place: &str, member: &str) -> Failure {
    let shown: String = member
        .chars()
        .filter(|c| !c.is_control())
        .take(64)
        .collect();
    let message = format!("`{shown}` in `{place}` is not supported by this version: leave it out");
    Failure::new(codes::INVALID_PARAM, message, Retry::Never)
}
