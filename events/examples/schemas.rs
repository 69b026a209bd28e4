//! Writes the JSON Schema and OpenAPI documents of the events to `schemas/`.
//!
//! Run it with `cargo run --package scalekit-events --features schemas --example schemas`.

use std::{fs, io, path::Path};

use scalekit_events::schemas;

fn main() -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    fs::create_dir_all(&folder)?;
    let files = schemas::files();
    for (name, text) in &files {
        fs::write(folder.join(name), text)?;
    }
    println!("Wrote {} files to {}", files.len(), folder.display());
    Ok(())
}
