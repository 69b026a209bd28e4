//! The function as its users meet it: Lambda's envelopes go in, requests to AWS and answers come out.

mod answers;
mod app;
mod contract;
mod drain;
mod endpoint;
mod faults;
mod fuzz;
#[allow(dead_code, reason = "an example's `main` is no test's")]
#[path = "../../examples/events.rs"]
mod generator;
mod lag;
mod lines;
mod looks;
mod parking;
mod process;
mod runtime_api;
mod samples;
mod secrets;
mod soak;
mod transports;
mod trust;

use generator::envelope;
