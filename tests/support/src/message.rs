//! The messages of the parking queue, as Lambda hands them over.

use serde_json::{Value, json};

/// A message of the queue `parking`, as it appears in the SQS event that Lambda sends.
#[must_use]
pub fn message(id: &str, body: &str, trace: Option<&str>) -> Value {
    let mut message = json!({
        "messageId": id,
        "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": "1760434168000",
            "SenderId": "AROAEXAMPLE:scalekit-eventbridge",
            "ApproximateFirstReceiveTimestamp": "1760434169000",
        },
        "messageAttributes": {},
        "md5OfBody": "00000000000000000000000000000000",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:parking",
        "awsRegion": "eu-central-1",
    });
    if let Some(trace) = trace {
        message["attributes"]["AWSTraceHeader"] = json!(trace);
    }
    message
}
