//! `dead-letters`: what is sent to SQS, which an emulator doesn't show or can't provoke.

use serde_json::{Value, json};

use crate::support::{Request, Stub, program_on, text};

const QUEUE: &str = "http://localhost/123456789012/dead-letters";
const PARKING: &str = "http://localhost/123456789012/parking";

fn message(number: usize, body: &str) -> Value {
    json!({
        "MessageId": format!("message-{number}"),
        "ReceiptHandle": format!("handle-{number}"),
        "Body": body,
        "Attributes": {"SentTimestamp": "1760434167000", "AWSTraceHeader": "Root=1-68ee1577-0123456789abcdef01234567"},
        "MessageAttributes": {"problem": {"DataType": "String", "StringValue": "rejected-by-bus"}},
    })
}

/// A queue with these messages. `refused` are the numbers of those that the parking queue doesn't accept.
fn queue(messages: Vec<Value>, refused: &'static [&'static str]) -> Stub {
    let received = std::sync::Mutex::new(false);
    Stub::start(move |request: &Request| {
        let entries = request.json()["Entries"].as_array().cloned().unwrap_or_default();
        let (failed, successful): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| {
            request.operation == "SendMessageBatch" && refused.contains(&entry["MessageBody"].as_str().unwrap())
        });
        let successful =
            successful.iter().map(|it| json!({"Id": it["Id"], "MessageId": "new", "MD5OfMessageBody": "x"}));
        let failed = failed.iter().map(|it| json!({"Id": it["Id"], "Code": "InternalError", "SenderFault": false}));
        let answer = match request.operation.as_str() {
            "GetQueueAttributes" => json!({"Attributes": {"ApproximateNumberOfMessages": messages.len().to_string()}}),
            "ReceiveMessage" if std::mem::replace(&mut *received.lock().unwrap(), true) => json!({}),
            "ReceiveMessage" => json!({"Messages": messages}),
            _ => json!({"Successful": successful.collect::<Vec<_>>(), "Failed": failed.collect::<Vec<_>>()}),
        };
        (200, answer.to_string())
    })
}

/// The entries of all batches of this operation: one list for each batch.
fn batches(stub: &Stub, operation: &str) -> Vec<Vec<Value>> {
    let requests = stub.requests().into_iter().filter(|request| request.operation == operation);
    requests.map(|request| request.json()["Entries"].as_array().unwrap().clone()).collect()
}

#[test]
fn a_message_is_moved_with_its_attributes_and_its_trace_header() {
    let stub = queue(vec![message(1, "body")], &[]);
    let output = program_on(&stub).args(["dead-letters", "redrive", QUEUE, "--to", PARKING, "--all"]).output().unwrap();

    assert_eq!(text(&output.stdout), "message-1  1×  moved to the parking queue\n", "{}", text(&output.stderr));
    let [batch] = &batches(&stub, "SendMessageBatch")[..] else { panic!() };
    let trace = json!({"DataType": "String", "StringValue": "Root=1-68ee1577-0123456789abcdef01234567"});
    let expected = json!([{
        "Id": "0",
        "MessageBody": "body",
        "MessageAttributes": {"problem": {"DataType": "String", "StringValue": "rejected-by-bus"}},
        "MessageSystemAttributes": {"AWSTraceHeader": trace},
    }]);
    assert_eq!(json!(batch), expected);
}

#[test]
fn a_batch_has_at_most_the_bytes_that_sqs_accepts() {
    let large = "x".repeat(400_000);
    let bodies = [&large, "small", &large, &large, "last"].map(str::to_owned);
    let messages = bodies.iter().enumerate().map(|(number, body)| message(number, &format!("{body}{number}")));
    let stub = queue(messages.collect(), &[]);
    program_on(&stub).args(["dead-letters", "redrive", QUEUE, "--to", PARKING, "--all"]).output().unwrap();

    let sizes: Vec<_> = batches(&stub, "SendMessageBatch").iter().map(Vec::len).collect();
    assert_eq!(sizes, [3, 2]);
}

#[test]
fn a_message_that_was_not_accepted_stays_and_the_others_are_reported() {
    let stub = queue(vec![message(1, "good"), message(2, "bad"), message(3, "good")], &["bad"]);
    let output = program_on(&stub).args(["dead-letters", "redrive", QUEUE, "--to", PARKING, "--all"]).output().unwrap();

    assert_eq!(output.status.code(), Some(1));
    let moved = "message-1  1×  moved to the parking queue\nmessage-3  1×  moved to the parking queue\n";
    assert_eq!(text(&output.stdout), moved);
    assert_eq!(text(&output.stderr), "error: could not send a message to the parking queue: InternalError\n");
    let handles =
        |operation| batches(&stub, operation).concat().iter().map(|it| it["ReceiptHandle"].clone()).collect::<Vec<_>>();
    assert_eq!(handles("DeleteMessageBatch"), ["handle-1", "handle-3"]);
    assert_eq!(handles("ChangeMessageVisibilityBatch"), ["handle-2"]);
}

#[test]
fn messages_stay_invisible_for_as_long_as_the_command_may_take() {
    for (rate, expected) in [("100", 120), ("1", 130)] {
        let stub = queue((0..10).map(|number| message(number, "body")).collect(), &[]);
        let list = ["dead-letters", "delete", QUEUE, "--yes", "--problem", "none", "--rate", rate];
        program_on(&stub).args(list).output().unwrap();
        let request = stub.requests().into_iter().find(|request| request.operation == "ReceiveMessage").unwrap();
        assert_eq!(request.json()["VisibilityTimeout"], expected, "{rate}");
    }
}
