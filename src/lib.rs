//! Forwards Scalekit's signed webhooks to Amazon EventBridge.
//!
//! A delivery passes through stages. Each stage has its own type, its own file and its own error. Only [`function`] knows
//! all of them.
//!
//! ```text
//! RawEvent → Request → Delivery → Verified → Event → Entry → Accepted → Response
//! └─ invocation ─┘     └─ signature ─┘       event   entry   └── response ──┘
//! ```
//!
//! | module | contents |
//! |---|---|
//! | [`function`] | the path of a delivery, and of parked messages |
//! | [`invocation`] | the event that Lambda sends: an HTTP request, parked messages, or something else |
//! | [`signature`] | the check that a delivery is authentic |
//! | [`secret`] | the signing keys |
//! | [`event`], [`json`] | the rules that an event must keep |
//! | [`entry`] | the entry that is put on the bus |
//! | [`bus`], [`bus_check`] | putting entries on the bus, and checking that it exists |
//! | [`batcher`] | one call for the entries of several deliveries |
//! | [`breaker`], [`pace`] | what a failing bus changes: deliveries are parked at once, parked events are forwarded more slowly |
//! | [`queue`] | the parking queue and the dead-letter queue |
//! | [`retry`], [`aws_error`], [`deadlines`] | retries of AWS calls, their errors, and the time they may take |
//! | [`problem`], [`response`] | the responses to the sender and to Lambda |
//! | [`log`], [`trace`] | the log lines, and the X-Ray trace header |
//! | [`config`], [`aws`], [`http_client`] | the function's configuration, and the SDK's configuration and HTTP client |
//! | [`partition`] | AWS's partitions, and the hosts of SQS in them |
//!
//! What consumers of the events need is in the package [`scalekit_events`].
//!
//! Time, environment and network are arguments: `main` reads them, and nothing below it does.

pub mod aws;
pub mod aws_error;
pub mod batcher;
pub mod breaker;
pub mod bus;
pub mod bus_check;
pub mod config;
pub mod deadlines;
pub mod entry;
pub mod event;
pub mod function;
pub mod http_client;
pub mod invocation;
pub mod json;
pub mod log;
pub mod pace;
pub mod partition;
pub mod problem;
pub mod queue;
pub mod response;
pub mod retry;
pub mod secret;
pub mod signature;
pub mod trace;
