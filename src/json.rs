//! Is this text the JSON that the bus takes: an object in UTF-8, at most 1000 levels deep? If not, where does it stop being it?

use std::{borrow::Cow, fmt, ops::Deref};

use serde::Deserialize;
use serde_json::error::Category;

/// How many levels of objects and arrays EventBridge takes in a detail.
pub const MAX_DEPTH: usize = 1000;

/// Where and why a body stops being the JSON that it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, without a part of the body.
    pub reason: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in bytes, from 1.
    pub column: usize,
}

/// A JSON string that borrows from the text around it unless it holds an escape.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The bytes as text.
///
/// # Errors
/// [`Malformed`] at the first byte that isn't UTF-8.
pub fn utf8(body: &[u8]) -> Result<&str, Malformed> {
    str::from_utf8(body).map_err(|error| Malformed::at(body, error.valid_up_to(), "invalid UTF-8"))
}

/// Reads a JSON object as a `T` that looks at the outermost members and takes any of them.
///
/// # Errors
/// [`Malformed`] where the text stops being JSON, isn't an object, or is deeper than [`MAX_DEPTH`].
pub fn object<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Malformed> {
    let object = serde_json::from_str(json).map_err(|error| Malformed::of(json.as_bytes(), &error))?;
    match too_deep(json.as_bytes()) {
        None => Ok(object),
        Some(offset) => Err(Malformed::at(json.as_bytes(), offset, format!("more than {MAX_DEPTH} levels deep"))),
    }
}

/// The offset of the first bracket that opens a level beyond [`MAX_DEPTH`], in valid JSON.
fn too_deep(json: &[u8]) -> Option<usize> {
    // Too few brackets for that, strings included: nearly always, and found at the speed of memory.
    memchr::memchr2_iter(b'{', b'[', json).nth(MAX_DEPTH)?;
    let mut depth = 0;
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'{' | b'[' if depth == MAX_DEPTH => return Some(at),
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => at = end_of_string(json, at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// The offset of the quote that ends the string which opens at `start`.
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
        // All that a `T` can dislike is that the outermost value is no object. What serde_json says of it would show it.
        if error.classify() == Category::Data {
            let start = body.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
            return Self::at(body, start, "not a JSON object");
        }
        // Fixed texts that show nothing of the body; the place at their end is told in members of its own.
        let (line, column) = (error.line(), error.column());
        let text = error.to_string();
        let reason = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or("not JSON");
        // serde_json tells the byte that it read last: column 0 is the line break before. Where there is no byte any more,
        // the end is the place.
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

    /// An object so many levels deep, arrays and objects in turn.
    fn deep(levels: usize) -> String {
        let (open, close) = (r#"{"a":["#.repeat(levels / 2), "]}".repeat(levels / 2));
        if levels.is_multiple_of(2) { format!("{open}{close}") } else { format!("{open}{{}}{close}") }
    }

    #[test]
    fn where_it_stops_being_json() {
        for (body, reason, line, column) in [
            (&b""[..], "EOF while parsing a value", 1, 1),
            (b"\n", "EOF while parsing a value", 2, 1),
            (b"{", "EOF while parsing an object", 1, 2),
            (b"{\"a\":\n", "EOF while parsing a value", 2, 1),
            (b"{\"a\":\"b", "EOF while parsing a string", 1, 8),
            (b"{\"a\":tru", "EOF while parsing a value", 1, 9),
            // serde_json tells the byte before.
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
    fn how_it_is_told() {
        let malformed = malformed(b"{\n1}").unwrap();
        assert_eq!(malformed.to_string(), "key must be a string at line 2, column 1");
    }

    #[test]
    fn depth() {
        assert_eq!(malformed(deep(1000).as_bytes()), None);
        for levels in [1001, 1002, 100_000] {
            let malformed = malformed(deep(levels).as_bytes()).unwrap();
            // 500 times `{"a":[`, and the bracket after it.
            assert_eq!((&*malformed.reason, malformed.line, malformed.column), ("more than 1000 levels deep", 1, 3001));
        }
        // Not JSON comes first.
        let unfinished = deep(1001).trim_end_matches('}').to_owned();
        assert_eq!(malformed(unfinished.as_bytes()).unwrap().reason, "EOF while parsing an object");
    }

    #[test]
    fn brackets_in_strings_are_no_levels() {
        for string in [r#""[""#, r#""\"[{""#, r#""\\""#, r#""\\\"[""#, r#""]}""#, r#""\u0022[""#] {
            // Enough brackets that levels are counted, the deepest within the limit.
            let noise = format!("{string}:{string},").repeat(1000);
            let body = format!("{{{noise}{}", &deep(1000)[1..]);
            assert_eq!(malformed(body.as_bytes()), None, "{string}");
            let body = format!("{{{noise}{}", &deep(1001)[1..]);
            assert_eq!(malformed(body.as_bytes()).unwrap().reason, "more than 1000 levels deep", "{string}");
        }
        let wide = format!("{{\"a\":[{}[]]}}", "[{}],".repeat(2000));
        assert_eq!(malformed(wide.as_bytes()), None);
    }

    #[test]
    fn a_text_borrows_unless_it_holds_an_escape() {
        let Text(plain) = serde_json::from_str(r#""né""#).unwrap();
        assert!(matches!(plain, Cow::Borrowed("né")));
        let Text(escaped) = serde_json::from_str(r#""n\u00e9""#).unwrap();
        assert!(matches!(escaped, Cow::Owned(text) if text == "né"));
    }
}
