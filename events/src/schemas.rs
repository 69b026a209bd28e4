//! JSON Schema, OpenAPI and AsyncAPI documents of the events, and a page about them, generated from the tables and types
//! of this crate.
//!
//! They describe the events with EventBridge's envelope, as the target of a rule receives them.
//! `cargo run --package scalekit-events --features schemas --example schemas` writes them.

use std::collections::BTreeMap;

use schemars::{Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value, json};

use crate::{
    catalogue::EventType,
    data::{Data, Family},
    detail::Detail,
};

/// The default value of the webhook function's setting `EVENT_SOURCE`.
const SOURCE: &str = "scalekit";

/// The path of the definitions in JSON Schema.
const DEFS: &str = "/$defs";

/// The path of the definitions in OpenAPI and in AsyncAPI.
const COMPONENTS: &str = "/components/schemas";

/// Returns the documents by file name, relative to the folder of this crate.
///
/// - `scalekit.schema.json` is JSON Schema 2020-12 and describes the events of all known types.
/// - `asyncapi.json` is AsyncAPI 3.0 and describes the event bus, with a message for each event type. `examples` are
///   its examples: an event as EventBridge delivers it for each event type.
/// - `catalogue.md` is a page in Markdown that describes each event type.
/// - `schemas/<type>.schema.json` is JSON Schema 2020-12 and describes the events of one type.
/// - `schemas/<type>.openapi.json` is OpenAPI 3.0, for EventBridge's schema registry. It has the form that EventBridge's
///   schema discovery produces.
#[must_use]
pub fn files(examples: &BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let mut documents = BTreeMap::from([
        ("scalekit.schema.json".to_owned(), bundle()),
        ("asyncapi.json".to_owned(), async_api(examples)),
    ]);
    for (event_type, family) in event_types() {
        documents.insert(format!("schemas/{event_type}.schema.json"), json_schema(event_type, family));
        documents.insert(format!("schemas/{event_type}.openapi.json"), open_api(event_type, family));
    }
    let mut files: BTreeMap<_, _> =
        documents.into_iter().map(|(name, document)| (name, format!("{document:#}\n"))).collect();
    files.insert("catalogue.md".to_owned(), catalogue());
    files
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

/// Returns the name of the whole event in the documents, such as `OrganizationSsoEnabledEvent`.
fn event_title(event_type: &EventType) -> String {
    title(event_type) + "Event"
}

/// The known event types, each with its family.
fn event_types() -> impl Iterator<Item = (&'static EventType, Family)> {
    EventType::KNOWN.iter().filter_map(|event_type| Some((event_type, event_type.family()?)))
}

/// When a known event type occurs.
fn description(event_type: &EventType) -> &'static str {
    event_type.description().unwrap_or_default()
}

/// Members as inline code, separated by commas; a dash if there are none.
fn code(members: &[&str]) -> String {
    if members.is_empty() {
        return "–".to_owned();
    }
    members.iter().map(|member| format!("`{member}`")).collect::<Vec<_>>().join(", ")
}

fn catalogue() -> String {
    let type_row = |(event_type, family): (&EventType, Family)| {
        let (description, family) = (description(event_type), family.name());
        format!("| [`{event_type}`](delivered/{event_type}.json) | {description} | [{family}](#data) |")
    };
    let family_row = |&family: &Family| {
        let event_type = event_types().find(|(_, of)| *of == family).map(|(event_type, _)| event_type);
        let object = event_type.and_then(EventType::usual_object).map_or_else(String::new, |it| it.to_string());
        let (name, [key, personal, secret]) =
            (family.name(), [family.key(), family.personal(), family.secret()].map(code));
        format!("| {name} | `{object}` | {key} | {personal} | {secret} |")
    };
    let types: Vec<_> = event_types().map(type_row).collect();
    let families: Vec<_> = Family::ALL.iter().map(family_row).collect();
    include_str!("catalogue.md").replace("{types}", &types.join("\n")).replace("{families}", &families.join("\n"))
}

fn draft2020_12() -> SchemaSettings {
    SchemaSettings::draft2020_12().with_transform(RecursiveTransform(items_of_any_type))
}

fn json_schema(event_type: &EventType, family: Family) -> Value {
    let settings = draft2020_12();
    let mut schema = event(event_type, DEFS);
    schema["$schema"] = json!(settings.meta_schema);
    schema["$defs"] = json!(definitions(settings, event_type, family));
    schema
}

fn bundle() -> Value {
    let settings = draft2020_12();
    let events: Vec<_> =
        event_types().map(|(event_type, _)| json!({"$ref": format!("#{DEFS}/{}", event_title(event_type))})).collect();
    json!({
        "$schema": settings.meta_schema,
        "$id": "urn:scalekit-eventbridge:scalekit.schema.json",
        "title": "ScalekitEvent",
        "description": "A Scalekit event as EventBridge delivers it.",
        // The discriminator applies to objects only, and validators in strict mode require the type beside it.
        "type": "object",
        "oneOf": events,
        // Without this keyword of OpenAPI's, code generators would try each type in turn.
        "discriminator": {"propertyName": "detail-type"},
        "$defs": all_definitions(&settings, DEFS),
    })
}

fn async_api(examples: &BTreeMap<String, Value>) -> Value {
    // The schemas in AsyncAPI extend draft 7 of JSON Schema.
    let settings = SchemaSettings::draft07()
        .with(|settings| settings.definitions_path = COMPONENTS.into())
        .with_transform(RecursiveTransform(items_of_any_type));
    let by_type = |value: &dyn Fn(&EventType) -> Value| -> Map<String, Value> {
        event_types().map(|(event_type, _)| (event_type.to_string(), value(event_type))).collect()
    };
    let messages = by_type(&|event_type| {
        json!({
            "name": event_type,
            "title": event_title(event_type),
            "summary": event_type.description(),
            "contentType": "application/json",
            "payload": {"$ref": format!("#{COMPONENTS}/{}", event_title(event_type))},
            "examples": examples.get(event_type.as_str()).map(|payload| json!({"payload": payload})).as_slice(),
        })
    });
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Scalekit events",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Scalekit's webhook events on an Amazon EventBridge event bus.",
            "contact": {"name": "scalekit-eventbridge"},
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            "tags": [{"name": "webhooks", "description": "Events that Scalekit sends as webhooks"}],
        },
        "defaultContentType": "application/json",
        "servers": {
            "eventBridge": {
                "host": "events.{region}.amazonaws.com",
                "protocol": "https",
                "description": "Amazon EventBridge, whose rules deliver the events to their targets.",
                "variables": {
                    "region": {"description": "The AWS region of the event bus.", "default": "eu-central-1"},
                },
            },
        },
        "channels": {
            "eventBus": {
                "address": "scalekit",
                "servers": [{"$ref": "#/servers/eventBridge"}],
                "title": "Event bus",
                "description": "The event bus that the webhook function puts the events on. It has the name of the \
                                function's stack, such as `scalekit`.",
                "messages": by_type(&|event_type| json!({"$ref": format!("#/components/messages/{event_type}")})),
            },
        },
        "operations": {
            "putEvents": {
                "action": "send",
                "channel": {"$ref": "#/channels/eventBus"},
                "summary": "The webhook function puts each authentic event on the bus.",
                "description": "The call `PutEvents`, with one entry for each event.",
                "security": [{"$ref": "#/components/securitySchemes/aws"}],
            },
        },
        "components": {
            "messages": messages,
            "schemas": all_definitions(&settings, COMPONENTS),
            "securitySchemes": {
                "aws": {"type": "http", "scheme": "AWS4-HMAC-SHA256", "description": "AWS Signature Version 4"},
            },
        },
    })
}

fn open_api(event_type: &EventType, family: Family) -> Value {
    let settings = SchemaSettings::openapi3().with_transform(RecursiveTransform(nullable_reference));
    let mut schema = envelope();
    schema["x-amazon-events-source"] = json!(SOURCE);
    schema["x-amazon-events-detail-type"] = json!(event_type);
    schema["properties"]["detail"] = json!({"$ref": format!("#{COMPONENTS}/{}", title(event_type))});
    let mut schemas = definitions(settings, event_type, family);
    schemas.insert("AWSEvent".to_owned(), schema);
    json!({
        "openapi": "3.0.0",
        "info": {"title": title(event_type), "version": "1.0.0", "description": description(event_type)},
        "paths": {},
        "components": {"schemas": schemas},
    })
}

/// Rewrites `"items": true` as `"items": {}`, which means the same, because some tools refuse a boolean as a schema.
fn items_of_any_type(schema: &mut Schema) {
    if schema.get("items") == Some(&json!(true)) {
        schema.insert("items".into(), json!({}));
    }
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
        // `nullable` has an effect only beside a type. All references are to objects.
        schema.insert("type".into(), json!("object"));
        schema.insert("nullable".into(), json!(true));
    }
}

/// Returns the schema of an event as EventBridge delivers it. It refers to `detail` in the definitions at a path.
fn event(event_type: &EventType, definitions_path: &str) -> Value {
    let mut schema = envelope();
    schema["title"] = json!(event_title(event_type));
    schema["description"] =
        json!(format!("{} The event `{event_type}` as EventBridge delivers it.", description(event_type)));
    schema["properties"]["detail-type"]["enum"] = json!([event_type]);
    schema["properties"]["detail"] = json!({"$ref": format!("#{definitions_path}/{}", title(event_type))});
    schema
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
            "replay-name": {
                "description": "The name of the replay. Only events from an archive have it.",
                "type": "string",
            },
        },
        "additionalProperties": true,
    })
}

/// Returns the schemas of `detail` and of all types in it, by name. The schema of `detail` is named after the event
/// type, with its [`title`].
fn definitions(settings: SchemaSettings, event_type: &EventType, family: Family) -> Map<String, Value> {
    let mut generator = settings.into_generator();
    let data = Data::json_schema(family, &mut generator);
    generator.subschema_for::<Detail>();
    if let Some(mut detail) = generator.definitions_mut().remove("Detail") {
        let not_to_log = [
            ("Personal data, of which only Scalekit's ids may be logged", family.personal()),
            ("A secret, which must not be logged", family.secret()),
        ]
        .into_iter()
        .filter(|(_, members)| !members.is_empty())
        .map(|(contents, members)| format!(" {contents}: {}.", code(members)))
        .collect::<Vec<_>>()
        .concat();
        detail["description"] =
            json!(format!("{} The event `{event_type}` as Scalekit sent it.{not_to_log}", description(event_type)));
        let members = &mut detail["properties"];
        members["type"] = json!({"description": description(event_type), "type": "string", "enum": [event_type]});
        members["object"]["examples"] = json!([event_type.usual_object()]);
        members["data"] = json!(data);
        let previous = generator.definitions_mut().insert(title(event_type), detail);
        assert!(previous.is_none(), "{} is also the name of a type in `data`", title(event_type));
    }
    let mut definitions = generator.take_definitions(true);
    for (name, schema) in &mut definitions {
        schema["title"] = json!(name);
    }
    definitions
}

/// Returns the schemas of the events of all types and of all types in them, by name.
fn all_definitions(settings: &SchemaSettings, definitions_path: &str) -> Map<String, Value> {
    let mut all = Map::new();
    for (event_type, family) in event_types() {
        let mut definitions = definitions(settings.clone(), event_type, family);
        definitions.insert(event_title(event_type), event(event_type, definitions_path));
        for (name, schema) in definitions {
            let is_same_type = all.get(&name).is_none_or(|previous| *previous == schema);
            assert!(is_same_type, "{name} is the name of two different types");
            all.insert(name, schema);
        }
    }
    all
}
