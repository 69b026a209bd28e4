//! The published schemas: as the types say, and true of every sample.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::LazyLock,
};

use jsonschema::Validator;
use scalekit_eventbridge::catalogue::EventType;
use serde_json::{Value, json};

#[path = "../examples/schemas.rs"]
#[allow(dead_code, reason = "the example has a main of its own")]
mod schemas;

mod samples;
use samples::{Change, bodies, changes};

/// What EventBridge makes of a forwarded event.
fn event(detail: &Value) -> Value {
    json!({
        "version": "0",
        "id": "00000000-0000-4000-8000-000000000000",
        "detail-type": detail["type"],
        "source": "scalekit",
        "account": "123456789012",
        "time": "2025-10-14T09:29:27Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": detail,
    })
}

fn published() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events/schemas");
    fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(path).unwrap()))
        .collect()
}

static SCHEMAS: LazyLock<BTreeMap<String, String>> = LazyLock::new(schemas::schemas);

/// For each type the validators of its two schemas.
static VALIDATORS: LazyLock<Vec<(EventType, [Validator; 2])>> = LazyLock::new(|| {
    let validators =
        |event_type| [validator(&schema(event_type, "schema")), open_api_validator(&schema(event_type, "openapi"))];
    EventType::CATALOGUED.iter().map(|event_type| (event_type.clone(), validators(event_type))).collect()
});

fn schema(event_type: &EventType, format: &str) -> Value {
    serde_json::from_str(&SCHEMAS[&format!("{event_type}.{format}.json")]).unwrap()
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(schema).unwrap()
}

/// A validator of an OpenAPI 3.0 document's event. What 3.0 says otherwise than JSON Schema is said as that would say it.
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
fn the_published_schemas_are_those_of_the_types() {
    let published = published();
    assert!(
        published.keys().eq(SCHEMAS.keys()),
        "events/schemas/ has other files than `cargo run --example schemas --features schemas` writes"
    );
    for (name, schema) in &*SCHEMAS {
        assert_eq!(published[name], *schema, "run `cargo run --example schemas --features schemas` for {name}");
    }
    assert_eq!(published.len(), 2 * EventType::CATALOGUED.len());
}

#[test]
fn every_sample_is_as_its_schemas_say() {
    for ((event_type, body), (_, validators)) in bodies().iter().zip(&*VALIDATORS) {
        jsonschema::meta::validate(&schema(event_type, "schema")).unwrap();
        for validator in validators {
            let errors: Vec<_> = validator.iter_errors(&event(body)).map(|error| error.to_string()).collect();
            assert_eq!(errors, [""; 0], "{event_type}");
        }
    }
}

#[test]
fn what_drifts_is_not_as_its_schemas_say_and_nothing_else() {
    for ((event_type, body), (_, validators)) in bodies().iter().zip(&*VALIDATORS) {
        for Change { what, event: changed, drift } in changes(event_type, body) {
            for validator in validators {
                assert_eq!(validator.is_valid(&event(&changed)), drift.is_none(), "{event_type}: {what}");
            }
        }
    }
}

#[test]
fn what_the_contract_requires_is_required() {
    const REQUIRED: [&str; 6] = ["spec_version", "id", "type", "object", "environment_id", "occurred_at"];
    for ((event_type, body), (_, validators)) in bodies().iter().zip(&*VALIDATORS) {
        for name in body.as_object().unwrap().keys() {
            let mut changed = body.clone();
            changed.as_object_mut().unwrap().remove(name);
            for validator in validators {
                let required = REQUIRED.contains(&name.as_str());
                assert_eq!(validator.is_valid(&event(&changed)), !required, "{event_type} without {name}");
            }
        }
    }
}

#[test]
fn an_event_of_another_type_is_not_as_the_schemas_say() {
    for (event_type, body) in &bodies() {
        for (other, validators) in VALIDATORS.iter().filter(|(other, _)| other != event_type) {
            assert!(validators.iter().all(|validator| !validator.is_valid(&event(body))), "{event_type} as {other}");
        }
    }
}

#[test]
fn the_open_api_documents_are_as_the_registry_takes_them() {
    /// The members of [a schema in 3.0](https://spec.openapis.org/oas/v3.0.4.html#schema-object) that ours need.
    const SCHEMA: [&str; 16] = [
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
        "type",
        "title",
    ];

    fn look(schema: &Value, schemas: &Value, at: &str) {
        let Some(members) = schema.as_object() else {
            panic!("{at} is no schema: {schema}");
        };
        for (name, value) in members {
            let known = SCHEMA.contains(&name.as_str()) || name.starts_with("x-amazon-events-");
            assert!(known, "{at} has {name}");
            match name.as_str() {
                "$ref" => {
                    let name = value.as_str().unwrap().strip_prefix("#/components/schemas/").unwrap();
                    assert!(schemas.get(name).is_some(), "{at} refers to {name}");
                    assert_eq!(members.len(), 1, "{at}: what stands beside a $ref is ignored");
                }
                "type" => assert!(value.is_string(), "{at} is of type {value}"),
                "properties" => {
                    value
                        .as_object()
                        .unwrap()
                        .iter()
                        .for_each(|(name, value)| look(value, schemas, &format!("{at}/{name}")));
                }
                "items" => look(value, schemas, &format!("{at}[]")),
                "allOf" => value.as_array().unwrap().iter().for_each(|value| look(value, schemas, at)),
                _ => {}
            }
        }
    }

    for event_type in EventType::CATALOGUED {
        let document = schema(event_type, "openapi");
        assert_eq!(document["openapi"], "3.0.0");
        assert_eq!(document["info"]["title"], schemas::title(event_type));
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["AWSEvent"]["x-amazon-events-source"], "scalekit");
        assert_eq!(schemas["AWSEvent"]["x-amazon-events-detail-type"], event_type.as_str());
        for (name, value) in schemas.as_object().unwrap() {
            look(value, schemas, name);
        }
    }
}

#[test]
fn names_in_the_registry() {
    let titles: BTreeSet<_> = EventType::CATALOGUED.iter().map(schemas::title).collect();
    assert_eq!(titles.len(), EventType::CATALOGUED.len());
    assert!(titles.contains("OrganizationSsoEnabled") && titles.contains("OrganizationDirectoryUserCreated"));
    assert!(titles.iter().all(|title| title.bytes().all(|byte| byte.is_ascii_alphanumeric())));
}
