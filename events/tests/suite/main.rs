//! Tests of the public API, with the sample events in `bodies/`.

mod catalogue;
mod drift;
mod handlers;
#[cfg(feature = "schemas")]
mod schemas;
mod support;
mod typed_data;
