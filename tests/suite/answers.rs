//! Every answer that a sender can get, and why: one table, each row one tampering with a delivery that is otherwise valid.
//! What the bus does to an answer is in [`crate::faults`].

use serde_json::{Value, json};

use crate::{
    app::{App, BODY, NOW, TRACE, key, signed},
    envelope::SignedDelivery,
};

/// One member of the valid body changed, and the whole signed again.
fn signed_with(change: impl FnOnce(&mut Value)) -> Value {
    let mut event: Value = serde_json::from_str(BODY).unwrap();
    change(&mut event);
    signed(event.to_string()).function_url()
}

#[tokio::test]
async fn a_valid_delivery_by_every_transport() {
    let app = App::start().await;
    let delivery = signed(BODY);
    let envelopes = [delivery.function_url(), delivery.http_api(), delivery.rest_api()];
    for envelope in
        envelopes.iter().cloned().chain(envelopes.iter().map(|envelope| delivery.in_base64(envelope.clone())))
    {
        let mut expected = json!({"statusCode": 200, "headers": {}, "body": "", "isBase64Encoded": false});
        if envelope["version"] == "2.0" {
            expected["cookies"] = json!([]);
        }
        assert_eq!(app.invoke(&envelope).await.unwrap(), expected);
    }
    let entry = json!({
        "EventBusName": "scalekit-events",
        "Source": "scalekit",
        "DetailType": "organization.sso_enabled",
        "Detail": BODY,
        "Time": 1_760_434_167.098_914_9,
        "TraceHeader": TRACE,
    });
    assert_eq!(app.bus.entries(), vec![entry; 6]);
}

#[tokio::test]
async fn the_detail_is_the_body_byte_for_byte() {
    let body = "\t{\"spec_version\":\"1\",\r\n \"b\":1.10000000000000000000001e-7, \"b\":\"\\u00e9é\\/\u{2028}\u{7f}\",\"id\":\"evt_1\",\
        \"type\":\"a.b\",\"object\":\"O\",\"environment_id\":\"env_1\",\"occurred_at\":\"1969-12-31T23:59:59.25Z\"} \n";
    let app = App::start().await;
    assert_eq!(app.deliver(&signed(body).function_url()).await.status, 200);
    let entries = app.bus.entries();
    assert_eq!(entries[0]["Detail"], json!(body));
    assert_eq!(entries[0]["Time"], json!(-0.75));
}

#[tokio::test]
async fn refused_before_anything_is_called() {
    let valid = || signed(BODY).function_url();
    let with = |pointer: &str, value: Value| {
        let mut envelope = valid();
        *envelope.pointer_mut(pointer).unwrap() = value;
        envelope
    };
    let without = |header: &str| {
        let mut envelope = valid();
        envelope["headers"].as_object_mut().unwrap().remove(header).unwrap();
        envelope
    };
    let signed_at = |timestamp| SignedDelivery::new(&key(), "msg_1", timestamp, BODY.as_bytes()).function_url();
    let larger = |padding: usize| {
        let mut event: Value = serde_json::from_str(BODY).unwrap();
        event["padding"] = json!("");
        let empty = event.to_string().len();
        event["padding"] = json!("x".repeat(padding - empty));
        signed(event.to_string()).function_url()
    };
    let deep = |levels: usize| format!("{}{}", "{\"a\":".repeat(levels - 1) + "{", "}".repeat(levels));
    let malformed = |body: &[u8]| {
        let delivery = signed(body);
        delivery.in_base64(delivery.function_url())
    };

    let app = App::start().await;
    for (why, envelope, status, code) in [
        ("a body that is not a string", with("/body", json!({})), 400, "malformed-request"),
        ("base64 that is none", with("/isBase64Encoded", json!(true)), 400, "malformed-request"),
        ("a line break in a header", with("/headers/host", json!("a\nb")), 400, "malformed-request"),
        ("GET", with("/requestContext/http/method", json!("GET")), 405, "method-not-allowed"),
        (
            "post, which is another method",
            with("/requestContext/http/method", json!("post")),
            405,
            "method-not-allowed",
        ),
        ("no content type", without("content-type"), 415, "unsupported-media-type"),
        ("text", with("/headers/content-type", json!("text/plain")), 415, "unsupported-media-type"),
        (
            "JSON of another kind",
            with("/headers/content-type", json!("application/problem+json")),
            415,
            "unsupported-media-type",
        ),
        (
            "a body that can't fit, unsigned or not",
            with("/body", json!("x".repeat(1_047_531))),
            413,
            "content-too-large",
        ),
        ("a signed body that fits without its type", larger(1_047_530), 413, "content-too-large"),
        ("no webhook-id", without("webhook-id"), 401, "invalid-signature"),
        ("no webhook-timestamp", without("webhook-timestamp"), 401, "invalid-signature"),
        ("no webhook-signature", without("webhook-signature"), 401, "invalid-signature"),
        ("another id", with("/headers/webhook-id", json!("msg_2aXyZz")), 401, "invalid-signature"),
        (
            "another timestamp",
            with("/headers/webhook-timestamp", json!((NOW + 1).to_string())),
            401,
            "invalid-signature",
        ),
        ("another body", with("/body", json!(BODY.replace("true", "false"))), 401, "invalid-signature"),
        ("a byte more", with("/body", json!(format!("{BODY} "))), 401, "invalid-signature"),
        (
            "the vendor's other header",
            with("/headers/webhook-signature", json!("t=1760434167,v1=00")),
            401,
            "invalid-signature",
        ),
        ("too old", signed_at(NOW - 301), 401, "stale-timestamp"),
        ("too far in the future", signed_at(NOW + 301), 401, "stale-timestamp"),
        ("no JSON", malformed(b"no JSON"), 400, "malformed-json"),
        ("no UTF-8", malformed(b"{\"a\":\"\xff\"}"), 400, "malformed-json"),
        ("an empty body", malformed(b""), 400, "malformed-json"),
        ("an array", malformed(b"[]"), 400, "malformed-json"),
        ("two objects", malformed(b"{}{}"), 400, "malformed-json"),
        ("1001 levels", malformed(deep(1001).as_bytes()), 400, "malformed-json"),
        ("1000 levels, and no event", malformed(deep(1000).as_bytes()), 400, "contract-violation"),
        ("no member at all", malformed(b"{}"), 400, "contract-violation"),
        ("an id of another kind", signed_with(|event| event["id"] = json!("org_1")), 400, "contract-violation"),
    ] {
        let answer = app.deliver(&envelope).await;
        assert_eq!((answer.status, answer.code()), (status, code), "{why}: {answer:?}");
        assert_eq!(answer.headers["content-type"], json!("application/problem+json"), "{why}");
        assert_eq!(answer.problem["status"], json!(status), "{why}");
        assert_eq!(answer.headers.get("allow"), (status == 405).then_some(&json!("POST")), "{why}");
        assert_eq!(answer.headers.get("retry-after"), None, "{why}");
        assert_eq!(answer.problem.get("errors").is_some(), code == "contract-violation", "{why}");
    }
    assert_eq!(app.bus.entries(), Vec::<Value>::new());
}

#[tokio::test]
async fn at_the_limits_but_within() {
    let app = App::start().await;
    let fitting = |bytes: usize| {
        let event: Value = serde_json::from_str(BODY).unwrap();
        let mut event = event.to_string();
        event.push_str(&" ".repeat(bytes - event.len()));
        event
    };
    let boundary = 1_047_552 - 14 - "scalekit".len() - "organization.sso_enabled".len();
    let mut with_parameters = signed(BODY).function_url();
    with_parameters["headers"]["content-type"] = json!(" Application/JSON ; charset=utf-8");
    for (why, envelope) in [
        ("the largest entry", signed(fitting(boundary)).function_url()),
        ("the oldest", SignedDelivery::new(&key(), "msg_1", NOW - 300, BODY.as_bytes()).function_url()),
        ("the earliest", SignedDelivery::new(&key(), "msg_1", NOW + 300, BODY.as_bytes()).function_url()),
        ("parameters and case of the content type", with_parameters),
    ] {
        assert_eq!(app.deliver(&envelope).await.status, 200, "{why}");
    }
    let answer = app.deliver(&signed(fitting(boundary + 1)).function_url()).await;
    assert_eq!((answer.status, answer.code()), (413, "content-too-large"));
    let detail = answer.problem["detail"].as_str().unwrap();
    assert!(detail.contains("1047553") && detail.contains("1047552"), "{detail}");
}

#[tokio::test]
async fn every_violation_at_once_each_with_its_pointer() {
    let app = App::start().await;
    let body = r#"{"spec_version":"1\n","id":null,"type":"organization","object":"","occurred_at":"now","id":"evt_1","organization_id":"org_😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀😀","display_name":7,"data":null}"#;
    let answer = app.deliver(&signed(body).function_url()).await;
    assert_eq!(answer.code(), "contract-violation");
    assert_eq!(
        answer.problem["errors"],
        json!([
            {"pointer": "/spec_version", "detail": "must be one or more digits"},
            {"pointer": "/id", "detail": "appears more than once"},
            {"pointer": "/type", "detail": "must be two or more words of `a-z`, `0-9` and `_` joined by `.`, at most 128 characters in all"},
            {"pointer": "/object", "detail": "must be 1 to 64 characters of `A-Z`, `a-z`, `0-9` and `_`"},
            {"pointer": "/environment_id", "detail": "is required"},
            {"pointer": "/occurred_at", "detail": "must be an RFC 3339 date-time"},
            {"pointer": "/organization_id", "detail": "must be 1 to 32 characters long"},
            {"pointer": "/display_name", "detail": "must be a string"},
            {"pointer": "/data", "detail": "must be an object"},
        ])
    );
}

#[tokio::test]
async fn malformed_json_is_located_and_not_echoed() {
    let app = App::start().await;
    for (body, place) in [
        (&b"{\"secret\": \n  \"value\" \"more\"}"[..], "line 2, column 11"),
        (b"{\"secret\":\n\n \"a\xffb\"}", "line 3, column 4"),
        (b"[\"secret\"]", "line 1, column 1"),
        (b" \n  \"secret\"", "line 2, column 3"),
        (b"{\"secret\": {", "line 1, column 13"),
    ] {
        let delivery = signed(body);
        let answer = app.deliver(&delivery.in_base64(delivery.function_url())).await;
        let detail = answer.problem["detail"].as_str().unwrap();
        assert!(detail.contains(place), "{detail}");
        assert!(!detail.contains("secret"), "{detail}");
    }
}
