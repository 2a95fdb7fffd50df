//! Contents that are compared with what was said of them.

use futures::stream;
use tokio::io::AsyncReadExt as _;

use super::*;

fn body(pieces: &[&'static str], announced: i64, sent: Checksum) -> UploadBody {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|piece| Ok::<_, io::Error>(Bytes::from_static(piece.as_bytes())))
        .collect();
    let stream = StreamingBlob::wrap(stream::iter(pieces));
    let checksums = Checksums::new(sent, None, &HeaderMap::new());
    UploadBody::new(
        Some(stream),
        Some(announced),
        checksums,
        None,
        Arrival::default(),
    )
    .expect("a length")
}

fn crc32(value: &str) -> Checksum {
    Checksum {
        checksum_crc32: Some(value.to_owned()),
        ..Checksum::default()
    }
}

#[tokio::test]
async fn a_content_arrives_whole() {
    let mut body = body(&["1234", "", "56789"], 9, crc32("y/Q5Jg=="));
    let mut content = String::new();
    body.read_to_string(&mut content).await.expect("good");
    assert_eq!((content.as_str(), body.fault()), ("123456789", None));
    // Its end stays its end.
    assert_eq!(body.read(&mut [0; 8]).await.expect("good"), 0);
    assert_eq!(body.announced(), 9);
    let told = body.into_checksums();
    assert_eq!(told.checksum_crc32.as_deref(), Some("y/Q5Jg=="));
}

#[tokio::test]
async fn what_is_wrong_is_an_error_before_the_end() {
    for (pieces, announced, sent, wanted) in [
        (["1234", "5678"], 8, "y/Q5Jg==", Fault::Checksum("CRC32")),
        (
            ["1234", "5678"],
            9,
            "",
            Fault::Length {
                received: 8,
                announced: 9,
            },
        ),
        (
            ["1234", "5678"],
            7,
            "",
            Fault::Length {
                received: 8,
                announced: 7,
            },
        ),
    ] {
        let sent = if sent.is_empty() {
            Checksum::default()
        } else {
            crc32(sent)
        };
        let mut body = body(&pieces, announced, sent);
        let mut content = Vec::new();
        assert!(body.read_to_end(&mut content).await.is_err());
        assert_eq!(body.fault(), Some(&wanted));
        assert!(body.read(&mut [0; 8]).await.is_err(), "an error stays one");
    }
}

#[tokio::test]
async fn errors_of_the_stream_are_told_apart() {
    for (text, code) in [
        (
            "UploadStreamError: Sha256Mismatch",
            "XAmzContentSHA256Mismatch",
        ),
        (
            "AwsChunkedStreamError: SignatureMismatch",
            "SignatureDoesNotMatch",
        ),
        ("AwsChunkedStreamError: Incomplete", "IncompleteBody"),
        ("AwsChunkedStreamError: FormatError", "InvalidRequest"),
    ] {
        let failing = stream::iter([Err::<Bytes, _>(io::Error::other(text))]);
        let checksums = Checksums::new(Checksum::default(), None, &HeaderMap::new());
        let stream = Some(StreamingBlob::wrap(failing));
        let mut body = UploadBody::new(stream, Some(1), checksums, None, Arrival::default())
            .expect("a length");
        assert!(body.read(&mut [0; 8]).await.is_err());
        let told = body.fault().expect("a fault").told();
        assert_eq!(told.code().as_str(), code);
        assert!(
            told.status_code()
                .is_some_and(|status| status.is_client_error())
        );
    }
}

#[test]
fn a_length_is_needed() {
    let checksums = || Checksums::new(Checksum::default(), None, &HeaderMap::new());
    let unknown = StreamingBlob::wrap(stream::iter(Vec::<Result<Bytes, io::Error>>::new()));
    let refused = UploadBody::new(Some(unknown), None, checksums(), None, Arrival::default());
    let code = refused.err().map(|error| error.code().as_str().to_owned());
    assert_eq!(code.as_deref(), Some("MissingContentLength"));
    let empty = UploadBody::new(None, None, checksums(), None, Arrival::default());
    assert_eq!(empty.map(|body| body.announced()).ok(), Some(0));
}
