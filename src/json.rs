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
        Self { reason: reason.to_owned(), line, column }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at line {}, column {}", self.reason, self.line, self.column)
    }
}
