//! Tests several deliveries at once in one environment. Those that are ready at the same time share calls. What happens to
//! one entry of a call must not change the results of the others.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    support::app::{
        Answer, App, MAX_BYTES, NOW, at, body_of, body_of_entry, calls, context, in_order, read, signed, taken,
    },
    support::endpoint::{Behaviour, Recorded, event_id, failed_call},
};

/// Delivers these events at the same time.
async fn deliver_all(app: &App, bodies: impl IntoIterator<Item = String>) -> Vec<Answer> {
    join_all(bodies.into_iter().map(async |body| app.deliver(&signed(body).function_url()).await)).await
}

/// The bodies of events whose ids are `evt_1` to `evt_{count}`.
fn bodies(count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(|number| body_of(&format!("evt_{number}")))
}

/// The statuses of the answers, or the codes of the problems.
fn results(answers: &[Answer]) -> Vec<&str> {
    answers.iter().map(|answer| if answer.status == 200 { "200" } else { answer.code() }).collect()
}

/// The numbers of entries of the calls so far.
fn sizes(app: &App) -> Vec<usize> {
    calls(app).iter().map(Vec::len).collect()
}

fn contains(request: &Recorded, id: &str) -> bool {
    request.body["Entries"].as_array().unwrap().iter().any(|entry| event_id(entry) == id)
}

#[tokio::test]
async fn deliveries_share_calls_of_ten_entries() {
    let app = App::start().await;
    let answers = deliver_all(&app, bodies(14)).await;
    assert_eq!(results(&answers), ["200"; 14]);
    assert_eq!(sizes(&app), [10, 4]);
    // Each event is accepted once, and the log has the id that belongs to it.
    let ids = |events: Vec<Value>, event: &str, bus: &str| {
        in_order(events.iter().map(|line| format!("{} {}", line[event], line[bus])).collect())
    };
    let accepted = app.bus.taken().into_iter().map(|taken| json!({"event": event_id(&taken.what), "bus": taken.id}));
    assert_eq!(ids(app.records(), "event_id", "bus_event_id"), ids(accepted.collect(), "event", "bus"));
}

#[tokio::test]
async fn one_delivery_at_a_time_has_a_call_to_itself() {
    let app = App::start().await;
    for body in bodies(3) {
        assert_eq!(results(&deliver_all(&app, [body]).await), ["200"]);
    }
    assert_eq!(sizes(&app), [1, 1, 1]);
}

#[tokio::test]
async fn no_shared_call_exceeds_the_size_limit() {
    for (second, expected) in [(MAX_BYTES - 600_000, vec![2]), (MAX_BYTES - 600_000 + 1, vec![1, 1])] {
        let app = App::start().await;
        let bodies = [600_000, second].map(|bytes| body_of_entry("evt_1", bytes));
        assert_eq!(results(&deliver_all(&app, bodies).await), ["200"; 2]);
        assert_eq!(sizes(&app), expected);
    }
}

#[tokio::test]
async fn an_entry_that_fails_changes_no_other_result() {
    for (code, problem) in [("MalformedDetail", "refused-by-bus"), ("AccessDeniedException", "misconfigured")] {
        let app = App::start().await;
        app.bus.always("PutEvents", Behaviour::Fail(vec![("evt_3".into(), code)]));
        let answers = deliver_all(&app, bodies(4)).await;
        assert_eq!(results(&answers), ["200", "200", problem, "200"], "{code}");
        assert_eq!(sizes(&app), [4], "{code}");
    }
}

#[tokio::test]
async fn only_the_entries_that_were_throttled_are_sent_again_in_one_call() {
    let app = App::start().await;
    let throttled = ["evt_2", "evt_3"].map(|id| (id.to_owned(), "ThrottlingException"));
    app.bus.once("PutEvents", Behaviour::Fail(throttled.into()));
    assert_eq!(results(&deliver_all(&app, bodies(4)).await), ["200"; 4]);
    assert_eq!(calls(&app), [vec!["evt_1", "evt_2", "evt_3", "evt_4"], vec!["evt_2", "evt_3"]]);
    assert_eq!(taken(&app), ["evt_1", "evt_4", "evt_2", "evt_3"]);
}

#[tokio::test]
async fn a_call_that_fails_permanently_because_of_one_entry_is_repeated_for_each_entry() {
    for (code, problem) in [("ValidationException", "refused-by-bus"), ("AccessDeniedException", "misconfigured")] {
        let app = App::start().await;
        app.bus.plan("PutEvents", move |request| contains(request, "evt_3").then(|| failed_call(400, code)));
        let answers = deliver_all(&app, bodies(4)).await;
        assert_eq!(results(&answers), ["200", "200", problem, "200"], "{code}");
        assert_eq!(in_order(taken(&app)), ["evt_1", "evt_2", "evt_4"], "{code}");
        assert_eq!(sizes(&app), [4, 1, 1, 1, 1], "{code}");
    }
}

#[tokio::test]
async fn a_call_with_one_entry_that_fails_permanently_is_not_repeated() {
    for (code, problem) in [("ValidationException", "refused-by-bus"), ("AccessDeniedException", "misconfigured")] {
        let app = App::start().await;
        app.bus.always("PutEvents", failed_call(400, code));
        assert_eq!(results(&deliver_all(&app, bodies(1)).await), [problem], "{code}");
        assert_eq!(sizes(&app), [1], "{code}");
    }
}

#[tokio::test]
async fn a_shared_call_counts_as_an_attempt_of_each_of_its_entries() {
    let app = App::start().await;
    app.bus.plan("PutEvents", |request| contains(request, "evt_3").then(|| failed_call(500, "InternalException")));
    assert_eq!(results(&deliver_all(&app, bodies(4)).await), ["200", "200", "bus-unavailable", "200"]);
    assert_eq!(sizes(&app), [4, 1, 1, 1, 1, 1, 1, 1]);
    assert_eq!(calls(&app).concat().iter().filter(|id| *id == "evt_3").count(), 5);
    assert_eq!(in_order(taken(&app)), ["evt_1", "evt_2", "evt_4"]);
}

/// A call belongs to none of its deliveries, so the one whose time is over first doesn't end it for the others.
#[tokio::test]
async fn the_end_of_one_delivery_does_not_end_the_others() {
    let app = App::start().await;
    app.bus.always("PutEvents", Behaviour::Slow(Duration::from_millis(1_500)));
    let answers = join_all((1..=64).map(async |number| {
        let left = Duration::from_secs(if number % 10 == 2 { 1 } else { 10 });
        let delivery = signed(body_of(&format!("evt_{number}"))).function_url();
        read(&app.invoke_with(&delivery, context(at(NOW), left), at(NOW)).await.unwrap())
    }))
    .await;
    for (number, result) in (1..).zip(results(&answers)) {
        assert_eq!(result, if number % 10 == 2 { "bus-unavailable" } else { "200" }, "delivery {number}");
    }
    assert_eq!(sizes(&app), [10, 10, 10, 10, 10, 10, 4], "nothing is sent twice");
}
