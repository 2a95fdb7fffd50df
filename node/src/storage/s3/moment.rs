//! Times of files as S3 tells them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use s3s::dto::Timestamp;

/// The end of the year 9999, the last one that S3 can write.
const MS_MAX: u64 = 253_402_300_799_000;

/// A moment, in milliseconds since 1970.
pub(super) fn of_ms(ms: i64) -> Timestamp {
    Timestamp::from(at(ms))
}

/// The second that a moment lies in: HTTP knows no smaller times, so conditions must not either.
pub(super) fn second_of_ms(ms: i64) -> Timestamp {
    of_ms(ms.div_euclid(1000).saturating_mul(1000))
}

fn at(ms: i64) -> SystemTime {
    let ms = u64::try_from(ms).unwrap_or(0).min(MS_MAX);
    UNIX_EPOCH + Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use s3s::dto::TimestampFormat;

    use super::*;

    fn text(moment: &Timestamp) -> String {
        let mut text = Vec::new();
        moment
            .format(TimestampFormat::DateTime, &mut text)
            .expect("a time");
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn moments_are_told_whatever_they_are() {
        assert_eq!(text(&of_ms(1_700_000_000_123)), "2023-11-14T22:13:20.123Z");
        assert_eq!(
            text(&second_of_ms(1_700_000_000_123)),
            "2023-11-14T22:13:20.000Z"
        );
        assert_eq!(text(&of_ms(-1)), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(&of_ms(i64::MAX)), "9999-12-31T23:59:59.000Z");
    }
}
