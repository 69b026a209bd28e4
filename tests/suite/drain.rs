//! Tests the drain of the parking queue: a parked event is forwarded exactly as a direct delivery would be, and a
//! message that can't be forwarded doesn't stop the others.

use std::{
    fs,
    time::{Duration, Instant},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use futures_util::future::join_all;
use serde_json::{Value, json};

use test_support::SignedDelivery;
use tokio::time::sleep;

use crate::{
    support::app::{
        App, BODY, MAX_BYTES, NOW, TRACE, at, batch, body_of, body_of_entry, calls, context, in_order, message, signed,
        taken,
    },
    support::endpoint::{Behaviour, event_id, failed_call},
    support::lag::Lag,
};

fn messages(count: usize) -> Vec<Value> {
    (1..=count).map(|n| message(&format!("m{n}"), &body_of(&format!("evt_{n}")), None)).collect()
}

/// The ids of the messages that a reply reports as failed.
#[track_caller]
fn failed(reply: &Value) -> Vec<&str> {
    assert_eq!(reply.as_object().unwrap().keys().collect::<Vec<_>>(), ["batchItemFailures"]);
    let failures = reply["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn events_are_forwarded_in_order_ten_per_call() {
    for (count, sizes) in [(0, vec![]), (1, vec![1]), (10, vec![10]), (11, vec![10, 1]), (25, vec![10, 10, 5])] {
        let app = App::with_queues().await;
        let reply = app.invoke(&batch(&messages(count))).await.unwrap();
        assert_eq!(reply, json!({"batchItemFailures": []}), "{count} messages");
        let calls = calls(&app);
        assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "{count} messages");
        assert_eq!(calls.concat(), (1..=count).map(|n| format!("evt_{n}")).collect::<Vec<_>>());
        assert_eq!(taken(&app), calls.concat());
    }
}

#[tokio::test]
async fn ten_calls_run_at_once_even_after_an_event_was_refused() {
    let app = App::with_queues().await;
    app.bus.once("PutEvents", failed_call(400, "ValidationException"));
    app.invoke(&batch(&messages(1))).await.unwrap();
    assert_eq!(app.records()[0]["outcome"], "refused");
    app.forget();
    app.bus.always("PutEvents", Behaviour::Slow(Duration::from_millis(1_500)));
    let messages = batch(&messages(120));
    let check = async {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(app.bus.calls("PutEvents"), 10);
    };
    let (reply, ()) = tokio::join!(app.invoke(&messages), check);
    assert_eq!(failed(&reply.unwrap()), [""; 0]);
}

#[tokio::test]
async fn no_call_exceeds_the_size_limit() {
    for (why, sizes, expected) in [
        ("two entries of the maximum size together", vec![600_000, MAX_BYTES - 600_000], vec![vec![0, 1]]),
        (
            "two entries that are one byte too large together",
            vec![600_000, MAX_BYTES - 600_000 + 1],
            vec![vec![0], vec![1]],
        ),
        ("two entries of the maximum size each", vec![MAX_BYTES, MAX_BYTES], vec![vec![0], vec![1]]),
        (
            "small entries before and after large ones",
            vec![2_000, 1_046_000, 1_046_000, 1_500, 2_000],
            vec![vec![0], vec![1], vec![2, 3], vec![4]],
        ),
    ] {
        let app = App::with_queues().await;
        let message = |(n, &bytes)| message(&format!("m{n}"), &body_of_entry(&format!("evt_{n}"), bytes), None);
        let messages: Vec<_> = sizes.iter().enumerate().map(message).collect();
        assert_eq!(failed(&app.invoke(&batch(&messages)).await.unwrap()), [""; 0], "{why}");
        let expected: Vec<Vec<_>> =
            expected.iter().map(|call| call.iter().map(|n| format!("evt_{n}")).collect()).collect();
        let mut calls = calls(&app);
        calls.sort();
        assert_eq!(calls, expected, "{why}");
    }
}

#[tokio::test]
async fn a_parked_event_is_forwarded_as_the_same_entry_as_a_direct_delivery() {
    let bodies = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/events/bodies")).unwrap();
    let bodies = bodies.map(|body| fs::read_to_string(body.unwrap().path()).unwrap());
    let unusual =
        BODY.replacen('{', "\t{\r\n\"a\": [1.10000000000000000000001e-7, \"\\u00e9é\\/\\ufffe\u{2028}😀\"],", 1);
    let leap = BODY.replacen("2025-10-14T09:29:27.098914861Z", "2016-12-31T15:59:60.25-08:00", 1);
    let app = App::with_queues().await;
    for body in bodies.chain([unusual, leap]) {
        for trace in [None, Some("Root=1-5e988c4e-000000000000000000000000;Sampled=0")] {
            let delivery = signed(&body).function_url();
            let mut context = context(at(NOW), Duration::from_secs(10));
            context.xray_trace_id = trace.map(str::to_owned);
            let deliver = || app.invoke_with(&delivery, context.clone(), at(NOW));
            assert_eq!(deliver().await.unwrap()["statusCode"], 200, "{body}");
            let direct = app.bus.entries().pop().unwrap();

            app.bus.once("PutEvents", failed_call(400, "AccessDeniedException"));
            assert_eq!(deliver().await.unwrap()["statusCode"], 200, "{body}");
            let parked = app.queue.requests("SendMessage").pop().unwrap();
            let trace = parked.pointer("/MessageSystemAttributes/AWSTraceHeader/StringValue").and_then(Value::as_str);
            let message = message("m", parked["MessageBody"].as_str().unwrap(), trace);
            let before = app.bus.calls("PutEvents");
            assert_eq!(failed(&app.invoke(&batch(&[message])).await.unwrap()), [""; 0], "{body}");
            assert_eq!(app.bus.calls("PutEvents"), before + 1, "{body}");

            let drained = app.bus.entries().pop().unwrap();
            assert_eq!(drained, direct);
            assert_eq!(drained["Detail"], json!(body));
        }
    }
}

#[tokio::test]
async fn a_parked_event_is_forwarded_however_old_it_is() {
    let app = App::with_queues().await;
    let two_weeks_later = at(NOW + 14 * 24 * 3600);
    let reply = app.invoke_at(&batch(&messages(1)), two_weeks_later).await.unwrap();
    assert_eq!(failed(&reply), [""; 0]);
    assert_eq!(
        app.bus.entries()[0]["Time"],
        1_760_434_167.098_914_9,
        "the entry keeps the time at which the event occurred"
    );
    let stale = signed(BODY).function_url();
    assert_eq!(
        app.invoke_at(&stale, two_weeks_later).await.unwrap()["statusCode"],
        401,
        "a delivery of the same age is refused"
    );
}

#[tokio::test]
async fn only_the_messages_whose_entries_failed_are_reported() {
    for (code, problem, retried) in [
        ("ThrottlingException", "bus-unavailable", true),
        ("InternalFailure", "bus-unavailable", true),
        ("NeverHeardOf", "bus-unavailable", true),
        ("MalformedDetail", "refused-by-bus", false),
        ("InvalidArgument", "refused-by-bus", false),
        ("AccessDeniedException", "misconfigured", false),
        ("NotAuthorizedForSourceException", "misconfigured", false),
        ("NotAuthorizedForDetailTypeException", "misconfigured", false),
        ("InvalidAccountIdException", "misconfigured", false),
        ("RedactionFailure", "misconfigured", false),
    ] {
        let app = App::with_parking_queue().await;
        app.bus.always("PutEvents", Behaviour::Fail(vec![("evt_2".into(), code), ("evt_11".into(), code)]));
        // A throttled entry is retried until there is no time left.
        let reply = app.invoke(&batch(&messages(12))).await.unwrap();
        assert_eq!(failed(&reply), ["m2", "m11"], "{code}");

        let mut others: Vec<_> = (1..=12).map(|n| format!("evt_{n}")).collect();
        others.retain(|id| id != "evt_2" && id != "evt_11");
        assert_eq!(in_order(taken(&app)), in_order(others), "{code}: each of the other events is forwarded once");
        let calls = calls(&app);
        let tries = |id: &str| calls.iter().filter(|call| call.iter().any(|other| other == id)).count();
        let retries = (tries("evt_2") - 1, tries("evt_11") - 1);
        if code == "ThrottlingException" {
            assert!(retries.0 > 0 && retries.1 > 0, "{retries:?}");
        } else {
            assert_eq!(retries, if retried { (4, 4) } else { (0, 0) }, "{code}: number of retries");
        }

        let records = app.records();
        assert_eq!(records.len(), 12, "{code}");
        for record in records {
            let failed_entry = ["m2", "m11"].contains(&record["queue_message_id"].as_str().unwrap());
            let error = format!("PutEvents: the entry failed: {code}");
            assert_eq!(record.get("problem"), failed_entry.then(|| json!(problem)).as_ref(), "{code}: {record}");
            // A throttled entry may wait for an answer when the time is over.
            if code != "ThrottlingException" {
                assert_eq!(record.get("error"), failed_entry.then(|| json!(error)).as_ref(), "{code}: {record}");
            }
            assert_eq!(record.get("bus_event_id").is_some(), !failed_entry, "{code}: {record}");
        }
    }
}

#[tokio::test]
async fn a_throttled_batch_ends_in_time() {
    // The pauses are random, so several batches are throttled at once.
    join_all((0..4).map(async |_| {
        let app = App::with_queues().await;
        app.bus.always("PutEvents", failed_call(400, "ThrottlingException"));
        let reply = app.invoke(&batch(&messages(35))).await.unwrap();
        assert_eq!(failed(&reply).len(), 35);
        for record in app.records() {
            let error = record["error"].as_str().unwrap();
            assert!(error.starts_with("PutEvents: "), "the function should not cancel the batch: {error}");
        }
    }))
    .await;
}

#[tokio::test]
async fn only_the_entries_that_failed_are_sent_again() {
    let app = App::with_queues().await;
    let throttled =
        |ids: &[&str]| Behaviour::Fail(ids.iter().map(|id| ((*id).to_owned(), "ThrottlingException")).collect());
    app.bus.once("PutEvents", throttled(&["evt_2", "evt_4", "evt_5"]));
    app.bus.once("PutEvents", throttled(&["evt_4"]));
    assert_eq!(failed(&app.invoke(&batch(&messages(5))).await.unwrap()), [""; 0]);
    assert_eq!(
        calls(&app),
        [vec!["evt_1", "evt_2", "evt_3", "evt_4", "evt_5"], vec!["evt_2", "evt_4", "evt_5"], vec!["evt_4"]]
    );
    assert_eq!(taken(&app), ["evt_1", "evt_3", "evt_2", "evt_5", "evt_4"]);

    // Each record has the id that EventBridge assigned to its own event.
    let ids = app.bus.taken().into_iter().map(|taken| (event_id(&taken.what), taken.id));
    let ids: std::collections::HashMap<_, _> = ids.collect();
    for record in app.records() {
        assert_eq!(record["bus_event_id"], json!(ids[record["event_id"].as_str().unwrap()]), "{record}");
    }
}

#[tokio::test]
async fn each_error_code_applies_to_its_own_entry_only() {
    let app = App::with_parking_queue().await;
    let codes = [("evt_1", "ThrottlingException"), ("evt_2", "InternalFailure"), ("evt_3", "MalformedDetail")];
    app.bus.always("PutEvents", Behaviour::Fail(codes.map(|(id, code)| (id.to_owned(), code)).into()));
    assert_eq!(failed(&app.invoke(&batch(&messages(4))).await.unwrap()), ["m1", "m2", "m3"]);
    for record in app.records() {
        let code = codes.iter().find(|(id, _)| record["event_id"] == *id).map(|(_, code)| code);
        let error = code.map(|code| json!(format!("PutEvents: the entry failed: {code}")));
        // An entry that is throttled is sent again until the time is over, which can be during a call.
        let is_late = code == Some(&"ThrottlingException") && record["error"] == "PutEvents: no answer in time";
        assert!(is_late || record.get("error") == error.as_ref(), "{record}");
    }
}

#[tokio::test]
async fn invalid_messages_are_reported_and_do_not_stop_the_others() {
    let app = App::with_parking_queue().await;
    let event = |n: usize| body_of(&format!("evt_{n}"));
    let messages = [
        message("not JSON", "someone put this here", None),
        message("first", &event(1), None),
        message("not an object", "[]", None),
        message("no members", "{}", None),
        message("invalid type", &event(2).replacen("organization.sso_enabled", "sso", 1), None),
        message("too large", &body_of_entry("evt_3", MAX_BYTES + 1), None),
        message("empty", "", None),
        message("last", &event(4), None),
        // Base64 is decoded only if the message has the attribute `encoding`, and this one doesn't.
        message("base64", "eyJhIjoi/yJ9", None),
    ];
    let reply = app.invoke(&batch(&messages)).await.unwrap();
    assert_eq!(
        failed(&reply),
        ["not JSON", "not an object", "no members", "invalid type", "too large", "empty", "base64"]
    );
    assert_eq!(calls(&app), [["evt_1", "evt_4"]]);

    let records = app.records();
    let logged = |id: &str| {
        let record = records.iter().find(|record| record["queue_message_id"] == id).unwrap();
        assert_eq!((&record["outcome"], &record["level"]), (&json!("refused"), &json!("WARN")), "{id}");
        (record["problem"].as_str().unwrap(), record["error"].as_str().unwrap())
    };
    assert_eq!(records.len(), messages.len());
    assert_eq!(logged("not JSON"), ("malformed-json", "expected value at line 1, column 1"));
    assert_eq!(logged("not an object"), ("malformed-json", "not a JSON object at line 1, column 1"));
    assert_eq!(
        logged("no members"),
        (
            "contract-violation",
            "/spec_version is required; /id is required; /type is required; /object is required; \
             /environment_id is required; /occurred_at is required"
        )
    );
    assert_eq!(logged("invalid type").0, "contract-violation");
    assert_eq!(
        logged("too large"),
        ("content-too-large", "the entry for the bus would have 1047553 bytes; the limit is 1047552 bytes")
    );
    assert_eq!(logged("empty"), ("malformed-json", "EOF while parsing a value at line 1, column 1"));
    assert_eq!(logged("base64"), ("malformed-json", "expected value at line 1, column 1"));
}

#[tokio::test]
async fn one_record_is_logged_for_each_message() {
    let app = App::with_parking_queue().await;
    app.bus.always("PutEvents", Behaviour::Fail(vec![("evt_2".into(), "AccessDeniedException")]));
    app.invoke(&batch(&[messages(2), vec![message("m3", "{}", None)]].concat())).await.unwrap();
    let mut records = app.records();
    for record in &mut records {
        for member in ["timestamp", "duration_ms"] {
            record.as_object_mut().unwrap().remove(member).unwrap();
        }
    }
    let event = |n: u32| {
        json!({
            "trigger": "queue",
            "authentic": true,
            "event_id": format!("evt_{n}"),
            "type": "organization.sso_enabled",
            "object": "Connection",
            "environment_id": "env_74418471961625391",
            "organization_id": "org_83544995172188677",
            "catalogued": true,
            "queue_message_id": format!("m{n}"),
            "request_id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
        })
    };
    let with = |mut record: Value, members: Value| {
        record.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        record
    };
    let forwarded = json!({
        "level": "INFO",
        "outcome": "forwarded",
        "bus_event_id": "00000000-0000-4000-8000-000000000001",
    });
    let failed = json!({
        "level": "ERROR",
        "outcome": "failed",
        "problem": "misconfigured",
        "error": "PutEvents: the entry failed: AccessDeniedException",
    });
    let refused = json!({
        "level": "WARN",
        "outcome": "refused",
        "trigger": "queue",
        "authentic": true,
        "problem": "contract-violation",
        "error": "/spec_version is required; /id is required; /type is required; /object is required; \
                  /environment_id is required; /occurred_at is required",
        "queue_message_id": "m3",
        "request_id": "8476a536-e9f4-11e8-9739-2dfe598c3fcd",
    });
    assert_eq!(records, [refused, with(event(1), forwarded), with(event(2), failed)]);
}

#[tokio::test]
async fn a_call_that_fails_permanently_because_of_one_entry_is_repeated_for_each_entry() {
    for (code, problem) in [("ValidationException", "refused-by-bus"), ("AccessDeniedException", "misconfigured")] {
        let app = App::with_parking_queue().await;
        app.bus.plan("PutEvents", move |request| {
            let entries = request.body["Entries"].as_array().unwrap();
            entries.iter().any(|entry| event_id(entry) == "evt_3").then(|| failed_call(400, code))
        });
        let reply = app.invoke(&batch(&messages(12))).await.unwrap();
        assert_eq!(failed(&reply), ["m3"], "{code}");
        let refused: Vec<_> = app.records().into_iter().filter(|record| record.get("problem").is_some()).collect();
        assert_eq!(refused.len(), 1, "{code}");
        assert_eq!(
            (&refused[0]["problem"], &refused[0]["queue_message_id"]),
            (&json!(problem), &json!("m3")),
            "{code}"
        );
        let mut expected: Vec<_> = (1..=12).map(|n| format!("evt_{n}")).collect();
        expected.remove(2);
        assert_eq!(in_order(taken(&app)), in_order(expected), "{code}");
        let mut sizes: Vec<_> = calls(&app).iter().map(Vec::len).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 10], "{code}");
    }
}

#[tokio::test]
async fn an_entry_that_was_not_reached_before_the_deadline_is_not_reported_as_rejected() {
    let app = App::with_queues().await;
    app.bus.plan("PutEvents", |request| {
        let entries = request.body["Entries"].as_array().unwrap();
        match entries.iter().map(event_id).collect::<Vec<_>>()[..] {
            [ref id] if id == "evt_2" => Some(Behaviour::Hang),
            [_] => None,
            _ => Some(failed_call(400, "ValidationException")),
        }
    });
    let context = context(at(NOW), Duration::from_secs(2));
    let reply = app.invoke_with(&batch(&messages(3)), context, at(NOW)).await.unwrap();
    assert_eq!(failed(&reply), ["m2"]);
    let records = app.records();
    let problems: Vec<_> = records.iter().map(|record| record["problem"].clone()).collect();
    assert_eq!(problems, [Value::Null, Value::Null, json!("bus-unavailable")]);
}

#[tokio::test]
async fn after_a_contradictory_response_only_entries_with_an_error_code_count_as_failed() {
    let app = App::with_parking_queue().await;
    let entries = json!([{"EventId": "1"}, {"ErrorCode": "MalformedDetail"}, {"EventId": "3"}]);
    app.bus.once("PutEvents", Behaviour::Answer(200, json!({"FailedEntryCount": 0, "Entries": entries})));
    assert_eq!(failed(&app.invoke(&batch(&messages(3))).await.unwrap()), ["m2"]);
    assert_eq!(calls(&app), [vec!["evt_1", "evt_2", "evt_3"], vec!["evt_1"], vec!["evt_3"]]);
    assert_eq!(taken(&app), ["evt_1", "evt_3"]);
}

#[tokio::test]
async fn a_call_that_hangs_leaves_time_for_the_reply() {
    let app = App::with_queues().await;
    app.bus.always("PutEvents", Behaviour::Hang);
    let left = Duration::from_secs(3);
    let (begun, lag) = (Instant::now(), Lag::measure());
    let reply = app.invoke_with(&batch(&messages(11)), context(at(NOW), left), at(NOW)).await.unwrap();
    let took = begun.elapsed();
    assert!(took < lag.and(left), "{took:?}, {lag:?}");
    assert_eq!(failed(&reply), (1..=11).map(|n| format!("m{n}")).collect::<Vec<_>>());
    for record in app.records() {
        assert_eq!(record["problem"], "bus-unavailable");
        assert_eq!(record["error"], "PutEvents: no answer in time");
    }
}

#[tokio::test]
async fn all_messages_stay_in_the_queue_while_the_bus_is_missing() {
    let app = App::with_queues().await;
    app.bus.always("DescribeEventBus", failed_call(400, "ResourceNotFoundException"));
    let later = at(NOW + 300);
    for calls in [1, 1] {
        let reply = app.invoke_at(&batch(&messages(3)), later).await.unwrap();
        assert_eq!(failed(&reply), ["m1", "m2", "m3"]);
        assert_eq!(app.bus.calls("PutEvents"), calls, "nothing is sent to a bus that is known to be missing");
    }
    for record in app.records() {
        assert_eq!(record["problem"], "misconfigured");
        assert_eq!(record["error"], "there is no event bus `scalekit-events`");
    }
    app.bus.recover();
    assert_eq!(failed(&app.invoke_at(&batch(&messages(3)), later + Duration::from_secs(11)).await.unwrap()), [""; 0]);
}

#[tokio::test]
async fn only_batches_of_sqs_messages_are_drained() {
    let app = App::with_queues().await;
    let mut kinesis = message("m1", BODY, None);
    kinesis["eventSource"] = json!("aws:kinesis");
    let mut nameless = message("m1", BODY, None);
    nameless.as_object_mut().unwrap().remove("messageId");
    let sns = json!({"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": {"MessageId": "m1", "Message": BODY}});
    for (why, records) in [
        ("a record from a Kinesis stream", json!([kinesis])),
        ("an SQS message and a record from a Kinesis stream", json!([message("m2", BODY, None), kinesis])),
        ("a notification from an SNS topic", json!([sns])),
        ("a message without an id", json!([nameless])),
        ("an object instead of a list of records", json!({})),
    ] {
        let error = app.invoke(&json!({"Records": records})).await.unwrap_err();
        assert_eq!(error.error_type, "UnknownInvocation", "{why}");
        assert_eq!(
            error.error_message,
            "expected an HTTP request from a function URL or API Gateway, or a batch of messages of the parking queue",
            "{why}"
        );
    }
    assert_eq!(app.bus.calls("PutEvents") + app.queue.calls("SendMessage"), 0);
}

#[tokio::test]
async fn an_http_request_with_a_records_member_must_be_signed() {
    let app = App::with_queues().await;
    let forged = SignedDelivery { signature: signed("{}").signature, ..signed(batch(&messages(1)).to_string()) };
    let mut envelope = forged.function_url();
    envelope["Records"] = json!(messages(1));
    assert_eq!(app.deliver(&envelope).await.code(), "invalid-signature");
    assert_eq!(app.bus.calls("PutEvents"), 0);
}

#[tokio::test]
async fn the_trace_header_is_that_of_the_parked_message() {
    let app = App::with_queues().await;
    let parked = "Root=1-5e988c4e-000000000000000000000000";
    let too_long = format!("Root={}", "0".repeat(496));
    let messages = [Some(parked), None, Some(""), Some(too_long.as_str())].map(|trace| message("m", BODY, trace));
    app.invoke(&batch(&messages)).await.unwrap();
    let traces: Vec<_> = app.bus.entries().iter().map(|entry| entry.get("TraceHeader").cloned()).collect();
    assert_eq!(traces, [Some(json!(parked)), None, None, None], "the drain's own trace, {TRACE}, must not be used");
}

/// After an upgrade, the function forwards what the previous version sent to its queues, and after a rollback what the
/// newer one sent. A row stays here for as long as messages of its version may exist. `tests/suite/parking.rs` has the
/// exact messages that this version sends.
#[tokio::test]
async fn messages_of_older_and_newer_versions_are_forwarded() {
    let text = |value: &str| json!({"stringValue": value, "dataType": "String", "stringListValues": []});
    let encoded = BASE64_STANDARD.encode(BODY);
    for (sender, body, attributes) in [
        ("0.1.0, a parked event", BODY, json!({})),
        (
            "0.1.0, the copy of a refused delivery",
            BODY,
            json!({"problem": text("contract-violation"), "reason": text("a reason"), "webhook-id": text("msg_1")}),
        ),
        (
            "0.1.0, a copy that SQS can't carry unchanged",
            &encoded,
            json!({"problem": text("contract-violation"), "reason": text("a reason"), "encoding": text("base64")}),
        ),
        (
            "a newer version, with attributes that this one doesn't have",
            BODY,
            json!({"version": text("9.9.9"), "parts": {"binaryValue": "AA==", "dataType": "Binary"}}),
        ),
    ] {
        let app = App::with_queues().await;
        let mut message = message("m", body, Some(TRACE));
        message["messageAttributes"] = attributes;
        message["attributes"]["AWSFutureAttribute"] = json!("1");
        message["futureMember"] = json!({"a": [1]});
        assert_eq!(failed(&app.invoke(&batch(&[message])).await.unwrap()), [""; 0], "{sender}");
        let entries = app.bus.entries();
        assert_eq!((entries.len(), &entries[0]["Detail"]), (1, &json!(BODY)), "{sender}");
        assert_eq!(entries[0]["TraceHeader"], json!(TRACE), "{sender}");
    }
}
