//! As much of an S3 client as shows what a node makes of signatures and bodies, right and wrong ones. Its official
//! clients are tested beside it, in JavaScript.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::cluster::Cluster;

const ANSWER_MAX: Duration = Duration::from_secs(30);
const REGION: &str = "us-east-1";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A key, and a node to use it at.
#[derive(Clone)]
pub(crate) struct S3Client {
    pub(crate) address: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (this, value) = line.split_once(':')?;
            this.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What stands in the first element of this name.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        let (value, _) = rest.split_once(&format!("</{name}>"))?;
        Some(value.to_owned())
    }

    /// The status and the code of an error.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, self.element("Code").unwrap_or_default())
    }
}

/// A signature as the first link of a chain of chunks.
struct Signed {
    authorization: String,
    signature: String,
    scope: String,
    date: String,
    key: Vec<u8>,
}

impl S3Client {
    /// At node `k` of a cluster, with its first key.
    pub(crate) fn of(cluster: &Cluster, k: usize) -> Self {
        let text = |name: &str| cluster.json[name].as_str().unwrap().to_owned();
        let node = &cluster.json["nodes"][k - 1];
        Self {
            address: node["s3"].as_str().unwrap().to_owned(),
            key: text("secretId"),
            secret: text("secretKey"),
        }
    }

    /// Sends a request whose body is covered by its signature.
    pub(crate) fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.send_hashed(method, target, headers, body, &hash(body))
    }

    /// Sends a request that says this of its body.
    pub(crate) fn send_hashed(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        content_sha256: &str,
    ) -> Answer {
        let signed = self.sign(method, target, content_sha256);
        let mut head = self.head(method, target, &signed, content_sha256);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        self.exchange(
            &format!("{head}content-length: {}\r\n\r\n", body.len()),
            body,
        )
    }

    /// Sends a request that nobody has signed.
    pub(crate) fn send_anonymously(&self, method: &str, target: &str) -> Answer {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            self.address
        );
        self.exchange(&head, b"")
    }

    /// Puts an object in signed chunks; `tamper` changes the body on its way.
    pub(crate) fn put_in_chunks(
        &self,
        target: &str,
        chunks: &[&[u8]],
        tamper: impl FnOnce(&mut Vec<u8>),
    ) -> Answer {
        let form = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
        let signed = self.sign("PUT", target, form);
        let mut before = signed.signature.clone();
        let mut body = Vec::new();
        for chunk in chunks.iter().copied().chain([b"".as_slice()]) {
            let text = format!(
                "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{before}\n{}\n{}",
                signed.date,
                signed.scope,
                hash(b""),
                hash(chunk)
            );
            before = hex::encode(hmac(&signed.key, text.as_bytes()));
            body.extend_from_slice(
                format!("{:x};chunk-signature={before}\r\n", chunk.len()).as_bytes(),
            );
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        tamper(&mut body);
        let content: usize = chunks.iter().map(|chunk| chunk.len()).sum();
        let head = self.head("PUT", target, &signed, form);
        let head = format!(
            "{head}content-encoding: aws-chunked\r\nx-amz-decoded-content-length: {content}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.exchange(&head, &body)
    }

    /// Puts an object as one unsigned chunk with a CRC32 behind it.
    pub(crate) fn put_with_trailer(&self, target: &str, content: &[u8], crc32: &str) -> Answer {
        let form = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
        let signed = self.sign("PUT", target, form);
        let mut body = format!("{:x}\r\n", content.len()).into_bytes();
        body.extend_from_slice(content);
        body.extend_from_slice(format!("\r\n0\r\nx-amz-checksum-crc32:{crc32}\r\n\r\n").as_bytes());
        let head = self.head("PUT", target, &signed, form);
        let head = format!(
            "{head}content-encoding: aws-chunked\r\nx-amz-trailer: x-amz-checksum-crc32\r\nx-amz-decoded-content-length: {}\r\ncontent-length: {}\r\n\r\n",
            content.len(),
            body.len()
        );
        self.exchange(&head, &body)
    }

    /// An address that reads an object for so many seconds.
    pub(crate) fn presign(&self, path: &str, seconds: u64) -> String {
        let (date, day) = now();
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let credential = format!("{}/{scope}", self.key).replace('/', "%2F");
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={date}&X-Amz-Expires={seconds}&X-Amz-SignedHeaders=host"
        );
        let canonical = format!(
            "GET\n{path}\n{query}\nhost:{}\n\nhost\n{UNSIGNED}",
            self.address
        );
        let signature = self.signature(&canonical, &date, &day, &scope).1;
        format!("{path}?{query}&X-Amz-Signature={signature}")
    }

    fn head(&self, method: &str, target: &str, signed: &Signed, content_sha256: &str) -> String {
        format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nx-amz-date: {}\r\nx-amz-content-sha256: {content_sha256}\r\nauthorization: {}\r\n",
            self.address, signed.date, signed.authorization
        )
    }

    /// Signs a request; its query must be sorted and encoded already.
    fn sign(&self, method: &str, target: &str, content_sha256: &str) -> Signed {
        let (date, day) = now();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<String> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| match pair.contains('=') {
                true => pair.to_owned(),
                false => format!("{pair}="),
            })
            .collect();
        let names = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{}\nhost:{}\nx-amz-content-sha256:{content_sha256}\nx-amz-date:{date}\n\n{names}\n{content_sha256}",
            query.join("&"),
            self.address
        );
        let scope = format!("{day}/{REGION}/s3/aws4_request");
        let (key, signature) = self.signature(&canonical, &date, &day, &scope);
        Signed {
            authorization: format!(
                "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
                self.key
            ),
            signature,
            scope,
            date,
            key,
        }
    }

    fn signature(&self, canonical: &str, date: &str, day: &str, scope: &str) -> (Vec<u8>, String) {
        let text = format!(
            "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
            hash(canonical.as_bytes())
        );
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in [day, REGION, "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let signature = hex::encode(hmac(&key, text.as_bytes()));
        (key, signature)
    }

    /// A node may answer and hang up before it has read all of a body that it refuses.
    pub(crate) fn exchange(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        stream.set_write_timeout(Some(ANSWER_MAX)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert!(!answer.is_empty(), "no answer to {head}: {error}");
        }
        let end = answer
            .windows(4)
            .position(|part| part == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no HTTP answer to {head}"));
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head,
            body: answer[end + 4..].to_vec(),
        }
    }
}

pub(crate) fn hash(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// The time as signatures write it, and its day.
fn now() -> (String, String) {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let (mut year, mut day) = (1970, seconds / 86_400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    let february = 28 + u64::from(is_leap(year));
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let date = format!("{year:04}{month:02}{:02}", day + 1);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    (format!("{date}T{hour:02}{minute:02}{second:02}Z"), date)
}
