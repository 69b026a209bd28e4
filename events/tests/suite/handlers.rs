//! The Rust handlers of the page `types.md`: what they do with events and with batches.

use lambda_runtime::Error;
use scalekit_events::catalogue::EventType;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::samples::{delivered, folder};

#[expect(dead_code, reason = "its `main` runs only as a program")]
#[path = "../../examples/handlers.rs"]
mod recipe;

/// Reads the input of a handler as Lambda's runtime does.
fn read<T: DeserializeOwned>(input: &Value) -> Result<T, serde_json::Error> {
    serde_json::from_str(&input.to_string())
}

/// Returns what the handler for events logs.
fn consume(event: &Value) -> Result<String, Error> {
    recipe::consume(read(event)?)
}

/// Returns the ids of the failed messages of a batch, whose messages have the ids 0, 1, and so on.
fn failures(bodies: &[Value]) -> Vec<String> {
    let message = |(index, body): (usize, &Value)| {
        let body = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        json!({"messageId": index.to_string(), "body": body})
    };
    let batch = json!({"Records": bodies.iter().enumerate().map(message).collect::<Vec<_>>()});
    let response = recipe::handle_batch(read(&batch).unwrap());
    response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
}

/// An event of a handled type, after a change of its detail.
fn changed(change: impl Fn(&mut Value)) -> Value {
    let mut event = delivered(&EventType::SsoEnabled);
    change(&mut event["detail"]);
    event
}

/// Events of a handled type that can't be handled, by description.
fn poison() -> [(&'static str, Value); 4] {
    [
        ("without data", changed(|detail| drop(detail.as_object_mut().unwrap().remove("data")))),
        ("without a required member", changed(|detail| drop(detail["data"].as_object_mut().unwrap().remove("id")))),
        ("a required member is null", changed(|detail| detail["data"]["id"] = json!(null))),
        (
            "the detail of another type",
            changed(|detail| *detail = delivered(&EventType::DirectoryEnabled)["detail"].clone()),
        ),
    ]
}

#[test]
fn the_page_has_these_handlers() {
    let page = std::fs::read_to_string(folder().join("types.md")).unwrap();
    let handlers = std::fs::read_to_string(folder().join("examples/handlers.rs")).unwrap();
    assert!(page.contains(&format!("```rust\n{handlers}```\n")), "types.md differs from examples/handlers.rs");
}

#[test]
fn an_event_is_handled_or_ignored_according_to_its_type() {
    for event_type in EventType::KNOWN {
        let event = delivered(event_type);
        let id = event["detail"]["data"]["id"].as_str();
        let expected = match event_type.as_str() {
            "organization.sso_enabled" => format!("live {}", id.unwrap()),
            "organization.directory.user_deleted" => format!("removed {}", id.unwrap()),
            other => format!("ignored {other}"),
        };
        assert_eq!(consume(&event).unwrap(), expected);
        assert_eq!(failures(&[event]), [""; 0]);
    }
    let mut unknown = delivered(&EventType::SsoEnabled);
    unknown["detail-type"] = json!("organization.sso_paused");
    unknown["detail"] = json!({"new": 1});
    assert_eq!(consume(&unknown).unwrap(), "ignored organization.sso_paused");
}

#[test]
fn an_event_that_cannot_be_parsed_fails_alone() {
    let good = delivered(&EventType::SsoEnabled);
    for (description, event) in poison() {
        assert!(consume(&event).is_err(), "{description}");
        assert_eq!(failures(&[good.clone(), event, good.clone()]), ["1"], "{description}");
    }
    assert_eq!(failures(&[json!("not JSON"), good]), ["0"]);
}

#[test]
fn an_error_contains_no_values() {
    let wrong_type = |member: &str, value: Value| changed(|detail| detail[member] = value.clone()).to_string();
    for body in [
        "Lovelace is not JSON".to_owned(),
        json!("Lovelace").to_string(),
        wrong_type("data", json!("Lovelace")),
        wrong_type("data", json!({"id": {"name": "Lovelace"}})),
        wrong_type("display_name", json!(15_550_100)),
    ] {
        let error = recipe::consume_body(&body).unwrap_err().to_string();
        assert!(!error.contains("Lovelace") && !error.contains("15550100"), "{error}");
    }
}

#[test]
fn the_wrong_shape_is_an_error() {
    let event = delivered(&EventType::SsoEnabled);
    let batch = json!({"Records": [{"messageId": "0", "body": event.to_string()}]});
    assert!(consume(&batch).is_err());
    assert!(read::<aws_lambda_events::sqs::SqsEvent>(&event).is_err());
    assert_eq!(failures(&[batch]), ["0"], "a batch in a batch");
}
