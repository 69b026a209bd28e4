//! Our own queues: where an event waits that the bus can't have yet, and where a copy of an authentic delivery goes that was
//! refused.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    app::{App, BODY, NOW, TRACE, at, context, key, read, signed},
    endpoint::{Behaviour, Endpoint, failed_call, failed_entry},
    envelope::SignedDelivery,
};

/// The body in base64, as a gateway may send any.
fn in_base64(delivery: &SignedDelivery) -> Value {
    delivery.in_base64(delivery.function_url())
}

/// The valid body with this member in its data.
fn with_data(json: &str) -> String {
    BODY.replacen("\"data\": {", &format!("\"data\": {{\"a\": {json},"), 1)
}

/// An app whose bus is out of order.
async fn without_bus() -> App {
    let app = App::with_queues().await;
    app.bus.always("PutEvents", failed_call(400, "AccessDeniedException"));
    app
}

#[tokio::test]
async fn a_parked_event_is_the_body_itself() {
    let app = without_bus().await;
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
async fn bodies_that_are_parked_byte_for_byte() {
    let largest = 1_047_552 - 14 - "scalekit".len() - "organization.sso_enabled".len();
    for (why, body) in [
        ("white space and order", format!("\r\n\t {BODY}\n\n")),
        ("numbers as written", with_data("[1.10000000000000000000001e-7, 1E400, -0.0]")),
        ("escapes as written", with_data(r#""\u00e9\/\ud83d\ude00\ufffe\uffff""#)),
        ("text of every width", with_data("\"é\u{7f}\u{2028}\u{fffd}\u{e000}😀\u{10ffff}\"")),
        ("the largest there is", format!("{BODY}{}", " ".repeat(largest - BODY.len()))),
    ] {
        let app = without_bus().await;
        assert_eq!(app.deliver(&signed(&body).function_url()).await.status, 200, "{why}");
        let taken = app.queue.taken();
        assert!(taken[0].is_in("parking") && taken[0].body() == body, "{why}");
        assert!(taken[0].body().len() <= 1_048_576, "{why}: it fits into a message");
    }
}

#[tokio::test]
async fn the_trace_is_parked_if_the_services_take_it() {
    let now = at(NOW);
    let longest = format!("Root=1-{}", "0".repeat(493));
    for (why, trace, expected) in [
        ("none", None, None),
        ("an empty one", Some(String::new()), None),
        ("the longest", Some(longest.clone()), Some(longest.clone())),
        ("a longer one", Some(format!("{longest}0")), None),
        ("another alphabet", Some("Root=é".into()), None),
    ] {
        let app = App::with_queues().await;
        app.bus.once("PutEvents", failed_call(400, "AccessDeniedException"));
        let mut context = context(now, Duration::from_secs(10));
        context.xray_trace_id = trace;
        for _ in 0..2 {
            let reply = app.invoke_with(&signed(BODY).function_url(), context.clone(), now).await.unwrap();
            assert_eq!(read(&reply).status, 200, "{why}");
        }
        let message = &app.queue.requests("SendMessage")[0];
        let parked = message.pointer("/MessageSystemAttributes/AWSTraceHeader/StringValue");
        assert_eq!(parked, expected.clone().map(Value::String).as_ref(), "{why}: parked");
        let forwarded = app.bus.entries()[1].get("TraceHeader").cloned();
        assert_eq!(forwarded, expected.map(Value::String), "{why}: forwarded");
    }
}

#[tokio::test]
async fn what_sqs_would_change_is_not_parked() {
    let app = without_bus().await;
    for (why, json) in [("a raw U+FFFE", "\"\u{fffe}\""), ("a raw U+FFFF", "\"\u{ffff}\"")] {
        let answer = app.deliver(&signed(with_data(json)).function_url()).await;
        assert_eq!((answer.status, answer.code()), (503, "bus-unavailable"), "{why}");
        assert_eq!(
            app.records().last().unwrap()["error"],
            "PutEvents: AccessDeniedException (HTTP 400): it failed; and not parked: SendMessage: SQS can't carry this body unchanged",
            "{why}"
        );
        app.bus.recover();
        assert_eq!(app.deliver(&signed(with_data(json)).function_url()).await.status, 200, "{why}: the bus can");
        app.bus.always("PutEvents", failed_call(400, "AccessDeniedException"));
    }
    assert_eq!(app.queue.calls("SendMessage"), 0);
}

#[tokio::test]
async fn without_a_queue_for_it() {
    let mut app = without_bus().await;
    let refused = app.function.refused.take();
    assert_eq!(app.deliver(&signed("{}").function_url()).await.code(), "contract-violation");
    assert_eq!(app.queue.calls("SendMessage"), 0, "nothing refused goes to the parking queue");

    app.function.refused = refused;
    app.function.parking = None;
    assert_eq!(app.deliver(&signed(BODY).function_url()).await.code(), "misconfigured");
    assert_eq!(app.queue.calls("SendMessage"), 0, "nothing else goes to the queue of the refused");
}

#[tokio::test]
async fn a_missing_bus() {
    let bus = Endpoint::start().await;
    bus.always("DescribeEventBus", failed_call(400, "ResourceNotFoundException"));
    let app = App::before(bus, Endpoint::start().await).await.and_queues();
    assert_eq!(app.deliver(&signed(BODY).function_url()).await.status, 200);
    let record = app.records().remove(0);
    assert_eq!(
        (&record["outcome"], &record["error"]),
        (&json!("parked"), &json!("there is no event bus `scalekit-events`"))
    );
    assert_eq!(app.bus.calls("PutEvents"), 0, "it would be taken, and dropped");
    assert_eq!(app.queue.taken()[0].body(), BODY);

    app.bus.recover();
    assert_eq!(app.deliver(&signed(BODY).function_url()).await.status, 200);
    assert_eq!(app.records()[1]["outcome"], "forwarded");
}

/// A delivery that is authentic and refused, for good or until we are upgraded.
struct Refused {
    why: &'static str,
    envelope: Value,
    bus: Option<Behaviour>,
    problem: &'static str,
    reason: &'static str,
    /// The message, and whether it is in base64.
    message: (Vec<u8>, bool),
}

fn refused() -> Vec<Refused> {
    let row = |why, body: &[u8], problem, reason, base64| Refused {
        why,
        envelope: in_base64(&signed(body)),
        bus: None,
        problem,
        reason,
        message: (body.to_vec(), base64),
    };
    let (text, base64) = (false, true);
    let malformed = |why, body: &[u8], reason, base64| row(why, body, "malformed-json", reason, base64);
    let violating = |why, body: &str, base64| {
        row(why, body.as_bytes(), "contract-violation", "/spec_version must be a string", base64)
    };
    let too_large = BODY.replacen("organization.sso_enabled", &format!("a.{}", "b".repeat(126)), 1);
    let too_large = format!("{too_large}{}", " ".repeat(1_047_530 - too_large.len()));
    let unversioned = |body: &str| body.replacen("\"spec_version\": \"1\"", "\"spec_version\": null", 1);
    let by_bus = |why, behaviour, reason| Refused {
        bus: Some(behaviour),
        ..row(why, BODY.as_bytes(), "refused-by-bus", reason, text)
    };
    vec![
        malformed("no JSON", b"no JSON", "expected ident at line 1, column 2", text),
        malformed("an array", b"[]", "not a JSON object at line 1, column 1", text),
        malformed("no UTF-8", b"{\"a\":\"\xff\"}", "invalid UTF-8 at line 1, column 7", base64),
        malformed(
            "a raw control character, which is no JSON either",
            b"{\"a\":\"\x01\"}",
            "control character (\\u0000-\\u001F) found while parsing a string at line 1, column 6",
            base64,
        ),
        malformed("a raw U+0000 after the end", b"{}\0", "trailing characters at line 1, column 3", base64),
        violating("null for a version", &unversioned(BODY), text),
        violating("all white space there is", &unversioned(&format!("\t\r\n {BODY}")), text),
        violating("a raw U+FFFE beside", &unversioned(&with_data("\"\u{fffe}\"")), base64),
        violating("a raw U+FFFF beside", &unversioned(&with_data("\"\u{ffff}\"")), base64),
        violating("text of every width beside", &unversioned(&with_data("\"é\u{7f}\u{fffd}😀\"")), text),
        row(
            "a body that fits, but not with its type",
            too_large.as_bytes(),
            "content-too-large",
            "the entry for the bus is 1047680 bytes large, the limit is 1047552 bytes",
            text,
        ),
        by_bus("a failed entry", failed_entry("MalformedDetail"), "PutEvents, in the entry: MalformedDetail"),
        by_bus("a failed call", failed_call(400, "ValidationException"), "PutEvents: ValidationException (HTTP 400)"),
    ]
}

#[tokio::test]
async fn what_is_authentic_and_refused_is_copied() {
    for Refused { why, envelope, bus, problem, reason, message: (body, base64) } in refused() {
        let (app, without) = (App::with_queues().await, App::start().await);
        if let Some(behaviour) = bus {
            app.bus.always("PutEvents", behaviour.clone());
            without.bus.always("PutEvents", behaviour);
        }
        let reply = app.invoke(&envelope).await.unwrap();
        assert_eq!(reply, without.invoke(&envelope).await.unwrap(), "{why}: the answer is the same");
        assert_eq!(read(&reply).code(), problem, "{why}");

        let text = |value: &str| json!({"DataType": "String", "StringValue": value});
        let mut attributes = json!({"problem": text(problem), "reason": text(reason), "webhook-id": text("msg_2aXyZ")});
        let mut message = String::from_utf8_lossy(&body).into_owned();
        if base64 {
            attributes["encoding"] = text("base64");
            message = in_base64(&signed(&body))["body"].as_str().unwrap().to_owned();
        }
        let sent = app.queue.requests("SendMessage");
        let expected = json!({
            "QueueUrl": app.queue.queue_url("refused"),
            "MessageBody": message,
            "MessageAttributes": attributes,
            "MessageSystemAttributes": {"AWSTraceHeader": text(TRACE)},
        });
        assert!(sent == [expected.clone()], "{why}: {sent:?}, not {expected}");
        assert!(expected.to_string().len() <= 1_048_576, "{why}: it fits into a message");

        let record = app.records().remove(0);
        assert_eq!(record["outcome"], "refused", "{why}");
        assert_eq!(record["queue_message_id"], json!(app.queue.taken()[0].id), "{why}");
        assert_eq!(record.get("copy_error"), None, "{why}");
    }
}

#[tokio::test]
async fn what_is_not_authentic_is_not_copied() {
    let app = App::with_queues().await;
    let changed = |pointer: &str, value: Value| {
        let mut envelope = signed("{}").function_url();
        *envelope.pointer_mut(pointer).unwrap() = value;
        envelope
    };
    let signed_at = |timestamp| SignedDelivery::new(&key(), "msg_1", timestamp, b"{}").function_url();
    for (why, envelope, status) in [
        ("another signature", changed("/headers/webhook-signature", json!(signed("[]").signature)), 401),
        ("too old", signed_at(NOW - 301), 401),
        ("too far in the future", signed_at(NOW + 301), 401),
        ("a body that can't fit", signed(" ".repeat(1_047_531)).function_url(), 413),
        ("GET", changed("/requestContext/http/method", json!("GET")), 405),
        ("text", changed("/headers/content-type", json!("text/plain")), 415),
        ("base64 that is none", changed("/isBase64Encoded", json!(true)), 400),
    ] {
        assert_eq!(app.deliver(&envelope).await.status, status, "{why}");
    }
    assert_eq!(app.queue.calls("SendMessage"), 0);
}

#[tokio::test]
async fn an_empty_body_is_no_message() {
    let app = App::with_queues().await;
    assert_eq!(app.deliver(&signed("").function_url()).await.code(), "malformed-json");
    assert_eq!(app.records()[0]["copy_error"], "SendMessage: SQS takes no empty body");
    assert_eq!(app.queue.calls("SendMessage"), 0);
}

#[tokio::test]
async fn what_failed_is_not_copied() {
    for behaviour in [failed_entry("AccessDeniedException"), failed_call(503, "ServiceUnavailable")] {
        let mut app = App::with_queues().await;
        app.function.parking = None;
        app.bus.always("PutEvents", behaviour.clone());
        assert!(app.deliver(&signed(BODY).function_url()).await.status >= 500, "{behaviour:?}");
        assert_eq!(app.queue.calls("SendMessage"), 0, "{behaviour:?}");
    }
}

#[tokio::test]
async fn a_copy_that_fails_changes_nothing_but_the_log() {
    let each = |behaviour| {
        let endpoint = async { Endpoint::start().await };
        async move {
            let endpoint = endpoint.await;
            endpoint.always("SendMessage", behaviour);
            endpoint
        }
    };
    let queues = [
        ("denied", each(failed_call(400, "AccessDeniedException")).await),
        ("throttled", each(failed_call(400, "ThrottlingException")).await),
        ("without a message id", each(Behaviour::Answer(200, json!({}))).await),
        ("garbage", each(Behaviour::Raw(200, b"<garbage>".to_vec())).await),
        ("slow", each(Behaviour::Slow(Duration::from_secs(3))).await),
        ("hanging", each(Behaviour::Hang).await),
        ("mute", Endpoint::mute()),
        ("closed", Endpoint::closed()),
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

    join_all(queues.into_iter().map(async |(why, queue)| {
        let mut app = App::before(Endpoint::start().await, queue).await.and_queues();
        app.function.parking = None;
        app.bus.always("PutEvents", failed_entry("MalformedDetail"));
        for (envelope, (reply, record)) in envelopes.iter().zip(&expected) {
            let now = at(NOW);
            let answer = app.invoke_with(envelope, context(now, Duration::from_secs(3)), now).await.unwrap();
            assert_eq!(&answer, reply, "{why}");
            let mut told = app.records().pop().unwrap();
            let error = told.as_object_mut().unwrap().remove("copy_error").unwrap_or_else(|| panic!("{why}"));
            assert!(error.as_str().unwrap().starts_with("SendMessage: "), "{why}: {error}");
            assert_eq!(comparable(told), comparable(record.clone()), "{why}");
        }
    }))
    .await;
}
