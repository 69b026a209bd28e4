//! Date-times as defined in [RFC 3339, section 5.6](https://www.rfc-editor.org/rfc/rfc3339#section-5.6).

use chrono::{DateTime, SecondsFormat, TimeDelta, Timelike, Utc};
use serde::{Deserialize, Serialize};

/// A time as Scalekit wrote it.
///
/// It should be an RFC 3339 date-time with up to nanosecond precision, but deserializing it doesn't check that.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemas", derive(schemars::JsonSchema), schemars(inline))]
#[serde(transparent)]
pub struct Timestamp(String);

impl Timestamp {
    /// The time as the event contains it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// [Parses](parse) the time; `None` if it is not an RFC 3339 date-time.
    #[must_use]
    pub fn instant(&self) -> Option<DateTime<Utc>> {
        parse(&self.0)
    }

    /// The time in UTC with nine fraction digits; `None` if it is not an RFC 3339 date-time.
    ///
    /// The order of these strings is that of the times, so they can be sort keys in a database. This isn't true for
    /// the times as Scalekit writes them, which have no zeros at the end of the fraction: as a string, `…27Z` comes
    /// after `…27.5Z`.
    #[must_use]
    pub fn sortable(&self) -> Option<String> {
        Some(self.instant()?.to_rfc3339_opts(SecondsFormat::Nanos, true))
    }
}

/// Parses an RFC 3339 date-time; `None` if the string isn't one.
///
/// Any number of fraction digits is accepted, and digits beyond nanoseconds are dropped. For a leap second, `23:59:60`
/// in UTC, the result is the following second. chrono would represent it with 10⁹ nanoseconds or more, which other
/// libraries don't expect.
#[must_use]
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    // `parse_from_rfc3339` accepts more than the grammar: a space in place of the `T`, and U+2212 as the minus sign.
    if !follows_grammar(text.as_bytes()) {
        return None;
    }
    let instant = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    if instant.nanosecond() < 1_000_000_000 {
        return Some(instant);
    }
    // chrono accepts second 60 in any minute. A leap second is inserted at the end of a UTC day. RFC 3339, section 5.7,
    // allows second 60 only at the end of a month that has a leap second. The month isn't checked.
    if (instant.hour(), instant.minute()) != (23, 59) {
        return None;
    }
    let nanoseconds = instant.nanosecond() - 1_000_000_000;
    instant.with_nanosecond(nanoseconds)?.checked_add_signed(TimeDelta::seconds(1))
}

/// Whether the text follows the grammar, except for the ranges of the numbers, which chrono checks.
fn follows_grammar(text: &[u8]) -> bool {
    let Some((date_time, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else {
        return false;
    };
    let offset = match rest.strip_prefix(b".") {
        None => rest,
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
    };
    matches_pattern(date_time, b"0000-00-00T00:00:00")
        && (matches!(offset, b"Z" | b"z") || matches_pattern(offset, b"+00:00"))
}

/// Whether the text matches a pattern in which `0` stands for a digit, `T` for `T` or `t`, and `+` for `+` or `-`.
fn matches_pattern(text: &[u8], pattern: &[u8]) -> bool {
    text.len() == pattern.len()
        && text.iter().zip(pattern).all(|(byte, expected)| match expected {
            b'0' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't'),
            b'+' => matches!(byte, b'+' | b'-'),
            _ => byte == expected,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_parses(text: &str, seconds: i64, nanoseconds: u32) {
        let instant = parse(text).unwrap_or_else(|| panic!("{text} is not accepted"));
        assert_eq!((instant.timestamp(), instant.timestamp_subsec_nanos()), (seconds, nanoseconds), "{text}");
    }

    #[test]
    fn sortable_times_have_nine_fraction_digits() {
        for (text, sortable) in [
            ("2025-10-14T09:29:27Z", Some("2025-10-14T09:29:27.000000000Z")),
            ("2025-10-14T09:29:27.5Z", Some("2025-10-14T09:29:27.500000000Z")),
            ("2025-10-14T09:29:27.098914861Z", Some("2025-10-14T09:29:27.098914861Z")),
            ("2025-10-14T11:29:27.5+02:00", Some("2025-10-14T09:29:27.500000000Z")),
            ("2016-12-31T23:59:60Z", Some("2017-01-01T00:00:00.000000000Z")),
            ("2025-10-14", None),
        ] {
            assert_eq!(Timestamp(text.to_owned()).sortable().as_deref(), sortable, "{text}");
        }
    }

    #[test]
    fn date_times_in_the_grammar_are_accepted() {
        assert_parses("2025-10-14T09:29:27.098914861Z", 1_760_434_167, 98_914_861);
        assert_parses("2025-10-14T09:29:27Z", 1_760_434_167, 0);
        assert_parses("2025-10-14t09:29:27z", 1_760_434_167, 0);
        assert_parses("2025-10-14T11:59:27+02:30", 1_760_434_167, 0);
        assert_parses("2025-10-14T09:29:27-00:00", 1_760_434_167, 0);
        assert_parses("2025-10-14T09:29:27.5-23:59", 1_760_434_167 + 86_340, 500_000_000);
        assert_parses("2025-10-14T09:29:27.0000000019Z", 1_760_434_167, 1);
        assert_parses("0000-01-01T00:00:00+23:59", -62_167_219_200 - 86_340, 0);
        assert_parses("2024-02-29T00:00:00Z", 1_709_164_800, 0);
    }

    #[test]
    fn a_leap_second_is_the_following_second() {
        assert_parses("2016-12-31T23:59:60Z", 1_483_228_800, 0);
        assert_parses("2016-12-31T23:59:60.25Z", 1_483_228_800, 250_000_000);
        assert_parses("2017-01-01T05:29:60+05:30", 1_483_228_800, 0);
        assert_parses("9999-12-31T23:59:60.999999999Z", 253_402_300_800, 999_999_999);
    }

    #[test]
    fn offsets_range_from_minus_23_59_to_23_59() {
        for sign in ['+', '-'] {
            for (hours, minutes) in (0..10_000).map(|digits| (digits / 100, digits % 100)) {
                let text = format!("2025-10-14T09:29:27{sign}{hours:02}:{minutes:02}");
                assert_eq!(parse(&text).is_some(), hours < 24 && minutes < 60, "{text}");
            }
        }
    }

    #[test]
    fn other_strings_are_refused() {
        for (description, text) in [
            ("an empty string", ""),
            ("only a date", "2025-10-14"),
            ("a space in place of the T", "2025-10-14 09:29:27Z"),
            ("no offset", "2025-10-14T09:29:27"),
            ("no seconds", "2025-10-14T09:29Z"),
            ("U+2212 as the minus sign", "2025-10-14T09:29:27\u{2212}02:00"),
            ("an offset without a colon", "2025-10-14T09:29:27+0200"),
            ("an offset without minutes", "2025-10-14T09:29:27+02"),
            ("offset hour 24", "2025-10-14T09:29:27+24:00"),
            ("offset minute 60", "2025-10-14T09:29:27+02:60"),
            ("a decimal point without digits", "2025-10-14T09:29:27.Z"),
            ("a decimal comma", "2025-10-14T09:29:27,5Z"),
            ("month 13", "2025-13-14T09:29:27Z"),
            ("30 February", "2025-02-30T09:29:27Z"),
            ("29 February outside a leap year", "2025-02-29T09:29:27Z"),
            ("hour 24", "2025-10-14T24:00:00Z"),
            ("second 61", "2016-12-31T23:59:61Z"),
            ("second 60 before the last minute of the day", "2016-12-31T23:58:60Z"),
            ("second 60 at 23:59 that is not 23:59 in UTC", "2016-12-31T23:59:60+01:00"),
            ("a year of five digits", "12025-10-14T09:29:27Z"),
            ("a sign before the year", "+2025-10-14T09:29:27Z"),
            ("leading white space", " 2025-10-14T09:29:27Z"),
            ("a trailing newline", "2025-10-14T09:29:27Z\n"),
            ("a digit outside ASCII", "2025-10-14T09:29:2\u{0667}Z"),
        ] {
            assert_eq!(parse(text), None, "{description}: {text}");
        }
    }
}
