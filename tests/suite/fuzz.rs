//! Tests the whole request path with random input: every HTTP request must get one of the documented answers.
//!
//! An acknowledged event must be on the bus byte for byte, and only input that is neither an HTTP request nor a batch
//! of SQS messages may be a runtime error. Set `PROPTEST_CASES` for longer runs. A case that a run found becomes a row
//! of the table at the end.

use std::{cell::Cell, time::Duration};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};

use test_support::SignedDelivery;

use crate::{
    support::app::{App, BODY, NOW, TRACE, at, batch, context, message, read, signed},
    support::endpoint::{Behaviour, failed_call, failed_entry},
};

/// Every documented answer that can occur here. `internal-error` is missing because it would mean that the function
/// panicked.
const ANSWERS: [(u16, &str); 9] = [
    (400, "malformed-request"),
    (400, "malformed-json"),
    (400, "contract-violation"),
    (401, "invalid-signature"),
    (401, "stale-timestamp"),
    (405, "method-not-allowed"),
    (413, "content-too-large"),
    (422, "refused-by-bus"),
    (500, "misconfigured"),
];

/// Checks a property with random cases, all of them on the same function.
#[allow(clippy::needless_pass_by_value, reason = "the calls are easier to read without a reference")]
fn run<S: Strategy>(strategy: &S, property: impl AsyncFn(&App, S::Value) -> Result<(), TestCaseError>) {
    // Parking has tests of its own, and without it more kinds of answers occur.
    run_prepared(|app| app.function.parking_queue = None, strategy, property);
}

#[allow(clippy::needless_pass_by_value, reason = "the types of a closure are only inferred if it is passed by value")]
fn run_prepared<S: Strategy>(
    prepare: impl FnOnce(&mut App),
    strategy: &S,
    property: impl AsyncFn(&App, S::Value) -> Result<(), TestCaseError>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut app = runtime.block_on(App::with_queues());
    prepare(&mut app);
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let ran = TestRunner::new(config).run(strategy, |case| {
        app.forget();
        runtime.block_on(property(&app, case))
    });
    ran.unwrap_or_else(|failure| panic!("{failure}"));
}

/// Invokes the function with an event, and checks what must be true of every reply.
async fn invoke(app: &App, event: &str) -> Result<Option<Value>, TestCaseError> {
    let reply = match app.invoke_text(event, context(at(NOW), Duration::from_secs(10)), at(NOW)).await {
        Ok(reply) => reply,
        Err(error) => {
            prop_assert_eq!(error.error_type, "UnknownInvocation");
            prop_assert!(!is_http(event), "an HTTP request must be answered");
            return Ok(None);
        }
    };
    let members: Vec<_> =
        reply.as_object().unwrap().keys().map(String::as_str).filter(|name| *name != "cookies").collect();
    if members == ["batchItemFailures"] {
        prop_assert!(!is_http(event));
        return Ok(Some(reply));
    }
    prop_assert_eq!(members, ["body", "headers", "isBase64Encoded", "statusCode"]);
    let answer = read(&reply);
    let records = app.records();
    prop_assert_eq!(records.len(), 1, "one record is logged for each invocation");
    prop_assert_eq!(&records[0]["status"], &json!(answer.status));
    if answer.status == 200 {
        prop_assert_eq!(&answer.problem, &Value::Null);
        let taken = app.bus.taken();
        prop_assert_eq!(
            &records[0]["bus_event_id"],
            &json!(taken[0].id),
            "the logged id is that of the event on the bus"
        );
    } else {
        prop_assert!(ANSWERS.contains(&(answer.status, answer.code())), "{:?}", answer);
        prop_assert_eq!(&records[0]["problem"], answer.code());
        prop_assert!(app.bus.taken().is_empty(), "an event that is not acknowledged must not be on the bus");
    }
    Ok(Some(reply))
}

/// Whether an event has an HTTP method, as only HTTP requests do.
fn is_http(event: &str) -> bool {
    let Ok(event) = serde_json::from_str::<Value>(event) else { return false };
    event["httpMethod"].is_string() || event.pointer("/requestContext/http/method").is_some_and(Value::is_string)
}

/// Text of any characters, including those that cause problems in SQS, HTTP and terminals.
fn text() -> impl Strategy<Value = String> {
    let hostile =
        select(vec!["", "\0", "\n", "\r\n", "\u{1f}", "\u{7f}", "\u{85}", "\u{fffe}", "\u{ffff}", "😀", "\""]);
    prop_oneof![
        vec(any::<char>(), 0..12).prop_map(String::from_iter),
        vec(hostile, 0..4).prop_map(|parts| parts.concat()),
        "[ -~]{0,40}",
    ]
}

/// Names of JSON members, most of them used in an envelope, in a message or in an event.
fn name() -> impl Strategy<Value = String> {
    let known = "httpMethod requestContext http method headers multiValueHeaders body isBase64Encoded Records messageId \
        eventSource attributes AWSTraceHeader content-type webhook-id webhook-timestamp webhook-signature spec_version id \
        type object environment_id occurred_at organization_id display_name data";
    prop_oneof![9 => select(known.split_whitespace().collect::<Vec<_>>()).prop_map(str::to_owned), 1 => text()]
}

/// JSON values, some of them valid for one of these members.
fn any_json() -> impl Strategy<Value = Value> {
    let known = ["POST", "application/json", "aws:sqs", "evt_1", "env_1", "org_1", "1", "2025-10-14T09:29:27Z", "e30="];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(known.to_vec()).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((name(), inner), 0..6).prop_map(|members| Value::Object(Map::from_iter(members))),
        ]
    })
}

/// One change to a valid JSON value: the member at a random place is replaced or removed.
#[derive(Debug, Clone)]
struct Change {
    place: Index,
    to: Option<Value>,
}

fn changes(at_most: usize) -> impl Strategy<Value = Vec<Change>> {
    let to = prop_oneof![1 => Just(None), 3 => any_json().prop_map(Some)];
    vec((any::<Index>(), to).prop_map(|(place, to)| Change { place, to }), 0..=at_most)
}

fn changed(mut value: Value, changes: Vec<Change>) -> Value {
    for Change { place, to } in changes {
        let mut pointers = Vec::new();
        collect_pointers(&value, String::new(), &mut pointers);
        let pointer = place.get(&pointers);
        match (to, pointer.rsplit_once('/')) {
            (Some(to), _) => *value.pointer_mut(pointer).unwrap() = to,
            (None, Some((parent, name))) => {
                if let Some(members) = value.pointer_mut(parent).unwrap().as_object_mut() {
                    members.remove(&name.replace("~1", "/").replace("~0", "~"));
                }
            }
            (None, None) => value = Value::Null,
        }
    }
    value
}

fn collect_pointers(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            collect_pointers(value, format!("{pointer}/{name}"), pointers);
        }),
        Value::Array(values) => values.iter().enumerate().for_each(|(index, value)| {
            collect_pointers(value, format!("{pointer}/{index}"), pointers);
        }),
        _ => {}
    }
    pointers.push(pointer);
}

/// The bytes of a body: a valid one with changed bytes or members, random JSON, or random bytes.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let event: Value = serde_json::from_str(BODY).unwrap();
    let bytes = (vec((any::<Index>(), any::<u8>()), 0..4), any::<Option<Index>>()).prop_map(|(edits, cut)| {
        let mut body = BODY.as_bytes().to_vec();
        for (at, byte) in edits {
            *at.get_mut(&mut body) = byte;
        }
        body.truncate(cut.map_or(body.len(), |cut| cut.index(body.len())));
        body
    });
    prop_oneof![
        2 => bytes,
        4 => changes(2).prop_map(move |changes| changed(event.clone(), changes).to_string().into_bytes()),
        1 => any_json().prop_map(|json| json.to_string().into_bytes()),
        1 => vec(any::<u8>(), 0..200),
    ]
}

/// How the bus responds. Failures that are retried take too long here and have tests of their own.
fn bus() -> impl Strategy<Value = Option<Behaviour>> {
    prop_oneof![
        6 => Just(None),
        1 => select(vec!["MalformedDetail", "AccessDeniedException"]).prop_map(|code| Some(failed_entry(code))),
        1 => select(vec!["ValidationException", "ResourceNotFoundException"]).prop_map(|code| Some(failed_call(400, code))),
    ]
}

fn behave(app: &App, bus: Option<Behaviour>) {
    app.bus.plan("PutEvents", move |_| bus.clone());
}

/// The Lambda event in which one of the transports passes on a delivery.
fn envelope(delivery: &SignedDelivery, transport: usize) -> Value {
    match transport % 4 {
        0 => delivery.in_base64(delivery.http_api()),
        1 => delivery.in_base64(delivery.rest_api()),
        2 => delivery.rest_api(),
        _ => delivery.function_url(),
    }
}

#[test]
fn any_json_is_answered_or_reported_as_an_unknown_invocation() {
    run(&any_json(), async |app, event| invoke(app, &event.to_string()).await.map(|_| ()));
}

#[test]
fn an_envelope_with_changed_members_never_forwards_a_changed_body() {
    let acknowledged = Cell::new(0);
    run(&(0..4_usize, changes(4), bus()), async |app, (transport, changes, bus)| {
        behave(app, bus);
        let event = changed(envelope(&signed(BODY), transport), changes);
        let reply = invoke(app, &event.to_string()).await?;
        if reply.is_some_and(|reply| reply["statusCode"] == 200) {
            acknowledged.set(acknowledged.get() + 1);
            prop_assert!(app.bus.taken()[0].body() == BODY, "a changed body must not be forwarded");
        }
        Ok(())
    });
    assert!(acknowledged.get() > 0, "some changes must leave the delivery valid");
}

#[test]
fn an_envelope_with_changed_characters_never_forwards_a_changed_body() {
    let events = Cell::new(0);
    let edit = (any::<Index>(), "[ -~]{0,3}", 0..4_usize);
    run(&(0..4_usize, vec(edit, 1..4)), async |app, (transport, edits)| {
        let mut event = envelope(&signed(BODY), transport).to_string();
        for (place, insert, remove) in edits {
            let start = place.index(event.len());
            let end = (start + remove).min(event.len());
            if event.is_char_boundary(start) && event.is_char_boundary(end) {
                event.replace_range(start..end, &insert);
            }
        }
        // The Lambda runtime only passes on JSON.
        if serde_json::from_str::<Value>(&event).is_err() {
            return Ok(());
        }
        events.set(events.get() + 1);
        let reply = invoke(app, &event).await?;
        if reply.is_some_and(|reply| reply["statusCode"] == 200) {
            prop_assert!(app.bus.taken()[0].body() == BODY, "a changed body must not be forwarded");
        }
        Ok(())
    });
    assert!(events.get() > 0, "some edits must leave valid JSON");
}

#[test]
fn an_authentic_body_of_any_bytes_is_forwarded_or_copied() {
    let (acknowledged, refused) = (Cell::new(0), Cell::new(0));
    run(&(0..2_usize, body(), bus()), async |app, (transport, body, bus)| {
        behave(app, bus);
        let reply = invoke(app, &envelope(&signed(&body), transport).to_string()).await?.unwrap();
        let status = reply["statusCode"].as_u64().unwrap();
        let copies = app.queue.requests("SendMessage");
        match status {
            200 => {
                acknowledged.set(acknowledged.get() + 1);
                prop_assert!(app.bus.taken()[0].body().as_bytes() == body, "the body is forwarded byte for byte");
            }
            400 | 422 => {
                refused.set(refused.get() + 1);
                prop_assert_eq!(
                    copies.len(),
                    usize::from(!body.is_empty()),
                    "a refused body is copied to the dead-letter queue unless it is empty"
                );
            }
            _ => prop_assert_eq!(status, 500),
        }
        prop_assert!(matches!(status, 400 | 422) || copies.is_empty());
        Ok(())
    });
    assert!(acknowledged.get() > 0 && refused.get() > 0, "both must occur");
}

#[test]
fn forged_headers_of_any_text_are_refused_without_a_call() {
    let header =
        || prop_oneof![text(), "v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)?", "[0-9]{0,25}", Just(NOW.to_string())];
    let headers = (header(), header(), header(), prop_oneof![3 => Just("application/json".to_owned()), 1 => header()]);
    run(&(headers, body()), async |app, ((id, timestamp, signature, content_type), body)| {
        let delivery = SignedDelivery { id, timestamp, signature, body };
        let mut event = delivery.in_base64(delivery.function_url());
        event["headers"]["content-type"] = json!(content_type);
        let reply = invoke(app, &event.to_string()).await?.unwrap();
        prop_assert!(matches!(read(&reply).status, 400 | 401), "a forged delivery must be refused: {}", reply);
        prop_assert_eq!(app.bus.calls("PutEvents") + app.queue.calls("SendMessage"), 0);
        Ok(())
    });
}

#[test]
fn each_message_of_any_batch_is_forwarded_or_reported_as_failed() {
    let forwarded = Cell::new(0);
    let body = || prop_oneof![2 => Just(BODY.to_owned()), 3 => body().prop_map(|body| String::from_utf8_lossy(&body).into_owned()), 1 => text()];
    let trace = prop_oneof![Just(Some(TRACE.to_owned())), Just(None), text().prop_map(Some)];
    let messages = vec((body(), trace, changes(1)), 0..13);
    // The function only accepts batches if it has a parking queue.
    run_prepared(
        |app| app.function.dead_letter_queue = None,
        &(messages, bus()),
        async |app, (messages, bus)| {
            // A planned response to a single entry doesn't fit a call with several entries.
            behave(app, bus.filter(|bus| matches!(bus, Behaviour::Answer(400, _))));
            let messages: Vec<_> = (0..)
                .zip(messages)
                .map(|(n, (body, trace, changes))| {
                    let changes = if n % 4 == 0 { changes } else { Vec::new() };
                    changed(message(&format!("m{n}"), &body, trace.as_deref()), changes)
                })
                .collect();
            let Some(reply) = invoke(app, &batch(&messages).to_string()).await? else {
                prop_assert_eq!(app.bus.calls("PutEvents"), 0);
                return Ok(());
            };
            let failures = reply["batchItemFailures"].as_array().unwrap();
            let failed: Vec<_> = failures.iter().map(|failure| &failure["itemIdentifier"]).collect();
            let forwarded_messages: Vec<_> =
                messages.iter().filter(|message| !failed.contains(&&message["messageId"])).collect();
            prop_assert_eq!(
                forwarded_messages.len() + failed.len(),
                messages.len(),
                "each message is either forwarded or reported as failed"
            );
            let bodies: Vec<_> =
                forwarded_messages.iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect();
            let taken: Vec<_> = app.bus.taken().iter().map(|taken| taken.body().to_owned()).collect();
            prop_assert_eq!(
                &taken,
                &bodies,
                "the bodies that were not reported as failed are on the bus, byte for byte"
            );
            let records = app.records();
            prop_assert_eq!(records.len(), messages.len(), "one record is logged for each message");
            prop_assert!(records.iter().all(|record| record["problem"] != "internal-error"));
            forwarded.set(forwarded.get() + bodies.len());
            Ok(())
        },
    );
    assert!(forwarded.get() > 0, "some messages must be valid events");
}

/// Cases that were found by these tests, or are known from other projects.
#[tokio::test]
async fn cases_that_once_caused_problems_get_the_expected_answer() {
    let app = App::with_queues().await;
    let valid = || signed(BODY).function_url();
    let with = |pointer: &str, value: Value| {
        let mut envelope = valid();
        *envelope.pointer_mut(pointer).unwrap() = value;
        envelope.to_string()
    };
    let with_member = |member: &str| valid().to_string().replacen('{', &format!("{{{member},"), 1);
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let signed_text = |body: String| signed(body).function_url().to_string();
    for (why, event, answer) in [
        ("an invalid host", with("/headers/host", json!("no host at all")), None),
        ("an invalid protocol", with("/headers/x-forwarded-proto", json!("\"://")), None),
        ("an invalid query string", with("/rawQueryString", json!("a \"b\" é")), None),
        ("a path of 70 KB", with("/rawPath", json!("/".repeat(70_000))), None),
        ("an unknown member nested a million levels deep", with_member(&format!("\"a\":{}", deep(1_000_000))), None),
        ("an unknown member with a lone surrogate", with_member(r#""a":"\ud800""#), None),
        ("an unknown member with a number that is too large for an f64", with_member(r#""a":1e999999"#), None),
        ("headers that are null", with("/headers", Value::Null), Some((401, "invalid-signature"))),
        ("two members named body", with_member(r#""body":"{}""#), None),
        (
            "a body with a lone surrogate",
            with("/body", json!("LONE")).replace("LONE", "\\ud800"),
            Some((400, "malformed-request")),
        ),
        ("a header that is a number", with("/headers/host", json!(1)), None),
        (
            "a header nested a million levels deep",
            with("/headers/host", json!("DEEP")).replace("\"DEEP\"", &deep(1_000_000)),
            None,
        ),
        ("a line break in a header", with("/headers/host", json!("a\r\nb")), None),
        (
            "a JSON body that is marked as base64",
            with("/isBase64Encoded", json!(true)),
            Some((400, "malformed-request")),
        ),
        ("an empty method", with("/requestContext/http/method", json!("")), Some((405, "method-not-allowed"))),
        ("a signed body nested half a million levels deep", signed_text(deep(500_000)), Some((400, "malformed-json"))),
        (
            "a signed body with a member nested half a million levels deep",
            signed_text(BODY.replacen('{', &format!("{{\"a\":{},", deep(500_000)), 1)),
            Some((400, "malformed-json")),
        ),
        ("a leap second", signed_text(BODY.replacen("2025-10-14T09:29:27", "2016-12-31T23:59:60", 1)), None),
        ("the earliest year that RFC 3339 allows", signed_text(BODY.replacen("2025-10-14", "0000-01-01", 1)), None),
        (
            "a leap second that falls in the year 10000 in UTC",
            signed_text(BODY.replacen("2025-10-14T09:29:27.098914861Z", "9999-12-31T23:59:60.999999999-23:59", 1)),
            Some((400, "contract-violation")),
        ),
        (
            "a timestamp of 70 digits",
            with("/headers/webhook-timestamp", json!("9".repeat(70))),
            Some((401, "invalid-signature")),
        ),
        (
            "a webhook-id of 100 KB",
            with("/headers/webhook-id", json!("m".repeat(100_000))),
            Some((401, "invalid-signature")),
        ),
        (
            "a webhook-signature of 100 KB",
            with("/headers/webhook-signature", json!("v1, ".repeat(25_000))),
            Some((401, "invalid-signature")),
        ),
    ] {
        app.forget();
        let reply = invoke(&app, &event).await.unwrap_or_else(|failure| panic!("{why}: {failure}"));
        let received = read(&reply.unwrap_or_else(|| panic!("{why}: the input was not answered")));
        let (status, code) = answer.unwrap_or((200, ""));
        assert_eq!(received.status, status, "{why}: {received:?}");
        assert!(status == 200 || received.code() == code, "{why}: {received:?}");
    }
}
