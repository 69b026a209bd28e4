//! Our own SQS queues: the parking queue for events that the bus can't take yet, and the dead-letter queue for copies of
//! refused deliveries.

use std::{borrow::Cow, fmt, sync::LazyLock};

use aws_sdk_sqs::{
    Client,
    error::ProvideErrorMetadata,
    operation::send_message::builders::SendMessageFluentBuilder,
    types::{MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::time::Instant;

use crate::aws::{AwsError, ErrorClass, retry::retry};

/// The largest message that SQS accepts, with its attributes, in bytes.
const MAX_MESSAGE_BYTES: usize = 1_048_576;

/// The name of the message attribute whose value is [`BASE64`] when the message body is encoded.
const ENCODING: &str = "encoding";

/// The encoding of a message body that SQS couldn't carry unchanged.
pub const BASE64: &str = "base64";

/// The message id that SQS returned: the proof that the queue accepted the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageId(String);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An SQS queue.
#[derive(Debug)]
pub struct Queue {
    client: LazyLock<Client, Box<dyn FnOnce() -> Client + Send>>,
    url: String,
    /// The queue's ARN without its partition, which follows from the region: `sqs:{region}:{account}:{name}`.
    arn: String,
}

impl Queue {
    /// A queue by its URL, `https://{host}/{account}/{name}`. The region is that of the client.
    ///
    /// The client is made when it is first used: most processes never send a message, and making a client takes a tenth
    /// of a cold start.
    #[must_use]
    pub fn new(client: impl FnOnce() -> Client + Send + 'static, url: &str, region: &str) -> Self {
        let mut parts = url.rsplitn(3, '/');
        let (name, account) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let arn = format!("sqs:{region}:{account}:{name}");
        Self { client: LazyLock::new(Box::new(client)), url: url.to_owned(), arn }
    }

    /// Whether this is the ARN of the queue in the function's region.
    #[must_use]
    pub fn has_arn(&self, arn: &str) -> bool {
        let without_partition = arn.strip_prefix("arn:").and_then(|rest| rest.split_once(':'));
        without_partition.is_some_and(|(_, rest)| rest == self.arn)
    }

    /// Parks an event: sends its body byte for byte, with the trace header in SQS's own attribute.
    ///
    /// # Errors
    /// [`AwsError`] if SQS can't carry the body unchanged, or hasn't confirmed the message by `until`.
    pub async fn park(&self, body: &str, trace_header: Option<&str>, until: Instant) -> Result<MessageId, AwsError> {
        if !is_carried_unchanged(body) {
            return Err(AwsError::new(ErrorClass::Rejected, "SendMessage: SQS can't carry this body unchanged"));
        }
        self.send(body, trace_header, &[], until).await
    }

    /// Sends a copy of an authentic delivery that was refused, with the reason in message attributes.
    ///
    /// A body that SQS couldn't carry unchanged is encoded in base64, and the attribute `encoding` is set. If SQS rejects
    /// the message, or if it is too large, it is sent without the trace header and the reason.
    ///
    /// # Errors
    /// [`AwsError`] if SQS hasn't confirmed the message by `until`. An empty body can't be copied, and neither can one that is
    /// larger than 1 MiB as sent, after any base64 encoding.
    pub async fn dead_letter(
        &self,
        body: &[u8],
        trace_header: Option<&str>,
        reason: &[(&str, &str)],
        until: Instant,
    ) -> Result<MessageId, AwsError> {
        if body.is_empty() {
            return Err(AwsError::new(ErrorClass::Rejected, "SendMessage: SQS accepts no empty message"));
        }
        let (body, encoding) = match str::from_utf8(body) {
            Ok(text) if is_carried_unchanged(text) => (Cow::Borrowed(text), None),
            _ => (Cow::Owned(BASE64_STANDARD.encode(body)), Some((ENCODING, BASE64))),
        };
        let attributes: Vec<_> = reason.iter().copied().chain(encoding).collect();
        match self.send(&body, trace_header, &attributes, until).await {
            Err(error) if error.class == ErrorClass::Rejected => {
                self.send(&body, None, encoding.as_slice(), until).await.map_err(|_| error)
            }
            result => result,
        }
    }

    async fn send(
        &self,
        body: &str,
        trace_header: Option<&str>,
        attributes: &[(&str, &str)],
        until: Instant,
    ) -> Result<MessageId, AwsError> {
        let attribute_bytes = attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len());
        let bytes = body.len() + attribute_bytes.sum::<usize>();
        if bytes > MAX_MESSAGE_BYTES {
            let message =
                format!("SendMessage: the message would have {bytes} bytes; the limit is {MAX_MESSAGE_BYTES} bytes");
            return Err(AwsError::new(ErrorClass::Rejected, message));
        }
        let mut call = self.client.send_message().queue_url(&self.url).message_body(body);
        if let Some(trace_header) = trace_header {
            let value = MessageSystemAttributeValue::builder().data_type("String").string_value(trace_header);
            let value = value.build().map_err(|error| AwsError::transient(error.to_string()))?;
            call = call.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, value);
        }
        for (name, value) in attributes {
            let value = MessageAttributeValue::builder().data_type("String").string_value(*value);
            let value = value.build().map_err(|error| AwsError::transient(error.to_string()))?;
            call = call.message_attributes(*name, value);
        }
        retry("SendMessage", until, || send_once(call.clone(), bytes)).await
    }
}

/// Sends a message of this size.
async fn send_once(call: SendMessageFluentBuilder, bytes: usize) -> Result<MessageId, AwsError> {
    let output = call.send().await.map_err(|error| {
        let limit = error.message().and_then(size_limit);
        let mut error = AwsError::from_sdk("SendMessage", &error);
        if let Some(limit) = limit {
            error.message =
                format!("{error}: the message has {bytes} bytes; the queue's MaximumMessageSize is {limit} bytes")
                    .into();
        }
        error
    })?;
    match output.message_id() {
        Some(id) if !id.is_empty() => Ok(MessageId(id.to_owned())),
        _ => Err(AwsError::transient("SendMessage: the response has no message id")),
    }
}

/// The limit in SQS's message about a message that is too long for the queue. Only the number is read, because the rest of
/// the text could contain a part of the event.
fn size_limit(message: &str) -> Option<u64> {
    let (_, rest) = message.split_once("Message must be shorter than ")?;
    rest.split_once(" bytes")?.0.parse().ok()
}

/// Whether SQS accepts this text and delivers it unchanged: it isn't empty, and all its characters are allowed in XML 1.0.
/// Of the other characters, valid JSON can contain only U+FFFE and U+FFFF. Text that isn't valid JSON can also contain
/// control characters.
fn is_carried_unchanged(text: &str) -> bool {
    let is_refused = |c: char| matches!(c, '\0'..='\x08' | '\x0b' | '\x0c' | '\x0e'..='\x1f' | '\u{fffe}' | '\u{ffff}');
    !text.is_empty() && !text.contains(is_refused)
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::{Config, config::BehaviorVersion};

    use super::*;

    #[test]
    fn a_queue_has_the_arn_with_its_account_and_name() {
        let config = || Config::builder().behavior_version(BehaviorVersion::v2026_01_12()).build();
        let url = "https://sqs.eu-central-1.amazonaws.com/123456789012/parking";
        let queue = Queue::new(move || Client::from_conf(config()), url, "eu-central-1");
        assert!(queue.has_arn("arn:aws:sqs:eu-central-1:123456789012:parking"));
        for (why, arn) in [
            ("another name", "arn:aws:sqs:eu-central-1:123456789012:other-parking"),
            ("another region", "arn:aws:sqs:eu-west-1:123456789012:parking"),
            ("another service", "arn:aws:sns:eu-central-1:123456789012:parking"),
            ("a longer ARN", "arn:aws:sqs:eu-central-1:123456789012:parking:x"),
            ("another account", "arn:aws:sqs:eu-central-1:123456789013:parking"),
            ("a name alone", "parking"),
            ("not an ARN", "123456789012:parking"),
        ] {
            assert!(!queue.has_arn(arn), "{why}");
        }
    }

    #[test]
    fn sqs_carries_the_characters_of_xml() {
        for text in ["{}", "\t\n\r", "é\u{7f}\u{fffd}\u{10ffff}"] {
            assert!(is_carried_unchanged(text), "{text:?}");
        }
        for text in ["", "\0", "\u{8}", "\u{b}", "\u{c}", "\u{e}", "\u{1f}", "a\u{fffe}", "\u{ffff}b"] {
            assert!(!is_carried_unchanged(text), "{text:?}");
        }
    }
}
