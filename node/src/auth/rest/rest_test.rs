//! The login door over HTTP: shapes of answers and errors, whatever way a request comes.

use std::sync::Arc;

use axum::body::Body;
use axum::http::response::Parts;
use axum::http::{Request as HttpRequest, StatusCode, header};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::router;
use crate::auth::Auth;
use crate::auth::records::{GRANTS, SESSIONS};
use crate::auth::test_bed::{Bed, ENV, PASSWORD};

struct Client {
    bed: Arc<Bed>,
    auth: Arc<Auth>,
}

type Answer = (StatusCode, Value);

impl Client {
    fn new() -> Self {
        let bed = Bed::new();
        let auth = Arc::new(bed.node());
        Self { bed, auth }
    }

    async fn send(&self, request: HttpRequest<Body>) -> (Parts, Vec<u8>) {
        let response = router(self.auth.clone()).oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        (parts, body)
    }

    async fn call(&self, method: &str, path: &str, token: Option<&str>, body: &str) -> Answer {
        let joint = if path.contains('?') { '&' } else { '?' };
        let mut request = HttpRequest::builder()
            .method(method)
            .header("content-type", "text/plain;charset=UTF-8")
            .header("x-device-id", "5f1c7a34-0000-4000-8000-000000000001");
        request = match token {
            Some(token) => request
                .uri(format!("/auth{path}"))
                .header("authorization", format!("Bearer {token}")),
            None => request.uri(format!("/auth{path}{joint}client_id={ENV}")),
        };
        let (parts, body) = self
            .send(request.body(Body::from(body.to_owned())).unwrap())
            .await;
        assert_eq!(parts.headers[header::CACHE_CONTROL], "no-store");
        assert!(parts.headers.contains_key("x-request-id"));
        (parts.status, serde_json::from_slice(&body).unwrap())
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, None, &body.to_string()).await
    }

    async fn post_as(&self, token: &str, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(token), &body.to_string())
            .await
    }

    async fn sign_up(&self, username: &str) -> Value {
        let body = json!({ "username": username, "password": PASSWORD, "name": "A Name" });
        let (status, credentials) = self.post("/v1/signup", body).await;
        assert_eq!(status, StatusCode::OK, "{credentials}");
        credentials
    }
}

fn token(credentials: &Value) -> &str {
    credentials["access_token"].as_str().unwrap()
}

fn refused(answer: &Answer, status: u16, error: &str, number: i64) {
    let (own, body) = answer;
    assert_eq!(
        (own.as_u16(), &body["error"]),
        (status, &json!(error)),
        "{body}"
    );
    assert_eq!(body["error_code"], number, "{body}");
    let text = body["error_description"].as_str().unwrap();
    assert!(!text.is_empty());
}

#[tokio::test]
async fn credentials_have_the_shape_that_the_clients_store() {
    let client = Client::new();
    let (status, credentials) = client.post("/v1/signin/anonymously", json!({})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(credentials["token_type"], "Bearer");
    assert_eq!(credentials["expires_in"], 7200);
    assert_eq!(credentials["scope"], "anonymous");
    assert_eq!(credentials["groups"], Value::Null);
    assert!(token(&credentials).len() <= 4096);
    let (status, me) = client
        .call("GET", "/v1/user/me", Some(token(&credentials)), "")
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&me["sub"], &me["name"]),
        (&credentials["sub"], &json!("anonymous"))
    );

    let body = json!({
        "client_id": ENV, "client_secret": "", "grant_type": "refresh_token",
        "refresh_token": credentials["refresh_token"],
    });
    let (status, next) = client.post("/v1/token", body.clone()).await;
    assert_eq!(
        (status, &next["sub"]),
        (StatusCode::OK, &credentials["sub"])
    );
    let (status, _) = client.post("/v2/token", body).await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn accounts_are_seen_and_changed() {
    let client = Client::new();
    let user = client.sign_up("alice").await;
    assert_eq!(user["scope"], "user");
    let me = client
        .call("GET", "/v1/user/me", Some(token(&user)), "")
        .await
        .1;
    assert_eq!(
        (&me["username"], &me["name"], &me["has_password"]),
        (&json!("alice"), &json!("A Name"), &json!(true))
    );
    let edited = json!({ "nickname": "Alice", "gender": "FEMALE", "avatar_url": "https://a/b" });
    let (status, body) = client
        .post_as(token(&user), "/v1/user/basic/edit", edited)
        .await;
    assert_eq!((status, body), (StatusCode::OK, json!({})));

    let request = HttpRequest::post("/auth/v1/user/profile")
        .header("authorization", format!("Bearer {}", token(&user)))
        .header("x-http-method-override", "PATCH")
        .body(Body::from(r#"{"locale":"zh-CN"}"#))
        .unwrap();
    let (parts, body) = client.send(request).await;
    let profile: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(parts.status, StatusCode::OK);
    assert_eq!(
        (&profile["locale"], &profile["name"], &profile["gender"]),
        (&json!("zh-CN"), &json!("Alice"), &json!("FEMALE"))
    );

    let exists = client
        .call("GET", "/v1/checkIfUserExist?username=ALICE", None, "")
        .await;
    assert_eq!(exists.1, json!({ "exist": true }));
    let found = client
        .call(
            "GET",
            "/v1/user/query?username=alice",
            Some(token(&user)),
            "",
        )
        .await;
    assert_eq!(found.1["total"], 1);
    assert!(!found.1.to_string().contains("argon2"));
}

#[tokio::test]
async fn what_is_dangerous_asks_for_the_password_again() {
    let client = Client::new();
    let user = client.sign_up("alice").await;
    let own = token(&user);
    let new = json!({ "new_password": "another-horse-2" });
    let without = client
        .call("PATCH", "/v1/user/password", Some(own), &new.to_string())
        .await;
    refused(&without, 403, "permission_denied", 7);
    let without = client.call("DELETE", "/v1/user/me", Some(own), "").await;
    refused(&without, 403, "permission_denied", 7);
    let wrong = client
        .post_as(own, "/v1/user/sudo", json!({ "password": "wrong-horse-1" }))
        .await;
    refused(&wrong, 400, "invalid_password", 3);
    let sudo = client
        .post_as(own, "/v1/user/sudo", json!({ "password": PASSWORD }))
        .await
        .1;
    let sudo = sudo["sudo_token"].as_str().unwrap();
    let new = json!({ "new_password": "another-horse-2", "sudo_token": sudo });
    let done = client
        .call("PATCH", "/v1/user/password", Some(own), &new.to_string())
        .await;
    assert_eq!(done, (StatusCode::OK, json!({})));
    client.bed.pass(11 * 60_000);
    let late = client
        .call(
            "DELETE",
            &format!("/v1/user/me?sudo_token={sudo}"),
            Some(own),
            "",
        )
        .await;
    refused(&late, 403, "permission_denied", 7);
    let sudo = client
        .post_as(
            own,
            "/v1/user/sudo",
            json!({ "password": "another-horse-2" }),
        )
        .await
        .1;
    let sudo = sudo["sudo_token"].as_str().unwrap();
    let gone = client
        .call(
            "DELETE",
            &format!("/v1/user/me?sudo_token={sudo}"),
            Some(own),
            "",
        )
        .await;
    assert_eq!(gone.0, StatusCode::OK);
    let after = client.call("GET", "/v1/user/me", Some(own), "").await;
    refused(&after, 401, "unauthenticated", 16);
}

#[tokio::test]
async fn refusals_have_names_that_the_clients_act_on() {
    let client = Client::new();
    client.sign_up("alice").await;
    let again = json!({ "username": "alice", "password": PASSWORD });
    refused(
        &client.post("/v1/signup", again).await,
        409,
        "already_exists",
        6,
    );
    let weak = json!({ "username": "robert", "password": "short" });
    refused(
        &client.post("/v1/signup", weak).await,
        400,
        "invalid_argument",
        3,
    );
    let mail = json!({ "email": "a@example.com", "password": PASSWORD });
    refused(
        &client.post("/v1/signup", mail).await,
        400,
        "provider_not_enabled",
        9,
    );
    let wrong = json!({ "username": "alice", "password": "wrong-horse-1" });
    let wrong = client.post("/v1/signin", wrong).await;
    refused(&wrong, 400, "invalid_username_or_password", 3);
    let nobody = json!({ "username": "nobody", "password": "wrong-horse-1" });
    let nobody = client.post("/v1/signin", nobody).await;
    assert_eq!(nobody.1["error_description"], wrong.1["error_description"]);
    let grant = json!({ "grant_type": "refresh_token", "refresh_token": "x" });
    refused(
        &client.post("/v1/token", grant).await,
        400,
        "invalid_grant",
        3,
    );
    refused(
        &client.call("GET", "/v1/user/me", None, "").await,
        401,
        "unauthenticated",
        16,
    );
    let garbage = client.call("GET", "/v1/user/me", Some("garbage"), "").await;
    refused(&garbage, 401, "unauthenticated", 16);
    let code = json!({ "phone_number": "+86 13800000000", "target": "ANY" });
    refused(
        &client.post("/v1/verification", code).await,
        400,
        "provider_not_enabled",
        9,
    );
    refused(
        &client.post("/v1/qrcode/generate", json!({})).await,
        501,
        "unimplemented",
        12,
    );
    refused(
        &client.call("GET", "/v3/nothing", None, "").await,
        501,
        "unimplemented",
        12,
    );
    let ticket = json!({ "provider_id": "custom", "ticket": "x" });
    refused(
        &client.post("/v1/signin/custom", ticket).await,
        400,
        "invalid_argument",
        3,
    );
    for body in [
        "{",
        "[1]",
        "nonsense",
        "{\"username\":{\"$ne\":1},\"password\":\"x\"}",
    ] {
        let answer = client.call("POST", "/v1/signin", None, body).await;
        refused(&answer, 400, "invalid_argument", 3);
    }
    let large = format!("{{\"username\":\"{}\"}}", "x".repeat(70_000));
    refused(
        &client.call("POST", "/v1/signin", None, &large).await,
        400,
        "invalid_argument",
        3,
    );
    let deep = "[".repeat(5000);
    let deep = format!("{{\"username\":{deep}");
    refused(
        &client.call("POST", "/v1/signin", None, &deep).await,
        400,
        "invalid_argument",
        3,
    );
    for env in ["nowhere", "_cluster", ""] {
        let request = HttpRequest::post(format!("/auth/v1/signin/anonymously?client_id={env}"));
        let (parts, _) = client.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(parts.status, StatusCode::BAD_REQUEST, "{env}");
    }
}

#[tokio::test]
async fn the_environment_comes_from_wherever_the_client_says_it() {
    let client = Client::new();
    for (path, authorization, body) in [
        ("/auth/v1/signin/anonymously?env=demo", None, ""),
        ("/auth/v1/signin/anonymously", Some("Basic ZGVtbzo="), ""),
        ("/auth/v1/signin/anonymously", None, "client_id=demo"),
        (
            "/auth/v1/signin/anonymously",
            None,
            "{\"client_id\":\"demo\"}",
        ),
    ] {
        let mut request = HttpRequest::post(path);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let (parts, body) = client.send(request.body(Body::from(body)).unwrap()).await;
        assert_eq!(parts.status, StatusCode::OK, "{path} {body:?}");
    }
}

/// WeChat as far as login needs it; remembers the queries.
async fn stand_in_for_wechat() -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let answer = move |request: axum::extract::Request| {
        let query = request.uri().query().unwrap_or_default().to_owned();
        seen.lock().push(query.clone());
        async move {
            let code = query.split("js_code=").nth(1).unwrap_or_default();
            match code.split('&').next().unwrap_or_default() {
                "good" => r#"{"openid":"o-1","session_key":"hush","unionid":"u-1"}"#.to_owned(),
                "plain" => r#"{"openid":"o-2","session_key":"hush"}"#.to_owned(),
                "used" => r#"{"errcode":40163,"errmsg":"code been used"}"#.to_owned(),
                "secret" => r#"{"errcode":40125,"errmsg":"invalid appsecret"}"#.to_owned(),
                "busy" => r#"{"errcode":-1,"errmsg":"system error"}"#.to_owned(),
                "large" => "x".repeat(100_000),
                _ => "not json".to_owned(),
            }
        }
    };
    let app = axum::Router::new().route("/sns/jscode2session", axum::routing::get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let service = hyper_util::service::TowerToHyperService::new(app);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service),
            );
        }
    });
    (url, asked)
}

fn code(code: &str, kind: &str) -> Value {
    json!({
        "provider_id": "wx1", "provider_code": code,
        "provider_params": { "provider_code_type": kind, "appid": "wx1" },
    })
}

#[tokio::test]
async fn wechat_users_sign_in_by_openid_and_unionid() {
    let client = Client::new();
    let unset = client
        .post("/v1/provider/token", code("good", "open_id"))
        .await;
    refused(&unset, 400, "provider_not_enabled", 9);
    let (url, asked) = stand_in_for_wechat().await;
    let scope = client.auth.at(ENV);
    let set = client.auth.set_wechat(&scope, "wx1", "app-secret", &url);
    set.await.unwrap();

    let (status, grant) = client
        .post("/v1/provider/token", code("good", "open_id"))
        .await;
    assert_eq!(status, StatusCode::OK, "{grant}");
    assert!(
        !grant.to_string().contains("hush"),
        "the session key stays inside"
    );
    assert!(asked.lock()[0].contains("secret=app-secret"));
    let with = json!({ "provider_token": grant["provider_token"] });
    let (status, user) = client.post("/v1/signin/with/provider", with.clone()).await;
    assert_eq!(status, StatusCode::OK, "{user}");
    let again = client.post("/v1/signin/with/provider", with).await;
    refused(&again, 400, "invalid_argument", 3);
    let scope = client.auth.at(ENV);
    let caller = client.auth.end_user(&scope, token(&user)).await.unwrap();
    assert_eq!(caller.openid, "o-1");
    assert_eq!(caller.login_type.as_str(), "WECHAT");
    for document in client
        .bed
        .documents(ENV, SESSIONS)
        .into_iter()
        .chain(client.bed.documents(ENV, GRANTS))
    {
        assert!(!document.to_string().contains("hush"));
    }

    let (_, grant) = client
        .post("/v1/provider/token", code("good", "union_id"))
        .await;
    let with = json!({ "provider_token": grant["provider_token"] });
    let (_, union) = client.post("/v2/signin/with/provider", with).await;
    assert_eq!(union["sub"], user["sub"], "one person");
    let none = client
        .post("/v1/provider/token", code("plain", "union_id"))
        .await;
    refused(&none, 400, "failed_precondition", 9);

    let (_, list) = client
        .call("GET", "/v1/user/provider", Some(token(&user)), "")
        .await;
    assert_eq!(list["total"], 2);
    let only = client
        .call("DELETE", "/v1/user/provider/wx1", Some(token(&user)), "")
        .await;
    refused(&only, 400, "failed_precondition", 9);
}

#[tokio::test]
async fn wechat_is_linked_to_a_user_and_taken_away_again() {
    let client = Client::new();
    let (url, _) = stand_in_for_wechat().await;
    let scope = client.auth.at(ENV);
    client
        .auth
        .set_wechat(&scope, "wx1", "app-secret", &url)
        .await
        .unwrap();
    let alice = client.sign_up("alice").await;
    let robert = client.sign_up("robert").await;
    let grant = || async {
        let (_, grant) = client
            .post("/v1/provider/token", code("plain", "open_id"))
            .await;
        json!({ "provider_token": grant["provider_token"] })
    };
    let bind = "/v1/user/provider/bind";
    let bound = client.post_as(token(&alice), bind, grant().await).await;
    assert_eq!(bound, (StatusCode::OK, json!({})));
    let taken = client.post_as(token(&robert), bind, grant().await).await;
    refused(&taken, 409, "already_exists", 6);
    let (_, signed_in) = client.post("/v1/signin/with/provider", grant().await).await;
    assert_eq!(signed_in["sub"], alice["sub"]);
    let caller = client
        .auth
        .end_user(&client.auth.at(ENV), token(&signed_in))
        .await
        .unwrap();
    assert_eq!(
        json!(caller.openid),
        alice["sub"],
        "its documents stay its own"
    );
    let unbind = "/v1/user/provider/wx1";
    let done = client.call("DELETE", unbind, Some(token(&alice)), "").await;
    assert_eq!(done, (StatusCode::OK, json!({})));
    let gone = client.call("DELETE", unbind, Some(token(&alice)), "").await;
    refused(&gone, 404, "not_found", 5);
    let (_, other) = client.post("/v1/signin/with/provider", grant().await).await;
    assert_ne!(other["sub"], alice["sub"]);
}

#[tokio::test]
async fn what_wechat_says_is_told_without_its_secrets() {
    let client = Client::new();
    let (url, _) = stand_in_for_wechat().await;
    let scope = client.auth.at(ENV);
    client
        .auth
        .set_wechat(&scope, "wx1", "app-secret", &url)
        .await
        .unwrap();
    for (said, status, error, number) in [
        ("used", 400, "invalid_argument", 3),
        ("secret", 400, "failed_precondition", 9),
        ("busy", 503, "unavailable", 14),
        ("large", 503, "unavailable", 14),
        ("odd", 503, "unavailable", 14),
    ] {
        let answer = client
            .post("/v1/provider/token", code(said, "open_id"))
            .await;
        refused(&answer, status, error, number);
        assert!(!answer.1.to_string().contains("app-secret"));
    }
    let phone = client
        .post("/v1/provider/token", code("good", "phone"))
        .await;
    refused(&phone, 400, "provider_not_enabled", 9);
    let gone = client
        .auth
        .set_wechat(&scope, "wx1", "app-secret", "http://127.0.0.1:1");
    gone.await.unwrap();
    let away = client
        .post("/v1/provider/token", code("good", "open_id"))
        .await;
    refused(&away, 503, "unavailable", 14);
    for (appid, base) in [
        ("", ""),
        ("wx 1", ""),
        ("wx1", "ftp://x"),
        ("wx1", "nonsense"),
    ] {
        assert!(
            client
                .auth
                .set_wechat(&scope, appid, "s", base)
                .await
                .is_err(),
            "{appid} {base}"
        );
    }
}
