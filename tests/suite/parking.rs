//! Tests of the two queues: the parking queue holds events until the bus accepts them, and the dead-letter queue
//! receives a copy of each authentic delivery that is refused.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use test_support::SignedDelivery;

use crate::{
    support::app::{App, BODY, NOW, TRACE, at, context, key, read, signed},
    support::endpoint::{Behaviour, Endpoint, failed_call, failed_entry},
};

/// The delivery with its body in base64, as a gateway may send it.
fn in_base64(delivery: &SignedDelivery) -> Value {
    delivery.in_base64(delivery.function_url())
}

/// The valid body with a member `a` in its `data` that has this value.
fn with_data(json: &str) -> String {
    BODY.replacen("\"data\": {", &format!("\"data\": {{\"a\": {json},"), 1)
}

/// An app with queues, whose bus denies every call.
async fn with_failing_bus() -> App {
    let app = App::with_queues().await;
    app.bus.always("PutEvents", failed_call(400, "AccessDeniedException"));
    app
}

#[tokio::test]
async fn a_parked_message_is_the_unchanged_body() {
    let app = with_failing_bus().await;
    let reply = app.invoke(&signed(BODY).function_url()).await.unwrap();
    assert_eq!(reply, json!({"statusCode": 200, "headers": {}, "body": "", "isBase64Encoded": false, "cookies": []}));
    assert_eq!(
        app.queue.requests("SendMessage"),
        [json!({
            "QueueUrl": app.queue.queue_url("parking"),
            "MessageBody": BODY,
            "MessageSystemAttributes": {"AWSTraceHeader": {"DataType": "String", "StringValue": TRACE}},
        })]
    );

    let mut record = app.records().remove(0);
    for member in ["timestamp", "duration_ms", "request_id"] {
        record.as_object_mut().unwrap().remove(member).unwrap();
    }
    assert_eq!(
        record,
        json!({
            "level": "INFO",
            "outcome": "parked",
            "trigger": "http",
            "status": 200,
            "error": "PutEvents: AccessDeniedException (HTTP 400): it failed",
            "authentic": true,
            "webhook_id": "msg_2aXyZ",
            "event_id": "evt_94568078213382471",
            "type": "organization.sso_enabled",
            "object": "Connection",
            "environment_id": "env_74418471961625391",
            "organization_id": "org_83544995172188677",
            "catalogued": true,
            "queue_message_id": "00000000-0000-4000-8000-000000000001",
        })
    );
}

#[tokio::test]
async fn every_kind_of_body_is_parked_byte_for_byte() {
    let largest = 1_047_552 - 14 - "scalekit".len() - "organization.sso_enabled".len();
    for (description, body) in [
        ("white space before and after the JSON", format!("\r\n\t {BODY}\n\n")),
        ("numbers in unusual notation", with_data("[1.10000000000000000000001e-7, 1E400, -0.0]")),
        ("escape sequences", with_data(r#""\u00e9\/\ud83d\ude00\ufffe\uffff""#)),
        ("characters of one to four bytes", with_data("\"é\u{7f}\u{2028}\u{fffd}\u{e000}😀\u{10ffff}\"")),
        ("the largest body that the bus accepts", format!("{BODY}{}", " ".repeat(largest - BODY.len()))),
    ] {
        let app = with_failing_bus().await;
        assert_eq!(app.deliver(&signed(&body).function_url()).await.status, 200, "{description}");
        let taken = app.queue.taken();
        assert!(taken[0].is_in("parking") && taken[0].body() == body, "{description}");
        assert!(taken[0].body().len() <= 1_048_576, "{description}: the body should fit into a message");
    }
}

#[tokio::test]
async fn the_trace_header_is_passed_on_only_when_the_services_accept_it() {
    let now = at(NOW);
    let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
    let longest = format!("{root};Key={}", "0".repeat(500 - root.len() - ";Key=".len()));
    for (description, trace, expected) in [
        ("no trace header", None, None),
        ("an empty trace header", Some(String::new()), None),
        ("the longest trace header", Some(longest.clone()), Some(longest.clone())),
        ("a trace header that is one byte too long", Some(format!("{longest}0")), None),
        ("a character outside ASCII", Some(format!("{root};Key=é")), None),
        ("an invalid root", Some("Root=1-0".into()), None),
    ] {
        let app = App::with_queues().await;
        app.bus.once("PutEvents", failed_call(400, "AccessDeniedException"));
        let mut context = context(now, Duration::from_secs(10));
        context.xray_trace_id = trace;
        for _ in 0..2 {
            let reply = app.invoke_with(&signed(BODY).function_url(), context.clone(), now).await.unwrap();
            assert_eq!(read(&reply).status, 200, "{description}");
        }
        let message = &app.queue.requests("SendMessage")[0];
        let parked = message.pointer("/MessageSystemAttributes/AWSTraceHeader/StringValue");
        assert_eq!(parked, expected.clone().map(Value::String).as_ref(), "{description}: parked");
        let forwarded = app.bus.entries()[1].get("TraceHeader").cloned();
        assert_eq!(forwarded, expected.map(Value::String), "{description}: forwarded");
    }
}

#[tokio::test]
async fn a_body_that_sqs_cannot_carry_unchanged_is_not_parked() {
    let app = with_failing_bus().await;
    for (description, json) in [("an unescaped U+FFFE", "\"\u{fffe}\""), ("an unescaped U+FFFF", "\"\u{ffff}\"")] {
        let answer = app.deliver(&signed(with_data(json)).function_url()).await;
        assert_eq!((answer.status, answer.code()), (503, "bus-unavailable"), "{description}");
        assert_eq!(
            app.records().last().unwrap()["error"],
            "PutEvents: AccessDeniedException (HTTP 400): it failed; parking the event failed, too: SendMessage: SQS can't carry this body unchanged",
            "{description}"
        );
        app.bus.recover();
        assert_eq!(
            app.deliver(&signed(with_data(json)).function_url()).await.status,
            200,
            "{description}: the bus should accept it"
        );
        app.bus.always("PutEvents", failed_call(400, "AccessDeniedException"));
    }
    assert_eq!(app.queue.calls("SendMessage"), 0);
}

#[tokio::test]
async fn each_queue_receives_only_its_own_messages() {
    let mut app = with_failing_bus().await;
    let dead_letter_queue = app.function.dead_letter_queue.take();
    assert_eq!(app.deliver(&signed("{}").function_url()).await.code(), "contract-violation");
    assert_eq!(app.queue.calls("SendMessage"), 0, "a refused delivery should not go to the parking queue");

    app.function.dead_letter_queue = dead_letter_queue;
    app.function.parking_queue = None;
    assert_eq!(app.deliver(&signed(BODY).function_url()).await.code(), "misconfigured");
    assert_eq!(app.queue.calls("SendMessage"), 0, "a failed delivery should not go to the dead-letter queue");
}

/// The five seconds begin when the attempts end, not when the delivery arrived.
#[tokio::test]
async fn after_five_failed_calls_events_are_parked_for_five_seconds_without_a_call() {
    let app = App::with_queues().await;
    app.bus.always("PutEvents", failed_call(503, "ServiceUnavailable"));
    let deliver = async |seconds| {
        assert_eq!(read(&app.invoke_at(&signed(BODY).function_url(), at(NOW + seconds)).await.unwrap()).status, 200);
        app.bus.calls("PutEvents")
    };
    // The attempts of the first delivery take up to 1.5 s.
    for (seconds, calls) in [(0, 5), (2, 5), (4, 5), (7, 6), (7, 6), (11, 6), (14, 7)] {
        assert_eq!(deliver(seconds).await, calls, "after {seconds} s");
    }
    let error = app.records()[1]["error"].clone();
    assert_eq!(
        error,
        "PutEvents was not called, because the last calls failed: PutEvents: ServiceUnavailable (HTTP 503)"
    );
    app.bus.recover();
    assert_eq!((deliver(15).await, deliver(20).await, deliver(20).await), (7, 8, 9));
}

#[tokio::test]
async fn events_are_parked_while_the_bus_does_not_exist() {
    let bus = Endpoint::start().await;
    bus.always("DescribeEventBus", failed_call(400, "ResourceNotFoundException"));
    let app = App::before(bus, Endpoint::start().await).await.and_queues();
    assert_eq!(app.deliver(&signed(BODY).function_url()).await.status, 200);
    let record = app.records().remove(0);
    assert_eq!(
        (&record["outcome"], &record["error"]),
        (&json!("parked"), &json!("there is no event bus `scalekit-events`"))
    );
    assert_eq!(app.bus.calls("PutEvents"), 0, "EventBridge would accept the event and drop it");
    assert_eq!(app.queue.taken()[0].body(), BODY);

    app.bus.recover();
    let later = SignedDelivery::new(&key(), "msg_1", NOW + 11, BODY.as_bytes()).function_url();
    assert_eq!(read(&app.invoke_at(&later, at(NOW + 11)).await.unwrap()).status, 200);
    assert_eq!(app.records()[1]["outcome"], "forwarded");
}

/// An authentic delivery that the function refuses.
struct Refused {
    description: &'static str,
    envelope: Value,
    bus: Option<Behaviour>,
    problem: &'static str,
    reason: &'static str,
    /// The message, and whether it is encoded in base64.
    message: (Vec<u8>, bool),
}

fn refused() -> Vec<Refused> {
    let row = |description, body: &[u8], problem, reason, base64| Refused {
        description,
        envelope: in_base64(&signed(body)),
        bus: None,
        problem,
        reason,
        message: (body.to_vec(), base64),
    };
    let (text, base64) = (false, true);
    let malformed = |description, body: &[u8], reason, base64| row(description, body, "malformed-json", reason, base64);
    let violating = |description, body: &str, base64| {
        row(description, body.as_bytes(), "contract-violation", "/spec_version must be a string", base64)
    };
    let too_large = BODY.replacen("organization.sso_enabled", &format!("a.{}", "b".repeat(126)), 1);
    let too_large = format!("{too_large}{}", " ".repeat(1_047_530 - too_large.len()));
    let unversioned = |body: &str| body.replacen("\"spec_version\": \"1\"", "\"spec_version\": null", 1);
    let by_bus = |description, behaviour, reason| Refused {
        bus: Some(behaviour),
        ..row(description, BODY.as_bytes(), "refused-by-bus", reason, text)
    };
    vec![
        malformed("text that is not JSON", b"no JSON", "expected ident at line 1, column 2", text),
        malformed("a JSON array", b"[]", "not a JSON object at line 1, column 1", text),
        malformed("invalid UTF-8", b"{\"a\":\"\xff\"}", "invalid UTF-8 at line 1, column 7", base64),
        malformed(
            "an unescaped control character in a string",
            b"{\"a\":\"\x01\"}",
            "control character (\\u0000-\\u001F) found while parsing a string at line 1, column 6",
            base64,
        ),
        malformed("U+0000 after the end of the JSON", b"{}\0", "trailing characters at line 1, column 3", base64),
        violating("a version that is null", &unversioned(BODY), text),
        violating("every kind of white space before the JSON", &unversioned(&format!("\t\r\n {BODY}")), text),
        violating("a wrong version and an unescaped U+FFFE", &unversioned(&with_data("\"\u{fffe}\"")), base64),
        violating("a wrong version and an unescaped U+FFFF", &unversioned(&with_data("\"\u{ffff}\"")), base64),
        violating(
            "a wrong version and characters of one to four bytes",
            &unversioned(&with_data("\"é\u{7f}\u{fffd}😀\"")),
            text,
        ),
        row(
            "a body that exceeds the limit together with its type",
            too_large.as_bytes(),
            "content-too-large",
            "the entry for the bus would have 1047680 bytes; the limit is 1047552 bytes",
            text,
        ),
        by_bus(
            "an entry that the bus rejects",
            failed_entry("MalformedDetail"),
            "PutEvents: the entry failed: MalformedDetail",
        ),
        by_bus(
            "a call that the bus rejects",
            failed_call(400, "ValidationException"),
            "PutEvents: ValidationException (HTTP 400)",
        ),
    ]
}

#[tokio::test]
async fn a_copy_that_sqs_rejects_is_sent_again_without_attributes() {
    for code in ["InvalidParameterValue", "InvalidParameterValueException", "InvalidMessageContents"] {
        let app = App::with_queues().await;
        app.queue.once("SendMessage", failed_call(400, code));
        assert_eq!(app.deliver(&signed("[]").function_url()).await.code(), "malformed-json", "{code}");
        let sent = app.queue.requests("SendMessage");
        assert_eq!(sent[1], json!({"QueueUrl": app.queue.queue_url("dead-letters"), "MessageBody": "[]"}), "{code}");
        assert_eq!(app.records()[0]["queue_message_id"], json!(app.queue.taken()[0].id), "{code}");

        let app = App::with_queues().await;
        app.queue.always("SendMessage", failed_call(400, code));
        app.deliver(&signed("[]").function_url()).await;
        assert_eq!(app.queue.calls("SendMessage"), 2, "{code}: the copy without attributes should not be retried");
        assert_eq!(app.records()[0]["copy_error"], json!(format!("SendMessage: {code} (HTTP 400)")), "{code}");
    }
}

#[tokio::test]
async fn a_copy_without_attributes_is_sent_only_after_a_rejection() {
    let app = App::with_queues().await;
    app.queue.always("SendMessage", failed_call(400, "AccessDeniedException"));
    app.deliver(&signed("[]").function_url()).await;
    assert_eq!(app.queue.calls("SendMessage"), 1);
}

#[tokio::test]
async fn a_copy_is_sent_up_to_the_size_limit_of_sqs() {
    let app = App::with_queues().await;
    let answer = app.deliver(&signed(" ".repeat(1_048_577)).function_url()).await;
    assert_eq!((answer.status, answer.code()), (413, "content-too-large"));
    assert_eq!(app.queue.calls("SendMessage"), 0);
    let record = app.records().remove(0);
    assert_eq!(record["authentic"], json!(true));
    let error = record["copy_error"].as_str().unwrap();
    assert!(
        error.starts_with("SendMessage: the message would have ") && error.ends_with("the limit is 1048576 bytes"),
        "{error}"
    );

    // The names, types and values of the attributes count towards the limit. If only the body fits, the copy has no
    // attributes.
    let attributes = "problemStringcontent-too-largereasonString\
                      the entry for the bus would have at least 1048440 bytes; the limit is 1047552 bytes\
                      webhook-idStringmsg_2aXyZ";
    for (bytes, has_attributes) in
        [(1_048_576 - attributes.len(), true), (1_048_577 - attributes.len(), false), (1_048_576, false)]
    {
        app.forget();
        app.deliver(&signed(" ".repeat(bytes)).function_url()).await;
        let sent = app.queue.requests("SendMessage");
        assert_eq!(sent[0].get("MessageAttributes").is_some(), has_attributes, "{bytes} bytes");
        assert_eq!((sent.len(), app.queue.taken().len()), (1, 1), "{bytes} bytes");
    }
}

/// Base64 has four characters for three bytes, and the attribute `encoding` needs 20 bytes.
#[tokio::test]
async fn a_copy_in_base64_has_up_to_786417_bytes() {
    let app = App::with_queues().await;
    for (bytes, is_copied) in [(786_417, true), (786_418, false), (768 * 1024, false)] {
        app.forget();
        let answer = app.deliver(&in_base64(&signed(vec![0xff; bytes]))).await;
        assert_eq!(answer.code(), "malformed-json");
        assert_eq!(app.queue.taken().len(), usize::from(is_copied), "{bytes} bytes");
        assert_eq!(app.records()[0].get("copy_error").is_none(), is_copied, "{bytes} bytes");
    }
}

#[tokio::test]
async fn a_queue_for_smaller_messages_makes_an_error_that_names_both_sizes() {
    let app = with_failing_bus().await;
    let message = "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes. marked";
    let too_long = json!({"__type": "com.amazonaws.sqs#InvalidParameterValue", "message": message});
    app.queue.always("SendMessage", Behaviour::Answer(400, too_long));

    let answer = app.deliver(&signed(BODY).function_url()).await;
    assert_eq!((answer.status, answer.code()), (503, "bus-unavailable"));
    let bytes = BODY.len();
    assert_eq!(
        app.records()[0]["error"],
        json!(format!(
            "PutEvents: AccessDeniedException (HTTP 400): it failed; parking the event failed, too: SendMessage: \
             InvalidParameterValue (HTTP 400): the message has {bytes} bytes; the queue's MaximumMessageSize is 1024 bytes"
        ))
    );

    app.forget();
    app.deliver(&signed("[]").function_url()).await;
    let error = app.records()[0]["copy_error"].as_str().unwrap().to_owned();
    assert!(
        error.starts_with("SendMessage: InvalidParameterValue (HTTP 400): the message has ")
            && error.ends_with(" bytes; the queue's MaximumMessageSize is 1024 bytes"),
        "{error}"
    );
    assert!(!app.log().contains("marked"), "only the number of SQS's message should be logged");
}

#[tokio::test]
async fn an_authentic_delivery_that_is_refused_is_copied_to_the_dead_letter_queue() {
    for Refused { description, envelope, bus, problem, reason, message: (body, base64) } in refused() {
        let (app, without) = (App::with_queues().await, App::start().await);
        if let Some(behaviour) = bus {
            app.bus.always("PutEvents", behaviour.clone());
            without.bus.always("PutEvents", behaviour);
        }
        let reply = app.invoke(&envelope).await.unwrap();
        assert_eq!(
            reply,
            without.invoke(&envelope).await.unwrap(),
            "{description}: the copy should not change the answer"
        );
        assert_eq!(read(&reply).code(), problem, "{description}");

        let text = |value: &str| json!({"DataType": "String", "StringValue": value});
        let mut attributes = json!({"problem": text(problem), "reason": text(reason), "webhook-id": text("msg_2aXyZ")});
        let mut message = String::from_utf8_lossy(&body).into_owned();
        if base64 {
            attributes["encoding"] = text("base64");
            message = in_base64(&signed(&body))["body"].as_str().unwrap().to_owned();
        }
        let sent = app.queue.requests("SendMessage");
        let expected = json!({
            "QueueUrl": app.queue.queue_url("dead-letters"),
            "MessageBody": message,
            "MessageAttributes": attributes,
            "MessageSystemAttributes": {"AWSTraceHeader": text(TRACE)},
        });
        assert!(sent == [expected.clone()], "{description}: expected {expected}, but sent {sent:?}");
        assert!(expected.to_string().len() <= 1_048_576, "{description}: the copy should fit into a message");

        let record = app.records().remove(0);
        assert_eq!(record["outcome"], "refused", "{description}");
        assert_eq!(record["queue_message_id"], json!(app.queue.taken()[0].id), "{description}");
        assert_eq!(record.get("copy_error"), None, "{description}");
    }
}

#[tokio::test]
async fn a_delivery_that_is_not_authentic_is_not_copied() {
    let app = App::with_queues().await;
    let changed = |pointer: &str, value: Value| {
        let mut envelope = signed("{}").function_url();
        *envelope.pointer_mut(pointer).unwrap() = value;
        envelope
    };
    let signed_at = |timestamp| SignedDelivery::new(&key(), "msg_1", timestamp, b"{}").function_url();
    for (description, envelope, status) in [
        ("the signature of another body", changed("/headers/webhook-signature", json!(signed("[]").signature)), 401),
        ("a timestamp that is too old", signed_at(NOW - 301), 401),
        ("a timestamp that is too far in the future", signed_at(NOW + 301), 401),
        ("the method GET", changed("/requestContext/http/method", json!("GET")), 405),
        ("a body that is not valid base64", changed("/isBase64Encoded", json!(true)), 400),
    ] {
        assert_eq!(app.deliver(&envelope).await.status, status, "{description}");
    }
    assert_eq!(app.queue.calls("SendMessage"), 0);
}

#[tokio::test]
async fn an_empty_body_is_not_copied() {
    let app = App::with_queues().await;
    assert_eq!(app.deliver(&signed("").function_url()).await.code(), "malformed-json");
    assert_eq!(app.records()[0]["copy_error"], "SendMessage: SQS accepts no empty message");
    assert_eq!(app.queue.calls("SendMessage"), 0);
}

#[tokio::test]
async fn a_delivery_that_failed_is_not_copied() {
    for behaviour in [failed_entry("AccessDeniedException"), failed_call(503, "ServiceUnavailable")] {
        let mut app = App::with_queues().await;
        app.function.parking_queue = None;
        app.bus.always("PutEvents", behaviour.clone());
        assert!(app.deliver(&signed(BODY).function_url()).await.status >= 500, "{behaviour:?}");
        assert_eq!(app.queue.calls("SendMessage"), 0, "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_failed_copy_does_not_change_the_answer() {
    let each = |behaviour| {
        let endpoint = async { Endpoint::start().await };
        async move {
            let endpoint = endpoint.await;
            endpoint.always("SendMessage", behaviour);
            endpoint
        }
    };
    let queues = [
        ("the queue denies the call", each(failed_call(400, "AccessDeniedException")).await),
        ("the queue throttles the call", each(failed_call(400, "ThrottlingException")).await),
        ("the queue answers without a message id", each(Behaviour::Answer(200, json!({}))).await),
        ("the queue answers with invalid JSON", each(Behaviour::Raw(200, b"<garbage>".to_vec())).await),
        ("the queue is slow", each(Behaviour::Slow(Duration::from_secs(3))).await),
        ("the queue never answers", each(Behaviour::Hang).await),
        ("the queue never reads the request", Endpoint::mute()),
        ("the queue refuses connections", Endpoint::closed()),
    ];
    let reference = App::start().await;
    reference.bus.always("PutEvents", failed_entry("MalformedDetail"));
    let envelopes = [in_base64(&signed("[]")), signed("{}").function_url(), signed(BODY).function_url()];
    let mut expected = Vec::new();
    for envelope in &envelopes {
        let reply = reference.invoke(envelope).await.unwrap();
        expected.push((reply, reference.records().pop().unwrap()));
    }
    let comparable = |mut record: Value| {
        for member in ["timestamp", "duration_ms"] {
            record.as_object_mut().unwrap().remove(member).unwrap();
        }
        record
    };

    join_all(queues.into_iter().map(async |(description, queue)| {
        let mut app = App::before(Endpoint::start().await, queue).await.and_queues();
        app.function.parking_queue = None;
        app.bus.always("PutEvents", failed_entry("MalformedDetail"));
        for (envelope, (reply, record)) in envelopes.iter().zip(&expected) {
            let now = at(NOW);
            let answer = app.invoke_with(envelope, context(now, Duration::from_secs(3)), now).await.unwrap();
            assert_eq!(&answer, reply, "{description}");
            let mut actual = app.records().pop().unwrap();
            let error = actual.as_object_mut().unwrap().remove("copy_error").unwrap_or_else(|| panic!("{description}"));
            assert!(error.as_str().unwrap().starts_with("SendMessage: "), "{description}: {error}");
            assert_eq!(comparable(actual), comparable(record.clone()), "{description}");
        }
    }))
    .await;
}
