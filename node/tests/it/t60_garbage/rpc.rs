//! What strangers, and clients with a key but without manners, send to the public gRPC surface.

use std::time::Duration;

use bson::{Bson, Document, doc};
use bytes::{Buf as _, BufMut as _, Bytes};
use rand::Rng as _;
use rand::rngs::StdRng;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use yunbase_client::auth::{Credentials, nonce};
use yunbase_client::proto::data_client::DataClient;
use yunbase_client::proto::{self, RequestFrame, request, response};

use super::bytes;
use crate::cluster::Cluster;

const EXECUTE: &str = "/yunbase.v1.Data/Execute";
const CALL: &str = "/yunbase.v1.Data/Call";
const RANDOM_MESSAGES: usize = 300;
const RANDOM_REQUESTS: usize = 600;
const FRAME_REQUESTS: u64 = 4000;
const OVERSIZED_BYTES: usize = 41 << 20;

/// Messages as they are, so that they may be anything.
#[derive(Clone, Copy, Default)]
pub(super) struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
    }
}

/// Sends one message to `path`.
pub(super) async fn send_raw(
    channel: &Channel,
    path: &'static str,
    request: Request<Vec<u8>>,
) -> Result<Vec<u8>, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = grpc.unary(request, path, Raw).await?;
    Ok(answer.into_inner())
}

struct Caller {
    channel: Channel,
    credentials: Credentials,
}

impl Caller {
    fn signed<T>(&self, method: &str, message: T) -> Request<T> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let value = self
            .credentials
            .authorization(method, now.unwrap().as_secs(), &nonce());
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", value.parse().unwrap());
        request
    }

    async fn execute(&self, op: Option<request::Op>) -> response::Result {
        let request = proto::Request {
            env: "demo".to_owned(),
            deadline_ms: 5000,
            op,
            ..proto::Request::default()
        };
        let answer = DataClient::new(self.channel.clone())
            .execute(self.signed(EXECUTE, request))
            .await;
        answer.unwrap().into_inner().result.unwrap()
    }
}

pub(super) async fn flood(cluster: &Cluster, rng: &mut StdRng) {
    let channel = Endpoint::from_shared(cluster.url(1)).unwrap();
    let text = |key: &str| cluster.json[key].as_str().unwrap().to_owned();
    let caller = Caller {
        channel: channel.connect().await.unwrap(),
        credentials: Credentials::SecretKey {
            secret_id: text("secretId"),
            secret_key: text("secretKey"),
        },
    };
    strangers(&caller).await;
    messages(&caller, rng).await;
    requests(&caller, rng).await;
    nesting(&caller).await;
    frames(&caller).await;
}

async fn strangers(caller: &Caller) {
    let long = "x".repeat(5000);
    for value in [
        "",
        "Bearer",
        "Bearer x",
        "Bearer x.y",
        "YB1-HMAC-SHA256 Credential=",
        &long,
    ] {
        let mut request = Request::new(Vec::new());
        request
            .metadata_mut()
            .insert("authorization", value.parse().unwrap());
        let refused = send_raw(&caller.channel, EXECUTE, request).await;
        assert_eq!(
            refused.unwrap_err().code(),
            Code::Unauthenticated,
            "{value}"
        );
    }
    for path in [
        EXECUTE,
        "/yunbase.v1.Cluster/Status",
        "/yunbase.v1.Cluster/JoinToken",
    ] {
        let refused = send_raw(&caller.channel, path, Request::new(Vec::new())).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated, "{path}");
    }
    let unknown = send_raw(
        &caller.channel,
        "/yunbase.v1.Data/Nonsense",
        Request::new(Vec::new()),
    );
    assert_eq!(unknown.await.unwrap_err().code(), Code::Unimplemented);
}

async fn messages(caller: &Caller, rng: &mut StdRng) {
    for _ in 0..RANDOM_MESSAGES {
        let count = rng.random_range(0..300);
        let message = bytes(rng, count);
        let answer = send_raw(
            &caller.channel,
            EXECUTE,
            caller.signed(EXECUTE, message.clone()),
        );
        // Most are no messages at all; the others name no environment or no operation.
        if let Err(status) = answer.await {
            assert!(
                matches!(status.code(), Code::Internal | Code::InvalidArgument),
                "{}: {status}",
                hex::encode(&message)
            );
        }
    }
    let oversized = caller.signed(EXECUTE, vec![0; OVERSIZED_BYTES]);
    let refused = send_raw(&caller.channel, EXECUTE, oversized).await;
    assert!(refused.is_err());
}

/// A value that may stand anywhere, often an operator where none belongs.
fn value(rng: &mut StdRng, depth: usize) -> Bson {
    match rng.random_range(0..if depth == 0 { 9 } else { 12 }) {
        0 => Bson::Null,
        1 => Bson::Int32(rng.random()),
        2 => Bson::Int64([i64::MIN, i64::MAX, 0, -1][rng.random_range(0..4)]),
        3 => Bson::Double([f64::NAN, f64::INFINITY, -0.0, 1e308][rng.random_range(0..4)]),
        4 => Bson::String(["", "\0", "$a", "(((", "a.b"][rng.random_range(0..5)].to_owned()),
        5 => Bson::MinKey,
        6 => Bson::Boolean(rng.random()),
        7 => Bson::DateTime(bson::DateTime::from_millis(rng.random())),
        8 => Bson::Binary(bson::Binary {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: bytes(rng, 5),
        }),
        9 => Bson::Array(
            (0..rng.random_range(0..4))
                .map(|_| value(rng, depth - 1))
                .collect(),
        ),
        _ => Bson::Document(document(rng, depth - 1)),
    }
}

fn document(rng: &mut StdRng, depth: usize) -> Document {
    const NAMES: [&str; 26] = [
        "_id",
        "a",
        "a.b",
        "a..b",
        "",
        ".",
        "$",
        "$set",
        "$inc",
        "$push",
        "$unset",
        "$rename",
        "$in",
        "$gt",
        "$regex",
        "$options",
        "$or",
        "$and",
        "$not",
        "$elemMatch",
        "$size",
        "$each",
        "$slice",
        "$expr",
        "$exists",
        "$nosuch",
    ];
    (0..rng.random_range(0..4))
        .map(|_| {
            let name = NAMES[rng.random_range(0..NAMES.len())];
            (name.to_owned(), value(rng, depth))
        })
        .collect()
}

/// BSON of a random document, one time in four damaged.
fn encoded(rng: &mut StdRng) -> Bytes {
    let mut encoded = document(rng, 3)
        .to_vec()
        .unwrap_or_else(|_| vec![5, 0, 0, 0, 0]);
    if rng.random_ratio(1, 4) {
        let at = rng.random_range(0..encoded.len());
        encoded[at] ^= rng.random_range(1..=255);
    }
    encoded.into()
}

async fn requests(caller: &Caller, rng: &mut StdRng) {
    let collection = "garbage".to_owned();
    caller
        .execute(Some(request::Op::CreateCollection(
            proto::CreateCollection {
                collection: collection.clone(),
            },
        )))
        .await;
    for number in 0..RANDOM_REQUESTS {
        let collection = collection.clone();
        let op = match number % 6 {
            0 => request::Op::Insert(proto::Insert {
                collection,
                documents: vec![encoded(rng)],
            }),
            1 => request::Op::Find(proto::Find {
                collection,
                filter: encoded(rng),
                projection: encoded(rng),
                sort: encoded(rng),
                skip: rng.random(),
                limit: Some(rng.random()),
                after: bytes(rng, 9).into(),
            }),
            2 => request::Op::Count(proto::Count {
                collection,
                filter: encoded(rng),
            }),
            3 => request::Op::Update(proto::Update {
                collection,
                filter: encoded(rng),
                update: encoded(rng),
                replace: rng.random(),
                upsert: rng.random(),
                multi: rng.random(),
                return_document: rng.random(),
                sort: encoded(rng),
            }),
            4 => request::Op::Aggregate(proto::Aggregate {
                collection,
                pipeline: vec![encoded(rng)],
            }),
            _ => request::Op::Remove(proto::Remove {
                collection,
                filter: encoded(rng),
                multi: false,
            }),
        };
        let shown = format!("{op:?}");
        check(caller.execute(Some(op)).await, &shown);
    }
    check(caller.execute(None).await, "no operation");
}

/// A success, or a failure with a code that says what was wrong with the request.
fn check(result: response::Result, shown: &str) {
    if let response::Result::Failure(failure) = result {
        let about_the_node = ["SYS_ERR", "SERVER_TIMEOUT", "RESOURCE_NOT_INITIAL", ""];
        assert!(
            !about_the_node.contains(&failure.code.as_str()) && !failure.message.is_empty(),
            "{shown}: {failure:?}"
        );
    }
}

/// Documents nested so deeply that a recursive reader would leave its stack.
async fn nesting(caller: &Caller) {
    for (name, depth) in [("a", 5000_usize), ("$and", 5000), ("$not", 20_000)] {
        let mut nested: Vec<u8> = vec![5, 0, 0, 0, 0];
        for _ in 0..depth {
            let length = i32::try_from(nested.len() + name.len() + 7).unwrap();
            let mut outer = length.to_le_bytes().to_vec();
            outer.push(3);
            outer.extend(name.as_bytes());
            outer.push(0);
            outer.append(&mut nested);
            outer.push(0);
            nested = outer;
        }
        let nested = Bytes::from(nested);
        let collection = "garbage".to_owned();
        let ops = [
            request::Op::Insert(proto::Insert {
                collection: collection.clone(),
                documents: vec![nested.clone()],
            }),
            request::Op::Count(proto::Count {
                collection: collection.clone(),
                filter: nested.clone(),
            }),
            request::Op::Aggregate(proto::Aggregate {
                collection: collection.clone(),
                pipeline: vec![nested.clone()],
            }),
            request::Op::Update(proto::Update {
                collection,
                filter: doc! {}.to_vec().unwrap().into(),
                update: nested,
                ..proto::Update::default()
            }),
        ];
        for op in ops {
            let result = caller.execute(Some(op)).await;
            assert!(
                matches!(result, response::Result::Failure(_)),
                "{depth} levels of {name}: {result:?}"
            );
            check(result, name);
        }
    }
}

/// One frame with thousands of requests: all are answered, in whatever order.
async fn frames(caller: &Caller) {
    let requests = (1..=FRAME_REQUESTS)
        .map(|id| proto::Request {
            id,
            env: if id % 2 == 0 { "demo" } else { "no such" }.to_owned(),
            op: Some(request::Op::ListCollections(proto::ListCollections {})),
            ..proto::Request::default()
        })
        .collect();
    let frame = RequestFrame { requests };
    let stream = futures::stream::iter([frame]);
    let mut answers = DataClient::new(caller.channel.clone())
        .call(caller.signed(CALL, stream))
        .await
        .unwrap()
        .into_inner();
    let mut ids = std::collections::BTreeSet::new();
    while ids.len() < FRAME_REQUESTS as usize {
        let frame = tokio::time::timeout(Duration::from_secs(10), answers.message()).await;
        let frame = frame.unwrap().unwrap().expect("an answer to each request");
        ids.extend(frame.responses.iter().map(|response| response.id));
    }
    assert_eq!(ids.last(), Some(&FRAME_REQUESTS));
}
