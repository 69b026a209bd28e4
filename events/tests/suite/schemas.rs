//! The JSON Schema and OpenAPI documents: they accept the events that the catalogue allows and no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use jsonschema::Validator;
use scalekit_events::{catalogue::EventType, schemas};
use serde_json::{Value, json};

use crate::support::samples::{changes, eventbridge_event, samples};

static FILES: LazyLock<BTreeMap<String, String>> = LazyLock::new(schemas::files);

/// Two validators for each event type, one for each format.
static VALIDATORS: LazyLock<BTreeMap<&str, [Validator; 2]>> = LazyLock::new(|| {
    EventType::KNOWN
        .iter()
        .map(EventType::as_str)
        .map(|name| (name, [validator(&document(name, "schema")), open_api_validator(&document(name, "openapi"))]))
        .collect()
});

fn document(event_type: &str, format: &str) -> Value {
    serde_json::from_str(&FILES[&format!("{event_type}.{format}.json")]).unwrap()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(schema).unwrap()
}

/// Returns a validator for the event that an OpenAPI document describes, after translating `nullable` to JSON Schema.
fn open_api_validator(document: &Value) -> Validator {
    fn translate(schema: &mut Value) {
        match schema {
            Value::Object(members) => {
                members.values_mut().for_each(translate);
                if members.remove("nullable") == Some(json!(true)) {
                    let schema = Value::Object(std::mem::take(members));
                    members.insert("anyOf".into(), json!([schema, {"type": "null"}]));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(translate),
            _ => {}
        }
    }
    let mut document = document.clone();
    translate(&mut document);
    document["$ref"] = json!("#/components/schemas/AWSEvent");
    validator(&document)
}

#[test]
fn the_committed_files_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let committed: BTreeMap<_, _> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
        .collect();
    assert!(committed.keys().eq(FILES.keys()), "`make schemas` writes other files than events/schemas/ contains");
    for (name, text) in &*FILES {
        assert_eq!(committed[name], *text, "{name} is out of date: run `make schemas`");
    }
}

#[test]
fn a_sample_is_valid() {
    for (event_type, sample) in samples() {
        jsonschema::meta::validate(&document(event_type.as_str(), "schema")).unwrap();
        for validator in &VALIDATORS[event_type.as_str()] {
            let event = eventbridge_event(&sample);
            let errors: Vec<_> = validator.iter_errors(&event).map(|error| error.to_string()).collect();
            assert_eq!(errors, [""; 0], "{event_type}");
        }
    }
}

#[test]
fn a_changed_sample_is_valid_if_the_catalogue_allows_the_change() {
    for (event_type, sample) in samples() {
        for change in changes(&sample) {
            let event = eventbridge_event(&change.event);
            for validator in &VALIDATORS[event_type.as_str()] {
                let is_allowed = change.difference.is_none();
                assert_eq!(validator.is_valid(&event), is_allowed, "{event_type}: {}", change.description);
            }
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
        let document = document(event_type.as_str(), "openapi");
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
