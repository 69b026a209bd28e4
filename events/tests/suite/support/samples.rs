//! The sample events in `bodies/` and `delivered/`, and changed copies of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use scalekit_events::catalogue::EventType;
use serde_json::{Value, json};

use super::published;

/// Returns every sample with the event type that its file is named after.
pub fn samples() -> Vec<(EventType, Value)> {
    fs::read_dir(folder().join("bodies"))
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let event_type = EventType::parse(path.file_stem().unwrap().to_str().unwrap()).unwrap();
            (event_type, read(&path))
        })
        .collect()
}

/// Returns the sample of an event type as EventBridge delivers it to the target of a rule.
pub fn delivered(event_type: &EventType) -> Value {
    read(&folder().join(format!("delivered/{event_type}.json")))
}

/// Returns an event with this detail as EventBridge delivers it to the target of a rule.
pub fn eventbridge_event(detail: &Value) -> Value {
    let mut event = delivered(&EventType::SsoEnabled);
    event["detail-type"] = detail["type"].clone();
    event["detail"] = detail.clone();
    event
}

/// The folder of the crate.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// An event with a deviation for which the webhook function doesn't refuse it.
pub struct Deviation {
    pub description: String,
    pub event: Value,
    /// The JSON Pointer of the member that deviates.
    pub pointer: String,
    /// Whether consumers accept the event.
    pub is_accepted: bool,
}

/// Returns the deviations in `tests/deviations.json`, with which the tests of the function and of all recipes for
/// consumers are run. Each is a change of one sample: a member gets another value, or is removed if there is none.
pub fn deviations() -> Vec<Deviation> {
    let sample = read(&folder().join("bodies/organization.directory_enabled.json"));
    let rows = read(&folder().join("tests/deviations.json"));
    let deviation = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let pointer = text("pointer");
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut event = sample.clone();
        let members = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match row.get("value") {
            Some(value) => members.insert(name.to_owned(), value.clone()),
            None => members.remove(name),
        };
        Deviation { description: text("description"), event, is_accepted: row["accepted"] == true, pointer }
    };
    rows.as_array().unwrap().iter().map(deviation).collect()
}

/// A change of one member in the `data` of a sample.
pub struct Change {
    pub description: String,
    /// The sample after the change.
    pub event: Value,
    /// The JSON Pointer of the member, if the catalogue doesn't allow the change.
    pub difference: Option<String>,
    /// Whether `data` still has the required members and the right JSON types, so that it can be read as a type.
    pub is_readable: bool,
}

/// Returns the changes to try with a sample. Each member in the catalogue is removed and set to several values, and an
/// unknown member is added.
pub fn changes(sample: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    for member in published::family(sample["type"].as_str().unwrap()).members() {
        let pointer = format!("/data/{}", member.name);
        let mut add = |description: String, event: Value, is_allowed: bool, is_readable| {
            let difference = (!is_allowed).then(|| pointer.clone());
            changes.push(Change { description, event, difference, is_readable });
        };
        let mut event = sample.clone();
        event["data"].as_object_mut().unwrap().remove(member.name);
        add(format!("without {pointer}"), event, !member.required, !member.required);
        for value in member.values() {
            let mut event = sample.clone();
            event["data"][member.name] = value.clone();
            add(format!("{pointer} is {value}"), event, member.allows(&value), member.allows_json_type(&value));
        }
    }
    let mut event = sample.clone();
    event["data"]["new_member"] = json!({"a": [1, null]});
    changes.push(Change { description: "a new member".to_owned(), event, difference: None, is_readable: true });
    changes
}
