//! A JSON string that borrows from its document where it can.

use std::{borrow::Cow, ops::Deref};

use serde::Deserialize;

/// A JSON string. It borrows from the document unless the string contains an escape sequence.
///
/// A plain `Cow<str>` would always be deserialized into an owned string.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct CowStr<'a>(#[serde(borrow)] pub Cow<'a, str>);

impl<'a> CowStr<'a> {
    /// Reads a string from the text of a valid JSON value without leading white space.
    ///
    /// # Errors
    /// The rule that the value breaks, if it is not a string of Unicode characters.
    pub fn read(json: &'a str) -> Result<Self, &'static str> {
        if !json.starts_with('"') {
            return Err("must be a string");
        }
        // The JSON is valid, so this only fails on an escape sequence that isn't a character: half of a surrogate pair.
        serde_json::from_str(json).map_err(|_| "must be a string of Unicode characters")
    }
}

impl Deref for CowStr<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borrows_unless_the_string_contains_an_escape_sequence() {
        let CowStr(plain) = serde_json::from_str(r#""né""#).unwrap();
        assert!(matches!(plain, Cow::Borrowed("né")));
        let CowStr(escaped) = serde_json::from_str(r#""n\u00e9""#).unwrap();
        assert!(matches!(escaped, Cow::Owned(text) if text == "né"));
    }
}
