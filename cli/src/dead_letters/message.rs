//! A message of the dead-letter queue: its ids, its body, and why it is there.

use std::borrow::Cow;

use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, SecondsFormat};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The problem of a message that isn't a copy of a refused delivery.
const NOT_FORWARDED: &str = "not-forwarded";

pub(super) fn attribute<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.message_attributes()?.get(name)?.string_value()
}

/// The code of the response to the refused delivery.
pub(super) fn problem(message: &Message) -> &str {
    attribute(message, "problem").unwrap_or(NOT_FORWARDED)
}

/// The body that Scalekit sent.
pub(super) fn body(message: &Message) -> Cow<'_, [u8]> {
    let text = message.body().unwrap_or_default().as_bytes();
    let is_base64 = attribute(message, "encoding") == Some("base64");
    let decoded = is_base64.then(|| BASE64_STANDARD.decode(text).ok()).flatten();
    decoded.map_or(Cow::Borrowed(text), Cow::Owned)
}

/// A member of the body that is a string. The body of a refused delivery needn't have it.
pub(super) fn member(message: &Message, name: &str) -> Option<String> {
    let event: Value = serde_json::from_slice(&body(message)).ok()?;
    Some(event[name].as_str()?.to_owned())
}

/// When SQS received the message.
pub(super) fn sent(message: &Message) -> Option<String> {
    let sent = message.attributes()?.get(&MessageSystemAttributeName::SentTimestamp)?;
    let time = DateTime::from_timestamp_millis(sent.parse().ok()?)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

/// The ids by which a message can be named: the delivery's, the event's and SQS's own.
pub(super) fn ids(message: &Message) -> impl Iterator<Item = String> {
    let webhook_id = attribute(message, "webhook-id").map(str::to_owned);
    [webhook_id, member(message, "id"), message.message_id.clone()].into_iter().flatten()
}

/// What is the same for copies with the same body.
pub(super) fn digest(message: &Message) -> [u8; 32] {
    Sha256::digest(body(message)).into()
}
