//! What a stranger without a certificate finds on the peer port: the door to joining, and that locked.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use yunbase::peer_proto::membership_client::MembershipClient;
use yunbase::peer_proto::{InspectRequest, JoinRequest};
use yunbase::tls::JoinToken;

use super::bytes;
use super::rpc::send_raw;
use crate::cluster::Cluster;

const RANDOM_CONNECTIONS: usize = 40;

pub(super) async fn flood(cluster: &Cluster, address: &str, rng: &mut StdRng) {
    for _ in 0..RANDOM_CONNECTIONS {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(3)))
            .unwrap();
        let count = rng.random_range(1..500);
        let _ = stream.write_all(&bytes(rng, count));
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read(&mut [0; 64]);
    }

    let token = cluster.yunbase(&["cluster", "token", "--target", cluster.folder()]);
    let token = JoinToken::decode(&String::from_utf8(token.stdout).unwrap()).unwrap();
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    let endpoint = endpoint.tls_config(token.client()).unwrap();
    let channel = endpoint.connect().await.unwrap();
    for path in [
        "/yunbase.peer.v1.Peer/Exchange",
        "/yunbase.peer.v1.Forward/Open",
    ] {
        let refused = send_raw(&channel, path, Request::new(Vec::new())).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated, "{path}");
    }
    let mut membership = MembershipClient::new(channel.clone());
    let refused = membership.inspect(InspectRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    for secret in ["", "wrong", &"0".repeat(token.secret.len())] {
        let request = JoinRequest {
            secret: secret.to_owned(),
            disk_id: "0".repeat(32),
            peer_address: "127.0.0.1:1".to_owned(),
            ..JoinRequest::default()
        };
        let refused = membership.join(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    // Whoever holds the token still has to name its disk and to ask for a certificate properly.
    for disk_id in ["", "short", &"z".repeat(32)] {
        let request = JoinRequest {
            secret: token.secret.clone(),
            disk_id: disk_id.to_owned(),
            certificate_request: bytes(rng, 50).into(),
            peer_address: "127.0.0.1:1".to_owned(),
            ..JoinRequest::default()
        };
        let refused = membership.join(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
}
