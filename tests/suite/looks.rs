//! The look at the bus: `PutEvents` takes events for a bus that isn't there and drops them, so that a 200 is worth as much as
//! the last look, and no delivery waits for it longer than a second.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    app::{Answer, App, BODY, NOW, at, context, key, read},
    endpoint::{Behaviour, Endpoint, failed_call},
    envelope::SignedDelivery,
    lag::Lag,
};

const LOOK: &str = "DescribeEventBus";

/// How long a look holds, in seconds.
const FRESH: u64 = 300;

fn missing() -> Behaviour {
    failed_call(400, "ResourceNotFoundException")
}

/// Delivers at this time, in seconds, with this much time left.
async fn deliver_within(app: &App, time: u64, left: Duration) -> Answer {
    let envelope = SignedDelivery::new(&key(), "msg_1", time, BODY.as_bytes()).function_url();
    read(&app.invoke_with(&envelope, context(at(time), left), at(time)).await.unwrap())
}

async fn deliver(app: &App, time: u64) -> Answer {
    deliver_within(app, time, Duration::from_secs(10)).await
}

/// What was logged of looks that failed.
fn warnings(app: &App) -> Vec<Value> {
    app.lines().into_iter().filter(|line| line.get("outcome").is_none()).collect()
}

#[tokio::test]
async fn a_look_holds_for_five_minutes() {
    let app = App::start().await;
    for (seconds, looks) in [
        (0, 1),
        (1, 1),
        (FRESH - 1, 1),
        (FRESH, 2),
        (FRESH, 2),
        (2 * FRESH - 1, 2),
        (2 * FRESH + 1, 3),
        (3 * FRESH, 3),
        (3 * FRESH + 1, 4),
    ] {
        assert_eq!(deliver(&app, NOW + seconds).await.status, 200);
        assert_eq!(app.bus.calls(LOOK), looks, "after {seconds} s");
    }
    assert_eq!(app.bus.requests(LOOK), vec![json!({"Name": "scalekit-events"}); 4]);
    assert_eq!(warnings(&app), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_deliveries_at_once_one_looks() {
    let app = Arc::new(App::start().await);
    for round in 1..=20 {
        let deliveries = (0..8).map(|_| {
            let app = Arc::clone(&app);
            tokio::spawn(async move { deliver(&app, NOW + round * FRESH).await.status })
        });
        for status in join_all(deliveries).await {
            assert_eq!(status.unwrap(), 200);
        }
        assert_eq!(app.bus.calls(LOOK), 1 + usize::try_from(round).unwrap(), "round {round}");
    }
}

#[tokio::test]
async fn the_look_runs_beside_the_delivery() {
    let app = App::start().await;
    app.bus.once(LOOK, Behaviour::Slow(Duration::from_millis(600)));
    app.bus.once("PutEvents", Behaviour::Slow(Duration::from_millis(600)));
    let (begun, lag) = (Instant::now(), Lag::measure());
    assert_eq!(deliver(&app, NOW + FRESH).await.status, 200);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(600), "the answer waits for both: {took:?}");
    assert!(took < lag.and(Duration::from_millis(1_100)), "not for one after the other: {took:?}, {lag:?}");
}

#[tokio::test]
async fn a_bus_that_turns_out_to_be_missing() {
    let app = App::start().await;
    app.bus.always(LOOK, missing());
    assert_eq!(deliver(&app, NOW + FRESH - 1).await.status, 200, "nobody has looked");

    let answer = deliver(&app, NOW + FRESH).await;
    assert_eq!((answer.status, answer.code()), (500, "misconfigured"));
    assert_eq!(app.bus.taken().len(), 2, "though the bus said that it has it");
    let record = app.records().pop().unwrap();
    assert_eq!(record["error"], "there is no event bus `scalekit-events`");
    assert_eq!(record.get("bus_event_id"), None, "an id of nothing is told to nobody");

    for (after, looks) in [(1, 3), (1, 4), (2 * FRESH, 5)] {
        assert_eq!(deliver(&app, NOW + FRESH + after).await.code(), "misconfigured");
        assert_eq!(app.bus.calls(LOOK), looks, "each looks");
        assert_eq!(app.bus.calls("PutEvents"), 2, "before it sends anything");
    }

    app.bus.recover();
    assert_eq!(deliver(&app, NOW + 3 * FRESH).await.status, 200);
    assert_eq!(app.bus.calls(LOOK), 6);
    assert_eq!(deliver(&app, NOW + 4 * FRESH - 1).await.status, 200);
    assert_eq!(app.bus.calls(LOOK), 6, "and that look holds");
    assert_eq!(warnings(&app), Vec::<Value>::new());
}

#[tokio::test]
async fn what_a_look_shows_holds_for_deliveries_under_way() {
    let app = App::start().await;
    app.bus.always(LOOK, missing());
    app.bus.always("PutEvents", Behaviour::Slow(Duration::from_millis(300)));
    let answers = join_all((0..4).map(|_| deliver(&app, NOW + FRESH))).await;
    assert_eq!(app.bus.calls(LOOK), 2);
    for answer in answers {
        assert_eq!((answer.status, answer.code()), (500, "misconfigured"));
    }
}

#[tokio::test]
async fn the_start_finds_no_bus() {
    let bus = Endpoint::start().await;
    bus.always(LOOK, missing());
    let app = App::before(bus, Endpoint::closed()).await;
    assert_eq!(deliver(&app, NOW).await.code(), "misconfigured");
    assert_eq!(app.bus.calls("PutEvents"), 0);
    app.bus.recover();
    assert_eq!(deliver(&app, NOW).await.status, 200, "created meanwhile");
}

#[tokio::test]
async fn a_name_that_no_bus_can_have() {
    let app = App::start().await;
    app.bus.always(LOOK, failed_call(400, "ValidationException"));
    let answer = deliver(&app, NOW + FRESH).await;
    assert_eq!((answer.status, answer.code()), (500, "misconfigured"));
    assert_eq!(app.records()[0]["error"], "there is no event bus `scalekit-events`");
    assert_eq!(warnings(&app), Vec::<Value>::new());
}

#[tokio::test]
async fn an_unclear_look_changes_nothing() {
    let looks = [
        ("denied", failed_call(400, "AccessDeniedException"), "AccessDeniedException (HTTP 400): it failed"),
        ("throttled", failed_call(400, "ThrottlingException"), "ThrottlingException (HTTP 400)"),
        ("a server error", Behaviour::Raw(500, Vec::new()), "an error without a code (HTTP 500)"),
        ("reset", Behaviour::Reset, ""),
        ("closed", Behaviour::Close, ""),
        ("hanging", Behaviour::Hang, "no answer in time"),
        ("half of an answer", Behaviour::HalfThenHang, "no answer in time"),
    ];
    join_all(looks.into_iter().map(async |(why, look, error)| {
        let app = App::start().await;
        app.bus.always(LOOK, look.clone());
        let (begun, lag) = (Instant::now(), Lag::measure());
        assert_eq!(deliver(&app, NOW + FRESH).await.status, 200, "{why}");
        let took = begun.elapsed();
        assert!(took < lag.and(Duration::from_millis(1_200)), "{why}: {took:?}, {lag:?}");
        // What is denied stays so; the rest may pass, and is looked at again soon.
        let again = if why == "denied" { FRESH } else { 10 };
        let looked = app.bus.calls(LOOK);
        assert_eq!(deliver(&app, NOW + FRESH + again - 1).await.status, 200, "{why}");
        assert_eq!(app.bus.calls(LOOK), looked, "{why}: not tried again at once");

        let warnings = warnings(&app);
        let [warning] = warnings.as_slice() else { panic!("{why}: one warning, not {warnings:?}") };
        assert_eq!(warning["level"], "WARN", "{why}");
        assert_eq!(warning["message"], "could not look whether the bus exists", "{why}");
        let told = warning["error"].as_str().unwrap();
        assert!(told.starts_with(&format!("DescribeEventBus: {error}")), "{why}: {told}");

        // A bus that is known to be missing isn't found by it either.
        app.bus.always(LOOK, missing());
        assert_eq!(deliver(&app, NOW + FRESH + again).await.code(), "misconfigured", "{why}");
        app.bus.always(LOOK, look);
        assert_eq!(deliver(&app, NOW + FRESH + again).await.code(), "misconfigured", "{why}");
    }))
    .await;
}

#[tokio::test]
async fn a_look_leaves_room_for_the_answer() {
    let left = Duration::from_millis(800);
    for (why, before, status) in
        [("found before", Behaviour::Slow(Duration::ZERO), 200), ("missing before", missing(), 500)]
    {
        let app = App::start().await;
        app.bus.always(LOOK, before);
        deliver(&app, NOW + FRESH).await;
        app.bus.always(LOOK, Behaviour::Hang);
        let (begun, lag) = (Instant::now(), Lag::measure());
        assert_eq!(deliver_within(&app, NOW + 2 * FRESH, left).await.status, status, "{why}");
        let took = begun.elapsed();
        assert!(took < lag.and(left), "{why}: {took:?}, {lag:?}");
    }
}
