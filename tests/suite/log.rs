//! Tests of the line that is logged for each delivery. The names of its fields are part of the product. Of the event, the
//! line contains only what these fields hold.

use scalekit_eventbridge::log::Format;
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

use test_support::SignedDelivery;

use crate::{
    support::app::{App, BODY, NOW, batch, key, message, signed},
    support::endpoint::{failed_call, failed_entry},
};

/// The only line of the log, without `timestamp`, `duration_ms` and `request_id`, which are checked here.
#[track_caller]
fn line(app: &App) -> Value {
    let lines = app.lines();
    let [line] = lines.as_slice() else { panic!("expected one line: {lines:?}") };
    let mut line = line.clone();
    let line = line.as_object_mut().unwrap();
    let timestamp = line.remove("timestamp").unwrap();
    assert!(scalekit_events::timestamp::parse(timestamp.as_str().unwrap()).is_some(), "{timestamp}");
    assert!(line.remove("duration_ms").unwrap().as_f64().unwrap() > 0.0);
    assert_eq!(line.remove("request_id").unwrap(), "8476a536-e9f4-11e8-9739-2dfe598c3fcd");
    Value::Object(line.clone())
}

#[tokio::test]
async fn a_forwarded_delivery_is_logged_with_its_event() {
    let app = App::start().await;
    app.deliver(&signed(BODY).function_url()).await;
    assert_eq!(
        line(&app),
        json!({
            "level": "INFO",
            "outcome": "forwarded",
            "trigger": "http",
            "status": 200,
            "authentic": true,
            "webhook_id": "msg_2aXyZ",
            "event_id": "evt_94568078213382471",
            "type": "organization.sso_enabled",
            "object": "Connection",
            "environment_id": "env_74418471961625391",
            "organization_id": "org_83544995172188677",
            "catalogued": true,
            "bus_event_id": "00000000-0000-4000-8000-000000000001",
        })
    );
}

#[tokio::test]
async fn an_event_outside_the_catalogue_is_marked_in_the_log_only() {
    for (member, value) in [("type", "passkey.registered"), ("object", "Passkey")] {
        let app = App::start().await;
        let mut event: Value = serde_json::from_str(BODY).unwrap();
        event[member] = json!(value);
        assert_eq!(app.deliver(&signed(event.to_string()).function_url()).await.status, 200);
        let line = line(&app);
        assert_eq!((&line["catalogued"], &line[member]), (&json!(false), &json!(value)));
        assert_eq!(app.bus.entries()[0]["Detail"], json!(event.to_string()), "the event on the bus is unchanged");
    }
}

#[tokio::test]
async fn drift_is_logged_as_pointers() {
    for (changes, drift) in [
        // The real sender writes an empty display name, which Scalekit's documentation rules out.
        (json!({"display_name": ""}), "/display_name"),
        (json!({"organization_id": null}), "/organization_id"),
        (json!({"data": null}), "/data"),
        (
            json!({"data": {"id": "94567862424830277", "organization_id": null, "enabled": "secret", "new": {"a": []}}}),
            "/data/enabled /data/id /data/organization_id",
        ),
        (
            json!({
                "id": format!("evt_{}", "1".repeat(29)),
                "environment_id": format!("env_{}", "1".repeat(29)),
                "organization_id": "",
                "display_name": "secret ".repeat(29),
                "data": {"id": "secret", "organization_id": "org_1"},
            }),
            "/id /environment_id /organization_id /display_name /data/id",
        ),
    ] {
        let mut event: Value = serde_json::from_str(BODY).unwrap();
        event.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let body = event.to_string();

        let app = App::with_queues().await;
        assert_eq!(app.deliver(&signed(&body).function_url()).await.status, 200, "{changes}");
        let delivered = line(&app);
        assert_eq!(delivered["drift"], drift);
        assert_eq!((&delivered["level"], &delivered["outcome"]), (&json!("INFO"), &json!("forwarded")));
        assert_eq!(app.bus.entries()[0]["Detail"], json!(body), "the event on the bus is unchanged");
        assert!(!app.log().contains("secret"), "{}", app.log());

        app.invoke(&batch(&[message("059f36b4-87a3-44ab-83d2-661975830a7d", &body, None)])).await.unwrap();
        let parked = &app.lines()[1];
        for field in ["drift", "event_id", "environment_id", "organization_id"] {
            assert_eq!(parked.get(field), delivered.get(field), "{field} of a parked event: {parked}");
        }
        assert_eq!(parked["trigger"], "queue");
    }
}

#[tokio::test]
async fn an_unusual_id_is_logged_shortened_and_escaped() {
    let long = |prefix: &str| format!("{prefix}3f2504e0-4f89-11d3-9a0c-0305e82c3301");
    for (field, member, id, logged) in [
        ("event_id", "id", &*format!("evt_{}", "1".repeat(28)), &*format!("evt_{}", "1".repeat(28))),
        ("event_id", "id", &long("evt_"), "evt_3f2504e0-4f8…"),
        (
            "event_id",
            "id",
            &format!("evt_\n\u{1b}[31m\"é😀{}", "x".repeat(1000)),
            r#"evt_\n\u{1b}[31m\"\u{e9}\u{1f600}xxx…"#,
        ),
        ("environment_id", "environment_id", &long("env_"), "env_3f2504e0-4f8…"),
        ("organization_id", "organization_id", &long("org_"), "org_3f2504e0-4f8…"),
        ("organization_id", "organization_id", "Acme", "Ac…"),
        ("organization_id", "organization_id", "A", "…"),
        ("organization_id", "organization_id", "", "…"),
    ] {
        let app = App::start().await;
        let mut event: Value = serde_json::from_str(BODY).unwrap();
        event[member] = json!(id);
        assert_eq!(app.deliver(&signed(event.to_string()).function_url()).await.status, 200, "{id}");
        assert_eq!(line(&app)[field], json!(logged), "{id}");
    }
    // A value that isn't a string is no id.
    for value in [json!(null), json!(7), json!({"name": "secret"})] {
        let app = App::start().await;
        let mut event: Value = serde_json::from_str(BODY).unwrap();
        event["organization_id"] = value;
        app.deliver(&signed(event.to_string()).function_url()).await;
        assert_eq!((line(&app).get("organization_id"), &line(&app)["drift"]), (None, &json!("/organization_id")));
        assert!(!app.log().contains("secret"), "{}", app.log());
    }
}

#[tokio::test]
async fn data_of_a_type_outside_the_catalogue_is_not_checked() {
    let mut event: Value = serde_json::from_str(BODY).unwrap();
    event["type"] = json!("passkey.registered");
    event["data"] = json!({"id": 1});
    let app = App::start().await;
    app.deliver(&signed(event.to_string()).function_url()).await;
    assert_eq!(line(&app).get("drift"), None);
}

#[tokio::test]
async fn a_refused_delivery_is_logged_as_a_warning_with_its_reason() {
    let app = App::start().await;
    app.deliver(&signed(BODY.replace("\"spec_version\": \"1\"", "\"spec_version\": \"one\"")).function_url()).await;
    assert_eq!(
        line(&app),
        json!({
            "level": "WARN",
            "outcome": "refused",
            "trigger": "http",
            "status": 400,
            "problem": "contract-violation",
            "error": "/spec_version must be one or more digits",
            "authentic": true,
            "webhook_id": "msg_2aXyZ",
        })
    );
}

#[tokio::test]
async fn a_forged_delivery_is_logged_as_not_authentic() {
    let app = App::start().await;
    app.deliver(&SignedDelivery { body: b"{}".to_vec(), ..signed(BODY) }.function_url()).await;
    assert_eq!(
        line(&app),
        json!({
            "level": "WARN",
            "outcome": "refused",
            "trigger": "http",
            "status": 401,
            "problem": "invalid-signature",
            "error": "no signature matches",
            "authentic": false,
            "webhook_id": "msg_2aXyZ",
        })
    );
}

#[tokio::test]
async fn a_failed_delivery_is_logged_as_an_error() {
    let app = App::start().await;
    app.bus.always("PutEvents", failed_entry("AccessDeniedException"));
    app.deliver(&signed(BODY).function_url()).await;
    let line = line(&app);
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["outcome"], "failed");
    assert_eq!(line["problem"], "misconfigured");
    assert_eq!(line["error"], "PutEvents: the entry failed: AccessDeniedException");
    assert_eq!(line["event_id"], "evt_94568078213382471");
    assert_eq!(line.get("bus_event_id"), None);
}

#[tokio::test]
async fn the_message_of_a_service_is_not_logged_when_it_may_quote_the_event() {
    let app = App::start().await;
    app.bus.always("PutEvents", failed_call(400, "ValidationException"));
    app.deliver(&signed(BODY).function_url()).await;
    assert_eq!(line(&app)["error"], "PutEvents: ValidationException (HTTP 400)");
}

#[tokio::test]
async fn the_message_of_a_service_is_logged_when_it_is_about_a_permission_or_a_resource() {
    for code in ["AccessDeniedException", "KMSDisabledException", "KmsDisabled", "ResourceNotFoundException"] {
        let app = App::start().await;
        app.bus.always("PutEvents", failed_call(400, code));
        app.deliver(&signed(BODY).function_url()).await;
        assert_eq!(line(&app)["error"], json!(format!("PutEvents: {code} (HTTP 400): it failed")));
    }
}

#[tokio::test]
async fn the_webhook_id_of_an_unverified_delivery_is_logged_only_when_it_is_well_formed() {
    for (id, logged) in [("x".repeat(128), true), ("x".repeat(129), false), ("a b".into(), false), ("é".into(), false)]
    {
        let app = App::start().await;
        app.deliver(&SignedDelivery::new(&key(), &id, NOW - 301, BODY.as_bytes()).function_url()).await;
        assert_eq!(line(&app).get("webhook_id").is_some(), logged, "{id}");
    }
}

#[tokio::test]
async fn the_log_level_and_format_are_applied() {
    let refused = SignedDelivery { body: b"{}".to_vec(), ..signed(BODY) }.function_url();
    for (format, level, lines) in [
        (Format::Json, LevelFilter::TRACE, 2),
        (Format::Json, LevelFilter::INFO, 2),
        (Format::Json, LevelFilter::WARN, 1),
        (Format::Json, LevelFilter::ERROR, 0),
        (Format::Text, LevelFilter::INFO, 2),
        (Format::Text, LevelFilter::OFF, 0),
    ] {
        let app = App::with_log(format, level).await;
        app.deliver(&signed(BODY).function_url()).await;
        app.deliver(&refused).await;
        let log = app.log();
        assert_eq!(log.lines().count(), lines, "{format:?} {level}: {log}");
        match format {
            Format::Json => assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{log}"),
            Format::Text => assert!(log.lines().all(|line| line.contains(" outcome=\"")), "{log}"),
        }
    }
}
