//! Who holds a key of the S3 port.

use super::*;

const NOW_UNIX_MS: i64 = 1_700_000_000_000;

struct Frozen;

impl Clock for Frozen {
    fn now_unix_ms(&self) -> i64 {
        NOW_UNIX_MS
    }
}

/// Two environments; a key for all, one for `demo`, a temporary one for `demo`, and one that has ended.
struct Directory;

impl KeyDirectory for Directory {
    fn find(&self, id: &str) -> Option<SecretKey> {
        let (env, session_token, expires_at_ms) = match id {
            "all" => (None, None, None),
            "demo" => (Some("demo"), None, None),
            "temporary" => (Some("demo"), Some("token"), Some(NOW_UNIX_MS + 1)),
            "ended" => (Some("demo"), Some("token"), Some(NOW_UNIX_MS)),
            _ => return None,
        };
        Some(SecretKey {
            id: id.to_owned(),
            secret: format!("secret of {id}"),
            env: env.map(str::to_owned),
            session_token: session_token.map(str::to_owned),
            expires_at_ms,
        })
    }

    fn has_env(&self, env: &str) -> bool {
        matches!(env, "demo" | "lab" | CLUSTER_ENV)
    }
}

fn keyring() -> Keyring {
    Keyring::new(Arc::new(Directory), Arc::new(Frozen))
}

fn claim(key: &str, bucket: Option<&str>) -> Claim {
    Claim {
        key_id: key.to_owned(),
        session_token: None,
        presigned_life: None,
        bucket: bucket.map(str::to_owned),
        owner: None,
        creates_bucket: false,
        request_id: "r".to_owned(),
    }
}

async fn code(claim: Claim) -> String {
    match keyring().admit(&claim).await {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code().as_str().to_owned(),
    }
}

#[tokio::test]
async fn secrets_are_those_of_keys_in_force() {
    let secret = keyring().get_secret_key("demo").await.expect("known");
    assert_eq!(secret.expose(), "secret of demo");
    for (id, wanted) in [("nobody", "InvalidAccessKeyId"), ("ended", "ExpiredToken")] {
        let refused = keyring().get_secret_key(id).await.expect_err("refused");
        assert_eq!(refused.code().as_str(), wanted);
    }
}

#[tokio::test]
async fn a_key_opens_its_environment_only() {
    assert_eq!(code(claim("all", Some("lab"))).await, "ok");
    assert_eq!(code(claim("all", Some("nowhere"))).await, "NoSuchBucket");
    assert_eq!(code(claim("all", Some(CLUSTER_ENV))).await, "NoSuchBucket");
    assert_eq!(code(claim("demo", Some("demo"))).await, "ok");
    for other in ["lab", "nowhere", CLUSTER_ENV] {
        assert_eq!(code(claim("demo", Some(other))).await, "AccessDenied");
    }
    assert_eq!(code(claim("demo", None)).await, "ok");
    let mut owned = claim("demo", Some("demo"));
    owned.owner = Some("123456789012".to_owned());
    assert_eq!(code(owned).await, "AccessDenied");
}

#[tokio::test]
async fn temporary_keys_need_their_token() {
    for (key, token, wanted) in [
        ("demo", None, "ok"),
        ("demo", Some("token"), "InvalidToken"),
        ("temporary", Some("token"), "ok"),
        ("temporary", Some("another"), "InvalidToken"),
        ("temporary", None, "InvalidToken"),
    ] {
        let mut claim = claim(key, Some("demo"));
        claim.session_token = token.map(str::to_owned);
        assert_eq!(code(claim).await, wanted, "{key} {token:?}");
    }
}

#[tokio::test]
async fn addresses_live_a_week_at_most() {
    for (life, wanted) in [
        ("1", "ok"),
        ("604800", "ok"),
        ("604801", "AuthorizationQueryParametersError"),
        ("-1", "AuthorizationQueryParametersError"),
        ("", "AuthorizationQueryParametersError"),
    ] {
        let mut claim = claim("demo", Some("demo"));
        claim.presigned_life = Some(life.to_owned());
        assert_eq!(code(claim).await, wanted, "{life}");
    }
}

#[test]
fn buckets_are_called_like_environments() {
    for good in ["demo", "Lab_1", "ab"] {
        assert!(EnvironmentNames.validate_bucket_name(good), "{good}");
    }
    for bad in ["", "_cluster", "a.b", "a b"] {
        assert!(!EnvironmentNames.validate_bucket_name(bad), "{bad}");
    }
}
