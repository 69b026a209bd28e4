//! Where do events wait that the bus can't have yet? Our own SQS queues: parked events, and copies of refused deliveries.

use std::{borrow::Cow, fmt, sync::LazyLock};

use aws_sdk_sqs::{
    Client,
    operation::send_message::builders::SendMessageFluentBuilder,
    types::{MessageAttributeValue, MessageSystemAttributeNameForSends, MessageSystemAttributeValue},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    envelope::Invocation,
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
/// Only [`Queue::messages`] makes one, of a batch that Lambda polled from that queue.
#[derive(Debug)]
pub struct Message<'a> {
    id: Text<'a>,
    body: Cow<'a, [u8]>,
    trace_header: Option<Text<'a>>,
}

impl Message<'_> {
    /// SQS's id of the message.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The body, exactly as the sender signed it.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The trace that the event was parked with.
    #[must_use]
    pub fn trace_header(&self) -> Option<&str> {
        self.trace_header.as_deref()
    }
}

/// A batch, as Lambda hands it over.
#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow, rename = "Records")]
    records: Vec<Record<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    message_id: Text<'a>,
    #[serde(borrow)]
    body: Text<'a>,
    #[serde(borrow, default)]
    attributes: SystemAttributes<'a>,
    #[serde(borrow, default)]
    message_attributes: Attributes<'a>,
    #[serde(borrow)]
    event_source: Text<'a>,
    #[serde(borrow, rename = "eventSourceARN")]
    event_source_arn: Text<'a>,
}

#[derive(Default, Deserialize)]
struct SystemAttributes<'a> {
    #[serde(borrow, rename = "AWSTraceHeader")]
    trace_header: Option<Text<'a>>,
}

#[derive(Default, Deserialize)]
struct Attributes<'a> {
    #[serde(borrow)]
    encoding: Option<Attribute<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attribute<'a> {
    #[serde(borrow)]
    string_value: Option<Text<'a>>,
}

impl<'a> From<Record<'a>> for Message<'a> {
    fn from(record: Record<'a>) -> Self {
        let text = record.body.0;
        let is_base64 =
            record.message_attributes.encoding.and_then(|encoding| encoding.string_value).as_deref() == Some(BASE64);
        let decoded = is_base64.then(|| BASE64_STANDARD.decode(text.as_bytes()).ok()).flatten();
        let body = match (decoded, text) {
            (Some(decoded), _) => Cow::Owned(decoded),
            (None, Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            (None, Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        };
        Self { id: record.message_id, body, trace_header: record.attributes.trace_header }
    }
}

/// What the attribute `encoding` of a message says that SQS couldn't carry as it was.
const BASE64: &str = "base64";

/// An SQS queue.
#[derive(Debug)]
pub struct Queue {
    client: LazyLock<Client, Box<dyn FnOnce() -> Client + Send>>,
    url: String,
}

impl Queue {
    /// A queue by its URL. Its client is made when it is needed first: most processes never send a message, and making one
    /// takes a tenth of a cold start.
    #[must_use]
    pub fn new(client: impl FnOnce() -> Client + Send + 'static, url: &str) -> Self {
        Self { client: LazyLock::new(Box::new(client)), url: url.to_owned() }
    }

    /// The messages of a batch, if that is what the event is, and all of them come from this queue: a batch of another
    /// queue, or of a stream, holds what nobody verified.
    #[must_use]
    pub fn messages<'a>(&self, invocation: &'a Invocation) -> Option<Vec<Message<'a>>> {
        let Batch { records } = serde_json::from_str(invocation.object()?).ok()?;
        let ours = |record: &Record<'_>| &*record.event_source == "aws:sqs" && self.has_arn(&record.event_source_arn);
        records.iter().all(ours).then(|| records.into_iter().map(Message::from).collect())
    }

    /// Whether `arn:aws:sqs:{region}:{account}:{name}` names the queue at `https://{host}/{account}/{name}`.
    fn has_arn(&self, arn: &str) -> bool {
        let of_arn = arn.rsplit(':');
        let of_url = self.url.trim_end_matches('/').rsplit('/');
        arn.starts_with("arn:") && of_arn.take(2).eq(of_url.take(2))
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
                attributes.push(("encoding", BASE64));
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

#[cfg(test)]
impl<'a> Message<'a> {
    pub(crate) fn with_body(body: &'a str) -> Self {
        Self { id: Text("1".into()), body: Cow::Borrowed(body.as_bytes()), trace_header: None }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::{Config, config::BehaviorVersion};
    use serde_json::{Value, json};

    use super::*;

    fn queue(url: &str) -> Queue {
        let config = || Config::builder().behavior_version(BehaviorVersion::v2026_01_12()).build();
        Queue::new(move || Client::from_conf(config()), url)
    }

    fn record(arn: &str) -> Value {
        json!({"messageId": "1", "body": "{}", "eventSource": "aws:sqs", "eventSourceARN": arn})
    }

    /// The bodies of a batch of these records, as the queue `parking` takes them.
    fn bodies(records: &[Value]) -> Option<Vec<Vec<u8>>> {
        let invocation: Invocation = serde_json::from_str(&json!({"Records": records}).to_string()).unwrap();
        let queue = queue("https://sqs.eu-central-1.amazonaws.com/123456789012/parking");
        let messages = queue.messages(&invocation)?;
        Some(messages.iter().map(|message| message.body().to_vec()).collect())
    }

    const ARN: &str = "arn:aws:sqs:eu-central-1:123456789012:parking";

    #[test]
    fn a_batch_of_the_queue_itself_and_of_no_other() {
        assert_eq!(bodies(&[record(ARN), record(ARN)]), Some(vec![b"{}".to_vec(); 2]));
        for (why, other) in [
            ("another name", record("arn:aws:sqs:eu-central-1:123456789012:other-parking")),
            ("another account", record("arn:aws:sqs:eu-central-1:123456789013:parking")),
            ("a name alone", record("parking")),
            ("no ARN", record("123456789012:parking")),
            ("a stream", json!({"messageId": "1", "body": "{}", "eventSource": "aws:kinesis", "eventSourceARN": ARN})),
            ("no ARN at all", json!({"messageId": "1", "body": "{}", "eventSource": "aws:sqs"})),
            ("no body", json!({"messageId": "1", "eventSource": "aws:sqs", "eventSourceARN": ARN})),
        ] {
            assert_eq!(bodies(&[record(ARN), other]), None, "{why}");
        }
    }

    #[test]
    fn what_sqs_could_not_carry_comes_back_as_it_was_signed() {
        let with = |body: &str, attributes: Value| {
            let mut record = record(ARN);
            record["body"] = json!(body);
            record["messageAttributes"] = attributes;
            bodies(&[record]).unwrap().remove(0)
        };
        let base64 = json!({"encoding": {"stringValue": "base64", "dataType": "String"}});
        assert_eq!(with("eyJhIjoi77++In0=", base64.clone()), "{\"a\":\"\u{fffe}\"}".as_bytes());
        assert_eq!(with("no base64", base64), b"no base64");
        assert_eq!(with("e30=", json!({"encoding": {"stringValue": "gzip", "dataType": "String"}})), b"e30=");
        assert_eq!(with("e30=", json!({"problem": {"stringValue": "base64", "dataType": "String"}})), b"e30=");
    }

    #[test]
    fn the_characters_that_sqs_carries() {
        for text in ["{}", "\t\n\r", "é\u{7f}\u{fffd}\u{10ffff}"] {
            assert!(is_carried_unchanged(text), "{text:?}");
        }
        for text in ["", "\0", "\u{8}", "\u{b}", "\u{c}", "\u{e}", "\u{1f}", "a\u{fffe}", "\u{ffff}b"] {
            assert!(!is_carried_unchanged(text), "{text:?}");
        }
    }
}
