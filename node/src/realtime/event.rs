//! Events as clients read them, and one change of the log as what it makes of a document.
//!
//! Most of an event's text is the same for everybody who gets it; it is written once and shared. Only the event's
//! number is each watch's own.

use std::cell::{OnceCell, RefCell};
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use bson::{RawBson, RawBsonRef, RawDocumentBuf};
use yunbase_docdb::Error;
use yunbase_docdb::change_log::{Change, ChangeKind};

use super::fields::FieldChanges;
use crate::gateway::ejson::{self, Dialect, write_document, write_json_string, write_value};

/// What happened to the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DataType {
    Init,
    Add,
    Update,
    Replace,
    Remove,
    /// Nothing: others pushed it in or out of a limited result.
    Limit,
}

/// What happened to the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueType {
    Init,
    Enqueue,
    Update,
    Dequeue,
}

/// What an event says about the document's content.
#[derive(Debug, Clone)]
pub(crate) enum Image {
    Nothing,
    Whole(Arc<RawDocumentBuf>),
    Fields(Arc<FieldChanges>, Arc<RawDocumentBuf>),
}

/// One event, without its number.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) data: DataType,
    pub(crate) queue: QueueType,
    pub(crate) id: RawBson,
    pub(crate) image: Image,
    text: OnceLock<Arc<str>>,
}

impl Event {
    pub(crate) fn new(data: DataType, queue: QueueType, id: RawBson, image: Image) -> Arc<Self> {
        Arc::new(Self {
            data,
            queue,
            id,
            image,
            text: OnceLock::new(),
        })
    }

    /// An event about `document` that carries all of it.
    pub(crate) fn whole(
        data: DataType,
        queue: QueueType,
        document: &Arc<RawDocumentBuf>,
    ) -> Arc<Self> {
        Self::new(data, queue, id_of(document), Image::Whole(document.clone()))
    }

    /// An event about `document` that names it only.
    pub(crate) fn bare(data: DataType, queue: QueueType, document: &RawDocumentBuf) -> Arc<Self> {
        Self::new(data, queue, id_of(document), Image::Nothing)
    }

    /// The members behind `ID`, up to and with the closing brace.
    pub(crate) fn text(&self) -> Result<Arc<str>, ejson::Error> {
        if let Some(text) = self.text.get() {
            return Ok(text.clone());
        }
        let text: Arc<str> = self.write()?.into();
        Ok(self.text.get_or_init(|| text).clone())
    }

    fn write(&self) -> Result<String, ejson::Error> {
        let mut out = format!(
            r#""DataType":"{}","QueueType":"{}","DocID":"#,
            self.data.as_str(),
            self.queue.as_str()
        );
        // As the document spells it: clients look for the document whose `_id` is exactly this.
        write_value(&mut out, self.id.as_raw_bson_ref(), Dialect::Json)?;
        out.push_str(r#","Doc":"#);
        // Also beside the paths: some clients can only take the document.
        let document = match &self.image {
            Image::Whole(document) | Image::Fields(_, document) => Some(document),
            Image::Nothing => None,
        };
        let mut inner = String::new();
        if let Some(document) = document {
            write_document(&mut inner, document, Dialect::Json)?;
        }
        write_json_string(&mut out, &inner);
        if let Image::Fields(changes, _) = &self.image {
            out.push_str(r#","UpdatedFields":"#);
            write_json_string(&mut out, &changes.updated);
            out.push_str(r#","removedFields":"#);
            write_json_string(&mut out, &changes.removed);
        }
        out.push('}');
        Ok(out)
    }
}

/// Appends an event to a list of events under its number.
pub(crate) fn append(list: &mut String, number: u64, text: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    // Writing to a String has no way to fail.
    let _ = write!(list, r#"{{"ID":{number},"#);
    list.push_str(text);
}

impl DataType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Add => "add",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Remove => "remove",
            Self::Limit => "limit",
        }
    }
}

impl QueueType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Enqueue => "enqueue",
            Self::Update => "update",
            Self::Dequeue => "dequeue",
        }
    }
}

fn id_of(document: &RawDocumentBuf) -> RawBson {
    // A stored document has an `_id`.
    let id = document.get("_id").ok().flatten();
    id.map_or(RawBson::Null, |id: RawBsonRef<'_>| id.into())
}

/// A change of one document, with what it makes of it worked out at most once.
pub(crate) struct Images {
    pub(crate) kind: ChangeKind,
    pub(crate) before: Option<Arc<RawDocumentBuf>>,
    pub(crate) after: Option<Arc<RawDocumentBuf>>,
    fields: OnceCell<Arc<FieldChanges>>,
    events: RefCell<Vec<Arc<Event>>>,
}

impl Images {
    pub(crate) fn new(change: Change) -> Self {
        Self {
            kind: change.kind,
            before: change.before.map(Arc::new),
            after: change.after.map(Arc::new),
            fields: OnceCell::new(),
            events: RefCell::default(),
        }
    }

    /// The document entered a result.
    pub(crate) fn enqueued(&self) -> Result<Arc<Event>, Error> {
        let data = match self.kind {
            ChangeKind::Insert => DataType::Add,
            ChangeKind::Update => DataType::Update,
            _ => DataType::Replace,
        };
        self.event(data, QueueType::Enqueue)
    }

    /// The document changed within a result.
    pub(crate) fn updated(&self) -> Result<Arc<Event>, Error> {
        self.event(self.changed(), QueueType::Update)
    }

    /// The document left a result.
    pub(crate) fn dequeued(&self) -> Result<Arc<Event>, Error> {
        let data = if self.after.is_some() {
            self.changed()
        } else {
            DataType::Remove
        };
        self.event(data, QueueType::Dequeue)
    }

    fn changed(&self) -> DataType {
        match self.kind {
            ChangeKind::Update => DataType::Update,
            _ => DataType::Replace,
        }
    }

    fn event(&self, data: DataType, queue: QueueType) -> Result<Arc<Event>, Error> {
        let mut events = self.events.borrow_mut();
        if let Some(event) = events
            .iter()
            .find(|event| (event.data, event.queue) == (data, queue))
        {
            return Ok(event.clone());
        }
        let document = self
            .after
            .as_ref()
            .or(self.before.as_ref())
            .ok_or_else(|| Error::internal("a change of a document has no image"))?;
        let image = match (&self.after, data, queue) {
            (None, ..) => Image::Nothing,
            (Some(after), DataType::Update, QueueType::Update | QueueType::Dequeue) => {
                Image::Fields(self.fields(after)?, after.clone())
            }
            (Some(after), ..) => Image::Whole(after.clone()),
        };
        let event = Event::new(data, queue, id_of(document), image);
        events.push(event.clone());
        Ok(event)
    }

    fn fields(&self, after: &RawDocumentBuf) -> Result<Arc<FieldChanges>, Error> {
        if let Some(fields) = self.fields.get() {
            return Ok(fields.clone());
        }
        let empty = RawDocumentBuf::new();
        let before = self.before.as_deref().unwrap_or(&empty);
        let fields = FieldChanges::between(before, after).map_err(Error::internal)?;
        Ok(self.fields.get_or_init(|| Arc::new(fields)).clone())
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    fn change(
        kind: ChangeKind,
        before: Option<RawDocumentBuf>,
        after: Option<RawDocumentBuf>,
    ) -> Images {
        Images::new(Change {
            kind,
            env: "e".into(),
            collection: "c".into(),
            now_ms: 0,
            before,
            after,
        })
    }

    fn parsed(event: &Event, number: u64) -> serde_json::Value {
        let mut list = String::new();
        append(&mut list, number, &event.text().unwrap());
        serde_json::from_str(&list).unwrap()
    }

    #[test]
    fn an_update_carries_paths_and_the_document() {
        let change = change(
            ChangeKind::Update,
            Some(rawdoc! { "_id": 7, "n": 1, "at": 1 }),
            Some(rawdoc! { "_id": 7, "n": bson::DateTime::from_millis(5) }),
        );
        let event = change.updated().unwrap();
        assert!(Arc::ptr_eq(&event, &change.updated().unwrap()));
        assert_eq!(
            parsed(&event, 9),
            serde_json::json!({
                "ID": 9, "DataType": "update", "QueueType": "update", "DocID": 7,
                "Doc": r#"{"_id":7,"n":{"$date":5}}"#,
                "UpdatedFields": r#"{"n":{"$date":5}}"#, "removedFields": r#"["at"]"#,
            })
        );
        let entered = parsed(&change.enqueued().unwrap(), 1);
        assert_eq!(entered["Doc"], r#"{"_id":7,"n":{"$date":5}}"#);
        assert_eq!(entered["DataType"], "update");
    }

    #[test]
    fn a_removal_carries_nothing_and_a_replacement_all() {
        let removed = change(ChangeKind::Remove, Some(rawdoc! { "_id": "a" }), None);
        let event = parsed(&removed.dequeued().unwrap(), 1);
        assert_eq!(
            (&event["DataType"], &event["Doc"]),
            (&"remove".into(), &"".into())
        );
        let replaced = change(
            ChangeKind::Replace,
            Some(rawdoc! { "_id": "a", "n": 1 }),
            Some(rawdoc! { "_id": "a" }),
        );
        let event = parsed(&replaced.dequeued().unwrap(), 1);
        assert_eq!(
            (&event["DataType"], &event["Doc"]),
            (&"replace".into(), &r#"{"_id":"a"}"#.into())
        );
    }
}
