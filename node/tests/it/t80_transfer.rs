//! Files over HTTP through a real cluster: three forms of upload, reads with ranges and conditions, and everything that
//! comes with a wrong address.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::transfer_client::{Answer, Asker, send, send_body, split};

fn get(url: &str, headers: &[(&str, &str)]) -> Answer {
    let (host, target) = split(url);
    send(host, &format!("GET {target}"), headers, b"")
}

/// A form with these fields and a file.
fn form(fields: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part =
            format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    body.extend_from_slice(b"--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"x\"\r\ncontent-type: text/plain\r\n\r\n");
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--B--\r\n");
    body
}

const FORM: (&str, &str) = ("content-type", "multipart/form-data; boundary=B");

/// Content that no two chunks of are the same.
fn content(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Steps: each form of upload through one node, read back through another; then everything about reads; then everything
/// that must be refused.
#[test]
fn t80_files_over_http() {
    let cluster = Cluster::start(3, 19_700);
    uploads_have_three_forms(&cluster);
    names_survive(&cluster);
    reads_have_ranges_and_conditions(&cluster);
    wrong_addresses_open_nothing(&cluster);
    wrong_uploads_leave_nothing(&cluster);
    tricks_with_paths_are_refused(&cluster);
    rules_hold(&cluster);
}

fn uploads_have_three_forms(cluster: &Cluster) {
    let root = Asker::administrator(cluster);
    let text = b"some text";
    let check = |path: &str, k: usize| {
        let read = get(&root.link(k, path, 60), &[]);
        assert_eq!(
            (read.status, read.body.as_slice()),
            (200, &text[..]),
            "{path}"
        );
    };

    let stored = root.put(1, "forms/put.txt", text);
    assert_eq!((stored.status, stored.body.len()), (200, 0));
    check("forms/put.txt", 2);

    // Without a length, as newer server packages send it.
    let info = root.upload_info(2, "forms/chunked.txt");
    let (host, target) = split(info["uploadUrl"].as_str().unwrap());
    let headers = [
        ("signature", info["authorization"].as_str().unwrap()),
        ("transfer-encoding", "chunked"),
    ];
    let pieces = b"5\r\nsome \r\n4\r\ntext\r\n0\r\n\r\n";
    let stored = send(host, &format!("PUT {target}"), &headers, pieces);
    assert_eq!(
        (stored.status, stored.body.len()),
        (200, 0),
        "{}",
        stored.text()
    );
    check("forms/chunked.txt", 3);

    for (asked, status) in [(None, 204), (Some("200"), 200), (Some("201"), 201)] {
        let path = format!("forms/post-{status}.txt");
        let info = root.upload_info(3, &path);
        let (host, target) = split(info["uploadUrl"].as_str().unwrap());
        let mut fields = vec![
            ("key", path.as_str()),
            ("Signature", info["authorization"].as_str().unwrap()),
            ("x-cos-meta-fileid", "any"),
        ];
        fields.extend(asked.map(|asked| ("success_action_status", asked)));
        let stored = send_body(
            host,
            &format!("POST {target}"),
            &[FORM],
            &form(&fields, text),
        );
        assert_eq!(
            (stored.status, stored.body.len()),
            (status, 0),
            "{}",
            stored.text()
        );
        check(&path, 1);
    }

    // Mini Programs send nothing but the file.
    let info = root.upload_info(1, "forms/mini.txt");
    let (host, target) = split(info["uploadUrl"].as_str().unwrap());
    let ticket = ("x-cos-security-token", info["token"].as_str().unwrap());
    let stored = send_body(
        host,
        &format!("POST {target}"),
        &[FORM, ticket],
        &form(&[], text),
    );
    assert_eq!(stored.status, 204);
    check("forms/mini.txt", 2);
}

fn names_survive(cluster: &Cluster) {
    let root = Asker::administrator(cluster);
    for path in [
        "图片/一 二 🙂.png",
        "100%.txt",
        "a%41b",
        "q?x=1#y",
        "it's (1)!*;:@,$&=+.txt",
    ] {
        assert_eq!(root.put(1, path, path.as_bytes()).status, 200, "{path}");
        let read = get(&root.link(2, path, 60), &[]);
        assert_eq!((read.status, read.text()), (200, path.to_owned()));
    }
}

fn reads_have_ranges_and_conditions(cluster: &Cluster) {
    let root = Asker::administrator(cluster);
    let bytes = content(3_000_000);
    assert_eq!(root.put(1, "read/large.bin", &bytes).status, 200);
    let url = root.link(2, "read/large.bin", 60);
    let whole = get(&url, &[]);
    assert_eq!(whole.status, 200);
    assert!(whole.body == bytes, "the content");
    for (header, value) in [
        ("accept-ranges", "bytes"),
        ("content-length", "3000000"),
        ("content-type", "application/octet-stream"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox"),
    ] {
        assert_eq!(whole.headers[header], value);
    }
    let (host, target) = split(&url);
    let head = send(host, &format!("HEAD {target}"), &[], b"");
    assert_eq!(
        (head.status, head.headers["content-length"].as_str()),
        (200, "3000000")
    );

    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=1048570-1048580", 1_048_570..1_048_581),
        ("bytes=2999990-", 2_999_990..3_000_000),
        ("bytes=-5", 2_999_995..3_000_000),
    ] {
        let part = get(&url, &[("range", range)]);
        assert_eq!(part.status, 206, "{range}");
        assert!(part.body == bytes[expected.clone()], "{range}");
        let place = format!("bytes {}-{}/3000000", expected.start, expected.end - 1);
        assert_eq!(part.headers["content-range"], place);
    }
    assert_eq!(get(&url, &[("range", "bytes=0-1,5-6")]).status, 200);
    let none = get(&url, &[("range", "bytes=3000000-")]);
    assert_eq!((none.status, none.code().as_str()), (416, "InvalidRange"));
    assert_eq!(none.headers["content-range"], "bytes */3000000");

    let (etag, date) = (
        whole.headers["etag"].as_str(),
        whole.headers["last-modified"].as_str(),
    );
    for (name, value, status) in [
        ("if-none-match", etag, 304),
        ("if-none-match", "\"other\"", 200),
        ("if-modified-since", date, 304),
        ("if-match", etag, 200),
        ("if-match", "\"other\"", 412),
    ] {
        let answer = get(&url, &[(name, value)]);
        assert_eq!(answer.status, status, "{name}: {value}");
        assert_eq!(answer.body.is_empty(), status == 304);
    }
    for (value, status) in [(etag, 206), ("\"other\"", 200)] {
        assert_eq!(
            get(&url, &[("range", "bytes=0-1"), ("if-range", value)]).status,
            status
        );
    }
    // Another content has another etag, at the same address.
    assert_eq!(root.put(3, "read/large.bin", b"small").status, 200);
    let read = get(&url, &[("if-none-match", etag)]);
    assert_eq!((read.status, read.text()), (200, "small".to_owned()));
    let saved = get(&format!("{url}&download=a.txt"), &[]);
    assert_eq!(
        saved.headers["content-disposition"],
        "attachment; filename*=UTF-8''a%2Etxt"
    );

    assert_eq!(root.put(1, "read/empty", b"").status, 200);
    let empty = get(&root.link(2, "read/empty", 60), &[]);
    assert_eq!(
        (empty.status, empty.headers["content-length"].as_str()),
        (200, "0")
    );
    assert_eq!(
        get(&root.link(2, "read/empty", 60), &[("range", "bytes=0-")]).status,
        416
    );
}

fn wrong_addresses_open_nothing(cluster: &Cluster) {
    let root = Asker::administrator(cluster);
    for path in ["wrong/a", "wrong/b"] {
        assert_eq!(root.put(1, path, b"x").status, 200);
    }
    let url = root.link(1, "wrong/a", 60);
    let (address, query) = url.split_once('?').unwrap();
    let (sign, until) = query.split_once("&t=").unwrap();
    let other = if sign.ends_with('0') { '1' } else { '0' };
    let forged = format!("{}{other}", &sign[..sign.len() - 1]);
    let later = until.parse::<i64>().unwrap() + 1000;
    for wrong in [
        format!("{address}?{forged}&t={until}"),
        format!("{address}?{sign}&t={later}"),
        format!("{address}?{sign}&t=soon"),
        format!("{address}?{sign}"),
        format!("{address}?t={until}"),
        format!("{address}?sign=&t={until}"),
        format!("{}?{query}", address.replace("wrong/a", "wrong/b")),
    ] {
        let refused = get(&wrong, &[]);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "AccessDenied"),
            "{wrong}"
        );
    }
    let short = root.link(1, "wrong/a", 1);
    std::thread::sleep(Duration::from_millis(2100));
    let refused = get(&short, &[]);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (403, "AccessDenied")
    );
    assert!(refused.text().contains("expired"), "{}", refused.text());
    let (host, target) = split(&url);
    let refused = send(host, &format!("DELETE {target}"), &[], b"");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (405, "MethodNotAllowed")
    );
}

fn wrong_uploads_leave_nothing(cluster: &Cluster) {
    let root = Asker::administrator(cluster);
    let path = "broken/file";
    let info = root.upload_info(1, path);
    let (host, target) = split(info["uploadUrl"].as_str().unwrap());
    let ticket = info["authorization"].as_str().unwrap();
    let line = format!("PUT {target}");
    let elsewhere = format!("PUT {}", target.replace("broken/file", "broken/other"));
    let other = if ticket.ends_with('A') { 'B' } else { 'A' };
    let forged = format!("{}{other}", &ticket[..ticket.len() - 1]);
    let large = (2_u64 << 40).to_string();
    let broken = [
        (send_body(host, &line, &[], b"x"), 403, "AccessDenied"),
        (
            send_body(host, &line, &[("authorization", "nonsense")], b"x"),
            403,
            "AccessDenied",
        ),
        (
            send_body(host, &line, &[("authorization", &forged[1..])], b"x"),
            403,
            "AccessDenied",
        ),
        (
            send_body(host, &elsewhere, &[("authorization", ticket)], b"x"),
            403,
            "AccessDenied",
        ),
        (
            send(
                host,
                &line,
                &[
                    ("authorization", ticket),
                    ("content-length", large.as_str()),
                ],
                b"",
            ),
            413,
            "EntityTooLarge",
        ),
        (
            send_body(
                host,
                &line,
                &[
                    ("authorization", ticket),
                    ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="),
                ],
                b"x",
            ),
            400,
            "BadDigest",
        ),
        (
            send_body(
                host,
                &format!("POST {target}"),
                &[("authorization", ticket)],
                b"x",
            ),
            400,
            "InvalidArgument",
        ),
        (
            send_body(
                host,
                &format!("POST {target}"),
                &[FORM, ("authorization", ticket)],
                b"--B--",
            ),
            400,
            "InvalidArgument",
        ),
        (
            send_body(
                host,
                &format!("POST {target}"),
                &[FORM],
                &form(&[("key", "broken/other"), ("signature", ticket)], b"x"),
            ),
            403,
            "AccessDenied",
        ),
    ];
    for (at, (answer, status, code)) in broken.iter().enumerate() {
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (*status, *code),
            "{at}"
        );
    }

    // A client that goes away in the middle.
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: {host}\r\nauthorization: {ticket}\r\ncontent-length: 1000000\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&content(300_000)).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    // A form without its end.
    let cut = form(&[("signature", ticket)], b"x");
    let answer = send_body(
        host,
        &format!("POST {target}"),
        &[FORM],
        &cut[..cut.len() - 6],
    );
    assert_eq!(answer.status, 400, "{}", answer.text());

    std::thread::sleep(Duration::from_millis(300));
    let env = cluster.json["env"].as_str().unwrap();
    for path in [path, "broken/other"] {
        let wanted = json!([{ "cloudObjectId": format!("cloud://{env}.{env}/{path}") }]);
        let answer = root.call(2, "get-objects-download-info", &wanted);
        assert_eq!(answer[0]["code"], "OBJECT_NOT_EXIST", "{answer}");
    }
}

fn tricks_with_paths_are_refused(cluster: &Cluster) {
    let root = Asker::administrator(cluster);
    let long = "x".repeat(1025);
    for path in [
        "", "/a", "../a", "a/../b", "a//b", "a/.", "a\u{0}b", "a\nb", &long,
    ] {
        let info: Value = root.upload_info(1, path);
        assert_eq!(info["code"], "INVALID_PARAM", "{path:?}: {info}");
    }
    let (url, env) = (cluster.url(1), cluster.json["env"].as_str().unwrap());
    let host = url.strip_prefix("http://").unwrap();
    for (target, statuses) in [
        (format!("/storage/{env}/../{env}/a"), vec![400]),
        (format!("/storage/{env}/%2e%2e/a"), vec![400]),
        (format!("/storage/{env}//a"), vec![400]),
        (format!("/storage/{env}/a%00b"), vec![400]),
        (format!("/storage/{env}/%ff"), vec![400]),
        (format!("/storage/{env}/{long}"), vec![400]),
        (format!("/storage/{env}/absent"), vec![404]),
        ("/storage/_cluster/a".to_owned(), vec![404]),
        ("/storage/nowhere/a".to_owned(), vec![404]),
    ] {
        let refused = send(host, &format!("GET {target}"), &[], b"");
        assert!(
            statuses.contains(&refused.status),
            "{target}: {}",
            refused.status
        );
        refused.code();
    }
}

fn rules_hold(cluster: &Cluster) {
    let (root, ann, bob) = (
        Asker::administrator(cluster),
        Asker::user(cluster, "ann_files"),
        Asker::user(cluster, "bob_files"),
    );
    let env = cluster.json["env"].as_str().unwrap();
    let set = |mode: &str| {
        let words = [
            "rules",
            "set",
            "_sys.files",
            mode,
            "--target",
            cluster.folder(),
        ];
        let output = cluster.yunbase(&words);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let outcome = |who: &Asker<'_>, call: &str, path: &str| {
        let element =
            json!([{ "cloudObjectId": format!("cloud://{env}.{env}/{path}"), "objectId": path }]);
        let answer = who.call(2, call, &element);
        answer[0]["code"].as_str().unwrap_or("ok").to_owned()
    };
    let read = "get-objects-download-info";
    let write = "get-objects-upload-info";

    // Before any rules: everyone reads, the owner writes.
    assert_eq!(ann.put(1, "hers/a.txt", b"hers").status, 200);
    assert_eq!(outcome(&bob, read, "hers/a.txt"), "ok");
    assert_eq!(
        outcome(&bob, write, "hers/a.txt"),
        "STORAGE_EXCEED_AUTHORITY"
    );
    assert_eq!(
        outcome(&bob, "delete-objects", "hers/a.txt"),
        "STORAGE_EXCEED_AUTHORITY"
    );
    assert_eq!(ann.put(2, "hers/a.txt", b"hers too").status, 200);
    let unsigned = format!("{}/storage/{env}/hers/a.txt", cluster.url(3));
    assert_eq!(get(&unsigned, &[]).text(), "hers too");

    set("private");
    assert_eq!(get(&unsigned, &[]).code(), "AccessDenied");
    assert_eq!(outcome(&ann, read, "hers/a.txt"), "ok");
    assert_eq!(
        outcome(&bob, read, "hers/a.txt"),
        "STORAGE_EXCEED_AUTHORITY"
    );
    assert_eq!(outcome(&root, read, "hers/a.txt"), "ok");
    // Whoever has an address reads.
    assert_eq!(get(&ann.link(1, "hers/a.txt", 60), &[]).text(), "hers too");

    set("adminwrite");
    assert_eq!(
        outcome(&ann, write, "hers/b.txt"),
        "STORAGE_EXCEED_AUTHORITY"
    );
    set("readonly");
    // A ticket counts for what was there when it was given out.
    let stale = ann.upload_info(1, "hers/c.txt");
    assert_eq!(bob.put(2, "hers/c.txt", b"his").status, 200);
    let (host, target) = split(stale["uploadUrl"].as_str().unwrap());
    let ticket = ("authorization", stale["authorization"].as_str().unwrap());
    let refused = send_body(host, &format!("PUT {target}"), &[ticket], b"hers");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (412, "PreconditionFailed")
    );
    assert_eq!(outcome(&ann, "delete-objects", "hers/a.txt"), "ok");
    assert_eq!(
        outcome(&ann, "delete-objects", "hers/a.txt"),
        "OBJECT_NOT_EXIST"
    );
}
