//! The S3 port of a real cluster: signatures and bodies, right and wrong ones, and the death of a node.

use crate::cluster::Cluster;
use crate::s3_client::{Answer, S3Client, hash};

/// The bucket of the cluster's only environment.
const BUCKET: &str = "/demo";
/// A content whose checksum is known.
const CONTENT: &[u8] = b"123456789";
const CONTENT_CRC32: &str = "y/Q5Jg==";
const CONTENT_MD5: &str = "25f9e794323b453885f5181f1b624d0b";
const MIB: usize = 1 << 20;

fn key(name: &str) -> String {
    format!("{BUCKET}/{name}")
}

fn put(client: &S3Client, name: &str, content: &[u8]) -> Answer {
    let answer = client.send("PUT", &key(name), &[], content);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

fn get(client: &S3Client, name: &str) -> Answer {
    client.send("GET", &key(name), &[], b"")
}

/// Different bytes each time, so that nothing is stored once for two.
fn content(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Steps: what is put through one node is read, listed and deleted through the others; ranges and conditions; who has not
/// signed, or not with the secret of the key, is refused, and so are addresses that have been changed or live too long.
#[test]
fn t80_signatures_open_buckets() {
    let cluster = Cluster::start(3, 19_500);
    let nodes = [1, 2, 3].map(|k| S3Client::of(&cluster, k));
    let stored = put(&nodes[0], "a/b.txt", CONTENT);
    assert_eq!(
        stored.header("etag"),
        Some(format!("\"{CONTENT_MD5}\"").as_str())
    );
    assert!(stored.header("x-amz-request-id").is_some());
    for node in &nodes {
        let read = get(node, "a/b.txt");
        assert_eq!((read.status, read.body.as_slice()), (200, CONTENT));
        let kind = read.header("content-type").unwrap();
        assert!(kind.starts_with("text/plain"), "{kind}");
        let part = node.send("GET", &key("a/b.txt"), &[("range", "bytes=2-4")], b"");
        assert_eq!(
            (part.status, part.body.as_slice()),
            (206, b"345".as_slice())
        );
        assert_eq!(part.header("content-range"), Some("bytes 2-4/9"));
        let same = format!("\"{CONTENT_MD5}\"");
        let unchanged = node.send(
            "GET",
            &key("a/b.txt"),
            &[("if-none-match", same.as_str())],
            b"",
        );
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
        let listed = node.send("GET", "/demo?list-type=2&prefix=a%2F", &[], b"");
        assert_eq!(listed.element("Key").as_deref(), Some("a/b.txt"));
        let buckets = node.send("GET", "/", &[], b"");
        assert_eq!(buckets.element("Name").as_deref(), Some("demo"));
        assert!(buckets.element("CreationDate").is_some());
    }
    let held = nodes[1].send("PUT", &key("a/b.txt"), &[("if-none-match", "*")], b"new");
    assert_eq!(held.refusal(), (412, "PreconditionFailed".to_owned()));

    let node = &nodes[0];
    let nobody = node.send_anonymously("GET", &key("a/b.txt"));
    assert_eq!(nobody.refusal(), (403, "AccessDenied".to_owned()));
    assert!(nobody.element("RequestId").is_some());
    let stranger = S3Client {
        secret: "another".to_owned(),
        ..node.clone()
    };
    assert_eq!(
        get(&stranger, "a/b.txt").refusal(),
        (403, "SignatureDoesNotMatch".to_owned())
    );
    let unknown = S3Client {
        key: "AKID0".to_owned(),
        ..node.clone()
    };
    assert_eq!(
        get(&unknown, "a/b.txt").refusal(),
        (403, "InvalidAccessKeyId".to_owned())
    );
    let elsewhere = node.send("GET", "/nowhere/a", &[], b"");
    assert_eq!(elsewhere.refusal(), (404, "NoSuchBucket".to_owned()));
    let cluster_bucket = node.send("GET", "/_cluster/keys", &[], b"");
    assert_eq!(cluster_bucket.status, 400, "{}", cluster_bucket.text());

    let address = node.presign(&key("a/b.txt"), 60);
    let read = node.send_anonymously("GET", &address);
    assert_eq!((read.status, read.body.as_slice()), (200, CONTENT));
    let changed = address.replace("b.txt", "c.txt");
    assert_eq!(
        node.send_anonymously("GET", &changed).refusal().1,
        "SignatureDoesNotMatch"
    );
    assert_eq!(
        node.send_anonymously("DELETE", &address).refusal().1,
        "SignatureDoesNotMatch"
    );
    let long = node.presign(&key("a/b.txt"), 8 * 24 * 3600);
    let refused = node.send_anonymously("GET", &long).refusal();
    assert_eq!(
        refused,
        (400, "AuthorizationQueryParametersError".to_owned())
    );

    assert_eq!(
        nodes[2].send("DELETE", &key("a/b.txt"), &[], b"").status,
        204
    );
    for node in &nodes {
        assert_eq!(
            get(node, "a/b.txt").refusal(),
            (404, "NoSuchKey".to_owned())
        );
    }
}

/// Steps: bodies in signed chunks and with checksums behind them arrive; each that is not what was signed or announced is
/// refused by name, and leaves what was there as it was; keys that are tricks are no keys.
#[test]
fn t81_bodies_are_what_was_signed() {
    let cluster = Cluster::start(1, 19_900);
    let node = S3Client::of(&cluster, 1);
    let large = content(3 * MIB, 7);
    let pieces: Vec<&[u8]> = large.chunks(64 << 10).collect();
    let answer = node.put_in_chunks(&key("chunks"), &pieces, |_| {});
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(hash(&get(&node, "chunks").body), hash(&large));
    assert_eq!(get(&node, "chunks").header("content-encoding"), None);
    let flip = |body: &mut Vec<u8>| body[2 * MIB] ^= 1;
    let tampered = node.put_in_chunks(&key("chunks"), &pieces, flip);
    assert_eq!(
        tampered.refusal(),
        (403, "SignatureDoesNotMatch".to_owned())
    );
    let cut = |body: &mut Vec<u8>| body.truncate(2 * MIB);
    let short = node.put_in_chunks(&key("chunks"), &pieces, cut);
    assert_eq!(short.refusal(), (400, "IncompleteBody".to_owned()));
    assert_eq!(
        hash(&get(&node, "chunks").body),
        hash(&large),
        "the old content"
    );

    let good = node.put_with_trailer(&key("trailer"), CONTENT, CONTENT_CRC32);
    assert_eq!(good.status, 200, "{}", good.text());
    assert_eq!(good.header("x-amz-checksum-crc32"), Some(CONTENT_CRC32));
    // One chunk of many MiB must not be held as a whole, and is not.
    let wrong = node.put_with_trailer(&key("trailer"), &content(20 * MIB, 9), CONTENT_CRC32);
    assert_eq!(wrong.refusal(), (400, "BadDigest".to_owned()));
    assert_eq!(get(&node, "trailer").body, CONTENT);

    let hashed = node.send_hashed("PUT", &key("hash"), &[], CONTENT, &hash(b"another"));
    assert_eq!(
        hashed.refusal(),
        (400, "XAmzContentSHA256Mismatch".to_owned())
    );
    for (header, value, code) in [
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==", "BadDigest"),
        ("content-md5", "x", "InvalidDigest"),
        (
            "x-amz-checksum-sha256",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "BadDigest",
        ),
        ("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=", "BadDigest"),
    ] {
        let refused = node.send("PUT", &key("hash"), &[(header, value)], CONTENT);
        assert_eq!(refused.refusal(), (400, code.to_owned()), "{header}");
    }
    assert_eq!(get(&node, "hash").status, 404);

    let long = "a".repeat(1025);
    for (name, code) in [
        ("a/../b", "InvalidArgument"),
        ("a//b", "InvalidArgument"),
        ("a%00b", "InvalidArgument"),
        (long.as_str(), "KeyTooLongError"),
    ] {
        let refused = node.send("PUT", &key(name), &[], CONTENT).refusal();
        assert_eq!(refused, (400, code.to_owned()), "{name:.20}");
    }
    let form = node.send(
        "POST",
        BUCKET,
        &[("content-type", "multipart/form-data; boundary=x")],
        b"--x--",
    );
    assert_eq!(form.refusal(), (501, "NotImplemented".to_owned()));
    for (header, value, code) in [
        ("x-amz-acl", "public-read", "AccessControlListNotSupported"),
        ("x-amz-server-side-encryption", "AES256", "NotImplemented"),
        ("x-amz-storage-class", "GLACIER", "InvalidStorageClass"),
        ("x-amz-tagging", "a=b", "NotImplemented"),
    ] {
        let refused = node.send("PUT", &key("wish"), &[(header, value)], CONTENT);
        assert_eq!(refused.refusal().1, code, "{header}");
    }
}

/// Steps: an upload whose parts go through three nodes is completed through one; asked again, it is told so again; then a
/// node dies, and everything is read through the others, while new objects are stored.
#[test]
fn t82_parts_through_all_nodes_and_a_death() {
    let cluster = Cluster::start(3, 19_800);
    let nodes = [1, 2, 3].map(|k| S3Client::of(&cluster, k));
    let begun = nodes[0].send("POST", &key("big?uploads="), &[], b"");
    let upload = begun
        .element("UploadId")
        .unwrap_or_else(|| panic!("{}", begun.text()));
    let parts = [content(5 * MIB, 11), content(6 * MIB, 12), content(MIB, 13)];
    let mut named = String::new();
    for (index, part) in parts.iter().enumerate() {
        let number = index + 1;
        let target = key(&format!("big?partNumber={number}&uploadId={upload}"));
        let stored = nodes[index].send("PUT", &target, &[], part);
        assert_eq!(stored.status, 200, "{}", stored.text());
        let etag = stored.header("etag").unwrap();
        named.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        ));
    }
    let target = key(&format!("big?uploadId={upload}"));
    let listed = nodes[2].send("GET", &target, &[], b"");
    assert_eq!(
        listed.text().matches("<Part>").count(),
        3,
        "{}",
        listed.text()
    );
    let body = format!("<CompleteMultipartUpload>{named}</CompleteMultipartUpload>");
    let completed = nodes[1].send("POST", &target, &[], body.as_bytes());
    let etag = completed
        .element("ETag")
        .unwrap_or_else(|| panic!("{}", completed.text()));
    assert!(etag.contains("-3"), "{etag}");
    let again = nodes[2].send("POST", &target, &[], body.as_bytes());
    assert_eq!(again.element("ETag"), Some(etag), "{}", again.text());
    let other = nodes[2].send(
        "POST",
        &key(&format!("other?uploadId={upload}")),
        &[],
        body.as_bytes(),
    );
    assert_eq!(other.refusal(), (404, "NoSuchUpload".to_owned()));

    let whole = hash(&parts.concat());
    cluster.kill(1);
    for node in &nodes[1..] {
        let read = get(node, "big");
        assert_eq!((read.status, hash(&read.body)), (200, whole.clone()));
        put(node, "after", CONTENT);
    }
    let range = [("range", "bytes=5242870-5242889")];
    let middle = nodes[2].send("GET", &key("big"), &range, b"");
    assert_eq!(middle.body, parts.concat()[5_242_870..=5_242_889]);
}
