//! The JSON that the bus accepts: an object in UTF-8, at most 1000 levels deep.

use std::fmt;

use scalekit_events::CowStr;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{error::Category, value::RawValue};

/// The most levels of objects and arrays that EventBridge accepts in a detail.
pub const MAX_DEPTH: usize = 1000;

/// The place where a body isn't the JSON that the bus accepts, and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The reason. It contains no part of the body.
    pub reason: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1.
    pub column: usize,
}

/// The members of a JSON object, in their order. Their values are not parsed yet.
#[derive(Debug)]
pub struct Members<'a>(pub Vec<(CowStr<'a>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::with_capacity(16);
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// The bytes as text.
///
/// # Errors
/// [`Malformed`] at the first byte that isn't UTF-8.
pub fn utf8(body: &[u8]) -> Result<&str, Malformed> {
    str::from_utf8(body).map_err(|error| Malformed::at(body, error.valid_up_to(), "invalid UTF-8"))
}

/// Deserializes a JSON object. `T` must accept any members.
///
/// # Errors
/// [`Malformed`] if the text isn't valid JSON, isn't an object, or is deeper than [`MAX_DEPTH`].
pub fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Malformed> {
    let object = serde_json::from_str(json).map_err(|error| Malformed::of(json.as_bytes(), &error))?;
    match too_deep(json.as_bytes()) {
        None => Ok(object),
        Some(offset) => Err(Malformed::at(json.as_bytes(), offset, format!("more than {MAX_DEPTH} levels deep"))),
    }
}

/// The offset of the first bracket that opens a level beyond [`MAX_DEPTH`]. The JSON must be valid.
fn too_deep(json: &[u8]) -> Option<usize> {
    // Nearly every body has at most `MAX_DEPTH` opening brackets, even with those in strings, so it can't be too deep.
    memchr::memchr2_iter(b'{', b'[', json).nth(MAX_DEPTH)?;
    let mut depth = 0;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'{' | b'[' if depth >= MAX_DEPTH => return Some(at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => at = end_of_string(json, at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The offset of the quote that closes the string opened at `start`.
fn end_of_string(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = json.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if json[at] == b'"' {
            return at;
        }
        at += 2;
    }
    json.len()
}

impl Malformed {
    fn at(body: &[u8], offset: usize, reason: impl Into<String>) -> Self {
        let before = &body[..offset];
        let line_start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        Self {
            reason: reason.into(),
            line: memchr::memchr_iter(b'\n', before).count() + 1,
            column: offset - line_start + 1,
        }
    }

    fn of(body: &[u8], error: &serde_json::Error) -> Self {
        // `T` can only fail because the value isn't an object. serde_json's own message would contain the value.
        if error.classify() == Category::Data {
            let start = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
            return Self::at(body, start, "not a JSON object");
        }
        // These messages are fixed texts that end with the place. `line` and `column` already give it, so cut it off.
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let reason = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or("not JSON");
        // serde_json gives the place of the byte that it read last; column 0 is the line break before that line. If the
        // body ended too early, the place is after its last byte.
        let lines = body.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
        let read = lines.map(<[u8]>::len).sum::<usize>() + column;
        let offset = if error.is_eof() { body.len() } else { read.saturating_sub(1).min(body.len()) };
        Self::at(body, offset, reason)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {}, column {}", self.reason, self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::value::RawValue;

    use super::*;

    fn malformed(body: &[u8]) -> Option<Malformed> {
        let read = utf8(body).and_then(object::<BTreeMap<String, &RawValue>>);
        read.err()
    }

    /// Nested objects and arrays, in turn, of this depth.
    fn deep(levels: usize) -> String {
        let (open, close) = (r#"{"a":["#.repeat(levels / 2), "]}".repeat(levels / 2));
        if levels.is_multiple_of(2) { format!("{open}{close}") } else { format!("{open}{{}}{close}") }
    }

    #[test]
    fn the_error_names_the_place() {
        for (body, reason, line, column) in [
            (&b""[..], "EOF while parsing a value", 1, 1),
            (b"\n", "EOF while parsing a value", 2, 1),
            (b"{", "EOF while parsing an object", 1, 2),
            (b"{\"a\":\n", "EOF while parsing a value", 2, 1),
            (b"{\"a\":\"b", "EOF while parsing a string", 1, 8),
            (b"{\"a\":tru", "EOF while parsing a value", 1, 9),
            // serde_json names the byte before.
            (b"{\"a\":\"\n\"}", "control character (\\u0000-\\u001F) found while parsing a string", 1, 6),
            (b"{\n\n  a:1}", "key must be a string", 3, 3),
            (b"{\"a\":1,}", "trailing comma", 1, 8),
            (b"{\"a\":01}", "invalid number", 1, 7),
            ("{\"é\":x}".as_bytes(), "expected value", 1, 7),
            (b"{}\r\n{}", "trailing characters", 2, 1),
            (b"\xef\xbb\xbf{}", "expected value", 1, 1),
            (b"[]", "not a JSON object", 1, 1),
            (b" \n\t 1", "not a JSON object", 2, 3),
            (b"\"{}\"", "not a JSON object", 1, 1),
            (b"\xff", "invalid UTF-8", 1, 1),
            (b"{\n\"\xc3\xa9\xc3", "invalid UTF-8", 2, 4),
        ] {
            let expected = Malformed { reason: reason.into(), line, column };
            assert_eq!(malformed(body), Some(expected), "{}", String::from_utf8_lossy(body));
        }
    }

    #[test]
    fn display_has_the_reason_and_the_place() {
        let malformed = malformed(b"{\n1}").unwrap();
        assert_eq!(malformed.to_string(), "key must be a string at line 2, column 1");
    }

    #[test]
    fn the_depth_is_limited() {
        assert_eq!(malformed(deep(1000).as_bytes()), None);
        for levels in [1001, 1002, 100_000] {
            let malformed = malformed(deep(levels).as_bytes()).unwrap();
            // 500 times `{"a":[`, and the bracket after it.
            assert_eq!((&*malformed.reason, malformed.line, malformed.column), ("more than 1000 levels deep", 1, 3001));
        }
        // Invalid JSON is reported first.
        let unfinished = deep(1001).trim_end_matches('}').to_owned();
        assert_eq!(malformed(unfinished.as_bytes()).unwrap().reason, "EOF while parsing an object");
    }

    #[test]
    fn brackets_in_strings_do_not_count() {
        for string in [r#""[""#, r#""\"[{""#, r#""\\""#, r#""\\\"[""#, r#""]}""#, r#""\u0022[""#] {
            // There are enough brackets that the depth is computed, and the depth is within the limit.
            let noise = format!("{string}:{string},").repeat(1000);
            let body = format!("{{{noise}{}", &deep(1000)[1..]);
            assert_eq!(malformed(body.as_bytes()), None, "{string}");
            let body = format!("{{{noise}{}", &deep(1001)[1..]);
            assert_eq!(malformed(body.as_bytes()).unwrap().reason, "more than 1000 levels deep", "{string}");
        }
        let wide = format!("{{\"a\":[{}[]]}}", "[{}],".repeat(2000));
        assert_eq!(malformed(wide.as_bytes()), None);
    }
}
