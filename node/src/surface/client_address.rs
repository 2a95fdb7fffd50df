//! Where a request really came from: the connection's other end, or what a trusted proxy says of it.
//!
//! `X-Forwarded-For` is believed only of proxies that the configuration names, from the right, one hop each: anything
//! further left was written by a stranger.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The address of a request's sender, put into its extensions by the HTTP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

/// The proxies whose `X-Forwarded-For` is believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Arc<[IpNet]>);

/// Most proxies between a client and a node.
const HOPS_MAX: usize = 8;

impl TrustedProxies {
    /// Proxies at these addresses or in these networks.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let network = |text: &String| {
            IpNet::from_str(text)
                .or_else(|_| IpAddr::from_str(text).map(IpNet::from))
                .map_err(|_| {
                    format!("`{text}` is no address or network such as 10.0.0.1 or 10.0.0.0/24")
                })
        };
        texts
            .iter()
            .map(network)
            .collect::<Result<Vec<_>, _>>()
            .map(|networks| Self(networks.into()))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who sent a request with these headers over a connection from `peer`.
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return ClientAddress(client);
        }
        let values = headers.get_all("x-forwarded-for");
        let mut hops: Vec<&str> = values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        for _ in 0..HOPS_MAX {
            let Some(hop) = hops.pop().and_then(|hop| hop.trim().parse::<IpAddr>().ok()) else {
                break;
            };
            client = hop.to_canonical();
            if !self.trusts(client) {
                break;
            }
        }
        ClientAddress(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(proxies: &[&str], peer: &str, forwarded: &str) -> String {
        let proxies: Vec<String> = proxies.iter().map(|text| (*text).to_owned()).collect();
        let proxies = TrustedProxies::parse(&proxies).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        let ClientAddress(address) = proxies.client_of(peer.parse().unwrap(), &headers);
        address.to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client(&[], "10.0.0.9", "1.2.3.4"), "10.0.0.9");
        let lan = ["10.0.0.0/24"];
        assert_eq!(client(&lan, "10.0.0.9", "1.2.3.4"), "1.2.3.4");
        assert_eq!(client(&lan, "::ffff:10.0.0.9", "1.2.3.4"), "1.2.3.4");
        assert_eq!(client(&lan, "192.168.0.1", "1.2.3.4"), "192.168.0.1");
        assert_eq!(
            client(&lan, "10.0.0.9", "6.6.6.6, 1.2.3.4, 10.0.0.8"),
            "1.2.3.4",
            "what the client itself wrote is further left"
        );
        assert_eq!(client(&lan, "10.0.0.9", "nonsense"), "10.0.0.9");
        assert!(TrustedProxies::parse(&["proxy".to_owned()]).is_err());
    }
}
