//! Ids made at the edge: of documents that come without one, and of requests.

use rand::RngCore;

/// A new `_id`: 32 lower-case hex digits, as the original gives out.
///
/// The first 12 digits are the time in milliseconds, so that documents inserted together lie
/// together in the store and an unsorted read returns them about in the order of insertion.
pub(crate) fn document_id(now_unix_ms: i64) -> String {
    let mut bytes = [0_u8; 16];
    rand::rng().fill_bytes(&mut bytes[6..]);
    bytes[..6].copy_from_slice(&now_unix_ms.max(0).to_be_bytes()[2..]);
    hex::encode(bytes)
}

/// A new request id.
pub(crate) fn request_id() -> String {
    let mut bytes = [0_u8; 12];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// Takes over the client's own id where it is short and plain enough to stand in a log line and a header.
pub(crate) fn adopt_request_id(offered: Option<&str>, bytes_max: usize) -> String {
    match offered {
        Some(id) if !id.is_empty() && id.len() <= bytes_max && id.bytes().all(is_plain) => {
            id.to_owned()
        }
        _ => request_id(),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':')
}

#[cfg(test)]
mod tests {
    use super::{adopt_request_id, document_id};

    #[test]
    fn document_ids_are_hex_and_follow_time() {
        let (early, late) = (document_id(1_000), document_id(2_000));
        for id in [&early, &late] {
            assert_eq!(id.len(), 32);
            assert!(
                id.bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
                "{id}"
            );
        }
        assert!(early < late);
        assert_ne!(document_id(1_000), early);
    }

    #[test]
    fn only_plain_request_ids_are_taken_over() {
        assert_eq!(adopt_request_id(Some("1700-ab_c"), 128), "1700-ab_c");
        for bad in ["", "a b", "a\n", "\u{e9}", "\"", &"x".repeat(129)] {
            assert_ne!(adopt_request_id(Some(bad), 128), bad);
        }
        assert_eq!(adopt_request_id(None, 128).len(), 24);
    }
}
