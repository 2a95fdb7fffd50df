//! The messages of the socket: JSON text in, JSON text out.

use bson::{RawDocumentBuf, rawdoc};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::limits::Limits;
use crate::call::{Failure, Retry};
use crate::gateway::ejson::{self, Root, write_json_string};

/// Nesting of queries.
const DEPTH_MAX: usize = 100;

/// A message from a client.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Inbound<'a> {
    #[serde(default)]
    pub(crate) watch_id: Option<String>,
    #[serde(default)]
    pub(crate) request_id: String,
    pub(crate) msg_type: String,
    #[serde(default, borrow)]
    pub(crate) msg_data: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub(crate) ex_msg_data: Option<&'a RawValue>,
}

/// `LOGIN`, its extra member.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoginProof {
    #[serde(default)]
    pub(crate) sign_str: String,
}

/// `INIT_WATCH`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InitWatch<'a> {
    pub(crate) coll_name: String,
    #[serde(default, borrow)]
    pub(crate) query: Option<&'a RawValue>,
    #[serde(default)]
    pub(crate) limit: Option<serde_json::Number>,
    #[serde(default)]
    pub(crate) order_by: Option<serde_json::Map<String, serde_json::Value>>,
}

/// `REBUILD_WATCH` and `CHECK_LAST`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resume {
    #[serde(default)]
    pub(crate) coll_name: Option<String>,
    #[serde(rename = "queryID")]
    pub(crate) query_id: String,
    #[serde(rename = "eventID")]
    pub(crate) event_id: u64,
}

impl Inbound<'_> {
    /// The message's data as what its type has.
    pub(crate) fn data<'d, T: Deserialize<'d>>(&'d self) -> Result<T, Failure> {
        let text = self.msg_data.map_or("null", RawValue::get);
        serde_json::from_str(text)
            .map_err(|error| invalid(format!("msgData of {}: {error}", self.msg_type)))
    }
}

/// The filter of a watch: JSON text of an object, or of a string whose text is the object.
pub(crate) fn filter(
    query: Option<&RawValue>,
    now_ms: i64,
    limits: &Limits,
) -> Result<RawDocumentBuf, Failure> {
    let mut text = query.map_or("null", RawValue::get).to_owned();
    // The member is a string of JSON; one client encodes that once more.
    for _ in 0..3 {
        if text.starts_with('"') {
            text = serde_json::from_str(&text)
                .map_err(|error| invalid(format!("`query`: {error}")))?;
        }
    }
    if matches!(text.as_str(), "" | "null") {
        return Ok(RawDocumentBuf::new());
    }
    let context = ejson::Context {
        now_unix_ms: now_ms,
        depth_max: DEPTH_MAX,
        bytes_max: limits.query_bytes_max,
    };
    match ejson::decode(&text, &context) {
        Ok(Root::Document(filter)) => Ok(filter),
        Ok(Root::Array(_)) => Err(invalid("`query` needs an object, not an array".into())),
        Err(error) => Err(invalid(format!("`query` is not valid: {error}"))),
    }
}

/// `{field: "asc" | "desc"}` as a sort.
pub(crate) fn order(
    order: Option<&serde_json::Map<String, serde_json::Value>>,
) -> Result<RawDocumentBuf, Failure> {
    let mut sort = rawdoc! {};
    for (path, direction) in order.into_iter().flatten() {
        let direction = match direction.as_str() {
            Some("asc") => 1,
            Some("desc") => -1,
            _ => return Err(invalid("`orderBy` needs directions asc or desc".into())),
        };
        let path: &bson::raw::CStr = path
            .as_str()
            .try_into()
            .map_err(|_| invalid("`orderBy` needs paths without U+0000".into()))?;
        sort.append(path, direction);
    }
    Ok(sort)
}

/// The limit of a watch.
pub(crate) fn limit(
    limit: Option<&serde_json::Number>,
    limits: &Limits,
) -> Result<Option<usize>, Failure> {
    let Some(number) = limit else { return Ok(None) };
    let whole = number.as_u64().or_else(|| {
        let number = number.as_f64()?;
        (number.fract() == 0.0 && (0.0..9e15).contains(&number)).then_some(number as u64)
    });
    match whole.and_then(|whole| usize::try_from(whole).ok()) {
        Some(whole) if (1..=limits.documents_max).contains(&whole) => Ok(Some(whole)),
        _ => Err(invalid(format!(
            "`limit` of a watch needs a number from 1 to {}",
            limits.documents_max
        ))),
    }
}

pub(crate) fn invalid(message: String) -> Failure {
    Failure::new("INVALID_PARAM", message, Retry::Never)
}

/// The request id of a message that answers nothing.
pub(crate) fn push_id(query_id: &str, number: u64) -> String {
    // Of the query id's tail, since its head is alike for many.
    let tail = query_id.get(query_id.len().saturating_sub(8)..);
    format!("push-{}-{number}", tail.unwrap_or_default())
}

fn open(watch_id: Option<&str>, request_id: &str, kind: &str) -> String {
    let mut out = String::with_capacity(256);
    out.push('{');
    if let Some(watch_id) = watch_id {
        out.push_str(r#""watchId":"#);
        write_json_string(&mut out, watch_id);
        out.push(',');
    }
    out.push_str(r#""requestId":"#);
    write_json_string(&mut out, request_id);
    out.push_str(r#","msgType":""#);
    out.push_str(kind);
    out.push_str(r#"","msgData":"#);
    out
}

/// `LOGIN_RES`.
pub(crate) fn login_result(request_id: &str, outcome: Result<&str, &Failure>) -> String {
    let mut out = open(None, request_id, "LOGIN_RES");
    match outcome {
        Ok(env) => {
            out.push_str(r#"{"envId":"#);
            write_json_string(&mut out, env);
        }
        Err(failure) => write_failure(&mut out, &failure.code, &failure.message),
    }
    out.push_str("}}");
    out
}

/// `PONG`.
pub(crate) fn pong(request_id: &str) -> String {
    open(None, request_id, "PONG") + "null}"
}

/// `ERROR`.
pub(crate) fn error(watch_id: Option<&str>, request_id: &str, code: &str, text: &str) -> String {
    let mut out = open(watch_id, request_id, "ERROR");
    write_failure(&mut out, code, text);
    out.push_str("}}");
    out
}

fn write_failure(out: &mut String, code: &str, text: &str) {
    out.push_str(r#"{"code":"#);
    write_json_string(out, code);
    out.push_str(r#","message":"#);
    write_json_string(out, text);
}

/// `CHECK_EVENT`.
pub(crate) fn check_event(watch_id: &str, request_id: &str, query_id: &str, last: u64) -> String {
    let mut out = open(Some(watch_id), request_id, "CHECK_EVENT");
    write_state(&mut out, query_id, last);
    out.push_str("}}");
    out
}

/// `INIT_EVENT` with events that are text already.
pub(crate) fn init_event(
    watch_id: &str,
    request_id: &str,
    query_id: &str,
    last: u64,
    events: &str,
) -> String {
    with_events("INIT_EVENT", watch_id, request_id, query_id, last, events)
}

/// `NEXT_EVENT` with events that are text already.
pub(crate) fn next_event(
    watch_id: &str,
    request_id: &str,
    query_id: &str,
    last: u64,
    events: &str,
) -> String {
    with_events("NEXT_EVENT", watch_id, request_id, query_id, last, events)
}

fn with_events(
    kind: &str,
    watch_id: &str,
    request_id: &str,
    query_id: &str,
    last: u64,
    events: &str,
) -> String {
    let mut out = open(Some(watch_id), request_id, kind);
    write_state(&mut out, query_id, last);
    out.reserve(events.len() + 16);
    out.push_str(r#","events":["#);
    out.push_str(events);
    out.push_str("]}}");
    out
}

fn write_state(out: &mut String, query_id: &str, last: u64) {
    out.push_str(r#"{"queryID":"#);
    write_json_string(out, query_id);
    out.push_str(r#","currEvent":"#);
    out.push_str(&last.to_string());
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse(query: &Value) -> Result<RawDocumentBuf, Failure> {
        let raw = serde_json::value::to_raw_value(query).unwrap();
        filter(Some(&raw), 1000, &Limits::default())
    }

    #[test]
    fn queries_come_as_text_and_as_text_of_text() {
        let expected = rawdoc! { "n": { "$gt": 1 } };
        let once = json!({"n": {"$gt": 1}}).to_string();
        let twice = json!(r#"{"n":{"$gt":{"$numberInt":"1"}}}"#).to_string();
        for query in [json!({"n": {"$gt": 1}}), json!(once), json!(twice)] {
            assert_eq!(parse(&query).unwrap(), expected, "{query}");
        }
        for empty in [
            json!(null),
            json!(""),
            json!("{}"),
            json!("\"\""),
            json!("null"),
        ] {
            assert!(parse(&empty).unwrap().is_empty(), "{empty}");
        }
        for wrong in [json!("["), json!("[1]"), json!(5), json!("\"{\"")] {
            assert!(parse(&wrong).is_err(), "{wrong}");
        }
        let dated = parse(&json!(r#"{"at":{"$date":{"offset":5}}}"#)).unwrap();
        assert_eq!(dated.get_datetime("at").unwrap().timestamp_millis(), 1005);
    }

    #[test]
    fn orders_keep_their_sequence_and_limits_their_bounds() {
        let order_by = json!({"b": "desc", "a": "asc"});
        assert_eq!(
            order(order_by.as_object()).unwrap(),
            rawdoc! { "b": -1, "a": 1 }
        );
        assert!(order(json!({"a": 1}).as_object()).is_err());
        let limits = Limits::default();
        let limit_of = |value: Value| limit(Some(&serde_json::from_value(value).unwrap()), &limits);
        assert_eq!(limit_of(json!(20)).unwrap(), Some(20));
        for wrong in [json!(0), json!(-1), json!(1.5), json!(5001)] {
            assert!(limit_of(wrong).is_err());
        }
    }

    #[test]
    fn messages_are_json_whatever_ids_hold() {
        let failure = Failure::new("SYS_ERR", "a \"quoted\" text", Retry::Never);
        for text in [
            error(Some("w\""), "r\\", "SYS_ERR", "m"),
            login_result("r", Err(&failure)),
            login_result("r", Ok("demo")),
            pong("r"),
            check_event("w", "r", "q", 5),
            next_event("w", "r", "q", 5, r#"{"ID":5}"#),
        ] {
            let parsed: Value = serde_json::from_str(&text).unwrap();
            assert!(parsed["msgType"].is_string(), "{text}");
        }
        let inbound: Inbound<'_> =
            serde_json::from_str(r#"{"requestId":"r","msgType":"PING","msgData":null}"#).unwrap();
        assert_eq!(
            (inbound.msg_type.as_str(), inbound.watch_id),
            ("PING", None)
        );
    }
}
