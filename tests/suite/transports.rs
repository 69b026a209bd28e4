//! Tests of HTTP requests in Lambda's event formats: the function reads them as `lambda_http` does, and also answers
//! requests on which `lambda_http` fails or panics.

use std::{cell::Cell, collections::HashSet, panic::catch_unwind};

use lambda_http::{
    Body,
    request::{LambdaRequest, RequestOrigin},
};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use scalekit_eventbridge::invocation::{Invocation, PayloadFormat, RawEvent};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::{
    contract::{cases, events::values},
    support::app::{App, BODY, read, signed},
};

/// The parts of a request that the function needs.
#[derive(Debug, PartialEq)]
struct Parts {
    format: PayloadFormat,
    method: String,
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature`
    headers: [Option<Vec<u8>>; 3],
    body: Vec<u8>,
}

/// The parts of a request as `lambda_http` reads them, or `None` if it fails or panics.
fn read_by_lambda_http(event: &str) -> Option<Parts> {
    let request = catch_unwind(|| {
        let request = serde_json::from_str::<LambdaRequest>(event).ok()?;
        Some((request.request_origin(), lambda_http::Request::from(request)))
    });
    let (origin, request) = request.ok()??;
    // When a header has several values, API Gateway's `headers` member contains the last one.
    let header = |name| request.headers().get_all(name).iter().next_back().map(|value| value.as_bytes().to_vec());
    Some(Parts {
        format: if matches!(origin, RequestOrigin::ApiGatewayV1) { PayloadFormat::V1 } else { PayloadFormat::V2 },
        method: request.method().to_string(),
        headers: ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header),
        body: match request.body() {
            Body::Text(text) => text.clone().into_bytes(),
            Body::Binary(bytes) => bytes.clone(),
            _ => Vec::new(),
        },
    })
}

/// The parts of a request as the function reads them, or the reason why it can't.
fn read_by_us(event: &str) -> Result<Parts, &'static str> {
    let event: RawEvent = serde_json::from_str(event).unwrap();
    let request = match event.read(None) {
        Invocation::Http(request) => request,
        Invocation::MalformedHttp(_, reason) => return Err(reason),
        other => panic!("{other:?}"),
    };
    let headers = &request.headers;
    let headers = [&headers.webhook_id, &headers.webhook_timestamp, &headers.webhook_signature];
    Ok(Parts {
        format: request.format,
        method: request.method.to_string(),
        headers: headers.map(|value| value.as_deref().map(|value| value.as_bytes().to_vec())),
        body: request.body.to_vec(),
    })
}

#[test]
fn requests_are_read_as_lambda_http_reads_them() {
    let (compared, unreadable) = (Cell::new(0), Cell::new(0));
    let run = TestRunner::new(cases(1500)).run(&envelopes(), |envelope| {
        let event = envelope.to_string();
        let ours = read_by_us(&event);
        match read_by_lambda_http(&event) {
            Some(theirs) => {
                prop_assert_eq!(ours, Ok(theirs), "{}", event);
                compared.set(compared.get() + 1);
            }
            None => unreadable.set(unreadable.get() + 1),
        }
        Ok(())
    });
    run.unwrap();
    assert!(compared.get() > 500, "only {compared:?} envelopes were compared");
    assert!(unreadable.get() > 100, "only {unreadable:?} envelopes were unreadable for lambda_http");
}

/// Envelopes of every transport. The parts that the function reads vary, and so do other parts.
fn envelopes() -> impl Strategy<Value = Value> {
    let delivery = signed(BODY);
    let transport = select(vec![delivery.function_url(), delivery.http_api(), delivery.rest_api()]);
    // An empty method is left out: `lambda_http` reads it as GET, and no gateway sends it.
    let method = select(&["POST", "POST", "GET", "post", "PATCH", "M-SEARCH", "X_1"]);
    let body = prop_oneof![
        4 => any::<String>().prop_map(|text| (json!(text), json!(false))),
        4 => vec(any::<u8>(), 0..40).prop_map(|bytes| {
            let envelope = signed(bytes).in_base64(json!({}));
            (envelope["body"].clone(), json!(true))
        }),
        1 => Just((Value::Null, json!(false))),
        1 => Just((json!("not base64!"), json!(true))),
    ];
    let unusual_part = prop_oneof![
        4 => Just(None),
        1 => select(vec![
            ("/headers/host", json!("a host")),
            ("/headers/host", json!("host:port")),
            ("/headers/x-forwarded-proto", json!("no proto")),
            ("/headers/x-other", json!("line\r\nbreak")),
            ("/rawQueryString", json!("a=1&b=%20&a=2")),
            ("/rawQueryString", json!("a b=\"c\"&é")),
            ("/rawPath", json!("/x".repeat(35_000))),
            ("/path", json!("/a b")),
            ("/cookies", json!(["a=b", "c=d"])),
            ("/requestContext/stage", json!("a/../b?c")),
        ])
        .prop_map(Some),
    ];
    let single = vec((header_name(), header_value()), 0..8);
    let multi = vec((header_name(), vec(header_value(), 0..3)), 0..6);
    (transport, method, body, unusual_part, single, prop::option::of(multi)).prop_map(
        |(mut envelope, method, (body, is_base64), unusual_part, single, multi)| {
            envelope["body"] = body;
            envelope["isBase64Encoded"] = is_base64;
            let single: Map<_, _> = distinct(single).map(|(name, value)| (name, json!(value))).collect();
            let single = if single.is_empty() { Value::Null } else { json!(single) };
            if envelope["version"] == "2.0" {
                envelope["requestContext"]["http"]["method"] = json!(method);
                envelope["headers"] = single;
            } else {
                let multi: Option<Map<_, _>> =
                    multi.map(|multi| distinct(multi).map(|(name, values)| (name, json!(values))).collect());
                envelope["httpMethod"] = json!(method);
                envelope["headers"] = single;
                envelope["multiValueHeaders"] = json!(multi);
            }
            if let Some((pointer, value)) = unusual_part {
                set(&mut envelope, pointer, value);
            }
            envelope
        },
    )
}

/// The headers without those whose names differ from an earlier name only in case, because no gateway sends such a
/// pair.
fn distinct<T>(headers: Vec<(String, T)>) -> impl Iterator<Item = (String, T)> {
    let mut names = HashSet::new();
    headers.into_iter().filter(move |(name, _)| names.insert(name.to_ascii_lowercase()))
}

fn header_name() -> impl Strategy<Value = String> {
    let names = select(&[
        "content-type",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "x-other",
        "scalekit-signature",
    ]);
    (names, any::<u32>()).prop_map(|(name, upper)| {
        let character = |(index, c): (usize, char)| if upper >> index & 1 == 1 { c.to_ascii_uppercase() } else { c };
        name.chars().enumerate().map(character).collect()
    })
}

fn header_value() -> impl Strategy<Value = &'static str> {
    select(&[
        "application/json",
        "Application/JSON; charset=utf-8",
        "msg_1",
        "1760434167",
        "v1,a v1,b",
        "",
        " ",
        " padded ",
        "a\tb",
        "é",
        "😀",
        "\u{80}",
        "\"quoted\"",
        "a,b",
    ])
}

/// Sets the value at this pointer, and adds it if the member is absent.
fn set(envelope: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = envelope.pointer_mut(parent).unwrap();
    if parent.is_null() {
        *parent = json!({});
    }
    parent[name] = value;
}

#[tokio::test]
async fn an_authentic_delivery_in_an_unusual_envelope_is_forwarded() {
    let app = App::start().await;
    let delivery = signed(BODY);
    let v2 = delivery.function_url();
    let v1 = delivery.rest_api();
    for (description, valid, pointer, value) in [
        ("an invalid host", &v2, "/headers/host", json!("a host")),
        ("a host with an incomplete IPv6 address", &v2, "/headers/host", json!("[::1")),
        ("a host whose port is not a number", &v2, "/headers/host", json!("host:port")),
        ("an invalid protocol", &v2, "/headers/x-forwarded-proto", json!("no proto")),
        ("a query string with a space", &v2, "/rawQueryString", json!("a b")),
        ("a query string with quotes", &v2, "/rawQueryString", json!("a=\"b\"")),
        ("a query string with a character outside ASCII", &v2, "/rawQueryString", json!("é")),
        ("a path of 70 KB", &v2, "/rawPath", json!("/x".repeat(35_000))),
        ("an invalid header name", &v2, "/headers/a b", json!("c")),
        ("a header with a line break", &v2, "/headers/x-other", json!("a\r\nb")),
        ("a header with a NUL", &v2, "/headers/host", json!("a\0b")),
        ("a header with a DEL", &v2, "/headers/host", json!("\u{7f}")),
        ("a header that is a number", &v2, "/headers/host", json!(1)),
        ("a header that is null", &v2, "/headers/host", json!(null)),
        ("an unexpected content type", &v2, "/headers/content-type", json!("text/plain")),
        ("a path that is a number", &v2, "/rawPath", json!(1)),
        ("a query string that is a number", &v2, "/rawQueryString", json!(1)),
        ("cookies that are not a list", &v2, "/cookies", json!("a=b")),
        ("a request context with only the method", &v2, "/requestContext", json!({"http": {"method": "POST"}})),
        ("an invalid host", &v1, "/headers/host", json!("a host")),
        ("an invalid protocol", &v1, "/headers/x-forwarded-proto", json!("no proto")),
        ("a path of 70 KB", &v1, "/path", json!("/x".repeat(35_000))),
        ("query parameters that are a number", &v1, "/queryStringParameters", json!(1)),
        ("no request context", &v1, "/requestContext", json!(null)),
        ("headers only in `multiValueHeaders`", &v1, "/headers", json!(null)),
        ("headers only in `headers`", &v1, "/multiValueHeaders", json!(null)),
    ] {
        let mut envelope = valid.clone();
        set(&mut envelope, pointer, value);
        let reply = app.invoke(&envelope).await.unwrap();
        assert_eq!(reply["statusCode"], json!(200), "{description}: {reply}");
    }
    assert!(app.bus.entries().iter().all(|entry| entry["Detail"] == BODY));
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_malformed() {
    let app = App::start().await;
    let delivery = signed(BODY);
    let base64 = delivery.in_base64(delivery.function_url());
    let plain = delivery.function_url();
    for (description, valid, pointer, value, reason) in [
        ("a signature header that is a number", &plain, "/headers/webhook-id", json!(1), "a header is not a string"),
        ("headers that are a list", &plain, "/headers", json!([["host", "a"]]), "the headers are not an object"),
        ("a body that is an object", &plain, "/body", json!({}), "the body is not a string"),
        (
            "a base64 flag that is a string",
            &plain,
            "/isBase64Encoded",
            json!("false"),
            "`isBase64Encoded` is not a boolean",
        ),
        ("a method that is a number", &plain, "/requestContext/http/method", json!(1), "the method is not a string"),
        ("base64 in the URL-safe alphabet", &base64, "/body", json!("-_-_"), "the body is not valid base64"),
        ("base64 that is truncated", &base64, "/body", json!("eyI"), "the body is not valid base64"),
        ("base64 with a line break", &base64, "/body", json!("e30=\n"), "the body is not valid base64"),
        ("a body that is not base64", &plain, "/isBase64Encoded", json!(true), "the body is not valid base64"),
    ] {
        let mut envelope = valid.clone();
        set(&mut envelope, pointer, value);
        assert_eq!(
            read_by_lambda_http(&envelope.to_string()),
            None,
            "{description}: lambda_http should not be able to read it"
        );
        let reply = app.invoke(&envelope).await.unwrap();
        let answer = read(&reply);
        assert_eq!((answer.status, answer.code()), (400, "malformed-request"), "{description}: {answer:?}");
        assert_eq!(answer.problem["detail"], json!(format!("The request can't be read: {reason}.")), "{description}");
        assert_eq!(reply["cookies"], json!([]), "{description}: the response should have the request's format");
    }
    assert_eq!(app.bus.entries(), Vec::<Value>::new());
}

#[tokio::test]
async fn an_unknown_invocation_is_an_error_and_is_logged_once() {
    let expected =
        "expected an HTTP request from a function URL or API Gateway, or a batch of messages of the parking queue";
    let app = App::start().await;
    app.forget();
    for event in [
        json!({}),
        json!([]),
        json!([[]]),
        json!(null),
        json!("POST"),
        json!({"key1": "value1"}),
        json!({"headers": {"webhook-id": "msg_1"}, "body": "{}"}),
        json!({"httpMethod": null, "requestContext": null}),
        json!({"requestContext": {"eventType": "MESSAGE", "connectionId": "a="}, "body": "{}"}),
        json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}),
        json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": "{}"}}]}),
        json!({"Records": [{"eventSource": "aws:kinesis", "messageId": "1", "body": "{}"}]}),
    ] {
        let error = app.invoke(&event).await.unwrap_err();
        assert_eq!(error.error_type, "UnknownInvocation", "{event}");
        assert_eq!(error.error_message, expected, "{event}");
        let [line] = &app.lines()[..] else { panic!("{event}: {}", app.log()) };
        assert_eq!((&line["level"], &line["message"]), (&json!("WARN"), &json!("unknown invocation")), "{event}");
        assert_eq!(line["error"], json!(expected), "{event}");
        assert_eq!(line["request_id"], json!("8476a536-e9f4-11e8-9739-2dfe598c3fcd"), "{event}");
        app.forget();
    }
}

/// Pointers to the parts of an envelope that the function does not read.
const UNREAD: &[&str] = &[
    "/version",
    "/routeKey",
    "/rawPath",
    "/rawQueryString",
    "/cookies",
    "/resource",
    "/path",
    "/queryStringParameters",
    "/multiValueQueryStringParameters",
    "/pathParameters",
    "/stageVariables",
    "/unknown",
    "/requestContext/accountId",
    "/requestContext/authorizer",
    "/requestContext/domainName",
    "/requestContext/identity",
    "/requestContext/stage",
    "/requestContext/timeEpoch",
    "/requestContext/unknown",
];

#[test]
fn unread_parts_of_an_envelope_may_have_any_value() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(App::start());
    let delivery = signed(BODY);
    let transport = select(vec![delivery.function_url(), delivery.http_api(), delivery.rest_api()]);
    let parts = vec((select(UNREAD), values()), 1..5);
    let headers = vec(("[a-z-]{1,10}", "\\PC*"), 0..3);
    let run = TestRunner::new(cases(150)).run(&(transport, parts, headers), |(mut envelope, parts, headers)| {
        for (pointer, value) in parts {
            set(&mut envelope, pointer, value);
        }
        for (name, value) in headers {
            envelope["headers"][name] = json!(value);
        }
        let reply = runtime.block_on(app.invoke(&envelope)).unwrap();
        prop_assert_eq!(&reply["statusCode"], &json!(200), "{}: {}", envelope, reply);
        Ok(())
    });
    run.unwrap();
}

#[test]
fn every_modified_envelope_is_answered_or_rejected_as_unknown() {
    let runtime = Runtime::new().unwrap();
    let app = runtime.block_on(App::start());
    let delivery = signed(BODY);
    let transport = select(vec![
        delivery.function_url(),
        delivery.in_base64(delivery.http_api()),
        delivery.rest_api(),
        json!({}),
        json!([]),
    ]);
    let strings = any::<String>().prop_map(Value::from);
    let any_value = || prop_oneof![2 => values().prop_map(Some), 2 => strings.clone().prop_map(Some), 1 => Just(None)];
    let edits = vec((any::<prop::sample::Index>(), any_value()), 1..4);
    let run = TestRunner::new(cases(1000)).run(&(transport, edits), |(mut envelope, edits)| {
        for (index, value) in edits {
            edit(&mut envelope, index, value);
        }
        match runtime.block_on(app.invoke(&envelope)) {
            Ok(reply) => {
                let answer = read(&reply);
                let expected: &[&str] = match answer.status {
                    200 => return Ok(()),
                    400 => &["malformed-request", "malformed-json", "contract-violation"],
                    401 => &["invalid-signature"],
                    405 => &["method-not-allowed"],
                    _ => &[],
                };
                prop_assert!(expected.contains(&answer.code()), "{}: {:?}", envelope, answer);
            }
            Err(error) => {
                prop_assert_eq!(&error.error_type, "UnknownInvocation");
                let methods = [&envelope["httpMethod"], &envelope["requestContext"]["http"]["method"]];
                prop_assert_eq!(methods, [&Value::Null; 2], "{}", envelope);
            }
        }
        Ok(())
    });
    run.unwrap();
}

/// Replaces or removes one member or element of the envelope, at any depth.
fn edit(envelope: &mut Value, index: prop::sample::Index, value: Option<Value>) {
    let mut pointers = Vec::new();
    collect(envelope, "", &mut pointers);
    if pointers.is_empty() {
        *envelope = value.unwrap_or_default();
        return;
    }
    let (parent, name) = index.get(&pointers);
    match (envelope.pointer_mut(parent).unwrap(), value) {
        (Value::Object(members), None) => _ = members.remove(name),
        (Value::Array(elements), None) => _ = elements.remove(name.parse().unwrap()),
        (Value::Array(elements), Some(value)) => elements[name.parse::<usize>().unwrap()] = value,
        (parent, Some(value)) => parent[name] = value,
        (_, None) => {}
    }
}

/// Collects the parent pointer and the name of every member and element.
fn collect(value: &Value, pointer: &str, pointers: &mut Vec<(String, String)>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(elements) => elements.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => return,
    };
    for (name, value) in members {
        let escaped = name.replace('~', "~0").replace('/', "~1");
        collect(value, &format!("{pointer}/{escaped}"), pointers);
        pointers.push((pointer.to_owned(), name));
    }
}

#[test]
fn deeply_nested_envelopes_are_read() {
    let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
    for event in [
        format!(r#"{{"httpMethod":"POST","headers":{{}},"x":{},"body":"b"}}"#, deep(200_000)),
        format!(
            r#"{{"requestContext":{{"http":{{"method":"POST"}},"x":{}}},"headers":null,"body":"b"}}"#,
            deep(200_000)
        ),
    ] {
        assert_eq!(read_by_us(&event).unwrap().body, b"b");
    }
    let in_a_header = format!(r#"{{"httpMethod":"POST","headers":{{"a":{}}},"body":"b"}}"#, deep(200_000));
    assert_eq!(read_by_us(&in_a_header).unwrap().body, b"b");
}
