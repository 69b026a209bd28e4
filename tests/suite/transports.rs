//! Do we read an envelope as `lambda_http` does, where it can, and answer where it can't? It panics, or fails, on envelopes
//! that any stranger can have made; what we need of one is its method, four headers and the body.

use std::{cell::Cell, panic::catch_unwind};

use lambda_http::{
    Body,
    request::{LambdaRequest, RequestOrigin},
};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestRunner};
use scalekit_eventbridge::envelope::{EnvelopeError, Invocation, Payload};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

use crate::{
    app::{App, BODY, read, signed},
    contract::{cases, events::values},
};

/// What is read of an envelope.
#[derive(Debug, PartialEq)]
struct Seen {
    payload: Payload,
    method: String,
    /// `content-type`, `webhook-id`, `webhook-timestamp`, `webhook-signature`
    headers: [Option<Vec<u8>>; 4],
    body: Vec<u8>,
}

/// What `lambda_http` reads, unless it fails or panics.
fn seen_by_lambda_http(event: &str) -> Option<Seen> {
    let request = catch_unwind(|| {
        let request = serde_json::from_str::<LambdaRequest>(event).ok()?;
        Some((request.request_origin(), lambda_http::Request::from(request)))
    });
    let (origin, request) = request.ok()??;
    // Of several values API Gateway's own `headers` has the last.
    let header = |name| request.headers().get_all(name).iter().next_back().map(|value| value.as_bytes().to_vec());
    Some(Seen {
        payload: if matches!(origin, RequestOrigin::ApiGatewayV1) { Payload::V1 } else { Payload::V2 },
        method: request.method().to_string(),
        headers: ["content-type", "webhook-id", "webhook-timestamp", "webhook-signature"].map(header),
        body: match request.body() {
            Body::Text(text) => text.clone().into_bytes(),
            Body::Binary(bytes) => bytes.clone(),
            _ => Vec::new(),
        },
    })
}

fn seen(event: &str) -> Result<Seen, EnvelopeError> {
    let invocation: Invocation = serde_json::from_str(event).unwrap();
    let request = invocation.request()?;
    let headers = &request.headers;
    let headers = [&headers.content_type, &headers.webhook_id, &headers.webhook_timestamp, &headers.webhook_signature];
    Ok(Seen {
        payload: request.payload,
        method: request.method.to_string(),
        headers: headers.map(|value| value.as_deref().map(|value| value.as_bytes().to_vec())),
        body: request.body.to_vec(),
    })
}

#[test]
fn what_lambda_http_reads_we_read_alike() {
    let (alike, unreadable) = (Cell::new(0), Cell::new(0));
    let run = TestRunner::new(cases(1500)).run(&envelopes(), |envelope| {
        let event = envelope.to_string();
        let ours = seen(&event);
        match seen_by_lambda_http(&event) {
            Some(theirs) => {
                prop_assert_eq!(ours, Ok(theirs), "{}", event);
                alike.set(alike.get() + 1);
            }
            None => unreadable.set(unreadable.get() + 1),
        }
        Ok(())
    });
    run.unwrap();
    assert!(alike.get() > 500, "{alike:?} envelopes compared");
    assert!(unreadable.get() > 100, "{unreadable:?} envelopes that lambda_http can't read");
}

/// Envelopes of every transport, the parts that we read and those that we don't varied alike.
fn envelopes() -> impl Strategy<Value = Value> {
    let delivery = signed(BODY);
    let transport = select(vec![delivery.function_url(), delivery.http_api(), delivery.rest_api()]);
    // Not "", which lambda_http takes for GET: no gateway sends it.
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
    let odd_part = prop_oneof![
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
    (transport, method, body, odd_part, single, prop::option::of(multi)).prop_map(
        |(mut envelope, method, (body, is_base64), odd_part, single, multi)| {
            envelope["body"] = body;
            envelope["isBase64Encoded"] = is_base64;
            let single: Map<_, _> = single.into_iter().map(|(name, value)| (name, json!(value))).collect();
            let single = if single.is_empty() { Value::Null } else { json!(single) };
            if envelope["version"] == "2.0" {
                envelope["requestContext"]["http"]["method"] = json!(method);
                envelope["headers"] = single;
            } else {
                let multi: Option<Map<_, _>> =
                    multi.map(|multi| multi.into_iter().map(|(name, values)| (name, json!(values))).collect());
                envelope["httpMethod"] = json!(method);
                envelope["headers"] = single;
                envelope["multiValueHeaders"] = json!(multi);
            }
            if let Some((pointer, value)) = odd_part {
                set(&mut envelope, pointer, value);
            }
            envelope
        },
    )
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

/// Puts a value where the pointer says, whether there is one or not.
fn set(envelope: &mut Value, pointer: &str, value: Value) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = envelope.pointer_mut(parent).unwrap();
    if parent.is_null() {
        *parent = json!({});
    }
    parent[name] = value;
}

#[tokio::test]
async fn an_authentic_delivery_in_an_odd_envelope_is_forwarded() {
    let app = App::start().await;
    let delivery = signed(BODY);
    let v2 = delivery.function_url();
    let v1 = delivery.rest_api();
    for (why, valid, pointer, value) in [
        ("a host that is none", &v2, "/headers/host", json!("a host")),
        ("a host with half an address", &v2, "/headers/host", json!("[::1")),
        ("a host with a word for a port", &v2, "/headers/host", json!("host:port")),
        ("a protocol that is none", &v2, "/headers/x-forwarded-proto", json!("no proto")),
        ("a space in the query", &v2, "/rawQueryString", json!("a b")),
        ("quotes in the query", &v2, "/rawQueryString", json!("a=\"b\"")),
        ("a query that is not ASCII", &v2, "/rawQueryString", json!("é")),
        ("a path of 70 KB", &v2, "/rawPath", json!("/x".repeat(35_000))),
        ("a header with a name that is none", &v2, "/headers/a b", json!("c")),
        ("a path of a number", &v2, "/rawPath", json!(1)),
        ("a query of a number", &v2, "/rawQueryString", json!(1)),
        ("cookies that are no list", &v2, "/cookies", json!("a=b")),
        ("no context but the method", &v2, "/requestContext", json!({"http": {"method": "POST"}})),
        ("a host that is none", &v1, "/headers/host", json!("a host")),
        ("a protocol that is none", &v1, "/headers/x-forwarded-proto", json!("no proto")),
        ("a path of 70 KB", &v1, "/path", json!("/x".repeat(35_000))),
        ("a query of a number", &v1, "/queryStringParameters", json!(1)),
        ("no context", &v1, "/requestContext", json!(null)),
        ("headers in lists alone", &v1, "/headers", json!(null)),
        ("headers in no list", &v1, "/multiValueHeaders", json!(null)),
    ] {
        let mut envelope = valid.clone();
        set(&mut envelope, pointer, value);
        let reply = app.invoke(&envelope).await.unwrap();
        assert_eq!(reply["statusCode"], json!(200), "{why}: {reply}");
    }
    assert!(app.bus.entries().iter().all(|entry| entry["Detail"] == BODY));
}

#[tokio::test]
async fn what_can_not_be_a_request_is_malformed() {
    let app = App::start().await;
    let delivery = signed(BODY);
    let base64 = delivery.in_base64(delivery.function_url());
    let plain = delivery.function_url();
    let header = "a header's value is not an HTTP header value";
    let kind = "a member of the envelope is not of its kind";
    let body = "the body is not the base64 that it is said to be";
    let method = "the method is not an HTTP method";
    for (why, valid, pointer, value, reason) in [
        ("a line break in a header", &plain, "/headers/x-other", json!("a\r\nb"), header),
        ("a line break in a header that we read", &plain, "/headers/webhook-id", json!("msg_1\n"), header),
        ("a NUL in a header", &plain, "/headers/host", json!("a\0b"), header),
        ("a DEL in a header", &plain, "/headers/host", json!("\u{7f}"), header),
        ("a number for a header", &plain, "/headers/host", json!(1), kind),
        ("null for a header", &plain, "/headers/host", json!(null), kind),
        ("headers in a list", &plain, "/headers", json!([["host", "a"]]), kind),
        ("an object for a body", &plain, "/body", json!({}), kind),
        ("a word for a flag", &plain, "/isBase64Encoded", json!("false"), kind),
        ("a number for a method", &plain, "/requestContext/http/method", json!(1), kind),
        ("two words for a method", &plain, "/requestContext/http/method", json!("PO ST"), method),
        ("a method that is not ASCII", &plain, "/requestContext/http/method", json!("PÖST"), method),
        ("base64 of another alphabet", &base64, "/body", json!("-_-_"), body),
        ("base64 with its end cut off", &base64, "/body", json!("eyI"), body),
        ("base64 with a line break", &base64, "/body", json!("e30=\n"), body),
        ("a plain body that is said to be base64", &plain, "/isBase64Encoded", json!(true), body),
    ] {
        let mut envelope = valid.clone();
        set(&mut envelope, pointer, value);
        assert_eq!(seen_by_lambda_http(&envelope.to_string()), None, "{why}: but lambda_http can read it");
        let answer = app.deliver(&envelope).await;
        assert_eq!((answer.status, answer.code()), (400, "malformed-request"), "{why}: {answer:?}");
        assert_eq!(answer.problem["detail"], json!(format!("The request can't be read: {reason}.")), "{why}");
    }
    assert_eq!(app.bus.entries(), Vec::<Value>::new());
}

#[tokio::test]
async fn what_is_no_http_envelope_is_a_runtime_error() {
    let app = App::start().await;
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
        assert_eq!(error.error_type, "UnknownEvent", "{event}");
        assert_eq!(error.error_message, "the event is neither an HTTP request nor a batch of SQS messages", "{event}");
    }
    assert_eq!(app.lines(), Vec::<Value>::new());
}

/// Pointers to every part of an envelope that we don't read.
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
fn what_we_do_not_read_may_hold_anything() {
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
fn whatever_comes_is_answered() {
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
    let anything = || prop_oneof![2 => values().prop_map(Some), 2 => strings.clone().prop_map(Some), 1 => Just(None)];
    let edits = vec((any::<prop::sample::Index>(), anything()), 1..4);
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
                    415 => &["unsupported-media-type"],
                    _ => &[],
                };
                prop_assert!(expected.contains(&answer.code()), "{}: {:?}", envelope, answer);
            }
            Err(error) => {
                prop_assert_eq!(&error.error_type, "UnknownEvent");
                let methods = [&envelope["httpMethod"], &envelope["requestContext"]["http"]["method"]];
                prop_assert_eq!(methods, [&Value::Null; 2], "{}", envelope);
            }
        }
        Ok(())
    });
    run.unwrap();
}

/// Replaces or removes one of all the members and elements, at any depth.
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
fn no_depth_of_an_envelope_is_too_deep() {
    let deep = |levels| "[".repeat(levels) + &"]".repeat(levels);
    for event in [
        format!(r#"{{"httpMethod":"POST","headers":{{}},"x":{},"body":"b"}}"#, deep(200_000)),
        format!(
            r#"{{"requestContext":{{"http":{{"method":"POST"}},"x":{}}},"headers":null,"body":"b"}}"#,
            deep(200_000)
        ),
    ] {
        assert_eq!(seen(&event).unwrap().body, b"b");
    }
    let in_a_header = format!(r#"{{"httpMethod":"POST","headers":{{"a":{}}}}}"#, deep(200_000));
    assert_eq!(seen(&in_a_header), Err(EnvelopeError::Malformed("a member of the envelope is not of its kind")));
}
