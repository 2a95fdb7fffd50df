//! The socket as clients use it, over a real connection.

use std::sync::Arc;
use std::time::Duration;

use bson::doc;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::access::KeysOnly;
use super::bed::{Bed, ENV, OneGroup, Subscriber};
use super::hub::Hub;
use super::limits::Limits;
use super::{PATH, Realtime, Tickets};
use crate::call::{Caller, EndUser, KeyDirectory, LoginType, SecretKey};
use crate::node::now_ms;
use crate::scan_threads::ScanThreads;
use crate::seal::Seal;

/// One key and one environment.
struct Keys;

impl KeyDirectory for Keys {
    fn find(&self, id: &str) -> Option<SecretKey> {
        (id == "AK").then(|| SecretKey {
            id: id.into(),
            secret: "s".into(),
            env: None,
            session_token: None,
            expires_at_ms: None,
        })
    }

    fn has_env(&self, env: &str) -> bool {
        env == ENV
    }

    fn only_env(&self) -> Option<String> {
        Some(ENV.into())
    }
}

struct Server {
    bed: Arc<Bed>,
    url: String,
    stop: watch::Sender<bool>,
    realtime: Realtime,
}

async fn serve(limits: Limits) -> Server {
    serve_bed(limits, Bed::new()).await
}

async fn serve_bed(limits: Limits, bed: Arc<Bed>) -> Server {
    let (stop, stopping) = watch::channel(false);
    let keys = Arc::new(Keys);
    let realtime = Realtime(Hub::new(
        Arc::new(OneGroup(bed.clone())),
        Arc::new(KeysOnly(keys.clone())),
        keys,
        Seal::fixed([3; 32]),
        limits,
        ScanThreads::new(),
        stopping,
    ));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}{PATH}", listener.local_addr().unwrap());
    let routes = realtime.routes();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Server {
        bed,
        url,
        stop,
        realtime,
    }
}

fn ticket(key_id: &str) -> String {
    let caller = Caller::Administrator {
        key_id: key_id.into(),
    };
    Tickets::new(Seal::fixed([3; 32]), &Limits::default())
        .issue(ENV, &caller, now_ms())
        .unwrap()
}

struct Client(
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>,
);

impl Client {
    async fn connect(server: &Server) -> Self {
        Self(
            tokio_tungstenite::connect_async(&server.url)
                .await
                .unwrap()
                .0,
        )
    }

    async fn logged_in(server: &Server) -> Self {
        let mut client = Self::connect(server).await;
        assert_eq!(client.login(&ticket("AK")).await, json!({ "envId": ENV }));
        client
    }

    async fn login(&mut self, sign: &str) -> Value {
        let login = json!({
            "requestId": "l", "msgType": "LOGIN", "msgData": {"envId": ENV, "accessToken": "", "referrer": "web"},
            "exMsgData": {"runtime": "web", "signStr": sign, "secretVersion": 1},
        });
        let mut answer = self.ask(login).await;
        assert_eq!(answer["msgType"], "LOGIN_RES");
        answer["msgData"].take()
    }

    async fn send(&mut self, message: Value) {
        self.0
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    async fn receive(&mut self) -> Value {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.0.next()).await;
            match next.expect("in time").expect("open").expect("a message") {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    async fn close_code(&mut self) -> CloseCode {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.0.next()).await;
            if let Message::Close(frame) = next.expect("in time").expect("open").expect("a message")
            {
                return frame.expect("a code").code;
            }
        }
    }

    async fn ask(&mut self, message: Value) -> Value {
        let request_id = message["requestId"].clone();
        self.send(message).await;
        loop {
            let answer = self.receive().await;
            if answer["requestId"] == request_id {
                return answer;
            }
        }
    }

    async fn init(&mut self, watch_id: &str, data: Value) -> Value {
        let mut message = json!({"watchId": watch_id, "requestId": format!("i-{watch_id}"), "msgType": "INIT_WATCH", "msgData": data});
        message["msgData"]["envId"] = ENV.into();
        message["msgData"]["collName"] = "c".into();
        self.ask(message).await
    }

    async fn rebuild(&mut self, watch_id: &str, query_id: &Value, event_id: u64) -> Value {
        self.ask(json!({
            "watchId": watch_id, "requestId": format!("r-{event_id}"), "msgType": "REBUILD_WATCH",
            "msgData": {"envId": ENV, "collName": "c", "queryID": query_id, "eventID": event_id},
        }))
        .await
    }
}

#[tokio::test]
async fn a_watch_from_its_first_result_over_events_to_its_end() {
    let server = serve(Limits::default()).await;
    server
        .bed
        .insert(&[doc! { "_id": "a", "n": 1 }, doc! { "_id": "b", "n": 9 }]);
    let mut client = Client::logged_in(&server).await;
    let first = client
        .init("w", json!({"query": r#"{"n":{"$lt":5}}"#}))
        .await;
    assert_eq!(
        (&first["watchId"], &first["msgType"]),
        (&"w".into(), &"INIT_EVENT".into())
    );
    let mut documents = Subscriber::default();
    documents.init(&first["msgData"]);
    assert_eq!(documents.documents, [json!({"_id": "a", "n": 1})]);
    server
        .bed
        .update(&doc! { "_id": "b" }, &doc! { "$set": { "n": 2 } });
    let mut next = client.receive().await;
    documents.take(&next["msgData"]);
    server.bed.remove(&doc! { "_id": "a" });
    next = client.receive().await;
    assert_eq!(next["msgData"]["queryID"], first["msgData"]["queryID"]);
    documents.take(&next["msgData"]);
    assert_eq!(documents.documents, [json!({"_id": "b", "n": 2})]);
    let check = client
        .ask(json!({"watchId": "w", "requestId": "c", "msgType": "CHECK_LAST", "msgData": {"queryID": "x", "eventID": 3}}))
        .await;
    assert_eq!(
        (&check["msgType"], &check["msgData"]["currEvent"]),
        (&"CHECK_EVENT".into(), &3.into())
    );
    let mut metrics = prometheus_client::registry::Registry::default();
    server.realtime.counters().register(&mut metrics);
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &metrics).unwrap();
    for line in [
        "realtime_sockets 1",
        "realtime_watches 1",
        "realtime_events_total 2",
    ] {
        assert!(page.contains(line), "{page}");
    }
    client
        .send(json!({"watchId": "w", "requestId": "e", "msgType": "CLOSE_WATCH", "msgData": null}))
        .await;
    let pong = client
        .ask(json!({"requestId": "p", "msgType": "PING", "msgData": null}))
        .await;
    assert_eq!(
        (&pong["msgType"], &pong["msgData"]),
        (&"PONG".into(), &Value::Null)
    );
    server.bed.insert(&[doc! { "_id": "z", "n": 0 }]);
    let pong = client
        .ask(json!({"requestId": "p2", "msgType": "PING", "msgData": null}))
        .await;
    assert_eq!(pong["msgType"], "PONG");
}

#[tokio::test]
async fn a_watch_resumes_on_another_node_without_gap_or_repetition() {
    let (here, mut documents) = (serve(Limits::default()).await, Subscriber::default());
    let mut client = Client::logged_in(&here).await;
    let first = client.init("w", json!({"query": "{}"})).await;
    documents.init(&first["msgData"]);
    here.bed.insert(&[doc! { "_id": 1 }]);
    documents.take(&client.receive().await["msgData"]);
    drop(client);
    here.bed.insert(&[doc! { "_id": 2 }, doc! { "_id": 3 }]);
    here.bed.remove(&doc! { "_id": 1 });
    let there = serve_bed(Limits::default(), here.bed.clone()).await;
    let mut client = Client::logged_in(&there).await;
    let query_id = &first["msgData"]["queryID"];
    let resumed = client.rebuild("w", query_id, documents.current).await;
    assert_eq!(resumed["msgType"], "NEXT_EVENT");
    documents.take(&resumed["msgData"]);
    assert_eq!(documents.documents, [json!({"_id": 2}), json!({"_id": 3})]);
    there.bed.insert(&[doc! { "_id": 4 }]);
    documents.take(&client.receive().await["msgData"]);
    assert_eq!(documents.documents.len(), 3);
    for (wrong, event) in [(json!("x"), 1), (query_id.clone(), 99)] {
        let refused = client.rebuild("other", &wrong, event).await;
        assert_eq!(refused["msgData"]["code"], "QUERYID_INVALID_ERROR");
    }
}

#[tokio::test]
async fn a_limited_watch_resumes_with_its_whole_result_as_one_step() {
    let server = serve(Limits::default()).await;
    let mut documents = Subscriber::default();
    let mut client = Client::logged_in(&server).await;
    let asked = json!({"query": "{}", "limit": 2, "orderBy": {"n": "desc"}});
    let first = client.init("w", asked).await;
    documents.init(&first["msgData"]);
    server.bed.insert(&[
        doc! { "_id": 1, "n": 1 },
        doc! { "_id": 2, "n": 2 },
        doc! { "_id": 3, "n": 3 },
    ]);
    while documents.current < 5 {
        documents.take(&client.receive().await["msgData"]);
    }
    drop(client);
    server.bed.remove(&doc! { "_id": 3 });
    let mut client = Client::logged_in(&server).await;
    let query_id = &first["msgData"]["queryID"];
    documents.take(&client.rebuild("w", query_id, documents.current).await["msgData"]);
    assert_eq!(
        documents.documents,
        [json!({"_id": 2, "n": 2}), json!({"_id": 1, "n": 1})]
    );
    server.bed.remove(&doc! {});
    documents.take(&client.receive().await["msgData"]);
    // An empty result as well.
    documents.take(&client.rebuild("w", query_id, documents.current).await["msgData"]);
    assert!(documents.documents.is_empty());
    server.bed.insert(&[doc! { "_id": 7, "n": 7 }]);
    documents.take(&client.receive().await["msgData"]);
    assert_eq!(documents.documents.len(), 1);
}

#[tokio::test]
async fn whoever_may_not_watch_is_told_why() {
    let server = serve(Limits::default()).await;
    let mut client = Client::connect(&server).await;
    let early = client.init("w", json!({"query": "{}"})).await;
    assert_eq!(early["msgData"]["code"], "CHECK_LOGIN_FAILED");
    // Clients log in and ask again unless the answer names the watch.
    assert_eq!(early["watchId"], Value::Null);
    assert_eq!(client.login("").await["code"], "SIGN_PARAM_INVALID");
    assert_eq!(client.login("forged").await["code"], "SIGN_INVALID_ERROR");
    let user = EndUser {
        uid: "ann".into(),
        openid: "ann".into(),
        login_type: LoginType::Email,
        session: "s".into(),
    };
    let tickets = Tickets::new(Seal::fixed([3; 32]), &Limits::default());
    let caller = Caller::User(user.into());
    let expired = tickets.issue(ENV, &caller, 0).unwrap();
    assert_eq!(client.login(&expired).await["code"], "SIGN_EXPIRED_ERROR");
    let sign = tickets.issue(ENV, &caller, now_ms()).unwrap();
    assert_eq!(client.login(&sign).await["envId"], ENV);
    let denied = client.init("w", json!({"query": "{}"})).await;
    assert_eq!(denied["msgData"]["code"], "COLLECTION_PERMISSION_DENIED");
    let mut client = Client::logged_in(&server).await;
    for (data, code) in [
        (json!({"query": "["}), "INVALID_PARAM"),
        (
            json!({"query": r#"{"a":{"$nonsense":1}}"#}),
            "DATABASE_INVALID_OPERRATOR",
        ),
        (json!({"query": "{}", "limit": 9999}), "INVALID_PARAM"),
    ] {
        let refused = client.init("w", data).await;
        assert_eq!(
            (&refused["msgType"], &refused["msgData"]["code"]),
            (&"ERROR".into(), &code.into())
        );
    }
    let message = json!({"watchId": "w", "requestId": "x", "msgType": "INIT_WATCH", "msgData": {"envId": "nowhere", "collName": "c"}});
    assert_eq!(client.ask(message).await["msgData"]["code"], "INVALIID_ENV");
    let message = json!({"watchId": "w", "requestId": "y", "msgType": "INIT_WATCH", "msgData": {"envId": ENV, "collName": "absent"}});
    assert_eq!(
        client.ask(message).await["msgData"]["code"],
        "DATABASE_COLLECTION_NOT_EXIST"
    );
    let message = json!({"requestId": "z", "msgType": "DANCE"});
    assert_eq!(
        client.ask(message).await["msgData"]["code"],
        "INVALID_PARAM"
    );
    client.0.send(Message::text("{")).await.unwrap();
    assert_eq!(client.receive().await["msgData"]["code"], "INVALID_PARAM");
}

#[tokio::test]
async fn a_key_that_is_withdrawn_ends_its_sockets() {
    let limits = Limits {
        standing_interval: Duration::from_millis(50),
        ..Limits::default()
    };
    let server = serve(limits).await;
    let mut client = Client::connect(&server).await;
    // Of a key that was there when the ticket was given out.
    assert_eq!(client.login(&ticket("GONE")).await["envId"], ENV);
    assert_eq!(client.close_code().await, CloseCode::from(3050));
}

#[tokio::test]
async fn silence_and_stops_close_sockets_with_codes_that_bring_clients_back() {
    let limits = Limits {
        login_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = serve(limits).await;
    assert_eq!(
        Client::connect(&server).await.close_code().await,
        CloseCode::from(4001)
    );
    assert_eq!(
        Client::logged_in(&server).await.close_code().await,
        CloseCode::from(4008)
    );
    let server = serve(Limits::default()).await;
    let mut client = Client::logged_in(&server).await;
    server.stop.send_replace(true);
    assert_eq!(client.close_code().await, CloseCode::from(1012));
}

#[tokio::test]
async fn a_client_that_closes_is_answered_with_its_own_code() {
    let server = serve(Limits::default()).await;
    let mut client = Client::logged_in(&server).await;
    let farewell = CloseFrame {
        code: CloseCode::from(3999),
        reason: "".into(),
    };
    client.0.close(Some(farewell)).await.unwrap();
    assert_eq!(client.close_code().await, CloseCode::from(3999));
}

#[tokio::test]
async fn numbers_and_sizes_have_bounds() {
    let limits = Limits {
        sockets_max: 1,
        watches_per_socket_max: 2,
        message_bytes_max: 4096,
        ..Limits::default()
    };
    let server = serve(limits).await;
    let mut client = Client::logged_in(&server).await;
    let refused = tokio_tungstenite::connect_async(&server.url).await;
    assert!(refused.unwrap_err().to_string().contains("503"));
    for (name, refused) in [("a", false), ("b", false), ("c", true), ("b", false)] {
        let answer = client.init(name, json!({"query": "{}"})).await;
        let code = &answer["msgData"]["code"];
        assert_eq!(
            *code == "EXCEED_CONCURRENT_REQUEST_LIMIT",
            refused,
            "{answer}"
        );
    }
    client
        .0
        .send(Message::text("x".repeat(5000)))
        .await
        .unwrap();
    assert_eq!(client.close_code().await, CloseCode::Size);
}
