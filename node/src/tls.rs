//! The cluster's own certificate authority and the mutual TLS of the peer port.
//!
//! The first node creates the CA; a node that joins proves the right to do so by the join token, which
//! also carries the CA certificate, so even the first connection is authenticated. Each node's certificate
//! names its id and cluster; a client names the node it means, so a certificate of node 3 never
//! passes for node 2. Certificates do not expire by themselves: a cluster that stops one night years from
//! now because of a date helps nobody; a node is shut out by removing it from the cluster.

use std::io;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use serde::{Deserialize, Serialize};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::durable_file;

const KIND: &str = "certificates";
const VERSION: u32 = 1;
const FILE: &str = "node";
const TOKEN_PREFIX: &str = "yb1";

/// What can go wrong with certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Making or reading a certificate failed.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The join token is not one.
    #[error("join token: {0}; copy the whole line that `yunbase cluster token` prints")]
    Token(&'static str),
    /// Disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The certificate authority of a cluster. Its private half is kept in the cluster's own replicated
/// documents, so any member can admit a node.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authority {
    /// PEM certificate, public.
    pub certificate: String,
    /// PEM private key.
    pub key: String,
}

impl Authority {
    /// A fresh authority for `cluster_id`.
    pub fn create(cluster_id: &str) -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&format!("yunbase cluster {cluster_id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            key: key.serialize_pem(),
        })
    }

    /// Signs the certificate of node `node_id`. Everything but the public key is ours to say, not the request's.
    pub fn sign(
        &self,
        request_der: &[u8],
        cluster_id: &str,
        node_id: u64,
    ) -> Result<String, TlsError> {
        let mut request = CertificateSigningRequestParams::from_der(&request_der.into())?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&server_name(cluster_id, node_id));
        params.subject_alt_names = vec![
            SanType::DnsName(server_name(cluster_id, node_id).try_into()?),
            SanType::DnsName(member_name(cluster_id).try_into()?),
        ];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        request.params = params;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, KeyPair::from_pem(&self.key)?)?;
        Ok(request.signed_by(&issuer)?.pem())
    }
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// The TLS name of one node.
pub fn server_name(cluster_id: &str, node_id: u64) -> String {
    format!("node-{node_id}.{cluster_id}.yunbase")
}

/// The node that a certificate of the cluster's authority names. TLS has verified it by then; this only reads.
pub fn node_of(certificate_der: &[u8]) -> Option<u64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate_der).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    let (node, _) = name.as_str().ok()?.strip_prefix("node-")?.split_once('.')?;
    node.parse().ok()
}

/// The TLS name that every member answers to; for a caller that does not know whom it talks to.
pub fn member_name(cluster_id: &str) -> String {
    format!("member.{cluster_id}.yunbase")
}

/// A key pair and the request to certify it.
pub struct NewKey {
    /// PEM private key.
    pub key: String,
    /// PKCS #10, DER.
    pub request: Vec<u8>,
}

impl NewKey {
    /// Draws a key pair.
    pub fn generate() -> Result<Self, TlsError> {
        let key = KeyPair::generate()?;
        let request = CertificateParams::default().serialize_request(&key)?;
        Ok(Self {
            key: key.serialize_pem(),
            request: request.der().to_vec(),
        })
    }
}

/// What a node holds to speak on the peer port.
#[derive(Clone, Serialize, Deserialize)]
pub struct NodeCertificates {
    /// PEM certificate of the cluster's authority.
    pub authority: String,
    /// PEM certificate of this node.
    pub certificate: String,
    /// PEM private key of this node.
    pub key: String,
}

impl NodeCertificates {
    /// Reads them from the node's TLS folder.
    pub fn load(folder: &Path) -> io::Result<Option<Self>> {
        durable_file::read(&folder.join(FILE), KIND, VERSION)
    }

    /// Stores them durably, readable by the owner only.
    pub fn store(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        durable_file::write(&folder.join(FILE), KIND, VERSION, self)
    }

    /// The listening side. Callers without a certificate get through TLS; the peer server lets them reach
    /// nothing but `Membership.Join`.
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .client_ca_root(Certificate::from_pem(&self.authority))
            .client_auth_optional(true)
    }

    /// The calling side, to node `node_id` and no other.
    pub fn client(&self, cluster_id: &str, node_id: u64) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .domain_name(server_name(cluster_id, node_id))
            .ca_certificate(Certificate::from_pem(&self.authority))
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .assume_http2(true)
    }
}

/// The right to join a cluster, as one line of text: `yb1.<cluster id>.<secret>.<CA certificate, hex of PEM>`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The cluster to join.
    pub cluster_id: String,
    /// What the members check.
    pub secret: String,
    /// PEM certificate of the cluster's authority.
    pub authority: String,
}

impl JoinToken {
    /// The line to hand to a new node.
    pub fn encode(&self) -> String {
        format!(
            "{TOKEN_PREFIX}.{}.{}.{}",
            self.cluster_id,
            self.secret,
            hex::encode(&self.authority)
        )
    }

    /// Reads such a line.
    pub fn decode(text: &str) -> Result<Self, TlsError> {
        let mut parts = text.trim().split('.');
        let (Some(prefix), Some(cluster_id), Some(secret), Some(authority), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(TlsError::Token("it has not four parts"));
        };
        if prefix != TOKEN_PREFIX {
            return Err(TlsError::Token("it is of another kind"));
        }
        let authority =
            hex::decode(authority).map_err(|_| TlsError::Token("its last part is damaged"))?;
        let authority = String::from_utf8(authority)
            .map_err(|_| TlsError::Token("its last part is damaged"))?;
        Ok(Self {
            cluster_id: cluster_id.to_owned(),
            secret: secret.to_owned(),
            authority,
        })
    }

    /// The calling side of a node that has no certificate yet.
    pub fn client(&self) -> ClientTlsConfig {
        ClientTlsConfig::new()
            .domain_name(member_name(&self.cluster_id))
            .ca_certificate(Certificate::from_pem(&self.authority))
            .assume_http2(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_form() {
        let authority = Authority::create("c0ffee").expect("authority");
        let token = JoinToken {
            cluster_id: "c0ffee".into(),
            secret: "5ec2e7".into(),
            authority: authority.certificate,
        };
        assert!(JoinToken::decode(&token.encode()).expect("decodes") == token);
        assert!(JoinToken::decode("yb1.only.three").is_err());
        assert!(JoinToken::decode("yb9.a.b.00").is_err());
    }

    #[test]
    fn a_request_cannot_name_itself() {
        let authority = Authority::create("c0ffee").expect("authority");
        let key = NewKey::generate().expect("key");
        let pem = authority.sign(&key.request, "c0ffee", 7).expect("sign");
        let (_, read) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("pem");
        assert_eq!(node_of(&read.contents), Some(7));
        assert_eq!(node_of(b"not a certificate"), None);
        assert!(authority.sign(b"not a request", "c0ffee", 7).is_err());
    }
}
