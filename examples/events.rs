//! Writes the envelopes in `events/` from the bodies in `events/bodies/`: `make events`.

use std::{fs, path::Path};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
    let samples = test_support::samples(&folder)?;
    for (name, envelope) in &samples {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(path, envelope)?;
    }
    println!("{} envelopes written to {}", samples.len(), folder.display());
    Ok(())
}
