//! One run of a simulated process. When it ends, what is left of it in memory must be cut off from the
//! world: it neither hears nor speaks, and its clients learn nothing more.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use yunbase_consensus::{
    Lane, NodeId, Parties, PeerError, PeerHandler, PeerNetwork, PeerRequest, PeerResponse,
    SimNetwork,
};

/// Whether a simulated process still runs.
#[derive(Debug, Default)]
pub(super) struct Life {
    ended: AtomicBool,
    end: Notify,
}

impl Life {
    /// Kills the process.
    pub(super) fn kill(&self) {
        self.ended.store(true, Ordering::Release);
        self.end.notify_waiters();
    }

    /// Whether it was killed.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// The result of `work`; `None` when the process is killed before.
    pub(super) async fn lived_through<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let ended = self.end.notified();
        let mut ended = std::pin::pin!(ended);
        ended.as_mut().enable();
        if self.has_ended() {
            return None;
        }
        tokio::select! {
            biased;
            () = ended => None,
            result = work => Some(result),
        }
    }
}

/// The network as one process has it.
pub(super) struct Mouth {
    /// The network.
    pub(super) network: SimNetwork,
    /// The process.
    pub(super) life: Arc<Life>,
}

impl PeerNetwork for Mouth {
    fn call(
        &self,
        parties: Parties,
        address: &str,
        lane: Lane,
        request: PeerRequest,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<PeerResponse, PeerError>> {
        if self.life.has_ended() {
            let to = parties.to;
            return async move {
                tokio::time::sleep(timeout).await;
                Err(PeerError::Timeout { to, after: timeout })
            }
            .boxed();
        }
        self.network.call(parties, address, lane, request, timeout)
    }
}

/// What the network hands requests to as long as the process runs.
pub(super) struct Ear {
    /// What answers.
    pub(super) handler: Arc<dyn PeerHandler>,
    /// The process.
    pub(super) life: Arc<Life>,
}

impl PeerHandler for Ear {
    fn admit(&self, parties: Parties) -> Result<(), String> {
        match self.life.has_ended() {
            true => Err("this process was killed".to_owned()),
            false => self.handler.admit(parties),
        }
    }

    fn handle(&self, from: NodeId, request: PeerRequest) -> BoxFuture<'static, PeerResponse> {
        let (life, handled) = (self.life.clone(), self.handler.handle(from, request));
        async move {
            match life.lived_through(handled).await {
                Some(answer) if !life.has_ended() => answer,
                _ => std::future::pending().await,
            }
        }
        .boxed()
    }
}
