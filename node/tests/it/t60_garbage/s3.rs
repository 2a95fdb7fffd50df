//! What strangers, and holders of keys, send to the S3 port.

use rand::Rng as _;
use rand::rngs::StdRng;

use super::{bytes, http};
use crate::s3_client::{Answer, S3Client};

const ROUNDS: usize = 60;

pub(super) fn flood(client: &S3Client, rng: &mut StdRng) {
    http::broken_http(&client.address, rng);
    strangers(client, rng);
    holders_of_keys(client, rng);
}

/// A refusal by name, and not by an accident.
fn refused(answer: &Answer, what: &str) {
    let (status, code) = answer.refusal();
    assert!((400..=501).contains(&status), "{what}: {status}");
    assert_ne!(status, 500, "{what}: {}", answer.text());
    assert!(!code.is_empty(), "{what}: {}", answer.text());
}

fn strangers(client: &S3Client, rng: &mut StdRng) {
    let long = "x".repeat(6000);
    let credentials = [
        String::new(),
        "authorization: AWS4-HMAC-SHA256\r\n".to_owned(),
        "authorization: AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=;;, Signature=0\r\n".to_owned(),
        format!("authorization: AWS4-HMAC-SHA256 Credential={long}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature={long}\r\n"),
        "authorization: AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=00\r\nx-amz-date: never\r\n".to_owned(),
        "authorization: AWS AKID:AAAA\r\n".to_owned(),
        "x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n".to_owned(),
        "content-type: multipart/form-data; boundary=\"\r\n".to_owned(),
    ];
    let targets = [
        "/",
        "/demo",
        "/demo/a",
        "/demo/a?X-Amz-Signature=0",
        "/demo/a?X-Amz-Signature=0&X-Amz-Algorithm=x&X-Amz-Credential=/////&X-Amz-Date=0&X-Amz-Expires=-1&X-Amz-SignedHeaders=;",
        "/demo/a?Signature=0&AWSAccessKeyId=x&Expires=99999999999999999999",
        "/demo/%ff%00?uploadId=%ff",
        "//demo//",
        "/demo?%zz=%&list-type=2&max-keys=99999999999999999999",
        "/demo?delete",
    ];
    for _ in 0..ROUNDS {
        let method = ["GET", "PUT", "POST", "DELETE", "PATCH", "BREW"][rng.random_range(0..6)];
        let target = targets[rng.random_range(0..targets.len())];
        let credential = &credentials[rng.random_range(0..credentials.len())];
        let count = rng.random_range(0..2000);
        let body = bytes(rng, count);
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{credential}content-length: {}\r\n\r\n",
            body.len()
        );
        refused(&client.exchange(&head, &body), &head);
    }
}

fn holders_of_keys(client: &S3Client, rng: &mut StdRng) {
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    let entities = format!(
        "<!DOCTYPE x [<!ENTITY a \"{}\">]><Delete><Object><Key>&a;&a;</Key></Object></Delete>",
        "x".repeat(1000)
    );
    let many = format!(
        "<Delete>{}</Delete>",
        "<Object><Key>a</Key></Object>".repeat(1001)
    );
    // One byte more than is read, so that all of it is: who is hung up upon while still sending may lose the answer.
    let large = vec![b' '; (4 << 20) + 1];
    for target in ["/demo?delete=", "/demo/a?uploadId=u", "/demo/a?acl="] {
        let method = if target.ends_with("acl=") {
            "PUT"
        } else {
            "POST"
        };
        for body in [
            b"".as_slice(),
            b"<",
            b"<Delete/>",
            b"<CompleteMultipartUpload><Part><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>",
            deep.as_bytes(),
            many.as_bytes(),
            large.as_slice(),
        ] {
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            refused(&client.send(method, target, &[], body), &format!("{target} {shown}"));
        }
        let count = rng.random_range(1..2000);
        refused(
            &client.send(method, target, &[], &bytes(rng, count)),
            target,
        );
    }
    let answer = client.send("POST", "/demo?delete=", &[], entities.as_bytes());
    assert!(answer.status < 500, "{}", answer.text());
    for (name, value) in [
        ("x-amz-copy-source", "demo"),
        (
            "x-amz-copy-source",
            "arn:aws:s3:us-east-1:123456789012:accesspoint/x/object/y",
        ),
        ("x-amz-copy-source", "%ff/%00"),
        ("if-match", "\"unfinished"),
        ("expires", "tomorrow"),
        ("x-amz-checksum-crc32", "AAAAAA=="),
    ] {
        let answer = client.send("PUT", "/demo/garbage", &[(name, value)], b"x");
        refused(&answer, &format!("{name}: {value}"));
    }
    for target in [
        "/demo/none?partNumber=0",
        "/demo?list-type=2&max-keys=-1",
        "/demo?continuation-token=%25&list-type=2",
        "/demo/none?uploadId=..%2F..%2Fx",
    ] {
        refused(&client.send("GET", target, &[], b""), target);
    }
}
