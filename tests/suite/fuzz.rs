//! The whole request path under input that nobody has thought of: an event goes in, an answer of the table comes out.
//!
//! Whatever is acknowledged is held byte for byte, and only what is neither an HTTP request nor a batch of SQS messages is
//! a runtime error. `PROPTEST_CASES` makes the runs longer; a case that they found stays in the table at the end.

use std::{cell::Cell, time::Duration};

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};

use crate::{
    app::{App, BODY, NOW, TRACE, at, batch, context, message, read, signed},
    endpoint::{Behaviour, failed_call, failed_entry},
    envelope::SignedDelivery,
};

/// Every answer that is documented and can be reached here; `internal-error`, a panic's, is none of them.
const ANSWERS: [(u16, &str); 10] = [
    (400, "malformed-request"),
    (400, "malformed-json"),
    (400, "contract-violation"),
    (401, "invalid-signature"),
    (401, "stale-timestamp"),
    (405, "method-not-allowed"),
    (413, "content-too-large"),
    (415, "unsupported-media-type"),
    (422, "refused-by-bus"),
    (500, "misconfigured"),
];

/// Runs a property on one function, which stays the same for all of its cases.
#[allow(clippy::needless_pass_by_value, reason = "it reads better where it is called")]
fn run<S: Strategy>(strategy: &S, property: impl AsyncFn(&App, S::Value) -> Result<(), TestCaseError>) {
    // Parking has a suite of its own; without it, more of the answers are met.
    run_prepared(|app| app.function.parking = None, strategy, property);
}

#[allow(clippy::needless_pass_by_value, reason = "a closure's types are inferred where it is passed itself")]
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

/// Hands over an event, and checks what holds of every reply.
async fn invoke(app: &App, event: &str) -> Result<Option<Value>, TestCaseError> {
    let reply = match app.invoke_text(event, context(at(NOW), Duration::from_secs(10)), at(NOW)).await {
        Ok(reply) => reply,
        Err(error) => {
            prop_assert_eq!(error.error_type, "UnknownEvent");
            prop_assert!(!is_http(event), "an HTTP request deserves an answer");
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
    prop_assert_eq!(records.len(), 1, "one line");
    prop_assert_eq!(&records[0]["status"], &json!(answer.status));
    if answer.status == 200 {
        prop_assert_eq!(&answer.problem, &Value::Null);
        let taken = app.bus.taken();
        prop_assert_eq!(&records[0]["bus_event_id"], &json!(taken[0].id), "held");
    } else {
        prop_assert!(ANSWERS.contains(&(answer.status, answer.code())), "{:?}", answer);
        prop_assert_eq!(&records[0]["problem"], answer.code());
        prop_assert!(app.bus.taken().is_empty(), "what is not acknowledged was not sent, or was refused");
    }
    Ok(Some(reply))
}

/// Whether an event names a method, which only an HTTP request does.
fn is_http(event: &str) -> bool {
    let Ok(event) = serde_json::from_str::<Value>(event) else { return false };
    event["httpMethod"].is_string() || event.pointer("/requestContext/http/method").is_some_and(Value::is_string)
}

/// Text of any characters, those included that SQS, HTTP and terminals don't like.
fn text() -> impl Strategy<Value = String> {
    let hostile =
        select(vec!["", "\0", "\n", "\r\n", "\u{1f}", "\u{7f}", "\u{85}", "\u{fffe}", "\u{ffff}", "😀", "\""]);
    prop_oneof![
        vec(any::<char>(), 0..12).prop_map(String::from_iter),
        vec(hostile, 0..4).prop_map(|parts| parts.concat()),
        "[ -~]{0,40}",
    ]
}

/// Names of members, mostly of those that mean something somewhere.
fn name() -> impl Strategy<Value = String> {
    let known = "httpMethod requestContext http method headers multiValueHeaders body isBase64Encoded Records messageId \
        eventSource attributes AWSTraceHeader content-type webhook-id webhook-timestamp webhook-signature spec_version id \
        type object environment_id occurred_at organization_id display_name data";
    prop_oneof![9 => select(known.split_whitespace().collect::<Vec<_>>()).prop_map(str::to_owned), 1 => text()]
}

/// Values of members, some of them valid somewhere.
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

/// One change of a valid value: a member somewhere in it is another, or gone.
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

/// The bytes of a body: a valid one with a few bytes changed or members changed, an event at random, or anything.
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

/// What the bus does, without what is tried again: that takes time, and has suites of its own.
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

/// Any of the transports around a delivery.
fn envelope(delivery: &SignedDelivery, transport: usize) -> Value {
    match transport % 4 {
        0 => delivery.in_base64(delivery.http_api()),
        1 => delivery.in_base64(delivery.rest_api()),
        2 => delivery.rest_api(),
        _ => delivery.function_url(),
    }
}

#[test]
fn any_json_at_all() {
    run(&any_json(), async |app, event| invoke(app, &event.to_string()).await.map(|_| ()));
}

#[test]
fn envelopes_with_members_changed() {
    let acknowledged = Cell::new(0);
    run(&(0..4_usize, changes(4), bus()), async |app, (transport, changes, bus)| {
        behave(app, bus);
        let event = changed(envelope(&signed(BODY), transport), changes);
        let reply = invoke(app, &event.to_string()).await?;
        if reply.is_some_and(|reply| reply["statusCode"] == 200) {
            acknowledged.set(acknowledged.get() + 1);
            prop_assert!(app.bus.taken()[0].body() == BODY, "a change of the body is noticed");
        }
        Ok(())
    });
    assert!(acknowledged.get() > 0, "some changes don't matter");
}

#[test]
fn envelopes_with_characters_changed() {
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
        // The runtime takes nothing but JSON.
        if serde_json::from_str::<Value>(&event).is_err() {
            return Ok(());
        }
        events.set(events.get() + 1);
        let reply = invoke(app, &event).await?;
        if reply.is_some_and(|reply| reply["statusCode"] == 200) {
            prop_assert!(app.bus.taken()[0].body() == BODY, "a change of the body is noticed");
        }
        Ok(())
    });
    assert!(events.get() > 0, "some edits leave JSON");
}

#[test]
fn bodies_of_any_bytes() {
    let (acknowledged, refused) = (Cell::new(0), Cell::new(0));
    run(&(0..2_usize, body(), bus()), async |app, (transport, body, bus)| {
        behave(app, bus);
        let reply = invoke(app, &envelope(&signed(&body), transport).to_string()).await?.unwrap();
        let status = reply["statusCode"].as_u64().unwrap();
        let copies = app.queue.requests("SendMessage");
        match status {
            200 => {
                acknowledged.set(acknowledged.get() + 1);
                prop_assert!(app.bus.taken()[0].body().as_bytes() == body, "byte for byte");
            }
            400 | 422 => {
                refused.set(refused.get() + 1);
                prop_assert_eq!(copies.len(), usize::from(!body.is_empty()), "authentic, refused, and copied");
            }
            _ => prop_assert_eq!(status, 500),
        }
        prop_assert!(matches!(status, 400 | 422) || copies.is_empty());
        Ok(())
    });
    assert!(acknowledged.get() > 0 && refused.get() > 0, "both happen");
}

#[test]
fn headers_of_any_text() {
    let header =
        || prop_oneof![text(), "v1,[A-Za-z0-9+/]{43}=( v1,[A-Za-z0-9+/]{43}=)?", "[0-9]{0,25}", Just(NOW.to_string())];
    let headers = (header(), header(), header(), prop_oneof![3 => Just("application/json".to_owned()), 1 => header()]);
    run(&(headers, body()), async |app, ((id, timestamp, signature, content_type), body)| {
        let delivery = SignedDelivery { id, timestamp, signature, body };
        let mut event = delivery.in_base64(delivery.function_url());
        event["headers"]["content-type"] = json!(content_type);
        let reply = invoke(app, &event.to_string()).await?.unwrap();
        prop_assert!(matches!(read(&reply).status, 400 | 401 | 415), "forged: {}", reply);
        prop_assert_eq!(app.bus.calls("PutEvents") + app.queue.calls("SendMessage"), 0);
        Ok(())
    });
}

#[test]
fn batches_of_any_messages() {
    let forwarded = Cell::new(0);
    let body = || prop_oneof![2 => Just(BODY.to_owned()), 3 => body().prop_map(|body| String::from_utf8_lossy(&body).into_owned()), 1 => text()];
    let trace = prop_oneof![Just(Some(TRACE.to_owned())), Just(None), text().prop_map(Some)];
    let messages = vec((body(), trace, changes(1)), 0..13);
    // Of the parking queue alone batches are taken.
    run_prepared(
        |_| (),
        &(messages, bus()),
        async |app, (messages, bus)| {
            // One entry's answer isn't that of many.
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
            let done: Vec<_> = messages.iter().filter(|message| !failed.contains(&&message["messageId"])).collect();
            prop_assert_eq!(done.len() + failed.len(), messages.len(), "each is one or the other");
            let bodies: Vec<_> = done.iter().map(|message| message["body"].as_str().unwrap().to_owned()).collect();
            let taken: Vec<_> = app.bus.taken().iter().map(|taken| taken.body().to_owned()).collect();
            prop_assert_eq!(&taken, &bodies, "done is what the bus has, byte for byte");
            let records = app.records();
            prop_assert_eq!(records.len(), messages.len(), "one line for each");
            prop_assert!(records.iter().all(|record| record["problem"] != "internal-error"));
            forwarded.set(forwarded.get() + bodies.len());
            Ok(())
        },
    );
    assert!(forwarded.get() > 0, "some are events");
}

/// Cases that were found, by these runs or by others in this field.
#[tokio::test]
async fn found() {
    let app = App::with_queues().await;
    let valid = || signed(BODY).function_url();
    let with = |pointer: &str, value: Value| {
        let mut envelope = valid();
        *envelope.pointer_mut(pointer).unwrap() = value;
        envelope.to_string()
    };
    let beside = |member: &str| valid().to_string().replacen('{', &format!("{{{member},"), 1);
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let signed_text = |body: String| signed(body).function_url().to_string();
    for (why, event, answer) in [
        ("a host that is none", with("/headers/host", json!("no host at all")), None),
        ("a protocol that is none", with("/headers/x-forwarded-proto", json!("\"://")), None),
        ("a query string that is none", with("/rawQueryString", json!("a \"b\" é")), None),
        ("a path of 70 KB", with("/rawPath", json!("/".repeat(70_000))), None),
        ("a member a million levels deep", beside(&format!("\"a\":{}", deep(1_000_000))), None),
        ("a lone surrogate beside", beside(r#""a":"\ud800""#), None),
        ("a number that no f64 holds", beside(r#""a":1e999999"#), None),
        ("headers of null", with("/headers", Value::Null), Some((415, "unsupported-media-type"))),
        ("a body twice", beside(r#""body":"{}""#), Some((400, "malformed-request"))),
        (
            "a body with a lone surrogate",
            with("/body", json!("LONE")).replace("LONE", "\\ud800"),
            Some((400, "malformed-request")),
        ),
        ("a header that is a number", with("/headers/host", json!(1)), Some((400, "malformed-request"))),
        (
            "a header a million levels deep",
            with("/headers/host", json!("DEEP")).replace("\"DEEP\"", &deep(1_000_000)),
            Some((400, "malformed-request")),
        ),
        ("a line break in a header", with("/headers/host", json!("a\r\nb")), Some((400, "malformed-request"))),
        ("base64 with a line break", with("/isBase64Encoded", json!(true)), Some((400, "malformed-request"))),
        ("a method of no characters", with("/requestContext/http/method", json!("")), Some((400, "malformed-request"))),
        ("a signed body a million levels deep", signed_text(deep(500_000)), Some((400, "malformed-json"))),
        (
            "a signed member a million levels deep",
            signed_text(BODY.replacen('{', &format!("{{\"a\":{},", deep(500_000)), 1)),
            Some((400, "malformed-json")),
        ),
        ("a leap second", signed_text(BODY.replacen("2025-10-14T09:29:27", "2016-12-31T23:59:60", 1)), None),
        ("the first year there is", signed_text(BODY.replacen("2025-10-14", "0000-01-01", 1)), None),
        (
            "the last second there is",
            signed_text(BODY.replacen("2025-10-14T09:29:27.098914861Z", "9999-12-31T23:59:60.999999999-23:59", 1)),
            Some((400, "contract-violation")),
        ),
        (
            "a timestamp beyond every clock",
            with("/headers/webhook-timestamp", json!("9".repeat(70))),
            Some((401, "invalid-signature")),
        ),
        ("an id of 100 KB", with("/headers/webhook-id", json!("m".repeat(100_000))), Some((401, "invalid-signature"))),
        (
            "signatures of 100 KB",
            with("/headers/webhook-signature", json!("v1, ".repeat(25_000))),
            Some((401, "invalid-signature")),
        ),
    ] {
        app.forget();
        let reply = invoke(&app, &event).await.unwrap_or_else(|failure| panic!("{why}: {failure}"));
        let told = read(&reply.unwrap_or_else(|| panic!("{why}: no answer")));
        let (status, code) = answer.unwrap_or((200, ""));
        assert_eq!(told.status, status, "{why}: {told:?}");
        assert!(status == 200 || told.code() == code, "{why}: {told:?}");
    }
}
