//! What waits to be sent on one socket, in order and within bounds.
//!
//! Answers and events share one queue, so that an answer never overtakes the events it speaks of. A watch whose
//! events are more than may wait loses them all and is told to resume, which reads them from the change log again:
//! slow clients cost no memory and miss nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::event;
use super::limits::Limits;
use super::message;
use super::metrics::Counters;

/// A watch of a socket, as the socket and whoever feeds it share it.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The client's name for it.
    pub(crate) watch_id: String,
    /// The server's name for it.
    pub(crate) query_id: Arc<str>,
    /// Number of the last event that was queued.
    last_event: AtomicU64,
    /// Events that wait to be sent.
    waiting: AtomicUsize,
    /// The client closed it, or opened it anew.
    closed: AtomicBool,
}

impl Watch {
    pub(crate) fn new(watch_id: String, query_id: Arc<str>, last_event: u64) -> Arc<Self> {
        Arc::new(Self {
            watch_id,
            query_id,
            last_event: AtomicU64::new(last_event),
            waiting: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        })
    }

    /// Number of the last event that was queued.
    pub(crate) fn last(&self) -> u64 {
        self.last_event.load(Ordering::Relaxed)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

/// One thing to send.
#[derive(Debug)]
enum Item {
    Text(String),
    Events {
        watch: Arc<Watch>,
        first: u64,
        texts: Texts,
    },
}

/// The texts of some events, shared by all watches that get them.
pub(crate) type Texts = Arc<[Arc<str>]>;

/// What the writer of a socket does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Send this message.
    Send(String),
    /// Close the socket.
    Close(u16, &'static str),
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<(Item, usize)>,
    bytes: usize,
    close: Option<(u16, &'static str)>,
}

/// The queue of one socket.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    ready: Notify,
    limits: Arc<Limits>,
    /// Bytes that wait for all sockets of the node.
    all_bytes: Arc<AtomicUsize>,
    counters: Arc<Counters>,
}

impl Outbox {
    pub(crate) fn new(
        limits: Arc<Limits>,
        all_bytes: Arc<AtomicUsize>,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::default(),
            ready: Notify::new(),
            limits,
            all_bytes,
            counters,
        })
    }

    /// Queues an answer. `false`: too much waits already, so the socket closes; its client comes back and resumes.
    pub(crate) fn answer(&self, text: String) -> bool {
        let fits = {
            let mut queue = self.queue.lock();
            let bytes = text.len();
            // One answer always fits: its size has a bound of its own.
            let fits =
                queue.close.is_none() && (queue.items.is_empty() || self.has_room(&queue, bytes));
            if fits {
                self.push(&mut queue, Item::Text(text), bytes);
            }
            fits
        };
        if !fits {
            self.close(1013, "too much waits for this socket");
        }
        self.ready.notify_one();
        fits
    }

    /// Queues events of a watch, whose numbers follow those of its last ones. `false`: the watch has lost them and
    /// was told to resume; it gets no more.
    pub(crate) fn events(&self, watch: &Arc<Watch>, texts: &Texts) -> bool {
        let mut queue = self.queue.lock();
        if queue.close.is_some() || watch.is_closed() {
            return false;
        }
        let first = watch.last_event.load(Ordering::Relaxed) + 1;
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        let waiting = watch.waiting.load(Ordering::Relaxed);
        watch
            .last_event
            .fetch_add(texts.len() as u64, Ordering::Relaxed);
        let fits =
            waiting + texts.len() <= self.limits.queued_events_max && self.has_room(&queue, bytes);
        if fits {
            let item = Item::Events {
                watch: watch.clone(),
                first,
                texts: texts.clone(),
            };
            watch.waiting.fetch_add(texts.len(), Ordering::Relaxed);
            self.push(&mut queue, item, bytes);
        } else {
            self.drop_events(&mut queue, watch);
            self.counters.dropped((waiting + texts.len()) as u64);
            self.push_resume(&mut queue, watch);
        }
        drop(queue);
        self.ready.notify_one();
        fits
    }

    /// Tells a watch that it must resume: whoever fed it has ended.
    pub(crate) fn resume(&self, watch: &Arc<Watch>) {
        {
            let mut queue = self.queue.lock();
            if queue.close.is_some() || watch.is_closed() {
                return;
            }
            self.push_resume(&mut queue, watch);
        }
        self.ready.notify_one();
    }

    /// Closes the socket; what waits is not sent any more.
    pub(crate) fn close(&self, code: u16, reason: &'static str) {
        {
            let mut queue = self.queue.lock();
            queue.close.get_or_insert((code, reason));
            self.release(queue.bytes);
            queue.bytes = 0;
            queue.items.clear();
        }
        self.ready.notify_one();
    }

    /// Whether nothing is sent any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().close.is_some()
    }

    /// Waits for the next message.
    pub(crate) async fn next(&self) -> Next {
        loop {
            let ready = self.ready.notified();
            if let Some(next) = self.take() {
                return next;
            }
            ready.await;
        }
    }

    fn take(&self) -> Option<Next> {
        let mut queue = self.queue.lock();
        if let Some((code, reason)) = queue.close {
            return Some(Next::Close(code, reason));
        }
        match self.pop(&mut queue)? {
            Item::Text(text) => Some(Next::Send(text)),
            Item::Events {
                watch,
                first,
                texts,
            } => {
                let mut list = String::new();
                let mut last = first;
                append_all(&mut list, first, &texts, &mut last);
                // What has gathered behind it goes along.
                while last - first < self.limits.message_events_max as u64
                    && list.len() < self.limits.message_events_bytes_max
                    && matches!(queue.items.front(), Some((Item::Events { watch: next, .. }, _)) if Arc::ptr_eq(next, &watch))
                {
                    if let Some(Item::Events { first, texts, .. }) = self.pop(&mut queue) {
                        append_all(&mut list, first, &texts, &mut last);
                    }
                }
                drop(queue);
                self.counters.sent(last - first + 1);
                Some(Next::Send(message::next_event(
                    &watch.watch_id,
                    &message::push_id(&watch.query_id, last),
                    &watch.query_id,
                    last,
                    &list,
                )))
            }
        }
    }

    fn has_room(&self, queue: &Queue, bytes: usize) -> bool {
        queue.bytes + bytes <= self.limits.queued_bytes_per_socket_max
            && self.all_bytes.load(Ordering::Relaxed) + bytes <= self.limits.queued_bytes_max
    }

    fn push(&self, queue: &mut Queue, item: Item, bytes: usize) {
        queue.bytes += bytes;
        self.all_bytes.fetch_add(bytes, Ordering::Relaxed);
        queue.items.push_back((item, bytes));
    }

    fn pop(&self, queue: &mut Queue) -> Option<Item> {
        let (item, bytes) = queue.items.pop_front()?;
        queue.bytes -= bytes;
        self.release(bytes);
        if let Item::Events { watch, texts, .. } = &item {
            watch.waiting.fetch_sub(texts.len(), Ordering::Relaxed);
        }
        Some(item)
    }

    fn release(&self, bytes: usize) {
        self.all_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn drop_events(&self, queue: &mut Queue, watch: &Arc<Watch>) {
        let mut released = 0;
        queue.items.retain(|(item, bytes)| match item {
            Item::Events { watch: other, .. } if Arc::ptr_eq(watch, other) => {
                released += bytes;
                false
            }
            _ => true,
        });
        queue.bytes -= released;
        self.release(released);
        watch.waiting.store(0, Ordering::Relaxed);
    }

    /// An event number that the client has not seen makes it resume, as protocol and clients have it.
    fn push_resume(&self, queue: &mut Queue, watch: &Watch) {
        let beyond = watch.last_event.load(Ordering::Relaxed) + 1;
        let text = message::check_event(
            &watch.watch_id,
            &message::push_id(&watch.query_id, beyond),
            &watch.query_id,
            beyond,
        );
        let bytes = text.len();
        self.push(queue, Item::Text(text), bytes);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let bytes = self.queue.get_mut().bytes;
        self.release(bytes);
    }
}

fn append_all(list: &mut String, first: u64, texts: &Texts, last: &mut u64) {
    for (number, text) in (first..).zip(texts.iter()) {
        event::append(list, number, text);
        *last = number;
    }
}

/// Whoever feeds a watch holds one of these. Dropping it without [`Subscriber::end`] tells the watch to resume, so
/// that no failure anywhere leaves a watch waiting in silence.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) watch: Arc<Watch>,
    pub(crate) outbox: Arc<Outbox>,
    ended: bool,
}

impl Subscriber {
    pub(crate) fn new(watch: Arc<Watch>, outbox: Arc<Outbox>) -> Self {
        Self {
            watch,
            outbox,
            ended: false,
        }
    }

    /// Passes events on; `false` when the watch takes no more.
    pub(crate) fn events(&mut self, texts: &Texts) -> bool {
        let takes = texts.is_empty() || self.outbox.events(&self.watch, texts);
        // The watch knows already.
        self.ended |= !takes;
        takes
    }

    /// Ends the watch with an error.
    pub(crate) fn fail(mut self, code: &str, text: &str) {
        self.ended = true;
        if !self.watch.is_closed() {
            self.watch.close();
            let id = message::push_id(&self.watch.query_id, self.watch.last());
            self.outbox
                .answer(message::error(Some(&self.watch.watch_id), &id, code, text));
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if !self.ended {
            self.outbox.resume(&self.watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(limits: Limits) -> (Arc<Outbox>, Arc<AtomicUsize>) {
        let all = Arc::new(AtomicUsize::new(0));
        let outbox = Outbox::new(Arc::new(limits), all.clone(), Arc::new(Counters::default()));
        (outbox, all)
    }

    fn watch(name: &str) -> Arc<Watch> {
        Watch::new(name.into(), "q".into(), 1)
    }

    fn texts(count: usize) -> Texts {
        vec![r#""DataType":"add"}"#.into(); count].into()
    }

    async fn sent(outbox: &Outbox) -> serde_json::Value {
        match outbox.next().await {
            Next::Send(text) => serde_json::from_str(&text).unwrap(),
            Next::Close(..) => panic!("closed"),
        }
    }

    #[tokio::test]
    async fn neighbouring_events_of_a_watch_share_a_message_and_answers_keep_their_place() {
        let (outbox, all) = outbox(Limits::default());
        let (a, b) = (watch("a"), watch("b"));
        assert!(outbox.events(&a, &texts(2)) && outbox.events(&a, &texts(1)));
        assert!(outbox.events(&b, &texts(1)));
        assert!(outbox.answer("{\"answer\":1}".into()));
        assert!(all.load(Ordering::Relaxed) > 0);
        let first = sent(&outbox).await;
        assert_eq!(
            (&first["watchId"], &first["msgData"]["currEvent"]),
            (&"a".into(), &4.into())
        );
        let numbers: Vec<_> = first["msgData"]["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["ID"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, [2, 3, 4]);
        assert_eq!(sent(&outbox).await["watchId"], "b");
        assert_eq!(sent(&outbox).await["answer"], 1);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_watch_with_too_many_events_loses_them_and_is_told_to_resume() {
        let (outbox, all) = outbox(Limits {
            queued_events_max: 3,
            ..Limits::default()
        });
        let (slow, other) = (watch("slow"), watch("other"));
        assert!(outbox.events(&slow, &texts(3)));
        assert!(outbox.events(&other, &texts(1)));
        let mut subscriber = Subscriber::new(slow, outbox.clone());
        assert!(!subscriber.events(&texts(1)));
        drop(subscriber);
        assert_eq!(sent(&outbox).await["watchId"], "other");
        let told = sent(&outbox).await;
        assert_eq!(
            (&told["msgType"], &told["msgData"]["currEvent"]),
            (&"CHECK_EVENT".into(), &6.into())
        );
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_feeder_that_vanishes_makes_its_watch_resume() {
        let (outbox, _) = outbox(Limits::default());
        drop(Subscriber::new(watch("a"), outbox.clone()));
        assert_eq!(sent(&outbox).await["msgType"], "CHECK_EVENT");
        Subscriber::new(watch("a"), outbox.clone()).fail("SYS_ERR", "gone");
        assert_eq!(sent(&outbox).await["msgData"]["code"], "SYS_ERR");
    }

    #[tokio::test]
    async fn closing_gives_back_what_waited() {
        let (outbox, all) = outbox(Limits::default());
        assert!(outbox.events(&watch("a"), &texts(5)));
        outbox.close(3050, "signed out");
        assert_eq!(outbox.next().await, Next::Close(3050, "signed out"));
        assert!(!outbox.events(&watch("b"), &texts(1)) && !outbox.answer("{}".into()));
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
