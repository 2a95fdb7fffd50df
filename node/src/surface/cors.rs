//! Cross-origin requests: which web pages may call the doors from a browser.
//!
//! One layer for every door of the HTTP port. It answers each preflight (OPTIONS on any path) itself, allows whatever
//! headers a page asks for, and lets pages read the headers that the official clients look at. Cookies are never
//! allowed across origins: all credentials of the protocol travel in headers and bodies.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// Stands for every origin in the configuration.
pub const ANY: &str = "*";
/// How long a browser may remember a preflight; no browser keeps one for longer.
const PREFLIGHT_LIFE: Duration = Duration::from_secs(7200);

/// The layer that lets pages of `origins` in; [`ANY`] among them lets in all.
pub fn layer(origins: &[String]) -> CorsLayer {
    let origins: Vec<HeaderValue> = origins
        .iter()
        .filter_map(|origin| origin.parse().ok())
        .collect();
    let any = origins.iter().any(|origin| origin == ANY);
    CorsLayer::new()
        // The origin is echoed rather than `*`, so that one rule serves both.
        .allow_origin(AllowOrigin::predicate(move |origin, _| {
            any || origins.contains(origin)
        }))
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::HEAD,
            Method::OPTIONS,
        ])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("x-tcb-trace"),
            header::ETAG,
            header::RETRY_AFTER,
        ])
        .max_age(PREFLIGHT_LIFE)
}

/// Whether `origin` has the form in which browsers name origins, such as `https://app.example.com`.
pub fn is_origin(origin: &str) -> bool {
    let rest = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    let plain = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'*' | b'?' | b'#'))
    };
    origin == ANY || rest.is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{HeaderMap, Request, StatusCode};
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::*;

    async fn send(origins: &[&str], request: Request<Body>) -> (StatusCode, HeaderMap) {
        let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
        let doors = Router::new()
            .route("/web", post(|| async { "{}" }))
            .layer(layer(&origins));
        let response = doors.oneshot(request).await.unwrap();
        (response.status(), response.headers().clone())
    }

    fn preflight(path: &str, origin: &str) -> Request<Body> {
        Request::options(path)
            .header("origin", origin)
            .header("access-control-request-method", "PATCH")
            .header(
                "access-control-request-headers",
                "authorization,x-seqid,x-new",
            )
            .body(Body::empty())
            .unwrap()
    }

    #[tokio::test]
    async fn preflights_are_answered_on_every_path() {
        for path in ["/web", "/no/such"] {
            let (status, headers) = send(&["*"], preflight(path, "https://a.example")).await;
            assert!(status.is_success(), "{path}: {status}");
            assert_eq!(headers["access-control-allow-origin"], "https://a.example");
            assert_eq!(
                headers["access-control-allow-headers"],
                "authorization,x-seqid,x-new"
            );
            let methods = headers["access-control-allow-methods"].to_str().unwrap();
            assert!(
                methods.contains("PATCH") && methods.contains("DELETE"),
                "{methods}"
            );
            assert!(!headers.contains_key("access-control-allow-credentials"));
        }
    }

    #[tokio::test]
    async fn answers_carry_what_pages_may_read() {
        let request = Request::post("/web").header("origin", "null");
        let (status, headers) = send(&["*"], request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers["access-control-allow-origin"], "null");
        assert_eq!(
            headers["access-control-expose-headers"],
            "x-request-id,x-tcb-trace,etag,retry-after"
        );
        assert!(headers["vary"].to_str().unwrap().contains("origin"));
    }

    #[tokio::test]
    async fn named_origins_keep_others_out() {
        let named = ["https://a.example", "http://localhost:5173"];
        for (origin, allowed) in [
            ("https://a.example", true),
            ("http://localhost:5173", true),
            ("http://a.example", false),
            ("https://b.example", false),
            ("null", false),
        ] {
            let (_, headers) = send(&named, preflight("/web", origin)).await;
            let echoed = headers.get("access-control-allow-origin");
            assert_eq!(echoed.is_some(), allowed, "{origin}");
        }
    }

    #[test]
    fn origins_are_told_from_addresses() {
        for good in ["*", "https://a.example", "http://localhost:5173"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "a.example",
            "https://",
            "https://a.example/",
            "https://*.example",
            "ftp://a",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
