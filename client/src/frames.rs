//! Gathers everything that waits into one frame, whenever the connection can take one.
//!
//! This is where the speed of the SDK comes from: under load a frame carries many requests, so the cost of a
//! message, a system call and a wake-up is shared by all of them, and nothing waits for a timer.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use prost::Message;
use tokio::sync::mpsc;

use crate::limits::{FRAME_BYTES_MAX, FRAME_REQUESTS_MAX};
use crate::proto::{Request, RequestFrame};

/// The outgoing half of a connection: an endless stream of frames, pulled by the transport.
pub(crate) struct Frames {
    queue: mpsc::Receiver<Request>,
    gathered: Vec<Request>,
    /// Taken from the queue, but too large for the frame before.
    held: Option<Request>,
    yielded: bool,
    /// The last frame carried more than one request: callers come in crowds.
    crowded: bool,
}

impl Frames {
    pub(crate) fn new(queue: mpsc::Receiver<Request>) -> Self {
        Self {
            queue,
            gathered: Vec::new(),
            held: None,
            yielded: false,
            crowded: false,
        }
    }
}

impl Stream for Frames {
    type Item = RequestFrame;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<RequestFrame>> {
        let this = self.get_mut();
        if this.held.is_none() && this.queue.is_empty() {
            this.yielded = false;
            match this.queue.poll_recv(cx) {
                Poll::Ready(Some(request)) => this.held = Some(request),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
        // One frame of answers wakes many callers, and this task is woken by the first of them. Going once round
        // the run queue lets the others put their next requests beside it. A lone caller is spared the detour.
        if this.crowded && !this.yielded {
            this.yielded = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.yielded = false;
        let mut bytes = 0;
        while this.gathered.len() < FRAME_REQUESTS_MAX {
            let Some(request) = this.held.take().or_else(|| this.queue.try_recv().ok()) else {
                break;
            };
            let size = request.encoded_len();
            if !this.gathered.is_empty() && bytes + size > FRAME_BYTES_MAX {
                this.held = Some(request);
                break;
            }
            bytes += size;
            this.gathered.push(request);
        }
        if this.gathered.is_empty() {
            // The queue closed between the look and the take: ask again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.crowded = this.gathered.len() > 1;
        Poll::Ready(Some(RequestFrame {
            requests: std::mem::take(&mut this.gathered),
        }))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::proto::{Insert, request};

    fn request(id: u64, document_bytes: usize) -> Request {
        let insert = Insert {
            collection: "c".into(),
            documents: vec![vec![0; document_bytes].into()],
        };
        Request {
            id,
            op: Some(request::Op::Insert(insert)),
            ..Request::default()
        }
    }

    async fn frames(requests: Vec<Request>) -> Vec<Vec<u64>> {
        let (sender, receiver) = mpsc::channel(1024);
        for request in requests {
            sender.send(request).await.unwrap();
        }
        drop(sender);
        Frames::new(receiver)
            .map(|frame| frame.requests.iter().map(|r| r.id).collect())
            .collect()
            .await
    }

    #[tokio::test]
    async fn everything_that_waits_goes_into_one_frame() {
        assert_eq!(
            frames((0..100).map(|id| request(id, 100)).collect()).await,
            vec![(0..100).collect::<Vec<_>>()]
        );
    }

    #[tokio::test]
    async fn frames_are_bounded_by_count_and_bytes() {
        let sizes: Vec<usize> = frames((0..600).map(|id| request(id, 10)).collect())
            .await
            .iter()
            .map(Vec::len)
            .collect();
        assert_eq!(
            sizes,
            vec![
                FRAME_REQUESTS_MAX,
                FRAME_REQUESTS_MAX,
                600 - 2 * FRAME_REQUESTS_MAX
            ]
        );
        let large = FRAME_BYTES_MAX / 2 + 1;
        assert_eq!(
            frames(vec![request(1, large), request(2, large), request(3, 10)]).await,
            vec![vec![1], vec![2, 3]]
        );
        let huge = FRAME_BYTES_MAX * 3;
        assert_eq!(
            frames(vec![request(1, 5), request(2, huge), request(3, 5)]).await,
            vec![vec![1], vec![2], vec![3]]
        );
    }
}
