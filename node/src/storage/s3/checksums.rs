//! The checksums of an upload: those that a client has sent, in headers or after the body, against those of what arrived.

use axum::http::HeaderMap;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::dto::{Checksum, ChecksumAlgorithm};

use super::upload_body::Fault;

/// The header that says what will come after the body.
const TRAILER: &str = "x-amz-trailer";

/// A checksum that S3 knows: its name, the header that carries it, and its place in what `s3s` hands over.
struct Kind {
    name: &'static str,
    header: &'static str,
    value: fn(&Checksum) -> Option<&str>,
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "CRC32",
        header: "x-amz-checksum-crc32",
        value: |sums| sums.checksum_crc32.as_deref(),
    },
    Kind {
        name: "CRC32C",
        header: "x-amz-checksum-crc32c",
        value: |sums| sums.checksum_crc32c.as_deref(),
    },
    Kind {
        name: "CRC64NVME",
        header: "x-amz-checksum-crc64nvme",
        value: |sums| sums.checksum_crc64nvme.as_deref(),
    },
    Kind {
        name: "SHA1",
        header: "x-amz-checksum-sha1",
        value: |sums| sums.checksum_sha1.as_deref(),
    },
    Kind {
        name: "SHA256",
        header: "x-amz-checksum-sha256",
        value: |sums| sums.checksum_sha256.as_deref(),
    },
];

/// The checksums of an input. The fields are called the same in all of them.
macro_rules! sent_checksums {
    ($input:expr) => {
        s3s::dto::Checksum {
            checksum_crc32: $input.checksum_crc32.clone(),
            checksum_crc32c: $input.checksum_crc32c.clone(),
            checksum_crc64nvme: $input.checksum_crc64nvme.clone(),
            checksum_sha1: $input.checksum_sha1.clone(),
            checksum_sha256: $input.checksum_sha256.clone(),
            checksum_type: None,
        }
    };
}
pub(super) use sent_checksums;

/// Computes while an upload arrives what has to be compared at its end.
pub(super) struct Checksums {
    hasher: ChecksumHasher,
    sent: Checksum,
    /// Headers of those that come after the body.
    promised: Vec<&'static str>,
}

impl Checksums {
    /// Those that were sent, that the headers promise, and that the client would like to be told.
    pub(super) fn new(
        sent: Checksum,
        wished: Option<&ChecksumAlgorithm>,
        headers: &HeaderMap,
    ) -> Self {
        let promises: Vec<&str> = headers
            .get_all(TRAILER)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .collect();
        let is_promised = |header: &str| {
            promises
                .iter()
                .any(|promise| promise.eq_ignore_ascii_case(header))
        };
        let mut hasher = ChecksumHasher::default();
        let mut promised = Vec::new();
        for kind in &KINDS {
            let comes_after = is_promised(kind.header);
            if comes_after {
                promised.push(kind.header);
            }
            let is_wished =
                wished.is_some_and(|algorithm| algorithm.as_str().eq_ignore_ascii_case(kind.name));
            if comes_after || is_wished || (kind.value)(&sent).is_some() {
                begin(&mut hasher, kind.name);
            }
        }
        Self {
            hasher,
            sent,
            promised,
        }
    }

    /// Takes in what has arrived.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Compares, and tells the checksums that were computed.
    pub(super) fn finish(self, trailers: Option<&HeaderMap>) -> Result<Checksum, Fault> {
        let computed = self.hasher.finalize();
        for kind in &KINDS {
            let Some(own) = (kind.value)(&computed) else {
                continue;
            };
            let after = trailers
                .and_then(|trailers| trailers.get(kind.header))
                .and_then(|value| value.to_str().ok());
            if after.is_none() && self.promised.contains(&kind.header) {
                return Err(Fault::NoTrailer(kind.header));
            }
            let differs = |sent: Option<&str>| sent.is_some_and(|sent| sent != own);
            if differs(after) || differs((kind.value)(&self.sent)) {
                return Err(Fault::Checksum(kind.name));
            }
        }
        Ok(computed)
    }
}

fn begin(hasher: &mut ChecksumHasher, name: &str) {
    match name {
        "CRC32" => hasher.crc32 = Some(s3s::crypto::Crc32::new()),
        "CRC32C" => hasher.crc32c = Some(s3s::crypto::Crc32c::new()),
        "CRC64NVME" => hasher.crc64nvme = Some(s3s::crypto::Crc64Nvme::new()),
        "SHA1" => hasher.sha1 = Some(s3s::crypto::Sha1::new()),
        _ => hasher.sha256 = Some(s3s::crypto::Sha256::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: &[u8] = b"123456789";
    /// Of `CONTENT`, in base64: the check values of the algorithms' own definitions.
    const CRC32: &str = "y/Q5Jg==";
    const CRC32C: &str = "4waSgw==";
    const CRC64NVME: &str = "rosUhgp5mIg=";
    const SHA1: &str = "98O8HYCOBHMq32eZZczDTKeuNEE=";

    fn verdict(
        sent: Checksum,
        headers: &HeaderMap,
        trailers: &HeaderMap,
    ) -> Result<Checksum, Fault> {
        let mut checksums = Checksums::new(sent, None, headers);
        checksums.update(&CONTENT[..4]);
        checksums.update(&CONTENT[4..]);
        checksums.finish(Some(trailers))
    }

    #[test]
    fn checksums_of_headers_are_compared() {
        let none = HeaderMap::new();
        let good = Checksum {
            checksum_crc32: Some(CRC32.to_owned()),
            checksum_crc32c: Some(CRC32C.to_owned()),
            checksum_crc64nvme: Some(CRC64NVME.to_owned()),
            checksum_sha1: Some(SHA1.to_owned()),
            ..Checksum::default()
        };
        let told = verdict(good.clone(), &none, &none).expect("as sent");
        assert_eq!(told.checksum_crc32.as_deref(), Some(CRC32));
        assert_eq!(told.checksum_sha256, None);
        let bad = Checksum {
            checksum_crc32c: Some(CRC32.to_owned()),
            ..good
        };
        assert_eq!(
            verdict(bad, &none, &none).err(),
            Some(Fault::Checksum("CRC32C"))
        );
    }

    #[test]
    fn checksums_after_the_body_are_compared_and_must_come() {
        let mut headers = HeaderMap::new();
        headers.insert(TRAILER, "x-amz-checksum-crc32".parse().expect("a value"));
        let trailers = |value: &'static str| {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-amz-checksum-crc32", value.parse().expect("a value"));
            trailers
        };
        let none = Checksum::default;
        assert!(verdict(none(), &headers, &trailers(CRC32)).is_ok());
        assert_eq!(
            verdict(none(), &headers, &trailers("AAAAAA==")).err(),
            Some(Fault::Checksum("CRC32"))
        );
        assert_eq!(
            verdict(none(), &headers, &HeaderMap::new()).err(),
            Some(Fault::NoTrailer("x-amz-checksum-crc32"))
        );
    }

    #[test]
    fn what_is_wished_is_told() {
        let wished = ChecksumAlgorithm::from_static(ChecksumAlgorithm::SHA256);
        let mut checksums = Checksums::new(Checksum::default(), Some(&wished), &HeaderMap::new());
        checksums.update(b"");
        let told = checksums.finish(None).expect("nothing to compare");
        assert_eq!(
            told.checksum_sha256.as_deref(),
            Some("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
        );
    }
}
