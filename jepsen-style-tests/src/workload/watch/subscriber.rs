//! A subscriber that outlives its sockets: resumes its watch at the next node, and keeps what it is told.
//!
//! It is as strict as the official packages: events come with numbers that grow one by one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::access::Http;

/// How long a node may be silent before the next is tried.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const PING_INTERVAL: Duration = Duration::from_secs(1);
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
const CONNECT_MAX: Duration = Duration::from_secs(2);
const WATCH_ID: &str = "w";

/// What the subscriber has.
#[derive(Debug, Clone, Default)]
pub(super) struct Copy {
    /// The documents: `_id` and `v`.
    pub(super) documents: BTreeMap<i64, i64>,
    /// What it was told that cannot be.
    pub(super) problem: Option<String>,
    query_id: Option<Value>,
    last_event: u64,
}

/// See the module.
pub(super) struct Subscriber {
    copy: Arc<Mutex<Copy>>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Begins to follow.
    pub(super) fn start(http: Http, env: &str, collection: &'static str) -> Self {
        let copy = Arc::<Mutex<Copy>>::default();
        let follower = Follower {
            http,
            env: env.to_owned(),
            collection,
            copy: copy.clone(),
        };
        Self {
            copy,
            task: tokio::spawn(follower.run()),
        }
    }

    /// What it has now.
    pub(super) fn copy(&self) -> Copy {
        self.copy.lock().clone()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Follower {
    http: Http,
    env: String,
    collection: &'static str,
    copy: Arc<Mutex<Copy>>,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Follower {
    async fn run(self) {
        loop {
            // However it ends, it goes on at the next node.
            let _ = self.follow().await;
            self.http.to_next_node();
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    /// One socket, until it ends; `None` says no more than that.
    async fn follow(&self) -> Option<()> {
        let connecting = tokio::time::timeout(CONNECT_MAX, self.connect());
        let mut socket = connecting.await.ok()??;
        let mut pings = tokio::time::interval(PING_INTERVAL);
        let mut heard = tokio::time::Instant::now();
        loop {
            tokio::select! {
                message = socket.next() => {
                    heard = tokio::time::Instant::now();
                    if let Message::Text(text) = message?.ok()? {
                        self.take(&serde_json::from_str(&text).ok()?)?;
                    }
                }
                _ = pings.tick() => {
                    if heard.elapsed() > SILENCE_MAX {
                        return None;
                    }
                    let ping = r#"{"requestId":"ping","msgType":"PING","msgData":null}"#;
                    socket.send(Message::text(ping)).await.ok()?;
                }
            }
        }
    }

    /// A socket that is logged in and has asked for the watch, or for its rest.
    async fn connect(&self) -> Option<Socket> {
        let sign = self.http.sign_socket(&self.env).await?;
        let (mut socket, _) = tokio_tungstenite::connect_async(sign["wsUrl"].as_str()?).await.ok()?;
        let login = json!({
            "requestId": "login", "msgType": "LOGIN", "msgData": {"envId": self.env},
            "exMsgData": {"signStr": sign["signStr"]},
        });
        socket.send(Message::text(login.to_string())).await.ok()?;
        let mut data = json!({"envId": self.env, "collName": self.collection});
        let kind = {
            let copy = self.copy.lock();
            match &copy.query_id {
                Some(query_id) => {
                    data["queryID"] = query_id.clone();
                    data["eventID"] = copy.last_event.into();
                    "REBUILD_WATCH"
                }
                None => {
                    data["query"] = "{}".into();
                    "INIT_WATCH"
                }
            }
        };
        let watch = json!({"watchId": WATCH_ID, "requestId": "watch", "msgType": kind, "msgData": data});
        // The node answers LOGIN first; the official packages wait for that, and so does this.
        loop {
            let Message::Text(text) = socket.next().await?.ok()? else {
                continue;
            };
            let answer: Value = serde_json::from_str(&text).ok()?;
            if answer["msgType"] == "LOGIN_RES" {
                answer["msgData"]["code"].is_null().then_some(())?;
                socket.send(Message::text(watch.to_string())).await.ok()?;
                return Some(socket);
            }
        }
    }

    /// One message; `None` ends the socket.
    fn take(&self, message: &Value) -> Option<()> {
        let mut copy = self.copy.lock();
        let data = &message["msgData"];
        match message["msgType"].as_str()? {
            "INIT_EVENT" | "NEXT_EVENT" => {}
            // The node is ahead of what it has sent, or does not know the watch any more: resume.
            "CHECK_EVENT" if data["currEvent"].as_u64() != Some(copy.last_event) => return None,
            "ERROR" => {
                // Only a watch that can no longer be resumed begins anew.
                if data["code"] == "QUERYID_INVALID_ERROR" {
                    *copy = Copy::default();
                }
                return None;
            }
            _ => return Some(()),
        }
        if let Some(query_id) = data.get("queryID").filter(|id| !id.is_null()) {
            copy.query_id = Some(query_id.clone());
        }
        let events = data["events"].as_array().map_or(&[][..], Vec::as_slice);
        copy.take_events(events);
        if let Some(current) = data["currEvent"].as_u64() {
            copy.last_event = copy.last_event.max(current);
        }
        Some(())
    }
}

impl Copy {
    fn take_events(&mut self, events: &[Value]) {
        // A whole result replaces what was there.
        let is_init = |event: &Value| event["QueueType"] == "init";
        if events.first().is_some_and(is_init) {
            self.documents.clear();
        }
        for event in events {
            let number = event["ID"].as_u64().unwrap_or(0);
            if !is_init(event) {
                if number <= self.last_event {
                    continue; // Told once more behind a resumption.
                }
                if number != self.last_event + 1 {
                    self.problem = Some(format!("event {number} came behind event {}", self.last_event));
                }
            }
            self.last_event = number;
            let Some(id) = event["DocID"].as_i64() else {
                continue;
            };
            if event["QueueType"] == "dequeue" {
                if self.documents.remove(&id).is_none() {
                    self.problem = Some(format!("document {id} left that was not there"));
                }
                continue;
            }
            let document: Value = event["Doc"]
                .as_str()
                .and_then(|text| serde_json::from_str(text).ok())
                .unwrap_or_default();
            match document["v"].as_i64() {
                Some(v) => {
                    let was_there = self.documents.insert(id, v).is_some();
                    if was_there == (event["QueueType"] == "enqueue") {
                        let kind = &event["QueueType"];
                        self.problem = Some(format!("{kind} of document {id}, which was there: {was_there}"));
                    }
                }
                None => self.problem = Some(format!("an event without its document: {event}")),
            }
        }
    }
}
