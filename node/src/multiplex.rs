//! Many requests on one stream: the part that the public `Call` stream and the peers' `Open` stream share.
//!
//! Answers leave in the order in which they are ready. Whatever is waiting when the transport can take a
//! frame goes into that frame, so batches grow by themselves exactly when the system is busy.

use std::future::Future;
use std::sync::Arc;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};
use tokio::sync::{Semaphore, mpsc};

/// Requests that one stream's own task carries out beside each other; with more, other threads help.
const LONE_REQUESTS_MAX: usize = 4;

/// Bounds of one stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Most requests of one stream in progress; reading pauses there, which the transport's flow control
    /// passes on to the caller.
    pub in_flight_max: usize,
    /// Most items in one frame.
    pub frame_items_max: usize,
    /// A frame is closed once its items reach this size; one item may be larger.
    pub frame_bytes_max: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            in_flight_max: 1024,
            frame_items_max: 256,
            frame_bytes_max: 1 << 20,
        }
    }
}

/// Serves one stream: runs `handle` for each item of each inbound frame, concurrently, and yields frames of answers.
///
/// `inbound` ends at the first transport error; requests in progress then run to their end and their
/// answers are dropped, since nobody is left to read them. Once `stop` is done no further frame is read, requests
/// in progress are answered, and the stream ends: its caller goes elsewhere instead of holding up a node's stop.
pub fn serve<In, Out, Frames, Handle, Fut>(
    inbound: Frames,
    limits: StreamLimits,
    size_of: fn(&Out) -> usize,
    stop: impl Future<Output = ()> + Send + 'static,
    handle: Handle,
) -> impl Stream<Item = Vec<Out>> + Send + 'static
where
    In: Send + 'static,
    Out: Send + 'static,
    Frames: Stream<Item = Vec<In>> + Send + 'static,
    Handle: Fn(In) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Out> + Send + 'static,
{
    let (answers, ready) = mpsc::channel(limits.in_flight_max);
    tokio::spawn(async move {
        let permits = Arc::new(Semaphore::new(limits.in_flight_max));
        let mut inbound = std::pin::pin!(inbound.take_until(stop));
        // A lone request runs right here, beside the reading of the next frame: waking another thread for it would take
        // longer than most requests do.
        let mut lone = FuturesUnordered::new();
        loop {
            let frame = tokio::select! {
                biased;
                Some(()) = lone.next() => continue,
                frame = inbound.next() => match frame {
                    Some(frame) => frame,
                    None => break,
                },
            };
            let is_lone = frame.len() == 1 && lone.len() < LONE_REQUESTS_MAX;
            for item in frame {
                let Ok(permit) = permits.clone().acquire_owned().await else {
                    return;
                };
                let running = handle(item);
                let answers = answers.clone();
                let answering = async move {
                    // A closed channel means that the caller has gone: nobody to tell.
                    let _ = answers.send(running.await).await;
                    drop(permit);
                };
                if is_lone {
                    lone.push(answering);
                } else {
                    tokio::spawn(answering);
                }
            }
        }
        while lone.next().await.is_some() {}
    });
    batches(ready, limits, size_of)
}

/// Turns a channel of items into a stream of bounded batches, each taking what is waiting.
pub fn batches<T: Send + 'static>(
    waiting: mpsc::Receiver<T>,
    limits: StreamLimits,
    size_of: fn(&T) -> usize,
) -> impl Stream<Item = Vec<T>> + Send + 'static {
    futures::stream::unfold(waiting, move |mut waiting| async move {
        let first = waiting.recv().await?;
        let mut bytes = size_of(&first);
        let mut batch = vec![first];
        while batch.len() < limits.frame_items_max && bytes < limits.frame_bytes_max {
            let Ok(item) = waiting.try_recv() else { break };
            bytes += size_of(&item);
            batch.push(item);
        }
        Some((batch, waiting))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_request_is_answered_and_batches_respect_their_bounds() {
        let frames = futures::stream::iter([vec![1_u32, 2, 3], vec![4, 5], vec![]]);
        let limits = StreamLimits {
            in_flight_max: 2,
            frame_items_max: 2,
            frame_bytes_max: 1000,
        };
        let answered: Vec<Vec<u32>> = serve(
            frames,
            limits,
            |_| 1,
            std::future::pending(),
            |item| async move { item * 10 },
        )
        .collect()
        .await;
        assert!(
            answered
                .iter()
                .all(|frame| !frame.is_empty() && frame.len() <= 2)
        );
        let mut all: Vec<u32> = answered.into_iter().flatten().collect();
        all.sort_unstable();
        assert_eq!(all, [10, 20, 30, 40, 50]);
    }

    #[tokio::test]
    async fn a_stop_answers_what_was_read_and_ends_an_open_stream() {
        let frames = futures::stream::iter([vec![1_u32, 2]]).chain(futures::stream::pending());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let answers = serve(
            frames,
            StreamLimits::default(),
            |_| 1,
            async move { drop(stopped.await) },
            |item| async move { item * 10 },
        );
        let mut answers = std::pin::pin!(answers);
        let mut seen = answers.next().await.unwrap_or_default();
        drop(stop);
        while let Some(more) = answers.next().await {
            seen.extend(more);
        }
        seen.sort_unstable();
        assert_eq!(seen, [10, 20]);
    }

    #[tokio::test]
    async fn a_frame_closes_at_its_size() {
        let (sender, receiver) = mpsc::channel(8);
        for size in [600_usize, 600, 600] {
            sender.send(size).await.expect("room");
        }
        drop(sender);
        let limits = StreamLimits {
            in_flight_max: 8,
            frame_items_max: 8,
            frame_bytes_max: 1000,
        };
        let frames: Vec<Vec<usize>> = batches(receiver, limits, |size| *size).collect().await;
        assert_eq!(frames, [vec![600, 600], vec![600]]);
    }
}
