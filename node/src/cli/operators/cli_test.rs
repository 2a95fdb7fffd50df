//! The commands against the real services over one database in memory.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_stream::wrappers::TcpListenerStream;
use yunbase_client::auth::Credentials;
use yunbase_client::proto::ReadAuditRequest;

use super::connection::Connection;
use super::credentials::CredentialsFile;
use super::login::{login, logout, renewed, whoami};
use super::operator::run_words;
use crate::audit::service::AuditService;
use crate::auth::test_bed::{Bed, ENV};
use crate::cli::exit::Exit;
use crate::cli::failure::CliError;
use crate::cli::output::Printed;
use crate::cli::target::Target;
use crate::cluster::keys;
use crate::cluster::store::ClusterStore;
use crate::operators::Operators;
use crate::operators::door::Door;
use crate::operators::roles::Role;
use crate::operators::service::OperatorsService;
use crate::operators::test_bed::{PASSWORD, grant, node, origin};

/// A cluster with an owner `root`, a viewer `eve` of one environment, and a key for all.
struct Stage {
    bed: Arc<Bed>,
    operators: Arc<Operators>,
    target: Target,
    file: CredentialsFile,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let bed = Bed::new();
        let operators = node(&bed);
        operators
            .newcomer(&bed, "root", vec![grant(Role::Owner, None)])
            .await;
        operators
            .newcomer(&bed, "eve", vec![grant(Role::Viewer, Some(ENV))])
            .await;
        let store = ClusterStore::new(bed.clone(), Duration::from_secs(5));
        let key = keys::create(&store, operators.audit(), &origin(), None, None, 0)
            .await
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let door = Door::new(Arc::new(bed.map()), operators.clone());
        let server = tonic::transport::Server::builder()
            .add_service(OperatorsService::new(door.clone()).into_server())
            .add_service(AuditService::new(door).into_server())
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        let folder = tempfile::tempdir().unwrap();
        Self {
            file: CredentialsFile::at(folder.path().join("credentials.json")),
            bed,
            operators,
            target: Target {
                endpoints: vec![url],
                env: None,
                pids: Vec::new(),
                credentials: Some(Credentials::SecretKey {
                    secret_id: key.id,
                    secret_key: key.secret,
                }),
                deadline: Duration::from_secs(10),
            },
            _folder: folder,
        }
    }

    async fn by_key(&self) -> Connection {
        Connection::of(&self.target).await.unwrap()
    }

    async fn signed_in(&self, name: &str) -> Connection {
        login(&self.file, &self.target, name, PASSWORD.to_owned())
            .await
            .unwrap();
        let login = self.file.find(&self.target.endpoints, Some(name)).unwrap();
        let token = Credentials::ApiKey(login.unwrap().access_token);
        let (endpoints, timeout) = (&self.target.endpoints, self.target.deadline);
        Connection::to(endpoints, timeout, Some(token))
            .await
            .unwrap()
    }
}

fn value(printed: Printed) -> Value {
    match printed {
        Printed::Value(value) => value,
        other => panic!("{other:?} is no value"),
    }
}

fn rows(printed: Printed) -> Vec<Value> {
    match printed {
        Printed::Rows(rows) => rows,
        other => panic!("{other:?} are no rows"),
    }
}

fn exit<T>(outcome: Result<T, CliError>) -> Exit {
    outcome.err().map_or(Exit::Ok, |error| error.exit)
}

#[tokio::test]
async fn operators_are_added_listed_changed_and_removed() {
    let stage = Stage::new().await;
    let mut root = stage.signed_in("root").await;
    let words = ["add", "ann", "--role", "developer@demo", "--role", "viewer"];
    let added = value(run_words(&mut root, &words).await.unwrap());
    assert_eq!(added["roles"], "developer@demo, viewer");
    let password = added["password"].as_str().unwrap().to_owned();
    login(&stage.file, &stage.target, "ann", password)
        .await
        .unwrap();
    assert_eq!(exit(run_words(&mut root, &words).await), Exit::Conflict);
    let listed = rows(run_words(&mut root, &["list"]).await.unwrap());
    let names: Vec<&Value> = listed.iter().map(|row| &row["operator"]).collect();
    assert_eq!(names, ["ann", "eve", "root"]);

    let words = ["role", "ann", "--role", "owner"];
    let changed = value(run_words(&mut root, &words).await.unwrap());
    assert_eq!(changed["roles"], "owner");
    let sessions = rows(run_words(&mut root, &["sessions", "ann"]).await.unwrap());
    assert_eq!(sessions.len(), 1);
    let id = sessions[0]["session"].as_str().unwrap();
    let ended = value(
        run_words(&mut root, &["sessions", "ann", "--end", id])
            .await
            .unwrap(),
    );
    assert_eq!(ended["revoked"], 1);
    let again = run_words(&mut root, &["sessions", "ann", "--end", id]).await;
    assert_eq!(exit(again), Exit::NotFound);

    run_words(&mut root, &["remove", "ann"]).await.unwrap();
    assert_eq!(
        exit(run_words(&mut root, &["remove", "ann"]).await),
        Exit::NotFound
    );
    for words in [
        &["remove", "root"][..],
        &["role", "root", "--role", "viewer"],
    ] {
        let refused = run_words(&mut root, words).await;
        assert_eq!(exit(refused), Exit::Unsafe, "{words:?}");
    }
    for words in [
        &["add", "bob", "--role", "king"][..],
        &["add", "bob"],
        &["add", "b b", "--role", "owner"],
        &["add", "bob", "--role", "owner@demo"],
    ] {
        let refused = run_words(&mut root, words).await;
        assert_eq!(exit(refused), Exit::Usage, "{words:?}");
    }
    let nowhere = ["add", "bob", "--role", "viewer@nowhere"];
    assert_eq!(exit(run_words(&mut root, &nowhere).await), Exit::NotFound);
}

#[tokio::test]
async fn a_dry_run_tells_and_changes_nothing() {
    let stage = Stage::new().await;
    let mut root = stage.signed_in("root").await;
    let told = stage.operators.told().await;
    for (words, expected) in [
        (
            &["add", "ann", "--role", "viewer"][..],
            "add operator ann as viewer",
        ),
        (
            &["role", "eve", "--role", "owner"],
            "owner instead of viewer@demo",
        ),
        (&["password", "eve"], "set the password of operator eve"),
        (&["remove", "eve"], "remove operator eve"),
        (&["sessions", "root", "--end-all"], "end 1 sign-ins"),
    ] {
        let words: Vec<&str> = words.iter().copied().chain(["--dry-run"]).collect();
        let printed = value(run_words(&mut root, &words).await.unwrap());
        assert!(
            printed["would"].as_str().unwrap().contains(expected),
            "{printed}"
        );
    }
    for (words, expected) in [
        (&["add", "eve", "--role", "viewer"][..], Exit::Conflict),
        (&["remove", "root"], Exit::Unsafe),
        (&["remove", "nobody"], Exit::NotFound),
    ] {
        let words: Vec<&str> = words.iter().copied().chain(["--dry-run"]).collect();
        assert_eq!(exit(run_words(&mut root, &words).await), expected);
    }
    assert_eq!(stage.operators.told().await, told);
}

#[tokio::test]
async fn sign_ins_are_kept_renewed_and_ended() {
    let stage = Stage::new().await;
    let wrong = login(&stage.file, &stage.target, "root", "wrong".into()).await;
    assert_eq!(exit(wrong), Exit::Auth);
    let nobody = logout(&stage.file, &stage.target, None).await;
    assert_eq!(exit(nobody), Exit::NotFound);

    let mut root = stage.signed_in("root").await;
    let who = value(whoami(&mut root).await.unwrap());
    assert_eq!(
        (&who["operator"], &who["roles"]),
        (&json!("root"), &json!("owner"))
    );
    let by_key = value(whoami(&mut stage.by_key().await).await.unwrap());
    assert_eq!(by_key["environment"], Value::Null);

    // The bed's clock stands in the past, so for the command every token has ended already.
    let before = stage
        .file
        .find(&stage.target.endpoints, None)
        .unwrap()
        .unwrap();
    let after = renewed(&stage.file, before.clone(), &stage.target)
        .await
        .unwrap();
    assert_ne!(before.access_token, after.access_token);
    let kept = stage
        .file
        .find(&stage.target.endpoints, None)
        .unwrap()
        .unwrap();
    assert_eq!(kept.access_token, after.access_token);

    let out = value(logout(&stage.file, &stage.target, None).await.unwrap());
    assert_eq!(out["signed_out"], "root");
    assert!(
        stage
            .file
            .find(&stage.target.endpoints, None)
            .unwrap()
            .is_none()
    );
    assert_eq!(exit(whoami(&mut root).await), Exit::Auth);
    assert!(
        stage
            .operators
            .authenticate(&after.access_token)
            .await
            .is_err()
    );

    // One that has ended in the cluster is forgotten here all the same.
    stage.signed_in("eve").await;
    stage
        .operators
        .revoke(&origin(), "eve", None)
        .await
        .unwrap();
    logout(&stage.file, &stage.target, Some("eve"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_viewer_manages_itself_and_nobody_else() {
    let stage = Stage::new().await;
    let mut eve = stage.signed_in("eve").await;
    for words in [
        &["list"][..],
        &["add", "ann", "--role", "viewer"],
        &["role", "eve", "--role", "owner"],
        &["password", "root"],
        &["remove", "root"],
        &["sessions", "root"],
    ] {
        let refused = run_words(&mut eve, words).await;
        assert_eq!(exit(refused), Exit::Auth, "{words:?}");
    }
    let own = rows(run_words(&mut eve, &["sessions", "eve"]).await.unwrap());
    assert_eq!(own.len(), 1);
    // Its own password only with the present one.
    let refused = run_words(&mut eve, &["password", "eve"]).await;
    assert_eq!(exit(refused), Exit::Auth);
    let folder = tempfile::tempdir().unwrap();
    let present = folder.path().join("present");
    std::fs::write(&present, PASSWORD).unwrap();
    let words = [
        "password",
        "eve",
        "--present-password-file",
        present.to_str().unwrap(),
    ];
    let changed = value(run_words(&mut eve, &words).await.unwrap());
    assert!(changed["password"].is_string());
    assert_eq!(exit(whoami(&mut eve).await), Exit::Auth, "all sign-ins end");
    let refused = stage
        .operators
        .log()
        .await
        .into_iter()
        .filter(|entry| entry.action == "operator.refused");
    assert_eq!(refused.count(), 1, "{:?}", stage.operators.told().await);
}

#[tokio::test]
async fn the_logs_are_read_by_those_who_may() {
    let stage = Stage::new().await;
    let ask = |env: &str| ReadAuditRequest {
        env: env.into(),
        ..ReadAuditRequest::default()
    };
    let mut by_key = stage.by_key().await;
    let entries = by_key.read_audit(ask("")).await.unwrap().entries;
    let actions: Vec<&str> = entries.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["operator.add", "operator.add", "key.create"]);
    assert!(
        by_key
            .read_audit(ask(ENV))
            .await
            .unwrap()
            .entries
            .is_empty()
    );
    for env in ["nowhere", "_cluster"] {
        assert_eq!(exit(by_key.read_audit(ask(env)).await), Exit::NotFound);
    }
    let mut eve = stage.signed_in("eve").await;
    assert_eq!(exit(eve.read_audit(ask("")).await), Exit::Auth);
    assert_eq!(exit(eve.read_audit(ask("other")).await), Exit::Auth);
    assert!(eve.read_audit(ask(ENV)).await.is_ok());
    let from = by_key.read_audit(ask("")).await.unwrap().entries;
    assert!(from.last().unwrap().action == "operator.sign_in");
    assert!(!stage.bed.documents("_cluster", "audit").is_empty());
}
