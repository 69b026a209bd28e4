//! What the tests share.

pub mod published;
pub mod samples;
