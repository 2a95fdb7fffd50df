//! A bare HTTP client for files: what it sends is exactly what a test says, also where that is wrong.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of an XML error, which must have all four members.
    pub(crate) fn code(&self) -> String {
        let text = self.text();
        for member in ["Code", "Message", "RequestId", "TraceId"] {
            assert!(
                text.contains(&format!("<{member}>")),
                "{}: {text}",
                self.status
            );
        }
        let code = text.split("<Code>").nth(1).unwrap();
        code.split("</Code>").next().unwrap().to_owned()
    }
}

/// Sends one request to `host` and reads the answer; `bytes` are everything behind the headers.
pub(crate) fn send(host: &str, line: &str, headers: &[(&str, &str)], bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(host).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut head = format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // A refusal may come before all is written.
    let _ = stream.write_all(bytes);
    read(stream, line.starts_with("HEAD "))
}

fn read(stream: TcpStream, is_head: bool) -> Answer {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; if is_head || status == 304 { 0 } else { length }];
    reader.read_exact(&mut body).unwrap();
    Answer {
        status,
        headers,
        body,
    }
}

/// A request with a body of known length.
pub(crate) fn send_body(host: &str, line: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let length = body.len().to_string();
    let headers: Vec<_> = headers
        .iter()
        .copied()
        .chain([("content-length", length.as_str())])
        .collect();
    send(host, line, &headers, body)
}

/// `http://host:port/rest` as host and rest.
pub(crate) fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap();
    rest.split_at(rest.find('/').unwrap())
}

/// What JavaScript's `encodeURI` does to the characters that the tests use.
pub(crate) fn encode_uri(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'%' | b' ' | b'"' | 0x80..=0xff => format!("%{byte:02X}"),
            plain => char::from(plain).to_string(),
        })
        .collect()
}

/// Whoever asks a cluster for addresses.
pub(crate) struct Asker<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) token: String,
}

impl<'a> Asker<'a> {
    pub(crate) fn administrator(cluster: &'a Cluster) -> Self {
        let half = |name: &str| cluster.json[name].as_str().unwrap().to_owned();
        Self {
            token: format!("{}.{}", half("secretId"), half("secretKey")),
            cluster,
        }
    }

    /// A user who signs up.
    pub(crate) fn user(cluster: &'a Cluster, name: &str) -> Self {
        let body = json!({ "username": name, "password": "correct-horse-1" }).to_string();
        let env = cluster.json["env"].as_str().unwrap();
        let line = format!("POST /auth/v1/signup?client_id={env}");
        let url = cluster.url(1);
        let host = url.strip_prefix("http://").unwrap();
        let answer = send_body(
            host,
            &line,
            &[("content-type", "application/json")],
            body.as_bytes(),
        );
        let credentials: Value = serde_json::from_slice(&answer.body).unwrap();
        Self {
            token: credentials["access_token"].as_str().unwrap().to_owned(),
            cluster,
        }
    }

    /// A call of the REST of files through node `k`.
    pub(crate) fn call(&self, k: usize, name: &str, elements: &Value) -> Value {
        let env = self.cluster.json["env"].as_str().unwrap();
        let url = self.cluster.url(k);
        let host = url.strip_prefix("http://").unwrap();
        let authorization = format!("Bearer {}", self.token);
        let answer = send_body(
            host,
            &format!("POST /v1/storages/{name}?env={env}"),
            &[("authorization", authorization.as_str())],
            elements.to_string().as_bytes(),
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// What is needed to upload to `path` through node `k`.
    pub(crate) fn upload_info(&self, k: usize, path: &str) -> Value {
        self.call(k, "get-objects-upload-info", &json!([{ "objectId": path }]))[0].clone()
    }

    /// The address to read `path` from through node `k`, for `life_s` seconds.
    pub(crate) fn link(&self, k: usize, path: &str, life_s: u64) -> String {
        let env = self.cluster.json["env"].as_str().unwrap();
        let wanted =
            json!([{ "cloudObjectId": format!("cloud://{env}.{env}/{path}"), "maxAge": life_s }]);
        let answer = self.call(k, "get-objects-download-info", &wanted);
        let url = answer[0]["downloadUrl"].as_str();
        encode_uri(url.unwrap_or_else(|| panic!("{answer}")))
    }

    /// Uploads `content` by PUT.
    pub(crate) fn put(&self, k: usize, path: &str, content: &[u8]) -> Answer {
        let info = self.upload_info(k, path);
        let url = info["uploadUrl"]
            .as_str()
            .unwrap_or_else(|| panic!("{info}"));
        let (host, target) = split(url);
        let ticket = info["authorization"].as_str().unwrap();
        send_body(
            host,
            &format!("PUT {target}"),
            &[("authorization", ticket)],
            content,
        )
    }
}
