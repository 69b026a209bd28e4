//! Writes the schemas in `events/schemas/` from the library's types: `cargo run --example schemas --features schemas`.
//!
//! For each type two files, both of the whole event as rules' targets get it: JSON Schema for tools, and OpenAPI for
//! EventBridge's schema registry, in the form that its own schema discovery writes.

use std::{collections::BTreeMap, fs, path::Path};

use scalekit_eventbridge::{
    catalogue::{EventType, Family},
    data::Data,
    detail::Detail,
};
use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Value, json};

/// The `source` that the function gives its events unless told otherwise.
const SOURCE: &str = "scalekit";

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events/schemas");
    fs::create_dir_all(&folder)?;
    let schemas = schemas();
    for (name, schema) in &schemas {
        fs::write(folder.join(name), schema)?;
    }
    println!("{} schemas written to {}", schemas.len(), folder.display());
    Ok(())
}

/// Every schema, by its file's name.
#[must_use]
pub fn schemas() -> BTreeMap<String, String> {
    let pretty = |schema: &Value| format!("{schema:#}\n");
    EventType::CATALOGUED
        .iter()
        .filter_map(|event_type| Some((event_type, event_type.family()?)))
        .flat_map(|(event_type, family)| {
            [
                (format!("{event_type}.schema.json"), pretty(&json_schema(event_type, family))),
                (format!("{event_type}.openapi.json"), pretty(&open_api(event_type, family))),
            ]
        })
        .collect()
}

/// JSON Schema 2020-12 of the event; that of its `detail` is in `$defs`, by the [`title`].
fn json_schema(event_type: &EventType, family: Family) -> Value {
    let settings = SchemaSettings::draft2020_12();
    let meta_schema = settings.meta_schema.clone();
    let mut schema = event();
    schema["$schema"] = json!(meta_schema);
    schema["title"] = json!(format!("{}Event", title(event_type)));
    schema["description"] = json!(format!("The event `{event_type}` as EventBridge hands it over."));
    schema["properties"]["detail-type"]["enum"] = json!([event_type]);
    schema["properties"]["detail"] = json!({"$ref": format!("#/$defs/{}", title(event_type))});
    schema["$defs"] = definitions(settings.into_generator(), event_type, family);
    schema
}

/// OpenAPI 3.0 of the event, as EventBridge's schema registry keeps it under the name `source@title`.
fn open_api(event_type: &EventType, family: Family) -> Value {
    let generator = SchemaSettings::openapi3().with_transform(RecursiveTransform(nullable_reference)).into_generator();
    let mut schema = event();
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

/// `anyOf` a reference and null, as it is usual in OpenAPI 3.0, which has no null.
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

/// EventBridge's envelope, whatever is in it.
fn event() -> Value {
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

/// The types by their names: the `detail` of this event type, and all that it refers to.
fn definitions(mut generator: SchemaGenerator, event_type: &EventType, family: Family) -> Value {
    let data = Data::json_schema(family, &mut generator);
    generator.subschema_for::<Detail>();
    if let Some(mut detail) = generator.definitions_mut().remove("Detail") {
        detail["description"] = json!(format!("The event `{event_type}` as Scalekit sent it."));
        let members = &mut detail["properties"];
        members["type"] = json!({"description": "What happened.", "type": "string", "enum": [event_type]});
        members["object"]["examples"] = json!([event_type.usual_object()]);
        members["data"] = json!(data);
        let taken = generator.definitions_mut().insert(title(event_type), detail);
        assert!(taken.is_none(), "two types of the name {}", title(event_type));
    }
    generator.take_definitions(true).into()
}

/// The event type as a type's name, and as the schema's in the registry: `OrganizationSsoEnabled`.
#[must_use]
pub fn title(event_type: &EventType) -> String {
    let capitalized = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    event_type.as_str().split(['.', '_']).map(capitalized).collect()
}
