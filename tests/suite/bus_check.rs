//! Tests the check that the event bus exists. `PutEvents` reports success for a bus that doesn't exist and drops the
//! events, so a 200 can be trusted only if the bus was found recently. A delivery waits at most a second for the check.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};

use test_support::SignedDelivery;

use crate::{
    support::app::{Answer, App, BODY, NOW, at, context, key, read},
    support::endpoint::{Behaviour, Endpoint, failed_call},
    support::lag::Lag,
};

/// The operation that checks whether the bus exists.
const CHECK: &str = "DescribeEventBus";

/// How long the result of a check stays valid, in seconds.
const VALIDITY: u64 = 300;

fn missing() -> Behaviour {
    failed_call(400, "ResourceNotFoundException")
}

/// Sends a delivery at a time in seconds since 1970; the invocation has `left` until its deadline.
async fn deliver_within(app: &App, time: u64, left: Duration) -> Answer {
    let envelope = SignedDelivery::new(&key(), "msg_1", time, BODY.as_bytes()).function_url();
    read(&app.invoke_with(&envelope, context(at(time), left), at(time)).await.unwrap())
}

async fn deliver(app: &App, time: u64) -> Answer {
    deliver_within(app, time, Duration::from_secs(10)).await
}

/// The log lines about checks that failed: all lines that are not the record of a delivery.
fn warnings(app: &App) -> Vec<Value> {
    app.lines().into_iter().filter(|line| line.get("outcome").is_none()).collect()
}

#[tokio::test]
async fn the_bus_is_checked_again_after_five_minutes() {
    let app = App::start().await;
    for (seconds, checks) in [
        (0, 1),
        (1, 1),
        (VALIDITY - 1, 1),
        (VALIDITY, 2),
        (VALIDITY, 2),
        (2 * VALIDITY - 1, 2),
        (2 * VALIDITY + 1, 3),
        (3 * VALIDITY, 3),
        (3 * VALIDITY + 2, 4),
    ] {
        assert_eq!(deliver(&app, NOW + seconds).await.status, 200);
        assert_eq!(app.bus.calls(CHECK), checks, "after {seconds} s");
    }
    assert_eq!(app.bus.requests(CHECK), vec![json!({"Name": "scalekit-events"}); 4]);
    assert_eq!(warnings(&app), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn only_one_of_several_concurrent_deliveries_checks_the_bus() {
    let app = Arc::new(App::start().await);
    for round in 1..=20 {
        let deliveries = (0..8).map(|_| {
            let app = Arc::clone(&app);
            tokio::spawn(async move { deliver(&app, NOW + round * (VALIDITY + 1)).await.status })
        });
        for status in join_all(deliveries).await {
            assert_eq!(status.unwrap(), 200);
        }
        assert_eq!(app.bus.calls(CHECK), 1 + usize::try_from(round).unwrap(), "round {round}");
    }
}

#[tokio::test]
async fn the_check_runs_concurrently_with_put_events() {
    let app = App::start().await;
    app.bus.once(CHECK, Behaviour::Slow(Duration::from_millis(600)));
    app.bus.once("PutEvents", Behaviour::Slow(Duration::from_millis(600)));
    let (begun, lag) = (Instant::now(), Lag::measure());
    assert_eq!(deliver(&app, NOW + VALIDITY).await.status, 200);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(600), "the answer must wait for both calls: {took:?}");
    assert!(
        took < lag.and(Duration::from_millis(1_100)),
        "the calls must not run one after the other: {took:?}, {lag:?}"
    );
}

#[tokio::test]
async fn a_missing_bus_is_reported_until_it_exists() {
    let app = App::start().await;
    app.bus.always(CHECK, missing());
    assert_eq!(deliver(&app, NOW + VALIDITY - 1).await.status, 200, "the last check is still valid");

    let answer = deliver(&app, NOW + VALIDITY).await;
    assert_eq!((answer.status, answer.code()), (500, "misconfigured"));
    assert_eq!(app.bus.taken().len(), 2, "both events were dropped although `PutEvents` reported success");
    let record = app.records().pop().unwrap();
    assert_eq!(record["error"], "there is no event bus `scalekit-events`");
    assert_eq!(record.get("bus_event_id"), None, "the id of a dropped event is not logged");

    for (after, checks) in [(1, 2), (9, 2), (11, 3), (11, 3), (20, 3), (22, 4)] {
        assert_eq!(deliver(&app, NOW + VALIDITY + after).await.code(), "misconfigured");
        assert_eq!(app.bus.calls(CHECK), checks, "the bus is checked every ten seconds, after {after} s");
        assert_eq!(app.bus.calls("PutEvents"), 2, "nothing is sent to a missing bus");
    }

    app.bus.recover();
    assert_eq!(deliver(&app, NOW + 3 * VALIDITY).await.status, 200);
    assert_eq!(app.bus.calls(CHECK), 5);
    assert_eq!(deliver(&app, NOW + 4 * VALIDITY - 1).await.status, 200);
    assert_eq!(app.bus.calls(CHECK), 5, "a bus that was found again is not checked at once");
    assert_eq!(warnings(&app), Vec::<Value>::new());
}

#[tokio::test]
async fn a_missing_bus_is_reported_to_all_deliveries_in_progress() {
    let app = App::start().await;
    app.bus.always(CHECK, missing());
    app.bus.always("PutEvents", Behaviour::Slow(Duration::from_millis(300)));
    let answers = join_all((0..4).map(|_| deliver(&app, NOW + VALIDITY))).await;
    assert_eq!(app.bus.calls(CHECK), 2);
    for answer in answers {
        assert_eq!((answer.status, answer.code()), (500, "misconfigured"));
    }
}

#[tokio::test]
async fn a_bus_that_is_missing_at_startup_is_reported_until_it_exists() {
    let bus = Endpoint::start().await;
    bus.always(CHECK, missing());
    let app = App::before(bus, Endpoint::closed()).await;
    assert_eq!(deliver(&app, NOW).await.code(), "misconfigured");
    assert_eq!(app.bus.calls("PutEvents"), 0);
    app.bus.recover();
    assert_eq!(deliver(&app, NOW + 11).await.status, 200, "the bus was created in the meantime");
}

#[tokio::test]
async fn a_bus_name_that_eventbridge_rejects_counts_as_a_missing_bus() {
    let app = App::start().await;
    app.bus.always(CHECK, failed_call(400, "ValidationException"));
    let answer = deliver(&app, NOW + VALIDITY).await;
    assert_eq!((answer.status, answer.code()), (500, "misconfigured"));
    assert_eq!(app.records()[0]["error"], "there is no event bus `scalekit-events`");
    assert_eq!(warnings(&app), Vec::<Value>::new());
}

#[tokio::test]
async fn a_check_that_fails_changes_nothing() {
    let failures = [
        ("access denied", failed_call(400, "AccessDeniedException"), "AccessDeniedException (HTTP 400): it failed"),
        ("throttled", failed_call(400, "ThrottlingException"), "ThrottlingException (HTTP 400)"),
        ("a server error", Behaviour::Raw(500, Vec::new()), "an error without a code (HTTP 500)"),
        ("the connection is reset", Behaviour::Reset, ""),
        ("the connection is closed", Behaviour::Close, ""),
        ("no response", Behaviour::Hang, "no answer in time"),
        ("half of a response", Behaviour::HalfThenHang, "no answer in time"),
    ];
    join_all(failures.into_iter().map(async |(why, failure, error)| {
        let app = App::start().await;
        app.bus.always(CHECK, failure.clone());
        let (begun, lag) = (Instant::now(), Lag::measure());
        assert_eq!(deliver(&app, NOW + VALIDITY).await.status, 200, "{why}");
        let took = begun.elapsed();
        assert!(took < lag.and(Duration::from_millis(1_200)), "{why}: {took:?}, {lag:?}");
        // Missing permission is unlikely to change soon, so the check is only repeated after the normal interval. Other
        // failures may be temporary and are retried sooner.
        let again = if why == "access denied" { VALIDITY } else { 10 };
        let checks = app.bus.calls(CHECK);
        assert_eq!(deliver(&app, NOW + VALIDITY + again - 1).await.status, 200, "{why}");
        assert_eq!(app.bus.calls(CHECK), checks, "{why}: the check must not be repeated at once");

        let warnings = warnings(&app);
        let [warning] = warnings.as_slice() else { panic!("{why}: expected one warning, got {warnings:?}") };
        assert_eq!(warning["level"], "WARN", "{why}");
        let message = "could not check whether the event bus exists";
        let hint = ": if it is missing, EventBridge drops the events";
        let hint = if why == "access denied" { hint } else { "" };
        assert_eq!(warning["message"], format!("{message}{hint}"), "{why}");
        let logged = warning["error"].as_str().unwrap();
        assert!(logged.starts_with(&format!("DescribeEventBus: {error}")), "{why}: {logged}");

        // A failed check doesn't make a missing bus count as found either.
        app.bus.always(CHECK, missing());
        let again = NOW + VALIDITY + again + 1;
        assert_eq!(deliver(&app, again).await.code(), "misconfigured", "{why}");
        app.bus.always(CHECK, failure);
        assert_eq!(deliver(&app, again + 11).await.code(), "misconfigured", "{why}");
    }))
    .await;
}

#[tokio::test]
async fn a_check_that_is_denied_causes_one_warning_per_process() {
    let app = App::start().await;
    app.bus.always(CHECK, failed_call(400, "AccessDeniedException"));
    for n in 1..4 {
        assert_eq!(deliver(&app, NOW + n * (VALIDITY + 1)).await.status, 200);
        assert_eq!(warnings(&app).len(), 1, "after {n} checks");
    }
    assert_eq!(app.bus.calls(CHECK), 4, "one at the start, and one for each delivery");
}

#[tokio::test]
async fn the_bus_is_checked_after_the_clock_was_set_back() {
    let app = App::start().await;
    assert_eq!(deliver(&app, NOW - 3600).await.status, 200);
    assert_eq!(app.bus.calls(CHECK), 2);
}

#[tokio::test]
async fn a_check_that_hangs_leaves_time_for_the_answer() {
    let left = Duration::from_millis(800);
    for (why, before, status) in [
        ("the bus was found before", Behaviour::Slow(Duration::ZERO), 200),
        ("the bus was missing before", missing(), 500),
    ] {
        let app = App::start().await;
        app.bus.always(CHECK, before);
        deliver(&app, NOW + VALIDITY).await;
        app.bus.always(CHECK, Behaviour::Hang);
        let (begun, lag) = (Instant::now(), Lag::measure());
        assert_eq!(deliver_within(&app, NOW + 2 * VALIDITY, left).await.status, status, "{why}");
        let took = begun.elapsed();
        assert!(took < lag.and(left), "{why}: {took:?}, {lag:?}");
    }
}
