//! Tests every answer that depends on the delivery alone. Each row of a table makes one change to a valid delivery, so
//! that only this change can be the reason for the answer. Answers that depend on the bus or the queue are tested in
//! [`crate::faults`], and those that depend on Secrets Manager in [`crate::secrets`].

use scalekit_eventbridge::event::Validation;
use serde_json::{Value, json};

use test_support::SignedDelivery;

use crate::support::app::{App, BODY, NOW, TRACE, key, signed};

/// The valid body with a change, signed after the change so that the signature is not what is tested.
fn signed_with(change: impl FnOnce(&mut Value)) -> Value {
    let mut event: Value = serde_json::from_str(BODY).unwrap();
    change(&mut event);
    signed(event.to_string()).function_url()
}

#[tokio::test]
async fn a_valid_delivery_is_forwarded_from_every_transport() {
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
        \"type\":\"a.b\",\"object\":\"O\",\"environment_id\":\"env_1\",\"occurred_at\":\"1970-01-01T00:59:59.25+00:59\"} \n";
    let app = App::start().await;
    assert_eq!(app.deliver(&signed(body).function_url()).await.status, 200);
    let entries = app.bus.entries();
    assert_eq!(entries[0]["Detail"], json!(body));
    assert_eq!(entries[0]["Time"], json!(59.25));
}

#[tokio::test]
async fn an_invalid_delivery_is_refused_without_calling_the_bus() {
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
    let of_size = |bytes: usize| {
        let mut event: Value = serde_json::from_str(BODY).unwrap();
        event["padding"] = json!("");
        let empty = event.to_string().len();
        event["padding"] = json!("x".repeat(bytes - empty));
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
        ("a JSON body that is marked as base64", with("/isBase64Encoded", json!(true)), 400, "malformed-request"),
        ("the method GET", with("/requestContext/http/method", json!("GET")), 405, "method-not-allowed"),
        ("the method in lower case", with("/requestContext/http/method", json!("post")), 405, "method-not-allowed"),
        ("an unsigned body that is too large", with("/body", json!("x".repeat(1_047_531))), 401, "invalid-signature"),
        (
            "a signed body that is too large for any event type, and is not JSON",
            signed("x".repeat(1_047_531)).function_url(),
            413,
            "content-too-large",
        ),
        ("a signed body that is too large with its type", of_size(1_047_530), 413, "content-too-large"),
        ("no webhook-id", without("webhook-id"), 401, "invalid-signature"),
        ("no webhook-timestamp", without("webhook-timestamp"), 401, "invalid-signature"),
        ("no webhook-signature", without("webhook-signature"), 401, "invalid-signature"),
        ("an id changed after signing", with("/headers/webhook-id", json!("msg_2aXyZz")), 401, "invalid-signature"),
        (
            "a timestamp changed after signing",
            with("/headers/webhook-timestamp", json!((NOW + 1).to_string())),
            401,
            "invalid-signature",
        ),
        ("a body changed after signing", with("/body", json!(BODY.replace("true", "false"))), 401, "invalid-signature"),
        ("a byte added after signing", with("/body", json!(format!("{BODY} "))), 401, "invalid-signature"),
        (
            "a signature in the format of Scalekit's other signature header",
            with("/headers/webhook-signature", json!("t=1760434167,v1=00")),
            401,
            "invalid-signature",
        ),
        ("a timestamp that is too old", signed_at(NOW - 301), 401, "stale-timestamp"),
        ("a timestamp that is too far in the future", signed_at(NOW + 301), 401, "stale-timestamp"),
        ("a body that is not JSON", malformed(b"no JSON"), 400, "malformed-json"),
        ("a body that is not UTF-8", malformed(b"{\"a\":\"\xff\"}"), 400, "malformed-json"),
        ("an empty body", malformed(b""), 400, "malformed-json"),
        ("an array instead of an object", malformed(b"[]"), 400, "malformed-json"),
        ("two objects in one body", malformed(b"{}{}"), 400, "malformed-json"),
        ("an object nested 1001 levels deep", malformed(deep(1001).as_bytes()), 400, "malformed-json"),
        ("an object nested 1000 levels deep", malformed(deep(1000).as_bytes()), 400, "contract-violation"),
        ("an object without members", malformed(b"{}"), 400, "contract-violation"),
        ("an id with another prefix", signed_with(|event| event["id"] = json!("org_1")), 400, "contract-violation"),
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
async fn a_delivery_exactly_at_a_limit_is_forwarded() {
    let app = App::start().await;
    let padded_to = |bytes: usize| {
        let event: Value = serde_json::from_str(BODY).unwrap();
        let mut event = event.to_string();
        event.push_str(&" ".repeat(bytes - event.len()));
        event
    };
    let largest_body = 1_047_552 - 14 - "scalekit".len() - "organization.sso_enabled".len();
    let with_content_type = |value: Value| {
        let mut envelope = signed(BODY).function_url();
        envelope["headers"]["content-type"] = value;
        envelope
    };
    for (why, envelope) in [
        ("an entry of the maximum size", signed(padded_to(largest_body)).function_url()),
        (
            "the oldest timestamp that is accepted",
            SignedDelivery::new(&key(), "msg_1", NOW - 300, BODY.as_bytes()).function_url(),
        ),
        (
            "the timestamp furthest in the future that is accepted",
            SignedDelivery::new(&key(), "msg_1", NOW + 300, BODY.as_bytes()).function_url(),
        ),
        ("a content type with parameters", with_content_type(json!("Application/JSON ; charset=utf-8"))),
        ("a content type that a proxy repeated", with_content_type(json!("application/json, application/json"))),
        ("another content type", with_content_type(json!("application/cloudevents+json"))),
        ("no content type", with_content_type(Value::Null)),
    ] {
        assert_eq!(app.deliver(&envelope).await.status, 200, "{why}");
    }
    let answer = app.deliver(&signed(padded_to(largest_body + 1)).function_url()).await;
    assert_eq!((answer.status, answer.code()), (413, "content-too-large"));
    let detail = answer.problem["detail"].as_str().unwrap();
    assert!(detail.contains("1047553") && detail.contains("1047552"), "{detail}");
}

#[tokio::test]
async fn all_violations_are_reported_at_once_each_with_a_pointer() {
    let mut app = App::start().await;
    let body = format!(
        r#"{{"spec_version":"1\n","id":null,"type":"organization","object":"","occurred_at":"now","id":"evt_1","organization_id":"org_{}","display_name":7,"data":null}}"#,
        "😀".repeat(29)
    );
    let essential = [
        json!({"pointer": "/spec_version", "detail": "must be one or more digits"}),
        json!({"pointer": "/id", "detail": "appears more than once"}),
        json!({"pointer": "/type", "detail": "must be two or more words of `a-z`, `0-9` and `_` joined by `.`, at most 128 characters in all"}),
        json!({"pointer": "/object", "detail": "must be 1 to 64 characters of `A-Z`, `a-z`, `0-9` and `_`"}),
        json!({"pointer": "/environment_id", "detail": "is required"}),
        json!({"pointer": "/occurred_at", "detail": "must be an RFC 3339 date-time"}),
    ];
    let informational = [
        json!({"pointer": "/organization_id", "detail": "must be 1 to 32 characters long"}),
        json!({"pointer": "/display_name", "detail": "must be a string"}),
        json!({"pointer": "/data", "detail": "must be an object"}),
    ];
    let answer = app.deliver(&signed(&body).function_url()).await;
    assert_eq!(answer.code(), "contract-violation");
    assert_eq!(answer.problem["errors"], json!(essential), "an informational member is no reason to refuse an event");

    app.function.policy.validation = Validation::Strict;
    let answer = app.deliver(&signed(&body).function_url()).await;
    assert_eq!(answer.code(), "contract-violation");
    assert_eq!(answer.problem["errors"], json!([&essential[..], &informational[..]].concat()));
}

#[tokio::test]
async fn strict_validation_reports_what_differs_from_the_published_format() {
    let mut app = App::start().await;
    app.function.policy.validation = Validation::Strict;
    let event = json!({
        "spec_version": "1",
        "id": "evt_3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "type": "organization.directory.user_created",
        "object": "Starship",
        "environment_id": format!("env_{}", "x".repeat(29)),
        "occurred_at": "2025-10-14T09:29:27Z",
        "organization_id": "",
        "display_name": "",
        "data": {"id": "user_1", "active": "secret", "groups": {}, "address": {"country": 49}, "custom": "secret"},
    });
    let answer = app.deliver(&signed(event.to_string()).function_url()).await;
    assert_eq!(answer.code(), "contract-violation");
    assert_eq!(
        answer.problem["errors"],
        json!([
            {"pointer": "/id", "detail": "must be 1 to 32 characters long"},
            {"pointer": "/object", "detail": "`Starship` is not in the catalogue of objects"},
            {"pointer": "/environment_id", "detail": "must be 1 to 32 characters long"},
            {"pointer": "/organization_id", "detail": "must start with `org_`"},
            {"pointer": "/organization_id", "detail": "must be 1 to 32 characters long"},
            {"pointer": "/display_name", "detail": "must be 1 to 200 characters long"},
            {"pointer": "/data/active", "detail": "must be true or false"},
            {"pointer": "/data/address/country", "detail": "must be a string"},
            {"pointer": "/data/groups", "detail": "must be an array"},
            {"pointer": "/data/id", "detail": "must start with `diruser_`"},
            {"pointer": "/data/organization_id", "detail": "is required"},
        ])
    );
    let pointers = answer.problem["errors"].as_array().unwrap().iter().map(|it| it["pointer"].as_str().unwrap());
    let line = &app.lines()[0];
    assert_eq!((&line["outcome"], line.get("drift"), line.get("event_id")), (&json!("refused"), None, None));
    assert!(pointers.into_iter().all(|pointer| line["error"].as_str().unwrap().contains(pointer)), "{line}");
    assert!(!app.log().contains("secret") && !answer.problem.to_string().contains("secret"), "{line}");
}

#[tokio::test]
async fn the_answer_to_malformed_json_gives_the_position_but_not_the_text() {
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
