//! The S3 port: connections as on the HTTP port, with `s3s` behind.

use std::sync::Arc;

use axum::Router;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::arrival::Patience;
use super::auth::EnvironmentNames;
use super::door::S3Door;
use super::front::{Front, answer};
use super::limits::{READ_BYTES_MAX, XML_BODY_BYTES_MAX};
use crate::surface::client_address::TrustedProxies;
use crate::surface::http::{self, HttpLimits};

/// Serves S3 on `listener` until `stop` says so, then lets requests in progress finish.
pub async fn serve(
    listener: TcpListener,
    door: S3Door,
    limits: HttpLimits,
    stop: watch::Receiver<bool>,
) {
    let limits = HttpLimits {
        header_bytes_max: READ_BYTES_MAX,
        ..limits
    };
    // Where requests come from decides nothing here.
    let proxies = TrustedProxies::default();
    http::serve(listener, router(door), limits, proxies, stop).await;
}

/// Everything that is behind the port.
pub fn router(door: S3Door) -> Router {
    let limits = door.files.limits();
    let patience = Patience {
        idle: limits.idle_timeout,
        whole: limits.upload_timeout,
    };
    let front = Arc::new(Front::new(service(door), patience));
    Router::new().fallback(answer).with_state(front)
}

fn service(door: S3Door) -> S3Service {
    let keyring = door.keyring.clone();
    let mut config = S3Config::default();
    config.xml_max_body_size = XML_BODY_BYTES_MAX;
    let mut builder = S3ServiceBuilder::new(door);
    builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config))));
    builder.set_auth(keyring.clone());
    builder.set_access(keyring);
    builder.set_validation(EnvironmentNames);
    builder.build()
}
