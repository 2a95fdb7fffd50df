//! URLs of files: how they are written, and what the path of one may mean.
//!
//! Clients are given addresses to read from with the path as it is, because they escape it themselves. Some escape what
//! is escaped already. So a path that arrives is read in each way that it may have been meant, and the signature or the
//! ticket, which is for one exact path, decides. Without either it is what the URL says.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::error::StorageError;
use super::path::FilePath;

/// What all addresses of files begin with, followed by the environment.
pub const PREFIX: &str = "/storage/";
/// The parameter with the signature.
pub const SIGNATURE: &str = "sign";
/// The parameter with the end of its life, in Unix seconds.
pub const UNTIL: &str = "t";

/// What is escaped: all that has a meaning in some part of a URL, or none in any.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');
/// What ends the path of a URL, so that no client could escape it later; and the character of escapes.
const ENDINGS: [char; 2] = ['?', '#'];
const ENDINGS_ESCAPED: &AsciiSet = &percent_encoding::CONTROLS.add(b'?').add(b'#').add(b'%');

/// The address of a file, escaped: to upload to, and to read from where everyone may.
pub fn plain(origin: &str, env: &str, path: &FilePath) -> String {
    let path = utf8_percent_encode(path.as_str(), ESCAPED);
    format!("{origin}{PREFIX}{env}/{path}")
}

/// The same with the path as it is.
pub fn plain_unescaped(origin: &str, env: &str, path: &FilePath) -> String {
    let path = path.as_str();
    if path.contains(ENDINGS) {
        let path = utf8_percent_encode(path, ENDINGS_ESCAPED);
        return format!("{origin}{PREFIX}{env}/{path}");
    }
    format!("{origin}{PREFIX}{env}/{path}")
}

/// An address with a signature that opens it until `until_s`.
pub fn signed(address: &str, signature: &str, until_s: i64) -> String {
    format!("{address}?{SIGNATURE}={signature}&{UNTIL}={until_s}")
}

/// What `path`, of a URL, may mean, likeliest first.
pub fn readings(path: &str) -> Result<Vec<String>, StorageError> {
    let once = percent_decode_str(path).decode_utf8().map_err(|_| {
        StorageError::Invalid(
            "the path of the URL is not UTF-8: escape each byte of its UTF-8 form".to_owned(),
        )
    })?;
    let mut readings = vec![once.to_string()];
    if let Ok(twice) = percent_decode_str(&once).decode_utf8()
        && twice != once
    {
        readings.push(twice.into_owned());
    }
    if path != once {
        readings.push(path.to_owned());
    }
    Ok(readings)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What JavaScript's `encodeURI` does.
    fn encode_uri(text: &str) -> String {
        let mut set = ESCAPED.remove(b'!');
        for kept in *b"*'();:@&=+$,/?#" {
            set = set.remove(kept);
        }
        let set: &'static AsciiSet = Box::leak(Box::new(set));
        utf8_percent_encode(text, set).to_string()
    }

    /// The path below the environment as a server gets it.
    fn arrived(address: &str) -> String {
        let path = address.split(['?', '#']).next().unwrap();
        path.strip_prefix("http://h/storage/demo/")
            .unwrap()
            .to_owned()
    }

    #[test]
    fn every_path_survives_every_client() {
        for name in [
            "a/b.png",
            "图片/一 二.png",
            "100%.png",
            "a%41",
            "%2e%2e",
            "a?b",
            "a#b%41",
            "q=1&r=+2",
            "a\\b|c",
            "it's (1)!*;:@,$",
        ] {
            let path = FilePath::parse(name).unwrap();
            let unescaped = signed(&plain_unescaped("http://h", "demo", &path), "ab", 5);
            let escaped = signed(&plain("http://h", "demo", &path), "ab", 5);
            for address in [
                unescaped.clone(),
                encode_uri(&unescaped),
                escaped.clone(),
                encode_uri(&escaped),
            ] {
                assert!(address.ends_with("?sign=ab&t=5"), "{address}");
                let means = readings(&arrived(&address)).unwrap();
                assert!(
                    means.iter().any(|path| path == name),
                    "{address}: {means:?}"
                );
            }
            // Without a signature only the first is looked at.
            assert_eq!(readings(&arrived(&escaped)).unwrap()[0], name);
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert!(readings("a%ff").is_err());
        assert_eq!(readings("a%25ff").unwrap(), ["a%ff", "a%25ff"]);
    }
}
