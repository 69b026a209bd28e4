//! The response to an invocation.
//!
//! A 200 can only be made from [`Accepted`]: no delivery is acknowledged unless the bus or our parking queue has its event.

use std::collections::BTreeMap;

use lambda_http::http::StatusCode;
use serde::Serialize;

use crate::{aws::AwsError, bus::EventId, invocation::PayloadFormat, problem::Problem, queue::MessageId};

/// The proof that an event may be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The bus has the event.
    ByBus(EventId),
    /// The parking queue has the event.
    ByParkingQueue {
        /// The message that contains the event.
        message_id: MessageId,
        /// Why the bus doesn't have it.
        bus_error: AwsError,
    },
}

/// An HTTP response with the members that function URLs, HTTP APIs and REST APIs read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    status_code: u16,
    headers: BTreeMap<&'static str, &'static str>,
    body: String,
    is_base64_encoded: bool,
    /// Always empty. `cargo lambda watch` requires it in format 2.0, and format 1.0 has no such member.
    #[serde(skip_serializing_if = "Option::is_none")]
    cookies: Option<[(); 0]>,
}

impl Response {
    /// The response to a delivery, in the format of its request.
    #[must_use]
    pub fn new(result: &Result<Accepted, Problem>, format: PayloadFormat) -> Self {
        let (status, headers, body) = match result {
            Ok(_) => (StatusCode::OK, BTreeMap::new(), String::new()),
            Err(problem) => {
                let content_type = ("content-type", "application/problem+json");
                let headers = problem.header().into_iter().chain([content_type]).collect();
                (problem.status(), headers, problem.body())
            }
        };
        let cookies = (format == PayloadFormat::V2).then_some([]);
        Self { status_code: status.as_u16(), headers, body, is_base64_encoded: false, cookies }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status_code
    }
}

/// The response to a batch of parked messages. Messages named in it stay in the queue and are received again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchResponse {
    batch_item_failures: Vec<BatchItemFailure>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchItemFailure {
    item_identifier: String,
}

impl BatchResponse {
    /// The response that leaves the messages with these ids in the queue.
    pub fn new<'a>(failed: impl IntoIterator<Item = &'a str>) -> Self {
        let failure = |id: &str| BatchItemFailure { item_identifier: id.to_owned() };
        Self { batch_item_failures: failed.into_iter().map(failure).collect() }
    }
}

/// The reply to an invocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To an HTTP request.
    Http(Response),
    /// To a batch of parked messages.
    Batch(BatchResponse),
}
