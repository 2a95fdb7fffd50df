//! Bodies that arrive slowly, too late, or not at all.

use hyper::body::Body as _;
use std::convert::Infallible;

use futures::{StreamExt as _, stream};
use http_body_util::BodyExt as _;

use super::*;

const PATIENCE: Patience = Patience {
    idle: Duration::from_secs(60),
    whole: Duration::from_secs(600),
};

/// A body that has a piece after each of these pauses.
fn trickling(pauses: Vec<Duration>, arrival: &Arrival, patience: Patience) -> ArrivingBody {
    let pieces = stream::iter(pauses).then(|pause| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, Infallible>(Bytes::from_static(b"x"))
    });
    ArrivingBody::new(Body::from_stream(pieces), None, arrival.clone(), patience)
}

#[tokio::test]
async fn a_body_may_be_slow_but_not_stand_still() {
    let patience = Patience {
        idle: Duration::from_secs(1),
        ..PATIENCE
    };
    let arrival = Arrival::default();
    let slow = trickling(vec![Duration::from_millis(400); 3], &arrival, patience);
    let whole = slow.collect().await.expect("in time").to_bytes();
    assert_eq!((&whole[..], arrival.stopped()), (&b"xxx"[..], None));

    let patience = Patience {
        idle: Duration::from_millis(50),
        ..PATIENCE
    };
    let still = trickling(vec![Duration::from_secs(30)], &arrival, patience);
    assert_eq!(still.collect().await.err(), Some(Stop::Idle));
    assert_eq!(arrival.stopped(), Some(Stop::Idle));
}

#[tokio::test]
async fn a_body_may_not_trickle_for_ever() {
    let patience = Patience {
        whole: Duration::from_millis(100),
        ..PATIENCE
    };
    let arrival = Arrival::default();
    let trickle = trickling(vec![Duration::from_millis(10); 1000], &arrival, patience);
    assert_eq!(trickle.collect().await.err(), Some(Stop::TooLong));
}

#[tokio::test]
async fn what_was_wrong_is_left_beside_the_body() {
    let arrival = Arrival::default();
    let cut = stream::iter([
        Ok(Bytes::from_static(b"a")),
        Err(std::io::Error::other("cut")),
    ]);
    let body = ArrivingBody::new(Body::from_stream(cut), None, arrival.clone(), PATIENCE);
    assert_eq!(body.collect().await.err(), Some(Stop::Cut));
    assert_eq!(arrival.stopped(), Some(Stop::Cut));

    let arrival = Arrival::default();
    let large = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"ffffffff;"))]);
    let chunks = Chunks::of("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    let body = ArrivingBody::new(Body::from_stream(large), chunks, arrival.clone(), PATIENCE);
    assert_eq!(body.collect().await.err(), Some(Stop::LargeChunk));
}

#[tokio::test]
async fn sizes_are_known_unless_there_are_chunks() {
    let whole = ArrivingBody::new(Body::from("abc"), None, Arrival::default(), PATIENCE);
    assert_eq!(whole.size_hint().exact(), Some(3));
    let none = ArrivingBody::new(Body::empty(), None, Arrival::default(), PATIENCE);
    assert!(none.is_end_stream());
    let chunks = Chunks::of("STREAMING-UNSIGNED-PAYLOAD-TRAILER");
    let chunked = ArrivingBody::new(
        Body::from("0\r\n\r\n"),
        chunks,
        Arrival::default(),
        PATIENCE,
    );
    assert_eq!(chunked.size_hint().exact(), None);
    let whole = chunked.collect().await.expect("no content").to_bytes();
    assert_eq!(&whole[..], b"0\r\n\r\n");
}
