//! Signed deliveries in Lambda's envelopes, the samples in `events/` that are made from them, and messages of the parking
//! queue.
//!
//! The tests, the examples and the benchmarks share this package. The function doesn't contain it.

mod message;
mod samples;
mod signed_delivery;

pub use message::message;
pub use samples::samples;
pub use signed_delivery::SignedDelivery;
