#![doc = include_str!("README.md")]
//!
//! # Modules
//!
//! | module | contents |
//! |---|---|
//! | [`catalogue`] | the event types and object names that Scalekit publishes |
//! | [`detail`] | [`Detail`](detail::Detail), the `detail` of an EventBridge event |
//! | [`data`] | [`Data`](data::Data), with one type for each family of event types |
//! | [`drift`] | [`Drift`](drift::Drift), where an event differs from the format that Scalekit publishes |
//! | [`timestamp`] | RFC 3339 date-times |
//! | `schemas` | JSON Schema and OpenAPI documents of the events; needs the feature `schemas` |

mod cow_str;
mod open_enum;
mod shape;

pub mod catalogue;
pub mod data;
pub mod detail;
pub mod drift;
#[cfg(feature = "schemas")]
pub mod schemas;
pub mod timestamp;

pub use cow_str::CowStr;
pub use open_enum::{NotWellFormed, UnknownValue};
