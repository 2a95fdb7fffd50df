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

use super::VERSIONS;
use crate::access::Http;
use crate::history::Value as Told;

/// How long a node may be silent before the next is tried.
const SILENCE_MAX: Duration = Duration::from_secs(3);
const PING_INTERVAL: Duration = Duration::from_secs(1);
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
const CONNECT_MAX: Duration = Duration::from_secs(2);
const WATCH_ID: &str = "w";

/// What the subscriber has and was told.
#[derive(Debug, Default)]
struct Copy {
    /// The documents: `_id` and version.
    documents: BTreeMap<i64, i64>,
    /// `[kind id version]` of each event.
    told: Vec<Told>,
    /// What it was told that cannot be.
    problem: Option<String>,
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

    /// What it was told, or what it was told that cannot be; once it has the document `seal`.
    pub(super) fn told(&self, seal: i64) -> Option<Result<Vec<Told>, String>> {
        let copy = self.copy.lock();
        copy.documents
            .contains_key(&seal)
            .then(|| match &copy.problem {
                Some(problem) => Err(problem.clone()),
                None => Ok(copy.told.clone()),
            })
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
        let (mut socket, _) = tokio_tungstenite::connect_async(sign["wsUrl"].as_str()?)
            .await
            .ok()?;
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
        let watch =
            json!({"watchId": WATCH_ID, "requestId": "watch", "msgType": kind, "msgData": data});
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
        let is_init = |event: &Value| event["QueueType"] == "init";
        if events.first().is_some_and(is_init) && !self.told.is_empty() {
            // A whole result stands for events that were not told, which a watch without a limit may do only when the
            // log was cut; no run here is so long.
            self.problem = Some("the whole result came once more".to_owned());
        }
        for event in events {
            let number = event["ID"].as_u64().unwrap_or(0);
            if !is_init(event) {
                if number <= self.last_event {
                    continue; // Told once more behind a resumption.
                }
                if number != self.last_event + 1 {
                    let last = self.last_event;
                    self.problem = Some(format!("event {number} came behind event {last}"));
                }
            }
            self.last_event = number;
            self.take_event(event);
        }
    }

    fn take_event(&mut self, event: &Value) {
        let Some(id) = event["DocID"].as_i64() else {
            return; // Of an empty result.
        };
        let queue = event["QueueType"].as_str().unwrap_or_default();
        let document = event["Doc"].as_str().unwrap_or_default();
        let document: Value = serde_json::from_str(document).unwrap_or_default();
        let (kind, version, was_there) = match queue {
            // Which version a removal was is known by the workload's own rule.
            "dequeue" => (
                "remove",
                VERSIONS as i64,
                self.documents.remove(&id).is_some(),
            ),
            _ => match document["v"].as_i64() {
                Some(version) => {
                    let was_there = self.documents.insert(id, version).is_some();
                    let kind = if queue == "init" { "init" } else { "put" };
                    (kind, version, was_there)
                }
                None => {
                    self.problem = Some(format!("an event without its document: {event}"));
                    return;
                }
            },
        };
        if was_there != matches!(queue, "update" | "dequeue") {
            self.problem = Some(format!(
                "'{queue}' of document {id}, which was there: {was_there}"
            ));
        }
        let parts = vec![Told::keyword(kind), Told::Int(id), Told::Int(version)];
        self.told.push(Told::List(parts));
    }
}
