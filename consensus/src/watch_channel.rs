//! The watch channel as openraft sees it: tokio's, except on a deterministic thread.
//!
//! tokio's spreads its waiters over eight lists by random numbers of its own that nobody can seed,
//! so the order in which they wake differs from run to run. The other one here has one list.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use openraft_rt::watch::SendError;
use openraft_rt::{OptionalSend, OptionalSync, RecvError, Watch, WatchReceiver, WatchSender};
use openraft_rt_tokio::{TokioWatch, TokioWatchReceiver, TokioWatchSender};
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::Notify;

use crate::determinism::is_deterministic;

/// See the module.
pub struct WatchChannel;

/// A channel whose waiters wake in the order in which they came.
struct Ordered<T> {
    value: RwLock<T>,
    version: AtomicU64,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    changed: Notify,
}

impl<T> Ordered<T> {
    fn announce(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}

/// The sending half.
pub enum Sender<T> {
    #[doc(hidden)]
    Tokio(TokioWatchSender<T>),
    #[doc(hidden)]
    Ordered(OrderedSender<T>),
}

/// The receiving half.
pub enum Receiver<T> {
    #[doc(hidden)]
    Tokio(TokioWatchReceiver<T>),
    #[doc(hidden)]
    Ordered(OrderedReceiver<T>),
}

/// The value, held for reading.
pub enum Ref<'a, T> {
    #[doc(hidden)]
    Tokio(tokio::sync::watch::Ref<'a, T>),
    #[doc(hidden)]
    Ordered(RwLockReadGuard<'a, T>),
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Tokio(value) => value,
            Self::Ordered(value) => value,
        }
    }
}

#[doc(hidden)]
pub struct OrderedSender<T>(Arc<Ordered<T>>);

impl<T> Clone for OrderedSender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::AcqRel);
        Self(self.0.clone())
    }
}

impl<T> Drop for OrderedSender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

#[doc(hidden)]
pub struct OrderedReceiver<T> {
    channel: Arc<Ordered<T>>,
    seen: u64,
}

impl<T> OrderedReceiver<T> {
    fn new(channel: Arc<Ordered<T>>) -> Self {
        channel.receivers.fetch_add(1, Ordering::AcqRel);
        let seen = channel.version.load(Ordering::Acquire);
        Self { channel, seen }
    }

    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            let changed = self.channel.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // In line before the look, so that no change falls between the two.
            changed.as_mut().enable();
            let version = self.channel.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.channel.senders.load(Ordering::Acquire) == 0 {
                return Err(RecvError(()));
            }
            changed.await;
        }
    }
}

impl<T> Clone for OrderedReceiver<T> {
    fn clone(&self) -> Self {
        self.channel.receivers.fetch_add(1, Ordering::AcqRel);
        Self {
            channel: self.channel.clone(),
            seen: self.seen,
        }
    }
}

impl<T> Drop for OrderedReceiver<T> {
    fn drop(&mut self) {
        self.channel.receivers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Tokio(sender) => Self::Tokio(sender.clone()),
            Self::Ordered(sender) => Self::Ordered(sender.clone()),
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Tokio(receiver) => Self::Tokio(receiver.clone()),
            Self::Ordered(receiver) => Self::Ordered(receiver.clone()),
        }
    }
}

impl Watch for WatchChannel {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        if !is_deterministic() {
            let (sender, receiver) = TokioWatch::channel(init);
            return (Sender::Tokio(sender), Receiver::Tokio(receiver));
        }
        let channel = Arc::new(Ordered {
            value: RwLock::new(init),
            version: AtomicU64::new(0),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(0),
            changed: Notify::new(),
        });
        let receiver = OrderedReceiver::new(channel.clone());
        (
            Sender::Ordered(OrderedSender(channel)),
            Receiver::Ordered(receiver),
        )
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<WatchChannel, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        match self {
            Self::Tokio(sender) => sender.send(value),
            Self::Ordered(OrderedSender(channel)) => {
                if channel.receivers.load(Ordering::Acquire) == 0 {
                    return Err(SendError(value));
                }
                *channel.value.write() = value;
                channel.announce();
                Ok(())
            }
        }
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        match self {
            Self::Tokio(sender) => sender.send_if_modified(modify),
            Self::Ordered(OrderedSender(channel)) => {
                let modified = modify(&mut channel.value.write());
                if modified {
                    channel.announce();
                }
                modified
            }
        }
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        match self {
            Self::Tokio(sender) => Ref::Tokio(sender.borrow_watched()),
            Self::Ordered(OrderedSender(channel)) => Ref::Ordered(channel.value.read()),
        }
    }

    fn subscribe(&self) -> Receiver<T> {
        match self {
            Self::Tokio(sender) => Receiver::Tokio(sender.subscribe()),
            Self::Ordered(OrderedSender(channel)) => {
                Receiver::Ordered(OrderedReceiver::new(channel.clone()))
            }
        }
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<WatchChannel, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        match self {
            Self::Tokio(receiver) => receiver.changed().await,
            Self::Ordered(receiver) => receiver.changed().await,
        }
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        match self {
            Self::Tokio(receiver) => Ref::Tokio(receiver.borrow_watched()),
            Self::Ordered(receiver) => Ref::Ordered(receiver.channel.value.read()),
        }
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        match self {
            Self::Tokio(receiver) => Ref::Tokio(receiver.borrow_and_update()),
            Self::Ordered(receiver) => {
                let value = receiver.channel.value.read();
                receiver.seen = receiver.channel.version.load(Ordering::Acquire);
                Ref::Ordered(value)
            }
        }
    }
}
