//! Generates samples from the bodies in `events/bodies/`: the Lambda events in `events/`, `events/transports/` and
//! `events/refused/`, and the events on the bus in `events/delivered/` and `events/unusual/`. `make events` runs it.

use std::{fs, path::Path};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
    let samples = test_support::samples(&folder)?;
    for (name, text) in &samples {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(path, text)?;
    }
    println!("Wrote {} files to {}", samples.len(), folder.display());
    Ok(())
}
