//! The fault suite: a bus and a queue that misbehave in every way that we know of, and what becomes of a delivery.
//!
//! Each fault is met without queues and with them, for as long as it lasts and just once; those that cost time are met
//! with three seconds left too. Whatever happens: an answer of the table, in time, and what was acknowledged is held.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use aws_sdk_eventbridge::{
    config::{ConfigBag, Intercept, interceptors::BeforeSerializationInterceptorContextRef},
    error::BoxError,
};
use futures_util::future::join_all;
use scalekit_eventbridge::{bus::Bus, log};
use serde_json::json;
use tokio::time::sleep;

use crate::{
    app::{Answer, App, BODY, NOW, at, batch, bus_config, context, message, read, signed},
    endpoint::{Behaviour, Endpoint, failed_call, failed_entry},
    lag::Lag,
};

/// How an endpoint misbehaves.
#[derive(Debug, Clone)]
enum Fault {
    /// Not at all.
    None,
    /// Nothing listens.
    Closed,
    /// Connections are accepted, and never read.
    Mute,
    /// Connections are never made.
    Unreachable,
    /// It takes requests, and treats them so.
    Each(Behaviour),
    /// It treats the first requests so, and the others well.
    First(usize, Behaviour),
}

impl Fault {
    async fn endpoint(&self, operation: &str) -> Endpoint {
        match self {
            Self::None => Endpoint::start().await,
            Self::Closed => Endpoint::closed(),
            Self::Mute => Endpoint::mute(),
            Self::Unreachable => Endpoint::unreachable().await,
            Self::Each(behaviour) => {
                let endpoint = Endpoint::start().await;
                endpoint.always(operation, behaviour.clone());
                endpoint
            }
            Self::First(count, behaviour) => {
                let endpoint = Endpoint::start().await;
                (0..*count).for_each(|_| endpoint.once(operation, behaviour.clone()));
                endpoint
            }
        }
    }

    /// How many calls went out, as far as the endpoint can tell.
    fn calls(&self, endpoint: &Endpoint, operation: &str) -> Option<usize> {
        match self {
            // Nothing that was sent to it arrived.
            Self::Closed | Self::Unreachable => None,
            // Each attempt makes its own connection, and so did the look.
            Self::Mute => Some(endpoint.connections() - 1),
            _ => Some(endpoint.calls(operation)),
        }
    }
}

/// What a fault of the bus means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// It may pass, and is told at once.
    Passing,
    /// It may pass, and uses up an attempt's time.
    Hanging,
    /// The deployment is wrong.
    Deployment,
    /// The bus refuses this event for good.
    Payload,
}

use Class::{Deployment, Hanging, Passing, Payload};

/// Every fault of the bus, and its class.
fn faults_of_the_bus() -> Vec<(&'static str, Fault, Class)> {
    let raw = |status, body: &[u8]| Fault::Each(Behaviour::Raw(status, body.to_vec()));
    let answer = |body| Fault::Each(Behaviour::Answer(200, body));
    let call = |status, code| Fault::Each(failed_call(status, code));
    let entry = |code| Fault::Each(failed_entry(code));
    vec![
        ("nothing listens", Fault::Closed, Passing),
        ("connections are never made", Fault::Unreachable, Passing),
        ("connections are accepted and never read", Fault::Mute, Hanging),
        ("no answer", Fault::Each(Behaviour::Hang), Hanging),
        ("half of an answer", Fault::Each(Behaviour::HalfThenHang), Hanging),
        ("an answer later than an attempt lasts", Fault::Each(Behaviour::Slow(Duration::from_secs(3))), Hanging),
        ("the connection reset", Fault::Each(Behaviour::Reset), Passing),
        ("the connection closed", Fault::Each(Behaviour::Close), Passing),
        ("the connection closed in the middle of an answer", Fault::Each(Behaviour::HalfThenClose), Passing),
        ("HTTP 400, nothing more", raw(400, b""), Passing),
        ("HTTP 403, nothing more", raw(403, b""), Passing),
        ("HTTP 403 by a proxy", raw(403, b"<html><title>Forbidden</title></html>"), Passing),
        ("HTTP 429, nothing more", raw(429, b""), Passing),
        ("HTTP 500, nothing more", raw(500, b""), Passing),
        ("HTTP 500, JSON without a code", raw(500, b"{}"), Passing),
        ("HTTP 503, nothing more", raw(503, b""), Passing),
        ("HTTP 200, nothing more", raw(200, b""), Passing),
        ("HTTP 200, garbage", raw(200, b"\0\xff<garbage>"), Passing),
        (
            "HTTP 200, JSON that ends too early",
            raw(200, br#"{"FailedEntryCount":0,"Entries":[{"EventId":"1""#),
            Passing,
        ),
        ("HTTP 302", raw(302, b""), Passing),
        ("HTTP 400, invalid", call(400, "ValidationException"), Payload),
        ("HTTP 400, no such bus", call(400, "ResourceNotFoundException"), Deployment),
        ("HTTP 400, denied", call(400, "AccessDeniedException"), Deployment),
        ("HTTP 403, denied", call(403, "AccessDeniedException"), Deployment),
        ("HTTP 400, expired credentials", call(400, "ExpiredTokenException"), Deployment),
        ("HTTP 403, invalid credentials", call(403, "UnrecognizedClientException"), Deployment),
        ("HTTP 403, a wrong signature", call(403, "InvalidSignatureException"), Deployment),
        ("HTTP 400, a key of KMS", call(400, "KMSInvalidStateException"), Deployment),
        ("HTTP 400, KMS throttles", call(400, "KMSThrottlingException"), Passing),
        ("HTTP 400, throttled", call(400, "ThrottlingException"), Passing),
        ("HTTP 429, throttled", call(429, "TooManyRequestsException"), Passing),
        ("HTTP 500, internal", call(500, "InternalException"), Passing),
        ("HTTP 503, unavailable", call(503, "ServiceUnavailable"), Passing),
        ("HTTP 400, a code never heard of", call(400, "NeverHeardOf"), Passing),
        ("a failed entry: throttled", entry("ThrottlingException"), Passing),
        ("a failed entry: internal", entry("InternalFailure"), Passing),
        ("a failed entry: a code never heard of", entry("NeverHeardOf"), Passing),
        ("a failed entry: malformed", entry("MalformedDetail"), Payload),
        ("a failed entry: invalid", entry("InvalidArgument"), Payload),
        ("a failed entry: denied", entry("AccessDeniedException"), Deployment),
        ("a failed entry: not this source", entry("NotAuthorizedForSourceException"), Deployment),
        ("a failed entry: not this type", entry("NotAuthorizedForDetailTypeException"), Deployment),
        ("a failed entry: no such account", entry("InvalidAccountIdException"), Deployment),
        ("a failed entry: redaction", entry("RedactionFailure"), Deployment),
        ("success, an empty object", answer(json!({})), Passing),
        ("success without entries", answer(json!({"FailedEntryCount": 0, "Entries": []})), Passing),
        ("success without an event id", answer(json!({"FailedEntryCount": 0, "Entries": [{}]})), Passing),
        ("success, an empty event id", answer(json!({"FailedEntryCount": 0, "Entries": [{"EventId": ""}]})), Passing),
        (
            "success for two entries",
            answer(json!({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}, {"EventId": "2"}]})),
            Passing,
        ),
        (
            "a failed entry that nothing names",
            answer(json!({"FailedEntryCount": 1, "Entries": [{"EventId": "1"}]})),
            Passing,
        ),
        (
            "an event id and an error",
            answer(json!({"FailedEntryCount": 0, "Entries": [{"EventId": "1", "ErrorCode": "InternalFailure"}]})),
            Passing,
        ),
        (
            "an event id and an error for good",
            answer(json!({"FailedEntryCount": 0, "Entries": [{"EventId": "1", "ErrorCode": "MalformedDetail"}]})),
            Payload,
        ),
    ]
}

/// One delivery, and what came of it.
struct Met {
    answer: Answer,
    took: Duration,
}

/// Delivers to the function with so much time left, and checks what holds whatever happens.
async fn deliver(app: &App, why: &str, left: Duration) -> Met {
    let (now, lag) = (at(NOW), Lag::measure());
    let begun = Instant::now();
    let reply = app.invoke_with(&signed(BODY).function_url(), context(now, left), now).await.unwrap();
    let took = begun.elapsed();
    let answer = read(&reply);

    assert!(took < lag.and(Duration::from_secs(9).min(left)), "{why}: the answer took {took:?}, {lag:?}");
    let retry_after = answer.headers.get("retry-after");
    assert_eq!(retry_after, (answer.status == 503).then_some(&json!("30")), "{why}");
    if answer.status == 200 {
        assert_held(app, why);
    }
    Met { answer, took }
}

/// What was acknowledged last is on the bus or in the parking queue, byte for byte, under the id that the log names.
#[track_caller]
fn assert_held(app: &App, why: &str) {
    let records = app.records();
    let record = records.last().unwrap();
    let id = |member: &str| record[member].as_str().unwrap_or_else(|| panic!("{why}: {record}"));
    let held = match record["outcome"].as_str() {
        Some("forwarded") => app.bus.taken().into_iter().find(|taken| taken.id == id("bus_event_id")),
        Some("parked") => {
            let taken = app.queue.taken().into_iter().find(|taken| taken.id == id("queue_message_id"));
            taken.filter(|taken| taken.is_in("parking"))
        }
        _ => panic!("{why}: acknowledged, but {record}"),
    };
    assert_eq!(held.unwrap_or_else(|| panic!("{why}: nobody holds it: {record}")).body(), BODY, "{why}");
}

/// Makes every function before any of them is timed.
async fn made<R>(rows: impl IntoIterator<Item = R>, app: impl AsyncFn(&R) -> App) -> Vec<(R, App)> {
    join_all(rows.into_iter().map(async |row| {
        let app = app(&row).await;
        (row, app)
    }))
    .await
}

/// All at once: most of the time is spent waiting for endpoints that hang.
#[tokio::test]
async fn every_fault() {
    tokio::join!(
        without_queues(),
        with_queues(),
        just_once(),
        no_time_left(),
        slow_but_fine(),
        faults_of_the_queue(),
        refused_and_not_copied(),
        everything_hangs(),
    );
}

const PLENTY: Duration = Duration::from_secs(10);
const LITTLE: Duration = Duration::from_secs(3);

async fn without_queues() {
    let rows = made(faults_of_the_bus(), async |(_, fault, _)| {
        App::before(fault.endpoint("PutEvents").await, Endpoint::closed()).await
    });
    join_all(rows.await.into_iter().map(async |((why, fault, class), mut app)| {
        let Met { answer, .. } = deliver(&app, why, PLENTY).await;
        let (status, code, calls) = match class {
            Passing => (503, "bus-unavailable", 5..=5),
            // The pauses decide whether there is time for a fourth.
            Hanging => (503, "bus-unavailable", 3..=4),
            Deployment => (500, "misconfigured", 1..=1),
            Payload => (422, "refused-by-bus", 1..=1),
        };
        assert_eq!((answer.status, answer.code()), (status, code), "{why}: {answer:?}");
        if let Some(made) = fault.calls(&app.bus, "PutEvents") {
            assert!(calls.contains(&made), "{why}: {made} calls");
        }

        // A bus that recovers is used again by the next delivery.
        match fault {
            Fault::Closed => app.bus.open(),
            Fault::Each(_) => app.bus.recover(),
            _ => return,
        }
        assert_eq!(deliver(&app, why, PLENTY).await.answer.status, 200, "{why}: recovered");
    }))
    .await;
}

async fn with_queues() {
    let rows = made(faults_of_the_bus(), async |(_, fault, _)| {
        App::before(fault.endpoint("PutEvents").await, Endpoint::start().await).await.and_queues()
    });
    join_all(rows.await.into_iter().map(async |((why, fault, class), app)| {
        let Met { answer, .. } = deliver(&app, why, PLENTY).await;
        let calls = match class {
            Passing => 5..=5,
            Hanging => 2..=3,
            Deployment | Payload => 1..=1,
        };
        if let Some(made) = fault.calls(&app.bus, "PutEvents") {
            assert!(calls.contains(&made), "{why}: {made} calls");
        }
        let queued: Vec<_> = app.queue.taken().iter().map(|taken| taken.is_in("parking")).collect();
        if class == Payload {
            assert_eq!((answer.status, answer.code()), (422, "refused-by-bus"), "{why}: {answer:?}");
            assert_eq!(queued, [false], "{why}: a copy for the refused, and nothing parked");
        } else {
            assert_eq!(answer.status, 200, "{why}: {answer:?}");
            assert_eq!(queued, [true], "{why}: parked once");
            assert_eq!(app.records()[0]["outcome"], "parked", "{why}");
        }
    }))
    .await;
}

async fn just_once() {
    let passing = faults_of_the_bus().into_iter().filter_map(|(why, fault, class)| match fault {
        Fault::Each(behaviour) if matches!(class, Passing | Hanging) => Some((why, Fault::First(1, behaviour))),
        _ => None,
    });
    let twice = [
        ("throttled twice", failed_entry("ThrottlingException")),
        ("refused twice, throttled", failed_call(400, "ThrottlingException")),
        ("reset twice", Behaviour::Reset),
    ];
    let rows = passing.chain(twice.map(|(why, behaviour)| (why, Fault::First(2, behaviour))));
    let rows = made(rows, async |(_, fault)| {
        App::before(fault.endpoint("PutEvents").await, Endpoint::start().await).await.and_queues()
    });
    join_all(rows.await.into_iter().map(async |((why, fault), app)| {
        let Fault::First(times, _) = fault else { unreachable!() };
        let Met { answer, .. } = deliver(&app, why, PLENTY).await;
        assert_eq!(answer.status, 200, "{why}: {answer:?}");
        assert_eq!(app.records()[0]["outcome"], "forwarded", "{why}");
        assert_eq!(app.bus.calls("PutEvents"), times + 1, "{why}");
        assert_eq!(app.queue.calls("SendMessage"), 0, "{why}");
    }))
    .await;
}

/// Apart from the others, which keep the machine busy: there is little time.
#[tokio::test]
async fn with_little_time_left() {
    let slow = |milliseconds| Fault::Each(Behaviour::Slow(Duration::from_millis(milliseconds)));
    let costly = faults_of_the_bus().into_iter().filter(|(_, _, class)| *class == Hanging);
    let unreachable = ("connections are never made", Fault::Unreachable, Hanging);
    let rows = costly.chain([unreachable]).flat_map(|(why, fault, _)| {
        [
            (why, fault.clone(), Fault::None, 200),
            (why, fault.clone(), slow(200), 200),
            (why, fault.clone(), Fault::Each(Behaviour::Hang), 503),
            (why, fault, Fault::Closed, 503),
        ]
    });
    let rows = made(rows, async |(_, bus, queue, _)| {
        App::before(bus.endpoint("PutEvents").await, queue.endpoint("SendMessage").await).await.and_queues()
    });
    // One after the other, so that they don't all park at once.
    let starts = (0..).map(|nth| Duration::from_millis(50) * nth);
    join_all(rows.await.into_iter().zip(starts).map(async |(((why, _, queue, status), app), start)| {
        sleep(start).await;
        let why = format!("{why}, queue: {queue:?}");
        let Met { answer, took } = deliver(&app, &why, LITTLE).await;
        assert_eq!(answer.status, status, "{why}: {}", app.log());
        assert!(took > Duration::from_millis(1_700), "{why}: the time for the bus is used: {took:?}");
    }))
    .await;
}

async fn no_time_left() {
    let now = at(NOW);
    for left in [Duration::ZERO, Duration::from_millis(250)] {
        let app = App::with_queues().await;
        app.bus.always("PutEvents", Behaviour::Hang);
        app.queue.always("SendMessage", Behaviour::Hang);
        let reply = app.invoke_with(&signed(BODY).function_url(), context(now, left), now).await.unwrap();
        assert_eq!(read(&reply).code(), "bus-unavailable", "{left:?}");

        let forged = signed("{}").function_url()["body"].clone();
        let mut envelope = signed(BODY).function_url();
        envelope["body"] = forged;
        let reply = app.invoke_with(&envelope, context(now, left), now).await.unwrap();
        assert_eq!(read(&reply).code(), "invalid-signature", "what needs no time is answered: {left:?}");
    }
}

async fn slow_but_fine() {
    let slow = |milliseconds| Fault::Each(Behaviour::Slow(Duration::from_millis(milliseconds)));
    let hang = || Fault::Each(Behaviour::Hang);
    let rows = [
        ("a slow bus", slow(1_500), Fault::None, "forwarded", 1_500),
        (
            "a slow bus, once a slower one",
            Fault::First(1, Behaviour::Slow(Duration::from_secs(3))),
            Fault::None,
            "forwarded",
            2_500,
        ),
        ("a slow queue", Fault::Closed, slow(1_500), "parked", 1_500),
        ("a bus that hangs and a slow queue", hang(), slow(1_500), "parked", 6_500),
        (
            "a bus that is down and a queue that hangs once",
            Fault::Closed,
            Fault::First(1, Behaviour::Hang),
            "parked",
            2_500,
        ),
    ];
    let rows = made(rows, async |(_, bus, queue, ..)| {
        App::before(bus.endpoint("PutEvents").await, queue.endpoint("SendMessage").await).await.and_queues()
    });
    join_all(rows.await.into_iter().map(async |((why, _, _, outcome, at_least), app)| {
        let Met { answer, took } = deliver(&app, why, PLENTY).await;
        assert_eq!(answer.status, 200, "{why}: {answer:?}");
        assert_eq!(app.records()[0]["outcome"], outcome, "{why}");
        assert!(took >= Duration::from_millis(at_least), "{why}: {took:?}");
    }))
    .await;
}

/// The bus is down; so is the queue, in every way, or it isn't.
async fn faults_of_the_queue() {
    let each = Fault::Each;
    let answer = |body| Fault::Each(Behaviour::Answer(200, body));
    let raw = |status, body: &[u8]| Fault::Each(Behaviour::Raw(status, body.to_vec()));
    let parked = true;
    let rows = [
        ("nothing", Fault::None, parked, Some(1)),
        ("throttled twice", Fault::First(2, failed_call(400, "ThrottlingException")), parked, Some(3)),
        ("reset once", Fault::First(1, Behaviour::Reset), parked, Some(2)),
        ("no message id, once", Fault::First(1, Behaviour::Answer(200, json!({}))), parked, Some(2)),
        ("nothing listens", Fault::Closed, !parked, None),
        ("connections are never made", Fault::Unreachable, !parked, None),
        ("no answer", each(Behaviour::Hang), !parked, None),
        ("half of an answer", each(Behaviour::HalfThenHang), !parked, None),
        ("later than an attempt lasts", each(Behaviour::Slow(Duration::from_secs(3))), !parked, None),
        ("the connection reset", each(Behaviour::Reset), !parked, Some(5)),
        ("the connection closed", each(Behaviour::Close), !parked, Some(5)),
        ("the connection closed in an answer", each(Behaviour::HalfThenClose), !parked, Some(5)),
        ("HTTP 403, nothing more", raw(403, b""), !parked, Some(5)),
        ("HTTP 500, nothing more", raw(500, b""), !parked, Some(5)),
        ("garbage", raw(200, b"<garbage>"), !parked, Some(5)),
        ("success without a message id", answer(json!({"MD5OfMessageBody": "00"})), !parked, Some(5)),
        ("success, an empty message id", answer(json!({"MessageId": ""})), !parked, Some(5)),
        ("denied", each(failed_call(400, "AccessDeniedException")), !parked, Some(1)),
        ("another account's", each(failed_call(403, "AccessDenied")), !parked, Some(1)),
        ("no such queue", each(failed_call(400, "QueueDoesNotExist")), !parked, Some(1)),
        (
            "no such queue, as older clients are told",
            each(failed_call(400, "AWS.SimpleQueueService.NonExistentQueue")),
            !parked,
            Some(1),
        ),
        ("its key of KMS is disabled", each(failed_call(400, "KmsDisabled")), !parked, Some(1)),
        ("KMS throttles", each(failed_call(400, "KmsThrottled")), !parked, Some(5)),
        ("characters that it doesn't take", each(failed_call(400, "InvalidMessageContents")), !parked, Some(1)),
    ];
    let troubles = [Fault::Closed, Fault::Each(failed_call(400, "AccessDeniedException"))];
    let rows = rows.into_iter().flat_map(|row| troubles.clone().map(|bus| (bus, row.clone())));
    let rows = made(rows, async |(bus, (_, queue, ..))| {
        App::before(bus.endpoint("PutEvents").await, queue.endpoint("SendMessage").await).await.and_queues()
    });
    join_all(rows.await.into_iter().map(async |((bus, (why, _, parked, calls)), app)| {
        let why = format!("bus: {bus:?}; queue: {why}");
        let Met { answer, .. } = deliver(&app, &why, PLENTY).await;
        if parked {
            assert_eq!(answer.status, 200, "{why}: {answer:?}");
        } else {
            assert_eq!((answer.status, answer.code()), (503, "bus-unavailable"), "{why}: {answer:?}");
            let error = app.records()[0]["error"].as_str().unwrap().to_owned();
            assert!(error.contains("PutEvents") && error.contains("; and not parked: "), "{why}: {error}");
        }
        if let Some(calls) = calls {
            assert_eq!(app.queue.calls("SendMessage"), calls, "{why}: calls");
        }
    }))
    .await;
}

/// Nothing can be forwarded, and the copy of what was refused hangs: that is no reason for another answer.
async fn refused_and_not_copied() {
    let rows = made([PLENTY, LITTLE], async |_| {
        let refusing = Fault::Each(failed_entry("MalformedDetail"));
        App::before(refusing.endpoint("PutEvents").await, Endpoint::mute()).await.and_queues()
    });
    join_all(rows.await.into_iter().map(async |(left, app)| {
        let Met { answer, .. } = deliver(&app, "refused, and not copied", left).await;
        assert_eq!((answer.status, answer.code()), (422, "refused-by-bus"), "{left:?} left");
        let error = app.records()[0]["copy_error"].clone();
        assert!(error.as_str().is_some_and(|error| error.starts_with("SendMessage: ")), "{left:?} left: {error}");
    }))
    .await;
}

async fn everything_hangs() {
    let app = App::before(Endpoint::mute(), Endpoint::mute()).await.and_queues();
    let Met { answer, took } = deliver(&app, "everything hangs", PLENTY).await;
    assert_eq!((answer.status, answer.code()), (503, "bus-unavailable"));
    assert!(took > Duration::from_secs(7), "the time there is, is used: {took:?}");
}

/// Lambda freezes a function between deliveries, and AWS ends the connections that are not used meanwhile.
#[tokio::test]
async fn a_connection_that_ended_since_the_last_delivery() {
    let app = App::start().await;
    assert_eq!(deliver(&app, "connected", PLENTY).await.answer.status, 200);
    app.bus.hang_up().await;
    let lag = Lag::measure();

    let Met { answer, took } = deliver(&app, "hung up", PLENTY).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(took < lag.and(Duration::from_secs(1)), "at once, not after an attempt's time: {took:?}, {lag:?}");
    assert_eq!((app.bus.connections(), app.bus.calls("PutEvents")), (2, 2));
}

/// Panics in the middle of a call to the bus, for as long as it is told to.
#[derive(Debug, Clone, Default)]
struct Panicking(Arc<AtomicBool>);

impl Intercept for Panicking {
    fn name(&self) -> &'static str {
        "Panicking"
    }

    fn read_before_serialization(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        _: &aws_sdk_eventbridge::config::RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        assert!(!self.0.load(Ordering::Relaxed), "as told");
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_inside_an_invocation() {
    let mut app = App::with_queues().await;
    let panicking = Panicking::default();
    let client = aws_sdk_eventbridge::Client::from_conf(bus_config(&app.bus).interceptor(panicking.clone()).build());
    app.function.bus = Bus::new(client, "scalekit-events");
    let batch = batch(&[message("1", BODY, None), message("2", BODY, None)]);
    // As the process does, and as the other tests want it beside.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        log::log_panic(panic);
        hook(panic);
    }));

    panicking.0.store(true, Ordering::Relaxed);
    let Met { answer, .. } = deliver(&app, "panicking", PLENTY).await;
    assert_eq!((answer.status, answer.code()), (500, "internal-error"));
    assert_eq!(answer.problem["detail"], "The function failed.", "nothing of the panic is told");
    let reply = app.invoke(&batch).await.unwrap();
    assert_eq!(reply, json!({"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "2"}]}));
    let records = app.records();
    let problems: Vec<_> = records.iter().map(|record| &record["problem"]).collect();
    assert_eq!(problems, vec!["internal-error"; 3], "one line for the delivery, and one for each message");
    assert_eq!(records[0]["event_id"], "evt_94568078213382471", "the line says which event it was");
    let mut lines = app.lines();
    lines.retain(|line| line["message"] == "panicked");
    assert_eq!(lines.len(), 2, "one line for each panic: {lines:?}");
    for line in lines {
        assert_eq!(line["level"], "ERROR");
        let location = line["location"].as_str().unwrap();
        assert!(location.starts_with("tests/suite/faults.rs:"), "{location}");
    }
    assert!(!app.log().contains("as told"), "where a panic was is logged, and not what it says: {}", app.log());

    panicking.0.store(false, Ordering::Relaxed);
    assert_eq!(deliver(&app, "no longer panicking", PLENTY).await.answer.status, 200);
    assert_eq!(app.invoke(&batch).await.unwrap(), json!({"batchItemFailures": []}));
}
