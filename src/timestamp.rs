//! Is this text a date-time, and which instant is it? [RFC 3339, section 5.6](https://www.rfc-editor.org/rfc/rfc3339#section-5.6), strictly.
//!
//! chrono knows the calendar; this module closes what chrono leaves open. `parse_from_rfc3339` takes a
//! space for the `T`, a U+2212 for the minus and a second 60 in any minute.

use chrono::{DateTime, TimeDelta, Timelike, Utc};

/// Reads an RFC 3339 date-time; `None` when it isn't one.
///
/// Any number of fraction digits is taken (those beyond nanoseconds are cut off). A leap second,
/// `23:59:60` in UTC, is the instant of the next second, so that the result never holds chrono's
/// special 10⁹ and more nanoseconds.
#[must_use]
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    if !has_shape(text.as_bytes()) {
        return None;
    }
    let instant = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    if instant.nanosecond() < 1_000_000_000 {
        return Some(instant);
    }
    // RFC 3339, section 5.7: a leap second is inserted at the end of a UTC day.
    if (instant.hour(), instant.minute()) != (23, 59) {
        return None;
    }
    let nanoseconds = instant.nanosecond() - 1_000_000_000;
    instant.with_nanosecond(nanoseconds)?.checked_add_signed(TimeDelta::seconds(1))
}

/// Whether each byte is one that the grammar allows in its place. Ranges are chrono's to check.
fn has_shape(text: &[u8]) -> bool {
    let fits = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'T' => matches!(byte, b'T' | b't'),
                b'+' => matches!(byte, b'+' | b'-'),
                _ => byte == shape,
            })
    };
    let Some((date_time, rest)) = text.split_at_checked(19) else {
        return false;
    };
    let offset = match rest.strip_prefix(b".") {
        None => rest,
        Some(rest) => {
            let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &rest[digits..]
        }
    };
    fits(date_time, b"0000-00-00T00:00:00") && (matches!(offset, b"Z" | b"z") || fits(offset, b"+00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, seconds: i64, nanoseconds: u32) {
        let instant = parse(text).unwrap_or_else(|| panic!("{text} was refused"));
        assert_eq!((instant.timestamp(), instant.timestamp_subsec_nanos()), (seconds, nanoseconds), "{text}");
    }

    #[test]
    fn the_grammar() {
        reads("2025-10-14T09:29:27.098914861Z", 1_760_434_167, 98_914_861);
        reads("2025-10-14T09:29:27Z", 1_760_434_167, 0);
        reads("2025-10-14t09:29:27z", 1_760_434_167, 0);
        reads("2025-10-14T11:59:27+02:30", 1_760_434_167, 0);
        reads("2025-10-14T09:29:27-00:00", 1_760_434_167, 0);
        reads("2025-10-14T09:29:27.5-23:59", 1_760_434_167 + 86_340, 500_000_000);
        reads("2025-10-14T09:29:27.0000000019Z", 1_760_434_167, 1);
        reads("0000-01-01T00:00:00+23:59", -62_167_219_200 - 86_340, 0);
        reads("2024-02-29T00:00:00Z", 1_709_164_800, 0);
    }

    #[test]
    fn a_leap_second_is_the_next_second() {
        reads("2016-12-31T23:59:60Z", 1_483_228_800, 0);
        reads("2016-12-31T23:59:60.25Z", 1_483_228_800, 250_000_000);
        reads("2017-01-01T05:29:60+05:30", 1_483_228_800, 0);
        reads("9999-12-31T23:59:60.999999999Z", 253_402_300_800, 999_999_999);
    }

    #[test]
    fn offsets_reach_to_23_59() {
        for sign in ['+', '-'] {
            for (hours, minutes) in (0..10_000).map(|digits| (digits / 100, digits % 100)) {
                let text = format!("2025-10-14T09:29:27{sign}{hours:02}:{minutes:02}");
                assert_eq!(parse(&text).is_some(), hours < 24 && minutes < 60, "{text}");
            }
        }
    }

    #[test]
    fn what_is_none() {
        for (why, text) in [
            ("nothing", ""),
            ("a date", "2025-10-14"),
            ("a space for the T", "2025-10-14 09:29:27Z"),
            ("no offset", "2025-10-14T09:29:27"),
            ("no seconds", "2025-10-14T09:29Z"),
            ("a U+2212 minus", "2025-10-14T09:29:27\u{2212}02:00"),
            ("an offset without colon", "2025-10-14T09:29:27+0200"),
            ("an offset of hours", "2025-10-14T09:29:27+02"),
            ("offset hour 24", "2025-10-14T09:29:27+24:00"),
            ("offset minute 60", "2025-10-14T09:29:27+02:60"),
            ("a point without digits", "2025-10-14T09:29:27.Z"),
            ("a comma", "2025-10-14T09:29:27,5Z"),
            ("month 13", "2025-13-14T09:29:27Z"),
            ("30 February", "2025-02-30T09:29:27Z"),
            ("29 February of a common year", "2025-02-29T09:29:27Z"),
            ("hour 24", "2025-10-14T24:00:00Z"),
            ("second 61", "2016-12-31T23:59:61Z"),
            ("second 60 before the day's last minute", "2016-12-31T23:58:60Z"),
            ("second 60 at 23:59 of another offset", "2016-12-31T23:59:60+01:00"),
            ("a five digit year", "12025-10-14T09:29:27Z"),
            ("a sign before the year", "+2025-10-14T09:29:27Z"),
            ("space around", " 2025-10-14T09:29:27Z"),
            ("a newline after", "2025-10-14T09:29:27Z\n"),
            ("other digits", "2025-10-14T09:29:2\u{0667}Z"),
        ] {
            assert_eq!(parse(text), None, "{why}: {text}");
        }
    }
}
