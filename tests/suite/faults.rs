//! Tests how a delivery is answered when the bus or the queue fails, in every way that we know of.
//!
//! Each fault of the bus is tested with and without queues, both permanent and temporary. Faults that use up time are
//! also tested with only three seconds left. In every case the answer must be a documented one and arrive in time, and
//! an event that was acknowledged must be on the bus or in the parking queue.

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
use scalekit_eventbridge::log;
use serde_json::json;
use tokio::time::sleep;
use tracing::instrument::WithSubscriber;

use crate::{
    support::app::{Answer, App, BODY, NOW, at, batch, bus_config, connect, context, message, read, signed},
    support::endpoint::{Behaviour, Endpoint, failed_call, failed_entry},
    support::lag::Lag,
};

/// How an endpoint fails.
#[derive(Debug, Clone)]
enum Fault {
    /// The endpoint works.
    None,
    /// Connections are refused, because nothing listens on the port.
    Closed,
    /// Connections are accepted but never read.
    Mute,
    /// Connections are never established.
    Unreachable,
    /// Applies the behaviour to every request.
    Each(Behaviour),
    /// Applies the behaviour to the first requests; later requests succeed.
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

    /// The number of calls that were made, or `None` if the endpoint can't count them.
    fn calls(&self, endpoint: &Endpoint, operation: &str) -> Option<usize> {
        match self {
            // No request reaches the endpoint.
            Self::Closed | Self::Unreachable => None,
            // Each attempt opens a connection of its own, and so did the check whether the bus exists.
            Self::Mute => Some(endpoint.connections() - 1),
            _ => Some(endpoint.calls(operation)),
        }
    }
}

/// How the function must treat a fault of the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The call fails at once, and a retry may succeed.
    Transient,
    /// The call uses up the time of an attempt, and a retry may succeed.
    Hanging,
    /// The deployment has to be corrected, so a retry is useless.
    Misconfigured,
    /// The bus will never accept this event.
    Rejected,
}

use Class::{Hanging, Misconfigured, Rejected, Transient};

/// Every fault of the bus that we know of, with its class.
fn faults_of_the_bus() -> Vec<(&'static str, Fault, Class)> {
    let raw = |status, body: &[u8]| Fault::Each(Behaviour::Raw(status, body.to_vec()));
    let answer = |body| Fault::Each(Behaviour::Answer(200, body));
    let call = |status, code| Fault::Each(failed_call(status, code));
    let entry = |code| Fault::Each(failed_entry(code));
    let signature = |message| {
        Fault::Each(Behaviour::Answer(403, json!({"__type": "InvalidSignatureException", "message": message})))
    };
    vec![
        ("the connection is refused", Fault::Closed, Transient),
        ("connections are never established", Fault::Unreachable, Transient),
        ("connections are accepted but never read", Fault::Mute, Hanging),
        ("no response", Fault::Each(Behaviour::Hang), Hanging),
        ("half of a response", Fault::Each(Behaviour::HalfThenHang), Hanging),
        (
            "a response that comes after the timeout of an attempt",
            Fault::Each(Behaviour::Slow(Duration::from_secs(3))),
            Hanging,
        ),
        ("the connection is reset", Fault::Each(Behaviour::Reset), Transient),
        ("the connection is closed", Fault::Each(Behaviour::Close), Transient),
        ("the connection is closed in the middle of a response", Fault::Each(Behaviour::HalfThenClose), Transient),
        ("HTTP 400 with an empty body", raw(400, b""), Transient),
        ("HTTP 403 with an empty body", raw(403, b""), Transient),
        ("HTTP 403 from a proxy", raw(403, b"<html><title>Forbidden</title></html>"), Transient),
        ("HTTP 429 with an empty body", raw(429, b""), Transient),
        ("HTTP 500 with an empty body", raw(500, b""), Transient),
        ("HTTP 500 with JSON that has no error code", raw(500, b"{}"), Transient),
        ("HTTP 503 with an empty body", raw(503, b""), Transient),
        ("HTTP 200 with an empty body", raw(200, b""), Transient),
        ("HTTP 200 with a body that is not JSON", raw(200, b"\0\xff<garbage>"), Transient),
        ("HTTP 200 with truncated JSON", raw(200, br#"{"FailedEntryCount":0,"Entries":[{"EventId":"1""#), Transient),
        ("HTTP 302, a redirect", raw(302, b""), Transient),
        ("HTTP 400, the request is invalid", call(400, "ValidationException"), Rejected),
        ("HTTP 400, the bus does not exist", call(400, "ResourceNotFoundException"), Misconfigured),
        ("HTTP 400, access denied", call(400, "AccessDeniedException"), Misconfigured),
        ("HTTP 403, access denied", call(403, "AccessDeniedException"), Misconfigured),
        ("HTTP 400, expired credentials", call(400, "ExpiredTokenException"), Misconfigured),
        ("HTTP 403, invalid credentials", call(403, "UnrecognizedClientException"), Misconfigured),
        (
            "HTTP 403, a request signed with a wrong key",
            signature("The request signature we calculated does not match the signature you provided."),
            Misconfigured,
        ),
        (
            "HTTP 403, a signature that has expired",
            signature("Signature expired: 20251014T092927Z is now earlier than 20251014T093427Z"),
            Transient,
        ),
        ("HTTP 400, a request that has expired", call(400, "RequestExpired"), Transient),
        ("HTTP 403, a clock that is wrong", call(403, "RequestTimeTooSkewed"), Transient),
        ("HTTP 400, a KMS key in an invalid state", call(400, "KMSInvalidStateException"), Misconfigured),
        ("HTTP 400, throttled by KMS", call(400, "KMSThrottlingException"), Transient),
        ("HTTP 400, throttled", call(400, "ThrottlingException"), Transient),
        ("HTTP 429, throttled", call(429, "TooManyRequestsException"), Transient),
        ("HTTP 500, internal error", call(500, "InternalException"), Transient),
        ("HTTP 503, service unavailable", call(503, "ServiceUnavailable"), Transient),
        ("HTTP 400, an unknown error code", call(400, "NeverHeardOf"), Transient),
        ("a failed entry: throttled", entry("ThrottlingException"), Transient),
        ("a failed entry: internal error", entry("InternalFailure"), Transient),
        ("a failed entry: an unknown error code", entry("NeverHeardOf"), Transient),
        ("a failed entry: malformed detail", entry("MalformedDetail"), Rejected),
        ("a failed entry: invalid argument", entry("InvalidArgument"), Rejected),
        ("a failed entry: access denied", entry("AccessDeniedException"), Misconfigured),
        ("a failed entry: source not authorized", entry("NotAuthorizedForSourceException"), Misconfigured),
        ("a failed entry: detail type not authorized", entry("NotAuthorizedForDetailTypeException"), Misconfigured),
        ("a failed entry: invalid account", entry("InvalidAccountIdException"), Misconfigured),
        ("a failed entry: redaction failure", entry("RedactionFailure"), Misconfigured),
        ("success with an empty object", answer(json!({})), Transient),
        ("success without entries", answer(json!({"FailedEntryCount": 0, "Entries": []})), Transient),
        ("success without an event id", answer(json!({"FailedEntryCount": 0, "Entries": [{}]})), Transient),
        (
            "success with an empty event id",
            answer(json!({"FailedEntryCount": 0, "Entries": [{"EventId": ""}]})),
            Transient,
        ),
        (
            "success with two entries for one event",
            answer(json!({"FailedEntryCount": 0, "Entries": [{"EventId": "1"}, {"EventId": "2"}]})),
            Transient,
        ),
        (
            "a failure count of one without a failed entry",
            answer(json!({"FailedEntryCount": 1, "Entries": [{"EventId": "1"}]})),
            Transient,
        ),
        (
            "an entry with both an event id and a transient error",
            answer(json!({"FailedEntryCount": 0, "Entries": [{"EventId": "1", "ErrorCode": "InternalFailure"}]})),
            Transient,
        ),
        (
            "an entry with both an event id and a permanent error",
            answer(json!({"FailedEntryCount": 0, "Entries": [{"EventId": "1", "ErrorCode": "MalformedDetail"}]})),
            Rejected,
        ),
    ]
}

/// The result of one delivery: its answer and how long it took.
struct Delivered {
    answer: Answer,
    took: Duration,
}

/// Sends a delivery to the function, which has `left` until its deadline, and checks what must be true whatever the
/// fault is.
async fn deliver(app: &App, why: &str, left: Duration) -> Delivered {
    let (now, lag) = (at(NOW), Lag::measure());
    let begun = Instant::now();
    let reply = app.invoke_with(&signed(BODY).function_url(), context(now, left), now).await.unwrap();
    let took = begun.elapsed();
    let answer = read(&reply);

    assert!(took < lag.and(Duration::from_secs(9).min(left)), "{why}: the answer took {took:?}, {lag:?}");
    let retry_after = answer.headers.get("retry-after");
    assert_eq!(retry_after, (answer.status == 503).then_some(&json!("30")), "{why}");
    if answer.status == 200 {
        assert_acknowledged_event_is_stored(app, why);
    }
    Delivered { answer, took }
}

/// Checks that the last acknowledged event is on the bus or in the parking queue, byte for byte, under the logged id.
#[track_caller]
fn assert_acknowledged_event_is_stored(app: &App, why: &str) {
    let records = app.records();
    let record = records.last().unwrap();
    let id = |member: &str| record[member].as_str().unwrap_or_else(|| panic!("{why}: {record}"));
    let stored = match record["outcome"].as_str() {
        Some("forwarded") => app.bus.taken().into_iter().find(|taken| taken.id == id("bus_event_id")),
        Some("parked") => {
            let taken = app.queue.taken().into_iter().find(|taken| taken.id == id("queue_message_id"));
            taken.filter(|taken| taken.is_in("parking"))
        }
        _ => panic!("{why}: acknowledged, but the outcome is neither forwarded nor parked: {record}"),
    };
    assert_eq!(
        stored.unwrap_or_else(|| panic!("{why}: the event is neither on the bus nor in the queue: {record}")).body(),
        BODY,
        "{why}"
    );
}

/// Creates a function for each row. All are created first, so that no creation slows down a delivery that is timed.
async fn with_apps<R>(rows: impl IntoIterator<Item = R>, app: impl AsyncFn(&R) -> App) -> Vec<(R, App)> {
    join_all(rows.into_iter().map(async |row| {
        let app = app(&row).await;
        (row, app)
    }))
    .await
}

/// The groups run concurrently, because most of the time is spent waiting for endpoints that hang.
#[tokio::test]
async fn every_fault_gets_its_documented_answer_in_time() {
    tokio::join!(
        with_faults_of_the_bus_and_no_queues(),
        with_faults_of_the_bus_and_queues(),
        with_temporary_faults(),
        with_no_time_left(),
        with_slow_endpoints(),
        with_faults_of_the_queue(),
        with_a_rejected_event_that_cannot_be_copied(),
        with_endpoints_that_all_hang(),
    );
}

const ENOUGH_TIME: Duration = Duration::from_secs(10);
const LITTLE_TIME: Duration = Duration::from_secs(3);

async fn with_faults_of_the_bus_and_no_queues() {
    let rows = with_apps(faults_of_the_bus(), async |(_, fault, _)| {
        App::before(fault.endpoint("PutEvents").await, Endpoint::closed()).await
    });
    join_all(rows.await.into_iter().map(async |((why, fault, class), mut app)| {
        let Delivered { answer, .. } = deliver(&app, why, ENOUGH_TIME).await;
        let (status, code, calls) = match class {
            Transient => (503, "bus-unavailable", 5..=5),
            // The random pauses between the attempts decide whether there is time for a fourth.
            Hanging => (503, "bus-unavailable", 3..=4),
            Misconfigured => (500, "misconfigured", 1..=1),
            Rejected => (422, "refused-by-bus", 1..=1),
        };
        assert_eq!((answer.status, answer.code()), (status, code), "{why}: {answer:?}");
        if let Some(made) = fault.calls(&app.bus, "PutEvents") {
            assert!(calls.contains(&made), "{why}: {made} calls");
        }

        // The next delivery uses a bus that has recovered.
        match fault {
            Fault::Closed => app.bus.open(),
            Fault::Each(_) => app.bus.recover(),
            _ => return,
        }
        assert_eq!(deliver(&app, why, ENOUGH_TIME).await.answer.status, 200, "{why}: the bus has recovered");
    }))
    .await;
}

async fn with_faults_of_the_bus_and_queues() {
    let rows = with_apps(faults_of_the_bus(), async |(_, fault, _)| {
        App::before(fault.endpoint("PutEvents").await, Endpoint::start().await).await.and_queues()
    });
    join_all(rows.await.into_iter().map(async |((why, fault, class), app)| {
        let Delivered { answer, .. } = deliver(&app, why, ENOUGH_TIME).await;
        let calls = match class {
            Transient => 5..=5,
            Hanging => 2..=3,
            Misconfigured | Rejected => 1..=1,
        };
        if let Some(made) = fault.calls(&app.bus, "PutEvents") {
            assert!(calls.contains(&made), "{why}: {made} calls");
        }
        let queued: Vec<_> = app.queue.taken().iter().map(|taken| taken.is_in("parking")).collect();
        if class == Rejected {
            assert_eq!((answer.status, answer.code()), (422, "refused-by-bus"), "{why}: {answer:?}");
            assert_eq!(queued, [false], "{why}: a copy is in the dead-letter queue, and nothing is parked");
        } else {
            assert_eq!(answer.status, 200, "{why}: {answer:?}");
            assert_eq!(queued, [true], "{why}: the event is parked exactly once");
            assert_eq!(app.records()[0]["outcome"], "parked", "{why}");
        }
    }))
    .await;
}

async fn with_temporary_faults() {
    let passing = faults_of_the_bus().into_iter().filter_map(|(why, fault, class)| match fault {
        Fault::Each(behaviour) if matches!(class, Transient | Hanging) => Some((why, Fault::First(1, behaviour))),
        _ => None,
    });
    let twice = [
        ("a failed entry: throttled, twice", failed_entry("ThrottlingException")),
        ("HTTP 400, throttled, twice", failed_call(400, "ThrottlingException")),
        ("the connection is reset twice", Behaviour::Reset),
    ];
    let rows = passing.chain(twice.map(|(why, behaviour)| (why, Fault::First(2, behaviour))));
    let rows = with_apps(rows, async |(_, fault)| {
        App::before(fault.endpoint("PutEvents").await, Endpoint::start().await).await.and_queues()
    });
    join_all(rows.await.into_iter().map(async |((why, fault), app)| {
        let Fault::First(times, _) = fault else { unreachable!() };
        let Delivered { answer, .. } = deliver(&app, why, ENOUGH_TIME).await;
        assert_eq!(answer.status, 200, "{why}: {answer:?}");
        assert_eq!(app.records()[0]["outcome"], "forwarded", "{why}");
        assert_eq!(app.bus.calls("PutEvents"), times + 1, "{why}");
        assert_eq!(app.queue.calls("SendMessage"), 0, "{why}");
    }))
    .await;
}

/// Runs separately from the other groups, because they keep the machine busy and this one is sensitive to delays.
#[tokio::test]
async fn a_delivery_with_little_time_left_is_answered_in_time() {
    let slow = |milliseconds| Fault::Each(Behaviour::Slow(Duration::from_millis(milliseconds)));
    let hanging = faults_of_the_bus().into_iter().filter(|(_, _, class)| *class == Hanging);
    let unreachable = ("connections are never established", Fault::Unreachable, Hanging);
    let rows = hanging.chain([unreachable]).flat_map(|(why, fault, _)| {
        [
            (why, fault.clone(), Fault::None, 200),
            (why, fault.clone(), slow(200), 200),
            (why, fault.clone(), Fault::Each(Behaviour::Hang), 503),
            (why, fault, Fault::Closed, 503),
        ]
    });
    let rows = with_apps(rows, async |(_, bus, queue, _)| {
        App::before(bus.endpoint("PutEvents").await, queue.endpoint("SendMessage").await).await.and_queues()
    });
    // The starts are staggered, so that not all deliveries are parked at the same moment.
    let starts = (0..).map(|nth| Duration::from_millis(50) * nth);
    join_all(rows.await.into_iter().zip(starts).map(async |(((why, _, queue, status), app), start)| {
        sleep(start).await;
        let why = format!("{why}, queue: {queue:?}");
        let Delivered { answer, took } = deliver(&app, &why, LITTLE_TIME).await;
        assert_eq!(answer.status, status, "{why}: {}", app.log());
        assert!(
            took > Duration::from_millis(1_700),
            "{why}: the time that is reserved for the bus must be used: {took:?}"
        );
    }))
    .await;
}

async fn with_no_time_left() {
    let now = at(NOW);
    for left in [Duration::ZERO, Duration::from_millis(250)] {
        let app = App::with_queues().await;
        app.bus.always("PutEvents", Behaviour::Hang);
        app.queue.always("SendMessage", Behaviour::Hang);
        let reply = app.invoke_with(&signed(BODY).function_url(), context(now, left), now).await.unwrap();
        assert_eq!(read(&reply).code(), "bus-unavailable", "{left:?}");

        let other_body = signed("{}").function_url()["body"].clone();
        let mut envelope = signed(BODY).function_url();
        envelope["body"] = other_body;
        let reply = app.invoke_with(&envelope, context(now, left), now).await.unwrap();
        assert_eq!(
            read(&reply).code(),
            "invalid-signature",
            "a refusal that needs no call is still reported: {left:?}"
        );
    }
}

async fn with_slow_endpoints() {
    let slow = |milliseconds| Fault::Each(Behaviour::Slow(Duration::from_millis(milliseconds)));
    let hang = || Fault::Each(Behaviour::Hang);
    let rows = [
        ("a slow bus", slow(1_500), Fault::None, "forwarded", 1_500),
        (
            "a slow bus that exceeds the timeout of the first attempt",
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
    let rows = with_apps(rows, async |(_, bus, queue, ..)| {
        App::before(bus.endpoint("PutEvents").await, queue.endpoint("SendMessage").await).await.and_queues()
    });
    join_all(rows.await.into_iter().map(async |((why, _, _, outcome, at_least), app)| {
        let Delivered { answer, took } = deliver(&app, why, ENOUGH_TIME).await;
        assert_eq!(answer.status, 200, "{why}: {answer:?}");
        assert_eq!(app.records()[0]["outcome"], outcome, "{why}");
        assert!(took >= Duration::from_millis(at_least), "{why}: {took:?}");
    }))
    .await;
}

/// The bus is down, and the queue works or fails in one of several ways.
async fn with_faults_of_the_queue() {
    let each = Fault::Each;
    let answer = |body| Fault::Each(Behaviour::Answer(200, body));
    let raw = |status, body: &[u8]| Fault::Each(Behaviour::Raw(status, body.to_vec()));
    let parked = true;
    let rows = [
        ("no fault", Fault::None, parked, Some(1)),
        ("throttled twice", Fault::First(2, failed_call(400, "ThrottlingException")), parked, Some(3)),
        ("the connection is reset once", Fault::First(1, Behaviour::Reset), parked, Some(2)),
        ("success without a message id, once", Fault::First(1, Behaviour::Answer(200, json!({}))), parked, Some(2)),
        ("the connection is refused", Fault::Closed, !parked, None),
        ("connections are never established", Fault::Unreachable, !parked, None),
        ("no response", each(Behaviour::Hang), !parked, None),
        ("half of a response", each(Behaviour::HalfThenHang), !parked, None),
        (
            "a response that comes after the timeout of an attempt",
            each(Behaviour::Slow(Duration::from_secs(3))),
            !parked,
            None,
        ),
        ("the connection is reset", each(Behaviour::Reset), !parked, Some(5)),
        ("the connection is closed", each(Behaviour::Close), !parked, Some(5)),
        ("the connection is closed in the middle of a response", each(Behaviour::HalfThenClose), !parked, Some(5)),
        ("HTTP 403 with an empty body", raw(403, b""), !parked, Some(5)),
        ("HTTP 500 with an empty body", raw(500, b""), !parked, Some(5)),
        ("HTTP 200 with a body that is not JSON", raw(200, b"<garbage>"), !parked, Some(5)),
        ("success without a message id", answer(json!({"MD5OfMessageBody": "00"})), !parked, Some(5)),
        ("success with an empty message id", answer(json!({"MessageId": ""})), !parked, Some(5)),
        ("HTTP 400, access denied", each(failed_call(400, "AccessDeniedException")), !parked, Some(1)),
        (
            "HTTP 403, access denied to a queue of another account",
            each(failed_call(403, "AccessDenied")),
            !parked,
            Some(1),
        ),
        ("the queue does not exist", each(failed_call(400, "QueueDoesNotExist")), !parked, Some(1)),
        (
            "the queue does not exist, with the error code of the older protocol",
            each(failed_call(400, "AWS.SimpleQueueService.NonExistentQueue")),
            !parked,
            Some(1),
        ),
        ("the KMS key of the queue is disabled", each(failed_call(400, "KmsDisabled")), !parked, Some(1)),
        ("throttled by KMS", each(failed_call(400, "KmsThrottled")), !parked, Some(5)),
        ("characters that SQS does not accept", each(failed_call(400, "InvalidMessageContents")), !parked, Some(1)),
    ];
    let bus_faults = [Fault::Closed, Fault::Each(failed_call(400, "AccessDeniedException"))];
    let rows = rows.into_iter().flat_map(|row| bus_faults.clone().map(|bus| (bus, row.clone())));
    let rows = with_apps(rows, async |(bus, (_, queue, ..))| {
        App::before(bus.endpoint("PutEvents").await, queue.endpoint("SendMessage").await).await.and_queues()
    });
    join_all(rows.await.into_iter().map(async |((bus, (why, _, parked, calls)), app)| {
        let why = format!("bus: {bus:?}; queue: {why}");
        let Delivered { answer, .. } = deliver(&app, &why, ENOUGH_TIME).await;
        if parked {
            assert_eq!(answer.status, 200, "{why}: {answer:?}");
        } else {
            assert_eq!((answer.status, answer.code()), (503, "bus-unavailable"), "{why}: {answer:?}");
            let error = app.records()[0]["error"].as_str().unwrap().to_owned();
            assert!(
                error.contains("PutEvents") && error.contains("; parking the event failed, too: "),
                "{why}: {error}"
            );
        }
        if let Some(calls) = calls {
            assert_eq!(app.queue.calls("SendMessage"), calls, "{why}: number of calls");
        }
    }))
    .await;
}

/// The bus rejects the event, and writing it to the dead-letter queue hangs. The answer must not depend on that copy.
async fn with_a_rejected_event_that_cannot_be_copied() {
    let rows = with_apps([ENOUGH_TIME, LITTLE_TIME], async |_| {
        let refusing = Fault::Each(failed_entry("MalformedDetail"));
        App::before(refusing.endpoint("PutEvents").await, Endpoint::mute()).await.and_queues()
    });
    join_all(rows.await.into_iter().map(async |(left, app)| {
        let Delivered { answer, .. } = deliver(&app, "rejected, and the copy fails", left).await;
        assert_eq!((answer.status, answer.code()), (422, "refused-by-bus"), "{left:?} left");
        let error = app.records()[0]["copy_error"].clone();
        assert!(error.as_str().is_some_and(|error| error.starts_with("SendMessage: ")), "{left:?} left: {error}");
    }))
    .await;
}

async fn with_endpoints_that_all_hang() {
    let app = App::before(Endpoint::mute(), Endpoint::mute()).await.and_queues();
    let Delivered { answer, took } = deliver(&app, "everything hangs", ENOUGH_TIME).await;
    assert_eq!((answer.status, answer.code()), (503, "bus-unavailable"));
    assert!(took > Duration::from_secs(7), "the available time must be used: {took:?}");
}

/// Lambda freezes a function between invocations, and AWS closes connections that are idle for a long time.
#[tokio::test]
async fn a_connection_that_was_closed_since_the_last_delivery_is_replaced_at_once() {
    let app = App::start().await;
    assert_eq!(deliver(&app, "first delivery", ENOUGH_TIME).await.answer.status, 200);
    app.bus.hang_up().await;
    let lag = Lag::measure();

    let Delivered { answer, took } = deliver(&app, "closed connection", ENOUGH_TIME).await;

    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(took < lag.and(Duration::from_secs(1)), "the retry must not wait for a timeout: {took:?}, {lag:?}");
    assert_eq!((app.bus.connections(), app.bus.calls("PutEvents")), (2, 2));
}

/// The message of the panic, which must not be logged because it could contain a secret.
const PANIC_MESSAGE: &str = "confidential panic message";

/// Panics in every call to the bus while its flag is set.
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
        assert!(!self.0.load(Ordering::Relaxed), "{PANIC_MESSAGE}");
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_is_answered_and_logged_without_its_message() {
    let mut app = App::with_queues().await;
    let panicking = Panicking::default();
    let client = aws_sdk_eventbridge::Client::from_conf(bus_config(&app.bus).interceptor(panicking.clone()).build());
    app.function.bus = connect(client).with_subscriber(app.subscriber.clone()).await;
    let batch = batch(&[message("1", BODY, None), message("2", BODY, None)]);
    // Logs panics as `main` does, then calls the previous hook, so that panics of other tests are still printed.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        log::log_panic(panic);
        hook(panic);
    }));

    panicking.0.store(true, Ordering::Relaxed);
    assert_eq!(deliver(&app, "panicking", ENOUGH_TIME).await.answer.status, 200, "the event is parked");
    let reply = app.invoke(&batch).await.unwrap();
    assert_eq!(reply, json!({"batchItemFailures": [{"itemIdentifier": "1"}, {"itemIdentifier": "2"}]}));
    for record in app.records() {
        assert_eq!(record["error"], "PutEvents: panicked");
        assert_eq!(record["event_id"], "evt_94568078213382471", "the record names the event");
    }
    let mut lines = app.lines();
    lines.retain(|line| line["message"] == "panicked");
    assert_eq!(lines.len(), 5 + 1 + 2 * 4, "there is one line for each panic: {lines:?}");
    for line in lines {
        assert_eq!(line["level"], "ERROR");
        let location = line["location"].as_str().unwrap();
        assert!(location.starts_with("tests/suite/faults.rs:"), "{location}");
    }
    assert!(
        !app.log().contains(PANIC_MESSAGE),
        "the location of a panic is logged, but not its message: {}",
        app.log()
    );

    panicking.0.store(false, Ordering::Relaxed);
    assert_eq!(deliver(&app, "no longer panicking", ENOUGH_TIME).await.answer.status, 200);
    assert_eq!(app.invoke(&batch).await.unwrap(), json!({"batchItemFailures": []}));
}
