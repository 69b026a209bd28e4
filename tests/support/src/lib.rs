//! Signed deliveries in Lambda's envelopes, and the samples in `events/` that are made from them.
//!
//! The tests, the examples and the benchmarks share this package. The function doesn't contain it.

mod samples;
mod signed_delivery;

pub use samples::samples;
pub use signed_delivery::SignedDelivery;
