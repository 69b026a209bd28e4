//! Tests of the whole function: Lambda's events go in, and requests to AWS and responses come out.

mod answers;
mod bus_check;
mod contract;
mod drain;
mod failing_bus;
mod faults;
mod fuzz;
mod log;
mod model;
mod parking;
mod process;
mod samples;
mod secrets;
mod shared_calls;
mod soak;
mod support;
mod tls;
mod transports;
