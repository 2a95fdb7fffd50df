//! Addresses that open one file for a while, to read or to write it. Any node checks what any other gave out.

use serde::{Deserialize, Serialize};

use super::path::FilePath;
use crate::cluster::map::SharedMap;
use crate::seal::{Kind, Seal};

/// Gives out addresses and checks them.
#[derive(Clone)]
pub struct Links {
    seal: Seal,
}

/// The right to write one file, as the caller had it when it asked for an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadTicket {
    /// Where.
    pub path: String,
    /// Until when, in seconds since 1970.
    pub until_s: i64,
    /// The openid of the user that the file shall belong to.
    pub owner: Option<String>,
    /// Media type, where it was announced.
    pub content_type: Option<String>,
    /// Most bytes.
    pub bytes_max: u64,
    /// What must be so in the instant in which the file comes to be.
    pub condition: TicketCondition,
}

/// What the right to write depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TicketCondition {
    /// Nothing: an administrator asked.
    None,
    /// There was no file, and the caller may make one.
    Absent,
    /// There was this version, and the caller may replace it.
    Version(String),
}

impl Links {
    /// Links of the cluster whose map this is.
    pub fn of_cluster(map: SharedMap) -> Self {
        Self {
            seal: Seal::of_cluster(map),
        }
    }

    /// Links under a known key.
    #[cfg(test)]
    pub fn fixed(key: [u8; 32]) -> Self {
        Self {
            seal: Seal::fixed(key),
        }
    }

    /// The signature, in hexadecimal, for reading `path` until `until_s`, in seconds since 1970; `None` until the node knows
    /// its cluster.
    pub fn sign_download(&self, env: &str, path: &FilePath, until_s: i64) -> Option<String> {
        self.seal.sign(Kind::Download, env, &signed(path, until_s))
    }

    /// Whether a signature is the one for `path` until `until_s`; whether that time has come is for the caller to look.
    pub fn check_download(
        &self,
        env: &str,
        path: &FilePath,
        until_s: i64,
        signature: &str,
    ) -> bool {
        let signed = signed(path, until_s);
        self.seal.check(Kind::Download, env, &signed, signature)
    }

    /// A text that allows one file to be written; `None` until the node knows its cluster.
    pub fn issue_upload(&self, env: &str, ticket: &UploadTicket) -> Option<String> {
        let payload = serde_json::to_vec(ticket).ok()?;
        self.seal.seal(Kind::Upload, env, &payload)
    }

    /// What a text allows, if it was given out here or on another node; whether its time has come is for the caller to look.
    pub fn open_upload(&self, env: &str, text: &str) -> Option<UploadTicket> {
        let payload = self.seal.open(Kind::Upload, env, text)?;
        serde_json::from_slice(&payload).ok()
    }
}

fn signed(path: &FilePath, until_s: i64) -> Vec<u8> {
    [&until_s.to_be_bytes(), path.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_opens_one_file_until_one_time() {
        let links = Links::fixed([3; 32]);
        let path = FilePath::parse("a/b c.png").expect("good");
        let other = FilePath::parse("a/b d.png").expect("good");
        let code = links.sign_download("demo", &path, 100).expect("signed");
        assert!(code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(links.check_download("demo", &path, 100, &code));
        assert!(!links.check_download("demo", &path, 101, &code));
        assert!(!links.check_download("demo", &other, 100, &code));
        assert!(!links.check_download("other", &path, 100, &code));
        assert!(!links.check_download("demo", &path, 100, ""));
    }

    #[test]
    fn tickets_come_back_as_they_were_given_out() {
        let links = Links::fixed([3; 32]);
        let ticket = UploadTicket {
            path: "a".into(),
            until_s: 5,
            owner: Some("o".into()),
            content_type: None,
            bytes_max: 9,
            condition: TicketCondition::Version("v".into()),
        };
        let text = links.issue_upload("demo", &ticket).expect("issued");
        assert_eq!(links.open_upload("demo", &text), Some(ticket));
        assert_eq!(links.open_upload("other", &text), None);
        assert_eq!(Links::fixed([4; 32]).open_upload("demo", &text), None);
    }
}
