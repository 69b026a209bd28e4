//! Parses RFC 3339 date-times independently of chrono, so that the tests can compare both results. The grammar is
//! parsed by hand, and dates are converted to numbers of days.

/// The seconds since 1970 and the nanoseconds, or `None` if the text is not a valid date-time.
pub fn instant(text: &str) -> Option<(i64, u32)> {
    let mut rest = Rest(text.as_bytes());
    let year = rest.number(4)?;
    rest.one_of(b"-")?;
    let month = rest.number(2)?;
    rest.one_of(b"-")?;
    let day = rest.number(2)?;
    rest.one_of(b"Tt")?;
    let hour = rest.number(2)?;
    rest.one_of(b":")?;
    let minute = rest.number(2)?;
    rest.one_of(b":")?;
    let second = rest.number(2)?;
    let nanoseconds = if rest.one_of(b".").is_some() { rest.fraction()? } else { 0 };
    let offset = match rest.one_of(b"Zz+-")? {
        b'Z' | b'z' => 0,
        sign => {
            let hours = rest.number(2).filter(|hours| *hours < 24)?;
            rest.one_of(b":")?;
            let minutes = rest.number(2).filter(|minutes| *minutes < 60)?;
            let seconds = (hours * 60 + minutes) * 60;
            if sign == b'+' { seconds } else { -seconds }
        }
    };
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && rest.0.is_empty();
    if !in_range {
        return None;
    }
    let seconds = ((days_before(year, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second - offset;
    // A leap second is the last second of a UTC day, so the number computed for it is that of the next midnight.
    if second == 60 && seconds.rem_euclid(86_400) != 0 {
        return None;
    }
    Some((seconds, nanoseconds))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The days from 1970-01-01 to the first day of the month.
fn days_before(year: i64, month: i64) -> i64 {
    let leap_years = (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let months: i64 = (1..month).map(|month| days_in(year, month)).sum();
    365 * year + leap_years + months - 719_528
}

/// The bytes of the text that have not been read yet.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        if !bytes.contains(first) {
            return None;
        }
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self, digits: usize) -> Option<i64> {
        (0..digits).try_fold(0, |number, _| Some(number * 10 + i64::from(self.one_of(b"0123456789")? - b'0')))
    }

    /// Reads one or more digits as a fraction of a second in nanoseconds. Digits after the ninth are ignored.
    fn fraction(&mut self) -> Option<u32> {
        let mut digits = vec![self.number(1)?];
        while let Some(digit) = self.number(1) {
            digits.push(digit);
        }
        digits.resize(9, 0);
        digits.iter().try_fold(0, |number, digit| Some(number * 10 + u32::try_from(*digit).ok()?))
    }
}

#[test]
fn instants_agree_with_the_date_command() {
    // The expected values are the output of `date -u -d … +%s`.
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59Z", -1),
        ("2000-02-29T12:00:00Z", 951_825_600),
        ("2025-10-14T09:29:27Z", 1_760_434_167),
        ("2100-03-01T00:00:00Z", 4_107_542_400),
        ("0000-01-01T00:00:00Z", -62_167_219_200),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ] {
        assert_eq!(instant(text), Some((seconds, 0)), "{text}");
    }
    assert_eq!(instant("1970-01-01T00:00:00.0123456789+00:01"), Some((-60, 12_345_678)));
}
