//! Operators of a real cluster: what each role may do through every door and node, how its sign-in ends, and what the audit
//! log says of it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::cluster::Cluster;

const OK: Option<i32> = Some(0);
const NOT_ALLOWED: Option<i32> = Some(3);
const NOT_FOUND: Option<i32> = Some(4);
const UNSAFE: Option<i32> = Some(6);

/// A cluster of three, and a file for the sign-ins of its operators.
struct Stage {
    cluster: Cluster,
    folder: tempfile::TempDir,
}

impl Stage {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_yunbase"));
        command
            .args(arguments)
            .env("YUNBASE_CREDENTIALS", self.credentials())
            .stdin(Stdio::null());
        command
    }

    fn credentials(&self) -> std::path::PathBuf {
        self.folder.path().join("credentials.json")
    }

    /// All nodes, the one that is asked first; a sign-in at one counts at all.
    fn through(&self, k: usize) -> String {
        let urls = (0..3).map(|n| self.cluster.url((k - 1 + n) % 3 + 1));
        urls.collect::<Vec<_>>().join(",")
    }

    fn as_operator(&self, k: usize, name: &str, arguments: &[&str]) -> Output {
        let target = self.through(k);
        let mut command = self.command(arguments);
        command.args(["--target", &target, "--operator", name]);
        command.output().unwrap()
    }

    fn exit(&self, k: usize, name: &str, arguments: &[&str]) -> Option<i32> {
        self.as_operator(k, name, arguments).status.code()
    }

    fn result(&self, name: &str, arguments: &[&str]) -> Value {
        let words: Vec<&str> = arguments.iter().copied().chain(["-o", "json"]).collect();
        let output = self.as_operator(1, name, &words);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn by_key(&self, arguments: &[&str]) -> Output {
        let folder = self.cluster.folder();
        let mut command = self.command(arguments);
        command
            .args(["--target", folder])
            .env("YUNBASE_SECRET_ID", self.key("secretId"))
            .env("YUNBASE_SECRET_KEY", self.key("secretKey"));
        command.output().unwrap()
    }

    fn key(&self, half: &str) -> &str {
        self.cluster.json[half].as_str().unwrap()
    }

    fn login(&self, name: &str, password: &str) -> Option<i32> {
        let mut command = self.command(&["login", "--username", name]);
        command
            .args(["--target", &self.through(1)])
            .env("YUNBASE_OPERATOR_PASSWORD", password);
        command.output().unwrap().status.code()
    }

    /// Adds an operator and signs it in.
    fn newcomer(&self, name: &str, role: &str) {
        let added = self.result("root", &["operator", "add", name, "--role", role]);
        let password = added["password"].as_str().unwrap();
        assert_eq!(self.login(name, password), OK);
    }

    fn token(&self, name: &str) -> String {
        let text = std::fs::read(self.credentials()).unwrap();
        let content: Value = serde_json::from_slice(&text).unwrap();
        let logins = content["logins"].as_array().unwrap();
        let login = logins.iter().find(|login| login["operator"] == name);
        login.unwrap()["access_token"].as_str().unwrap().to_owned()
    }

    /// The code of an action on `POST /admin` with an operator's token; empty when it was carried out.
    fn action(&self, k: usize, token: &str, body: &Value) -> String {
        let address = self.cluster.url(k).replace("http://", "");
        let body = body.to_string();
        let request = format!(
            "POST /admin HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let from = body.find('{').unwrap();
        let to = body.rfind('}').unwrap();
        let answer: Value = serde_json::from_str(&body[from..=to]).unwrap();
        answer["code"].as_str().unwrap_or_default().to_owned()
    }

    fn log(&self, arguments: &[&str]) -> Vec<Value> {
        let words = [&["audit", "--limit", "1000"], arguments].concat();
        let log = self.result("root", &words);
        log.as_array().unwrap().clone()
    }
}

/// Commands by what they need, and whether an owner, a developer of `demo` and a viewer of `demo` may.
const MATRIX: &[(&[&str], bool, bool, bool)] = &[
    (&["status"], true, true, true),
    (&["env", "list"], true, true, true),
    (&["env", "create", "lab"], true, false, false),
    (&["cluster", "token"], true, false, false),
    (&["key", "list"], true, true, false),
    (&["key", "create", "--env", "demo"], true, false, false),
    (&["operator", "list"], true, false, false),
    (&["audit"], true, false, false),
    (&["audit", "--env", "demo"], true, true, true),
    (&["audit", "--env", "shop"], true, false, false),
    (&["rules", "denials", "--env", "demo"], true, true, false),
    (
        &["db", "collection", "list", "--env", "demo"],
        true,
        true,
        true,
    ),
    (
        &["db", "collection", "list", "--env", "shop"],
        true,
        false,
        false,
    ),
    (
        &["db", "index", "list", "things", "--env", "demo"],
        true,
        true,
        true,
    ),
    (
        &["db", "count", "things", "--env", "demo"],
        true,
        true,
        true,
    ),
    (
        &["db", "count", "things", r#"{"a": 1}"#, "--env", "demo"],
        true,
        true,
        false,
    ),
    (
        &["db", "find", "things", "--env", "demo"],
        true,
        true,
        false,
    ),
    (
        &["db", "insert", "things", r#"{"a": 1}"#, "--env", "demo"],
        true,
        true,
        false,
    ),
    (
        &["db", "insert", "things", r#"{"a": 1}"#, "--env", "shop"],
        true,
        false,
        false,
    ),
    (
        &[
            "db",
            "update",
            "things",
            "{}",
            r#"{"$set": {"a": 2}}"#,
            "--env",
            "demo",
        ],
        true,
        true,
        false,
    ),
    (
        &["db", "index", "create", "things", "a", "--env", "demo"],
        true,
        true,
        false,
    ),
    (
        &["rules", "get", "things", "--env", "demo"],
        true,
        true,
        true,
    ),
    (
        &["rules", "set", "things", "readonly", "--env", "demo"],
        true,
        true,
        false,
    ),
    (&["user", "list", "--env", "demo"], true, true, false),
    (&["user", "list", "--env", "shop"], true, false, false),
    (
        &["auth", "rotate-signing-key", "--env", "demo"],
        true,
        true,
        false,
    ),
    (
        &["db", "delete", "things", "{}", "--env", "demo"],
        true,
        true,
        false,
    ),
];

/// Steps: root of dev.json signs in; a developer and a viewer of one environment; every command of the matrix by each of
/// them, each through another node; the same at the HTTP door; what they may see is cut down; what was done is in the
/// logs, which nobody can change; sign-ins end on every node at once; the last owner stays.
#[test]
fn t70_operators_do_what_their_roles_allow_and_the_log_tells() {
    let stage = Stage {
        cluster: Cluster::start(3, 19_100),
        folder: tempfile::tempdir().unwrap(),
    };
    let operator = &stage.cluster.json["operator"];
    assert_eq!(operator["username"], "root");
    assert_eq!(stage.login("root", "wrong password 1"), NOT_ALLOWED);
    assert_eq!(
        stage.login("root", operator["password"].as_str().unwrap()),
        OK
    );
    stage.result("root", &["env", "create", "shop"]);
    stage.result(
        "root",
        &["db", "collection", "create", "things", "--env", "demo"],
    );
    stage.result(
        "root",
        &["db", "collection", "create", "things", "--env", "shop"],
    );
    stage.newcomer("dev", "developer@demo");
    stage.newcomer("eve", "viewer@demo");

    for (n, (words, owner, developer, viewer)) in MATRIX.iter().enumerate() {
        for (m, (name, may)) in [("eve", viewer), ("dev", developer), ("root", owner)]
            .into_iter()
            .enumerate()
        {
            let output = stage.as_operator((n + m) % 3 + 1, name, words);
            let expected = if *may { OK } else { NOT_ALLOWED };
            assert_eq!(
                output.status.code(),
                expected,
                "{name} {words:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
    let (dev, eve) = (stage.token("dev"), stage.token("eve"));
    let action = |name: &str, env: &str| {
        serde_json::json!({
            "action": name, "envName": env, "collectionName": "things", "query": "{}", "multi": false,
            "queryType": "WHERE", "limit": 1,
        })
    };
    for k in 1..=3 {
        for (token, name, env, expected) in [
            (&dev, "database.getDocument", "demo", ""),
            (&eve, "database.getDocument", "demo", "PERMISSION_DENIED"),
            (&dev, "database.getDocument", "shop", "PERMISSION_DENIED"),
            (&eve, "database.removeDocument", "demo", "PERMISSION_DENIED"),
            (
                &eve,
                "database.startTransaction",
                "demo",
                "PERMISSION_DENIED",
            ),
            (&dev, "database.startTransaction", "demo", ""),
            (
                &dev,
                "auth.getUserInfoForAdmin",
                "shop",
                "PERMISSION_DENIED",
            ),
            (&dev, "auth.wsWebSign", "demo", "PERMISSION_DENIED"),
            (&dev, "database.getDocument", "_cluster", "INVALID_ENV"),
        ] {
            let code = stage.action(k, token, &action(name, env));
            assert_eq!(code, expected, "node {k}: {name} in {env}");
        }
    }
    let seen = stage.result("eve", &["env", "list"]);
    assert_eq!(seen.as_array().unwrap().len(), 1, "{seen}");
    assert!(
        !stage
            .result("dev", &["status"])
            .to_string()
            .contains("shop")
    );

    nobody_changes_the_log(&stage);
    what_was_done_is_told(&stage);

    assert_eq!(
        stage.exit(2, "root", &["operator", "remove", "root"]),
        UNSAFE
    );
    // No pause and no second look: a revocation is in force everywhere with its commit.
    stage.result("root", &["operator", "sessions", "dev", "--end-all"]);
    stage.result("root", &["operator", "remove", "eve"]);
    for k in 1..=3 {
        for (name, token) in [("dev", &dev), ("eve", &eve)] {
            assert_eq!(
                stage.exit(k, name, &["env", "list"]),
                NOT_ALLOWED,
                "node {k}"
            );
            let list = ["db", "collection", "list", "--env", "demo"];
            assert_eq!(stage.exit(k, name, &list), NOT_ALLOWED, "node {k}");
            let code = stage.action(k, token, &action("database.getDocument", "demo"));
            assert_eq!(code, "INVALID_ACCESS_TOKEN", "node {k}");
        }
    }
    assert_eq!(stage.exit(1, "root", &["logout"]), OK);
    assert_eq!(stage.exit(1, "root", &["status"]), NOT_ALLOWED);
    assert_eq!(
        stage.by_key(&["status"]).status.code(),
        OK,
        "keys keep working"
    );
}

fn nobody_changes_the_log(stage: &Stage) {
    let before = stage.log(&["--env", "demo"]);
    for words in [
        &[
            "db",
            "update",
            "_sys.audit",
            "{}",
            r#"{"$set": {"by": "x"}}"#,
            "--many",
        ][..],
        &["db", "delete", "_sys.audit", "{}", "--many", "--yes"],
        &["db", "insert", "_sys.audit", r#"{"_id": "forged"}"#],
        &["db", "find", "_sys.audit"],
        &["db", "collection", "drop", "_sys.audit", "--yes"],
        &["rules", "set", "_sys.audit", "readonly"],
    ] {
        let words = [words, &["--env", "demo"]].concat();
        assert_eq!(stage.by_key(&words).status.code(), NOT_ALLOWED, "{words:?}");
        assert_eq!(stage.exit(2, "root", &words), NOT_ALLOWED, "{words:?}");
    }
    for words in [
        &["db", "find", "audit"][..],
        &["db", "find", "keys"],
        &["db", "delete", "audit", "{}", "--many", "--yes"],
        &["db", "insert", "operators", r#"{"_id": "forged"}"#],
    ] {
        let words = [words, &["--env", "_cluster"]].concat();
        assert_eq!(stage.by_key(&words).status.code(), NOT_FOUND, "{words:?}");
        assert_eq!(stage.exit(3, "root", &words), NOT_FOUND, "{words:?}");
    }
    let after = stage.log(&["--env", "demo"]);
    assert_eq!(after[..before.len()], before[..]);
    assert!(after.iter().all(|entry| entry["by"] != "x"));
}

fn what_was_done_is_told(stage: &Stage) {
    let has = |log: &[Value], by: &str, action: &str, target: &str, outcome: &str| {
        let found = log.iter().any(|entry| {
            entry["by"] == by
                && entry["action"] == action
                && entry["target"] == target
                && entry["outcome"] == outcome
                && entry["from"] == "127.0.0.1"
        });
        assert!(found, "{by} {action} {target} {outcome}: {log:#?}");
    };
    let cluster = stage.log(&[]);
    has(
        &cluster,
        "operator:root",
        "operator.sign_in",
        "root",
        "INVALID_CREDENTIALS",
    );
    has(&cluster, "operator:root", "operator.sign_in", "root", "ok");
    has(&cluster, "operator:root", "env.create", "shop", "ok");
    has(&cluster, "operator:root", "operator.add", "dev", "ok");
    has(&cluster, "node:2", "cluster.join", "node 2", "ok");
    has(&cluster, "operator:root", "cluster.join_token", "", "ok");
    has(
        &cluster,
        "operator:eve",
        "operator.refused",
        "data.write",
        "PERMISSION_DENIED",
    );
    let demo = stage.log(&["--env", "demo"]);
    has(&demo, "operator:dev", "index.create", "things/a_1", "ok");
    has(&demo, "operator:dev", "rules.set", "things", "ok");
    has(&demo, "operator:root", "collection.create", "things", "ok");
    let keys = stage.log(&["--action", "key", "--by", "root"]);
    assert_eq!(keys.len(), 1, "{keys:#?}");
    assert!(stage.log(&["--since", "2000-01-01T00:00:00Z"]).len() >= cluster.len());
    // Neither passwords nor keys nor tokens.
    let text = serde_json::to_string(&[cluster, demo]).unwrap();
    for secret in [
        stage.cluster.json["operator"]["password"].as_str().unwrap(),
        stage.key("secretKey"),
        "wrong password 1",
        "yop_",
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
}
