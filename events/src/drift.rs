//! Drift: where an authentic event differs from the format that Scalekit publishes, in a member that routing,
//! de-duplication and ordering don't need.
//!
//! Drift is no reason to refuse an event, because Scalekit's real events differ from its own documentation. By default, the
//! webhook function logs the drift and forwards the event. The function checks the members of the event itself;
//! [`Data::drift`](crate::data::Data::drift) compares its `data` with the catalogue.
//!
//! These are drift in `data`:
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
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    CowStr,
    shape::{Member, Shape},
    timestamp,
};

/// The maximum number of deviations that are reported for the `data` of one event. It is greater than the number of
/// members of every type in the catalogue, so that only arrays can exceed it.
pub const MAX_DEVIATIONS: usize = 64;

/// A member that differs from the format that Scalekit publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deviation {
    /// The JSON Pointer ([RFC 6901](https://www.rfc-editor.org/rfc/rfc6901)) of the member from the root of the event, such
    /// as `/data/id`, even if the member is missing. It consists of published names and array indices, so it contains
    /// neither values nor spaces.
    pub pointer: Cow<'static, str>,
    /// The rule that the member breaks, such as "must be a string".
    pub detail: Cow<'static, str>,
}

/// The deviations for which an event isn't refused. `Display` writes their JSON Pointers with a space between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift(Vec<Deviation>);

impl Drift {
    /// Compares `data`, which must be valid JSON, with a shape.
    pub(crate) fn find(shape: Shape, data: &str) -> Self {
        let mut comparison = Comparison { pointer: "/data".to_owned(), drift: Self::default() };
        comparison.compare(shape, data.trim_ascii_start());
        comparison.drift
    }

    /// Whether there is no deviation.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The JSON Pointers, in the order in which the deviations were found. A member that breaks several rules occurs once.
    #[must_use]
    pub fn pointers(&self) -> Vec<&str> {
        let mut pointers: Vec<_> = self.0.iter().map(|deviation| &*deviation.pointer).collect();
        pointers.dedup();
        pointers
    }

    /// Whether the member with this JSON Pointer deviates.
    #[must_use]
    pub fn contains(&self, pointer: &str) -> bool {
        self.0.iter().any(|deviation| deviation.pointer == pointer)
    }
}

impl Extend<Deviation> for Drift {
    fn extend<I: IntoIterator<Item = Deviation>>(&mut self, deviations: I) {
        self.0.extend(deviations);
    }
}

impl IntoIterator for Drift {
    type Item = Deviation;
    type IntoIter = std::vec::IntoIter<Deviation>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pointers().join(" "))
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
        if let Err(rule) = self.check(shape, json) {
            self.report(rule);
        }
    }

    /// Compares the members or items of the current value, and returns the rule that the value itself breaks.
    fn check(&mut self, shape: Shape, json: &str) -> Result<(), Cow<'static, str>> {
        let first = json.as_bytes().first();
        match shape {
            Shape::Boolean if !matches!(first, Some(b't' | b'f')) => return Err("must be true or false".into()),
            Shape::Array(_) if first != Some(&b'[') => return Err("must be an array".into()),
            Shape::Object(_) if first != Some(&b'{') => return Err("must be an object".into()),
            Shape::Any | Shape::Boolean | Shape::Array(Shape::Any) | Shape::Object([]) => {}
            Shape::String => drop(CowStr::read(json)?),
            Shape::Id(prefix) if CowStr::read(json)?.starts_with(prefix) => {}
            Shape::Id(prefix) => return Err(format!("must start with `{prefix}`").into()),
            Shape::DateTime if timestamp::parse(&CowStr::read(json)?).is_some() => {}
            Shape::DateTime => return Err("must be an RFC 3339 date-time".into()),
            Shape::Array(items) => {
                let visitor = ArrayVisitor { comparison: self, items: *items };
                serde_json::Deserializer::from_str(json).deserialize_seq(visitor).map_err(|_| "must be an array")?;
            }
            Shape::Object(members) => {
                let visitor = ObjectVisitor { comparison: self, members };
                serde_json::Deserializer::from_str(json).deserialize_map(visitor).map_err(|_| "must be an object")?;
            }
        }
        Ok(())
    }

    /// Reports that the current value breaks a rule.
    fn report(&mut self, rule: impl Into<Cow<'static, str>>) {
        if !self.is_full() {
            self.drift.0.push(Deviation { pointer: self.pointer.clone().into(), detail: rule.into() });
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
        self.drift.0.len() == MAX_DEVIATIONS
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
                self.comparison.at(member.name, |comparison| comparison.report("appears more than once"));
            } else if member.required || value.get() != "null" {
                self.comparison.at(member.name, |comparison| comparison.compare(member.shape, value.get()));
            }
        }
        for (member, seen) in self.members.iter().zip(seen) {
            if member.required && !seen {
                self.comparison.at(member.name, |comparison| comparison.report("is required"));
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
