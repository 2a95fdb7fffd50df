//! The serving side of forwarding.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::codec::{ForwardRequest, ForwardResponse, decode, encode};
use crate::call::{Failure, Retry};
use crate::multiplex::{StreamLimits, serve};
use crate::peer_proto::forward_server::Forward;
use crate::peer_proto::{ForwardFrame, ForwardItem};

/// Whoever carries out forwarded calls on this node.
pub trait Leader: Send + Sync + 'static {
    /// Carries out `request` here or says that another node leads.
    fn lead(
        &self,
        request: ForwardRequest,
    ) -> Pin<Box<dyn Future<Output = ForwardResponse> + Send>>;
}

/// The `Forward` service of the peer port.
pub struct ForwardServer {
    leader: Arc<dyn Leader>,
    limits: StreamLimits,
}

impl ForwardServer {
    /// Serves calls by `leader`.
    pub fn new(leader: Arc<dyn Leader>) -> Self {
        Self {
            leader,
            limits: StreamLimits::default(),
        }
    }
}

#[tonic::async_trait]
impl Forward for ForwardServer {
    type OpenStream = Pin<Box<dyn Stream<Item = Result<ForwardFrame, Status>> + Send>>;

    async fn open(
        &self,
        request: Request<Streaming<ForwardFrame>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let frames = request
            .into_inner()
            .take_while(|frame| std::future::ready(frame.is_ok()))
            .filter_map(|frame| std::future::ready(frame.ok().map(|frame| frame.items)));
        let leader = self.leader.clone();
        let answers = serve(
            frames,
            self.limits,
            |item: &ForwardItem| item.body.len(),
            // A node that stops answers its peers to the last: the call is told who leads by then.
            std::future::pending(),
            move |item: ForwardItem| {
                let leader = leader.clone();
                async move {
                    let response = match decode::<ForwardRequest>(&item.body) {
                        Ok(request) => leader.lead(request).await,
                        Err(reason) => Failure::new("INVALID_PARAM", reason, Retry::Never).into(),
                    };
                    // An answer that cannot be encoded is left out; the caller takes it as unknown at its deadline.
                    let body = encode(&response).unwrap_or_default();
                    ForwardItem {
                        id: item.id,
                        body: body.into(),
                    }
                }
            },
        );
        Ok(Response::new(Box::pin(
            answers.map(|items| Ok(ForwardFrame { items })),
        )))
    }
}
