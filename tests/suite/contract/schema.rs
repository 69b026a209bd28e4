//! Expresses the rules of the contract as JSON Schemas, so that the tests can compare our validation with that of another
//! library. The rules for `data` come from a copy of the catalogue that doesn't depend on the tables of our crates.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use jsonschema::{Validator, error::ValidationErrorKind};
use scalekit_eventbridge::event::Validation;
use scalekit_events::catalogue::{EventType, ObjectType};
use serde_json::{Value, json};

use super::published::{self, FAMILIES, Family};

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

/// What routing, de-duplication and ordering need.
static ESSENTIAL: LazyLock<Validator> = LazyLock::new(|| {
    validator(&json!({
        "type": "object",
        "required": ["spec_version", "id", "type", "object", "environment_id", "occurred_at"],
        "properties": {
            "spec_version": {"type": "string", "pattern": "^[0-9]+$"},
            "id": {"type": "string", "pattern": "^evt_"},
            "type": {"type": "string", "pattern": r"^[a-z0-9_]+(\.[a-z0-9_]+)+$", "maxLength": 128},
            "object": {"type": "string", "pattern": "^[A-Za-z0-9_]{1,64}$"},
            "environment_id": {"type": "string", "pattern": "^env_"},
            "occurred_at": {"type": "string", "format": "date-time"},
        },
    }))
});

/// What Scalekit publishes beyond that, for each family of event types, and for types outside the catalogue.
static PUBLISHED: LazyLock<BTreeMap<Option<&str>, Validator>> = LazyLock::new(|| {
    let families = FAMILIES.iter().map(|family| (Some(family.name), validator(&published(&data(family)))));
    families.chain([(None, validator(&published(&json!({"type": "object"}))))]).collect()
});

/// The lists of the catalogue.
static CATALOGUE: LazyLock<Validator> =
    LazyLock::new(|| validator(&json!({"properties": {"type": {"enum": types()}, "object": {"enum": objects()}}})));

fn published(data: &Value) -> Value {
    json!({
        "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": 32},
            "environment_id": {"type": "string", "minLength": 1, "maxLength": 32},
            "organization_id": {"type": "string", "minLength": 1, "maxLength": 32, "pattern": "^org_"},
            "display_name": {"type": "string", "minLength": 1, "maxLength": 200},
            "data": data,
        },
    })
}

fn data(family: &Family) -> Value {
    let member = |member: published::Member| {
        let rule = match member.kind {
            "date-time" => json!({"type": "string", "format": "date-time"}),
            prefix if member.is_id() => json!({"type": "string", "pattern": format!("^{prefix}")}),
            kind => json!({"type": kind}),
        };
        let rule = if member.required { rule } else { json!({"anyOf": [rule, {"type": "null"}]}) };
        (member.name.to_owned(), rule)
    };
    let required: Vec<_> = family.members().filter(|member| member.required).map(|member| member.name).collect();
    json!({"type": "object", "required": required, "properties": family.members().map(member).collect::<Value>()})
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(schema).unwrap()
}

/// The pointers of all invalid members. A missing member has the pointer that it would have if it were present.
fn faults(validator: &Validator, event: &Value) -> BTreeSet<String> {
    let pointer = |error: jsonschema::ValidationError<'_>| match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("{}/{}", error.instance_path(), property.as_str().unwrap())
        }
        _ => error.instance_path().to_string(),
    };
    validator.iter_errors(event).map(pointer).collect()
}

/// The pointers of the drift with which the event is forwarded, or of all violations because of which it is refused. A
/// schema only sees the last of several members with one name, so these members are given separately.
pub fn judge(event: &Value, repeated: &[&str], validation: Validation) -> Result<BTreeSet<String>, BTreeSet<String>> {
    // A repeated member has no value that could be right or wrong.
    let mut event = event.clone();
    event.as_object_mut().unwrap().retain(|name, _| !repeated.contains(&name.as_str()));
    let event_type = event["type"].as_str().filter(|event_type| types().contains(event_type));
    let family = event_type.map(|event_type| published::family(event_type).name);

    let mut violations = faults(&ESSENTIAL, &event);
    violations.extend(repeated.iter().map(|name| format!("/{name}")));
    let mut drift = faults(&PUBLISHED[&family], &event);
    if validation == Validation::Strict {
        violations.append(&mut drift);
        violations.append(&mut faults(&CATALOGUE, &event));
    }
    if violations.is_empty() { Ok(drift) } else { Err(violations) }
}

/// Whether the JSON Schema library accepts the text as a date-time.
pub fn is_date_time(text: &str) -> bool {
    static DATE_TIME: LazyLock<Validator> = LazyLock::new(|| {
        let schema = json!({"format": "date-time"});
        jsonschema::draft202012::options().should_validate_formats(true).build(&schema).unwrap()
    });
    DATE_TIME.is_valid(&json!(text))
}
