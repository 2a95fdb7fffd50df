//! What strangers send to the HTTP port.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::rngs::StdRng;

use super::bytes;

const ANSWER_MAX: Duration = Duration::from_secs(3);
const SLOW_CLIENTS: usize = 100;
const RANDOM_CONNECTIONS: usize = 60;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends `sent`, ends the sending side and returns the answer. A node that hangs up early is within its rights.
fn answer(address: &str, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    stream.set_write_timeout(Some(ANSWER_MAX)).unwrap();
    let _ = stream.write_all(sent);
    // A whole request says itself that it is the last; to hang up before its answer would be to forgo it.
    if !sent.starts_with(b"POST") || !sent.windows(17).any(|part| part == b"connection: close") {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    let began = Instant::now();
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!(
                "no answer to {:?} after {:?}: {error}",
                String::from_utf8_lossy(&sent[..sent.len().min(200)]),
                began.elapsed()
            ),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The status of an answer that there must be.
fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok());
    status.unwrap_or_else(|| panic!("no HTTP answer: {answer:?}"))
}

pub(super) fn flood(address: &str, rng: &mut StdRng) {
    broken_http(address, rng);
    broken_bodies(address, rng);
    broken_rest(address, rng);
    broken_http2(address, rng);
}

pub(super) fn broken_http(address: &str, rng: &mut StdRng) {
    for _ in 0..RANDOM_CONNECTIONS {
        let count = rng.random_range(1..3000);
        answer(address, &bytes(rng, count));
    }
    let long = "x".repeat(1 << 20);
    for bad in [
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "G\0T / HTTP/1.1\r\nhost: x\r\n\r\n".to_owned(),
        "POST /admin HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_owned(),
        "POST /admin HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n"
            .to_owned(),
        "POST /admin HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}"
            .to_owned(),
        format!("GET / HTTP/1.1\r\nhost: x\r\na: {long}\r\n\r\n"),
        format!("GET /{long} HTTP/1.1\r\nhost: x\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\nhost: x\r\n{}\r\n",
            "a: b\r\n".repeat(20_000)
        ),
    ] {
        let answer = answer(address, bad.as_bytes());
        // Hung up upon while still sending, a client may lose the answer.
        assert!(
            answer.is_empty() || (400..=505).contains(&status(&answer)),
            "{answer}"
        );
    }
    for unfinished in [
        "POST /admin HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{}",
        "POST /admin HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        "POST /admin HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n",
        "POST /admin HTTP/1.1\r\nhost: x",
    ] {
        answer(address, unfinished.as_bytes());
    }
}

/// Each is answered with HTTP 200 and a typed refusal, as the official clients expect.
fn broken_bodies(address: &str, rng: &mut StdRng) {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let digits = "9".repeat(100_000);
    let action = "database.queryDocument";
    let mut bodies: Vec<Vec<u8>> = [
        "",
        "null",
        "{",
        "[]",
        "{}",
        "{\"action\":1}",
        "{\"action\":{\"$numberLong\":\"x\"}}",
        "{\"action\":\"no.such\"}",
        "{\"action\":\"database.queryDocument\",\"action\":\"x\"}",
    ]
    .map(|body| body.as_bytes().to_vec())
    .into();
    bodies.push(deep.clone().into_bytes());
    bodies.push(format!("{{\"action\":\"{action}\",\"query\":{deep}}}").into_bytes());
    bodies.push(format!("{{\"action\":\"{action}\",\"limit\":{digits}}}").into_bytes());
    bodies.push(format!("{{\"action\":\"{action}\",\"limit\":1e{digits}}}").into_bytes());
    bodies.push(
        format!("{{\"action\":\"{action}\",\"limit\":\"many\",\"query\":7,\"env\":[]}}")
            .into_bytes(),
    );
    bodies.push(vec![b' '; 17 << 20]);
    for _ in 0..RANDOM_CONNECTIONS {
        let count = rng.random_range(0..2000);
        bodies.push(bytes(rng, count));
    }
    let signatures = [
        "",
        "authorization: TC3-HMAC-SHA256 Credential=x\r\n",
        "authorization: TC3-HMAC-SHA256 Credential=AKID/2020-01-01/tcb/tc3_request, SignedHeaders=host, Signature=00\r\nx-timestamp: never\r\n",
        "authorization: Bearer \u{7f}x\r\n",
    ];
    for body in bodies {
        let headers = signatures[rng.random_range(0..3)];
        let door = ["/admin", "/web"][rng.random_range(0..2)];
        let answer = answer(address, &post(door, headers, &body));
        if answer.is_empty() && body.len() > 1 << 20 {
            continue;
        }
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!(status(&answer), 200, "{shown}: {answer}");
        assert!(
            answer.contains("\"code\"") && answer.contains("\"requestId\""),
            "{shown}: {answer}"
        );
        assert!(!answer.contains("SYS_ERR"), "{shown}: {answer}");
    }
    for path in ["/", "/no/such", "/admin/%00", "/yunbase.v1.Data/Execute"] {
        let answer = answer(address, &post(path, signatures[3], b"{}"));
        assert!(status(&answer) < 500, "{path}: {answer}");
    }
}

/// Each is answered with a status of its own and a typed refusal.
fn broken_rest(address: &str, rng: &mut StdRng) {
    let prefix = "/v1/database/instances/(default)/databases/(default)";
    let deep = format!(
        "{{\"data\":{}{}}}",
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    let long = "x".repeat(8000);
    let paths = [
        "/collections".to_owned(),
        "/collections/c/documents".to_owned(),
        "/collections/c/documents?limit=9999999999999999999999&query=%7B%22a".to_owned(),
        format!("/collections/{long}/documents/{long}"),
        "/collections/%00%ff/documents/%".to_owned(),
        "/transactions/x/commit".to_owned(),
        "/commands".to_owned(),
        "/no/such".to_owned(),
    ];
    let credentials = [
        "",
        "authorization: Bearer\r\n",
        "authorization: Bearer eyJ.e30.x\r\n",
        "authorization: Bearer AKID.x\r\nx-http-method-override: PATCH\r\n",
        "authorization: TC3-HMAC-SHA256 Credential=x\r\n",
    ];
    for round in 0..RANDOM_CONNECTIONS {
        let body = match round % 3 {
            0 => deep.clone().into_bytes(),
            1 => b"{\"data\":[{}],\"commands\":[{}]}".to_vec(),
            _ => {
                let count = rng.random_range(0..2000);
                bytes(rng, count)
            }
        };
        let path = &paths[rng.random_range(0..paths.len())];
        let headers = credentials[rng.random_range(0..credentials.len())];
        let answer = answer(address, &post(&format!("{prefix}{path}"), headers, &body));
        assert!((400..500).contains(&status(&answer)), "{path}: {answer}");
        assert!(
            answer.contains("\"code\"") && answer.contains("\"requestId\""),
            "{path}: {answer}"
        );
    }
    let preflight = "OPTIONS /v1/database/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\norigin: \u{7f}\r\naccess-control-request-headers: \u{7f},,\r\n\r\n";
    let answer = answer(address, preflight.as_bytes());
    assert!(answer.is_empty() || status(&answer) < 500, "{answer}");
}

fn broken_http2(address: &str, rng: &mut StdRng) {
    for _ in 0..RANDOM_CONNECTIONS {
        let mut sent = PREFACE.to_vec();
        for _ in 0..rng.random_range(0..20) {
            // A frame's head is length, kind, flags and stream; each is likely to be wrong.
            let length = rng.random_range(0..64_u8);
            sent.extend([0, 0, length, rng.random_range(0..12), rng.random()]);
            sent.extend(rng.random_range(0..5_u32).to_be_bytes());
            sent.extend(bytes(rng, usize::from(length)));
        }
        answer(address, &sent);
    }
}

/// Clients that begin a request and never go on.
pub(super) fn slow_headers(address: &str) -> Vec<TcpStream> {
    let begin = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost").unwrap();
        stream
    };
    (0..SLOW_CLIENTS).map(|_| begin()).collect()
}

/// Each must have been hung up upon by `deadline`.
pub(super) fn all_are_cut_off(clients: Vec<TcpStream>, deadline: Instant) {
    for mut client in clients {
        let left = deadline.saturating_duration_since(Instant::now());
        let patience = left.max(Duration::from_millis(100));
        client.set_read_timeout(Some(patience)).unwrap();
        let mut answer = Vec::new();
        let ended = client.read_to_end(&mut answer);
        let reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(
            ended.as_ref().map_or_else(reset, |_| true),
            "a slow client holds its connection: {ended:?}"
        );
    }
}
