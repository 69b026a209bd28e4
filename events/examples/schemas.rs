//! Writes the JSON Schema, OpenAPI and AsyncAPI documents of the events. The examples in the AsyncAPI document are the
//! events in `delivered/`.
//!
//! Run it with `cargo run --package scalekit-events --features schemas --example schemas`.

use std::{collections::BTreeMap, error::Error, fs, path::Path};

use scalekit_events::{catalogue::EventType, schemas};
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut examples = BTreeMap::<_, Value>::new();
    for event_type in EventType::KNOWN {
        let event = fs::read(folder.join(format!("delivered/{event_type}.json")))?;
        examples.insert(event_type.to_string(), serde_json::from_slice(&event)?);
    }
    let files = schemas::files(&examples);
    fs::create_dir_all(folder.join("schemas"))?;
    for (name, text) in &files {
        fs::write(folder.join(name), text)?;
    }
    println!("Wrote {} files to {}", files.len(), folder.display());
    Ok(())
}
