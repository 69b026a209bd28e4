//! Forwards Scalekit's signed webhooks to Amazon EventBridge.
//!
//! A delivery passes through stages. Each stage turns its input into a type of its own, which only it can make, or returns an
//! error. Only [`function`] uses all of them.
//!
//! ```text
//! RawEvent → Request → Delivery → Verified → Event → Entry → EventId → Response
//! └─ invocation ─┘     └─ signature ─┘       event   entry   bus       response
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`function`] | the path of a delivery, and of parked messages |
//! | [`invocation`], `parked` | the event that Lambda sends: an HTTP request, parked messages, or something else |
//! | [`signature`] | the check that a delivery is authentic |
//! | [`secret`] | the signing keys |
//! | [`event`], `json` | the rules that an event must keep |
//! | [`entry`] | the entry that is put on the bus |
//! | [`bus`] | putting entries on the bus |
//! | [`queue`] | sending messages to the parking queue and the dead-letter queue |
//! | [`problem`], `response` | the responses to the sender and to Lambda |
//! | [`log`], `trace` | the log lines, and the X-Ray trace header |
//! | [`config`], [`partition`] | the function's configuration, and AWS's partitions with their hosts of SQS |
//! | [`aws`] | the SDK's configuration and HTTP client, errors and retries |
//! | `deadlines` | the time that each stage may take |
//!
//! What consumers of the events need is in the package [`scalekit_events`].
//!
//! `main` reads the environment and the system's clock, and passes both on. Below it, only the SDK's configuration reads files
//! and variables of its own, and elapsed time is measured where it matters.

pub mod aws;
pub mod bus;
pub mod config;
mod deadlines;
pub mod entry;
pub mod event;
pub mod function;
pub mod invocation;
mod json;
pub mod log;
mod parked;
pub mod partition;
pub mod problem;
pub mod queue;
mod response;
pub mod secret;
pub mod signature;
mod trace;
