//! Is an event's `data` what the catalogue says? If not, where is it something else?
//!
//! A surprise in `data` is no reason to refuse an authentic event: it is told to the operator, and nothing else follows.
//! So this can't fail, and looks at each level of `data` that has a shape once: values of other shapes are skipped over
//! at the speed of the JSON parser, however deep they are.
//!
//! It is a surprise when a required member is missing or `null`; when a member is of another kind of JSON than it should
//! be, an id without its prefix, or a time that is no RFC 3339 date-time; and when a member is there twice, since two
//! parsers can read that in two ways. It is none when an optional member is missing or `null`, when there are members
//! that the catalogue doesn't have, and when a text has a value that the catalogue doesn't list.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    catalogue::{
        AccountStatus, AuthorizationType, DomainType, Family, ObjectType, VerificationMethod, VerificationStatus,
    },
    data::{self, Timestamp},
    json::Text,
    timestamp,
};

/// How many surprises are told of one event.
pub const MAX_SURPRISES: usize = 8;

/// Where `data` isn't what the catalogue says: JSON Pointers from the event on, of members that the catalogue has.
///
/// Displayed with a space between them: none holds one. At most [`MAX_SURPRISES`], the others aren't told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift(Vec<String>);

impl Drift {
    /// Compares an event's `data`, in valid JSON, with the family of its type.
    #[must_use]
    pub fn of(family: Family, data: &str) -> Self {
        let mut walk = Walk { pointer: "/data".to_owned(), drift: Self::default() };
        walk.value(data::shape(family), data.trim_ascii_start());
        walk.drift
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pointers, in the order in which the surprises were found.
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

/// What a value should be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Any,
    Flag,
    Text,
    /// Text that starts with this.
    Id(&'static str),
    Time,
    List(&'static Kind),
    Object(&'static [Member]),
}

/// What the value of an object's member should be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) kind: Kind,
}

/// How many members a shape may have: which ones an object has is noted in the bits of a `u64`.
pub(crate) const MAX_MEMBERS: usize = 64;

/// What JSON a type reads.
pub(crate) trait Shape {
    const KIND: Kind;
}

macro_rules! shapes {
    ($($kind:expr => $($name:ty)+;)+) => {
        $($(impl Shape for $name {
            const KIND: Kind = $kind;
        })+)+
    };
}

shapes! {
    Kind::Any => Value;
    Kind::Flag => bool;
    Kind::Text => String AccountStatus AuthorizationType DomainType ObjectType VerificationMethod VerificationStatus;
    Kind::Time => Timestamp;
    Kind::Object(&[]) => Map<String, Value>;
}

impl<T: Shape> Shape for Vec<T> {
    const KIND: Kind = Kind::List(&T::KIND);
}

/// Goes through valid JSON along a shape, and only so deep as the shape is.
struct Walk {
    pointer: String,
    drift: Drift,
}

impl Walk {
    fn value(&mut self, kind: Kind, json: &str) {
        let text = |fits: &dyn Fn(&str) -> bool| serde_json::from_str(json).is_ok_and(|Text(text)| fits(&text));
        let fits = match (kind, json.as_bytes().first()) {
            (Kind::Any, _)
            | (Kind::Flag, Some(b't' | b'f'))
            | (Kind::List(Kind::Any), Some(b'['))
            | (Kind::Object([]), Some(b'{')) => true,
            (Kind::Text, Some(b'"')) => text(&|_| true),
            (Kind::Id(prefix), Some(b'"')) => text(&|id| id.starts_with(prefix)),
            (Kind::Time, Some(b'"')) => text(&|time| timestamp::parse(time).is_some()),
            (Kind::List(kind), Some(b'[')) => {
                let list = List { walk: self, kind: *kind };
                serde_json::Deserializer::from_str(json).deserialize_seq(list).is_ok()
            }
            (Kind::Object(members), Some(b'{')) => {
                let object = Object { walk: self, members };
                serde_json::Deserializer::from_str(json).deserialize_map(object).is_ok()
            }
            _ => false,
        };
        if !fits {
            self.surprise();
        }
    }

    /// The value at the pointer isn't what it should be.
    fn surprise(&mut self) {
        if !self.is_full() {
            self.drift.0.push(self.pointer.clone());
        }
    }

    /// Does something one step below, at the member or at the item of this name.
    fn below(&mut self, step: &str, act: impl FnOnce(&mut Self)) {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(step);
        act(self);
        self.pointer.truncate(length);
    }

    /// Whether there is no place for another surprise.
    fn is_full(&self) -> bool {
        self.drift.0.len() == MAX_SURPRISES
    }
}

struct List<'w> {
    walk: &'w mut Walk,
    kind: Kind,
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0_usize;
        while let Some(value) = list.next_element::<&RawValue>()? {
            if !self.walk.is_full() {
                self.walk.below(&index.to_string(), |walk| walk.value(self.kind, value.get()));
            }
            index += 1;
        }
        Ok(())
    }
}

struct Object<'w> {
    walk: &'w mut Walk,
    members: &'static [Member],
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = 0_u64;
        while let Some(Name(name)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            let Some(index) = self.members.iter().position(|member| member.name.as_bytes() == &*name) else {
                continue;
            };
            let member = &self.members[index];
            let again = seen & (1 << index) != 0;
            seen |= 1 << index;
            if again {
                self.walk.below(member.name, Walk::surprise);
            } else if member.required || value.get() != "null" {
                self.walk.below(member.name, |walk| walk.value(member.kind, value.get()));
            }
        }
        for (index, member) in self.members.iter().enumerate() {
            if member.required && seen & (1 << index) == 0 {
                self.walk.below(member.name, Walk::surprise);
            }
        }
        Ok(())
    }
}

/// A member's name in bytes: it may hold half of a surrogate pair, which is no text.
struct Name<'a>(Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member's name")
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
