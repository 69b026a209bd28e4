//! The fixtures of the tests: the function under test, and local servers that replace AWS and Lambda's Runtime API.

pub mod app;
pub mod endpoint;
pub mod lag;
pub mod runtime_api;
