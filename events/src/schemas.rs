//! JSON Schema and OpenAPI documents of the events, generated from the types of this crate.
//!
//! Each document describes the events of one type, including EventBridge's envelope, as the target of a rule receives
//! them. `cargo run --package scalekit-events --features schemas --example schemas` writes the documents to `schemas/`.

use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Value, json};

use crate::{
    catalogue::EventType,
    data::{Data, Family},
    detail::Detail,
};

/// The default value of the webhook function's setting `EVENT_SOURCE`.
const SOURCE: &str = "scalekit";

/// Returns the documents of all known event types, by file name.
///
/// Each event type has two documents:
/// - `<type>.schema.json` is JSON Schema 2020-12, for code generators and validators.
/// - `<type>.openapi.json` is OpenAPI 3.0, for EventBridge's schema registry. It has the form that EventBridge's schema
///   discovery produces.
#[must_use]
pub fn files() -> BTreeMap<String, String> {
    let to_text = |document: &Value| format!("{document:#}\n");
    EventType::KNOWN
        .iter()
        .filter_map(|event_type| Some((event_type, event_type.family()?)))
        .flat_map(|(event_type, family)| {
            [
                (format!("{event_type}.schema.json"), to_text(&json_schema(event_type, family))),
                (format!("{event_type}.openapi.json"), to_text(&open_api(event_type, family))),
            ]
        })
        .collect()
}

/// Returns the name of an event type in the documents and in the schema registry, such as `OrganizationSsoEnabled`.
#[must_use]
pub fn title(event_type: &EventType) -> String {
    let capitalize = |word: &str| {
        let (first, rest) = word.split_at(word.len().min(1));
        first.to_ascii_uppercase() + rest
    };
    event_type.as_str().split(['.', '_']).map(capitalize).collect()
}

fn json_schema(event_type: &EventType, family: Family) -> Value {
    let settings = SchemaSettings::draft2020_12();
    let meta_schema = settings.meta_schema.clone();
    let mut schema = envelope();
    schema["$schema"] = json!(meta_schema);
    schema["title"] = json!(format!("{}Event", title(event_type)));
    schema["description"] = json!(format!("The event `{event_type}` as EventBridge delivers it."));
    schema["properties"]["detail-type"]["enum"] = json!([event_type]);
    schema["properties"]["detail"] = json!({"$ref": format!("#/$defs/{}", title(event_type))});
    schema["$defs"] = definitions(settings.into_generator(), event_type, family);
    schema
}

fn open_api(event_type: &EventType, family: Family) -> Value {
    let generator = SchemaSettings::openapi3().with_transform(RecursiveTransform(nullable_reference)).into_generator();
    let mut schema = envelope();
    schema["x-amazon-events-source"] = json!(SOURCE);
    schema["x-amazon-events-detail-type"] = json!(event_type);
    schema["properties"]["detail"] = json!({"$ref": format!("#/components/schemas/{}", title(event_type))});
    let mut schemas = definitions(generator, event_type, family);
    schemas["AWSEvent"] = schema;
    json!({
        "openapi": "3.0.0",
        "info": {"title": title(event_type), "version": "1.0.0"},
        "paths": {},
        "components": {"schemas": schemas},
    })
}

/// Rewrites `anyOf` with a reference and null as a nullable `allOf`, because OpenAPI 3.0 has no null type.
fn nullable_reference(schema: &mut Schema) {
    if let Some(Value::Array(any_of)) = schema.get("anyOf")
        && let [reference, null] = any_of.as_slice()
        && null["nullable"] == true
    {
        let reference = json!([reference]);
        schema.remove("anyOf");
        schema.insert("allOf".into(), reference);
        schema.insert("nullable".into(), json!(true));
    }
}

/// Returns the schema of EventBridge's envelope, without a schema for `detail`.
fn envelope() -> Value {
    json!({
        "type": "object",
        "required": ["version", "id", "detail-type", "source", "account", "time", "region", "resources", "detail"],
        "properties": {
            "version": {"type": "string"},
            "id": {"type": "string"},
            "detail-type": {"type": "string"},
            "source": {"type": "string"},
            "account": {"type": "string"},
            "time": {"type": "string", "format": "date-time"},
            "region": {"type": "string"},
            "resources": {"type": "array", "items": {"type": "string"}},
        },
    })
}

/// Returns the schemas of `detail` and of all types in it, by name. The schema of `detail` is named after the event
/// type, with its [`title`].
fn definitions(mut generator: SchemaGenerator, event_type: &EventType, family: Family) -> Value {
    let data = Data::json_schema(family, &mut generator);
    generator.subschema_for::<Detail>();
    if let Some(mut detail) = generator.definitions_mut().remove("Detail") {
        detail["description"] = json!(format!("The event `{event_type}` as Scalekit sent it."));
        let members = &mut detail["properties"];
        members["type"] = json!({"description": "What happened.", "type": "string", "enum": [event_type]});
        members["object"]["examples"] = json!([event_type.usual_object()]);
        members["data"] = json!(data);
        let previous = generator.definitions_mut().insert(title(event_type), detail);
        assert!(previous.is_none(), "{} is also the name of a type in `data`", title(event_type));
    }
    generator.take_definitions(true).into()
}
