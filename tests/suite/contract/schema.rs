//! Expresses the rules of the contract as a JSON Schema, so that the tests can compare our validation with that of
//! another library.

use std::{collections::BTreeSet, sync::LazyLock};

use jsonschema::{Validator, error::ValidationErrorKind};
use scalekit_eventbridge::event::UnknownEvents;
use scalekit_events::catalogue::{EventType, ObjectType};
use serde_json::{Value, json};

/// The members that the contract has rules for.
pub const MEMBERS: [&str; 9] = [
    "spec_version",
    "id",
    "type",
    "object",
    "environment_id",
    "occurred_at",
    "organization_id",
    "display_name",
    "data",
];

/// The names of all known event types.
pub fn types() -> Vec<&'static str> {
    EventType::KNOWN.iter().map(EventType::as_str).collect()
}

/// The names of all known objects.
pub fn objects() -> Vec<&'static str> {
    ObjectType::KNOWN.iter().map(ObjectType::as_str).collect()
}

static OPEN: LazyLock<Validator> = LazyLock::new(|| {
    validator(
        &json!({"type": "string", "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)+$", "maxLength": 128}),
        &json!({"type": "string", "pattern": "^[A-Za-z0-9_]{1,64}$"}),
    )
});

static CLOSED: LazyLock<Validator> =
    LazyLock::new(|| validator(&json!({"enum": types()}), &json!({"enum": objects()})));

fn validator(event_type: &Value, object: &Value) -> Validator {
    let identifier = |pattern| json!({"type": "string", "minLength": 1, "maxLength": 32, "pattern": pattern});
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["spec_version", "id", "type", "object", "environment_id", "occurred_at"],
        "properties": {
            "spec_version": {"type": "string", "pattern": "^[0-9]+$"},
            "id": identifier("^evt_"),
            "type": event_type,
            "object": object,
            "environment_id": identifier("^env_"),
            "occurred_at": {"type": "string", "format": "date-time"},
            "organization_id": identifier("^org_"),
            "display_name": {"type": "string", "minLength": 1, "maxLength": 200},
            "data": {"type": "object"},
        },
    });
    jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
}

/// The pointers of all invalid members. A missing member has the pointer that it would have if it were present.
pub fn faults(event: &Value, unknown: UnknownEvents) -> BTreeSet<String> {
    let validator = match unknown {
        UnknownEvents::Forward => &OPEN,
        UnknownEvents::Reject => &CLOSED,
    };
    let pointer = |error: jsonschema::ValidationError<'_>| match error.kind() {
        ValidationErrorKind::Required { property } => format!("/{}", property.as_str().unwrap()),
        _ => error.instance_path().to_string(),
    };
    validator.iter_errors(event).map(pointer).collect()
}

/// Whether the JSON Schema library accepts the text as a date-time.
pub fn is_date_time(text: &str) -> bool {
    static DATE_TIME: LazyLock<Validator> = LazyLock::new(|| {
        let schema = json!({"format": "date-time"});
        jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
    });
    DATE_TIME.is_valid(&json!(text))
}
