//! The JSON Schema, OpenAPI and AsyncAPI documents: they accept the events that the catalogue allows and no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::LazyLock,
};

use chrono::Timelike;
use jsonschema::{Draft, Validator};
use scalekit_events::{catalogue::EventType, schemas, timestamp};
use serde_json::{Value, json};

use crate::support::samples::{Deviation, changes, delivered, deviations, eventbridge_event, folder, samples};

static FILES: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
    let examples = EventType::KNOWN.iter().map(|event_type| (event_type.to_string(), delivered(event_type)));
    schemas::files(&examples.collect())
});

/// The validators of each event type, one for each document that describes it.
static VALIDATORS: LazyLock<BTreeMap<&str, Vec<Validator>>> = LazyLock::new(|| validators(|_| {}));

/// Returns the validators of each event type, after changing the documents.
fn validators(change: impl Fn(&mut Value)) -> BTreeMap<&'static str, Vec<Validator>> {
    let read = |name: &str| {
        let mut document = document(name);
        change(&mut document);
        document
    };
    let (mut bundle, async_api) = (read("scalekit.schema.json"), read("asyncapi.json"));
    bundle.as_object_mut().unwrap().remove("oneOf");
    let components = &async_api["components"];
    let mut messages = json!({"components": {"schemas": components["schemas"]}});
    let mut validators = BTreeMap::new();
    for event_type in EventType::KNOWN {
        let title = schemas::title(event_type);
        bundle["$ref"] = json!(format!("#/$defs/{title}Event"));
        // `allOf`, because a reference replaces the keywords beside it in draft 7.
        messages["allOf"] = json!([components["messages"][event_type.as_str()]["payload"]]);
        let mut open_api = read(&format!("schemas/{event_type}.openapi.json"));
        translate_nullable(&mut open_api);
        open_api["$ref"] = json!("#/components/schemas/AWSEvent");
        validators.insert(
            event_type.as_str(),
            vec![
                validator(Draft::Draft202012, &read(&format!("schemas/{event_type}.schema.json"))),
                validator(Draft::Draft202012, &bundle),
                validator(Draft::Draft202012, &open_api),
                validator(Draft::Draft7, &messages),
            ],
        );
    }
    validators
}

fn document(name: &str) -> Value {
    serde_json::from_str(&FILES[name]).unwrap()
}

fn validator(draft: Draft, schema: &Value) -> Validator {
    jsonschema::options().with_draft(draft).should_validate_formats(true).build(schema).unwrap()
}

/// Translates `nullable` from OpenAPI to JSON Schema.
fn translate_nullable(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.values_mut().for_each(translate_nullable);
            if members.remove("nullable") == Some(json!(true)) {
                let schema = Value::Object(std::mem::take(members));
                members.insert("anyOf".into(), json!([schema, {"type": "null"}]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(translate_nullable),
        _ => {}
    }
}

#[test]
fn the_committed_files_are_up_to_date() {
    for (name, text) in &*FILES {
        let committed = fs::read_to_string(folder().join(name)).unwrap_or_default();
        assert!(committed == *text, "{name} is out of date: run `make schemas`");
    }
    let committed = fs::read_dir(folder().join("schemas")).unwrap().count();
    assert_eq!(committed, 2 * EventType::KNOWN.len(), "`make schemas` writes other files than schemas/ contains");
}

#[test]
fn a_delivered_event_is_a_sample_in_the_envelope_of_eventbridge() {
    let mut ids = BTreeSet::new();
    for (event_type, sample) in samples() {
        let event = delivered(&event_type);
        assert_eq!(event["detail"], sample, "{event_type}");
        assert_eq!((&event["detail-type"], &event["source"]), (&json!(event_type), &json!("scalekit")));
        let instant = |time: &Value| timestamp::parse(time.as_str().unwrap()).unwrap();
        assert_eq!(
            instant(&event["time"]),
            instant(&sample["occurred_at"]).with_nanosecond(0).unwrap(),
            "{event_type}"
        );
        assert!(ids.insert(event["id"].to_string()), "{event_type} has the id of another event");
    }
    assert_eq!(fs::read_dir(folder().join("delivered")).unwrap().count(), EventType::KNOWN.len());
}

#[test]
fn a_delivered_event_is_valid() {
    for event_type in EventType::KNOWN {
        jsonschema::meta::validate(&document(&format!("schemas/{event_type}.schema.json"))).unwrap();
        for validator in &VALIDATORS[event_type.as_str()] {
            let event = delivered(event_type);
            let errors: Vec<_> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
            assert_eq!(errors, [""; 0], "{event_type}");
        }
    }
}

#[test]
fn the_bundle_accepts_the_events_of_every_type_in_the_catalogue() {
    let bundle = document("scalekit.schema.json");
    jsonschema::meta::validate(&bundle).unwrap();
    let validator = validator(Draft::Draft202012, &bundle);
    for event_type in EventType::KNOWN {
        assert!(validator.is_valid(&delivered(event_type)), "{event_type}");
    }
    let mut event = delivered(&EventType::SsoEnabled);
    event["detail-type"] = json!("organization.sso_paused");
    assert!(!validator.is_valid(&event));
    for (name, schema) in bundle["$defs"].as_object().unwrap() {
        assert_eq!(schema["title"], name.as_str());
    }
}

#[test]
fn every_member_of_a_sample_is_in_the_schemas() {
    fn forbid_other_members(schema: &mut Value) {
        match schema {
            Value::Object(members) => {
                members.values_mut().for_each(forbid_other_members);
                if members.contains_key("properties") && members.contains_key("additionalProperties") {
                    members["additionalProperties"] = json!(false);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(forbid_other_members),
            _ => {}
        }
    }
    let strict = validators(forbid_other_members);
    for event_type in EventType::KNOWN {
        let mut event = delivered(event_type);
        for validator in &strict[event_type.as_str()] {
            let errors: Vec<_> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
            assert_eq!(errors, [""; 0], "{event_type}");
        }
        event["detail"]["data"]["new_member"] = json!(1);
        assert!(strict[event_type.as_str()].iter().all(|validator| !validator.is_valid(&event)), "{event_type}");
    }
}

#[test]
fn the_envelope_of_a_replayed_event_is_valid_and_can_have_new_members() {
    let mut event = delivered(&EventType::SsoEnabled);
    event["replay-name"] = json!("my-replay");
    event["new-member"] = json!({"a": 1});
    assert!(VALIDATORS["organization.sso_enabled"].iter().all(|validator| validator.is_valid(&event)));
    event["replay-name"] = json!(1);
    assert!(VALIDATORS["organization.sso_enabled"].iter().all(|validator| !validator.is_valid(&event)));
}

#[test]
fn a_changed_sample_is_valid_if_its_members_have_the_right_json_types() {
    for (event_type, sample) in samples() {
        for change in changes(&sample) {
            let event = eventbridge_event(&change.event);
            for validator in &VALIDATORS[event_type.as_str()] {
                assert_eq!(validator.is_valid(&event), change.is_readable, "{event_type}: {}", change.description);
            }
        }
    }
}

#[test]
fn a_forwarded_deviation_is_valid_if_its_member_has_the_right_json_type() {
    for Deviation { description, event, is_accepted, .. } in deviations() {
        let event = eventbridge_event(&event);
        let event_type = event["detail-type"].as_str().unwrap();
        for validator in &VALIDATORS[event_type] {
            assert_eq!(validator.is_valid(&event), is_accepted, "{description}");
        }
    }
}

#[test]
fn a_sample_without_a_required_member_is_not_valid() {
    const REQUIRED: [&str; 6] = ["spec_version", "id", "type", "object", "environment_id", "occurred_at"];
    for (event_type, sample) in samples() {
        for name in sample.as_object().unwrap().keys() {
            let mut event = eventbridge_event(&sample);
            event["detail"].as_object_mut().unwrap().remove(name);
            for validator in &VALIDATORS[event_type.as_str()] {
                let is_optional = !REQUIRED.contains(&name.as_str());
                assert_eq!(validator.is_valid(&event), is_optional, "{event_type} without {name}");
            }
        }
    }
}

#[test]
fn a_sample_is_not_valid_as_another_event_type() {
    for (event_type, sample) in samples() {
        let event = eventbridge_event(&sample);
        for (other, validators) in VALIDATORS.iter().filter(|(other, _)| **other != event_type.as_str()) {
            assert!(validators.iter().all(|validator| !validator.is_valid(&event)), "{event_type} as {other}");
        }
    }
}

#[test]
fn the_openapi_documents_have_the_form_that_the_schema_registry_needs() {
    /// The members of [OpenAPI 3.0's Schema Object](https://spec.openapis.org/oas/v3.0.4.html#schema-object) that the
    /// documents use.
    const KEYWORDS: [&str; 16] = [
        "$ref",
        "additionalProperties",
        "allOf",
        "description",
        "enum",
        "example",
        "format",
        "items",
        "maxLength",
        "minLength",
        "nullable",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
    ];

    /// Checks one schema and the schemas in it. `path` describes where it is in the document.
    fn check(schema: &Value, schemas: &Value, path: &str) {
        let Some(members) = schema.as_object() else {
            panic!("{path} is not a schema: {schema}");
        };
        for (keyword, value) in members {
            let is_known = KEYWORDS.contains(&keyword.as_str()) || keyword.starts_with("x-amazon-events-");
            assert!(is_known, "{path} contains {keyword}");
            match keyword.as_str() {
                "$ref" => {
                    let name = value.as_str().unwrap().strip_prefix("#/components/schemas/").unwrap();
                    assert!(schemas.get(name).is_some(), "{path} refers to {name}, which is missing");
                    assert_eq!(members.len(), 1, "{path} has other keywords beside $ref, which are ignored");
                }
                "type" => assert!(value.is_string(), "{path} has the type {value}"),
                "properties" => {
                    for (name, value) in value.as_object().unwrap() {
                        check(value, schemas, &format!("{path}/{name}"));
                    }
                }
                "items" => check(value, schemas, &format!("{path}[]")),
                "allOf" => value.as_array().unwrap().iter().for_each(|value| check(value, schemas, path)),
                _ => {}
            }
        }
    }

    for event_type in EventType::KNOWN {
        let document = document(&format!("schemas/{event_type}.openapi.json"));
        assert_eq!(document["openapi"], "3.0.0");
        assert_eq!(document["info"]["title"], schemas::title(event_type));
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["AWSEvent"]["x-amazon-events-source"], "scalekit");
        assert_eq!(schemas["AWSEvent"]["x-amazon-events-detail-type"], event_type.as_str());
        for (name, value) in schemas.as_object().unwrap() {
            check(value, schemas, name);
        }
    }
}

#[test]
fn a_title_is_the_event_type_in_pascal_case() {
    for (event_type, title) in [
        ("organization.sso_enabled", "OrganizationSsoEnabled"),
        ("organization.directory.user_created", "OrganizationDirectoryUserCreated"),
        ("passkey._registered", "PasskeyRegistered"),
    ] {
        assert_eq!(schemas::title(&EventType::parse(event_type).unwrap()), title);
    }
    let titles: BTreeSet<_> = EventType::KNOWN.iter().map(schemas::title).collect();
    assert_eq!(titles.len(), EventType::KNOWN.len(), "two event types have the same title");
}
