//! Signatures: published vectors, recorded requests of the official packages, and tampering.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::{Proven, SignedRequest, authenticate};
use crate::call::Failure;
use crate::gateway::body::Members;
use crate::gateway::limits::Limits;
use crate::gateway::stand_in::Keys;

/// A request that tests change one part of.
#[derive(Clone)]
struct Sample {
    method: &'static str,
    host: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: String,
    now_unix_ms: i64,
}

impl Sample {
    fn authenticate(&self) -> Result<Proven, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let limits = Limits::default();
        let members = Members::parse(self.body.as_bytes(), &limits)?;
        let request = SignedRequest {
            method: self.method,
            host: &self.host,
            path: &self.path,
            raw_query: &self.query,
            headers: &headers,
            body: self.body.as_bytes(),
            members: &members,
            whole_body: false,
        };
        authenticate(&request, &Keys, self.now_unix_ms, &limits)
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(own, _)| own != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn in_header(mut self, name: &str, from: &str, to: &str) -> Self {
        let (_, value) = self
            .headers
            .iter_mut()
            .find(|(own, _)| own == name)
            .unwrap();
        assert!(value.contains(from), "{value}");
        *value = value.replacen(from, to, 1);
        self
    }

    fn in_body(mut self, from: &str, to: &str) -> Self {
        assert!(self.body.contains(from), "{}", self.body);
        self.body = self.body.replacen(from, to, 1);
        self
    }
}

const SIGNATURE: &str = "eb9bb97292b2f3476da15303cb914a9c587084d3f1cc087970ed95e73192a590";

/// The TC3 vector of the protocol page.
fn tc3() -> Sample {
    let authorization = format!(
        "TC3-HMAC-SHA256 Credential=AKIDEXAMPLE/2023-11-14/tcb/tc3_request, \
         SignedParams=action;collectionname;envname;multi;query;querytype, \
         SignedHeaders=content-type;host;user-agent;x-client-timestamp;x-sdk-version;x-tcb-source, Signature={SIGNATURE}"
    );
    let headers = [
        ("content-type", "application/json"),
        ("user-agent", "tcb-node-sdk/3.18.3"),
        ("x-client-timestamp", "1700000000123"),
        ("x-sdk-version", "tcb-node-sdk/3.18.3"),
        ("x-tcb-source", ",not_scf"),
        ("x-timestamp", "1700000000"),
        ("x-signature-expires", "600"),
        ("authorization", &authorization),
    ];
    Sample {
        method: "POST",
        host: "db.example:8080".into(),
        path: "/admin".into(),
        query: "env=env-1&seqId=s1".into(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: r#"{"collectionName":"todo","query":"{\"_id\":\"a\"}","queryType":"DOC","multi":false,"action":"database.getDocument","envName":"env-1","wxCloudApiToken":""}"#.into(),
        now_unix_ms: 1_700_000_000_500,
    }
}

fn assert_refused(sample: &Sample, why: &str) -> String {
    let failure = sample.authenticate().expect_err(why);
    assert_eq!(
        failure.code, "SIGN_PARAM_INVALID",
        "{why}: {}",
        failure.message
    );
    assert!(
        !failure.message.contains("SKEXAMPLE") && !failure.message.contains(SIGNATURE),
        "{}",
        failure.message
    );
    failure.message
}

#[test]
fn the_tc3_vector_holds() {
    let proven = tc3().authenticate().unwrap();
    assert_eq!(
        proven,
        Proven {
            key_id: "AKIDEXAMPLE".into(),
            env: None
        }
    );
    // The older signer lists empty members too.
    assert!(
        tc3()
            .in_header("authorization", "querytype", "querytype;wxcloudapitoken")
            .authenticate()
            .is_ok()
    );
}

#[test]
fn any_change_of_a_signed_part_is_noticed() {
    let changes = [
        (
            "path",
            Sample {
                path: "/web".into(),
                ..tc3()
            },
        ),
        (
            "query",
            Sample {
                query: "env=env-2&seqId=s1".into(),
                ..tc3()
            },
        ),
        (
            "host",
            Sample {
                host: "db.example".into(),
                ..tc3()
            },
        ),
        ("member text", tc3().in_body("todo", "tod0")),
        ("member raw JSON", tc3().in_body("false", "true")),
        ("header", tc3().header("x-tcb-source", "elsewhere")),
        ("timestamp", tc3().header("x-timestamp", "1700000001")),
        (
            "signature",
            tc3().in_header("authorization", "eb9b", "eb9c"),
        ),
        (
            "signature length",
            tc3().in_header("authorization", SIGNATURE, "eb9b"),
        ),
        (
            "secret of another key",
            tc3().in_header("authorization", "AKIDEXAMPLE", "AKIDTEST"),
        ),
        (
            "unknown key",
            tc3().in_header("authorization", "AKIDEXAMPLE", "AKIDNOBODY"),
        ),
        (
            "text undefined",
            tc3().in_header("authorization", "AKIDEXAMPLE", "undefined"),
        ),
    ];
    let mut answers: Vec<String> = changes
        .iter()
        .map(|(why, sample)| assert_refused(sample, why))
        .collect();
    answers.dedup();
    assert_eq!(
        answers.len(),
        1,
        "an answer tells a wrong key from a wrong signature: {answers:?}"
    );
}

#[test]
fn members_that_are_acted_on_must_be_signed() {
    let unsigned = tc3().in_body(r#""wxCloudApiToken":"""#, r#""transactionId":"t""#);
    assert!(assert_refused(&unsigned, "unsigned member").contains("leaves out"));
    let shorter = tc3().in_header("authorization", "action;", "");
    assert!(assert_refused(&shorter, "unsigned action").contains("leaves out"));
    assert!(
        tc3()
            .in_body(r#""wxCloudApiToken":"""#, r#""eventId":"e""#)
            .authenticate()
            .is_ok()
    );
}

#[test]
fn signatures_count_in_their_time_only() {
    let at = |seconds: i64| Sample {
        now_unix_ms: (1_700_000_000 + seconds) * 1000,
        ..tc3()
    };
    assert!(at(899).authenticate().is_ok());
    assert!(at(-299).authenticate().is_ok());
    assert!(assert_refused(&at(902), "expired").contains("clock"));
    assert!(assert_refused(&at(-302), "from the future").contains("clock"));
    let greedy = Sample {
        now_unix_ms: 1_700_004_000_000,
        ..tc3()
    }
    .header("x-signature-expires", "99999999");
    assert_refused(&greedy, "a life longer than the maximum");
}

#[test]
fn malformed_credentials_are_refused() {
    assert!(assert_refused(&without_credentials(), "none").contains("no credentials"));
    for authorization in [
        "",
        "TC3-HMAC-SHA256",
        "TC3-HMAC-SHA256 ",
        "TC3-HMAC-SHA256 Credential=a",
        "Basic YTpi",
        "TC3-HMAC-SHA256 Credential=AKIDEXAMPLE/2023-11-15/tcb/tc3_request, SignedHeaders=host, Signature=00",
        "TC3-HMAC-SHA256 Credential=AKIDEXAMPLE/2023-11-14/scf/tc3_request, SignedParams=a, SignedHeaders=host, Signature=00",
        "TC3-HMAC-SHA256 Credential=AKIDEXAMPLE/2023-11-14/tcb/tc3_request, SignedHeaders=absent, Signature=00",
        "Bearer",
        "Bearer ",
        "Bearer undefined",
        "Bearer AKIDEXAMPLE",
        "Bearer AKIDEXAMPLE.",
        "Bearer .SKEXAMPLE",
        "Bearer AKIDNOBODY.00000000000000000000000000000000",
        "Bearer .00000000000000000000000000000000",
    ] {
        assert_refused(&tc3().header("authorization", authorization), authorization);
    }
    assert_refused(&tc3().header("x-timestamp", "-5"), "negative time");
    assert_refused(
        &tc3().header("x-timestamp", "18446744073709551615"),
        "huge time",
    );
}

fn without_credentials() -> Sample {
    let mut sample = tc3();
    sample.headers.retain(|(name, _)| name != "authorization");
    sample
}

#[test]
fn api_keys_are_id_and_secret() {
    let proven = tc3()
        .header("authorization", "Bearer AKIDLIMITED.SKLIMITED")
        .authenticate()
        .unwrap();
    assert_eq!(
        proven,
        Proven {
            key_id: "AKIDLIMITED".into(),
            env: Some("env-2".into())
        }
    );
}

#[test]
fn session_tokens_match_no_key_yet() {
    let sample = tc3().in_body(r#""wxCloudApiToken":"""#, r#""sessionToken":"t""#);
    assert!(assert_refused(&sample, "token").contains("session token"));
}

#[test]
fn the_cloud_api_flavour_covers_the_whole_body() {
    use hmac::{Hmac, Mac};
    use sha2::{Digest, Sha256};
    let hmac = |key: &[u8], text: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        mac.finalize().into_bytes().to_vec()
    };
    let body = r#"{"Limit":1}"#;
    for method in ["POST", "post"] {
        let canonical = format!(
            "{method}\n/\n\ncontent-type:application/json\nhost:db.example\n\ncontent-type;host\n{}",
            hex::encode(Sha256::digest(body))
        );
        let text = format!(
            "TC3-HMAC-SHA256\n1700000000\n2023-11-14/scf/tc3_request\n{}",
            hex::encode(Sha256::digest(&canonical))
        );
        let key = hmac(
            &hmac(&hmac(b"TC3SKEXAMPLE", "2023-11-14"), "scf"),
            "tc3_request",
        );
        let authorization = format!(
            "TC3-HMAC-SHA256 Credential=AKIDEXAMPLE/2023-11-14/scf/tc3_request, SignedHeaders=content-type;host, Signature={}",
            hex::encode(hmac(&key, &text))
        );
        let mut sample = tc3()
            .header("authorization", &authorization)
            .header("x-tc-action", "ListFunctions");
        sample.headers.retain(|(name, _)| name != "x-timestamp");
        sample = sample.header("x-tc-timestamp", "1700000000");
        sample.path = "/".into();
        sample.query = String::new();
        sample.body = body.into();
        assert!(sample.authenticate().is_ok(), "{method}");
        sample.body = r#"{"Limit":2}"#.into();
        assert_refused(&sample, "changed body");
    }
}

/// Requests as the unmodified packages sent them, one for each kind of signature.
#[test]
fn recorded_requests_of_the_packages_are_genuine() {
    let recorded: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("testdata/requests.json")).unwrap();
    assert!(recorded.len() >= 5);
    for request in recorded {
        let text = |name: &str| request[name].as_str().unwrap().to_owned();
        let client = text("client");
        let (path, query) = request["url"].as_str().unwrap().split_once('?').unwrap();
        let headers = request["headers"].as_object().unwrap();
        let sample = Sample {
            method: "POST",
            host: headers["host"].as_str().unwrap().into(),
            path: path.into(),
            query: query.into(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                .collect(),
            body: text("body"),
            now_unix_ms: request["receivedAtUnixMs"].as_i64().unwrap(),
        };
        let proven = sample
            .authenticate()
            .unwrap_or_else(|failure| panic!("{client}: {failure}"));
        assert_eq!(proven.key_id, "AKIDTEST");
        assert_refused(&sample.clone().in_body("compat", "compAt"), &client);
        assert_refused(
            &Sample {
                now_unix_ms: sample.now_unix_ms + 3_600_000,
                ..sample
            },
            &client,
        );
    }
}

#[test]
fn where_the_whole_body_must_be_signed_named_members_are_not_enough() {
    let sample = tc3();
    let limits = Limits::default();
    let members = Members::parse(sample.body.as_bytes(), &limits).unwrap();
    let headers: HeaderMap = sample
        .headers
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect();
    let request = SignedRequest {
        method: sample.method,
        host: &sample.host,
        path: &sample.path,
        raw_query: &sample.query,
        headers: &headers,
        body: sample.body.as_bytes(),
        members: &members,
        whole_body: true,
    };
    let refused = authenticate(&request, &Keys, sample.now_unix_ms, &limits).unwrap_err();
    assert!(
        refused.message.contains("as a whole"),
        "{}",
        refused.message
    );
}
