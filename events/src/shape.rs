//! The shape that the JSON in `data` should have, as a constant for each type that is read from it.
//!
//! [`drift`](crate::drift) compares `data` with these shapes.

use serde_json::{Map, Value};

use crate::timestamp::Timestamp;

/// The shape that a JSON value should have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    Any,
    Boolean,
    String,
    /// A string that starts with this prefix.
    Id(&'static str),
    /// A string that is an RFC 3339 date-time.
    DateTime,
    /// An array whose items have this shape.
    Array(&'static Shape),
    /// An object with these members. It can also have others.
    Object(&'static [Member]),
}

/// A member that an object can or must have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
}

/// A type that is read from JSON of a certain shape.
pub(crate) trait HasShape {
    const SHAPE: Shape;
}

/// Implements [`HasShape`] with the same shape for several types.
macro_rules! has_shape {
    ($shape:expr => $($name:ty),+) => {
        $(impl $crate::shape::HasShape for $name {
            const SHAPE: $crate::shape::Shape = $shape;
        })+
    };
}

pub(crate) use has_shape;

has_shape!(Shape::Any => Value);
has_shape!(Shape::Boolean => bool);
has_shape!(Shape::String => String);
has_shape!(Shape::DateTime => Timestamp);
has_shape!(Shape::Object(&[]) => Map<String, Value>);

impl<T: HasShape> HasShape for Vec<T> {
    const SHAPE: Shape = Shape::Array(&T::SHAPE);
}
