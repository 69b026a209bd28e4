//! Tests what a failing bus changes for the deliveries and parked messages that have nothing to do with the failure. None
//! of them may be parked, refused, repeated or slowed down because of another one's event.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use test_support::SignedDelivery;
use tokio::time::sleep;

use crate::{
    support::app::{Answer, App, BODY, NOW, at, batch, body_of, calls, context, in_order, key, message, read, taken},
    support::endpoint::{Behaviour, Recorded, event_id, failed_call, failed_entry},
};

fn messages(count: usize) -> Vec<Value> {
    (1..=count).map(|n| message(&format!("m{n}"), &body_of(&format!("evt_{n}")), None)).collect()
}

/// The ids of the messages that a reply leaves in the queue.
fn left(reply: &Value) -> Vec<String> {
    let failures = reply["batchItemFailures"].as_array().unwrap();
    failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
}

fn contains(request: &Recorded, id: &str) -> bool {
    request.body["Entries"].as_array().unwrap().iter().any(|entry| event_id(entry) == id)
}

/// Sends a delivery at this second. The invocation has this time until its deadline.
async fn deliver_within(app: &App, seconds: u64, left: Duration) -> Answer {
    let now = at(NOW + seconds);
    let delivery = SignedDelivery::new(&key(), "msg_1", NOW + seconds, BODY.as_bytes()).function_url();
    read(&app.invoke_with(&delivery, context(now, left), now).await.unwrap())
}

async fn deliver(app: &App, seconds: u64) -> Answer {
    deliver_within(app, seconds, Duration::from_secs(10)).await
}

/// The outcomes in the log.
fn outcomes(app: &App) -> Vec<Value> {
    app.records().iter().map(|record| record["outcome"].clone()).collect()
}

/// Makes the bus fail until the circuit breaker is open.
async fn open_breaker(app: &App) {
    app.bus.always("PutEvents", failed_call(503, "ServiceUnavailable"));
    deliver(app, 0).await;
    app.bus.recover();
    app.forget();
}

#[tokio::test]
async fn a_parked_message_that_makes_its_calls_fail_does_not_hold_up_the_others() {
    join_all(
        [
            ("a serialization error", failed_call(400, "SerializationException")),
            ("an internal error", failed_call(500, "InternalException")),
            ("a request that is too large", Behaviour::Raw(413, Vec::new())),
            ("no answer", Behaviour::Hang),
            ("a closed connection", Behaviour::Close),
        ]
        .map(async |(why, behaviour)| {
            let app = App::with_queues().await;
            app.bus.plan("PutEvents", move |request| contains(request, "evt_3").then(|| behaviour.clone()));
            assert_eq!(left(&app.invoke(&batch(&messages(10))).await.unwrap()), ["m3"], "{why}");
            let others = (1..=10).filter(|n| *n != 3).map(|n| format!("evt_{n}")).collect();
            assert_eq!(in_order(taken(&app)), in_order(others), "{why}: each of the others is forwarded once");
        }),
    )
    .await;
}

#[tokio::test]
async fn entries_that_were_throttled_stay_together() {
    let app = App::with_queues().await;
    for _ in 0..3 {
        app.bus.once("PutEvents", failed_call(400, "ThrottlingException"));
    }
    assert_eq!(left(&app.invoke(&batch(&messages(10))).await.unwrap()), [""; 0]);
    assert_eq!(calls(&app).iter().map(Vec::len).collect::<Vec<_>>(), [10; 4]);
}

#[tokio::test]
async fn attempts_that_are_throttled_count_for_a_delivery_but_not_for_a_parked_message() {
    let app = App::with_queues().await;
    let throttle_five_calls = || {
        for _ in 0..5 {
            app.bus.once("PutEvents", failed_call(400, "ThrottlingException"));
        }
    };
    throttle_five_calls();
    assert_eq!(left(&app.invoke(&batch(&messages(1))).await.unwrap()), [""; 0]);
    assert_eq!(app.bus.calls("PutEvents"), 6);
    throttle_five_calls();
    assert_eq!(deliver(&app, 0).await.status, 200);
    assert_eq!(app.bus.calls("PutEvents"), 11);
    assert_eq!(outcomes(&app), ["forwarded", "parked"]);
}

#[tokio::test]
async fn a_delivery_that_cannot_be_parked_tries_the_bus() {
    let app = App::with_queues().await;
    open_breaker(&app).await;
    app.queue.always("SendMessage", failed_call(403, "AccessDeniedException"));
    assert_eq!(deliver(&app, 2).await.status, 200);
    assert_eq!(outcomes(&app), ["forwarded"]);

    // If the bus still fails, both errors are logged.
    open_breaker(&app).await;
    app.bus.always("PutEvents", failed_call(503, "ServiceUnavailable"));
    let answer = deliver(&app, 2).await;
    assert_eq!((answer.status, answer.code()), (503, "bus-unavailable"));
    assert_eq!(
        app.records()[0]["error"],
        "PutEvents: ServiceUnavailable (HTTP 503); parking the event failed, too: SendMessage: AccessDeniedException \
         (HTTP 403): it failed"
    );
    assert_eq!(app.bus.calls("PutEvents"), 5, "the breaker doesn't refuse it again");
}

#[tokio::test]
async fn a_slow_bus_closes_the_breaker() {
    let app = App::with_queues().await;
    open_breaker(&app).await;
    app.bus.always("PutEvents", Behaviour::Slow(Duration::from_millis(2_200)));
    deliver(&app, 10).await;
    deliver(&app, 12).await;
    assert_eq!(outcomes(&app), ["forwarded"; 2]);
    assert_eq!(taken(&app).len(), 2, "no event is put twice");
}

#[tokio::test]
async fn a_delivery_with_little_time_left_opens_nothing() {
    let app = App::with_queues().await;
    app.bus.always("PutEvents", Behaviour::Slow(Duration::from_millis(100)));
    for _ in 0..10 {
        deliver_within(&app, 0, Duration::from_millis(400)).await;
    }
    app.forget();
    for _ in 0..3 {
        deliver(&app, 1).await;
    }
    assert_eq!(outcomes(&app), ["forwarded"; 3]);
}

#[tokio::test]
async fn the_error_of_one_entry_says_nothing_about_the_bus() {
    // Deliveries with an entry's own error don't open the breaker.
    let app = App::with_queues().await;
    app.bus.always("PutEvents", failed_entry("NeverHeardOf"));
    for _ in 0..2 {
        deliver(&app, 0).await;
    }
    app.bus.recover();
    deliver(&app, 0).await;
    assert_eq!(outcomes(&app), ["parked", "parked", "forwarded"]);

    // In a batch, such an error doesn't lower the number of calls at once.
    let app = App::with_queues().await;
    app.bus.always("PutEvents", Behaviour::Fail(vec![("evt_3".into(), "NeverHeardOf")]));
    assert_eq!(left(&app.invoke(&batch(&messages(10))).await.unwrap()), ["m3"]);
    assert_eq!(calls_at_once(&app, async { drop(app.invoke(&batch(&messages(100))).await.unwrap()) }).await, 10);
}

/// The number of calls that are made at once while these invocations run.
async fn calls_at_once(app: &App, invocations: impl Future<Output = ()>) -> usize {
    app.forget();
    app.bus.always("PutEvents", Behaviour::Slow(Duration::from_secs(1)));
    let count = async {
        sleep(Duration::from_millis(700)).await;
        app.bus.calls("PutEvents")
    };
    tokio::join!(invocations, count).1
}

#[tokio::test]
async fn several_batches_share_the_pace() {
    let app = App::with_queues().await;
    let batches = async {
        for reply in join_all((0..8).map(|_| async { app.invoke(&batch(&messages(30))).await.unwrap() })).await {
            assert_eq!(left(&reply), [""; 0]);
        }
    };
    assert_eq!(calls_at_once(&app, batches).await, 10);
}

#[tokio::test]
async fn a_delivery_does_not_wait_for_parked_messages_or_their_calls() {
    let app = App::with_queues().await;
    // As many as ten calls take, and ten more, before which the delivery goes.
    let parked = batch(&messages(110));
    let invocations = async {
        let delivery = async {
            sleep(Duration::from_millis(300)).await;
            assert_eq!(deliver(&app, 0).await.status, 200);
        };
        tokio::join!(app.invoke(&parked), delivery).0.unwrap();
    };
    assert_eq!(calls_at_once(&app, invocations).await, 11);
}

#[tokio::test]
async fn a_missing_bus_is_checked_once_and_the_others_are_parked_at_once() {
    for check in [failed_call(400, "ResourceNotFoundException"), failed_call(400, "ThrottlingException")] {
        let app = App::with_queues().await;
        app.bus.always("DescribeEventBus", failed_call(400, "ResourceNotFoundException"));
        deliver(&app, 301).await;
        app.forget();

        app.bus.always("DescribeEventBus", check.clone());
        let begun = Instant::now();
        join_all((0..200).map(|_| deliver(&app, 312))).await;
        assert!(begun.elapsed() < Duration::from_secs(5), "they must not wait one after the other");
        assert_eq!(outcomes(&app), ["parked"; 200]);
        assert!(app.bus.calls("DescribeEventBus") <= 5, "there is one check, with its retries: {check:?}");
        let warnings = app.lines().iter().filter(|line| line.get("outcome").is_none()).count();
        assert!(warnings <= 1, "{warnings} warnings");
        assert_eq!(app.bus.calls("PutEvents"), 0);
    }
}

#[tokio::test]
async fn a_delivery_that_began_before_the_last_failure_is_parked_without_a_call() {
    let app = App::with_queues().await;
    app.bus.always("PutEvents", failed_call(503, "ServiceUnavailable"));
    deliver(&app, 2).await;
    app.forget();
    deliver(&app, 1).await;
    assert_eq!((outcomes(&app), app.bus.calls("PutEvents")), (vec![json!("parked")], 0));
}

#[tokio::test]
async fn a_failing_bus_gets_few_calls_for_a_batch() {
    let app = App::with_queues().await;
    app.bus.always("PutEvents", failed_call(503, "ServiceUnavailable"));
    for expected in [46, 20] {
        let begun = Instant::now();
        let reply = app.invoke(&batch(&messages(100))).await.unwrap();
        assert_eq!(left(&reply).len(), 100);
        assert!(app.bus.calls("PutEvents") <= expected, "{} calls", app.bus.calls("PutEvents"));
        assert!(begun.elapsed() >= Duration::from_secs(2), "a batch that fails at once would soon come back");
        app.forget();
    }
    app.bus.recover();
    assert_eq!(left(&app.invoke(&batch(&messages(100))).await.unwrap()), [""; 0]);
    assert_eq!(app.bus.calls("PutEvents"), 10, "the first batch after the outage shares calls again");
    assert_eq!(calls_at_once(&app, async { drop(app.invoke(&batch(&messages(100))).await.unwrap()) }).await, 10);
}

/// Nothing else happens meanwhile that could make the function look at the message again.
#[tokio::test]
async fn a_parked_message_is_forwarded_when_the_pause_after_a_failure_is_over() {
    let app = App::with_queues().await;
    open_breaker(&app).await;
    assert_eq!(left(&app.invoke(&batch(&messages(1))).await.unwrap()), [""; 0]);
}

/// Lambda freezes the process when all invocations have their responses.
#[tokio::test]
async fn no_call_is_in_flight_after_the_response() {
    let app = App::with_queues().await;
    app.bus.always("PutEvents", Behaviour::Hang);
    for left in [2_000, 900, 500] {
        deliver_within(&app, 0, Duration::from_millis(left)).await;
        // The connection is closed, because its call was dropped.
        sleep(Duration::from_millis(50)).await;
        assert_eq!(app.bus.open_connections(), 0, "{left} ms");
    }
}

#[tokio::test]
async fn a_connection_that_died_before_the_first_call_is_no_failure_of_the_bus() {
    let app = App::with_queues().await;
    // The first call finds the dead connection, and four fail after it.
    for _ in 0..5 {
        app.bus.once("PutEvents", Behaviour::Close);
    }
    deliver(&app, 0).await;
    deliver(&app, 0).await;
    assert_eq!(outcomes(&app), ["parked", "forwarded"]);
}

#[tokio::test]
async fn a_connection_that_died_while_the_process_was_frozen_is_no_failure_of_the_bus() {
    let app = App::with_queues().await;
    let lost = || Behaviour::Close;
    // Four calls fail, and then a call after the process was frozen, which would be the fifth.
    for _ in 0..4 {
        app.bus.once("PutEvents", lost());
    }
    assert_eq!(deliver(&app, 0).await.status, 200);
    for seconds in [60, 120, 180, 240, 290] {
        app.bus.once("PutEvents", lost());
        deliver(&app, seconds).await;
    }
    assert_eq!(outcomes(&app), ["forwarded"; 6]);
    assert_eq!(app.bus.calls("PutEvents"), 5 + 5 * 2);
}
