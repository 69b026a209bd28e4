//! The function as its users meet it: Lambda's envelopes go in, requests to AWS and answers come out.

mod answers;
mod app;
mod drain;
mod endpoint;
#[path = "../../examples/envelope/mod.rs"]
mod envelope;
mod faults;
mod fuzz;
mod lag;
mod lines;
mod looks;
mod parking;
mod secrets;
mod soak;
