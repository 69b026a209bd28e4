//! Where do events wait that the bus can't have yet? Our own SQS queues: parked events, and copies of refused deliveries.

use std::{borrow::Cow, fmt};

use aws_sdk_sqs::{
    Client,
    operation::send_message::builders::SendMessageFluentBuilder,
    types::{MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    json::Text,
    trouble::{Attempts, Fault, Trouble},
};

/// What SQS calls a message that it took: the proof that it has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageId(String);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message that our own queue hands back: an authentic event, parked; or what someone else put there.
///
/// Only a batch that Lambda polled from SQS makes one.
#[derive(Debug, Deserialize)]
pub struct Message<'a> {
    #[serde(borrow, rename = "messageId")]
    id: Text<'a>,
    #[serde(borrow)]
    body: Text<'a>,
    #[serde(borrow, default)]
    attributes: Attributes<'a>,
    #[serde(borrow, rename = "eventSource")]
    event_source: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
struct Attributes<'a> {
    #[serde(borrow, rename = "AWSTraceHeader")]
    trace_header: Option<Text<'a>>,
}

impl Message<'_> {
    /// SQS's id of the message.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The body, exactly as it was sent to the queue.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The trace that the event was parked with.
    #[must_use]
    pub fn trace_header(&self) -> Option<&str> {
        self.attributes.trace_header.as_deref()
    }

    /// Whether Lambda polled it from SQS, and not from a stream or a topic.
    #[must_use]
    pub fn is_from_sqs(&self) -> bool {
        &*self.event_source == "aws:sqs"
    }
}

/// An SQS queue.
#[derive(Debug, Clone)]
pub struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// A queue by its URL.
    #[must_use]
    pub fn new(client: Client, url: &str) -> Self {
        Self { client, url: url.to_owned() }
    }

    /// Parks an event: the message is the body itself, byte for byte, with the trace in SQS's own attribute.
    ///
    /// # Errors
    /// [`Trouble`] when SQS doesn't have it, or couldn't carry the body unchanged.
    pub async fn park(&self, body: &str, trace_header: Option<&str>, until: Instant) -> Result<MessageId, Trouble> {
        if !is_carried_unchanged(body) {
            return Err(Trouble {
                fault: Fault::Payload,
                reason: "SendMessage: SQS can't carry this body unchanged".into(),
            });
        }
        self.send(body, trace_header, &[], until).await
    }

    /// Keeps a copy of an authentic delivery that was refused, with the reason in attributes of the message.
    ///
    /// A body that SQS can't carry unchanged, or that isn't text, is carried in base64 and says so.
    ///
    /// # Errors
    /// [`Trouble`] when SQS doesn't have it.
    pub async fn keep(
        &self,
        body: &[u8],
        trace_header: Option<&str>,
        reason: &[(&str, &str)],
        until: Instant,
    ) -> Result<MessageId, Trouble> {
        if body.is_empty() {
            return Err(Trouble { fault: Fault::Payload, reason: "SendMessage: SQS takes no empty body".into() });
        }
        let mut attributes = reason.to_vec();
        let body = match str::from_utf8(body) {
            Ok(text) if is_carried_unchanged(text) => Cow::Borrowed(text),
            _ => {
                attributes.push(("encoding", "base64"));
                Cow::Owned(BASE64_STANDARD.encode(body))
            }
        };
        self.send(&body, trace_header, &attributes, until).await
    }

    async fn send(
        &self,
        body: &str,
        trace_header: Option<&str>,
        attributes: &[(&str, &str)],
        until: Instant,
    ) -> Result<MessageId, Trouble> {
        let mut call = self.client.send_message().queue_url(&self.url).message_body(body);
        if let Some(trace) = trace_header {
            let value = MessageSystemAttributeValue::builder().data_type("String").string_value(trace);
            call = call.message_system_attributes(
                MessageSystemAttributeNameForSends::AwsTraceHeader,
                value.build().map_err(|error| Trouble::transient(error.to_string()))?,
            );
        }
        for (name, value) in attributes {
            let value = MessageAttributeValue::builder().data_type("String").string_value(*value);
            call =
                call.message_attributes(*name, value.build().map_err(|error| Trouble::transient(error.to_string()))?);
        }
        let mut attempts = Attempts::of("SendMessage", until);
        loop {
            match attempts.attempt(send(call.clone())).await {
                Ok(id) => return Ok(id),
                Err(trouble) => attempts.pause_after(trouble).await?,
            }
        }
    }
}

async fn send(call: SendMessageFluentBuilder) -> Result<MessageId, Trouble> {
    let output = call.send().await.map_err(|error| Trouble::of_call("SendMessage", &error))?;
    match output.message_id() {
        Some(id) if !id.is_empty() => Ok(MessageId(id.to_owned())),
        _ => Err(Trouble::transient("SendMessage: success without a message id")),
    }
}

/// SQS takes the characters of XML 1.0. JSON text can hold two that are missing there; what is no JSON, any.
fn is_carried_unchanged(text: &str) -> bool {
    let is_missing = |c: char| matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}');
    !text.is_empty() && !text.contains(is_missing)
}
