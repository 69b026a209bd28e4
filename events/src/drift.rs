//! The differences between an event's `data` and the catalogue.
//!
//! A difference is no reason to refuse an authentic event. The webhook function logs it and forwards the event.
//!
//! These are differences:
//! - a required member is missing or `null`;
//! - a member has the wrong JSON type;
//! - an ID doesn't start with its prefix, or a time is not an RFC 3339 date-time;
//! - a member occurs twice, because two parsers may then read different values.
//!
//! These are not:
//! - an optional member is missing or `null`;
//! - a member is not in the catalogue;
//! - a string has a value that the catalogue doesn't list.
//!
//! This module doesn't use the crate `serde_path_to_error`, because that reports only the first error and checks
//! neither the prefixes of IDs nor times.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    CowStr,
    shape::{Member, Shape},
    timestamp,
};

/// The maximum number of differences that are reported for one event.
pub const MAX_DIFFERENCES: usize = 8;

/// The differences between an event's `data` and the catalogue, as JSON Pointers ([RFC 6901]) such as `/data/id`.
///
/// The pointers start at the root of the event. They consist of names from the catalogue and array indices, so they
/// contain neither values nor spaces. `Display` writes them with a space between them.
///
/// [`Data::drift`](crate::data::Data::drift) finds the differences, and reports at most [`MAX_DIFFERENCES`] of them.
///
/// [RFC 6901]: https://www.rfc-editor.org/rfc/rfc6901
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift(Vec<String>);

impl Drift {
    /// Compares `data`, which must be valid JSON, with a shape.
    pub(crate) fn find(shape: Shape, data: &str) -> Self {
        let mut comparison = Comparison { pointer: "/data".to_owned(), drift: Self::default() };
        comparison.compare(shape, data.trim_ascii_start());
        comparison.drift
    }

    /// Whether `data` matches the catalogue.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The JSON Pointers, in the order in which the differences were found.
    #[must_use]
    pub fn pointers(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// A comparison in progress.
///
/// It recurses only as deep as the shape. The JSON parser skips everything below that without recursion, so deeply
/// nested JSON can't overflow the stack.
struct Comparison {
    /// The JSON Pointer of the current value.
    pointer: String,
    drift: Drift,
}

impl Comparison {
    /// Compares the current value with a shape. `json` is the text of the value, without leading white space.
    fn compare(&mut self, shape: Shape, json: &str) {
        let string_matches =
            |is_valid: &dyn Fn(&str) -> bool| serde_json::from_str(json).is_ok_and(|CowStr(string)| is_valid(&string));
        let matches = match (shape, json.as_bytes().first()) {
            (Shape::Any, _)
            | (Shape::Boolean, Some(b't' | b'f'))
            | (Shape::Array(Shape::Any), Some(b'['))
            | (Shape::Object([]), Some(b'{')) => true,
            (Shape::String, Some(b'"')) => string_matches(&|_| true),
            (Shape::Id(prefix), Some(b'"')) => string_matches(&|id| id.starts_with(prefix)),
            (Shape::DateTime, Some(b'"')) => string_matches(&|time| timestamp::parse(time).is_some()),
            (Shape::Array(items), Some(b'[')) => {
                let visitor = ArrayVisitor { comparison: self, items: *items };
                serde_json::Deserializer::from_str(json).deserialize_seq(visitor).is_ok()
            }
            (Shape::Object(members), Some(b'{')) => {
                let visitor = ObjectVisitor { comparison: self, members };
                serde_json::Deserializer::from_str(json).deserialize_map(visitor).is_ok()
            }
            _ => false,
        };
        if !matches {
            self.report();
        }
    }

    /// Reports a difference at the current pointer.
    fn report(&mut self) {
        if !self.is_full() {
            self.drift.0.push(self.pointer.clone());
        }
    }

    /// Runs `action` while the pointer points to a member or an item of the current value.
    fn at(&mut self, step: &str, action: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(step);
        action(self);
        self.pointer.truncate(length);
    }

    fn is_full(&self) -> bool {
        self.drift.0.len() == MAX_DIFFERENCES
    }
}

struct ArrayVisitor<'a> {
    comparison: &'a mut Comparison,
    items: Shape,
}

impl<'de> Visitor<'de> for ArrayVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let mut index = 0_usize;
        while let Some(item) = array.next_element::<&RawValue>()? {
            if !self.comparison.is_full() {
                self.comparison.at(&index.to_string(), |comparison| comparison.compare(self.items, item.get()));
            }
            index += 1;
        }
        Ok(())
    }
}

struct ObjectVisitor<'a> {
    comparison: &'a mut Comparison,
    members: &'static [Member],
}

impl<'de> Visitor<'de> for ObjectVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut seen = vec![false; self.members.len()];
        while let Some(Name(name)) = object.next_key()? {
            let value: &RawValue = object.next_value()?;
            let Some(index) = self.members.iter().position(|member| member.name.as_bytes() == &*name) else {
                continue;
            };
            let member = &self.members[index];
            let is_duplicate = std::mem::replace(&mut seen[index], true);
            if is_duplicate {
                self.comparison.at(member.name, Comparison::report);
            } else if member.required || value.get() != "null" {
                self.comparison.at(member.name, |comparison| comparison.compare(member.shape, value.get()));
            }
        }
        for (member, seen) in self.members.iter().zip(seen) {
            if member.required && !seen {
                self.comparison.at(member.name, Comparison::report);
            }
        }
        Ok(())
    }
}

/// The name of a member, as bytes. JSON allows a name that contains half of a surrogate pair, which is not valid UTF-8.
struct Name<'a>(Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a member")
            }

            fn visit_borrowed_bytes<E>(self, name: &'de [u8]) -> Result<Name<'de>, E> {
                Ok(Name(name.into()))
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Name<'de>, E> {
                Ok(Name(name.to_owned().into()))
            }
        }

        deserializer.deserialize_bytes(NameVisitor)
    }
}
