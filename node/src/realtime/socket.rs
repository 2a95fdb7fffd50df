//! The WebSocket: reads messages within bounds, writes what waits, ends when either side falls silent.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::watch;

use super::hub::Hub;
use super::limits::Limits;
use super::metrics::Counted;
use super::outbox::{Next, Outbox};
use super::session::Session;

/// The server stops; every code but 3050 makes clients connect again, to this node or another.
const CLOSE_RESTART: (u16, &str) = (1012, "the node stops");
const CLOSE_IDLE: (u16, &str) = (4008, "nothing came for too long");
const CLOSE_NO_LOGIN: (u16, &str) = (4001, "no LOGIN came");

/// `GET /realtime`.
pub(super) async fn upgrade(State(hub): State<Arc<Hub>>, upgrade: WebSocketUpgrade) -> Response {
    let Ok(permit) = hub.sockets.clone().try_acquire_owned() else {
        let message = "this node has as many sockets as it may: try again shortly";
        return (StatusCode::SERVICE_UNAVAILABLE, message).into_response();
    };
    let bytes_max = hub.limits.message_bytes_max;
    upgrade
        .max_message_size(bytes_max)
        .max_frame_size(bytes_max)
        .on_upgrade(move |socket| async move {
            Box::pin(run(hub, socket)).await;
            drop(permit);
        })
}

async fn run(hub: Arc<Hub>, socket: WebSocket) {
    let _counted = Counted::new(&hub.counters, |counters| &counters.sockets);
    let session = Session::new(hub.clone());
    let (sink, mut stream) = socket.split();
    let writer = write(sink, session.outbox.clone(), hub.limits.clone());
    tokio::select! {
        () = writer => {}
        // The reader ends by closing the outbox, whose frame the client should see.
        () = async {
            read(&hub, &session, &mut stream).await;
            tokio::time::sleep(hub.limits.write_timeout).await;
        } => {}
    }
    session.end();
    // A connection that is dropped with something unread is reset, and the client may never see the close frame.
    let rest = async { while let Some(Ok(_)) = stream.next().await {} };
    let _ = tokio::time::timeout(hub.limits.close_timeout, rest).await;
}

async fn read(hub: &Hub, session: &Arc<Session>, stream: &mut SplitStream<WebSocket>) {
    let limits = &hub.limits;
    let mut stop = hub.stop.clone();
    let mut standing = tokio::time::interval(limits.standing_interval);
    standing.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let began = tokio::time::Instant::now();
    let mut heard = began;
    loop {
        let (silent_at, why) = if session.is_logged_in() {
            (heard + limits.idle_timeout, CLOSE_IDLE)
        } else {
            (began + limits.login_timeout, CLOSE_NO_LOGIN)
        };
        let message = tokio::select! {
            message = stream.next() => message,
            _ = standing.tick() => {
                if session.check_standing().await {
                    continue;
                }
                return;
            }
            () = tokio::time::sleep_until(silent_at) => {
                session.outbox.close(why.0, why.1);
                return;
            }
            () = stopped(&mut stop) => {
                session.outbox.close(CLOSE_RESTART.0, CLOSE_RESTART.1);
                return;
            }
        };
        heard = tokio::time::Instant::now();
        match message {
            Some(Ok(Message::Text(text))) => session.take(&text),
            // The protocol has text only; clients of other kinds may say it in bytes.
            Some(Ok(Message::Binary(bytes))) => match std::str::from_utf8(&bytes) {
                Ok(text) => session.take(text),
                Err(_) => {
                    session.outbox.close(1007, "messages are JSON");
                    return;
                }
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) | None => {
                session.outbox.close(1000, "");
                return;
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "a socket of a watching client broke");
                session
                    .outbox
                    .close(1009, "the message cannot be read or is too large");
                return;
            }
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the node has gone, which comes to the same.
    let _ = stop.wait_for(|stopping| *stopping).await;
}

async fn write(mut sink: SplitSink<WebSocket, Message>, outbox: Arc<Outbox>, limits: Arc<Limits>) {
    loop {
        let next = outbox.next().await;
        let (message, is_last) = match next {
            Next::Send(text) => (Message::Text(text.into()), false),
            Next::Close(code, reason) => {
                let frame = CloseFrame {
                    code,
                    reason: reason.into(),
                };
                (Message::Close(Some(frame)), true)
            }
        };
        match tokio::time::timeout(limits.write_timeout, sink.send(message)).await {
            Ok(Ok(())) if !is_last => {}
            // A client that takes nothing for so long comes back and resumes. After a close frame of the client's no other
            // may be sent, only the answer that waits for the flush that comes with closing.
            _ => break,
        }
    }
    let _ = tokio::time::timeout(limits.close_timeout, sink.close()).await;
}
