//! What does Lambda hand back? The answer to one invocation.
//!
//! A 200 can be made only of a [`Held`]: no delivery is acknowledged that neither the bus nor a queue of ours has.

use std::collections::BTreeMap;

use lambda_http::http::StatusCode;
use serde::Serialize;

use crate::{bus::EventId, envelope::Payload, problem::Problem, queue::MessageId};

/// Who has the event: the proof that it may be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The bus took it.
    ByBus(EventId),
    /// The parking queue took it.
    ByQueue(MessageId),
}

/// An HTTP response, in the members that function URLs, HTTP APIs and REST APIs read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    status_code: u16,
    headers: BTreeMap<&'static str, &'static str>,
    body: String,
    is_base64_encoded: bool,
    /// Always empty. `cargo lambda watch` insists on it in payload 2.0; payload 1.0 knows no such member.
    #[serde(skip_serializing_if = "Option::is_none")]
    cookies: Option<[(); 0]>,
}

impl From<&Held> for Response {
    fn from(_: &Held) -> Self {
        Self::new(StatusCode::OK, BTreeMap::new(), String::new())
    }
}

impl From<&Problem> for Response {
    fn from(problem: &Problem) -> Self {
        let content_type = ("content-type", "application/problem+json");
        let headers = problem.header().into_iter().chain([content_type]).collect();
        Self::new(problem.status(), headers, problem.body())
    }
}

impl Response {
    fn new(status: StatusCode, headers: BTreeMap<&'static str, &'static str>, body: String) -> Self {
        Self { status_code: status.as_u16(), headers, body, is_base64_encoded: false, cookies: None }
    }

    /// The same in the version of the envelope that it answers.
    #[must_use]
    pub fn in_payload(self, payload: Payload) -> Self {
        Self { cookies: (payload == Payload::V2).then_some([]), ..self }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status_code
    }
}

/// The answer to a batch of queued messages: those named here stay in the queue, and come again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
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
    /// A message leaves the queue only against the bus's event id.
    pub fn new<'a, E: 'a>(outcomes: impl IntoIterator<Item = (&'a str, &'a Result<EventId, E>)>) -> Self {
        let failures = outcomes.into_iter().filter(|(_, outcome)| outcome.is_err());
        let batch_item_failures = failures.map(|(id, _)| BatchItemFailure { item_identifier: id.to_owned() }).collect();
        Self { batch_item_failures }
    }
}

/// What an invocation is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To a delivery.
    Http(Response),
    /// To a batch of queued messages.
    Batch(BatchResponse),
}
