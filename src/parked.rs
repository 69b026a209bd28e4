//! The messages of the parking queue, as Lambda hands them over.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use scalekit_events::CowStr;
use serde::Deserialize;

use crate::queue::{BASE64, Queue};

/// A message that Lambda received from our parking queue.
///
/// Only [`read_batch`] makes one. The queue's policy and the account's IAM decide who may write to the queue.
#[derive(Debug)]
pub struct Message<'a> {
    id: CowStr<'a>,
    body: Cow<'a, [u8]>,
    trace_header: Option<CowStr<'a>>,
}

impl Message<'_> {
    /// SQS's id of the message.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The event's body, exactly as the sender signed it.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The trace header of the delivery that was parked.
    #[must_use]
    pub fn trace_header(&self) -> Option<&str> {
        self.trace_header.as_deref()
    }
}

/// A record of Lambda's SQS event.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    #[serde(borrow)]
    message_id: CowStr<'a>,
    #[serde(borrow)]
    body: CowStr<'a>,
    #[serde(borrow, default)]
    attributes: SystemAttributes<'a>,
    #[serde(borrow, default)]
    message_attributes: MessageAttributes<'a>,
    #[serde(borrow)]
    event_source: CowStr<'a>,
    #[serde(borrow, rename = "eventSourceARN")]
    event_source_arn: CowStr<'a>,
}

#[derive(Default, Deserialize)]
struct SystemAttributes<'a> {
    #[serde(borrow, rename = "AWSTraceHeader")]
    trace_header: Option<CowStr<'a>>,
}

#[derive(Default, Deserialize)]
struct MessageAttributes<'a> {
    #[serde(borrow)]
    encoding: Option<Attribute<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attribute<'a> {
    #[serde(borrow)]
    string_value: Option<CowStr<'a>>,
}

impl<'a> From<Record<'a>> for Message<'a> {
    fn from(record: Record<'a>) -> Self {
        let text = record.body.0;
        let encoding = record.message_attributes.encoding.and_then(|encoding| encoding.string_value);
        let is_base64 = encoding.as_deref() == Some(BASE64);
        let decoded = is_base64.then(|| BASE64_STANDARD.decode(text.as_bytes()).ok()).flatten();
        let body = match (decoded, text) {
            (Some(decoded), _) => Cow::Owned(decoded),
            (None, Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            (None, Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
        };
        Self { id: record.message_id, body, trace_header: record.attributes.trace_header }
    }
}

/// The messages in the `Records` of an invocation's event, if all of them are from this queue.
///
/// `None` if a record is malformed, or comes from another queue or service: the signature of such a body may never have
/// been checked.
#[must_use]
pub fn read_batch<'a>(records: &'a str, queue: &Queue) -> Option<Vec<Message<'a>>> {
    let records: Vec<Record<'_>> = serde_json::from_str(records).ok()?;
    let is_ours = |record: &Record<'_>| &*record.event_source == "aws:sqs" && queue.has_arn(&record.event_source_arn);
    records.iter().all(is_ours).then(|| records.into_iter().map(Message::from).collect())
}

#[cfg(test)]
impl<'a> Message<'a> {
    pub(crate) fn with_body(body: &'a str) -> Self {
        Self { id: CowStr("1".into()), body: Cow::Borrowed(body.as_bytes()), trace_header: None }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::{Client, Config, config::BehaviorVersion};
    use serde_json::{Value, json};

    use super::*;

    fn queue(url: &str) -> Queue {
        let config = || Config::builder().behavior_version(BehaviorVersion::v2026_01_12()).build();
        Queue::new(move || Client::from_conf(config()), url, "eu-central-1")
    }

    fn record(arn: &str) -> Value {
        json!({"messageId": "1", "body": "{}", "eventSource": "aws:sqs", "eventSourceARN": arn})
    }

    /// The bodies that the queue `parking` reads from these records.
    fn bodies(records: &[Value]) -> Option<Vec<Vec<u8>>> {
        let records = json!(records).to_string();
        let queue = queue("https://sqs.eu-central-1.amazonaws.com/123456789012/parking");
        let messages = read_batch(&records, &queue)?;
        Some(messages.iter().map(|message| message.body().to_vec()).collect())
    }

    const ARN: &str = "arn:aws:sqs:eu-central-1:123456789012:parking";

    #[test]
    fn only_records_of_the_queue_itself_are_its_messages() {
        assert_eq!(bodies(&[record(ARN), record(ARN)]), Some(vec![b"{}".to_vec(); 2]));
        for (why, other) in [
            ("another queue", record("arn:aws:sqs:eu-central-1:123456789012:other-parking")),
            ("a stream", json!({"messageId": "1", "body": "{}", "eventSource": "aws:kinesis", "eventSourceARN": ARN})),
            ("no ARN", json!({"messageId": "1", "body": "{}", "eventSource": "aws:sqs"})),
            ("no body", json!({"messageId": "1", "eventSource": "aws:sqs", "eventSourceARN": ARN})),
        ] {
            assert_eq!(bodies(&[record(ARN), other]), None, "{why}");
        }
    }

    #[test]
    fn an_encoded_body_is_decoded() {
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
}
