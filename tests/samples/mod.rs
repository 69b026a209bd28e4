//! The bodies in `events/bodies/`, and changes to their `data` with what should come of them.

use std::{fs, path::Path};

use scalekit_eventbridge::catalogue::EventType;
use serde_json::{Value, json};

/// Every sample, by its type.
pub fn bodies() -> Vec<(EventType, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events/bodies");
    EventType::CATALOGUED
        .iter()
        .map(|event_type| {
            let body = fs::read(folder.join(format!("{event_type}.json"))).unwrap();
            (event_type.clone(), serde_json::from_slice(&body).unwrap())
        })
        .collect()
}

/// A sample whose `data` was changed in one place.
pub struct Change {
    pub what: String,
    pub event: Value,
    /// The pointer of the surprise, if it is one.
    pub drift: Option<String>,
}

/// The members of `data` that the catalogue says are required, by the types' first part that tells them apart. Written
/// down a second time here: a member that is required by mistake makes false alarms, one that isn't makes none.
fn required(event_type: &EventType) -> &'static [&'static str] {
    match event_type.as_str().split_once('.').unwrap() {
        ("organization", "created" | "updated" | "deleted") => &["id", "display_name"],
        ("organization", rest) if rest.starts_with("domain") => {
            &["id", "domain", "domain_type", "organization_id", "environment_id", "verification_status"]
        }
        ("organization", _) => &["id", "organization_id"],
        ("user", "login" | "logout") => &["user", "user_session"],
        ("user", _) => &["organization", "user"],
        ("role" | "permission", _) => &["id", "name"],
        ("connected_account", "status_updated") => {
            &["id", "identifier", "connection_id", "provider", "authorization_type", "status", "old_status"]
        }
        ("connected_account", _) => &["id", "identifier", "connection_id", "provider", "status"],
        _ => panic!("{event_type}"),
    }
}

/// Every change of one place in a sample's `data`.
pub fn changes(event_type: &EventType, body: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut add = |what: &str, pointer: &str, surprise: bool, change: &dyn Fn(&mut Value)| {
        let mut event = body.clone();
        change(&mut event);
        let drift = surprise.then(|| pointer.to_owned());
        changes.push(Change { what: format!("{pointer} {what}"), event, drift });
    };
    add("has a new member", "/data", false, &|event| event["data"]["new_member"] = json!({"a": [1, null]}));
    for (name, value) in body["data"].as_object().unwrap() {
        let pointer = format!("/data/{name}");
        // What the catalogue doesn't have, some samples have.
        let known = !["magic_link", "directory_id"].contains(&name.as_str()) || event_type.as_str().contains("group");
        let required = required(event_type).contains(&name.as_str());
        add("is missing", &pointer, required, &|event| {
            event["data"].as_object_mut().unwrap().remove(name);
        });
        add("is null", &pointer, required, &|event| event["data"][name] = Value::Null);
        add("is a number", &pointer, known, &|event| event["data"][name] = json!(1.5));
        if let Value::String(text) = value {
            let is_id =
                text.split_once('_').is_some_and(|(_, digits)| digits.bytes().all(|byte| byte.is_ascii_digit()));
            let free_id = ["role", "permission"].contains(&event_type.as_str().split('.').next().unwrap());
            let is_time = name.ends_with("_at") || name.ends_with("_time");
            let ruled = known && (is_id && !free_id || is_time);
            add("is any text", &pointer, ruled, &|event| event["data"][name] = json!("2025-10-14 09:29"));
            add("is an object", &pointer, known, &|event| event["data"][name] = json!({}));
        } else if !value.is_null() {
            add("is a text", &pointer, known, &|event| event["data"][name] = json!("text"));
        }
    }
    changes
}
