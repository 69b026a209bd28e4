//! Enums of the values in the catalogue. They also accept values that the catalogue doesn't list, because it grows.

use std::fmt;

/// A well-formed value that the catalogue doesn't list.
///
/// Only parsing and deserialization create one, so it is never a known value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnknownValue(pub(crate) Box<str>);

/// The error for a string that is neither a known value nor well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotWellFormed {
    /// The name of the enum that the string was parsed as.
    pub(crate) expected: &'static str,
}

impl fmt::Display for NotWellFormed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a well-formed {}", self.expected)
    }
}

impl std::error::Error for NotWellFormed {}

/// Declares an enum with a variant for each known value and the variant `Unknown` for every other well-formed one.
macro_rules! open_enum {
    (
        $(#[$doc:meta])*
        $name:ident, well_formed: $is_well_formed:path;
        $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] $(#[doc = ""] #[$variant_doc])* $variant,)+
            /// A well-formed value that the catalogue doesn't list.
            Unknown($crate::UnknownValue),
        }

        impl $name {
            /// Every known value, in the order of the catalogue.
            pub const KNOWN: &[Self] = &[$(Self::$variant,)+];

            /// Parses a value, which is `Unknown` if the catalogue doesn't list it.
            ///
            /// # Errors
            /// [`NotWellFormed`](crate::NotWellFormed) if the value is neither known nor well-formed.
            pub fn parse(text: &str) -> Result<Self, $crate::NotWellFormed> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ if $is_well_formed(text) => Ok(Self::Unknown($crate::UnknownValue(text.into()))),
                    _ => Err($crate::NotWellFormed { expected: stringify!($name) }),
                }
            }

            /// The value as the event contains it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)+
                    Self::Unknown($crate::UnknownValue(text)) => text,
                }
            }

            /// Whether the catalogue lists the value.
            #[must_use]
            pub fn is_known(&self) -> bool {
                !matches!(self, Self::Unknown(_))
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = $crate::CowStr::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        /// The schema allows any string and gives the known values as examples.
        #[cfg(feature = "schemas")]
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "examples": [$($text),+]})
            }
        }
    };
}

pub(crate) use open_enum;
